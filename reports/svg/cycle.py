"""A cycle of transactions: who must come before whom, and when each of them really ran.

Each transaction is a lane with its micro-operations, one below the other in the order of the cycle,
so that an arrow goes down to the next lane and the last one leads back to the first. An arrow
leaves the micro-operation that proves it and enters the one it is proved against; arrows and their
labels lie between lanes, where they cover nothing. Kinds of step differ by colour, dash and label,
and carry the number of the sentence that explains them. Micro-operations on other keys are dull.

A transaction that is in no step, but whose read fixes the order of versions, is drawn grey beneath
the cycle and named so. At the bottom all lanes stand on the axis of real time, with the faults.

Text has one size whatever the width: :func:`draw` gives pictures of several widths, and the style
sheet shows the one that fits.

Elle draws the same cycles by Graphviz, without time; the lanes and ports are our own.

For :mod:`reports.findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.core.verdict import Because
from checkers.history import Fault, Op
from reports.palette import FaultStyle, edge_style
from reports.svg.axis import BrokenAxis
from reports.svg.bands import bands
from reports.svg.element import Markup, el, figure, label, mono_px
from reports.wording import (
    PREDICATE_READ,
    READS,
    clip,
    count,
    micro_op_label,
    micro_ops,
    one_line,
    op_label,
)

#: px of the pictures: a whole page, the first screen's panel, a window of 600 px.
WIDTHS_PX = {"wide": 1180.0, "medium": 860.0, "narrow": 530.0}
CHIP_PX, CHIP_GAP_PX, CHIP_FONT_PX = 24.0, 8.0, 13.0
#: between two lanes: above the arrows, and for each of them
GAP_PX, SLOT_PX = 12.0, 24.0
#: to the right of the lanes, where arrows lead back
GUTTER_PX, GUTTER_STEP_PX = 24.0, 12.0
BAR_PX, BAR_STEP_PX = 8.0, 15.0
TAG_PX = 18.0
#: Longest text of a micro-operation, and most of those on other keys that are drawn.
CHIP_CHARS_MAX, DULL_CHIPS_MAX = 34, 4
#: A cycle longer than this is drawn in part; its sentences are all there.
OPS_MAX = 24


@dataclass
class Cycle:
    """The picture of a cycle.

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
class _Chip:
    """A micro-operation's place; ``part`` is its position in the transaction, -1 for a summary."""

    part: int
    words: str
    telling: bool
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0


@dataclass
class _Lane:
    """A transaction's place: its chips from ``y`` to ``y + height``."""

    op: Op
    proves: str
    chips: list[_Chip]
    y: float = 0.0
    height: float = 0.0


@dataclass
class _Arrow:
    """A step between two lanes: where it begins and ends, and the slots it lies in.

    Args:
        number: of its sentence.
        step: what it says.
        source, target: positions of the lanes.
        x0, x1: where it leaves and enters.
        out, into: (gap, slot) beneath the source and above the target; one and the same where the
            target is the next lane.
        gutter: how far from the right edge it leads back, in steps; -1 if it need not.
    """

    number: int
    step: Because
    source: int
    target: int
    x0: float
    x1: float
    out: tuple[int, int] = (0, 0)
    into: tuple[int, int] = (0, 0)
    gutter: int = -1


def draw(cycle: Cycle) -> Markup:
    """The pictures as SVG; at most :data:`OPS_MAX` transactions."""
    return Markup("".join(_Picture(cycle, name, px).draw() for name, px in WIDTHS_PX.items()))


