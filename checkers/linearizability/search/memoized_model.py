"""A model as a machine over small integers.

Problem. A search asks very often where an operation leads from a state, and of few distinct pairs
of state and operation. The step function of a model is Python, and may be slow.

Solution. A :class:`Machine` numbers states and classes of equal operations as they appear, and
remembers every answer. The step function runs once per pair, however long the search.

Invariants. Equal states have one number. States need not be hashable or cheap to compare.
"""

from __future__ import annotations

from collections.abc import Hashable

from checkers.history import Op
from checkers.linearizability.model import Model
from checkers.linearizability.values import token


class Machine:
    """States and operation classes of one model, numbered; transitions remembered.

    Args:
        model: the model to run.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.states: list[object] = []
        self.classes: list[Op] = []
        self.class_readonly: list[bool] = []
        self.moves: dict[tuple[int, int], tuple[int, ...]] = {}
        self._state_numbers: dict[Hashable, int] = {}
        self._class_numbers: dict[Hashable, int] = {}
        self._closed: tuple[tuple[int, int, int], list[int]] = ((0, 0, 0), [])
        self._numbered: dict[int, tuple[Op, int]] = {}
        self.initial = self.state_number(model.init())

    def state_number(self, state: object) -> int:
        """The number of a state; equal states (as the model compares them) have one number."""
        if self.model.equal is not None:
            return self._number_by_equal(state)
        twin = token(state)
        number = self._state_numbers.get(twin)
        if number is None:
            number = self._state_numbers[twin] = len(self.states)
            self.states.append(state)
        return number

    def _number_by_equal(self, state: object) -> int:
        assert self.model.equal is not None
        for number, known in enumerate(self.states):
            if self.model.equal(known, state):
                return number
        self.states.append(state)
        return len(self.states) - 1

    def class_number(self, op: Op) -> int:
        """The number of an operation's class: operations a step cannot tell apart share it."""
        known = self._numbered.get(id(op))
        if known is not None and known[0] is op:
            return known[1]
        number = self._class_of(op)
        self._numbered[id(op)] = (op, number)
        return number

    def _class_of(self, op: Op) -> int:
        key = token(op.key) if self.model.partition is not None else None
        output = token(op.output) if op.type == "ok" else None
        twin: tuple[Hashable, ...] = (op.f, op.type, token(op.input), output, key)
        if self.model.by_process:
            twin = (*twin, token(op.process), op.node, repr(op.error))
        number = self._class_numbers.get(twin)
        if number is None:
            number = self._class_numbers[twin] = len(self.classes)
            self.classes.append(op)
            self.class_readonly.append(bool(self.model.readonly(op)))
        return number

    def move(self, state: int, op_class: int) -> tuple[int, ...]:
        """The states an operation of this class leads to from this state; empty if illegal."""
        found = self.moves.get((state, op_class))
        if found is None:
            after = self.model.states_after(self.states[state], self.classes[op_class])
            found = tuple(map(self.state_number, after))
            if len(found) > 1:
                found = tuple(sorted({*found}))
            self.moves[state, op_class] = found
        return found

    def closed(self, limit: int) -> list[int]:
        """All states that the known operations lead to; none if they are more than the limit.

        Remembered until a state or an operation class is new.
        """
        if len(self.states) > limit:
            return []
        mark = (len(self.states), len(self.classes), limit)
        if self._closed[0] == mark:
            return self._closed[1]
        found, moves = dict.fromkeys(range(len(self.states))), self.moves
        pending = list(found)
        while pending and len(found) <= limit:
            state = pending.pop()
            for op_class in range(len(self.classes)):
                reached = moves.get((state, op_class))
                for after in self.move(state, op_class) if reached is None else reached:
                    if after not in found:
                        found[after] = None
                        pending.append(after)
                if len(found) > limit:
                    break
        states = list(found) if len(found) <= limit else []
        self._closed = ((len(self.states), len(self.classes), limit), states)
        return states
