"""Checks a run: checks the history, weighs the evidence, writes what was found.

A verdict of VALID is a claim, and needs evidence that there was something to find. So after the
checkers have spoken the run itself is looked at:

- no completed operation of a kind the checker needs: UNKNOWN;
- a nemesis of which no fault took effect: UNKNOWN;
- operations recorded but none during any fault, no change of leader under faults that should depose
  it, a nemesis most of whose faults had no effect, few operations or few of them answered, many
  unknown outcomes, an interruption, trouble after healing: VALID stays, and the reasons why it is
  weak are written down, beside a count of why operations failed.

A violation is never weakened by any of this. For :mod:`harness.runner`, ``harness check`` on a run
directory, and replays.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from checkers.core.budget import Budget
from checkers.core.verdict import Finding, Result, Verdict
from harness.assumptions import Exceeded, exceeded, excused, label
from harness.databases.base import Assumptions, RecoveryBounds
from harness.errors import Named
from harness.nemesis.placement import MAP_CHANGES
from harness.recovery import beyond_bounds
from harness.store import RESULTS, plain, write_json
from workloads import Workload

log = logging.getLogger("harness.verdict")

#: Fewer completed operations than this make a VALID weak.
OPS_FEW = 100

#: A larger share of unknown outcomes than this makes a VALID weak.
INFO_SHARE_LARGE = 0.5

#: A smaller share of operations answered makes a VALID weak: in all, or of those ended in faults.
ANSWERED_SHARE_SMALL = 1 / 3
ANSWERED_IN_FAULTS_SMALL = 0.1

#: A rate reached to less than this is said.
RATE_SHARE_REACHED = 0.9

#: So many kinds of failure are written down; the rest is counted.
FAILURES_MAX = 20

#: A larger share of a nemesis's faults without effect than this makes a VALID weak.
IDLE_SHARE_LARGE = 0.5

#: Nemeses after which a leader is expected to change now and then. Under bad packets, wrong clocks
#: or a slow disk it keeps its place in a sound system, and that is no weakness of the run.
DEPOSING = ("partition", "kill", "pause")

#: Witnesses written for one run; the first are the most telling.
WITNESSES_MAX = 20


class Judgement(msgspec.Struct):
    """The verdict of a run with its reasons.

    Args:
        verdict: all of it, merged.
        sentence: why, in one sentence.
        results: one per checker, and one named ``evidence`` of the harness itself.
        evidence: as in results.json.
        notes: what the loader of the history had to say.
        assumptions: the faults beyond what the database assumes.
    """

    verdict: Verdict
    sentence: str
    results: list[Result]
    evidence: dict[str, Any]
    notes: list[str] = []
    assumptions: list[Exceeded] = []

    def findings(self) -> list[Finding]:
        """All violations found, most telling first."""
        return [finding for result in self.results for finding in result.all_findings()]


def check_run(
    run_dir: Path,
    workload: Workload,
    *,
    faults: Sequence[Mapping[str, Any]],
    nemeses: Sequence[str],
    time_s: float = 60.0,
    leader_changes: int | None = None,
    troubles: Sequence[str] = (),
    notes: Sequence[str] = (),
    interrupted: str = "",
    rate: tuple[float, float] | None = None,
    extra: Sequence[Result] = (),
    assumed: Assumptions = Assumptions(),  # noqa: B008 (frozen)
    bounds: RecoveryBounds = RecoveryBounds(),  # noqa: B008 (frozen)
) -> Judgement:
    """Check the history of a run directory and weigh its evidence.

    Args:
        run_dir: holds ``history.jsonl``; witnesses are written beside it.
        workload: knows the checker, and what it needs.
        faults: the run's faults, as results.json has them.
        nemeses: names of the nemeses that were to act.
        time_s: the checkers' budget.
        leader_changes: how often the leader changed, if known.
        troubles: what was not as it should be after healing.
        notes: what a reader must know that weakens no verdict.
        interrupted: how far the run came before the user ended it, as a phrase; else empty.
        rate: operations per second asked for and reached; None if nothing was asked for.
        extra: results from elsewhere (invariants of the simulation).
        assumed: what the database assumes; beyond it a violation is labelled.
        bounds: how soon the database declares to recover; what took longer is marked.

    Raises:
        HistoryError: the history cannot be read.
    """
    from checkers.history import load

    history = load(run_dir / "history.jsonl")
    result = check_safely(workload.checker, history, Budget(time_s=time_s))
    results = [*extra, *(result.parts or [result])]
    if any(_bit(fault) for fault in faults):
        results.append(measured_recovery(history, bounds))
    troubles = [*troubles, *beyond_bounds(results)]
    evidence = weigh(
        history,
        faults,
        leader_changes=leader_changes,
        troubles=[*([f"the run was interrupted {interrupted}"] if interrupted else []), *troubles],
        refusals=workload.refusals,
        rate=rate,
    )
    evidence["notes"] += notes
    missing = _missing(history, workload, faults, nemeses)
    if missing:
        missing += troubles
    results.append(_evidence_result(missing, evidence))
    verdict = Verdict.merge_all(each.verdict for each in results)
    judgement = Judgement(verdict, "", results, evidence, list(history.notes))
    judgement.assumptions = exceeded(assumed, faults)
    judgement.sentence = _labelled(judgement, history, _sentence(judgement, history.op_count))
    _write_witnesses(run_dir, history, judgement.findings())
    return judgement


@runtime_checkable
class _WithName(Protocol):
    name: str


def _name_of(checker: object) -> str:
    if isinstance(checker, _WithName):
        return checker.name
    return checker.__name__ if isinstance(checker, Named) else "checker"


def check_safely(checker: Any, history: Any, budget: Budget) -> Result:
    """A checker's result; one that raises says UNKNOWN, and why."""
    name = _name_of(checker)
    try:
        said = checker(history, budget=budget)
    except Exception as error:  # a checker is user code: it says UNKNOWN, and why
        log.exception("checker %s raised", name)
        return Result(
            checker=name,
            verdict=Verdict.UNKNOWN,
            reason=f"checker {name!r} raised {type(error).__name__}: {error}",
            stats={"traceback": traceback.format_exc()},
        )
    if isinstance(said, Result):
        return said
    if isinstance(said, Verdict):
        return Result(checker=name, verdict=said)
    return Result(
        checker=name,
        verdict=Verdict.UNKNOWN,
        reason=f"checker {name!r} returned {said!r}, which is neither a Result nor a Verdict",
    )


