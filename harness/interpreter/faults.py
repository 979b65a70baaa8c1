"""Carries out fault actions: journals, injects, records, heals, and keeps the evidence.

The order matters. The intent is journalled before the injection, so that a fault is known even
after a crash. The history's begin record comes after the injection, its end record after the
healing, with the evidence. A nemesis that raises leaves the fault *indeterminate*: perhaps
injected; it is healed like any other. A fault counts as ``installed`` only if its evidence says
that it bit.

Faults are injected one after the other, and one may take long: a change that the system is asked
for waits for its answer. A fault whose whole time has gone by meanwhile is skipped. One that is
held for a time and was healed in the instant of its injection did not bite, whatever it says.

For the interpreter; every coroutine runs in real and in virtual time alike.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from harness.errors import UserCodeError
from harness.nemesis.base import Context, Injection, Nemesis, Plan
from harness.nemesis.common import skipped
from harness.nemesis.schedule import calm_needed
from harness.recorder import Recorder

log = logging.getLogger("harness.faults")

#: Why a fault was skipped, and why one did not bite.
TOO_LATE = "its time had gone by before its turn: the fault before it took long to begin"
NO_TIME = "it was healed in the instant in which it was injected"


class FaultRecord(msgspec.Struct):
    """One fault of the run, as results.json has it.

    Args:
        id: number within the run.
        f: name of the nemesis.
        begin_ns: when it was injected.
        end_ns: when it was healed, -1 before.
        value, nodes, outcome, evidence: as in :class:`harness.nemesis.base.Injection`.
    """

    id: int
    f: str
    begin_ns: int
    end_ns: int = -1
    value: Any = None
    nodes: list[str] = []
    outcome: str = "installed"
    evidence: dict[str, Any] = {}

    @property
    def bit(self) -> bool:
        """Whether its evidence says that it took effect."""
        return self.evidence.get("bit") is True


class FaultRunner:
    """Injects and heals the faults of one run.

    Args:
        nemeses: by name.
        context: what nemeses may use.
        recorder: where faults are recorded.
        now_ns: the run's clock.
    """

    def __init__(
        self,
        *,
        nemeses: Mapping[str, Nemesis],
        context: Context,
        recorder: Recorder,
        now_ns: Callable[[], int],
    ) -> None:
        self.nemeses = nemeses
        self.context = context
        self.recorder = recorder
        self.now_ns = now_ns
        self.records: dict[int, FaultRecord] = {}
        self.active: dict[int, tuple[Plan, Injection]] = {}

    async def inject(self, plan: Plan) -> None:
        """Inject one fault; an exception of the nemesis becomes an indeterminate fault.

        Raises:
            UserCodeError: no nemesis of the run has the plan's name.
        """
        nemesis = self._nemesis(plan)
        self.recorder.journal("intent", self.now_ns(), plan)
        if _is_over(plan, self.now_ns()):
            self._begin(plan, skipped(TOO_LATE))
            return
        try:
            injection = await nemesis.inject(self.context, plan)
            _require_injection(nemesis, injection)
        except (Exception, CancelledError) as error:
            # User code: the fault is indeterminate, and the run heals.
            log.warning("injecting %s (fault %d) failed", plan.nemesis, plan.id, exc_info=error)
            injection = Injection(None, [], "indeterminate", {"error": _said(error)})
        self._begin(plan, injection)

    async def heal(self, plan: Plan) -> None:
        """Heal one fault injected before; failure is journalled, for ``heal_all`` to mend."""
        plan, injection = self.active.pop(plan.id)
        record = self.records[plan.id]
        if injection.outcome == "skipped":
            self.recorder.journal("end", self.now_ns(), plan, outcome="skipped")
            record.end_ns = record.begin_ns
            return
        phase = "end"
        try:
            evidence = await self._nemesis(plan).heal(self.context, plan, injection)
            if not isinstance(evidence, dict):
                raise UserCodeError(
                    f"nemesis {plan.nemesis!r} healed with {evidence!r}; heal returns a dict"
                )
        except (Exception, CancelledError) as error:
            # User code: journalled, and healed again at the end.
            log.warning("healing %s (fault %d) failed", plan.nemesis, plan.id, exc_info=error)
            evidence = {**injection.evidence, "error": _said(error)}
            phase = "heal-failed"
        self._record_end(phase, plan, record, evidence)

    async def heal_rest(self) -> None:
        """Heal every fault that is still active, latest first: the end of a run that broke."""
        for id in sorted(self.active, reverse=True):
            await self.heal(self.active[id][0])

    def _nemesis(self, plan: Plan) -> Nemesis:
        nemesis = self.nemeses.get(plan.nemesis)
        if nemesis is None:
            raise UserCodeError(
                f"the workload's generator asks for the fault {plan.nemesis!r}, which is not among "
                f"the run's nemeses ({', '.join(self.nemeses) or 'none'}); name it in the "
                "workload's nemeses, or add it to --nemesis to have random ones too"
            )
        return nemesis

    def _begin(self, plan: Plan, injection: Injection) -> None:
        self.active[plan.id] = (plan, injection)
        self._record_begin(plan, injection)

    def _record_begin(self, plan: Plan, injection: Injection) -> None:
        now_ns = self.now_ns()
        target: dict[str, Any] = {"value": injection.value, "nodes": injection.nodes}
        proof: dict[str, Any] = {"outcome": injection.outcome, "evidence": injection.evidence}
        self.records[plan.id] = FaultRecord(
            plan.id, plan.nemesis, now_ns, value=injection.value, nodes=injection.nodes, **proof
        )
        self.recorder.journal("begin", now_ns, plan, **target, **proof)
        if injection.outcome != "skipped":
            proof = {}
        self.recorder.history.fault_begin(
            plan.nemesis, time_ns=now_ns, id=plan.id, **target, **proof
        )
        self.recorder.flush()
        log.info("fault %d %s begins: %s", plan.id, plan.nemesis, _short(injection.value))

    def _record_end(
        self, phase: str, plan: Plan, record: FaultRecord, evidence: dict[str, Any]
    ) -> None:
        record.end_ns = self.now_ns()
        if record.end_ns == record.begin_ns and not calm_needed(self._nemesis(plan)):
            # A change that the system was asked for stays; anything else was there for no time.
            evidence = {**evidence, "bit": False, "why": evidence.get("why") or NO_TIME}
        record.evidence = evidence
        if record.outcome == "installed" and not record.bit:
            record.outcome = "indeterminate"
        proof: dict[str, Any] = {"outcome": record.outcome, "evidence": evidence}
        self.recorder.journal(phase, record.end_ns, plan, **proof)
        self.recorder.history.fault_end(plan.id, plan.nemesis, time_ns=record.end_ns, **proof)
        self.recorder.flush()
        log.info("fault %d %s ends: %s", plan.id, plan.nemesis, _short(evidence))


def _is_over(plan: Plan, now_ns: int) -> bool:
    """Whether a planned fault's time has gone by. One of the workload's generator is never late:
    the generator waits for it."""
    return not plan.driven and plan.end_ns <= now_ns


def _require_injection(nemesis: Nemesis, injection: Any) -> None:
    if not isinstance(injection, Injection):
        raise UserCodeError(
            f"nemesis {nemesis.name!r} injected {injection!r}; inject returns an Injection"
        )


def _said(error: BaseException) -> str:
    if isinstance(error, CancelledError):
        return "it did not end in time and was cancelled"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _short(value: Any, limit: int = 120) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
