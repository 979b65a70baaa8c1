"""Linearizability of a history: choose the engine, check every key, explain what is wrong.

Locality (Herlihy and Wing): a history is linearizable iff each object's part is, so keys are
checked one by one. The engine is chosen by what the history allows and is named in the result:

- ``zones``: registers whose values are unambiguous, all keys at once (:mod:`.zones`);
- ``monitor``: queues, stacks and append-only lists whose values are unique (:mod:`.monitors`),
  and key-value stores whose values tell what was put and appended (:mod:`.appended`);
- ``search``: everything else (:mod:`.search`).

Keys are searched in rounds, each ten times as long as the one before, so that one explosive key
cannot hide a plain violation of another; the check ends with the round that found a violation.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from checkers.core.budget import Budget, BudgetSpent, Meter
from checkers.core.checker import Checker, named
from checkers.core.garbage_collection import collector_paused
from checkers.core.verdict import Finding, Result, Verdict
from checkers.history import OK, History, Op
from checkers.linearizability.explain import at_time
from checkers.linearizability.findings import Explainer, MonitorAnswer
from checkers.linearizability.linearize import Evidence
from checkers.linearizability.model import Model, as_model
from checkers.linearizability.monitors.appended import check_key
from checkers.linearizability.monitors.appended_witness import witness_of
from checkers.linearizability.monitors.collections import MONITORS
from checkers.linearizability.monitors.orders import ORDERS
from checkers.linearizability.problem import (
    NEVER,
    Problem,
    groups_of,
    problem_of,
    refuse_foreign_operations,
    refuse_malformed,
    vocabulary_of,
)
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.search.wgl import Outcome
from checkers.linearizability.values import token
from checkers.linearizability.zones.zones import ZonesAnswer, check_zones

#: Configurations each key gets in the first round.
FIRST_ROUND = 5_000

#: How much longer each round is than the one before it.
ROUND_GROWTH = 10

#: Findings explained in full; the number of violating keys found is always in the stats.
FINDINGS_MAX = 8

#: Histories of at most so many operations are not made into columns if the zones cannot check them.
SMALL = 1000

#: Operations read between two looks at the meter.
READ_AT_ONCE = 4096


def check(
    history: History,
    model: object,
    *,
    budget: Budget | None = None,
    explain: bool = True,
    linearization: bool = False,
) -> Result:
    """Check whether a history is linearizable.

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


