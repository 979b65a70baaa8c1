"""A real-time axis that a few operations fill: to scale, with breaks marked.

Problem. The operations of a witness may lie microseconds and seconds apart; a linear axis makes
them invisible, an ordinal one (a step per event) hides that one waited five seconds.

Solution. Between neighbouring moments the axis is to scale, within limits: no gap is narrower than
``gap_px_min``, so that order can be seen, and none wider than ``gap_px_max``: such a gap is broken,
and the break is marked with how much time it leaves out. Then gaps are widened where an operation's
text would not fit in its bar. Order is never changed, and simultaneous stays simultaneous.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from typing import NamedTuple

from reports.svg.element import Markup, el, label
from reports.wording import duration, moment


class Break(NamedTuple):
    """A gap that is not to scale: where it is drawn and how long it lasts."""

    x0: float
    x1: float
    span_ns: int


class BrokenAxis:
    """Maps the moments of a witness to px.

    Args:
        times_ns: all moments that matter, in any order.
        left_px: where the first is drawn.
        width_px: what the axis should fill; it gets wider if texts need it.
        gap_px_min, gap_px_max: limits of the distance between neighbouring moments.
        spans: (begin, end, px): this span needs at least so many px.
        positions: the times are positions in a history that has none; label them so.
    """

    def __init__(
        self,
        times_ns: Iterable[int],
        *,
        left_px: float,
        width_px: float,
        gap_px_min: float = 18.0,
        gap_px_max: float = 240.0,
        spans: Iterable[tuple[int, int, float]] = (),
        positions: bool = False,
    ) -> None:
        self.positions = positions
        self.times = sorted(set(times_ns)) or [0]
        gaps = [b - a for a, b in zip(self.times, self.times[1:])]
        widths = _scaled(gaps, width_px, gap_px_min, gap_px_max)
        self._broken = _broken(gaps, widths, gap_px_min)
        for begin, end, need_px in sorted(spans):
            first, last = self.times.index(begin), self.times.index(end)
            lack = need_px - sum(widths[first:last])
            if lack > 0 and last > first:
                for gap in range(first, last):
                    widths[gap] += lack / (last - first)
        self.x_of = [left_px]
        for width in widths:
            self.x_of.append(self.x_of[-1] + width)

    @property
    def right_px(self) -> float:
        """Where the last moment is drawn."""
        return self.x_of[-1]

    def x(self, time_ns: int) -> float:
        """Where a moment is drawn; moments outside are drawn at the ends."""
        after = bisect.bisect_left(self.times, time_ns)
        if after < len(self.times) and self.times[after] == time_ns:
            return self.x_of[after]
        if after == 0:
            return self.x_of[0]
        if after == len(self.times):
            return self.x_of[-1]
        a, b = self.times[after - 1], self.times[after]
        share = (time_ns - a) / (b - a)
        return self.x_of[after - 1] + share * (self.x_of[after] - self.x_of[after - 1])

    def moment(self, time_ns: int, *, digits: int = 6) -> str:
        """A moment as the axis writes it."""
        return moment(time_ns, digits=digits, positions=self.positions)

    @property
    def breaks(self) -> list[Break]:
        """The gaps that were shortened."""
        gaps = zip(self.x_of, self.x_of[1:], self.times, self.times[1:], self._broken)
        return [Break(x0, x1, b - a) for x0, x1, a, b, broken in gaps if broken]

    def draw(self, y: float) -> Markup:
        """The axis line with ticks, times and break marks."""
        digits = _digits(self.times)
        parts = [el("line", class_="axis", x1=self.x_of[0] - 8, y1=y, x2=self.right_px + 8, y2=y)]
        free_from = -1e9
        for time_ns, x in zip(self.times, self.x_of):
            words = self.moment(time_ns, digits=digits)
            parts.append(el("line", class_="axis", x1=x, y1=y - 3, x2=x, y2=y + 3))
            if x - 3.2 * len(words) > free_from:
                parts.append(label(x, y + 15, words, class_="tick", anchor="middle"))
                free_from = x + 3.2 * len(words) + 6
        for gap in self.breaks:
            middle = (gap.x0 + gap.x1) / 2
            parts.append(break_mark(middle, y))
            words = f"{duration(gap.span_ns)}, cut"
            if gap.x1 - gap.x0 > 7 * len(words):
                parts.append(label(middle, y - 8, words, class_="tick", anchor="middle"))
        return el("g", *parts)


def break_mark(x: float, y: float) -> Markup:
    """The sign for time left out: two slanted strokes."""
    strokes = [
        el("line", class_="break", x1=x + dx - 3, y1=y + 6, x2=x + dx + 3, y2=y - 6)
        for dx in (-3, 3)
    ]
    return el("g", el("rect", class_="gap", x=x - 4, y=y - 2, width=8, height=4), *strokes)


def _scaled(gaps: list[int], width: float, low: float, high: float) -> list[float]:
    """Widths clamp(scale * gap) whose sum is ``width``, as near as the limits allow."""
    if not gaps:
        return []
    small, large = 0.0, width / max(1, min(gaps)) + 1.0
    for _ in range(60):
        scale = (small + large) / 2
        if sum(min(high, max(low, gap * scale)) for gap in gaps) > width:
            large = scale
        else:
            small = scale
    return [min(high, max(low, gap * small)) for gap in gaps]


def _broken(gaps: list[int], widths: list[float], low: float) -> list[bool]:
    """Which gaps are shortened: a px of them holds over three times the time of the finest."""
    scales = [gap / width for gap, width in zip(gaps, widths)]
    wide = [scale for scale, width in zip(scales, widths) if width > low + 0.5] or scales
    return [scale > 3 * min(wide) for scale in scales]


def _digits(times: list[int]) -> int:
    """Decimals of seconds that tell neighbouring moments apart, 3 to 6."""
    least = min((b - a for a, b in itertools.pairwise(times)), default=10**6)
    return 3 if least >= 1_000_000 else 4 if least >= 100_000 else 5 if least >= 10_000 else 6
