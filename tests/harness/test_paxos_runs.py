"""Database ``reference`` with ``role=paxos``: a whole run in simulation, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.runner import run
from harness.spec import TestSpec


def spec(tmp_path: Path, **fields: object) -> TestSpec:
    return TestSpec(
        db="reference",
        workload="register",
        env="sim",
        db_options={"role": "paxos"},
        time_limit_s=10.0,
        seed=3,
        store=str(tmp_path),
        no_report=True,
        quiet=True,
        **fields,  # type: ignore[arg-type]
    )


def test_a_run_in_simulation_is_valid(tmp_path: Path) -> None:
    outcome = run(spec(tmp_path, nemesis=("partition", "kill")))
    assert outcome.verdict.name == "VALID"


def test_an_ablation_of_the_role_is_caught(tmp_path: Path) -> None:
    outcome = run(spec(tmp_path, nemesis=("partition",), ablate=("A21p",)))
    assert outcome.verdict.name == "INVALID"


def test_a_node_that_cannot_be_repaired_is_away_and_the_run_says_so(tmp_path: Path) -> None:
    outcome = run(spec(tmp_path, nemesis=("disk-lost-tail",)))
    told = json.loads((outcome.run_dir / "results.json").read_text())
    (proof,) = [each["evidence"] for each in told["faults"] if each["evidence"].get("bit")]
    ((node, said),) = proof["refused_to_start"].items()
    assert "corrupt log" in said and "repaired" not in proof
    why = "the members of role paxos do not change"
    assert proof["away"] == {node: why}
    assert told["evidence"]["notes"] == [
        f"{node} refused to start from its damaged disk, and was away until the end: {why}"
    ]


def test_one_copy_of_two_that_was_hit_is_repaired_by_the_node_itself(tmp_path: Path) -> None:
    outcome = run(spec(tmp_path, nemesis=("disk-flip",)))
    told = json.loads((outcome.run_dir / "results.json").read_text())
    bit = [each["evidence"] for each in told["faults"] if each["evidence"].get("bit")]
    hit = [(node, row["file"][:10], each) for each in bit for node, row in each["damage"].items()]
    assert hit
    for node, file, proof in hit:
        if file == "superblock":
            assert proof["repaired"] == {node: True}
        else:
            assert node in proof["refused_to_start"]


@pytest.mark.parametrize(
    "nemesis, sentence",
    [
        ("partition-primaries", "there is no leader in role paxos"),
        ("kill:primaries", "there is no leader in role paxos"),
        ("membership", "the members of role paxos do not change"),
    ],
)
def test_faults_that_need_a_leader_are_refused(tmp_path: Path, nemesis: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(spec(tmp_path, nemesis=(nemesis,)))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"role": "pax"}, "did you mean 'paxos'"),
        ({"role": "paxos", "read_mode": "stale"}, "read_mode is 'stale'"),
        ({"role": "paxos", "consensus": "zab"}, "no log to agree on"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str], sentence: str) -> None:
    from harness.databases.reference import Reference

    with pytest.raises(UsageError, match=sentence):
        Reference(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("objects", ["txn-list", "txn-register", "bank", "watch", "lease", "lock"])
def test_what_a_register_per_key_cannot_do_is_refused(objects: str) -> None:
    from harness.databases.reference import Reference

    with pytest.raises(UsageError, match=r"role paxos .* does not offer; .* role=core or data has"):
        Reference(role="paxos", objects=objects)
