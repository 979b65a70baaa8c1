"""Database ``reference`` with ``role=gossip``: whole runs in simulation, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.runner import run
from harness.spec import TestSpec

NODES = ("n1", "n2", "n3", "n4", "n5")
MEMBERSHIP, LEADER = "membership-convergence", "emergent-leader"


def spec(tmp_path: Path, workload: str, **fields: Any) -> TestSpec:
    options: dict[str, Any] = {
        "db": "reference", "env": "sim", "nodes": NODES, "time_limit_s": 20.0, "seed": 3,
        "store": str(tmp_path), "no_report": True, "quiet": True,
    }  # fmt: skip
    return TestSpec(workload=workload, **{**options, **fields})


@pytest.mark.parametrize("workload", [MEMBERSHIP, LEADER])
def test_a_run_with_faults_is_valid(workload: str, tmp_path: Path) -> None:
    role = {"role": "gossip"}
    nemesis = ("partition", "kill", "pause")
    outcome = run(spec(tmp_path, workload, db_options=role, nemesis=nemesis))
    assert outcome.verdict.name == "VALID", outcome.sentence


def test_the_role_follows_from_the_objects_and_a_leader_can_be_cut_off(tmp_path: Path) -> None:
    outcome = run(spec(tmp_path, LEADER, nemesis=("partition-primaries",)))
    assert outcome.verdict.name == "VALID", outcome.sentence


@pytest.mark.parametrize(
    ("name", "workload", "nemesis"),
    [
        ("A51a", MEMBERSHIP, "pause"),
        ("A51b", MEMBERSHIP, "partition"),
        ("A51c", MEMBERSHIP, "pause"),
        ("A52", LEADER, "partition"),
        ("A52c", LEADER, "pause"),
    ],
)
def test_coarse_ablations_are_caught(
    name: str, workload: str, nemesis: str, tmp_path: Path
) -> None:
    outcome = run(spec(tmp_path, workload, nemesis=(nemesis,), ablate=(name,)))
    assert outcome.verdict.name == "INVALID", outcome.sentence


def test_the_checker_sees_two_leaders_where_no_invariant_is_watched(tmp_path: Path) -> None:
    outcome = run(
        spec(
            tmp_path,
            LEADER,
            nemesis=("partition",),
            ablate=("A52",),
            env_options={"check_invariants": False},
        )
    )
    assert outcome.verdict.name == "INVALID", outcome.sentence
    assert {finding.kind for finding in outcome.findings()} <= {
        "duplicate-token", "token-backwards",
    }  # fmt: skip


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the members of role gossip do not change"):
        run(spec(tmp_path, MEMBERSHIP, nemesis=("membership",)))
    with pytest.raises(
        UsageError, match="'register', which role gossip of the reference cluster does not"
    ):
        run(spec(tmp_path, "register", db_options={"role": "gossip"}))
    with pytest.raises(
        UsageError,
        match=r"members, singleton \(--workload emergent-leader or membership-convergence\); ",
    ):
        run(spec(tmp_path, "register", db_options={"role": "gossip"}))
    with pytest.raises(UsageError, match=r"'members', which role paxos .* role=gossip has them"):
        run(spec(tmp_path, MEMBERSHIP, db_options={"role": "paxos"}))
    for damage in ("disk-lost-tail", "disk-flip"):
        with pytest.raises(UsageError, match="role gossip repairs no damaged log"):
            run(spec(tmp_path, MEMBERSHIP, nemesis=(damage,)))


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"workload": "append"}, "role gossip has none: its clients ask the leader to act"),
        ({"nemesis": "membership"}, "role gossip has no fault 'membership'"),
        ({"nodes": 51}, "from 3 to 50"),
        ({"nodes": 2}, "from 3 to 50"),
    ],
)
def test_random_profiles_refuse_what_this_role_has_not(wishes: dict[str, Any], said: str) -> None:
    from harness.campaign.explore import job_of

    with pytest.raises(UsageError, match=said):
        job_of(role="gossip", **wishes)


@pytest.mark.parametrize("seed", [1, 3, 4, 6, 7])
def test_a_random_profile_finds_nothing(seed: int) -> None:
    from harness.campaign.explore import job_of, run_seed

    outcome = run_seed(seed, job_of(role="gossip"))
    assert outcome.verdict.exit_code == 0 and outcome.ops_ok > 20, outcome.line


def test_random_profiles_find_leaders_that_act_without_consent() -> None:
    from harness.campaign.explore import job_of, run_seed

    assert run_seed(1, job_of(ablations=("A52c",))).found_by == "invariant"
