"""Both searches on one problem, in turns.

Problem. Depth first (:mod:`.wgl`) finds a legal order quickly where there are many, which is the
usual case. Breadth first (:mod:`.just_in_time`) is steadier where there is none, or where
operations of unknown outcome make the number of orders explode. Neither is always better.

Solution. The depth-first search begins. If it has no answer soon, both go on in turns. A search
that is long even so is handed to the compiled breadth-first engine (:mod:`.just_in_time_compiled`)
where that applies. Loading it takes a second, and compiling takes many seconds once on a machine,
so a short search never does.

Invariants. Turns are counted in configurations. So which engine answers, and what it answers, does
not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from checkers.core.budget import Meter
from checkers.linearizability.problem import Problem
from checkers.linearizability.search.just_in_time import Frontier
from checkers.linearizability.search.just_in_time_compiled import (
    CompiledFrontier,
    compiled_frontier,
)
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.wgl import Outcome, Search

#: Configurations the depth-first search may examine before the other one begins; and as many times
#: the operations: it needs about one for each where all goes well.
HEAD_START, HEAD_START_PER_OP = 20_000, 2

#: Configurations of one turn.
TURN = 10_000

#: Configurations after which the compiled engine takes over, and those of one of its turns.
COMPILE_AFTER, COMPILED_TURN = 60_000, 200_000

#: Operations whose classes are numbered between two looks at the meter.
NUMBERED_AT_ONCE = 4096

#: Megabytes that must be left for it: numba alone takes most of them.
COMPILE_MEMORY_MB = 400.0


def search(
    problem: Problem,
    machine: Machine,
    meter: Meter,
    *,
    limit: int | None = None,
    starts: Sequence[int] | None = None,
) -> Outcome:
    """Search one problem until it is decided or the budget is spent.

    Args:
        problem: what to order.
        machine: the model, as a machine.
        meter: the budget.
        limit: stop without an answer after this many configurations.
        starts: numbers of the states it may start from; None for the initial state.
    """
    for at in range(0, len(problem), NUMBERED_AT_ONCE):
        if at and meter.spent(look=True):
            return Outcome(None, reason=meter.reason)
        for op in problem.ops[at : at + NUMBERED_AT_ONCE]:
            machine.class_number(op)
    deep = Search(problem, machine, starts=starts)
    turns = _Turns(meter, limit)
    walk = deep.walk()
    if turns.take(walk, max(HEAD_START, HEAD_START_PER_OP * len(problem))):
        return deep.outcome
    if turns.reason:
        deep.note()
        deep.outcome.reason = turns.reason
        return deep.outcome
    wide = Frontier(problem, machine, starts=starts)
    return _in_turns(turns, deep, walk, problem, wide)


def _in_turns(
    turns: _Turns, deep: Search, walk: Iterator[int], problem: Problem, wide: Frontier
) -> Outcome:
    """Let both go on in turns until one has the answer or the budget is spent."""
    other, turn, answer = wide.walk(), TURN, deep.outcome
    outcomes, compiled = [deep.outcome, wide.outcome], False
    while not turns.reason:
        if not compiled and turns.done >= COMPILE_AFTER:
            compiled = True
            faster = turns.compiled(problem, deep)
            if faster is not None:
                other, turn = faster.walk(), COMPILED_TURN
                outcomes.append(faster.outcome)
        if turns.take(other, turn) and outcomes[-1].legal is not None:
            answer = outcomes[-1]
            break
        if turns.take(walk, TURN):
            break
    answer.configurations = sum(outcome.configurations for outcome in outcomes)
    if answer.legal is None:
        deep.note()
        answer.reason = turns.reason
        answer.certified = max(outcome.certified for outcome in outcomes)
    return answer


class _Turns:
    """Walks in turns, within one budget.

    Args:
        meter: the budget.
        limit: of all configurations together; None for no limit.
    """

    def __init__(self, meter: Meter, limit: int | None) -> None:
        self.meter = meter
        self.limit = limit
        self.done = 0
        self.reason = ""

    def compiled(self, problem: Problem, deep: Search) -> CompiledFrontier | None:
        """The compiled engine, if it applies and there is memory for it."""
        if self.meter.remaining_mb() < COMPILE_MEMORY_MB:
            return None
        return compiled_frontier(
            problem, deep.machine, starts=deep.starts, room_mb=self.meter.remaining_mb
        )

    def take(self, walk: Iterator[int], turn: int) -> bool:
        """Walk on for about so many configurations; whether the end was reached."""
        until = self.done + turn
        while not self.reason and self.done < until:
            count = next(walk, -1)
            if count < 0:
                return True
            self.done += count
            if self.meter.spent(count, look=True):
                self.reason = self.meter.reason
            elif self.limit is not None and self.done >= self.limit:
                self.reason = f"stopped after {self.limit} configurations"
        return False
