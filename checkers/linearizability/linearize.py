"""Legal orders: the evidence for VALID, for whoever wants to see it.

A verdict of VALID rests on a legal order of the operations. The zones know one at no cost; the
monitors decide without making one, so for them and for the searched it is made here, by the
general search. Every order is then checked once more by :mod:`.verify`, which shares no code with
any engine. An order that did not pass would be a defect of a checker, and is raised as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from checkers.budget import Meter
from checkers.history import History
from checkers.linearizability.engines import search
from checkers.linearizability.machine import Machine
from checkers.linearizability.model import Model
from checkers.linearizability.problem import groups_of, problem_of
from checkers.linearizability.verify import order_error

#: Operations in the orders given, all keys together: a result is stored, and read by people.
LINEARIZED_MAX = 20_000


class WrongOrder(AssertionError):
    """A legal order that the independent verifier refuses: a defect of a checker."""


def linearizations(
    history: History,
    model: Model,
    meter: Meter,
    *,
    illegal: Set[int],
    known: Mapping[Any, list[int]],
) -> tuple[list[list[Any]], int]:
    """The legal order of every group that has one, and how many operations were left out.

    Args:
        history: what was judged.
        model: by which model.
        meter: the check's budget.
        illegal: first invocation index of the groups known to be illegal.
        known: orders that are known already, by key.

    Raises:
        WrongOrder: the verifier refused an order.
    """
    found: list[list[Any]] = []
    given = left_out = 0
    for group in groups_of(history, model):
        if not len(group) or group[0] in illegal:
            continue
        if given + len(group) > LINEARIZED_MAX:
            left_out += len(group)
            continue
        code = int(history.key[group[0]])
        key = None if code < 0 else history.keys[code]
        order = _order(history, model, meter, group, known.get(key))
        if order is None:
            left_out += len(group)
            continue
        found.append([key, order])
        given += len(group)
    return found, left_out


def _order(
    history: History, model: Model, meter: Meter, group: Any, known: list[int] | None
) -> list[int] | None:
    """A verified legal order of one group, as invocation indices; None if none was found."""
    problem = problem_of([history.op(invoke) for invoke in group], model)
    if known is None:
        outcome = search(problem, Machine(model), meter)
        if not outcome.legal or (not outcome.path and any(problem.required)):
            return None  # the budget is spent, or the compiled engine decided, which orders nothing
        indices = [index for index, _ in outcome.path]
    else:
        place = {op.invoke: index for index, op in enumerate(problem.ops)}
        indices = [place[invoke] for invoke in known]
    error = order_error(problem, model, indices)
    if error:
        raise WrongOrder(f"model {model.name}: {error}")
    return [problem.ops[index].invoke for index in indices]
