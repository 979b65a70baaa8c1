"""Findings as a reader sees them: picture, sentences, tables and text to paste.

Each finding becomes one card with one anchor (``#f1``, ``#f2`` ...). Which picture suits it follows
from what the checker gave: steps of a model make a failing window, edges between transactions a
cycle, stages of elements life lines, what led to a broken invariant a sequence of messages; else
the operations of its witness are drawn on real time. The data is the checker's
:class:`~checkers.core.verdict.Because`; no judgement is made here.

For :mod:`reports.page`, :mod:`reports.markdown` and :mod:`reports.terminal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.core.verdict import Because, Finding
from checkers.history import INVOKE, History, Op
from reports.palette import FaultStyle, edge_style
from reports.run_directory import Run
from reports.svg import cycle, lifelines, sequence, window
from reports.svg.element import Markup
from reports.table import op_table
from reports.wording import duration, key_name, micro_ops, moment, one_line, op_label, show

#: Findings with pictures; the rest are listed by their sentence, and the report says so.
CARDS_MAX = 20
#: Rows of an operation table in a card.
TABLE_ROWS_MAX = 60

#: Parts of ``Finding.detail`` that the picture or the table already shows.
_SHOWN_DETAIL = frozenset({"transactions", "cycle", "elements", "holders", "story"})


@dataclass
class Step:
    """One step of an explanation: a number, a kind, a sentence and what it rests on."""

    number: int
    kind: str
    css: str
    text: str
    state: str
    proof: list[Step] = field(default_factory=list)


@dataclass
class Row:
    """One operation of the witness in the card's table."""

    index: int
    name: str
    process: str
    node: str
    words: str
    outcome: str
    begin: str
    took: str
    note: str


@dataclass
class Card:
    """One finding, ready for a template.

    Args:
        anchor: ``f1``.
        checker: which checker found it.
        shape: ``window``, ``cycle``, ``life`` or ``story``: what the picture is.
        picture: SVG, or empty if there is no history to draw from.
        begin_ns, end_ns: the stretch of time of the witness, -1 if unknown.
        at_ns: when it became definite: the last ``ok`` of the witness.
        ops: invocation indices of everything drawn.
        more: facts of ``Finding.detail`` as (name, text) pairs.
    """

    anchor: str
    checker: str
    kind: str
    title: str
    sentence: str
    key: str
    breaks: str
    shape: str
    picture: Markup
    steps: list[Step]
    stuck: list[Step]
    rows: list[Row]
    ascii: str
    begin_ns: int
    end_ns: int
    at_ns: int
    ops: list[int]
    more: list[tuple[str, str]]
    logs: list[Any] = field(default_factory=list)


def numbered(run: Run) -> list[tuple[str, str, Finding]]:
    """All findings as (anchor, checker, finding), in the order of the results."""
    found: list[tuple[str, Finding]] = []
    for result in run.results:
        found.extend(_walk(result))
    return [(f"f{n}", name, finding) for n, (name, finding) in enumerate(found, start=1)]


def _walk(result: Any) -> list[tuple[str, Finding]]:
    found = [(result.checker, finding) for finding in result.findings]
    for part in result.parts:
        found.extend(_walk(part))
    return found


def cards(
    run: Run, styles: Mapping[str, FaultStyle], leads: Sequence[window.Lead] = ()
) -> list[Card]:
    """The cards of the first :data:`CARDS_MAX` findings.

    Args:
        run: the run.
        styles: of its faults.
        leads: which node led when, if that is known.
    """
    return [_card(run, styles, leads, *entry) for entry in numbered(run)[:CARDS_MAX]]


def spans(run: Run) -> list[tuple[str, int, int]]:
    """Anchor, begin and end in ns of each finding that has a card."""
    found = []
    for anchor, _, finding in numbered(run)[:CARDS_MAX]:
        proofs = _shape(finding, run.history) == "cycle"
        ops = witness_ops(run.history, finding, proofs=proofs)
        found.append((anchor, *_span(ops, finding, run)))
    return found