def measured_recovery(history: Any, bounds: RecoveryBounds) -> Result:
    """How long the system took to answer again after each fault: measured, not checked."""
    from checkers.judges.recovery import recovery

    measured = check_safely(recovery(declared_s=bounds.serves_s), history, Budget())
    return msgspec.structs.replace(measured, verdict=Verdict.VALID)


# Evidence -----------------------------------------------------------------------------------------


def weigh(
    history: Any,
    faults: Sequence[Mapping[str, Any]],
    *,
    leader_changes: int | None = None,
    troubles: Sequence[str] = (),
    refusals: tuple[str, ...] = (),
    rate: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Coverage of a run, and the weaknesses of a VALID of it; see docs/architecture.md."""
    installed = [fault for fault in faults if fault["outcome"] == "installed"]
    bit = [fault for fault in faults if _bit(fault)]
    inside = _ops_inside(history, bit)
    evidence: dict[str, Any] = {
        "faults_injected": sum(fault["outcome"] != "skipped" for fault in faults),
        "faults_installed": len(installed),
        "faults_bit": len(bit),
        "leader_changes": leader_changes,
        "ops_in_faults": inside,
        **_answered(history, bit, refusals),
        "failures": _failures(history),
    }
    if rate is not None:
        evidence["rate"] = {"asked": rate[0], "reached": round(rate[1], 1)}
    evidence["notes"] = _notes(evidence)
    evidence["weak"] = _weak(history, faults, evidence, troubles)
    return evidence


def _answered(
    history: Any, faults: Sequence[Mapping[str, Any]], refusals: tuple[str, ...]
) -> dict[str, float | None]:
    """Shares of operations answered: ok, or refused where a working system may refuse.

    ``answered_in_faults`` is of those that ended while a fault was in force: None if none did.
    """
    import numpy as np

    invokes = history.invocations
    outcomes = history.outcomes()
    done = history.pair[invokes]
    refused = [i for i, said in history.errors.items() if str(said).startswith(refusals)]
    good = (outcomes == 1) | ((outcomes == 2) & np.isin(done, refused))
    at_ns = history.time_ns[np.where(done < 0, invokes, done)]
    during = np.zeros(len(invokes), dtype=bool)
    for fault in faults:
        until_ns = fault["end_ns"] if fault["end_ns"] >= 0 else np.iinfo(np.int64).max
        during |= (at_ns >= fault["begin_ns"]) & (at_ns <= until_ns)
    shares = {"answered": good, "answered_in_faults": good[during]}
    return {name: float(which.mean()) if len(which) else None for name, which in shares.items()}


def _failures(history: Any) -> list[dict[str, Any]]:
    """Why operations failed, the commonest first; the last entry may stand for the rest."""
    from checkers.judges.stats import failures

    found = [msgspec.to_builtins(failure) for failure in failures(history)]
    rest = sum(each["count"] for each in found[FAILURES_MAX:])
    if rest:
        rest_words = f"{len(found) - FAILURES_MAX} other kinds of failure"
        found[FAILURES_MAX:] = [{"f": "", "outcome": "", "error": rest_words, "count": rest}]
    return found


def _notes(evidence: Mapping[str, Any]) -> list[str]:
    """Notes that weaken no verdict."""
    rate = evidence.get("rate")
    if not rate or rate["reached"] >= RATE_SHARE_REACHED * rate["asked"]:
        return []
    return [f"asked for {rate['asked']:,.0f} operations per second, reached {rate['reached']:,.0f}"]


def _bit(fault: Mapping[str, Any]) -> bool:
    return bool(fault.get("evidence", {}).get("bit"))


def _ops_inside(history: Any, faults: Sequence[Mapping[str, Any]]) -> int:
    """Operations that were under way while some fault was in force."""
    import numpy as np

    invokes = history.invocations
    begin_ns = history.time_ns[invokes]
    done = history.pair[invokes]
    end_ns = np.where(done < 0, np.iinfo(np.int64).max, history.time_ns[done])
    inside = np.zeros(len(invokes), dtype=bool)
    for fault in faults:
        until_ns = fault["end_ns"] if fault["end_ns"] >= 0 else np.iinfo(np.int64).max
        inside |= (begin_ns <= until_ns) & (end_ns >= fault["begin_ns"])
    return int(inside.sum())


def _weak(
    history: Any,
    faults: Sequence[Mapping[str, Any]],
    evidence: Mapping[str, Any],
    troubles: Sequence[str],
) -> list[str]:
    weak = [] if faults else ["no fault was injected"]
    ok, info = history.count("ok"), history.count("info")
    if ok < OPS_FEW:
        weak.append(f"only {ok} operations completed")
    if info > INFO_SHARE_LARGE * max(1, history.op_count):
        weak.append(f"{info} of {history.op_count} operations have an unknown outcome")
    weak += _unanswered(history.op_count, evidence)
    if evidence["faults_bit"] and not evidence["ops_in_faults"]:
        weak.append("no operation was under way during any fault")
    deposing = any(_bit(fault) and _base(fault["f"]) in DEPOSING for fault in faults)
    if deposing and evidence["leader_changes"] == 0:
        weak.append("the leader never changed")
    return weak + _idle(faults) + list(troubles)


def _unanswered(ops: int, evidence: Mapping[str, Any]) -> list[str]:
    """That few operations were answered, and what most of the others met."""
    share, inside = evidence["answered"], evidence["answered_in_faults"]
    if not ops or share is None:
        return []
    most = next((f for f in evidence["failures"] if f["error"] or f["f"]), None)
    cause = ""
    if most:
        cause = f"; most often {most['f']}: {most['error'] or most['outcome']} ({most['count']:,})"
    if share < ANSWERED_SHARE_SMALL:
        return [f"only {share:.1%} of {ops:,} operations were answered{cause}"]
    if inside is not None and inside < ANSWERED_IN_FAULTS_SMALL:
        return [f"only {inside:.1%} of operations during faults were answered{cause}"]
    return []


def _idle(faults: Sequence[Mapping[str, Any]]) -> list[str]:
    """The nemeses most of whose faults did nothing.

    That now and then one does nothing (a cut between two nodes that had nothing to say to each
    other) is the nature of random faults, and weakens nothing.
    """
    idle = []
    for name in dict.fromkeys(fault["f"] for fault in faults):
        mine = [fault for fault in faults if fault["f"] == name]
        without = [fault for fault in mine if not _bit(fault)]
        if len(without) > IDLE_SHARE_LARGE * len(mine):
            why = next((w for f in without if (w := f["evidence"].get("why"))), "")
            cause = f" ({why})" if why else ""
            idle.append(f"{len(without)} of {len(mine)} {name} faults had no effect{cause}")
    return idle


def _base(name: str) -> str:
    """The nemesis of a kind: ``partition`` of ``partition-halves``.

    A change of the map of partitions cuts no network, though its name begins alike.
    """
    return name if name in MAP_CHANGES else name.partition("-")[0]


def _missing(
    history: Any,
    workload: Workload,
    faults: Sequence[Mapping[str, Any]],
    nemeses: Sequence[str],
) -> list[str]:
    """Why the verdict is UNKNOWN in spite of the checkers; empty if it is not."""
    done = completed(history)
    if not history.op_count:
        return ["nothing was done: the history has no operation"]
    missing = []
    needed = sorted(workload.operations)
    if needed:
        for f in needed:
            if not done.get(f):
                missing.append(f"no {f} completed{_commonest(f, history)}")
    elif not done:
        missing.append(f"no operation completed{_commonest('', history)}")
    for name in nemeses:
        if not any(fault["f"] == name and _bit(fault) for fault in faults):
            made = sum(1 for fault in faults if fault["f"] == name)
            why = f"none of its {made} faults took effect" if made else "it made no fault"
            missing.append(f"nemesis {name} had no effect: {why}{_why_idle(name, faults)}")
    return missing


def _why_idle(name: str, faults: Sequence[Mapping[str, Any]]) -> str:
    """The commonest reason why a nemesis's faults did nothing, in brackets; or nothing."""
    whys = [fault["evidence"].get("why") or fault["evidence"].get("error") for fault in faults
            if fault["f"] == name]  # fmt: skip
    reasons = [str(reason) for reason in whys if reason]
    return f" ({max(reasons, key=reasons.count)})" if reasons else ""


def completed(history: Any) -> dict[str, int]:
    """How many operations of each function were ok."""
    import numpy as np

    codes = history.f[history.type == 1]
    names, counts = np.unique(codes, return_counts=True)
    return {history.functions[code]: int(count) for code, count in zip(names, counts)}


def _commonest(f: str, history: Any) -> str:
    from checkers.judges.stats import failures

    met = [each.error for each in failures(history) if each.error and f in ("", each.f)]
    return f" (most often: {met[0]})" if met else ""


def _evidence_result(missing: Sequence[str], evidence: Mapping[str, Any]) -> Result:
    stats = dict(evidence)
    if missing:
        return Result(
            checker="evidence", verdict=Verdict.UNKNOWN, reason="; ".join(missing), stats=stats
        )
    reason = "; ".join(evidence["weak"])
    return Result(checker="evidence", verdict=Verdict.VALID, reason=reason, stats=stats)


def _sentence(judgement: Judgement, ops: int) -> str:
    for finding in judgement.findings():
        return finding.sentence or finding.title
    telling = [r for r in judgement.results if r.verdict is judgement.verdict and r.reason]
    if judgement.verdict is Verdict.VALID:
        evidence = judgement.evidence
        bit, injected = evidence["faults_bit"], evidence["faults_injected"]
        faults = f"{bit} fault{'s' if bit != 1 else ''} that took effect"
        if injected > bit:
            faults = f"{bit} of {injected} faults took effect"
        first = evidence["weak"][0].partition(";")[0] if evidence["weak"] else ""
        weak = f"; weakly exercised: {first}" if first else ""
        return f"{ops} operations, {faults}, and nothing wrong with them{weak}."
    reasons = [f"{r.checker}: {r.reason}" if r.checker != "evidence" else r.reason for r in telling]
    return "; ".join(reasons[:3]) or "no checker gave a reason"


def _labelled(judgement: Judgement, history: Any, sentence: str) -> str:
    """The sentence, with the assumption that did not hold before the violation.

    An assumption that did not hold while nothing went wrong is a note.
    """
    found, findings = judgement.assumptions, judgement.findings()
    if not found:
        return sentence
    if not findings:
        judgement.evidence["notes"].append(label(found))
        return sentence
    assumption = label(excused(found, _ended_ns(history, findings[0])))
    judgement.evidence["assumption"] = assumption
    return f"{assumption}. {sentence}" if assumption else sentence


def _ended_ns(history: Any, finding: Finding) -> int:
    """When the last operation of a finding ended; -1 if that is not known."""
    at_ns = finding.detail.get("time_ns")
    times = [at_ns] if isinstance(at_ns, int) else []
    for op in finding.ops:
        done = int(history.pair[op])
        times.append(int(history.time_ns[op if done < 0 else done]))
    return max(times, default=-1)


# Files --------------------------------------------------------------------------------------------


def _write_witnesses(run_dir: Path, history: Any, findings: Sequence[Finding]) -> None:
    """``witnesses/f<N>.jsonl``: the operations of each finding, as histories of their own."""
    from checkers.history.jsonl import write_jsonl

    if not findings:
        return
    directory = run_dir / "witnesses"
    directory.mkdir(exist_ok=True)
    for number, finding in enumerate(findings[:WITNESSES_MAX], start=1):
        if not finding.ops:
            continue
        path = directory / f"f{number}.jsonl"
        path.unlink(missing_ok=True)
        try:
            write_jsonl(history.select(finding.ops), path)
        except Exception:  # the verdict stands without this file
            log.exception("witness %s could not be written", path)


def write_results(
    run_dir: Path,
    judgement: Judgement,
    *,
    run: Mapping[str, Any],
    faults: Sequence[Mapping[str, Any]],
    replay: str,
) -> None:
    """Write ``results.json``; see docs/architecture.md for what is in it."""
    write_json(
        run_dir / RESULTS,
        {
            "format": "results/1",
            "verdict": judgement.verdict.value,
            "sentence": judgement.sentence,
            "results": [msgspec.to_builtins(r, enc_hook=plain) for r in judgement.results],
            "run": dict(run),
            "faults": [dict(fault) for fault in faults],
            "evidence": judgement.evidence,
            "notes": judgement.notes,
            "assumptions": [msgspec.to_builtins(each) for each in judgement.assumptions],
            "replay": replay,
        },
    )
