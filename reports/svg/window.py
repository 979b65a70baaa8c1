"""The minimal failing window of a linearizability finding.

Rows are processes, x is real time (see :mod:`reports.svg.axis`). An operation is a closed interval:
it took effect at one point between its two ends, both included. An operation with an unknown
outcome has a ragged right edge: it may take effect at any later time. The longest legal prefix is
drawn as numbered points, each inside its operation, with the model's state after it beneath the
axis; then the operations that could come next and why each cannot.

Above each row stands what its node went through: which side of a partition it was on, and when it
took itself for the leader, which is where stale answers come from.

After Porcupine's visualization and Knossos's last-configurations plot, with the words and states
in the picture rather than in a tooltip.

For :mod:`reports.findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from checkers.history import Fault, Op
from reports.palette import FaultStyle
from reports.svg.axis import BrokenAxis
from reports.svg.bands import bands
from reports.svg.element import Markup, el, figure, label, mono_px
from reports.wording import clip, one_line, op_label

ROW_PX = 58.0
BAR_PX = 22.0
LEFT_PX = 104.0
TOP_PX = 40.0
POINT_PX = 26.0
#: Beyond so many operations a picture explains nothing; the table has them all.
OPS_MAX = 40


@dataclass(frozen=True)
class Lead:
    """A stretch of time in which a node took itself for the leader.

    Args:
        node: which.
        begin_ns, end_ns: the stretch; the end is far away if it did not end.
        generation: of its leadership, as text; empty if it is not known.
    """

    node: str
    begin_ns: int
    end_ns: int
    generation: str = ""


@dataclass
class Window:
    """The picture of a window.

    Args:
        ops: the operations, in order of invocation.
        steps: (invocation index, state after it), the longest legal prefix.
        stuck: invocation index -> why it cannot be next.
        orders: (source, target) pairs in real-time order that the explanation uses.
        faults: the run's faults.
        styles: their styles.
        leads: who led when, as the nodes tell it.
        title: the picture in one sentence.
        positions: the history has no times; positions stand in for them.
    """

    ops: Sequence[Op]
    steps: Sequence[tuple[int, str]] = ()
    stuck: Mapping[int, str] = field(default_factory=dict)
    orders: Sequence[tuple[int, int]] = ()
    faults: Sequence[Fault] = ()
    styles: Mapping[str, FaultStyle] = field(default_factory=dict)
    leads: Sequence[Lead] = ()
    title: str = ""
    positions: bool = False


def draw(window: Window, *, width_px: float = 860.0) -> Markup:
    """The picture as SVG.

    Args:
        window: what to draw; at most :data:`OPS_MAX` operations are drawn.
        width_px: preferred width; wider if the texts need it.
    """
    ops = list(window.ops)[:OPS_MAX]
    axis = _axis(ops, width_px, window.positions)
    rows = {name: row for row, name in enumerate(dict.fromkeys(op.process for op in ops))}
    bottom = TOP_PX + ROW_PX * len(rows) + 4
    points = _points(ops, window.steps, axis)
    begin, end = axis.times[0], axis.times[-1]
    parts = [
        bands(window.faults, window.styles, axis.x, begin_ns=begin, end_ns=end,
              y=0, height=bottom),
        *_row_labels(rows, ops, axis.right_px),
        *_parts_of_nodes(window, rows, ops, axis),
        *(_bar(op, rows[op.process], axis, window.stuck.get(op.invoke)) for op in ops),
        *_orders(window.orders, ops, rows, axis),
        *_path(points, rows, {op.invoke: op for op in ops}, bottom),
        axis.draw(bottom + 6),
    ]  # fmt: skip
    states, height = _states(points, window.steps, bottom + 34)
    parts.extend(states)
    full = max(axis.right_px + 40, width_px, _states_width(window.steps))
    return figure(full, height, window.title, *parts, class_="window")


def _axis(ops: Sequence[Op], width_px: float, positions: bool) -> BrokenAxis:
    times = [op.invoke_ns for op in ops] + [_end(op) for op in ops]
    spans = [
        (op.invoke_ns, _end(op), mono_px(op_label(op)) + (30 if op.type == "ok" else 44))
        for op in ops
        if _end(op) > op.invoke_ns
    ]
    if ops and len(set(times)) == 1:
        times.append(times[0] + 1)
    return BrokenAxis(
        times,
        left_px=LEFT_PX + 12,
        width_px=width_px - LEFT_PX - 60,
        spans=spans,
        positions=positions,
    )


def _end(op: Op) -> int:
    return op.complete_ns if op.complete_ns >= 0 else op.invoke_ns + 1


def _row_labels(rows: Mapping[int | str, int], ops: Sequence[Op], right: float) -> list[Markup]:
    parts = []
    for process, row in rows.items():
        y = TOP_PX + ROW_PX * row
        nodes = dict.fromkeys(op.node for op in ops if op.process == process and op.node)
        where = ", ".join(one_line(node, limit=10) for node in nodes)
        middle = y + BAR_PX / 2
        parts += [
            el("line", class_="row", x1=LEFT_PX, y1=middle, x2=right + 30, y2=middle),
            label(6, middle + (0 if where else 4), _process_name(process),
                  class_="row-name"),
            label(6, middle + 14, f"at {where}", class_="row-node") if where else Markup(""),
        ]  # fmt: skip
    return parts


def _parts_of_nodes(
    window: Window, rows: Mapping[int | str, int], ops: Sequence[Op], axis: BrokenAxis
) -> list[Markup]:
    """Above each row: its node's side of every cut, and where it led."""
    begin, end = axis.times[0], axis.times[-1]
    parts = []
    for process, row in rows.items():
        node = next((op.node for op in ops if op.process == process and op.node), None)
        if node is None:
            continue
        y, free_from = TOP_PX + ROW_PX * row - 8, 0.0
        for at, until, words, css in sorted(_spans_of(node, window)):
            if until < begin or at > end:
                continue
            x0, x1 = axis.x(max(at, begin)), axis.x(min(until, end))
            if css == "lead":
                parts.append(el("line", class_="lead", x1=x0, y1=y + 3, x2=max(x1, x0 + 2),
                                y2=y + 3))  # fmt: skip
            x = max(x0 + 4, free_from)
            parts.append(label(x, y, words, class_=f"{css}-label"))
            free_from = x + 6.4 * len(words) + 10
    return parts


