"""The verdict over a transactional history: inference, cycles, lattice, findings.

Both list-append and rw-register end here. What they infer (anomalies without cycles, and edges) is
judged against the consistency models asked for: INVALID if an anomaly found is forbidden by one of
them, and its witness holds on a second look (:mod:`checkers.transactions.verify`); anomalies that
only stronger models forbid are told in ``stats`` and do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from checkers.budget import Budget, BudgetSpent, Meter
from checkers.history import OK
from checkers.transactions.consistency import (
    canonical,
    forbidden_by,
    implied_anomalies,
    refuted_models,
    strongest_standing,
    weakest_refuted,
)
from checkers.transactions.cycles import find_cycles
from checkers.transactions.explain import Anomaly, anomaly_finding, cycle_finding
from checkers.transactions.forward import all_forward
from checkers.transactions.graph import GraphBuilder, add_process_edges, add_realtime_edges
from checkers.transactions.txns import Bools, Txns
from checkers.transactions.verify import confirm
from checkers.verdict import Because, Finding, Result, Verdict


class Inference(Protocol):
    """What a workload's inference offers; see ListAppend and RwRegister."""

    txns: Txns
    members: Bools
    anomalies: list[Anomaly]
    #: sentences on what could not be inferred and may hide anomalies
    unclear: list[str]
    #: sentences on what was assumed, told with the result
    notes: list[str]

    def check_values(self) -> None:
        """Find the anomalies that need no graph."""
        ...

    def add_edges(self, builder: GraphBuilder) -> None:
        """Add the data dependencies."""
        ...

    def edge_words(self, edge: Any) -> tuple[Any, str, tuple[Because, ...]]:
        """Explain one data edge."""
        ...

    def key_name(self, edge: Any) -> Any:
        """The key a data edge is about."""
        ...


def judge(
    inference: Inference,
    *,
    checker: str,
    consistency_models: Sequence[str] = ("strict-serializable",),
    budget: Budget | None = None,
) -> Result:
    """Judge an inferred history against consistency models.

    Args:
        inference: of the history's transactions.
        checker: name for the result.
        consistency_models: names; see :mod:`checkers.transactions.consistency`.
        budget: time and memory; asked between stages and in every search. Once it is spent the
            verdict is INVALID with what was found, or else UNKNOWN.

    Raises:
        ValueError: a model's name is unknown.
    """
    meter = Meter(budget)
    models = [canonical(model) for model in consistency_models]
    forbidden = frozenset().union(*(forbidden_by(model) for model in models))
    txns = inference.txns
    inference.check_values()
    findings = [anomaly_finding(anomaly, txns) for anomaly in inference.anomalies]
    if not meter.spent():
        try:
            cycles = _cycles(inference, forbidden, meter)
        except BudgetSpent:  # what was found before is told
            cycles = []
        findings = [anomaly_finding(anomaly, txns) for anomaly in inference.anomalies] + cycles
    findings = _confirmed(findings, inference)
    found = {finding.kind for finding in findings}
    relevant = [f for f in findings if implied_anomalies(f.kind) & forbidden]
    result = Result(
        checker=checker,
        verdict=Verdict.VALID,
        engine="elle-columns",
        findings=_by_severity(relevant),
        stats=_stats(txns, found, {f.kind for f in relevant}, models),
        budget=meter.budget.as_dict(),
    )
    if inference.notes:
        result.stats["notes"] = list(inference.notes)
    _conclude(result, inference, meter.reason)
    result.elapsed_s = round(meter.elapsed_s, 6)
    return result


def _cycles(inference: Inference, forbidden: frozenset[str], meter: Meter) -> list[Finding]:
    process = any(name.endswith("-process") for name in forbidden)
    realtime = any(name.endswith("-realtime") for name in forbidden)
    builder = GraphBuilder(len(inference.txns))
    inference.add_edges(builder)
    if not realtime and process:
        add_process_edges(builder, inference.txns, inference.members)
    if all_forward(builder, inference.txns, realtime=realtime):
        return []
    if realtime:
        add_realtime_edges(builder, inference.txns, inference.members)
        add_process_edges(builder, inference.txns, inference.members)
    if meter.spent(len(inference.txns)):
        return []
    cycles = find_cycles(builder.build(), process=process, realtime=realtime, meter=meter)
    return [cycle_finding(cycle, inference) for cycle in cycles]


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


def _stats(txns: Txns, found: set[str], relevant: set[str], models: list[str]) -> dict[str, Any]:
    closed = {anomaly for name in relevant for anomaly in implied_anomalies(name)}
    weakest = weakest_refuted(closed)
    return {
        "transactions": {
            "ok": int((txns.type == OK).sum()),
            "all": len(txns),
            "micro_operations": len(txns.mop_txn),
        },
        "keys": len(txns.keys),
        "consistency_models": models,
        "anomaly_types": sorted(relevant),
        "other_anomalies": sorted(found - relevant),
        "not": weakest,
        "also_not": sorted(refuted_models(closed) - set(weakest)),
        "strongest_not_refuted": strongest_standing(closed),
    }


def _conclude(result: Result, inference: Inference, spent: str) -> None:
    """Set the verdict and its reason."""
    txns = inference.txns
    done = txns.type == OK
    if result.findings:
        kinds = ", ".join(result.stats["anomaly_types"])
        result.verdict = Verdict.INVALID
        result.reason = f"found {kinds}: not {', '.join(result.stats['not'])}"
        return
    touched = np.isin(np.flatnonzero(done), txns.mop_txn).any() if len(txns.mop_txn) else False
    touched = touched or bool(txns.predicates)
    if spent:
        result.verdict = Verdict.UNKNOWN
        result.reason = (
            f"{spent} before every class of cycle was sought; what was read is consistent with "
            "what was written, and no cycle was found so far"
        )
    elif not touched:
        result.verdict = Verdict.UNKNOWN
        result.reason = "no transaction completed with a micro-operation, so nothing was checked"
    elif inference.unclear:
        result.verdict, result.reason = Verdict.UNKNOWN, "; ".join(inference.unclear)
    else:
        models = " and ".join(result.stats["consistency_models"])
        result.reason = f"{int(done.sum())} transactions show nothing that {models} forbids"
