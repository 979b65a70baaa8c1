"""The search problem of one group of operations: intervals, and what must happen.

An operation that completed ``ok`` is *required*: it happened between its invocation and its
completion. An operation of unknown outcome is *optional*: it may have happened at any time after
its invocation, or never, so its interval never ends. Failed operations are left out, except those
that a model says are observations; those are required. A read of unknown outcome constrains
nothing and is left out too.

Time is the position of events in the history: the order in which one observer saw them, which no
clock can distort. Intervals are closed; since no two events share a position, that never matters.

Optional operations *with* an end exist for explaining: "this operation may have happened in its
interval, or not at all" weakens what was observed, so a history that is illegal even so is illegal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from checkers.core.vocabulary import Vocabulary, refusal
from checkers.history import History, Op
from checkers.linearizability.model import Model, ModelError

#: The end of an interval that never ends.
NEVER = 1 << 60


@dataclass(frozen=True)
class Problem:
    """Operations with their intervals, in order of invocation.

    Args:
        ops: the operations.
        start: position of each invocation.
        end: position of each completion, or NEVER.
        required: whether each operation must have happened.
    """

    ops: tuple[Op, ...]
    start: tuple[int, ...]
    end: tuple[int, ...]
    required: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ops)

    def subset(self, keep: Iterable[int], *, optional: Iterable[int] = ()) -> Problem:
        """The problem of these operations only, some made optional within their interval."""
        weaker = set(optional)
        chosen = sorted(set(keep) | weaker)
        return Problem(
            ops=tuple(self.ops[index] for index in chosen),
            start=tuple(self.start[index] for index in chosen),
            end=tuple(self.end[index] for index in chosen),
            required=tuple(self.required[index] and index not in weaker for index in chosen),
        )

    def beside(self, aside: Sequence[Op]) -> Problem:
        """This problem, and before it operations that may happen at any time or never."""
        count = len(aside)
        return Problem(
            ops=(*aside, *self.ops),
            start=(*range(-count - 1, -1), *self.start),
            end=(*[NEVER] * count, *self.end),
            required=(*[False] * count, *self.required),
        )


def problem_of(ops: Sequence[Op], model: Model) -> Problem:
    """The problem of some operations, given in order of invocation."""
    kept = [op for op in ops if _matters(op, model)]
    return Problem(
        ops=tuple(kept),
        start=tuple(op.invoke for op in kept),
        end=tuple(op.complete if op.type != "info" else NEVER for op in kept),
        required=tuple(op.type != "info" for op in kept),
    )


def _matters(op: Op, model: Model) -> bool:
    if op.type == "fail":
        return model.observes_failure(op)
    return op.type == "ok" or not model.readonly(op)


def groups_of(history: History, model: Model) -> list[list[int]]:
    """Invocation indices of the groups of operations that may be checked alone."""
    if model.partition is not None:
        return [sorted(map(int, group)) for group in model.partition(history)]
    invokes = history.invocations
    keys = history.key[invokes]
    if len(invokes) == 0:
        return []
    order = keys.argsort(kind="stable")
    starts = [0, *(keys[order][1:] != keys[order][:-1]).nonzero()[0] + 1, len(order)]
    return [invokes[order[a:b]].tolist() for a, b in pairwise(starts)]


def refuse_foreign_operations(history: History, model: Model) -> None:
    """Refuse a history with operations the model does not know.

    Raises:
        ModelError: naming the operation and the vocabulary.
    """
    vocabulary = vocabulary_of(model)
    if vocabulary is not None:
        sentence, _ = refusal(history, vocabulary, model.name)
        if sentence:
            raise ModelError(sentence)


def refuse_malformed(history: History, model: Model) -> None:
    """Refuse a history with values that are none of the model's.

    Raises:
        ModelError: naming the first operation.
    """
    if model.malformed is not None:
        for op in history.ops():
            said = model.malformed(op)
            if said:
                raise ModelError(f"the {op.f} invoked at event {op.invoke} {said}")


def vocabulary_of(model: Model) -> Vocabulary | None:
    """The operations a model knows; None if it takes any."""
    if not model.vocabulary:
        return None
    registers = {"read", "write"} <= model.vocabulary and "txn" not in model.vocabulary
    return Vocabulary(model.vocabulary, registers=registers, owner=f"model {model.name!r}")
