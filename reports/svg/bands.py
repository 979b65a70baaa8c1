"""Fault bands: the same colour, hatch and label behind every time axis.

The patterns are defined once in the page (:func:`definitions`) and referred to by every figure.
For the figures of this package and the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from checkers.history import Fault
from reports.palette import HATCHES, FaultStyle
from reports.svg.element import Markup, el, label
from reports.wording import duration, fault_value, one_line, seconds

_STROKES = {
    "diagonal": "M-2 2 L2 -2 M0 8 L8 0 M6 10 L10 6",
    "back": "M-2 6 L2 10 M0 0 L8 8 M6 -2 L10 2",
    "dots": "M2 2 h.01 M6 6 h.01",
    "cross": "M0 0 L8 8 M8 0 L0 8",
    "vertical": "M4 0 V8",
    "horizontal": "M0 4 H8",
    "chevron": "M0 6 L4 2 L8 6",
    "grid": "M4 0 V8 M0 4 H8",
}


def definitions() -> Markup:
    """The hatch patterns, for one hidden SVG at the top of the page."""
    patterns = [
        el(
            "pattern",
            el("path", d=_STROKES[hatch], class_=f"hatch fault-{slot}"),
            id=f"hatch-{slot}", width=8, height=8, patternUnits="userSpaceOnUse",
        )
        for slot, hatch in enumerate(HATCHES)
    ]  # fmt: skip
    return el("svg", el("defs", *patterns), class_="defs", width=0, height=0, aria_hidden="true")


def fault_label(fault: Fault) -> str:
    """A fault in a few words: its kind and what it did, or to whom."""
    what = fault_value(fault.value) or ", ".join(one_line(n, limit=24) for n in fault.nodes)
    return f"{one_line(fault.f)} {what}".strip()


def fault_words(fault: Fault) -> str:
    """A fault in one line: what, to whom, when, with which outcome."""
    if fault.end_ns >= 0:
        when = f"{seconds(fault.begin_ns)} to {seconds(fault.end_ns)}"
        when += f" ({duration(fault.end_ns - fault.begin_ns)})"
    else:
        when = f"from {seconds(fault.begin_ns)}, no end recorded"
    outcome = "" if fault.outcome == "installed" else f", {one_line(fault.outcome)}"
    return f"{fault_label(fault)}, {when}{outcome}"


def bands(
    faults: Sequence[Fault],
    styles: Mapping[str, FaultStyle],
    x: Callable[[int], float],
    *,
    begin_ns: int,
    end_ns: int,
    y: float,
    height: float,
    labels: bool = True,
) -> Markup:
    """Bands of the faults that overlap a stretch of time, each with a tooltip and a label.

    Args:
        faults: the run's faults; skipped ones are not drawn.
        styles: see :func:`reports.palette.fault_slots`.
        x: maps ns to px.
        begin_ns, end_ns: the stretch.
        y, height: where the bands are drawn, in px.
        labels: write the kind at the top of each band.
    """
    parts: list[Markup] = []
    taken: list[float] = []
    for fault in faults:
        stop = fault.end_ns if fault.end_ns >= 0 else end_ns
        if fault.outcome == "skipped" or fault.begin_ns > end_ns or stop < begin_ns:
            continue
        x0, x1 = x(max(begin_ns, fault.begin_ns)), x(min(end_ns, stop))
        parts.append(_band(fault, styles[fault.f].slot, x0, max(x1 - x0, 1.5), y, height))
        if labels:
            row = sum(1 for other in taken if other > x0)
            words = fault_label(fault)
            words = words if 6.2 * len(words) < x1 - x0 else one_line(fault.f)
            parts.append(label(x0 + 4, y + 11 + 12 * row, words, class_="band-label"))
            taken.append(x0 + 6.2 * len(words))
    return el("g", *parts, class_="bands")


def _band(fault: Fault, slot: int, x: float, width: float, y: float, height: float) -> Markup:
    return el(
        "g",
        el("title", text=fault_words(fault)),
        el("rect", class_=f"band fault-{slot}", x=x, y=y, width=width, height=height),
        el("rect", fill=f"url(#hatch-{slot})", x=x, y=y, width=width, height=height),
        el("line", class_=f"band-edge fault-{slot}", x1=x, y1=y, x2=x, y2=y + height),
    )
