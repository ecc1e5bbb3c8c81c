"""Whether a Matroska or WebM file is shorter than it says: FFmpeg reads a cut one to its end without an error."""

from pathlib import Path

_HEADER_ID = b"\x1a\x45\xdf\xa3"
_SEGMENT_ID = b"\x18\x53\x80\x67"


def is_cut_short(path: Path) -> bool:
    """True when the file's one Segment claims more bytes than there are; False for other files and unknown sizes."""
    with path.open("rb") as handle:
        start = handle.read(4096)
    if not start.startswith(_HEADER_ID):
        return False
    header_size, position = _size_at(start, len(_HEADER_ID))
    if header_size is None or start[position + header_size :][:4] != _SEGMENT_ID:
        return False
    segment_size, position = _size_at(start, position + header_size + len(_SEGMENT_ID))
    return segment_size is not None and position + segment_size > path.stat().st_size


def _size_at(data: bytes, position: int) -> tuple[int | None, int]:
    """An EBML size and the position behind it; leading zero bits tell its length, all ones mean unknown (None)."""
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8:
        return None, position
    mask = (1 << 7 * length) - 1
    value = int.from_bytes(data[position : position + length], "big") & mask
    return (None if value == mask else value), position + length