def witness_ops(history: History | None, finding: Finding, *, proofs: bool = False) -> list[Op]:
    """The operations a finding speaks of: its witness and those its explanation names.

    Args:
        history: None if it cannot be read: then there are none.
        finding: the finding.
        proofs: also those that the proofs of its steps name.
    """
    if history is None:
        return []
    named = set(finding.ops) | _named(finding.because, proofs)
    good = [i for i in sorted(named) if 0 <= i < len(history) and history.type[i] == INVOKE]
    return [history.op(index) for index in good]


def _named(steps: Sequence[Because], proofs: bool) -> set[int]:
    named = {index for step in steps for index in (step.source, step.target)}
    if proofs:
        for step in steps:
            named |= _named(step.proof, proofs)
    return named


def _names(ops: Sequence[Op], finding: Finding) -> dict[int, str]:
    """T1, T2 ...: as the checker's sentences name them, else in the order of the explanation.

    Those that only proofs name come last.
    """
    transactions = finding.detail.get("transactions")
    entries = [entry for entry in transactions if isinstance(entry, dict)] if transactions else []
    names = {e["invoke"]: one_line(e["name"]) for e in entries if "invoke" in e and "name" in e}
    order = [step.source for step in finding.because] + list(finding.ops)
    order += [op.invoke for op in ops]
    drawn = {op.invoke for op in ops}
    for index in dict.fromkeys(order):
        if index in drawn and index not in names:
            names[index] = f"T{len(names) + 1}"
    return names


def _card(
    run: Run,
    styles: Mapping[str, FaultStyle],
    leads: Sequence[window.Lead],
    anchor: str,
    checker: str,
    finding: Finding,
) -> Card:
    shape = _shape(finding, run.history)
    ops = witness_ops(run.history, finding, proofs=shape == "cycle")
    names = _names(ops, finding)
    stuck = {_subject(step): _words(step) for step in finding.because if step.kind == "stuck"}
    steps = [step for step in finding.because if step.kind != "stuck"]
    begin, end = _span(ops, finding, run)
    return Card(
        anchor=anchor,
        checker=one_line(checker),
        kind=one_line(finding.kind),
        title=one_line(finding.title or finding.kind),
        sentence=one_line(finding.sentence, limit=1000),
        key=key_name(finding.key),
        breaks=one_line(finding.breaks or ""),
        shape=shape,
        picture=_picture(shape, run, styles, leads, finding, ops, stuck, names),
        steps=[_step(n, step) for n, step in enumerate(steps, start=1)],
        stuck=[_step(n, s) for n, s in enumerate(_stuck(finding), start=1)],
        rows=[_row(run, op, names, finding, stuck) for op in ops[:TABLE_ROWS_MAX]],
        ascii=op_table(ops, marked=list(stuck), positions=run.positions)
        if ops
        else "\n".join(event.line for event in sequence.story_of(finding.detail)),
        begin_ns=begin,
        end_ns=end,
        at_ns=max((op.complete_ns for op in ops if op.type == "ok"), default=end),
        ops=[op.invoke for op in ops],
        more=[
            (one_line(name), show(value, limit=200))
            for name, value in finding.detail.items()
            if name not in _SHOWN_DETAIL
        ],
    )


def _shape(finding: Finding, history: History | None) -> str:
    kinds = {step.kind.split("-")[0] for step in finding.because}
    if "step" in kinds or "stuck" in kinds:
        return "window"
    if history is not None and lifelines.life_lines(finding.detail, _clock(history)):
        return "life"
    if sequence.story_of(finding.detail):
        return "story"
    transactions = any(micro_ops(op) for op in witness_ops(history, finding))
    return "cycle" if transactions or "transactions" in finding.detail else "window"


