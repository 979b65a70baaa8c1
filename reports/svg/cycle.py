"""A cycle of transactions, drawn on real time.

Each transaction is a box of its micro-operations on a row of its own, placed where it happened; an
arrow for each step of the cycle leaves the micro-operation that proves it and enters the one it is
proved against. Kinds of step differ by colour, dash and label, and carry the number of the sentence
that explains them.

Elle draws the same cycles by Graphviz, without time; the box-and-port idea is its own.

For :mod:`reports.findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.history import Fault, Op
from checkers.verdict import Because
from reports.palette import FaultStyle, edge_style
from reports.svg.axis import BrokenAxis
from reports.svg.bands import bands
from reports.svg.element import Markup, el, figure, label, mono_px
from reports.wording import (
    PREDICATE_READ,
    READS,
    clip,
    micro_op_label,
    micro_ops,
    one_line,
    op_label,
)

ROW_PX = 78.0
BOX_PX = 26.0
LEFT_PX = 104.0
TOP_PX = 40.0
CHIP_GAP_PX = 6.0
#: A cycle longer than this is drawn in part; its sentences are all there.
OPS_MAX = 24
WRITES = frozenset({"append", "w", "write", "insert", "incr", "put", "add"})


@dataclass
class Cycle:
    """What is drawn.

    Args:
        ops: the transactions, in order of invocation.
        steps: the steps of the cycle, in order.
        names: invocation index -> ``T1``.
        faults, styles: the run's faults and how they look.
        title: the picture in one sentence.
        positions: the history has no times; positions stand in for them.
    """

    ops: Sequence[Op]
    steps: Sequence[Because]
    names: Mapping[int, str]
    faults: Sequence[Fault] = ()
    styles: Mapping[str, FaultStyle] = field(default_factory=dict)
    title: str = ""
    positions: bool = False


@dataclass
class _Box:
    """A transaction's place: its box and the centre of each micro-operation."""

    op: Op
    x0: float
    x1: float
    y: float
    chips: list[tuple[float, float, str]]


def draw(cycle: Cycle, *, width_px: float = 860.0) -> Markup:
    """The picture as SVG; at most :data:`OPS_MAX` transactions."""
    ops = list(cycle.ops)[:OPS_MAX]
    words = {op.invoke: _chip_words(op) for op in ops}
    spans = [
        (op.invoke_ns, _end(op), _chips_width(words[op.invoke]) + 16)
        for op in ops
        if _end(op) > op.invoke_ns
    ]
    times = [time for op in ops for time in (op.invoke_ns, _end(op))] or [0]
    axis = BrokenAxis(
        times,
        left_px=LEFT_PX + 12,
        width_px=width_px - LEFT_PX - 60,
        spans=spans,
        positions=cycle.positions,
    )
    boxes = {op.invoke: _place(op, row, axis, words[op.invoke]) for row, op in enumerate(ops)}
    bottom = TOP_PX + ROW_PX * len(ops)
    tags: list[tuple[float, float, float]] = []
    drawn = [_edge(n, step, boxes, tags) for n, step in enumerate(cycle.steps, start=1)]
    parts = [
        bands(cycle.faults, cycle.styles, axis.x, begin_ns=axis.times[0], end_ns=axis.times[-1],
              y=0, height=bottom),
        *(_draw_box(box, cycle.names.get(index, ""), axis) for index, box in boxes.items()),
        *drawn,
        axis.draw(bottom + 4),
    ]  # fmt: skip
    right = max([axis.right_px, *(box.x1 for box in boxes.values())])
    return figure(max(right + 70, width_px), bottom + 32, cycle.title, *parts, class_="cycle")


def _end(op: Op) -> int:
    return op.complete_ns if op.complete_ns >= 0 else op.invoke_ns + 1


def _chip_words(op: Op) -> list[str]:
    parts = micro_ops(op)
    if not parts:
        return [op_label(op, key=True, limit=40)]
    return [clip(micro_op_label(part), 30) for part in parts]


def _chips_width(words: Sequence[str]) -> float:
    return sum(mono_px(text, 11.5) + 12 + CHIP_GAP_PX for text in words)


def _place(op: Op, row: int, axis: BrokenAxis, words: Sequence[str]) -> _Box:
    x0, y = axis.x(op.invoke_ns), TOP_PX + ROW_PX * row
    box = _Box(op, x0, max(axis.x(_end(op)), x0 + _chips_width(words) + 10), y, [])
    x = x0 + 8
    for text in words:
        width = mono_px(text, 11.5) + 12
        box.chips.append((x, width, text))
        x += width + CHIP_GAP_PX
    return box


