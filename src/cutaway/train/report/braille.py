"""A curve in a few lines of a terminal: every character is a grid of 2 x 4 dots (Braille patterns of Unicode)."""

import itertools
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]
# The bit of each dot of a character, by column and row.
BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
BLANK, MARK = 0x2800, "●"


def window(points: Points) -> tuple[float, float]:
    """The values to show: all from the lowest up, but for the steep beginning (the first tenth of the steps)."""
    left, right = points[0][0], points[-1][0]
    later = [y for x, y in points if x >= left + (right - left) / 10] if len(points) > 20 else [y for _, y in points]
    low, high = min(y for _, y in points), max(later)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def plot(line: Points, marks: Points, width: int, height: int) -> list[str]:
    """``height`` rows of ``width`` characters: a line through the mean of each column of dots, marks over it.

    The first row's top is the highest value of the window, the last row's bottom the lowest."""
    low, high = window(line)
    left, right = line[0][0], line[-1][0]
    across = lambda x, cells: round((x - left) / (right - left) * (cells - 1)) if right > left else 0
    down = lambda y, cells: round((high - y) / (high - low) * (cells - 1))
    columns: dict[int, list[float]] = {}
    for x, y in line:
        columns.setdefault(across(x, 2 * width), []).append(y)
    dots = [(column, down(sum(ys) / len(ys), 4 * height)) for column, ys in sorted(columns.items())]
    grid = [[0] * width for _ in range(height)]
    for column, row in joined(dots):
        if 0 <= row < 4 * height:
            grid[row // 4][column // 2] |= BITS[column % 2][row % 4]
    rows = [[chr(BLANK + mask) if mask else " " for mask in cells] for cells in grid]
    for x, y in marks:
        if left <= x <= right and low <= y <= high:
            rows[down(y, height)][across(x, width)] = MARK
    return ["".join(row) for row in rows]


def joined(dots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The dots, and those on the straight lines between one and the next."""
    drawn = list(dots[:1])
    for (a, b), (c, d) in itertools.pairwise(dots):
        steps = max(abs(c - a), abs(d - b))
        drawn += [(a + round((c - a) * i / steps), b + round((d - b) * i / steps)) for i in range(1, steps + 1)]
    return drawn
