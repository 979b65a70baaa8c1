"""Counters: every read lies between the sum of the definite and that of the possible additions.

Vocabulary: ``add`` (input: a number, negative ones allowed), ``increment`` and ``decrement``
(input: a number, or None for 1), ``read`` (output: the number). The counter starts at ``initial``.

While a read runs, the value it may return is at least what all acknowledged additions finished
before it began make, with every possible subtraction, and at most what all additions begun before
it ended make, with the acknowledged subtractions only. Failed additions count for nothing, those of
unknown outcome may count from their invocation on for ever.

`pn_counter` asks that of final reads only, as of a counter whose replicas need time to agree, which
Maelstrom's workloads pn-counter and g-counter are. Final are the reads which the file says are
(``:final? true``), or else the last read of each process begun after every addition was over.

Bounds are necessary, not sufficient: the linearizability model ``counter`` is exact and dearer. A
finding is of the first read out of bounds and names the others; its operations prove it alone: the
read, all that might have moved the counter towards it, and the fewest acknowledged operations which
nevertheless keep it away.

Source: the ``counter`` checker of Jepsen.
"""

from __future__ import annotations

from typing import NamedTuple

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import METER_INTERVAL, Judgement, Spent, as_number, at, make, rows, who
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, INVOKE, OK, History

_SIGNS = {"add": 1, "increment": 1, "inc": 1, "decrement": -1, "dec": -1}
VOCABULARY = (*_SIGNS, "read")

#: Operations of a finding; of more that might have moved the counter the rest is counted.
WITNESS_MAX = 500

#: Reads out of bounds that a finding lists.
READS_MAX = 100

Number = int | float


class Read(NamedTuple):
    """A read with its bounds."""

    invoke: int
    value: Number
    least: Number
    most: Number

    @property
    def kind(self) -> str:
        """The error of the read; empty if there is none."""
        if self.value < self.least:
            return "lost-increment"
        return "phantom-increment" if self.value > self.most else ""


def counter(*, initial: Number = 0) -> Checker:
    """The checker ``counter``.

    Args:
        initial: the value before any addition.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        reads, adds = _bounds(history, meter, initial)
        return _judgement(history, reads, adds, initial, "reads")

    return make("counter", check_history, vocabulary=VOCABULARY, trivial=_SIGNS)


def pn_counter(*, initial: Number = 0) -> Checker:
    """The checker ``pn-counter``: as ``counter``, of final reads only.

    Args:
        initial: the value before any addition.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        reads, adds = _bounds(history, meter, initial)
        chosen = _final(history, reads, meter)
        return _judgement(history, chosen, adds, initial, "final reads")

    return make("pn-counter", check_history, vocabulary=VOCABULARY, trivial=_SIGNS)


def _amount(history: History, event: int, f: str, value: object) -> Number:
    if value is None and f != "add":
        return _SIGNS[f]
    return _SIGNS[f] * as_number(history, event, value, "the amount added")


def _bounds(history: History, meter: Meter, initial: Number) -> tuple[list[Read], int]:
    """All completed reads, and how many additions may have happened."""
    # The sums so far: of all additions and subtractions begun, and of those acknowledged.
    added = taken = sure_added = sure_taken = 0 * initial
    begun: dict[int, tuple[Number, Number]] = {}  # read -> what was sure when it began
    reads: list[Read] = []
    adds = 0
    types, pairs = history.type.tolist(), history.pair.tolist()
    for event, (kind, pair, f) in enumerate(zip(types, pairs, history.f.tolist())):
        if event % METER_INTERVAL == 0 and meter.spent():
            raise Spent
        name = history.functions[f]
        if name in _SIGNS:
            if kind == INVOKE:
                if pair >= 0 and types[pair] == FAIL:
                    continue
                amount = _amount(history, event, name, history.values[event])
                added, taken = added + max(amount, 0), taken + min(amount, 0)
                adds += 1
            elif kind == OK:
                amount = _amount(history, pair, name, history.values[pair])
                sure_added, sure_taken = sure_added + max(amount, 0), sure_taken + min(amount, 0)
        elif kind == INVOKE:
            begun[event] = sure_added, sure_taken
        elif kind == OK:
            value = as_number(history, event, history.values[event], "the counter's value")
            least, most = initial + begun[pair][0] + taken, initial + added + begun[pair][1]
            reads.append(Read(pair, value, least, most))
    return reads, adds