def _spans_of(node: str, window: Window) -> list[tuple[int, int, str, str]]:
    """Begin, end, words and class of the leaderships and faults of a node."""
    far = 1 << 62
    spans = [
        (
            lead.begin_ns,
            lead.end_ns,
            f"{one_line(node, limit=10)} leads"
            + (f", generation {one_line(lead.generation, limit=12)}" if lead.generation else ""),
            "lead",
        )
        for lead in window.leads
        if lead.node == node
    ]
    for fault in window.faults:
        side = _side(node, fault)
        if side and fault.outcome != "skipped":
            until = fault.end_ns if fault.end_ns >= 0 else far
            spans.append((fault.begin_ns, until, f"cut: {side}", "side"))
    return spans


def _side(node: str, fault: Fault) -> str:
    """With whom a node was in a partition; "" if the fault is none, or it was in no group."""
    if not fault.f.startswith("partition") or not isinstance(fault.value, (list, tuple)):
        return ""
    for group in fault.value:
        if isinstance(group, (list, tuple)) and node in group:
            others = [one_line(other, limit=10) for other in group if other != node]
            me = one_line(node, limit=10)
            return f"{me} with {', '.join(others)}" if others else f"{me} alone"
    return ""


def _process_name(process: int | str) -> str:
    """``process 7``; a name that is a word needs no "process" before it."""
    name = one_line(process, limit=14)
    return f"process {name}" if len(name) < 6 else name


def _bar(op: Op, row: int, axis: BrokenAxis, stuck: str | None) -> Markup:
    """One operation: interval, ends, words; a cross if it is the one that cannot be."""
    y = TOP_PX + ROW_PX * row
    x0, x1 = axis.x(op.invoke_ns), axis.x(_end(op))
    if op.type == "info":
        x1 = max(x1, axis.right_px + 26)
        shape = el("path", class_="op op-info", d=_ragged(x0, x1, y))
    else:
        shape = el("rect", class_=f"op op-{op.type}", x=x0, y=y, width=max(x1 - x0, 3),
                   height=BAR_PX, rx=2)  # fmt: skip
    ends = [el("line", class_="op-end", x1=x0, y1=y - 3, x2=x0, y2=y + BAR_PX + 3)]
    if op.type != "info":
        ends.append(el("line", class_="op-end", x1=x1, y1=y - 3, x2=x1, y2=y + BAR_PX + 3))
    words = f"{one_line(op.process)}: {op_label(op, key=True, limit=80)}"
    tail = f", {axis.moment(op.invoke_ns)} to {axis.moment(op.complete_ns)}"
    parts = [el("title", text=words + tail), shape, *ends]
    if stuck is not None:
        parts.append(el("rect", class_="stuck", x=x0 - 4, y=y - 5, width=max(x1 - x0, 3) + 8,
                        height=BAR_PX + 10, rx=4))  # fmt: skip
        parts.append(el("path", class_="stuck-mark", d=_cross(x1 + 4, y - 5)))
    parts.append(label(x0 + 7, y + BAR_PX / 2 + 4, op_label(op), class_="op-label"))
    return el("g", *parts, data_op=op.invoke)


def _ragged(x0: float, x1: float, y: float) -> str:
    """A bar whose right edge is torn: the end is not known."""
    step = BAR_PX / 4
    teeth = " ".join(
        f"L{x1 - (6 if tooth % 2 else 0):.1f} {y + tooth * step:.1f}" for tooth in range(5)
    )
    return f"M{x0:.1f} {y:.1f} {teeth} L{x0:.1f} {y + BAR_PX:.1f} Z"


