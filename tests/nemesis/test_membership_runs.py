"""The membership nemesis in whole simulated runs: evidence, and everybody back at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checkers import Verdict
from harness.runner import run
from harness.spec import TestSpec


def simulated(tmp_path: Path, **fields: Any) -> Any:
    fixed = {"env": "sim", "store": str(tmp_path), "no_report": True, "quiet": True}
    return run(TestSpec(**(fixed | fields)), say=lambda line: None)  # type: ignore[arg-type]


def last_voters(run_dir: Path) -> list[str]:
    """The voters of the last configuration that any node noted."""
    latest: tuple[int, list[str]] = (0, [])
    for path in run_dir.glob("nodes/*/events.jsonl"):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "configuration":
                latest = max(latest, (event["index"], event["voters"]))
    return latest[1]


def test_members_leave_and_return_under_load(tmp_path: Path) -> None:
    outcome = simulated(tmp_path, nemesis=("membership",), seed=4, time_limit_s=20.0)
    assert outcome.verdict is Verdict.VALID, outcome.sentence
    told = json.loads((outcome.run_dir / "results.json").read_text())["faults"]
    bitten = [fault for fault in told if fault["evidence"].get("bit")]
    assert len(bitten) >= 3
    for fault in bitten:
        assert not set(fault["nodes"]) & set(fault["evidence"]["members"])
        assert set(fault["nodes"]) <= set(fault["evidence"]["members_after"])
    voters = last_voters(outcome.run_dir)
    assert sorted(voter.split("~")[0] for voter in voters) == ["n1", "n2", "n3"]
    assert any("~" in voter for voter in voters)


def test_with_partitions_and_kills_everybody_is_back_at_the_end(tmp_path: Path) -> None:
    for seed in (3, 5):
        outcome = simulated(
            tmp_path,
            nemesis=("membership", "partition", "kill"),
            seed=seed,
            nodes=("n1", "n2", "n3", "n4", "n5"),
            time_limit_s=20.0,
        )
        assert outcome.verdict is Verdict.VALID, outcome.sentence
        voters = last_voters(outcome.run_dir)
        assert sorted(voter.split("~")[0] for voter in voters) == ["n1", "n2", "n3", "n4", "n5"]


def test_a_seed_with_changes_of_members_gives_the_same_bytes(tmp_path: Path) -> None:
    histories = [
        (simulated(tmp_path, nemesis=("membership", "kill"), seed=9, time_limit_s=8.0).run_dir
         / "history.jsonl").read_bytes()
        for _ in range(2)
    ]  # fmt: skip
    assert histories[0] == histories[1]


def test_with_every_other_fault_members_still_change(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        outcome = simulated(
            tmp_path,
            nemesis=("partition", "kill", "pause", "clock", "membership"),
            seed=seed,
            time_limit_s=20.0,
        )
        assert outcome.verdict is Verdict.VALID, outcome.sentence
        told = json.loads((outcome.run_dir / "results.json").read_text())["faults"]
        assert any(f["f"] == "membership" and f["evidence"].get("bit") for f in told)


@pytest.mark.parametrize(
    ("workload", "fields"),
    [
        ("sessions", {"db_options": {"read_mode": "session"}}),
        ("election", {"workload_options": {"lead_s": 0.4}, "db_options": {"lease_ttl_s": 0.8}}),
        ("list-append", {}),
    ],
)
def test_services_are_served_while_members_change(
    workload: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    nemesis = ("partition", "kill", "membership")
    outcome = simulated(
        tmp_path, workload=workload, nemesis=nemesis, seed=2, time_limit_s=10.0, **fields
    )
    assert outcome.verdict is Verdict.VALID, outcome.sentence
    told = json.loads((outcome.run_dir / "results.json").read_text())["faults"]
    assert any(f["f"] == "membership" and f["evidence"].get("bit") for f in told)
