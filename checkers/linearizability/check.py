"""Linearizability of a history: choose the engine, judge every key, explain what is wrong.

Locality (Herlihy and Wing): a history is linearizable iff each object's part is, so keys are judged
one by one. The engine is chosen by what the history allows and is named in the result:

- ``zones``: registers whose values are unambiguous, all keys at once (:mod:`.zones`);
- ``monitor``: queues, stacks and append-only lists whose values are unique (:mod:`.monitors`);
- ``search``: everything else (:mod:`.search`).

Keys are searched in two rounds: a short one first, so that one explosive key cannot hide a plain
violation of another, then with all of the budget that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from checkers.budget import Budget, BudgetSpent, Meter
from checkers.checker import Checker, named
from checkers.collector import collector_paused
from checkers.history import History, Op
from checkers.linearizability.engines import search
from checkers.linearizability.explain import at_time, finding_of
from checkers.linearizability.linearize import Evidence
from checkers.linearizability.machine import Machine
from checkers.linearizability.model import Model, as_model
from checkers.linearizability.monitor_orders import ORDERS
from checkers.linearizability.monitors import MONITORS
from checkers.linearizability.problem import (
    NEVER,
    Problem,
    groups_of,
    problem_of,
    refuse_foreign_operations,
)
from checkers.linearizability.search import Outcome
from checkers.linearizability.shrink import Shrinker
from checkers.linearizability.zone_witness import fewest
from checkers.linearizability.zones import Violation, ZonesAnswer, check_zones
from checkers.verdict import Finding, Result, Verdict

#: Configurations each key gets in the first round.
FIRST_ROUND = 5_000

#: Findings explained in full; the number of violating keys is always in the stats.
FINDINGS_MAX = 8

#: Configurations for explaining a violation whose few operations do not show it by themselves.
FALLBACK_LIMIT = 20_000

#: Operations read between two looks at the meter.
READ_AT_ONCE = 4096


def check(
    history: History,
    model: Any,
    *,
    budget: Budget | None = None,
    explain: bool = True,
    linearization: bool = False,
) -> Result:
    """Judge whether a history is linearizable.

    Args:
        history: the history.
        model: a :class:`Model`, or any object with ``init`` and ``step``.
        budget: what may be spent; None for the default.
        explain: whether violations are shrunk to a minimal witness; without, the verdict only.
        linearization: whether to give the legal order of every legal key, in
            ``stats["linearization"]``: a list of ``[key, [invocation index, ...]]``. At most
            :data:`~checkers.linearizability.linearize.LINEARIZED_MAX` operations; what was left out
            is counted in ``stats["linearization_left_out"]``. Operations of unknown outcome that
            are not in an order are thought never to have happened. Whether given or not,
            ``stats["verified_ops"]`` operations were in orders that the independent verifier
            accepted: all, except that zones and monitors make orders of large histories only here.

    Raises:
        ModelError: the model is unusable, or the history has operations it does not know.
    """
    made = as_model(model)
    refuse_foreign_operations(history, made)
    evidence = Evidence(made, asked=linearization)
    shown = FINDINGS_MAX if explain else 0
    with collector_paused():
        return _Check(history, made, Meter(budget), evidence, findings_max=shown).run()


def linearizable(model: Any, *, name: str = "linearizable") -> Checker:
    """A checker that judges linearizability against a model.

    Args:
        model: a :class:`Model`, or any object with ``init`` and ``step``.
        name: the checker's name.

    Raises:
        ModelError: the model is unusable.
    """
    made = as_model(model)

    def judge(history: History, *, budget: Budget | None = None) -> Result:
        return check(history, made, budget=budget)

    judge.__doc__ = f"Linearizability against the model {made.name}."
    return named(name, judge)


class _Check:
    """One run of :func:`check`."""

    def __init__(
        self,
        history: History,
        model: Model,
        meter: Meter,
        evidence: Evidence,
        *,
        findings_max: int,
    ) -> None:
        self.evidence = evidence
        self.findings_max = findings_max
        self.history = history
        self.model = model
        self.meter = meter
        self.engines: list[str] = []
        self.findings: list[Finding] = []
        self.invalid: list[Any] = []
        self.open: dict[int, Outcome] = {}
        self.stats: dict[str, Any] = {"model": model.name}

    def run(self) -> Result:
        """Judge all keys and say so."""
        groups = groups_of(self.history, self.model)
        self.stats["keys"] = len(np.unique(self.history.key))
        self.stats["ops"] = self.history.op_count
        try:
            left = self._by_zones(groups)
            if left:
                self._by_search(left)
        except BudgetSpent:
            if not self.invalid:
                raise
        return self._result()

    def _key(self, group: Sequence[int]) -> Any:
        code = int(self.history.key[group[0]])
        return None if code < 0 else self.history.keys[code]

    def _by_zones(self, groups: list[list[int]]) -> list[list[int]]:
        """Judge what the zones can; the groups they cannot judge."""
        if self.model.engine != "register" or not groups:
            return groups
        told = self.model.parameters
        answer = check_zones(
            self.history, init=told["init"], failed_cas=told["failed_cas"], meter=self.meter
        )
        doubtful = {answer.columns.key_values[code] for code in answer.ambiguous_keys}
        self.stats["zones"] = {
            "keys": answer.columns.keys - len(doubtful),
            "ops": answer.decided,
        }
        if len(doubtful) < answer.columns.keys or not doubtful:
            self.engines.append("zones")
        for violation in answer.violations:
            self.invalid.append(answer.columns.key_values[violation.key])
            if len(self.findings) < self.findings_max:
                self.findings.append(self._explain_zones(answer, violation))
        wrong = set(self.invalid)
        if answer.unfinished:
            self._leave_open(groups)
            return []
        self._verify_zones(answer, [g for g in groups if self._key(g) not in wrong | doubtful])
        return [group for group in groups if self._key(group) in doubtful]

    def _verify_zones(self, answer: ZonesAnswer, groups: list[list[int]]) -> None:
        """Have the orders of the legal groups checked."""
        wanted = [group for group in groups if self.evidence.wants(len(group))]
        if not wanted:
            return
        orders = {answer.columns.key_values[code]: o for code, o in answer.orders().items()}
        for group in wanted:
            problem = problem_of([self.history.op(invoke) for invoke in group], self.model)
            place = {op.invoke: index for index, op in enumerate(problem.ops)}
            key = self._key(group)
            self.evidence.take(key, problem, [place[invoke] for invoke in orders.get(key, ())])

    def _explain_zones(self, answer: ZonesAnswer, violation: Violation) -> Finding:
        """Search the few operations that cannot be ordered, for the steps and the stuck end."""
        columns = answer.columns
        rows, writers = list(violation.ops), answer.writers_of(violation.ops)
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
                return self._explain(whole_key, machine, found)
            witness = problem.subset(chosen)
        machine = Machine(self.model)
        outcome = search(witness, machine, self.meter)
        count = int(np.count_nonzero(columns.key == violation.key))
        return finding_of(self.history, witness, machine, outcome, key_ops=count)

    def _by_search(self, groups: list[list[int]]) -> None:
        """Judge each group by the model's monitor if that applies, else by searching."""
        configurations = 0
        for limit in (FIRST_ROUND, None) if len(groups) > 1 else (None,):
            later: list[list[int]] = []
            for number, group in enumerate(groups):
                if self.meter.spent():
                    self._leave_open(groups[number:])
                    break
                outcome = self._judge(group, limit)
                configurations += outcome.configurations
                if outcome.legal is None and limit is not None:
                    later.append(group)
            groups = later
        if "search" in self.engines:
            numbers = {"configurations": configurations, "undecided_keys": len(self.open)}
            self.stats["search"] = numbers

    def _leave_open(self, groups: list[list[int]]) -> None:
        """No time is left to judge these, or to judge them again."""
        undecided = Outcome(None, certified=NEVER)
        for group in groups:
            self.open.setdefault(group[0], undecided)

    def _judge(self, group: list[int], limit: int | None) -> Outcome:
        machine = Machine(self.model)
        problem = self._problem(group)
        if problem is None:
            self._name_engine("search")
            self.open[group[0]] = Outcome(None, certified=NEVER, reason=self.meter.reason)
            return self.open[group[0]]
        monitor = MONITORS.get(self.model.engine)
        proof = None if monitor is None else monitor(problem, self.model, self.meter)
        self._name_engine("search" if proof is None else "monitor")
        if proof is None:
            outcome = search(problem, machine, self.meter, limit=limit)
        else:
            outcome = Outcome(not proof)
        self.open.pop(group[0], None)
        if outcome.legal is None:
            self.open[group[0]] = outcome
        elif outcome.legal:
            self._verify(self._key(group), problem, outcome, by_monitor=proof is not None)
        else:
            self.invalid.append(self._key(group))
            if len(self.findings) < self.findings_max:
                self.findings.append(self._finding(problem, machine, outcome, proof))
        return outcome

    def _problem(self, group: list[int]) -> Problem | None:
        """The operations of a group; None if the budget is spent before all are read."""
        ops: list[Op] = []
        for at in range(0, len(group), READ_AT_ONCE):
            if at and self.meter.spent(look=True):
                return None
            ops += map(self.history.op, group[at : at + READ_AT_ONCE])
        return problem_of(ops, self.model)

    def _verify(self, key: Any, problem: Problem, outcome: Outcome, *, by_monitor: bool) -> None:
        """Have the order of a legal group checked."""
        if by_monitor:
            if self.evidence.wants(len(problem)):
                self.evidence.take(key, problem, ORDERS[self.model.engine](problem, self.model))
        elif outcome.traced:
            self.evidence.take(key, problem, [index for index, _ in outcome.path])
        else:
            self.evidence.left_out += len(problem)

    def _name_engine(self, name: str) -> None:
        if name not in self.engines:
            self.engines.append(name)

    def _finding(
        self, problem: Problem, machine: Machine, outcome: Outcome, proof: tuple[int, ...] | None
    ) -> Finding:
        """The finding of an illegal group, from a monitor's proof or from the search."""
        if not proof:
            return self._explain(problem, machine, outcome)
        witness = problem.subset(proof)
        shown = search(witness, machine, self.meter)
        return finding_of(self.history, witness, machine, shown, key_ops=len(problem))

    def _explain(self, problem: Problem, machine: Machine, outcome: Outcome) -> Finding:
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

    def _result(self) -> Result:
        self.findings.sort(key=lambda finding: finding.detail["window"][1])
        if self.invalid:
            self.stats["invalid_keys"] = len(self.invalid)
        verdict, reason = self._verdict()
        if verdict is not Verdict.INVALID:
            self.stats.update(self.evidence.stats())
        return Result(
            checker="linearizable",
            verdict=verdict,
            reason=reason,
            findings=self.findings,
            engine="+".join(self.engines),
            stats=self.stats,
            elapsed_s=self.meter.elapsed_s,
            budget=self.meter.budget.as_dict(),
        )

    def _nothing_completed(self) -> tuple[Verdict, str]:
        """The answer where no operation completed, so that none could contradict the model.

        A recorded run should have completed some: it has no evidence. Of somebody's history the
        question is only whether a legal order exists, and one does; nothing at all is no history.
        """
        history = self.history
        ops, ours = history.op_count, "format" in history.header
        if "workload" in history.header or not (ops or (history.faults and not ours)):
            return Verdict.UNKNOWN, "no operation completed, so there is nothing to judge"
        self.stats["unchallenged"] = True
        what = f"none of {ops} operations completed" if ops else "the history has faults only"
        return Verdict.VALID, f"weakly exercised: {what}, so nothing could contradict the model"

    def _verdict(self) -> tuple[Verdict, str]:
        completed = self.history.count("ok")
        if self.invalid:
            if self.findings:
                return Verdict.INVALID, self.findings[0].sentence
            return Verdict.INVALID, f"not linearizable on {len(self.invalid)} keys"
        if self.open:
            return Verdict.UNKNOWN, self._doubt()
        if completed == 0:
            return self._nothing_completed()
        if self.evidence.fault:
            fault = self.evidence.fault
            return Verdict.UNKNOWN, f"a defect of this checker: its order is not legal: {fault}"
        keys = self.stats["keys"]
        over = f" on {keys} keys" if keys > 1 else ""
        return Verdict.VALID, f"{completed} completed operations{over} have a legal order"

    def _doubt(self) -> str:
        """How far an unfinished check got."""
        first, outcome = next(iter(self.open.items()))
        key = self._key([first])
        where = "" if key is None else f" of key {key}"
        far = ""
        if outcome.certified < NEVER:
            moment = at_time(outcome.certified, int(self.history.time_ns[outcome.certified]))
            far = f"; the history{where} is certified up to event {outcome.certified}"
            far += f" of {len(self.history)}"
            far += f" ({moment})" if not moment.startswith("event") else ""
        more = f", {len(self.open)} keys undecided" if len(self.open) > 1 else ""
        return f"{self.meter.reason or outcome.reason}{more}{far}"
