"""Latency distributions of several variants in one picture, and how runs spread.

A curve says which share of the operations was at least so slow: the latency is on a logarithmic
axis, and so is the share, so that the tail (one in a thousand) is as readable as the middle. The
strip below it has a dot for each run's throughput, and a bar at the median. One colour and one mark
per variant; the legend names both.

For :mod:`reports.comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.svg.element import Markup, el, figure, label

WIDTH, LEFT, RIGHT = 720.0, 52.0, 16.0
CURVES_HEIGHT, STRIP_WIDTH, ROW_HEIGHT = 240.0, 420.0, 24.0
#: Shares on the upright axis, from all operations down to one in ten thousand.
SHARES = (1.0, 0.1, 0.01, 0.001, 0.0001)
_US_PER_BIN_POWER = 10  # bins per decade, as the comparison counts them
COLOURS = 8


def curves(names: Sequence[str], histograms: Sequence[Sequence[int]]) -> Markup:
    """The share of operations slower than a latency, a curve per variant.

    Args:
        names: of the variants.
        histograms: counts in bins of a tenth of a decade from 1 us on, one per variant.
    """
    used = [len(bins) for bins in histograms if bins]
    if not used:
        return Markup("")
    low = min(_first(bins) for bins in histograms if bins) // _US_PER_BIN_POWER
    high = math.ceil(max(used) / _US_PER_BIN_POWER)
    width = WIDTH - LEFT - RIGHT

    def x(bin_: float) -> float:
        return LEFT + width * (bin_ / _US_PER_BIN_POWER - low) / max(1, high - low)

    def y(share: float) -> float:
        return 10 + (CURVES_HEIGHT - 40) * math.log10(share) / math.log10(SHARES[-1])

    parts: list[Markup] = []
    for decade in range(low, high + 1):
        at = x(decade * _US_PER_BIN_POWER)
        parts.append(el("line", x1=at, x2=at, y1=10, y2=CURVES_HEIGHT - 30, class_="rule"))
        parts.append(
            label(at, CURVES_HEIGHT - 14, _latency(decade), class_="tick", anchor="middle")
        )
    for share in SHARES:
        parts.append(el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(share), y2=y(share), class_="rule"))
        parts.append(label(LEFT - 6, y(share) + 4, f"{share:.4g}", class_="tick", anchor="end"))
    for number, bins in enumerate(histograms):
        points = _tail(bins)
        if points:
            text = " ".join(f"{x(b):.1f},{y(max(s, SHARES[-1])):.1f}" for b, s in points)
            parts.append(el("polyline", points=text, class_=f"curve v{number % COLOURS}"))
    title = "Share of operations slower than a latency, per variant: " + ", ".join(names)
    return figure(WIDTH, CURVES_HEIGHT, title, *parts, class_="curves")


def _first(bins: Sequence[int]) -> int:
    return next(index for index, count in enumerate(bins) if count)


def _tail(bins: Sequence[int]) -> list[tuple[int, float]]:
    """(bin edge, share of operations at or above it), from all of them down to none."""
    total = sum(bins)
    points, above = [], total
    for edge, count in enumerate(bins):
        if above and (count or above < total):
            points.append((edge, above / total))
        above -= count
    return points


def _latency(decade: int) -> str:
    units = ((6, "s"), (3, "ms"), (0, "µs"))
    power, unit = next((p, u) for p, u in units if decade >= p)
    return f"{10 ** (decade - power)} {unit}"


def strip(names: Sequence[str], values: Sequence[Sequence[float]]) -> Markup:
    """A row per variant with a dot per run, and a bar at the median.

    Args:
        names: of the variants.
        values: throughputs of their runs.
    """
    top = max((value for row in values for value in row), default=0.0)
    if top <= 0:
        return Markup("")
    left = 12 + min(200.0, 6.6 * max(map(len, names)))
    width = STRIP_WIDTH - left - RIGHT

    def x(value: float) -> float:
        return left + width * value / top

    parts: list[Markup] = []
    for number, (name, row) in enumerate(zip(names, values, strict=True)):
        middle = 12 + number * ROW_HEIGHT
        css = f"v{number % COLOURS}"
        parts.append(label(left - 8, middle + 4, name, class_="tick", anchor="end"))
        parts.append(el("line", x1=left, x2=left + width, y1=middle, y2=middle, class_="rule"))
        parts += [el("circle", cx=x(value), cy=middle, r=3, class_=f"dot {css}") for value in row]
        if row:
            median = sorted(row)[len(row) // 2]
            parts.append(
                el("line", x1=x(median), x2=x(median), y1=middle - 8, y2=middle + 8,
                   class_=f"curve {css}")
            )  # fmt: skip
    end = 12 + len(names) * ROW_HEIGHT
    parts.append(label(left, end + 8, "0", class_="tick", anchor="middle"))
    parts.append(label(left + width, end + 8, f"{top:.0f} ok/s", class_="tick", anchor="end"))
    title = "Operations answered ok per second, a dot per run, per variant: " + ", ".join(names)
    return figure(STRIP_WIDTH, end + 16, title, *parts, class_="spread")
