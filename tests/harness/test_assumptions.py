"""Goal: a violation beyond what the database assumes of clocks is labelled, and no other is.

Method: faults as results.json has them, held against bounds; simulated runs of leases under clocks
that are wrong within the bound and beyond it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checkers.core.verdict import Verdict
from harness.assumptions import assumptions_of, exceeded, excused, label
from harness.databases.base import Assumptions
from harness.databases.in_memory import Atom
from harness.databases.reference import Reference
from harness.nemesis.base import Plan
from harness.runner import RunOutcome, run
from harness.spec import TestSpec
from reports.terminal import terminal_summary

S = 1_000_000_000
LEASES = Assumptions(clock_rate_max=1.25)


def fault(number: int = 1, **value: Any) -> dict[str, Any]:
    kept = {"outcome": "installed", "begin_ns": number * S, "evidence": {}}
    return {"id": number, "f": "clock", "value": {"kind": "drift", **value}, **kept}


@pytest.mark.parametrize(
    ("assumed", "value", "said"),
    [
        (LEASES, {"rate": 1.25}, ""),
        (LEASES, {"rate": 0.5}, ""),
        (LEASES, {"offset_ns": 3600 * S}, ""),
        (LEASES, {"rate": 2.0}, "clock rate 2 is beyond the bound 1.25"),
        (Assumptions(clock_rate_min=0.5), {"rate": 0.4}, "clock rate 0.4 is beyond the bound 0.5"),
        (Assumptions(clock_offset_s=0.25), {"offset_ns": S // 4}, ""),
        (Assumptions(clock_offset_s=0.25), {"offset_ns": -2 * S},
         "clock offset -2 s is beyond the bound 0.25 s"),
        (Assumptions(), {"rate": 9.0, "offset_ns": S}, ""),
    ],
)  # fmt: skip
def test_a_fault_is_held_against_the_bounds(assumed: Assumptions, value: Any, said: str) -> None:
    assert label(exceeded(assumed, [fault(**value)])) == (said and f"assumption violated: {said}")


def test_only_the_worst_of_each_kind_is_named_and_skipped_faults_did_nothing() -> None:
    two = Assumptions(clock_rate_max=1.25, clock_offset_s=0.25)
    faults = [fault(1, rate=1.5), fault(2, rate=2.0), fault(3, offset_ns=S)]
    found = exceeded(two, faults)
    assert [each.fault for each in found] == [1, 2, 3]
    assert label(found) == (
        "assumption violated: clock rate 2 is beyond the bound 1.25; clock offset 1 s is beyond "
        "the bound 0.25 s"
    )
    assert exceeded(two, [{**fault(rate=2.0), "outcome": "skipped"}]) == []
    assert exceeded(two, [{**fault(), "value": ["n1"]}, {**fault(), "value": None}]) == []


def test_faults_within_the_bound_may_exceed_it_together() -> None:
    both = fault(rate=1.2)
    both["evidence"] = {"clocks": {"n1": {"rate": 1.44, "wanted_offset_ns": 0}, "n2": {}}}
    assert "clock rate 1.44" in label(exceeded(LEASES, [both]))


def test_what_ended_before_the_fault_is_not_excused() -> None:
    found = exceeded(LEASES, [fault(5, rate=2.0)])
    assert excused(found, 4 * S) == []
    assert excused(found, 6 * S) == found and excused(found, -1) == found


def test_what_the_reference_cluster_assumes() -> None:
    assert assumptions_of(Reference(objects="lease")) == LEASES
    assert assumptions_of(Reference(objects="election")) == LEASES
    assert assumptions_of(Reference()) == Assumptions()
    lease_reads = assumptions_of(Reference(read_mode="lease"))
    assert (lease_reads.clock_rate_min, lease_reads.clock_rate_max) == (0.5, 2.0)
    assert assumptions_of(Atom()) == Assumptions()


# Runs ---------------------------------------------------------------------------------------------


def leased(tmp_path: Path, *, seed: int, **fields: Any) -> RunOutcome:
    usual = {"workload": "lease", "time_limit_s": 6.0, "no_report": True}
    spec = TestSpec(
        env="sim", db="reference", workload_options={"keys": 1}, seed=seed, store=str(tmp_path),
        quiet=True, **usual | fields,
    )  # fmt: skip
    return run(spec, say=lambda line: None)


def all_fast(rate: float, *, until_ns: int = 5 * S + S // 2) -> tuple[Plan, ...]:
    """Every node's clock runs at this rate from half a second on."""
    params = {"kind": "drift", "rate": rate, "seed": 1}
    return (Plan(1, "clock-drift", S // 2, until_ns, "all", params),)


def test_a_lease_that_breaks_beyond_the_bound_is_labelled(tmp_path: Path) -> None:
    done = leased(tmp_path, seed=3, nemesis=("clock-drift",), plans=all_fast(2.0), no_report=False)
    assert done.verdict is Verdict.INVALID
    said = "assumption violated: clock rate 2 is beyond the bound 1.25"
    assert done.sentence.startswith(said + ". Process ")
    results = json.loads((done.run_dir / "results.json").read_bytes())
    assert results["evidence"]["assumption"] == said
    (told,) = results["assumptions"]
    assert told["what"] == "clock rate" and (told["value"], told["bound"]) == (2.0, 1.25)
    page = (done.run_dir / "report.html").read_text()
    summary = (done.run_dir / "summary.md").read_text()
    terminal = " ".join(terminal_summary(done.run_dir, width=100).split())
    for text in (page, summary, terminal):
        assert said in text
    assert "two holders of one lease · assumption violated" in terminal


def test_a_lease_holds_at_the_bound(tmp_path: Path) -> None:
    done = leased(tmp_path, seed=4, nemesis=("clock-drift",), plans=all_fast(1.25))
    assert done.verdict is Verdict.VALID, done.sentence
    assert done.evidence["faults_bit"] == 1 and done.evidence["notes"] == []


def test_the_bounded_nemesis_keeps_the_bound(tmp_path: Path) -> None:
    done = leased(tmp_path, seed=1, nemesis=("clock-bounded",), time_limit_s=10.0)
    assert done.verdict is Verdict.VALID, done.sentence
    results = json.loads((done.run_dir / "results.json").read_bytes())
    rates = [each["value"]["rate"] for each in results["faults"]]
    assert results["assumptions"] == [] and any(rate != 1 for rate in rates)
    assert all(0.8 <= rate <= 1.25 for rate in rates)


def test_an_assumption_that_did_not_hold_and_harmed_nobody_is_a_note(tmp_path: Path) -> None:
    done = leased(
        tmp_path, seed=1, nemesis=("clock-drift",), plans=all_fast(1.3, until_ns=S + S // 5)
    )
    assert done.verdict is Verdict.VALID, done.sentence
    assert done.evidence["notes"] == [
        "assumption violated: clock rate 1.3 is beyond the bound 1.25"
    ]


def test_a_bug_under_clocks_within_the_bound_has_no_label(tmp_path: Path) -> None:
    """A49e: without its margin a lease breaks where the intact system keeps it."""
    plans = all_fast(1.25)
    done = leased(tmp_path, seed=4, nemesis=("clock-drift",), plans=plans, ablate=("A49e",))
    assert done.verdict is Verdict.INVALID
    assert done.sentence.startswith("Process ") and "assumption" not in done.evidence


def test_without_a_bound_the_bounded_nemesis_does_nothing_and_says_so(tmp_path: Path) -> None:
    done = leased(
        tmp_path, seed=1, nemesis=("clock-bounded",), workload="register", time_limit_s=3.0
    )
    assert done.verdict is Verdict.UNKNOWN and "no bound to keep" in done.sentence
