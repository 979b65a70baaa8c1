"""Operations that would have made an impossible operation possible: where a value comes from.

Problem. A witness of one operation is a value without a source: no operation that may have taken
effect before it ended can have left what it saw. That is true, and leaves the reader with a
question: where does the value come from?

Solution. Mostly the history has the answer. An operation that would have left the value failed, and
took effect nevertheless. Or it began only afterwards, so the reply belongs to another request, or
clocks and order are confused. Where nothing had changed the object before, the value was most
likely there from the start. Then the option that declares an initial value is named, and an
operation that began only afterwards is not.

Invariants. Naming is for the reader and proves nothing. Where the history is too large, or where an
operation of unknown outcome only seems to have made the value possible, no operation is named.

Read by :mod:`.explain` only.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from checkers.history import History, Op
from checkers.linearizability.model import Model
from checkers.linearizability.models.registers import cas_pair, micro_ops
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.values import show, token

#: Operations on one object that are looked at; of other models than registers, classes and states.
OPS_MAX, CLASSES_MAX, STATES_MAX = 20_000, 1_000, 64

#: Operations that are named one by one.
NAMED_MAX = 3

#: The fate of an operation that would have made another one possible.
FAILED, LATER, MAYBE = "failed", "began only later", "may have happened"


def would_have(history: History, bad: Op, model: Model) -> str:
    """The operations that would have made an impossible operation possible, in words.

    Args:
        history: where it was found.
        bad: the operation.
        model: what it must obey.

    Returns:
        As in ``the only one that would have, process 1's write of 2, failed``; empty if there is
        nothing to name.
    """
    invokes = _others(history, bad, model)
    known = len(invokes) <= OPS_MAX
    if not known:
        invokes = [invoke for invoke in invokes if invoke < bad.complete]
    if len(invokes) > OPS_MAX:
        return ""
    others = [history.op(invoke) for invoke in invokes]
    found = list(_leading(others, bad, model))
    fates = {_fate(op, bad) for op in found}
    if MAYBE in fates:
        return ""
    started = "" if FAILED in fates else _started_with(others, bad, model)
    return started or (_named(found, bad, model) if known else "")


def _started_with(others: list[Op], bad: Op, model: Model) -> str:
    """Which initial value would make the operation possible, if nothing had changed it before."""
    changed = (op for op in others if op.type == "ok" and not model.readonly(op))
    if "init" not in model.parameters or any(op.complete < bad.invoke for op in changed):
        return ""
    value: Any
    if model.name == "multi-register":
        value = {**model.parameters["init"], **{name: item for _, name, item in micro_ops(bad)}}
    elif bad.f in ("read", "get", "cas"):
        value = cas_pair(bad)[0] if bad.f == "cas" else bad.output
    else:
        return ""
    try:
        option = "none" if value is None else msgspec.json.encode(value).decode()
    except TypeError:
        return ""
    what = shlex.quote(f"init={option}")
    return f"if {show(value)} was there from the start, say so: --option {what}"


def _named(found: list[Op], bad: Op, model: Model) -> str:
    """The fate of the operations that would have made it possible, in words."""
    if not found:
        return ""
    fates = [_fate(op, bad) for op in found]
    names = [f"process {op.process}'s {_words(op, model)}" for op in found]
    if len(found) == 1:
        return f"the only one that would have, {names[0]}, {fates[0]}"
    fate = " or ".join(sorted(set(fates), reverse=True))
    if len(found) <= NAMED_MAX:
        return f"those that would have, {', '.join(names[:-1])} and {names[-1]}, {fate}"
    return f"the {len(found)} that would have all {fate}"


def _others(history: History, bad: Op, model: Model) -> list[int]:
    """The invocations of the other operations on the same object."""
    invokes = history.invocations
    if model.partition is None:
        invokes = invokes[history.key[invokes] == history.key[bad.invoke]]
    return [invoke for invoke in invokes.tolist() if invoke != bad.invoke]


def _fate(op: Op, bad: Op) -> str:
    if 0 <= bad.complete < op.invoke:
        return LATER
    return FAILED if op.type == "fail" else MAYBE


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
