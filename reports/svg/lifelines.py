"""Life lines: what became of elements of a set, queue, log or of holders of a lock.

One row per element: attempted, acknowledged, first seen, last seen, and where it is absent from
then on. A checker's data is in ``Finding.detail``: either directly or one dict per element
under ``elements``. A stage is given as ``<stage>_ns`` (a time) or ``<stage>`` (the history index of
an event), so a checker writes what it has at hand. Overlapping holders stand under ``holders`` as
dicts with ``begin``/``end`` and are drawn as bars.

For :mod:`reports.findings`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from checkers.history import Fault
from reports.palette import FaultStyle
from reports.svg.axis import BrokenAxis
from reports.svg.bands import bands
from reports.svg.element import Markup, el, figure, label
from reports.wording import one_line, show

STAGES = ("attempted", "acknowledged", "first_seen", "last_seen", "absent_since")
#: More elements than this are counted, not drawn.
ROWS_MAX = 20
ROW_PX = 40.0
LEFT_PX = 130.0
TOP_PX = 30.0


@dataclass
class LifeLine:
    """One row: an element or holder and the moments known of it.

    Args:
        name: what the row is of.
        moments: stage -> ns, only the known ones.
        bar: the row is a span from ``begin`` to ``end`` (a holder of a lock).
    """

    name: str
    moments: dict[str, int]
    bar: bool = False


def life_lines(detail: Mapping[str, Any], time_of: Callable[[int], int]) -> list[LifeLine]:
    """The rows that a finding's detail describes; empty if it describes none.

    Args:
        detail: see the module's first paragraph.
        time_of: the time in ns of the event at a history index, -1 if there is none.
    """
    entries = detail.get("elements")
    rows = [_row(entry, STAGES, time_of) for entry in _dicts(entries)] or [
        _row(detail, STAGES, time_of)
    ]
    lines = [LifeLine(name, moments) for name, moments in rows if moments]
    for entry in _dicts(detail.get("holders")):
        name, moments = _row(entry, ("begin", "end"), time_of)
        if "begin" in moments:
            lines.append(LifeLine(name, moments, bar=True))
    return lines


def _dicts(value: Any) -> list[dict[str, Any]]:
    entries = value if isinstance(value, (list, tuple)) else []
    return [entry for entry in entries if isinstance(entry, dict)]


def _row(
    entry: Mapping[str, Any], stages: Sequence[str], time_of: Callable[[int], int]
) -> tuple[str, dict[str, int]]:
    moments = {}
    for stage in stages:
        time_ns, index = entry.get(f"{stage}_ns"), entry.get(stage)
        if isinstance(time_ns, int):
            moments[stage] = time_ns
        elif isinstance(index, int) and not isinstance(index, bool) and index >= 0:
            found = time_of(index)
            if found >= 0:
                moments[stage] = found
    for name in ("element", "value", "process", "key"):
        if entry.get(name) is not None:
            what = name if name == "process" else "element"
            return f"{what} {show(entry[name], limit=10)}", moments
    return "element", moments


def draw(
    lines: Sequence[LifeLine],
    *,
    faults: Sequence[Fault],
    styles: Mapping[str, FaultStyle],
    title: str,
    end_ns: int,
    positions: bool = False,
    width_px: float = 860.0,
) -> Markup:
    """The rows as SVG, on one real-time axis with fault bands behind."""
    shown = list(lines)[:ROWS_MAX]
    times = [time for line in shown for time in line.moments.values()]
    if any("absent_since" in line.moments for line in shown):
        times.append(max(end_ns, max(times)))
    axis = BrokenAxis(
        times or [0],
        left_px=LEFT_PX,
        width_px=width_px - LEFT_PX - 70,
        gap_px_min=70.0,
        gap_px_max=520.0,
        positions=positions,
    )
    bottom = TOP_PX + ROW_PX * len(shown)
    parts = [
        bands(faults, styles, axis.x, begin_ns=axis.times[0], end_ns=axis.times[-1], y=0,
              height=bottom),
        *_overlaps(shown, axis, bottom),
        *(_draw_line(line, TOP_PX + ROW_PX * row + 14, axis) for row, line in enumerate(shown)),
        axis.draw(bottom + 6),
    ]  # fmt: skip
    height = bottom + 34
    if len(lines) > len(shown):
        parts.append(label(6, height, f"and {len(lines) - len(shown)} more", class_="tick"))
        height += 14
    return figure(max(width_px, axis.right_px + 70), height, title, *parts, class_="life")


def _overlaps(lines: Sequence[LifeLine], axis: BrokenAxis, bottom: float) -> list[Markup]:
    """Where more than one holder holds, across all rows."""
    bars = [line.moments for line in lines if line.bar]
    edges = sorted(
        [(bar["begin"], 1) for bar in bars]
        + [(bar.get("end", axis.times[-1] + 1), -1) for bar in bars]
    )
    parts = []
    holding = 0
    for (begin, change), (end, _) in itertools.pairwise(edges):
        holding += change
        if holding > 1 and end > begin:
            x0, x1 = axis.x(begin), axis.x(end)
            words = f"{holding} holders"
            parts.append(el("rect", class_="overlap", x=x0, y=4, width=max(x1 - x0, 2),
                            height=bottom - 4))  # fmt: skip
            parts.append(label(x0 + 4, 16, words, class_="overlap-label"))
    return parts


def _draw_line(line: LifeLine, y: float, axis: BrokenAxis) -> Markup:
    at = {stage: axis.x(time_ns) for stage, time_ns in line.moments.items()}
    parts = [label(6, y + 4, line.name, class_="row-name")]
    begin, end = min(at.values()), max(at.values())
    if line.bar:
        stop = at.get("end", axis.right_px + 20)
        parts.append(el("rect", class_="holder", x=begin, y=y - 9, width=max(stop - begin, 3),
                        height=18, rx=2))  # fmt: skip
        return el("g", *parts)
    parts.append(el("line", class_="life-line", x1=begin, y1=y, x2=end, y2=y))
    if "absent_since" in at:
        x = at["absent_since"]
        parts.append(el("line", class_="life-gone", x1=x, y1=y, x2=axis.right_px + 20, y2=y))
    for stage, x in at.items():
        parts.append(_marker(stage, x, y))
        words = stage.replace("_", " ")
        parts.append(label(x, y - 10, words, class_="tick", anchor="middle"))
        moment = axis.moment(line.moments[stage])
        parts.append(el("circle", el("title", text=f"{one_line(words)} at {moment}"),
                        class_="hit", cx=x, cy=y, r=9))  # fmt: skip
    return el("g", *parts)


def _marker(stage: str, x: float, y: float) -> Markup:
    """Hollow circle attempted, solid acknowledged, triangles seen, cross absent."""
    if stage in ("attempted", "acknowledged"):
        return el("circle", class_=f"life-{stage}", cx=x, cy=y, r=5.5)
    if stage == "absent_since":
        r = 6.0
        d = f"M{x - r:.1f} {y - r:.1f} L{x + r:.1f} {y + r:.1f} "
        d += f"M{x + r:.1f} {y - r:.1f} L{x - r:.1f} {y + r:.1f}"
        return el("path", class_="stuck-mark", d=d)
    tip = 6.5 if stage == "first_seen" else -6.5
    d = f"M{x - tip / 2:.1f} {y - 6:.1f} L{x + tip:.1f} {y:.1f} L{x - tip / 2:.1f} {y + 6:.1f} Z"
    return el("path", class_="life-seen", d=d)
