"""The exact outline of a bitmap as one polygon on the pixel grid."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Point = tuple[int, int]  # x, y of a pixel corner
Place = tuple[float, float]  # x, y anywhere


def outline_loops(mask: npt.NDArray[np.bool_]) -> list[list[Point]]:
    """Closed loops along the pixel edges of ``mask`` [H, W]; only corners are listed.

    Outer loops run clockwise on the screen, holes the other way, so both the even-odd and the non-zero rule fill
    exactly the pixels whose centres lie inside. Pixels that touch at a corner only get loops of their own.
    """
    padded = np.pad(mask, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    count = upper_left.astype(np.int8) + upper_right + lower_left + lower_right
    # A corner is where one or three of the four pixels around it are inside; two diagonal ones make a double corner.
    double = (count == 2) & (upper_left == lower_right)
    rows, columns = np.nonzero((count % 2 == 1) | double)
    repeat = 1 + double[rows, columns]
    y, x = np.repeat(rows, repeat), np.repeat(columns, repeat)
    if len(x) == 0:
        return []
    # Along a row of the grid, edges join the 1st and 2nd corner, the 3rd and 4th, ...; along a column likewise.
    beside = np.arange(len(x)) ^ 1
    by_column = np.lexsort((y, x))
    above_or_below = np.empty_like(by_column)
    above_or_below[by_column] = by_column[np.arange(len(x)) ^ 1]
    # The inside stays on the right hand: a horizontal edge with the inside below it runs to the right.
    left_end = np.minimum(np.arange(len(x)), beside)
    inside_below = lower_right[y[left_end], x[left_end]]
    starts = np.nonzero(inside_below == (np.arange(len(x)) == left_end))[0]

    points = list(zip(x.tolist(), y.tolist(), strict=True))
    next_beside, next_vertical = beside.tolist(), above_or_below.tolist()
    seen = bytearray(len(points))
    loops = []
    for start in starts.tolist():
        loop = []
        corner = start
        while not seen[corner]:
            other = next_beside[corner]
            seen[corner] = seen[other] = 1
            loop += [points[corner], points[other]]
            corner = next_vertical[other]
        if loop:
            loops.append(loop)
    return loops


def one_polygon(loops: Sequence[Sequence[Place]]) -> list[Place]:
    """All loops in one closed polygon: from the first corner a path leads to each loop and back the same way.

    The paths run along grid lines. They enclose nothing and pass no pixel centre, so the polygon covers the same
    pixels.
    """
    if not loops:
        return []
    polygon: list[Place] = [*loops[0]]
    anchor = loops[0][0]
    for loop in loops[1:]:
        bend = (loop[0][0], anchor[1])
        polygon += [anchor, bend, *loop, loop[0], bend]
    return [*polygon, anchor] if len(loops) > 1 else polygon