def _draw_box(box: _Box, name: str, axis: BrokenAxis) -> Markup:
    op = box.op
    middle = box.y + BOX_PX / 2
    who = f"process {one_line(op.process, limit=9)}"
    chips = []
    for x, width, text in box.chips:
        chips.append(el("rect", class_="chip", x=x, y=box.y + 3, width=width, height=BOX_PX - 6,
                        rx=3))  # fmt: skip
        chips.append(label(x + 6, middle + 4, text, class_="chip-label"))
    times = f"{axis.moment(op.invoke_ns)} to {axis.moment(op.complete_ns)}"
    return el(
        "g",
        el("title", text=f"{name}, {who}, {op.type}, {times}"),
        label(6, middle, name, class_="txn-name"),
        label(6, middle + 14, who, class_="row-node"),
        el("line", class_="row", x1=LEFT_PX, y1=middle, x2=box.x0, y2=middle),
        el("rect", class_=f"txn op-{op.type}", x=box.x0, y=box.y, width=box.x1 - box.x0,
           height=BOX_PX, rx=4),
        *chips,
        data_op=op.invoke,
    )  # fmt: skip


def _edge(
    number: int, step: Because, boxes: Mapping[int, _Box], tags: list[tuple[float, float, float]]
) -> Markup:
    """One numbered arrow; nothing if an end of it is not drawn. Its tag is added to the tags."""
    a, b = boxes.get(step.source), boxes.get(step.target)
    if a is None or b is None or a is b:
        return Markup("")
    style = edge_style(step.kind)
    down = b.y > a.y
    x0 = _port(a, step, source=True)
    x1 = _port(b, step, source=False)
    y0 = a.y + BOX_PX if down else a.y
    y1 = b.y - 3 if down else b.y + BOX_PX + 3
    bend = max(22.0, abs(y1 - y0) * 0.45) * (1 if down else -1)
    side = 0.0 if down else 46.0 + 10 * (number % 3)
    d = f"M{x0:.1f} {y0:.1f} C{x0 + side:.1f} {y0 + bend:.1f} {x1 + side:.1f} {y1 - bend:.1f} "
    d += f"{x1:.1f} {y1:.1f}"
    x, y = (x0 + x1) / 2 + 0.75 * side, (y0 + y1) / 2
    words = f"{number} {one_line(step.kind, limit=14)}"
    width = mono_px(words, 11) + 10
    x = _beside(x, y, width, tags)
    return el(
        "g",
        el("title", text=f"{number}. {one_line(step.text)}"),
        el("path", class_=f"edge edge-{style.css}", d=d, stroke_dasharray=style.dash or None,
           marker_end=f"url(#arrow-{style.css})"),
        el("rect", class_=f"edge-tag edge-{style.css}", x=x - width / 2, y=y - 9, width=width,
           height=18, rx=9),
        label(x, y + 4, words, class_="edge-label", anchor="middle"),
        class_="arc",
        data_step=number,
    )  # fmt: skip


def _beside(x: float, y: float, width: float, tags: list[tuple[float, float, float]]) -> float:
    """Where the middle of a tag goes that covers none placed before: there, or to the right."""
    for left, right, middle in sorted(tags):
        if abs(y - middle) < 18 and x - width / 2 < right and left < x + width / 2:
            x = right + 2 + width / 2
    tags.append((x - width / 2, x + width / 2, y))
    return x


def _port(box: _Box, step: Because, *, source: bool) -> float:
    """Where an arrow leaves or enters: the middle of the micro-operation that proves it."""
    if step.kind.startswith(("realtime", "process")):
        return box.x1 - 6 if source else box.x0 + 6
    found = _proving(micro_ops(box.op), step, source=source)
    if found is None:
        return (box.x0 + min(box.x1, box.x0 + 60)) / 2
    x, width, _ = box.chips[found]
    return x + width / 2


def _proving(parts: Sequence[tuple[str, Any, Any]], step: Because, *, source: bool) -> int | None:
    """Index of the micro-operation on the step's key that reads or writes as the step says."""
    kind = step.kind.split("-")[0]
    asked = "rw-predicate" if source else "wr-predicate"
    if step.kind.startswith(asked):  # it asked for keys, and names none
        return next((index for index, (f, _, _) in enumerate(parts) if f == PREDICATE_READ), None)
    reads = kind == ("rw" if source else "wr")
    best: tuple[int, int] | None = None
    for index, (f, key, value) in enumerate(parts):
        if key != step.key:
            continue
        score = 1 + 2 * ((f in READS) == reads)
        holds = isinstance(value, (list, tuple)) and step.value in value
        score += 4 * (value == step.value or holds) if kind != "rw" or not source else 0
        if best is None or score > best[0]:
            best = (score, index)
    return None if best is None else best[1]


def arrowheads() -> Markup:
    """The arrowheads of all kinds, for the page's definitions."""
    kinds = ("ww", "wr", "rw", "rt", "pr", "ot")
    heads = [
        el(
            "marker",
            el("path", d="M0 0 L8 4 L0 8 Z", class_=f"head edge-{kind}"),
            id=f"arrow-{kind}", viewBox="0 0 8 8", refX=7, refY=4, markerWidth=8, markerHeight=8,
            orient="auto", markerUnits="userSpaceOnUse",
        )
        for kind in kinds
    ]  # fmt: skip
    return el("svg", el("defs", *heads), class_="defs", width=0, height=0, aria_hidden="true")
