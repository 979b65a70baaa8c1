"""Transactions of the core: several operations at one revision, all or none, under conditions.

Problem. A client that moves a value from one key to another, or takes a lock only if it is free,
needs several keys to change together, and only if they are as it believes.

Solution. A transaction is one command of the log: comparisons, the operations to do if all of them
hold, and those to do otherwise. It is applied at one index like any other command, so nothing comes
between its reads and its writes. Its changes share one revision. An operation that cannot be
carried out (an append to a number) fails the whole transaction, and what it had changed is undone.

    txn "" compares then else

    compare    [key, field, operator, operand]; field: value version created modified lease,
               operator: == != < <= > >=; an absent key has the value None and 0 elsewhere
    then, else lists of [op, key, arguments...]; op: get stat put append incr delete

The answer is {"succeeded": whether the comparisons held, "results": one per operation done}.

Invariants. A transaction's reads see the state before it and its own earlier writes. Its changes
become visible together: a read at any revision, and every watcher, sees all of them or none.

What breaks without it. A26b: without the comparisons, one of two clients that change what they read
loses its change. A26c: without undoing, half of a transaction that failed stays.

Source: etcd's transactions (compare, then, else). Used by ``cluster.core.state_machine``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from cluster.core.answers import Answer, equal, fail, key_problem, ok, short
from cluster.core.key_value import KeyValue
from cluster.wire import Command

#: Most comparisons, and most operations of either branch.
PARTS_MAX = 128

OPERATIONS = frozenset({"get", "stat", "put", "append", "incr", "delete"})
FIELDS = ("value", "version", "created", "modified", "lease")
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
OPERATORS = ("==", "!=", *_ORDERED)


class Transactions:
    """Carries transactions out on the keys; it has no state of its own."""

    __slots__ = ("_keys",)

    reads: frozenset[str] = frozenset()
    writes = frozenset({"txn"})
    internal: frozenset[str] = frozenset()

    def __init__(self, keys: KeyValue) -> None:
        self._keys = keys

    # -- what can be asked -------------------------------------------------------------------------

    def problem(self, command: Command) -> str:
        """Why a transaction can never be carried out, whatever the state; "" if it may be."""
        if len(command.args) != 3 or not all(type(a) in (list, tuple) for a in command.args):
            return "txn takes three lists: comparisons, operations, and operations otherwise"
        compares, *branches = command.args
        for name, part in zip(("comparisons", "operations", "operations otherwise"), command.args):
            if len(part) > PARTS_MAX:
                return f"txn has {len(part)} {name}, and at most {PARTS_MAX} are possible"
        for compare in compares:
            wrong = _compare_problem(compare)
            if wrong:
                return wrong
        for branch in branches:
            for part in branch:
                wrong = self._operation_problem(part)
                if wrong:
                    return wrong
        return ""

    def _operation_problem(self, part: Any) -> str:
        if type(part) not in (list, tuple) or len(part) < 2 or type(part[0]) is not str:
            return f"{short(part)} is no operation: it should be [op, key, arguments...]"
        if part[0] not in OPERATIONS:
            known = ", ".join(sorted(OPERATIONS))
            return f"txn has no operation {short(part[0])}; it has {known}"
        return self._keys.problem(_command(part))

    def leases_named(self, command: Command) -> set[str]:
        """The leases that puts of a well-formed transaction attach keys to."""
        _, then, otherwise = command.args
        puts = [part for part in (*then, *otherwise) if part[0] == "put" and len(part) == 4]
        return {part[3] for part in puts if part[3]}

    # -- carrying out ------------------------------------------------------------------------------

    def holds(self, compares: Sequence[Sequence[Any]]) -> bool:
        """Decision: whether all comparisons hold now."""
        return all(self._compare(*compare) for compare in compares)

    def apply(self, index: int, command: Command) -> Answer:
        """Carry a transaction out as of a log index: all of it, or nothing."""
        compares, then, otherwise = command.args
        succeeded = self.holds(compares)
        results: list[Any] = []
        keys = self._keys
        keys.values.begin()
        for number, part in enumerate(then if succeeded else otherwise, 1):
            status, value, error = self._do(index, _command(part))
            if status != "ok":
                self.give_up()
                return fail(f"operation {number} of the transaction: {error}")
            results.append(value)
        keys.values.commit()
        return ok({"succeeded": succeeded, "results": results})

    def give_up(self) -> None:
        """Decision: what becomes of the changes before an operation that failed: nothing."""
        self._keys.undo()

    def _do(self, index: int, command: Command) -> Answer:
        keys = self._keys
        return keys.read(command) if command.op in keys.reads else keys.apply(index, command)

    def _compare(self, key: str, field: str, how: str, operand: Any) -> bool:
        _, found, _ = self._keys.read(Command("stat", key))
        absent = "" if field == "lease" else None if field == "value" else 0
        present = absent if found is None else found[field]
        if how in ("==", "!="):
            return equal(present, operand) == (how == "==")
        if type(present) is not type(operand) or type(present) not in (int, float, str):
            return False
        return _ORDERED[how](present, operand)

    def read(self, command: Command) -> Answer:
        """There are no reads here."""
        return fail(f"{command.op} is no read")

    def encode(self) -> Any:
        """Nothing: the keys are in the keys' own part."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to restore."""

    def digest(self) -> int:
        """Nothing to hash."""
        return 0


def _command(part: Sequence[Any]) -> Command:
    return Command(part[0], part[1], tuple(part[2:]))


def _compare_problem(compare: Any) -> str:
    if type(compare) not in (list, tuple) or len(compare) != 4:
        return f"{short(compare)} is no comparison: it should be [key, field, operator, operand]"
    key, field, how, operand = compare
    if key_problem(key):
        return key_problem(key)
    if field not in FIELDS:
        return f"a comparison is of {', '.join(FIELDS)}, not of {short(field)}"
    if how not in OPERATORS:
        return f"a comparison's operator is one of {' '.join(OPERATORS)}, not {short(how)}"
    kinds = {"value": (object,), "lease": (str,)}.get(field, (int,))
    if not isinstance(operand, kinds) or (field != "value" and type(operand) is bool):
        return f"the comparison of {field} with {short(operand)} compares different types"
    return ""