def _final(history: History, reads: list[Read], meter: Meter) -> list[Read]:
    """The reads that count where replicas need time to agree."""
    final_ns = history.header.get("final_ns", -1)
    if type(final_ns) is int and final_ns >= 0:
        return [read for read in reads if history.time_ns[read.invoke] >= final_ns]
    over = max(
        (max(row.invoke, row.complete) for row in rows(history, meter) if row.f != "read"),
        default=-1,
    )
    late = sorted(read for read in reads if read.invoke > over)
    return list({int(history.process[read.invoke]): read for read in late}.values())


def _judgement(
    history: History, reads: list[Read], adds: int, initial: Number, what: str
) -> Judgement:
    wrong: dict[str, list[Read]] = {}
    for read in reads:
        if read.kind:
            wrong.setdefault(read.kind, []).append(read)
    return Judgement(
        findings=[_finding(history, kind, found, initial) for kind, found in wrong.items()],
        checked=len(reads),
        evidence=f"all {len(reads)} {what} lie within the bounds that {adds} additions allow",
        missing=f"no {what.removesuffix('s')} was completed, so none of the {adds} additions was "
        "looked for",
        stats={"reads": len(reads), "additions": adds, "wrong": sum(map(len, wrong.values()))},
    )


def _finding(history: History, kind: str, reads: list[Read], initial: Number) -> Finding:
    """The finding of all reads that are wrong in one way; the first is shown."""
    read = reads[0]
    sure, open_ones = _before(history, read)
    towards, away = _proof(read, sure, open_ones, initial)
    done = int(history.pair[read.invoke])
    name = f"Counter {history.keys[0]!r}: the" if history.keys else "The"
    made = initial + sum(sure.values())
    may = (
        f", and {len(open_ones)} more that had begun may have added from "
        f"{sum(min(amount, 0) for amount in open_ones.values())} to "
        f"{sum(max(amount, 0) for amount in open_ones.values())}"
    )
    others = f" {len(reads) - 1} more reads are out of bounds like it." if len(reads) > 1 else ""
    bounds = f"from {read.least} to {read.most}" if read.least < read.most else f"{read.least}"
    return Finding(
        kind=kind,
        title="counter out of bounds",
        sentence=f"{name} read of {who(history, read.invoke)} at {at(history, done)} returned "
        f"{read.value}, but it was {bounds}: {len(sure)} additions acknowledged before it began "
        f"made {made}{may if open_ones else ''}.{others}",
        ops=tuple(sorted({read.invoke, *towards, *away})),
        because=_because(read, sure, open_ones, {*towards, *away}),
        detail={
            "value": read.value,
            "least": read.least,
            "most": read.most,
            "acknowledged": len(sure),
            "unknown": len(open_ones),
            "reads": [other.invoke for other in reads[:READS_MAX]],
        },
    )


def _before(history: History, read: Read) -> tuple[dict[int, Number], dict[int, Number]]:
    """The additions acknowledged before a read began, and the others that had begun by its end."""
    over = int(history.pair[read.invoke])
    sure: dict[int, Number] = {}
    open_ones: dict[int, Number] = {}
    for row in rows(history):
        if row.invoke > over:
            break
        if row.f != "read" and row.outcome != FAIL:
            amount = _amount(history, row.invoke, row.f, row.input)
            known = row.outcome == OK and row.complete < read.invoke
            (sure if known else open_ones)[row.invoke] = amount
    return sure, open_ones


def _proof(
    read: Read, sure: dict[int, Number], open_ones: dict[int, Number], initial: Number
) -> tuple[list[int], list[int]]:
    """Additions that may have led towards a read's value, and the fewest that exclude it."""
    sign = 1 if read.kind == "lost-increment" else -1
    every = {**sure, **open_ones}
    towards = [op for op, amount in every.items() if sign * amount < 0][:WITNESS_MAX]
    bound = sign * (initial + sum(every[op] for op in towards))
    away: list[int] = []
    for op, amount in sorted(sure.items(), key=lambda item: -sign * item[1]):
        if bound > sign * read.value or sign * amount <= 0:
            break
        away.append(op)
        bound += sign * amount
    return towards, away


def _because(
    read: Read, sure: dict[int, Number], open_ones: dict[int, Number], shown: set[int]
) -> tuple[Because, ...]:
    """The additions of the proof, then the read."""
    additions_shown = [
        Because("add", source=op, target=read.invoke, value=amount, text=f"{word} {amount}")
        for additions, word in ((sure, "definitely added"), (open_ones, "may have added"))
        for op, amount in additions.items()
        if op in shown
    ]
    text = f"returned {read.value}, out of bounds from {read.least} to {read.most}"
    return (
        *additions_shown[:20],
        Because("bounds", source=read.invoke, value=read.value, text=text),
    )