def linearizable(model: object, *, name: str = "linearizable") -> Checker:
    """A checker that checks linearizability against a model.

    Args:
        model: a :class:`Model`, or any object with ``init`` and ``step``.
        name: the checker's name.

    Raises:
        ModelError: the model is unusable.
    """
    made = as_model(model)

    def check_history(history: History, *, budget: Budget | None = None) -> Result:
        refuse_malformed(history, made)
        return check(history, made, budget=budget)

    check_history.__doc__ = f"Linearizability against the model {made.name}."
    check_history.vocabulary = vocabulary_of(made)  # type: ignore[attr-defined]
    return named(name, check_history)


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
        self.explainer = Explainer(history, model, meter)
        self.engines: list[str] = []
        self.findings: list[Finding] = []
        self.invalid: list[object] = []
        self.open: dict[int, Outcome] = {}
        self.stats: dict[str, Any] = {"model": model.name}

    def run(self) -> Result:
        """Check all keys and say so."""
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

    def _key(self, group: Sequence[int]) -> object:
        code = int(self.history.key[group[0]])
        return None if code < 0 else self.history.keys[code]

    def _name(self, group: Sequence[int]) -> Hashable:
        """The key as something hashable that distinguishes 1 and True."""
        return token(self._key(group))

    def _by_zones(self, groups: list[list[int]]) -> list[list[int]]:
        """Check what the zones can; the groups they cannot check."""
        if self.model.engine != "register" or not groups:
            return groups
        parameters = self.model.parameters
        if self.history.op_count <= SMALL and all(map(self._written_twice, groups)):
            self.stats["zones"] = {"keys": 0, "ops": 0}
            return groups
        answer = check_zones(
            self.history,
            init=parameters["init"],
            failed_cas=parameters["failed_cas"],
            meter=self.meter,
        )
        doubtful = {token(answer.columns.key_values[code]) for code in answer.ambiguous_keys}
        self.stats["zones"] = {
            "keys": answer.columns.keys - len(doubtful),
            "ops": answer.decided,
        }
        if len(doubtful) < answer.columns.keys or not doubtful:
            self.engines.append("zones")
        for violation in answer.violations:
            self.invalid.append(answer.columns.key_values[violation.key])
            if len(self.findings) < self.findings_max:
                self.findings.append(self.explainer.of_zones(answer, violation))
        wrong = set(map(token, self.invalid))
        if answer.unfinished:
            self._leave_open(groups)
            return []
        self._verify_zones(answer, [g for g in groups if self._name(g) not in wrong | doubtful])
        return [group for group in groups if self._name(group) in doubtful]

    def _written_twice(self, group: list[int]) -> bool:
        """Whether a value was definitely written twice, so that the zones do not apply."""
        history = self.history
        names = [history.functions[code] for code in history.f[group].tolist()]
        done = history.pair[group]
        happened = ((done >= 0) & (history.type[done] == OK)).tolist()
        seen: set[Hashable] = set()
        for invoke, f, sure in zip(group, names, happened):
            value = history.values[invoke]
            if f == "cas":
                if not isinstance(value, (list, tuple)) or len(value) != 2:
                    return False  # refused by those who read all of it
                value = value[1]
            if sure and f != "read":
                written = token(value)
                if written in seen:
                    return True
                seen.add(written)
        return False

    def _verify_zones(self, answer: ZonesAnswer, groups: list[list[int]]) -> None:
        """Have the orders of the legal groups checked."""
        wanted = [group for group in groups if self.evidence.wants(len(group))]
        if not wanted:
            return
        orders = {token(answer.columns.key_values[code]): o for code, o in answer.orders().items()}
        for group in wanted:
            problem = problem_of([self.history.op(invoke) for invoke in group], self.model)
            place = {op.invoke: index for index, op in enumerate(problem.ops)}
            order = orders.get(self._name(group), ())
            self.evidence.take(self._key(group), problem, [place[invoke] for invoke in order])

    def _by_search(self, groups: list[list[int]]) -> None:
        """Check each group by the model's monitor if that applies, else by searching.

        Round by round, ever longer, the small groups first from the second round on. What remains
        open when a violation is known is left open; that is after the first round, or at once where
        nothing is to be explained.
        """
        configurations, limit = 0, FIRST_ROUND
        while groups and not (self.invalid and limit > FIRST_ROUND):
            later: list[list[int]] = []
            for number, group in enumerate(groups):
                if self.meter.spent():
                    self._leave_open(groups[number:])
                    break
                outcome = self._check_group(group, limit if len(groups) > 1 else None)
                configurations += outcome.configurations
                if outcome.legal is None:
                    later.append(group)
                elif self.invalid and (limit > FIRST_ROUND or not self.findings_max):
                    break
            if self.meter.spent() or (self.invalid and not self.findings_max):
                break
            groups, limit = sorted(later, key=len), limit * ROUND_GROWTH
        if "search" in self.engines:
            numbers = {"configurations": configurations, "undecided_keys": len(self.open)}
            self.stats["search"] = numbers

    def _leave_open(self, groups: list[list[int]]) -> None:
        """No time is left to check these, or to check them again."""
        undecided = Outcome(None, certified=NEVER)
        for group in groups:
            self.open.setdefault(group[0], undecided)

    def _check_group(self, group: list[int], limit: int | None) -> Outcome:
        machine = Machine(self.model)
        problem = self._problem(group)
        if problem is None:
            self._name_engine("search")
            self.open[group[0]] = Outcome(None, certified=NEVER, reason=self.meter.reason)
            return self.open[group[0]]
        said = self._monitored(problem)
        self._name_engine("search" if said is None else "monitor")
        if said is None:
            outcome = search(problem, machine, self.meter, limit=limit)
        else:
            outcome = Outcome(said.legal)
        self.open.pop(group[0], None)
        if outcome.legal is None:
            self.open[group[0]] = outcome
        elif outcome.legal:
            self._verify(self._key(group), problem, outcome, said)
        else:
            self.invalid.append(self._key(group))
            if len(self.findings) < self.findings_max:
                self.findings.append(self.explainer.of_group(problem, machine, outcome, said))
        return outcome

    def _monitored(self, problem: Problem) -> MonitorAnswer | None:
        """The answer of the model's monitor; None if none applies."""
        model, meter = self.model, self.meter
        if model.engine == "key-value":
            said = check_key(problem, model, meter)
            if said is None:
                return None
            return MonitorAnswer(
                said.legal, lambda: said.order, lambda: witness_of(said, model, meter)
            )
        monitor = MONITORS.get(model.engine)
        proof = None if monitor is None else monitor(problem, model, meter)
        if proof is None:
            return None
        orders = ORDERS[model.engine]
        return MonitorAnswer(
            not proof, lambda: orders(problem, model), lambda: problem.subset(proof)
        )

    def _problem(self, group: list[int]) -> Problem | None:
        """The operations of a group; None if the budget is spent before all are read."""
        ops: list[Op] = []
        for at in range(0, len(group), READ_AT_ONCE):
            if at and self.meter.spent(look=True):
                return None
            ops += map(self.history.op, group[at : at + READ_AT_ONCE])
        return problem_of(ops, self.model)

    def _verify(
        self, key: object, problem: Problem, outcome: Outcome, said: MonitorAnswer | None
    ) -> None:
        """Have the order of a legal group checked."""
        if said is not None:
            if self.evidence.wants(len(problem)):
                self.evidence.take(key, problem, said.order())
        elif outcome.traced:
            self.evidence.take(key, problem, [index for index, _ in outcome.path])
        else:
            self.evidence.left_out += len(problem)

    def _name_engine(self, name: str) -> None:
        if name not in self.engines:
            self.engines.append(name)

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

        A recorded run should have completed some: it has no evidence. Of a foreign history the
        question is only whether a legal order exists, and one does; nothing at all is no history.
        """
        history = self.history
        ops, ours = history.op_count, "format" in history.header
        if "workload" in history.header or not (ops or (history.faults and not ours)):
            return Verdict.UNKNOWN, "no operation completed, so there is nothing to check"
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
