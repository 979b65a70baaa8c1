"""The few operations that prove a violation the zones found.

The zones check only registers whose every value is written at most once, and the proof may use
that. An operation that observed a value shows that the value was written; when is often beside the
point: three reads 1, 2, 1 one after the other are illegal whenever 1 and 2 were written, as neither
was written twice. So in a witness a write may stand aside as "some time, at most once, or never".
That weakens what was observed, hence what is illegal even so is illegal, and it is what keeps the
witness of two zones at four operations: of each value the first that completed, the last invoked.
Where there is room for them the writes are shown as they were, which is easier to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from checkers.core.budget import Meter
from checkers.history import Op
from checkers.linearizability.model import Model
from checkers.linearizability.models.registers import cas_pair
from checkers.linearizability.problem import Problem
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.values import token

#: Writes that could stand aside are shown as recorded in witnesses of at most so many operations.
FEW = 4

#: Witnesses of more operations are not reduced one by one.
ROWS_MAX = 60


def fewest(problem: Problem, rows: Sequence[int], model: Model, meter: Meter) -> Problem | None:
    """The smallest witness found among operations that prove a violation; None if they do not.

    Args:
        problem: operations of one register whose values are written once each: those that prove
            the violation, and the writes of the values they observed.
        rows: op indices of the former.
        model: the register model.
        meter: the check's budget.
    """
    kept = list(rows)
    found = weakened(problem, kept, model)
    if search(found, Machine(model), meter).legal is not False:
        return None
    by_kind = sorted(kept, key=lambda index: problem.ops[index].f == "read")
    for index in by_kind if len(kept) <= ROWS_MAX else []:
        rest = [i for i in kept if i != index]
        weaker = weakened(problem, rest, model)
        if search(weaker, Machine(model), meter).legal is False:
            kept, found = rest, weaker
    aside = [op.invoke for op, must in zip(found.ops, found.required) if not must]
    shown = _with_writers(problem, kept, aside, model)
    if len(shown) > FEW:
        return found
    stronger = weakened(problem, shown, model)
    return stronger if search(stronger, Machine(model), meter).legal is False else found


def _with_writers(
    problem: Problem, kept: Sequence[int], aside: Sequence[int], model: Model
) -> list[int]:
    """The operations kept, and the optional writes that need nothing that is not shown.

    A compare-and-set shown as recorded without the write of what it swapped out would be illegal
    by itself, which proves nothing.
    """
    shown = set(kept)
    known = {token(model.parameters["init"])}
    known |= {token(_written(problem.ops[i])) for i in kept if _writes(problem.ops[i])}
    pending = [i for i, op in enumerate(problem.ops) if op.invoke in aside and i not in shown]
    while True:
        ready = [
            i
            for i in pending
            if problem.ops[i].f == "write" or token(cas_pair(problem.ops[i])[0]) in known
        ]
        if not ready:
            return sorted(shown)
        shown.update(ready)
        known.update(token(_written(problem.ops[i])) for i in ready)
        pending = [i for i in pending if i not in shown]


def weakened(problem: Problem, keep: Sequence[int], model: Model) -> Problem:
    """These operations, and at any time the writes of values observed whose writes are not kept.

    The writes that stand aside are optional, and their intervals have no bounds. A value whose
    write is not in the problem at all was never written.

    Args:
        problem: all operations.
        keep: op indices.
        model: the register model.
    """
    writers = {token(_written(op)): op for op in problem.ops if _writes(op)}
    known = {token(_written(problem.ops[i])) for i in keep if _writes(problem.ops[i])}
    known.add(token(model.parameters["init"]))
    aside: list[Op] = []
    for index in keep:
        op = problem.ops[index]
        if op.f == "write":
            continue
        value = op.output if op.f == "read" else cas_pair(op)[0]
        if token(value) in known or token(value) not in writers:
            continue
        known.add(token(value))
        writer = writers[token(value)]
        aside.append(msgspec.structs.replace(writer, f="write", input=value, type="ok"))
    return problem.subset(keep).beside(aside)


def _writes(op: Op) -> bool:
    return op.f != "read" and op.type != "fail"


def _written(op: Op) -> object:
    return op.input if op.f == "write" else cas_pair(op)[1]