class _Picture:
    """One picture of a width."""

    def __init__(self, cycle: Cycle, name: str, width_px: float) -> None:
        self.cycle, self.name, self.width = cycle, name, width_px
        self.left = 92.0 if name == "narrow" else 128.0
        self.lanes = [self._lane(op) for op in _in_order(cycle)[:OPS_MAX]]
        self.place = {lane.op.invoke: at for at, lane in enumerate(self.lanes)}
        self.arrows = self._arrows()
        ends = [chip.x + chip.width for lane in self.lanes for chip in lane.chips]
        self.turn = max(ends, default=self.left) + GUTTER_PX
        self.gaps = self._stack()

    # -- places --------------------------------------------------------------------------------

    def _lane(self, op: Op) -> _Lane:
        lane = _Lane(op, _proves(op, self.cycle), _chips(op, self.cycle))
        x, row, right = self.left, 0, self.width - 60.0
        for chip in lane.chips:
            chip.width = mono_px(chip.words, CHIP_FONT_PX) + 14
            if x + chip.width > right and x > self.left:
                x, row = self.left, row + 1
            chip.x, chip.y = x, row * (CHIP_PX + CHIP_GAP_PX)
            x += chip.width + CHIP_GAP_PX
        lane.height = max(row * (CHIP_PX + CHIP_GAP_PX) + CHIP_PX, 46.0)
        return lane

    def _arrows(self) -> list[_Arrow]:
        arrows, used, back = [], dict.fromkeys(range(len(self.lanes) + 1), 0), 0
        for number, step in enumerate(self.cycle.steps, start=1):
            a, b = self.place.get(step.source), self.place.get(step.target)
            if a is None or b is None or a == b:
                continue
            x0 = _port(self.lanes[a], step, source=True)
            x1 = _port(self.lanes[b], step, source=False)
            arrow = _Arrow(number, step, a, b, x0, x1)
            arrow.out = arrow.into = (a + 1, used[a + 1])
            used[a + 1] += 1
            if b != a + 1:
                arrow.into, arrow.gutter = (b, used[b]), back
                used[b] += 1
                back += 1
            arrows.append(arrow)
        return arrows

    def _stack(self) -> list[float]:
        """Put the lanes below each other; where each gap between them begins."""
        slots = [0] * (len(self.lanes) + 1)
        for arrow in self.arrows:
            for gap, slot in (arrow.out, arrow.into):
                slots[gap] = max(slots[gap], slot + 1)
        y, begins = 4.0, []
        for at, taken in enumerate(slots):
            begins.append(y)
            y += (GAP_PX + SLOT_PX * taken) if taken or at else 0.0
            if at < len(self.lanes):
                self.lanes[at].y = y
                y += self.lanes[at].height
        self.bottom = y
        return begins

    def _slot_y(self, place: tuple[int, int]) -> float:
        gap, slot = place
        return self.gaps[gap] + GAP_PX / 2 + SLOT_PX * (slot + 0.5)

    # -- drawing -------------------------------------------------------------------------------

    def draw(self) -> Markup:
        lines = [self._line(arrow) for arrow in self.arrows]
        lanes = [self._draw_lane(lane) for lane in self.lanes]
        tags = [self._tag(arrow) for arrow in self.arrows]
        when, height = self._when(self.bottom + 8)
        return figure(
            self.width,
            height,
            self.cycle.title,
            *lines,
            *lanes,
            *tags,
            when,
            class_=f"cycle {self.name}",
        )

    def _draw_lane(self, lane: _Lane) -> Markup:
        op, name = lane.op, self.cycle.names.get(lane.op.invoke, "")
        who = f"process {one_line(op.process, limit=9)}"
        outcome = {"info": "outcome unknown", "fail": "failed"}.get(op.type, "")
        said = lane.proves or outcome
        parts = [
            el("title", text=f"{name}, {who}, {op.type}{f', {said}' if said else ''}"),
            label(6, lane.y + 15, name, class_="txn-name"),
            label(6, lane.y + 31, who, class_="row-node"),
        ]
        if said:
            parts.append(label(6, lane.y + 45, said, class_="row-node"))
        for chip in lane.chips:
            y = lane.y + chip.y
            kind = "telling" if chip.telling and not lane.proves else "dull"
            parts.append(
                el("rect", class_=f"chip {kind}", x=chip.x, y=y, width=chip.width, height=CHIP_PX,
                   rx=4)
            )  # fmt: skip
            parts.append(label(chip.x + 7, y + 16.5, chip.words, class_=f"chip-label {kind}"))
        css = "lane proof" if lane.proves else f"lane lane-{op.type}"
        return el("g", *parts, class_=css, data_op=op.invoke)

    def _line(self, arrow: _Arrow) -> Markup:
        style = edge_style(arrow.step.kind)
        source, target = self.lanes[arrow.source], self.lanes[arrow.target]
        out, into = self._slot_y(arrow.out), self._slot_y(arrow.into)
        y0, y1 = _chip_at(source, arrow.x0).y + source.y + CHIP_PX, _chip_at(target, arrow.x1).y
        y1 += target.y - 2
        d = f"M{arrow.x0:.1f} {y0:.1f} V{out:.1f}"
        if arrow.gutter >= 0:
            x = self.turn + GUTTER_STEP_PX * arrow.gutter
            d += f" H{x:.1f} V{into:.1f}"
        d += f" H{arrow.x1:.1f} V{y1:.1f}"
        return el(
            "g",
            el("title", text=f"{arrow.number}. {one_line(arrow.step.text)}"),
            el("path", class_=f"edge edge-{style.css}", d=d, stroke_dasharray=style.dash or None,
               stroke_linejoin="round", marker_end=f"url(#arrow-{style.css})"),
            class_="arc",
            data_step=arrow.number,
        )  # fmt: skip

    def _tag(self, arrow: _Arrow) -> Markup:
        """The arrow's label, on its level part, away from every upright line of that gap."""
        style = edge_style(arrow.step.kind)
        words = f"{arrow.number} {one_line(arrow.step.kind, limit=14)}"
        width = mono_px(words, 12) + 14
        x, y = self._tag_x(arrow, width), self._slot_y(arrow.out)
        return el(
            "g",
            el("rect", class_=f"edge-tag edge-{style.css}", x=x - width / 2, y=y - TAG_PX / 2,
               width=width, height=TAG_PX, rx=TAG_PX / 2),
            label(x, y + 4, words, class_="edge-label", anchor="middle"),
            class_="arc",
            data_step=arrow.number,
        )  # fmt: skip

    def _tag_x(self, arrow: _Arrow, width: float) -> float:
        gap = arrow.out[0]
        uprights = [x for other in self.arrows for x in self._uprights(other, gap)]
        end = self.turn if arrow.gutter >= 0 else arrow.x1
        low, high = sorted((arrow.x0, end))
        middle = (low + high) / 2
        room = width / 2 + 5

        def free(x: float) -> bool:
            return all(abs(x - upright) >= room for upright in uprights)

        steps = range(int((high - low) / 2 // 4) + 1)
        inside = [middle + side * 4 * n for n in steps for side in (1, -1)]
        beside = [x for u in [*uprights, low, high] for x in (u + room, u - room)]
        fits = [x for x in inside if low + room <= x <= high - room and free(x)]
        fits += [x for x in sorted(beside, key=lambda x: abs(x - middle)) if free(x)]
        inner = [x for x in fits if self.left + room <= x <= self.width - room]
        return inner[0] if inner else middle

    @staticmethod
    def _uprights(arrow: _Arrow, gap: int) -> list[float]:
        found = [arrow.x0] if arrow.out[0] == gap else []
        return found + ([arrow.x1] if arrow.into[0] == gap else [])

    def _when(self, y: float) -> tuple[Markup, float]:
        """All lanes on the axis of real time, with the faults behind; and where it ends."""
        ops = [lane.op for lane in self.lanes]
        times = sorted({t for op in ops for t in (op.invoke_ns, _end(op))} or {0})
        room = self.width - self.left - 40
        axis = BrokenAxis(
            times,
            left_px=self.left,
            width_px=room,
            gap_px_min=min(18.0, room / (len(times) + 1)),
            gap_px_max=room / 2 if len(times) > 2 else room,
            positions=self.cycle.positions,
        )
        bottom = y + BAR_STEP_PX * len(ops) + 4
        parts = [
            bands(self.cycle.faults, self.cycle.styles, axis.x, begin_ns=axis.times[0],
                  end_ns=axis.times[-1], y=y - 4, height=bottom - y + 4),
        ]  # fmt: skip
        for row, lane in enumerate(self.lanes):
            top = y + BAR_STEP_PX * row
            name = self.cycle.names.get(lane.op.invoke, "")
            parts.append(label(self.left - 8, top + 8, name, class_="tick", anchor="end"))
            parts.append(_bar(lane, axis, top))
        parts.append(axis.draw(bottom + 2))
        return el("g", *parts), bottom + 26


def _in_order(cycle: Cycle) -> list[Op]:
    """The transactions of the steps in their order, then those that only prove an order."""
    by_index = {op.invoke: op for op in cycle.ops}
    named = [index for step in cycle.steps for index in (step.source, step.target)]
    order = dict.fromkeys([*named, *by_index])
    return [by_index[index] for index in order if index in by_index]


def _proves(op: Op, cycle: Cycle) -> str:
    """The role of a transaction that is in no step; "" for one of the cycle."""
    if any(op.invoke in (step.source, step.target) for step in cycle.steps):
        return ""
    numbers = [
        str(number)
        for number, step in enumerate(cycle.steps, start=1)
        if any(op.invoke in (proof.source, proof.target) for proof in step.proof)
    ]
    return f"proves only {', '.join(numbers)}" if numbers else "beside it"


def _chips(op: Op, cycle: Cycle) -> list[_Chip]:
    """The micro-operations on keys of the steps, some of the others, and how many are left."""
    parts = micro_ops(op)
    if not parts:
        return [_Chip(0, op_label(op, key=True, limit=CHIP_CHARS_MAX), True)]
    keys = {repr(fact.key) for step in cycle.steps for fact in (step, *step.proof)}
    telling = [n for n, part in enumerate(parts) if repr(part[1]) in keys]
    if not telling or any(part[0] == PREDICATE_READ for part in parts):
        telling = list(range(len(parts)))
    dull = [n for n in range(len(parts)) if n not in telling]
    shown = {*telling, *dull[:DULL_CHIPS_MAX]}
    chips = [
        _Chip(n, clip(micro_op_label(part), CHIP_CHARS_MAX), n in telling)
        for n, part in enumerate(parts)
        if n in shown
    ]
    left = len(parts) - len(chips)
    return [*chips, _Chip(-1, f"and {count(left, 'more')}", False)] if left else chips


def _chip_at(lane: _Lane, x: float) -> _Chip:
    """The chip whose middle is there; the first one if none is."""
    return next(
        (chip for chip in lane.chips if abs(chip.x + chip.width / 2 - x) < 0.5), lane.chips[0]
    )


def _port(lane: _Lane, step: Because, *, source: bool) -> float:
    """Where an arrow leaves or enters: the middle of the micro-operation that proves it."""
    found = _proving(micro_ops(lane.op), step, source=source)
    if step.kind.startswith(("realtime", "process")):
        found = None
    chip = next((chip for chip in lane.chips if chip.part == found), lane.chips[0])
    return chip.x + chip.width / 2


def _end(op: Op) -> int:
    return op.complete_ns if op.complete_ns >= 0 else op.invoke_ns + 1


def _bar(lane: _Lane, axis: BrokenAxis, y: float) -> Markup:
    op = lane.op
    x0, x1 = axis.x(op.invoke_ns), axis.x(_end(op))
    if op.type == "info":
        x1 = axis.right_px + 12
    css = "proof" if lane.proves else f"op-{op.type}"
    times = f"{axis.moment(op.invoke_ns)} to {axis.moment(op.complete_ns)}"
    return el(
        "g",
        el("title", text=times),
        el("rect", class_=f"txn {css}", x=x0, y=y, width=max(x1 - x0, 3), height=BAR_PX, rx=2),
        data_op=op.invoke,
    )


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
