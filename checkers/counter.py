"""Counters: every read lies between what was certain and what was possible.

Vocabulary: ``add`` (input: a number, negative ones allowed), ``increment`` and ``decrement``
(input: a number, or None for 1), ``read`` (output: the number). The counter starts at ``initial``.

While a read runs, the value it may return is at least what all acknowledged additions finished
before it began make, with every possible subtraction, and at most what all additions begun before
it ended make, with the acknowledged subtractions only. Failed additions count for nothing, those of
unknown outcome may count from their invocation on for ever.

Bounds are necessary, not sufficient: the linearizability model ``counter`` is exact and dearer.
Source: the ``counter`` checker of Jepsen.
"""

from __future__ import annotations

from typing import Any

from checkers.budget import Meter
from checkers.checker import Checker
from checkers.findings import METER_INTERVAL, Judgement, Spent, as_number, at, make, who
from checkers.history import FAIL, INVOKE, OK, History
from checkers.verdict import Because, Finding

_SIGNS = {"add": 1, "increment": 1, "inc": 1, "decrement": -1, "dec": -1}


def counter(*, initial: int | float = 0) -> Checker:
    """The checker ``counter``.

    Args:
        initial: the value before any addition.
    """

    def judge(history: History, meter: Meter) -> Judgement:
        return _judge(history, meter, initial)

    return make("counter", judge, vocabulary=(*_SIGNS, "read"), trivial=_SIGNS)


def _amount(history: History, event: int, f: str, value: Any) -> int | float:
    if value is None and f != "add":
        return _SIGNS[f]
    return _SIGNS[f] * as_number(history, event, value, "the amount added")


def _judge(history: History, meter: Meter, initial: int | float) -> Judgement:
    # What all additions and subtractions begun, and those acknowledged, make so far.
    added = taken = sure_added = sure_taken = 0 * initial
    begun: dict[int, tuple[int | float, int | float]] = {}  # read -> what was sure when it began
    findings: list[Finding] = []
    reads = adds = 0
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
        elif name == "read":
            if kind == INVOKE:
                begun[event] = sure_added, sure_taken
            elif kind == OK:
                reads += 1
                value = as_number(history, event, history.values[event], "the counter's value")
                least, most = initial + begun[pair][0] + taken, initial + added + begun[pair][1]
                if not least <= value <= most:
                    findings.append(_finding(history, pair, value, least, most))
    return Judgement(
        findings=findings,
        checked=reads,
        evidence=f"all {reads} reads lie within the bounds that {adds} additions allow",
        missing=f"no read was completed, so none of the {adds} additions was looked for",
        stats={"reads": reads, "additions": adds},
    )


def _finding(
    history: History, read: int, value: int | float, least: int | float, most: int | float
) -> Finding:
    done = int(history.pair[read])
    if value < least:
        kind, why = "lost-increment", f"{least} was certain when it began"
    else:
        kind, why = "phantom-increment", f"at most {most} was possible when it ended"
    return Finding(
        kind=kind,
        title="counter out of bounds",
        sentence=f"The read of {who(history, read)} at {at(history, done)} returned {value}, but "
        f"{why}.",
        ops=(read,),
        because=(Because("bounds", source=read, value=value, text=why),),
        detail={"value": value, "least": least, "most": most},
    )
