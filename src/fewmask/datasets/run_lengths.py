"""Checks and measures compressed COCO run lengths in bulk, without making a bitmap.

pycocotools trusts what it is given: runs that stop early decode to whatever lies in memory, runs of different total
length never let its IoU return. So every mask that comes from a file passes through here once. All strings of a batch
are decoded together with array operations, which costs about as much as parsing the JSON they came from.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_FIRST, _LAST = 48, 111  # the alphabet: six bits per character, offset 48
_CONTINUES = 80  # characters from here on say that the number goes on in the next character
_LONGEST = 6  # characters of one number: 30 bits, more than any frame has pixels
_LARGEST_RUN = 1 << 28  # pixels; sums over a string then cannot wrap around unnoticed


def measure_runs(counts: Sequence[str]) -> tuple[Counts, Counts]:
    """What N compressed run-length strings cover.

    Returns:
        ``covered`` int64 [N], the pixels of all runs together, -1 where the string is malformed (a character outside
        the alphabet, an unfinished number, a negative run, no run at all); ``inside`` int64 [N], the mask's pixels.
    """
    if not counts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    measured = _measure(counts)
    if measured is not None:
        return measured
    # Something in the batch is malformed: look at each string alone to find out which.
    covered = np.full(len(counts), -1, dtype=np.int64)
    inside = np.zeros(len(counts), dtype=np.int64)
    for index, text in enumerate(counts):
        alone = _measure([text])
        if alone is not None:
            covered[index], inside[index] = alone[0][0], alone[1][0]
    return covered, inside


def _measure(counts: Sequence[str]) -> tuple[Counts, Counts] | None:
    """As ``measure_runs``; None if any string is malformed."""
    lengths = np.fromiter(map(len, counts), dtype=np.int64, count=len(counts))
    joined = "".join(counts)
    if lengths.min() == 0 or not joined.isascii():
        return None
    characters = np.frombuffer(joined.encode("ascii"), dtype=np.uint8)
    if characters.min() < _FIRST or characters.max() > _LAST:
        return None
    text_ends = np.cumsum(lengths)
    continues = characters >= _CONTINUES
    if continues[text_ends - 1].any():
        return None
    further = np.flatnonzero(continues)  # all characters but the last of each number
    numbers = _numbers(characters, continues, further)
    if numbers is None:
        return None
    starts = np.zeros(len(counts), dtype=np.int64)  # index of each string's first number
    starts[1:] = text_ends[:-1] - np.searchsorted(further, text_ends[:-1])
    return _sums(numbers, starts)


def _numbers(
    characters: npt.NDArray[np.uint8], continues: npt.NDArray[np.bool_], further: Counts
) -> npt.NDArray[np.int32] | None:
    """The signed numbers, five bits a character, least significant first; None if one is too long."""
    # The last character of a number carries four bits and the sign: codes 0..15, then -16..-1.
    last = characters[~continues] - np.uint8(_FIRST)
    numbers = ((last ^ np.uint8(16)).view(np.int8) - np.int8(16)).astype(np.int32)
    of_number = further - np.arange(len(further))  # which number each of the others belongs to
    for distance in range(1, _LONGEST):
        if not len(further):
            return numbers
        nearest = ~continues[further + distance]  # those that stand so far before the end of their number
        belongs = of_number[nearest]
        digits = characters[further[nearest]].astype(np.int32) - _CONTINUES
        numbers[belongs] = numbers[belongs] * 32 + digits
        further, of_number = further[~nearest], of_number[~nearest]
    return None if len(further) else numbers


def _sums(numbers: npt.NDArray[np.int32], starts: Counts) -> tuple[Counts, Counts] | None:
    """Sums of runs per string; None if a run is negative.

    From its fourth number on, a string holds differences to the run two before (format of the COCO API), so that runs
    are two interleaved cumulative sums: over even and over odd positions of the whole batch, minus what earlier strings
    left. 32-bit wrap-around is harmless: the C coder computes modulo 2**32 as well.
    """
    total = len(numbers)
    even, odd = np.zeros((total + 1) // 2 + 1, np.int32), np.zeros(total // 2 + 1, np.int32)
    np.cumsum(numbers[0::2], out=even[:-1])
    np.cumsum(numbers[1::2], out=odd[:-1])
    starts_odd = (starts & 1).astype(bool)
    half = starts >> 1
    even_starts, odd_starts = (starts + 1) >> 1, half
    even_sizes = np.diff(even_starts, append=(total + 1) >> 1)
    odd_sizes = np.diff(odd_starts, append=total >> 1)
    # The first number of a string is absolute and no part of a chain; the second and third start the chains.
    before_even = even[half]
    before_odd = np.where(starts_odd, odd[half], odd[half - 1])
    even[:-1] -= np.repeat(before_even, even_sizes)
    odd[:-1] -= np.repeat(before_odd, odd_sizes)
    even[half[~starts_odd]] = numbers[starts[~starts_odd]]
    odd[half[starts_odd]] = numbers[starts[starts_odd]]
    if min(even.min(), odd.min()) < 0 or max(even.max(), odd.max()) > _LARGEST_RUN:
        return None
    sum_even = np.add.reduceat(even, even_starts, dtype=np.int64) * (even_sizes > 0)
    sum_odd = np.add.reduceat(odd, odd_starts, dtype=np.int64) * (odd_sizes > 0)
    # The mask's own runs are the second, fourth, ... of a string.
    return sum_even + sum_odd, np.where(starts_odd, sum_even, sum_odd)