def _cross(x: float, y: float) -> str:
    r = 5.0
    return (
        f"M{x - r:.1f} {y - r:.1f} L{x + r:.1f} {y + r:.1f} "
        f"M{x + r:.1f} {y - r:.1f} L{x - r:.1f} {y + r:.1f}"
    )


def _orders(
    orders: Sequence[tuple[int, int]],
    ops: Sequence[Op],
    rows: Mapping[int | str, int],
    axis: BrokenAxis,
) -> list[Markup]:
    """Arrows from the end of one operation to the beginning of one that must follow it."""
    by_index = {op.invoke: op for op in ops}
    parts = []
    for source, target in orders:
        a, b = by_index.get(source), by_index.get(target)
        if a is None or b is None:
            continue
        x0, x1 = axis.x(_end(a)), axis.x(b.invoke_ns)
        y0, y1 = (TOP_PX + ROW_PX * rows[op.process] + BAR_PX / 2 for op in (a, b))
        parts.append(el("path", class_="edge edge-rt", d=f"M{x0:.1f} {y0:.1f} L{x1:.1f} {y1:.1f}",
                        marker_end="url(#arrow-rt)"))  # fmt: skip
    return parts


def _points(
    ops: Sequence[Op], steps: Sequence[tuple[int, str]], axis: BrokenAxis
) -> list[tuple[int, float]]:
    """Where each step's point is drawn: inside its operation, in order, apart if there is room."""
    by_index = {op.invoke: op for op in ops}
    chosen = [by_index[index] for index, _ in steps if index in by_index]
    low = [axis.x(op.invoke_ns) + 1 for op in chosen]
    high = [axis.right_px + 20 if op.type == "info" else axis.x(_end(op)) - 1 for op in chosen]
    for apart in (POINT_PX, POINT_PX / 2, POINT_PX / 4, 2.0, 0.0):
        lows, highs = low[:], high[:]
        for i in range(1, len(lows)):
            lows[i] = max(lows[i], lows[i - 1] + apart)
        for i in range(len(highs) - 2, -1, -1):
            highs[i] = min(highs[i], highs[i + 1] - apart)
        if all(a <= b for a, b in zip(lows, highs)):
            break
    placed: list[tuple[int, float]] = []
    before = -1e9
    for op, a, b in zip(chosen, lows, highs):
        before = max(a, min(max(a, before + apart), b), min((a + b) / 2, b, a + 40))
        before = min(before, max(a, b))
        placed.append((op.invoke, before))
    return placed


def _path(
    points: Sequence[tuple[int, float]],
    rows: Mapping[int | str, int],
    ops: Mapping[int, Op],
    bottom: float,
) -> list[Markup]:
    """Numbered points joined in order, each with a line down to the axis."""
    y_of = {i: TOP_PX + ROW_PX * rows[ops[i].process] + BAR_PX + 5 for i, _ in points}
    parts = []
    trail = " ".join(f"{'L' if n else 'M'}{x:.1f} {y_of[i]:.1f}" for n, (i, x) in enumerate(points))
    if len(points) > 1:
        parts.append(el("path", class_="trail", d=trail))
    for n, (index, x) in enumerate(points, start=1):
        y = y_of[index]
        parts += [
            el("line", class_="drop", x1=x, y1=y, x2=x, y2=bottom + 6),
            el("circle", class_="point", cx=x, cy=y, r=8.5),
            label(x, y + 4, str(n), class_="point-number", anchor="middle"),
        ]
    return parts


def _state_boxes(steps: Sequence[tuple[int, str]]) -> list[tuple[str, float]]:
    words = [clip(one_line(state), 28) for _, state in steps]
    return [(text, mono_px(text, 11.5) + 32) for text in words]


def _states_width(steps: Sequence[tuple[int, str]]) -> float:
    return min(860.0, LEFT_PX + sum(width + 22 for _, width in _state_boxes(steps)))


def _states(
    points: Sequence[tuple[int, float]], steps: Sequence[tuple[int, str]], y: float
) -> tuple[list[Markup], float]:
    """The states after each point, left to right beneath the axis, wrapped at the width."""
    if not steps:
        return [], y - 6
    parts = [label(6, y + 14, "state after", class_="row-name")]
    x = LEFT_PX + 8
    boxes = _state_boxes(steps)
    for n, (text, width) in enumerate(boxes, start=1):
        if x + width > 850 and x > LEFT_PX + 8:
            x, y = LEFT_PX + 8, y + 26
        parts.append(el("rect", class_="state", x=x, y=y, width=width, height=20, rx=3))
        parts.append(el("circle", class_="point", cx=x + 11, cy=y + 10, r=7.5))
        parts.append(label(x + 11, y + 14, str(n), class_="point-number", anchor="middle"))
        parts.append(label(x + 24, y + 14, text, class_="state-label"))
        x += width + 22
        if n < len(boxes):
            parts.append(label(x - 16, y + 14, "→", class_="tick"))
    return parts, y + 28
