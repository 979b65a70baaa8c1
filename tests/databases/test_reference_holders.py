"""Goal: locks and elections on the reference cluster keep their promise, and show what breaks it.

Method: simulated runs in which holders renew in the background, are stopped in the middle of an act
by the nemesis `pause`, and go on. Seeds are those in which a stop met an act.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checkers.core.verdict import Verdict
from harness.databases.base import Invocation
from harness.databases.reference import Reference
from harness.databases.reference_holders import ClientLife, StandingStill
from harness.runner import RunOutcome, run
from harness.spec import TestSpec
from reports.terminal import terminal_summary

STALE = "the resource has seen a newer token"


def ran(tmp_path: Path, workload: str, seed: int, **fields: Any) -> RunOutcome:
    times = {"nemesis_interval_s": 5.0, "fault_duration_s": (3.0, 5.0), "time_limit_s": 12.0}
    given = {"nemesis": ("pause",), **times, **fields}
    spec = TestSpec(
        env="sim", db="reference", workload=workload, seed=seed, store=str(tmp_path), quiet=True,
        **{"no_report": True, **given},
    )  # fmt: skip
    return run(spec, say=lambda line: None)


def refused(outcome: RunOutcome, error: str) -> int:
    return sum(f["count"] for f in outcome.evidence["failures"] if f["error"] == error)


@pytest.mark.parametrize(
    ("workload", "options"), [("lock", {"fencing": True}), ("election", {})], ids=["lock", "elect"]
)
def test_the_resource_refuses_a_holder_that_was_stopped(workload, options, tmp_path: Path) -> None:
    done = ran(tmp_path, workload, 3, workload_options=options)
    assert done.verdict is Verdict.VALID, done.sentence
    assert refused(done, STALE) >= 1


@pytest.mark.parametrize("workload", ["lock", "election"])
def test_a_lease_alone_does_not_exclude_and_the_report_says_why(workload, tmp_path: Path) -> None:
    done = ran(tmp_path, workload, 3, workload_options={"fencing": False}, no_report=False)
    assert done.verdict is Verdict.INVALID, done.sentence
    assert {finding.kind for finding in done.findings()} == {"two-holders"}
    page = (done.run_dir / "report.html").read_text()
    for text in (page, " ".join(terminal_summary(done.run_dir, width=100).split())):
        assert "A lease alone gives no mutual exclusion" in text
        assert "A fencing token does" in text and "fencing=true" in text


def test_without_stops_and_cuts_a_lease_excludes(tmp_path: Path) -> None:
    done = ran(tmp_path, "lock", 1, nemesis=(), fault_duration_s=(), time_limit_s=6.0)
    assert done.verdict is Verdict.VALID, done.sentence


@pytest.mark.parametrize("consensus", ["raft", "multi-paxos", "zab", "viewstamped"])
def test_elections_keep_their_promise_under_faults(consensus: str, tmp_path: Path) -> None:
    nemesis, quick = ("partition", "kill", "pause"), {"lead_s": 0.3}
    given = {"consensus": consensus, "fault_duration_s": (), "workload_options": quick}
    done = ran(tmp_path, "election", 4, nemesis=nemesis, **given)
    assert done.verdict is Verdict.VALID, done.sentence


def test_an_election_on_a_log_that_forgets_is_found(tmp_path: Path) -> None:
    """A15: what a restart cuts off took revisions with it, which come again as tokens."""
    done = ran(
        tmp_path, "election", 1, ablate=("A15",), nemesis=("partition", "kill", "pause"),
        env_options={"check_invariants": False}, workload_options={"lead_s": 0.3},
        fault_duration_s=(1.7, 3.3),
    )  # fmt: skip
    assert done.verdict is Verdict.INVALID, done.sentence
    assert "token-backwards" in {finding.kind for finding in done.findings()}


def test_a_transaction_that_compares_nothing_elects_two_leaders(tmp_path: Path) -> None:
    options = {"fencing": False, "lead_s": 0.3}
    given = {"nemesis": (), "fault_duration_s": (), "time_limit_s": 4.0}
    done = ran(tmp_path, "election", 1, ablate=("A26b",), workload_options=options, **given)
    assert done.verdict is Verdict.INVALID, done.sentence
    assert "two-holders" in {finding.kind for finding in done.findings()}


def test_the_clients_of_a_paused_node_stop_with_it(tmp_path: Path) -> None:
    done = ran(tmp_path, "lock", 1, workload_options={"fencing": True})
    paused = [line for line in (done.run_dir / "faults.jsonl").read_text().splitlines()
              if '"clients_paused"' in line]  # fmt: skip
    assert paused, "no fault says that it stopped a client"


# Parts --------------------------------------------------------------------------------------------


class Machine:
    """A simulated node whose time is a number."""

    name = "n1"

    def __init__(self) -> None:
        self.time_ns = 0
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return self.time_ns

    async def cluster_sleep(self, duration_ns: int) -> None:
        self.time_ns += duration_ns
        self.slept.append(duration_ns / 1e9)
        if len(self.slept) > 3:
            STILL.go_on("n1")

    def cluster_session(self, name: str, *, timeout_ns: int, attempt_ns: int = 0) -> Any: ...
    async def cluster_syncs(self) -> int: ...  # type: ignore[empty-body]
    async def cluster_sent_bytes(self) -> int: ...  # type: ignore[empty-body]
    def cluster_spawn(self, coroutine: Any) -> Any: ...
    async def cluster_status(self) -> None: ...
    async def cluster_rejoin(self, member: str) -> None: ...


STILL = StandingStill()


def stepped(coroutine: Any) -> Any:
    """Run a coroutine that waits for nothing outside."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def test_a_client_that_stands_still_wakes_late_and_its_clock_runs_on() -> None:
    machine = Machine()
    life = ClientLife(machine, STILL)  # type: ignore[arg-type]
    stepped(life.sleep(0.5))
    assert machine.slept == [0.5]
    STILL.stop("n1")
    stepped(life.sleep(0.5))
    assert machine.slept[:2] == [0.5, 0.5] and len(machine.slept) == 4
    assert life.now_s() == pytest.approx(1.02)


def test_clients_that_hold_nothing_are_not_stopped() -> None:
    assert Reference(objects="register").pause_clients("n1") == 0
    db = Reference(objects="lock")
    db.still.came("n1")
    assert db.pause_clients("n1") == 1 and "n1" in db.still
    db.resume_clients("n1")
    assert "n1" not in db.still


def test_a_write_without_a_token_is_not_fenced() -> None:
    from harness.databases.locks import fenced_write
    from workloads.lock import FencedResource

    resource = FencedResource()
    new, old = {"token": 2, "value": 1}, {"token": 1, "value": 2}
    assert fenced_write(resource, Invocation(0, "write", "k", new)).type == "ok"
    assert fenced_write(resource, Invocation(0, "write", "k", old)).type == "fail"
    assert fenced_write(resource, Invocation(0, "write", "k", {"value": 3})).type == "ok"
