"""Queues: what comes out went in, once, and in the end everything comes out.

Vocabulary: ``enqueue`` (input: the value), ``dequeue`` (output: the value, None if the queue was
empty), ``drain`` (output: the list of all values that were left). Order is not checked here; the
linearizability models ``fifo-queue`` and ``unordered-queue`` do that.

`queue` asks that every dequeued value was enqueued and comes out at most as often as it went in.
`total_queue` asks besides that every acknowledged value came out, which is known only once the
queue was seen empty after the last enqueue: by a completed drain, or by a dequeue that found
nothing. A dequeue of unknown outcome may have taken one value, and an unknown drain any number.

Redelivery is what at-least-once queues do, so `total_queue` counts duplicates but accepts them
unless ``exactly_once=True``.

Source: the ``queue`` and ``total-queue`` checkers of Jepsen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, as_list, at, make, refuse, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, INFO, OK, History

VOCABULARY = frozenset(("enqueue", "dequeue", "drain"))


@dataclass
class Traffic:
    """The values enqueued and dequeued, by token of the value."""

    attempted: dict[Hashable, list[int]] = field(default_factory=dict)  # invocations that may have
    failed: dict[Hashable, int] = field(default_factory=dict)  # an invocation that failed
    acknowledged: Counter[Hashable] = field(default_factory=Counter)
    taken: dict[Hashable, list[int]] = field(default_factory=dict)  # invocations of dequeues
    values: dict[Hashable, object] = field(default_factory=dict)
    unknown_dequeues: list[int] = field(default_factory=list)  # invocations
    unknown_drains: int = 0
    last_enqueue: int = -1  # the last event of any enqueue
    empty_seen: int = -1  # latest invocation of a dequeue or drain that saw the queue empty


def queue() -> Checker:
    """The checker ``queue``: every value dequeued was enqueued, and no oftener."""

    def check_history(history: History, meter: Meter) -> Judgement:
        traffic = _gather(history, meter)
        return _judgement(traffic, _out_of_nowhere(history, traffic, duplicates=True))

    return make("queue", check_history, vocabulary=VOCABULARY, trivial=("enqueue",))


def total_queue(*, exactly_once: bool = False) -> Checker:
    """The checker ``total-queue``: what goes in comes out.

    Args:
        exactly_once: whether a value that comes out twice is a violation.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        traffic = _gather(history, meter)
        said = _judgement(traffic, _out_of_nowhere(history, traffic, duplicates=exactly_once))
        _judge_losses(history, traffic, said)
        return said

    return make("total-queue", check_history, vocabulary=VOCABULARY)


def _gather(history: History, meter: Meter) -> Traffic:
    traffic = Traffic()
    for row in rows(history, meter):
        if row.f == "enqueue":
            if row.input is None:
                raise refuse(history, row.invoke, "an enqueue needs a value, which null is not")
            _enqueue(traffic, row)
        elif row.f == "dequeue":
            _dequeue(history, traffic, row)
        elif row.f == "drain":
            _drain(history, traffic, row)
    return traffic


def _enqueue(traffic: Traffic, row: Row) -> None:
    name = token(row.input)
    traffic.values.setdefault(name, row.input)
    if row.outcome == FAIL:
        traffic.failed.setdefault(name, row.invoke)
        return
    traffic.attempted.setdefault(name, []).append(row.invoke)
    traffic.last_enqueue = max(traffic.last_enqueue, row.invoke, row.complete)
    if row.outcome == OK:
        traffic.acknowledged[name] += 1


def _dequeue(history: History, traffic: Traffic, row: Row) -> None:
    if row.outcome == INFO:
        traffic.unknown_dequeues.append(row.invoke)
    elif row.outcome == FAIL:
        if _says_empty(history.errors.get(row.complete)):
            traffic.empty_seen = max(traffic.empty_seen, row.invoke)
    elif row.output is None:
        traffic.empty_seen = max(traffic.empty_seen, row.invoke)
    else:
        _take(traffic, row.output, row.invoke)


def _drain(history: History, traffic: Traffic, row: Row) -> None:
    if row.outcome == INFO:
        traffic.unknown_drains += 1
    elif row.outcome == OK:
        for value in as_list(history, row.complete, row.output, "the result of a drain"):
            _take(traffic, value, row.invoke)
        traffic.empty_seen = max(traffic.empty_seen, row.invoke)


def _take(traffic: Traffic, value: object, invoke: int) -> None:
    name = token(value)
    traffic.values.setdefault(name, value)
    traffic.taken.setdefault(name, []).append(invoke)


def _says_empty(error: object) -> bool:
    text = str(error).lower()
    return "empty" in text or "exhausted" in text


