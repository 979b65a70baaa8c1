"""The overview strip: a whole run in 60 px. Rate, fault bands, and a red tick at each finding.

For :mod:`reports.page`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from checkers.history import Fault
from reports.palette import FaultStyle
from reports.svg.bands import bands
from reports.svg.element import Markup, el, figure, label
from reports.wording import duration, moment

HEIGHT_PX = 60.0
FOOT_PX = 14.0
WIDTH_PX = 1200.0


def draw(
    completed: Mapping[str, Sequence[int]],
    *,
    width_ns: int,
    end_ns: int,
    faults: Sequence[Fault],
    styles: Mapping[str, FaultStyle],
    ticks: Sequence[tuple[str, int]],
    positions: bool = False,
) -> Markup:
    """The strip as SVG.

    Args:
        completed: completions per bucket, by outcome.
        width_ns: a bucket's width.
        end_ns: the end of the run.
        faults, styles: the run's faults and how they look.
        ticks: (anchor, ns) of each finding.
        positions: the history has no times; positions stand in for them.
    """
    span = max(end_ns, 1)
    floor = HEIGHT_PX - FOOT_PX

    def x(time_ns: int) -> float:
        return max(0, min(time_ns, span)) / span * WIDTH_PX

    totals = [sum(parts) for parts in zip(*(completed[name] for name in ("ok", "fail", "info")))]
    most = max(totals, default=0) or 1
    parts = [bands(faults, styles, x, begin_ns=0, end_ns=span, y=0, height=floor, labels=False)]
    below = [0.0] * len(totals)
    for name in ("ok", "fail", "info"):
        d = []
        for bucket, number in enumerate(completed[name]):
            if number:
                height = max(1.0, number / most * (floor - 8))
                x0, x1 = x(bucket * width_ns), x((bucket + 1) * width_ns)
                top = floor - below[bucket] - height
                d.append(f"M{x0:.1f} {top:.1f}H{max(x1 - 0.6, x0 + 0.4):.1f}v{height:.1f}"
                         f"H{x0:.1f}z")  # fmt: skip
                below[bucket] += height
        if d:
            parts.append(el("path", class_=f"bar bar-{name}", d="".join(d)))
    for anchor, time_ns in ticks:
        at = x(time_ns)
        mark = f"M{at - 5:.1f} 0 h10 l-5 8 z"
        parts.append(
            el(
                "a",
                el("line", class_="tick-finding", x1=at, y1=0, x2=at, y2=floor),
                el("path", class_="tick-head", d=mark),
                el("title", text=f"finding {anchor}"),
                href=f"#{anchor}",
            )
        )
    parts.append(el("line", class_="axis", x1=0, y1=floor, x2=WIDTH_PX, y2=floor))
    parts += time_marks(span, x, floor, right_px=WIDTH_PX, positions=positions)
    title = (
        f"The whole run, {duration(span)}: operations per {duration(width_ns)}, faults, findings"
    )
    return figure(WIDTH_PX, HEIGHT_PX, title, *parts, class_="strip", id="strip")


def time_marks(
    span: int, x: Callable[[int], float], floor: float, *, right_px: float, positions: bool = False
) -> list[Markup]:
    """Times beneath a figure of a whole run: about eight round ones."""
    step = next(
        base * 10**power
        for power in range(12)
        for base in (1, 2, 5)
        if base * 10**power * 8 >= span
    )
    marks = []
    for time_ns in range(0, span + 1, step):
        at = x(time_ns)
        anchor = "start" if time_ns == 0 else "middle" if at < right_px - 30 else "end"
        words = "0" if time_ns == 0 else duration(time_ns)
        words = moment(time_ns, positions=True) if positions else words
        marks.append(label(at, floor + 12, words, class_="tick", anchor=anchor))
    return marks
