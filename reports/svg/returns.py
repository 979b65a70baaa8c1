"""Return of service as a picture: each fault as a band, its healing, and the first answer after it.

One row per fault, all on the run's time axis. From the healing a line leads to the first answer: a
filled circle in time, a cross where the declared bound was exceeded or no answer came. Small ticks
on the line are the answers of single nodes. Where the declared bound ends within the run, a dashed
mark shows it.

For :mod:`reports.page`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reports.palette import FaultStyle
from reports.returns import Return, Returns
from reports.svg.bands import bands, fault_words
from reports.svg.element import Markup, el, figure, label
from reports.svg.strip import time_marks
from reports.wording import one_line, seconds

ROWS_MAX = 40
ROW_PX, LEFT_PX, RIGHT_PX, WIDTH_PX = 20.0, 170.0, 90.0, 1200.0
FOOT_PX = 16.0

X = Callable[[int], float]


def draw(found: Returns, *, styles: Mapping[str, FaultStyle], end_ns: int) -> Markup:
    """The rows as SVG.

    Args:
        found: the returns of a run; those beyond :data:`ROWS_MAX` are in the table only.
        styles: how faults look.
        end_ns: the end of the run.
    """
    shown = _telling(found.rows)
    span = max([end_ns, 1, *(row.returned_ns for row in shown)])

    def x(time_ns: int) -> float:
        return LEFT_PX + max(0, min(time_ns, span)) / span * (WIDTH_PX - LEFT_PX - RIGHT_PX)

    floor = ROW_PX * len(shown) + 4
    parts: list[Markup] = []
    for number, row in enumerate(shown):
        parts.append(_row(row, styles, x, ROW_PX * number, span, found.bound_s))
    parts.append(el("line", class_="axis", x1=LEFT_PX, y1=floor, x2=x(span), y2=floor))
    parts += time_marks(span, x, floor, right_px=WIDTH_PX)
    height = floor + FOOT_PX
    if len(found.rows) > len(shown):
        height += 14
        more = f"and {len(found.rows) - len(shown)} more in the table, none later than these"
        parts.append(label(4, height - 4, more, class_="tick"))
    return figure(WIDTH_PX, height, found.sentence, *parts, class_="returns", id="returns")


def _telling(rows: Sequence[Return]) -> list[Return]:
    """The rows to draw, in order of healing: the slowest, where there are too many."""
    if len(rows) <= ROWS_MAX:
        return list(rows)
    slow = sorted(rows, key=lambda row: (row.took_s is not None, -(row.took_s or 0)))[:ROWS_MAX]
    return sorted(slow, key=lambda row: (row.fault.end_ns, row.fault.id))


def _row(
    row: Return,
    styles: Mapping[str, FaultStyle],
    x: X,
    top: float,
    span: int,
    bound_s: float | None,
) -> Markup:
    fault, middle = row.fault, top + ROW_PX / 2 + 2
    healed = x(fault.end_ns)
    name = f"{one_line(fault.f, limit=18)} {', '.join(one_line(n, limit=8) for n in fault.nodes)}"
    parts = [
        label(4, middle + 4, one_line(name.strip(), limit=27), class_="row-name"),
        bands([fault], styles, x, begin_ns=0, end_ns=span, y=top + 3, height=ROW_PX - 4,
              labels=False),
        el("line", class_="return-heal", x1=healed, y1=top + 2, x2=healed, y2=top + ROW_PX),
    ]  # fmt: skip
    if bound_s is not None and fault.end_ns + bound_s * 1e9 <= span:
        at = x(round(fault.end_ns + bound_s * 1e9))
        parts.append(el("line", class_="return-bound", x1=at, y1=top + 2, x2=at, y2=top + ROW_PX))
    parts += _way(row, x, middle, span)
    words = f"{fault_words(fault)}; first answer {row.took}; {row.verdict}"
    return el("g", el("title", text=words), *parts)


def _way(row: Return, x: X, y: float, span: int) -> list[Markup]:
    """From the healing to the first answer."""
    healed, late = x(row.fault.end_ns), row.beyond or row.returned_ns < 0
    at = x(row.returned_ns if row.returned_ns >= 0 else span)
    css = "return-late" if late else "return-way"
    parts = [el("line", class_=css, x1=healed, y1=y, x2=at, y2=y)]
    for name, at_ns in row.answers:
        told, place = el("title", text=f"{name} at {seconds(at_ns)}"), x(at_ns)
        parts.append(el("line", told, class_="return-node", x1=place, y1=y - 9, x2=place, y2=y - 5))
    if late:
        d = f"M{at - 5:.1f} {y - 5:.1f} L{at + 5:.1f} {y + 5:.1f} "
        d += f"M{at + 5:.1f} {y - 5:.1f} L{at - 5:.1f} {y + 5:.1f}"
        parts.append(el("path", class_="stuck-mark", d=d))
    else:
        parts.append(el("circle", class_="return-ok", cx=at, cy=y, r=4))
    css = "return-words late" if late else "return-words"
    parts.append(label(at + 9, y + 4, row.took, class_=css))
    return parts
