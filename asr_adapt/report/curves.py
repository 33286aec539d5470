"""Curves, laid out for a template that draws them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 64, 12, 28
_MOST_POINTS = 400


@dataclass(frozen=True)
class Line:
    """A curve: its name, and `(step or other quantity, value)` in order."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Drawn:
    """A curve in pixels."""

    name: str
    path: str
    """of an SVG polyline"""
    marks: Sequence[tuple[float, float, str]]
    """`(x, y, label)` of its points, where they are few"""
    label_y: float
    """position of its name, at the right of its end"""
    band: str = ""
    """of an SVG polygon around it"""


@dataclass(frozen=True)
class Chart:
    """One pair of axes."""

    title: str
    summary: str
    lines: Sequence[Drawn]
    across: Sequence[tuple[float, str]]
    """`(x, label)` of the ticks"""
    up: Sequence[tuple[float, str]]
    """`(y, value)` of the ticks"""
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM


def chart(title: str, lines: Sequence[Line], across: str = "step") -> Chart | None:
    """Lay out lines over common axes, which begin at 0; None where no line has two points.

    Args:
        title: Of the chart.
        lines: The curves.
        across: What the horizontal axis counts.
    """
    lines = [Line(line.name, _thinned(line.points)) for line in lines if len(line.points) > 1]
    if not lines:
        return None
    points = [point for line in lines for point in line.points]
    along, up = ticks(max(x for x, _ in points), 6), ticks(max(y for _, y in points), 5)
    last, most = max(x for x, _ in points), max(*(y for _, y in points), up[-1])

    def x_of(step: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * step / last, 1)

    def y_of(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / most, 1)

    ends = _apart([y_of(line.points[-1][1]) for line in lines])
    drawn = [
        Drawn(
            name=line.name,
            path=" ".join(f"{x_of(x)},{y_of(y)}" for x, y in line.points),
            marks=[(x_of(x), y_of(y), f"{across} {x:,.0f}: {line.name} {y:.3f}") for x, y in line.points]
            if len(line.points) <= 40
            else [],
            label_y=end,
        )
        for line, end in zip(lines, ends, strict=True)
    ]
    summary = "; ".join(
        "{0} from {1[1]:.3f} at {3} {1[0]:,.0f} to {2[1]:.3f} at {3} {2[0]:,.0f}".format(
            line.name, line.points[0], line.points[-1], across
        )
        for line in lines
    )
    return Chart(
        title=title,
        summary=summary,
        lines=drawn,
        across=[(x_of(tick), f"{tick:,.0f}") for tick in along if tick <= last],
        up=[(y_of(tick), f"{tick:g}") for tick in up],
    )


def ticks(most: float, about: int) -> list[float]:
    """Return about so many round numbers from 0 to `most` or a little more, 1, 2 or 5 times a power of ten apart."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [round(i * step, 10) for i in range(math.ceil(most / step - 1e-9) + 1)]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return every so many-th point and the last, so that a long run does not make a large page."""
    stride = math.ceil(len(points) / _MOST_POINTS)
    kept = list(points[::stride])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _apart(heights: Sequence[float], least: float = 15.0) -> list[float]:
    """Return the heights of labels, those that would overlap moved down."""
    placed = list(heights)
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + least)
    return placed