def _clock(history: History) -> Any:
    def time_of(index: int) -> int:
        return int(history.time_ns[index]) if index < len(history) else -1

    return time_of


def _picture(
    shape: str,
    run: Run,
    styles: Mapping[str, FaultStyle],
    leads: Sequence[window.Lead],
    finding: Finding,
    ops: Sequence[Op],
    stuck: Mapping[int, str],
    names: Mapping[int, str],
) -> Markup:
    title = one_line(f"{finding.title}. {finding.sentence}", limit=500)
    if shape == "story":
        named = finding.detail.get("nodes")
        nodes = [one_line(node, limit=30) for node in named] if isinstance(named, list) else []
        events = sequence.story_of(finding.detail)
        return sequence.draw(sequence.Story(events, nodes, one_line(finding.title), title))
    if run.history is None or (not ops and shape != "life"):
        return Markup("")
    if shape == "life":
        lines = lifelines.life_lines(finding.detail, _clock(run.history))
        return lifelines.draw(
            lines,
            faults=run.faults,
            styles=styles,
            title=title,
            end_ns=run.end_ns,
            positions=run.positions,
        )
    if shape == "cycle":
        drawn = cycle.Cycle(ops, finding.because, names, run.faults, styles, title, run.positions)
        return cycle.draw(drawn)
    steps = [(_subject(s), s.state or "") for s in finding.because if s.kind == "step"]
    orders = [(s.source, s.target) for s in finding.because if s.kind == "realtime"]
    return window.draw(
        window.Window(ops, steps, stuck, orders, run.faults, styles, leads, title, run.positions)
    )


def _subject(step: Because) -> int:
    """The operation a model step is about: its target, else its source."""
    return step.target if step.target >= 0 else step.source


def _stuck(finding: Finding) -> list[Because]:
    return [step for step in finding.because if step.kind == "stuck"]


def _words(step: Because) -> str:
    if step.text:
        return one_line(step.text, limit=600)
    about = [f"key {key_name(step.key)}"] if step.key is not None else []
    about += [f"value {show(step.value)}"] if step.value is not None else []
    return f"{edge_style(step.kind).meaning} {', '.join(about)}".strip()


def _step(number: int, step: Because) -> Step:
    return Step(
        number=number,
        kind=one_line(step.kind, limit=20),
        css=edge_style(step.kind).css,
        text=_words(step),
        state=one_line(step.state or "", limit=80),
        proof=[_step(n, inner) for n, inner in enumerate(step.proof, start=1)],
    )


def _row(
    run: Run, op: Op, names: Mapping[int, str], finding: Finding, stuck: Mapping[int, str]
) -> Row:
    order = [_subject(step) for step in finding.because if step.kind == "step"]
    note = f"step {order.index(op.invoke) + 1}" if op.invoke in order else ""
    if op.invoke in stuck:
        note = stuck[op.invoke]
    if op.error is not None and not note:
        note = one_line(op.error, limit=120)
    positions = run.positions
    took = (
        ""
        if positions
        else duration(op.complete_ns - op.invoke_ns)
        if op.complete_ns >= 0
        else "not known"
    )
    return Row(
        index=op.invoke,
        name=names[op.invoke],
        process=one_line(op.process, limit=20),
        node=one_line(op.node or "", limit=30),
        words=op_label(op, limit=120, key=True),
        outcome=op.type,
        begin=moment(op.invoke_ns, positions=positions),
        took="" if positions else took,
        note=note,
    )


def _span(ops: Sequence[Op], finding: Finding, run: Run) -> tuple[int, int]:
    times = [t for op in ops for t in (op.invoke_ns, op.complete_ns) if t >= 0]
    if run.history is not None:
        for line in lifelines.life_lines(finding.detail, _clock(run.history)):
            times.extend(line.moments.values())
    story = sequence.story_of(finding.detail)
    if story and not times:
        times = [story[-1].time_ns]
    return (min(times), max(times)) if times else (-1, -1)