def _out_of_nowhere(history: History, traffic: Traffic, *, duplicates: bool) -> list[Finding]:
    findings = []
    for name, dequeues in traffic.taken.items():
        value = traffic.values[name]
        enqueues = traffic.attempted.get(name, [])
        dequeues = sorted(dequeues, key=lambda dequeue: int(history.pair[dequeue]))
        first = dequeues[0]
        over = int(history.pair[first])
        early = _early(history, enqueues, dequeues)
        if not enqueues:
            failed = traffic.failed.get(name, -1)
            why = "its enqueue failed" if failed >= 0 else "nothing ever enqueued it"
            findings.append(_finding(history, "unexpected", value, why, [failed, first]))
        elif min(enqueues) > over:
            why = f"its enqueue began only at {at(history, min(enqueues))}"
            findings.append(_finding(history, "unexpected", value, why, [min(enqueues), first]))
        elif duplicates and len(dequeues) > len(enqueues):
            why = f"it came out {len(dequeues)} times and went in {len(enqueues)} times"
            findings.append(_finding(history, "duplicate", value, why, enqueues + dequeues))
        elif duplicates and early:
            over, late = int(history.pair[dequeues[early]]), enqueues[early]
            why = (
                f"it had come out {early + 1} times by {at(history, over)}, and its enqueue number "
                f"{early + 1} began only at {at(history, late)}"
            )
            proof = enqueues[: early + 1] + dequeues[: early + 1]
            findings.append(_finding(history, "duplicate", value, why, proof))
    return findings


def _early(history: History, enqueues: list[int], dequeues: list[int]) -> int:
    """The first dequeue that was over before as many enqueues had begun; 0 if none but the first.

    Both in the order of time, dequeues by their ends.
    """
    pairs = enumerate(zip(enqueues, dequeues))
    return next((n for n, (began, taken) in pairs if n and began > history.pair[taken]), 0)


def _judgement(traffic: Traffic, findings: list[Finding]) -> Judgement:
    out = sum(map(len, traffic.taken.values()))
    enqueued = {name: len(invokes) for name, invokes in traffic.attempted.items()}
    twice = sum(
        max(0, len(taken) - enqueued.get(name, 0))
        for name, taken in traffic.taken.items()
        if name in enqueued
    )
    return Judgement(
        findings=findings,
        checked=out,
        evidence=f"all {out} values dequeued had been enqueued",
        missing="no value was dequeued",
        stats={
            "attempted": sum(enqueued.values()),
            "acknowledged": traffic.acknowledged.total(),
            "dequeued": out,
            "duplicates": twice,
            "unknown_dequeues": len(traffic.unknown_dequeues),
        },
    )


def _judge_losses(history: History, traffic: Traffic, said: Judgement) -> None:
    """Add the acknowledged values that never came out, if that is known."""
    left = {
        name: count - len(traffic.taken.get(name, []))
        for name, count in traffic.acknowledged.items()
        if count > len(traffic.taken.get(name, []))
    }
    remaining = sum(left.values())
    said.stats["remaining"] = remaining
    if not remaining:
        said.evidence += f", and all {traffic.acknowledged.total()} acknowledged ones came out"
        return
    if traffic.empty_seen < traffic.last_enqueue:
        said.doubt = (
            f"{remaining} acknowledged values were not dequeued, but the queue was never seen "
            "empty after the last enqueue; end the test with drains"
        )
    elif traffic.unknown_drains or remaining <= len(traffic.unknown_dequeues):
        said.evidence += (
            f"; {remaining} acknowledged values did not come out, which dequeues of unknown "
            "outcome may have taken"
        )
    else:
        said.checked += remaining
        said.findings += _lost(history, traffic, left)


def _lost(history: History, traffic: Traffic, left: dict[Hashable, int]) -> list[Finding]:
    """A finding for each lost value; one for all where unknown dequeues may have taken some."""
    why = "the queue was seen empty at " + at(history, traffic.empty_seen)
    if not traffic.unknown_dequeues:
        return [
            _finding(history, "lost", traffic.values[name], why, _traffic_of(traffic, name))
            for name in left
        ]
    count = len(traffic.unknown_dequeues)
    ops, shown = [*traffic.unknown_dequeues], 0
    for name, missing in left.items():  # one more than they can have taken
        ops += _traffic_of(traffic, name)
        shown += missing
        if shown > count:
            break
    why += (
        f", and so was at least one of the {sum(left.values())} acknowledged that did not come "
        f"out, of which dequeues of unknown outcome may have taken {count}"
    )
    return [_finding(history, "lost", traffic.values[next(iter(left))], why, ops)]


def _traffic_of(traffic: Traffic, name: object) -> list[int]:
    """All that happened to a value, and what saw the queue empty."""
    return [*traffic.attempted[name], *traffic.taken.get(name, []), traffic.empty_seen]


_TITLES = {
    "lost": "lost value: acknowledged, never dequeued",
    "duplicate": "duplicate delivery",
    "unexpected": "dequeued out of nowhere",
}


def _finding(history: History, kind: str, value: object, why: str, ops: list[int]) -> Finding:
    ops = sorted({op for op in ops if op >= 0})
    life = [
        f"{history.functions[history.f[op]]} by {who(history, op)} at {at(history, op)} "
        f"({history.outcome_of(op)})"
        for op in ops[:6]
    ]
    said = {"lost": "was lost", "duplicate": "was delivered twice", "unexpected": "came out"}[kind]
    joiner = "although" if kind == "unexpected" else "because" if kind == "duplicate" else ":"
    sentence = f"Value {value!r} {said}{'' if joiner == ':' else ' '}{joiner} {why}: "
    return Finding(
        kind=kind,
        title=_TITLES[kind],
        sentence=sentence + "; ".join(life) + ".",
        ops=tuple(ops),
        because=tuple(
            Because("op", source=op, value=value, text=text) for op, text in zip(ops, life)
        ),
        detail={"value": value},
    )
