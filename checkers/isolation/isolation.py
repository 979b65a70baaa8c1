"""The verdict over a transactional history: inference, cycles, lattice, findings.

Both list-append and rw-register end here. Their inference (anomalies without cycles, and edges) is
checked against the consistency models asked for: INVALID if an anomaly found is forbidden by one of
them, and its witness holds on a second look (:mod:`checkers.isolation.recheck`); anomalies that
only stronger models forbid are reported in ``stats`` and do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from checkers.core.budget import Budget, BudgetSpent, Meter
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import OK
from checkers.isolation.consistency import (
    canonical,
    forbidden_by,
    implied_anomalies,
    refuted_models,
    strongest_standing,
    weaker_models,
    weakest_refuted,
)
from checkers.isolation.explain import Anomaly, anomaly_finding, cycle_finding
from checkers.isolation.graph.acyclicity_certificate import all_forward
from checkers.isolation.graph.cycles import Edge, find_cycles
from checkers.isolation.graph.dependency_graph import (
    GraphBuilder,
    add_process_edges,
    add_realtime_edges,
)
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister
from checkers.isolation.levels import Levels
from checkers.isolation.recheck import confirm
from checkers.isolation.transaction_table import Bools, Txns


class Inference(Protocol):
    """The interface of a workload's inference; see ListAppend and RwRegister."""

    txns: Txns
    members: Bools
    anomalies: list[Anomaly]
    #: sentences on what could not be inferred and may hide anomalies
    unclear: list[str]
    #: sentences on what was assumed, reported with the result
    notes: list[str]

    def check_values(self) -> None:
        """Find the anomalies that need no graph."""
        ...

    def add_edges(self, builder: GraphBuilder) -> None:
        """Add the data dependencies."""
        ...

    def edge_words(self, edge: Edge) -> tuple[object, str, tuple[Because, ...]]:
        """Explain one data edge."""
        ...

    def key_name(self, edge: Edge) -> object:
        """The key a data edge is about."""
        ...


def check_levels(
    inference: Inference,
    *,
    checker: str,
    consistency_models: Sequence[str] = ("strict-serializable",),
    budget: Budget | None = None,
) -> Result:
    """Check an inferred history against consistency models.

    Args:
        inference: of the history's transactions.
        checker: name for the result.
        consistency_models: names; see :mod:`checkers.isolation.consistency`.
        budget: time and memory; asked between stages and in every search. Once it is spent the
            verdict is INVALID with what was found, or else UNKNOWN.

    Raises:
        ValueError: a model's name is unknown.
    """
    meter = Meter(budget)
    models = [_decidable(canonical(model)) for model in consistency_models]
    judgement = _Judgement(inference, models, meter)
    try:
        judgement.run()
    except BudgetSpent as spent:  # the findings so far are reported
        judgement.open.append(f"{spent}")
    result = Result(
        checker=checker,
        verdict=Verdict.VALID,
        engine="order-search" if judgement.searched else "elle-columns",
        findings=_by_severity(judgement.relevant),
        stats=_stats(inference.txns, judgement, models),
        budget=meter.budget.as_dict(),
    )
    if inference.notes:
        result.stats["notes"] = list(inference.notes)
    _conclude(result, judgement)
    result.elapsed_s = round(meter.elapsed_s, 6)
    return result


def _decidable(model: str) -> str:
    """The model to check by: for transactions, causal is what is called so of transactions."""
    return "transactional-causal" if model == "causal" else model


