"""Of an operation that is impossible by itself: which operations would have made it possible.

A witness of one operation is a value from nowhere: whatever else happened, no operation that may
have taken effect before it ended can have left what it saw. To say so is true and leaves the reader
with a question: then where does the value come from? Mostly the history has the answer, an
operation that would have left it but that failed (and took effect nevertheless), or one that began
only afterwards (so that the reply belongs to another request, or clocks and order are confused).

Read by :mod:`.explain` only. Naming is for the reader and proves nothing: where the history is too
large, or an operation that may have happened only seems to have made it possible, nothing is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from checkers.history import History, Op
from checkers.linearizability.machine import Machine
from checkers.linearizability.model import Model
from checkers.linearizability.models_registers import cas_pair
from checkers.linearizability.values import token

#: Operations on one object that are looked at; of other models than registers, classes and states.
OPS_MAX, CLASSES_MAX, STATES_MAX = 20_000, 1_000, 64

#: Operations that are named one by one.
NAMED_MAX = 3

#: What became of an operation that would have made another one possible.
FAILED, LATER, MAYBE = "failed", "began only later", "may have happened"


def would_have(history: History, bad: Op, model: Model) -> str:
    """Who would have made an operation possible that nothing made possible, in words.

    Args:
        history: where it was found.
        bad: the operation.
        model: what it must obey.

    Returns:
        As in ``the only one that would have, process 1's write of 2, failed``; empty if there is
        nobody to name.
    """
    others = _others(history, bad, model)
    if others is None:
        return ""
    found = list(_leading(others, bad, model))
    fates = [_fate(op, bad) for op in found]
    if not found or MAYBE in fates:
        return ""
    names = [f"process {op.process}'s {_words(op, model)}" for op in found]
    if len(found) == 1:
        return f"the only one that would have, {names[0]}, {fates[0]}"
    fate = " or ".join(sorted(set(fates), reverse=True))
    if len(found) <= NAMED_MAX:
        return f"those that would have, {', '.join(names[:-1])} and {names[-1]}, {fate}"
    return f"the {len(found)} that would have all {fate}"


def _others(history: History, bad: Op, model: Model) -> list[Op] | None:
    """The other operations on the same object; None if they are too many."""
    invokes = history.invocations
    if model.partition is None:
        invokes = invokes[history.key[invokes] == history.key[bad.invoke]]
    if len(invokes) > OPS_MAX:
        return None
    return [history.op(invoke) for invoke in invokes.tolist() if invoke != bad.invoke]


def _fate(op: Op, bad: Op) -> str:
    if op.type == "fail":
        return FAILED
    return LATER if 0 <= bad.complete < op.invoke else MAYBE


def _words(op: Op, model: Model) -> str:
    """The operation as if it had happened: what became of it is said apart."""
    return model.describe_operation(_done(op, "ok"))


def _done(op: Op, outcome: str) -> Op:
    return msgspec.structs.replace(op, type=outcome, output=op.input if outcome == "ok" else None)


def _leading(others: Iterable[Op], bad: Op, model: Model) -> Iterator[Op]:
    """Those that would leave a state in which the operation is possible."""
    if model.engine == "register":
        return _writing(others, bad)
    return _reaching(list(others), bad, model)


def _writing(others: Iterable[Op], bad: Op) -> Iterator[Op]:
    needed = token(bad.output if bad.f == "read" else cas_pair(bad)[0])
    for op in others:
        if op.f != "read" and token(op.input if op.f == "write" else cas_pair(op)[1]) == needed:
            yield op


def _reaching(others: list[Op], bad: Op, model: Model) -> Iterator[Op]:
    """The same for any model: those that do so where what may have happened can have led."""
    machine = Machine(model)
    tried = [(op, machine.class_number(_done(op, "info"))) for op in others]
    wanted = machine.class_number(bad)
    if len(machine.classes) > CLASSES_MAX:
        return
    there = _reached(machine, {number for op, number in tried if _fate(op, bad) == MAYBE})
    if any(machine.move(state, wanted) for state in there):
        return  # if only it had happened more often, or in another order
    for op, number in tried:
        after = {state for before in there for state in machine.move(before, number)}
        if any(machine.move(state, wanted) for state in after):
            yield op


def _reached(machine: Machine, classes: set[int]) -> list[int]:
    """States that operations of these classes lead to, the nearest first, as far as the limit."""
    found = {machine.initial: None}
    pending = [machine.initial]
    for state in pending:  # grows while it is walked
        for number in sorted(classes):
            for after in machine.move(state, number):
                if after not in found and len(found) < STATES_MAX:
                    found[after] = None
                    pending.append(after)
    return pending
