"""Independent checks: a verifier of claimed orders, and a brute-force search.

Nothing here shares code with the engines beyond the model itself. :func:`order_error` checks a
claimed linearisation against the definition. :func:`brute_force` decides a small problem straight
from the definition, trying every order; it re-checks minimal witnesses, and the tests compare
every engine with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.linearizability.model import Model
from checkers.linearizability.problem import Problem


def order_error(problem: Problem, model: Model, order: Sequence[int]) -> str:
    """Why an order of op indices is no linearisation of the problem; empty if it is one.

    Args:
        problem: the operations.
        model: what they must obey.
        order: op indices, each at most once.
    """
    done = set(order)
    if len(done) != len(order):
        return "an operation is linearised twice"
    missing = [i for i in range(len(problem)) if problem.required[i] and i not in done]
    if missing:
        return f"operation {missing[0]} completed but is not linearised"
    latest = -1
    for index in order:
        if problem.end[index] < latest:
            return f"operation {index} completed before an earlier-linearised one was invoked"
        latest = max(latest, problem.start[index])
    states = [model.init()]
    for index in order:
        states = [s for state in states for s in model.states_after(state, problem.ops[index])]
        if not states:
            return f"{model.describe_operation(problem.ops[index])} is illegal where it is put"
    return ""


def brute_force(problem: Problem, model: Model, *, limit: int | None = None) -> bool | None:
    """Whether a legal order exists, by trying them all; None after ``limit`` steps without answer.

    The definition, word for word: choose an operation no other remaining required one precedes in
    real time, step the model, go on; optional operations may be left out.
    """
    steps = 0

    def from_here(left: frozenset[int], state: object) -> bool | None:
        nonlocal steps
        required = [i for i in left if problem.required[i]]
        if not required:
            return True
        soonest = min(problem.end[i] for i in required)
        doubt = False
        for index in sorted(left):
            if problem.start[index] > soonest:
                continue
            rest = frozenset(
                i
                for i in left
                if i != index and (problem.required[i] or problem.end[i] > problem.start[index])
            )
            for after in model.states_after(state, problem.ops[index]):
                steps += 1
                if limit is not None and steps > limit:
                    return None
                answer = from_here(rest, after)
                if answer:
                    return True
                doubt = doubt or answer is None
        return None if doubt else False

    return from_here(frozenset(range(len(problem))), model.init())