class _Judgement:
    """The findings so far, and the questions still open, as the stages go."""

    def __init__(self, inference: Inference, models: list[str], meter: Meter) -> None:
        self.inference, self.models, self.meter = inference, models, meter
        self.forbidden = frozenset().union(*(forbidden_by(model) for model in models))
        wanted = {name for model in models for name in weaker_models(model)}
        realtime = any(name.endswith("-realtime") for name in self.forbidden)
        process = any(name.endswith("-process") for name in self.forbidden)
        #: what the models promise of the order of transactions
        self.promises = ("process",) * process + ("realtime",) * realtime
        self.sessions = process or "transactional-causal" in wanted
        self.acyclic = False
        self.searched = False
        #: why the stages ended before the last
        self.open: list[str] = []
        self.relevant: list[Finding] = []
        self.other: list[Finding] = []

    def run(self) -> None:
        """Values, cycles, cycles by the order that the level promises of versions, levels."""
        inference, meter = self.inference, self.meter
        inference.check_values()
        found = [anomaly_finding(anomaly, inference.txns) for anomaly in inference.anomalies]
        if not meter.spent():
            cycles: list[Finding] = []
            try:
                cycles = self._cycles()
            except BudgetSpent as spent:
                self.open.append(f"{spent}")
            found = [anomaly_finding(anomaly, inference.txns) for anomaly in inference.anomalies]
            found += cycles
        self._add(_confirmed(found, inference))
        if self.decided() or not isinstance(inference, (ListAppend, RwRegister)):
            return
        proved = ""
        if self.acyclic and not self.other:
            strongest = ("serializable", "strong-session-serializable", "strict-serializable")
            proved = strongest[2 if "realtime" in self.promises else 1 if self.sessions else 0]
        other = {anomaly for f in self.other for anomaly in implied_anomalies(f.kind)}
        levels = Levels(inference, proved=proved, sought=self.forbidden, found=other, meter=meter)
        if isinstance(inference, RwRegister) and levels.open and not levels.have_order(self.models):
            for promise in self.promises:
                inference.promised(promise)
                cycles = [f for f in self._cycles(promise) if self._forbids(f)]
                self._add(_confirmed(cycles, inference))
                if self.decided():
                    return
        self._decide(levels)

    def decided(self) -> bool:
        """Whether there is nothing more to do."""
        wrong = self.relevant or self.meter.spent() or self.inference.unclear
        return bool(wrong) or not touched(self.inference.txns)

    def _forbids(self, finding: Finding) -> bool:
        return bool(implied_anomalies(finding.kind) & self.forbidden)

    def _add(self, findings: list[Finding]) -> None:
        for finding in findings:
            (self.relevant if self._forbids(finding) else self.other).append(finding)

    def _cycles(self, promised: str = "") -> list[Finding]:
        """Cycles of every class; those only that rest on an order promised, if there is one."""
        inference, meter = self.inference, self.meter
        process, realtime = "process" in self.promises, "realtime" in self.promises
        builder = GraphBuilder(len(inference.txns))
        inference.add_edges(builder)
        if self.sessions and not realtime:
            add_process_edges(builder, inference.txns, inference.members)
        if all_forward(builder, inference.txns, realtime=realtime):
            self.acyclic = True
            return []
        if realtime:
            add_realtime_edges(builder, inference.txns, inference.members)
            add_process_edges(builder, inference.txns, inference.members)
        if meter.spent(len(inference.txns)):
            return []
        graph = builder.build()
        cycles = find_cycles(
            graph, process=process, realtime=realtime, promised=promised, meter=meter
        )
        return [cycle_finding(cycle, inference) for cycle in cycles]

    def _decide(self, levels: Levels) -> None:
        """The questions that the cycles leave open."""
        for model in self.models:
            answer = levels.holds(model)
            if isinstance(answer, str):
                self.open.append(answer)
        self.searched = levels.searched
        self.relevant += levels.findings


def _confirmed(findings: list[Finding], inference: Inference) -> list[Finding]:
    """The findings that a second look at the raw history confirms; the others are doubts."""
    kept = []
    for finding in findings:
        wrong = confirm(finding, inference.txns.history)
        if wrong:
            inference.unclear.append(
                f"a {finding.kind} was inferred but a second look did not confirm it ({wrong})"
            )
        else:
            kept.append(finding)
    return kept


def _by_severity(findings: list[Finding]) -> list[Finding]:
    """Those that refute the weakest model first; then the shortest witness."""
    return sorted(
        findings,
        key=lambda f: (-len(refuted_models(implied_anomalies(f.kind))), len(f.ops), f.ops),
    )


def _stats(txns: Txns, judgement: _Judgement, models: list[str]) -> dict[str, object]:
    relevant = {finding.kind for finding in judgement.relevant}
    other = {finding.kind for finding in judgement.other}
    closed = {anomaly for name in relevant for anomaly in implied_anomalies(name)}
    broken = {f.breaks for f in judgement.relevant if f.breaks}
    weakest = weakest_refuted(closed, broken)
    return {
        "transactions": {
            "ok": int((txns.type == OK).sum()),
            "all": len(txns),
            "micro_operations": len(txns.mop_txn),
        },
        "keys": len(txns.keys),
        "consistency_models": models,
        "anomaly_types": sorted(relevant),
        "other_anomalies": sorted(other - relevant),
        "not": weakest,
        "also_not": sorted(refuted_models(closed, broken) - set(weakest)),
        "strongest_not_refuted": strongest_standing(closed, broken),
    }


def touched(txns: Txns) -> bool:
    """Whether any transaction completed with a micro-operation."""
    done = np.flatnonzero(txns.type == OK)
    some = np.isin(done, txns.mop_txn).any() if len(txns.mop_txn) else False
    return bool(some) or bool(txns.predicates)


def _conclude(result: Result, judgement: _Judgement) -> None:
    """Set the verdict and its reason."""
    inference, spent = judgement.inference, judgement.meter.reason
    if result.findings:
        kinds = ", ".join(result.stats["anomaly_types"])
        result.verdict = Verdict.INVALID
        result.reason = f"found {kinds}: not {', '.join(result.stats['not'])}"
        return
    if judgement.open:
        result.verdict, result.reason = Verdict.UNKNOWN, "; ".join(dict.fromkeys(judgement.open))
    elif spent:
        result.verdict = Verdict.UNKNOWN
        result.reason = (
            f"{spent} before every class of cycle was sought; what was read is consistent with "
            "what was written, and no cycle was found so far"
        )
    elif not touched(inference.txns):
        result.verdict = Verdict.UNKNOWN
        result.reason = "no transaction completed with a micro-operation, so nothing was checked"
    elif inference.unclear:
        result.verdict, result.reason = Verdict.UNKNOWN, "; ".join(inference.unclear)
    else:
        models = " and ".join(result.stats["consistency_models"])
        done = int((inference.txns.type == OK).sum())
        result.reason = f"{done} transactions show nothing that {models} forbids"
