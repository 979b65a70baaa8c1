"""Legal orders: the evidence for VALID.

Problem. A defect in an engine could turn an illegal history into a VALID one, silently.

Solution. A verdict of VALID rests on a legal order of the operations of every group. Each engine
has one or can make one: the searches as they go, the compiled engine from its trail, the zones from
where they begin, the monitors by construction (:mod:`.monitors.orders`). Every order is checked by
:mod:`.verify`, which shares no code with any engine.

Invariants. VALID is said only of orders that passed. An order that does not pass is a defect of a
checker, and the verdict is UNKNOWN.

The orders of the searches cost nothing and are always checked. Those of the zones and monitors cost
more than deciding, so unless they were asked for they are made only up to :data:`VERIFIED_MAX`
operations. The stats say how many operations were in checked orders.
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.linearizability.model import Model
from checkers.linearizability.problem import Problem
from checkers.linearizability.verify import order_error

#: Operations in orders that are made without having been asked for.
VERIFIED_MAX = 20_000

#: Operations in the orders given, all keys together: a result is stored, and read by people.
LINEARIZED_MAX = 20_000


class Evidence:
    """The legal orders of one check.

    Args:
        model: what they must obey.
        asked: whether orders are asked for: then all are made and checked, and kept to be given.
    """

    def __init__(self, model: Model, *, asked: bool) -> None:
        self.model = model
        self.asked = asked
        self.verified = 0
        self.made = 0
        self.left_out = 0
        self.fault = ""
        self.orders: list[list[object]] = []
        self._given = 0

    def wants(self, ops: int) -> bool:
        """Whether an order of so many operations should be made; asking counts as making."""
        if not self.asked and self.made + ops > VERIFIED_MAX:
            self.left_out += ops
            return False
        self.made += ops
        return True

    def take(self, key: object, problem: Problem, indices: Sequence[int]) -> None:
        """Check the order of one group, and keep it if orders are asked for.

        Args:
            key: of the group, or None.
            problem: its operations.
            indices: its order, as op indices.
        """
        error = order_error(problem, self.model, indices)
        if error:
            about = "" if key is None else f"key {key}: "
            self.fault = self.fault or f"{about}{error}"
            return
        self.verified += len(indices)
        if not self.asked:
            return
        if self._given + len(problem) > LINEARIZED_MAX:
            self.left_out += len(problem)
            return
        self._given += len(problem)
        self.orders.append([key, [problem.ops[index].invoke for index in indices]])

    def stats(self) -> dict[str, object]:
        """The entries of the result's stats."""
        found: dict[str, object] = {"verified_ops": self.verified}
        if self.asked:
            found["linearization"] = self.orders
            if self.left_out:
                found["linearization_left_out"] = self.left_out
        return found
