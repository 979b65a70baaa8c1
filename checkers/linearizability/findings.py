"""Findings of linearizability: from a proof that something is illegal to a small witness.

Problem. The engines prove that a key is illegal in different ways: the zones name a few operations,
a monitor names a part of the problem, a search names nothing at all. A reader wants a few
operations that cannot be ordered, the longest legal order of them, and where it is stuck.

Solution. The operations that an engine names are reduced: by stand-ins for writes (zones), not at
all (monitors), or by removing operations one by one (search). The witness is then searched once
more for its steps.

Invariants. A witness is illegal by itself: the search says so before it is shown.

What breaks without it: a verdict with thousands of operations to read.

Source: the shape of the findings is Knossos's ``final-paths``; reduction after Zeller's delta
debugging.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from checkers.core.budget import Meter
from checkers.core.verdict import Finding
from checkers.history import History
from checkers.linearizability.explain import finding_of
from checkers.linearizability.model import Model
from checkers.linearizability.problem import Problem, problem_of
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.search.wgl import Outcome
from checkers.linearizability.shrink import Shrinker
from checkers.linearizability.zones.clusters import Violation
from checkers.linearizability.zones.witness import fewest
from checkers.linearizability.zones.zones import ZonesAnswer

#: Configurations for explaining a violation whose few operations do not show it by themselves.
FALLBACK_LIMIT = 20_000


class MonitorAnswer(NamedTuple):
    """The answer of a monitor for one group.

    Args:
        legal: the verdict.
        order: makes a legal order, as op indices.
        witness: makes a small illegal part of the problem.
    """

    legal: bool
    order: Callable[[], Sequence[int]]
    witness: Callable[[], Problem]


class Explainer:
    """Makes the findings of one check.

    Args:
        history: the history that is checked.
        model: the sequential model.
        meter: the check's budget.
    """

    def __init__(self, history: History, model: Model, meter: Meter) -> None:
        self.history, self.model, self.meter = history, model, meter

    def of_zones(self, answer: ZonesAnswer, violation: Violation) -> Finding:
        """Search the few operations that cannot be ordered, for the steps and the stuck end."""
        columns = answer.columns
        rows = list(violation.ops)
        writers = [] if violation.kind == "garbage" else answer.writers_of(violation.ops)
        invokes = sorted(columns.invoke[[*rows, *writers]].tolist())
        problem = problem_of([self.history.op(invoke) for invoke in invokes], self.model)
        proving = set(columns.invoke[rows].tolist())
        chosen = [index for index, op in enumerate(problem.ops) if op.invoke in proving]
        witness = fewest(problem, chosen, self.model, self.meter)
        if witness is None:  # the proof needs more of the key than these operations
            of_key = np.flatnonzero(columns.key == violation.key)
            every = [self.history.op(invoke) for invoke in columns.invoke[of_key].tolist()]
            whole_key, machine = problem_of(every, self.model), Machine(self.model)
            found = search(whole_key, machine, self.meter, limit=FALLBACK_LIMIT)
            if found.legal is False:
                return self.of_search(whole_key, machine, found)
            witness = problem.subset(chosen)
        machine = Machine(self.model)
        outcome = search(witness, machine, self.meter)
        count = int(np.count_nonzero(columns.key == violation.key))
        return finding_of(self.history, witness, machine, outcome, key_ops=count)

    def of_group(
        self, problem: Problem, machine: Machine, outcome: Outcome, said: MonitorAnswer | None
    ) -> Finding:
        """The finding of an illegal group, from a monitor's proof or from the search."""
        if said is None:
            return self.of_search(problem, machine, outcome)
        witness = said.witness()
        shown = search(witness, machine, self.meter, limit=FALLBACK_LIMIT)
        return finding_of(self.history, witness, machine, shown, key_ops=len(problem))

    def of_search(self, problem: Problem, machine: Machine, outcome: Outcome) -> Finding:
        """The finding of an illegal problem, from the outcome of its search."""
        core = Shrinker(problem, machine, self.meter).run(outcome)
        witness = problem.subset(core)
        shown = search(witness, machine, self.meter, limit=FALLBACK_LIMIT)
        return finding_of(
            self.history,
            witness,
            machine,
            shown,
            certified=outcome.certified,
            key_ops=len(problem),
        )
