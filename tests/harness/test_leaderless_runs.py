"""Database ``reference`` with ``role=leaderless``: runs in simulation, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.runner import RunOutcome, run
from harness.spec import TestSpec


def outcome(tmp_path: Path, workload: str, *nemesis: str, **fields: object) -> RunOutcome:
    options = {"role": "leaderless", **fields.pop("db_options", {})}  # type: ignore[dict-item]
    return run(
        TestSpec(
            db="reference",
            workload=workload,
            env="sim",
            nemesis=nemesis,
            db_options=options,
            time_limit_s=6.0,
            seed=2,
            store=str(tmp_path),
            no_report=True,
            quiet=True,
            **fields,  # type: ignore[arg-type]
        )
    )


@pytest.mark.parametrize(
    "workload, nemesis",
    [
        ("siblings", ("partition", "kill")),
        ("siblings", ("packets", "pause")),
        ("set", ("partition", "clock")),
        ("counter", ("kill", "pause")),
        ("counter", ("partition",)),
    ],
)
def test_quorums_keep_what_they_acknowledge(
    tmp_path: Path, workload: str, nemesis: tuple[str, ...]
) -> None:
    done = outcome(tmp_path, workload, *nemesis)
    assert done.verdict.name == "VALID", done.sentence


@pytest.mark.parametrize("workload", ["siblings", "set", "counter"])
def test_nothing_acknowledged_is_lost_as_members_come_and_go(tmp_path: Path, workload: str) -> None:
    five = ["n1", "n2", "n3", "n4", "n5"]
    done = outcome(tmp_path, workload, "membership", "partition", nodes=five)
    assert done.verdict.name == "VALID", done.sentence
    told = json.loads((done.run_dir / "results.json").read_text())
    left = [fault for fault in told["faults"] if fault["f"] == "membership"]
    assert any(fault["evidence"].get("bit") for fault in left), "no member left"


@pytest.mark.parametrize("workload", ["siblings", "set"])
def test_a_node_whose_disk_lost_its_tail_comes_back_as_another_member(
    tmp_path: Path, workload: str
) -> None:
    done = outcome(tmp_path, workload, "disk-lost-tail", nodes=["n1", "n2", "n3", "n4", "n5"])
    assert done.verdict.name == "VALID", done.sentence
    told = json.loads((done.run_dir / "results.json").read_text())
    proofs = [each["evidence"] for each in told["faults"] if each["evidence"].get("bit")]
    assert proofs and all(each["replaced"] and "away" not in each for each in proofs)
    hit = {name for each in told["faults"] for name in each["nodes"]}
    for name in hit:
        said = f"{name} refused to start from its damaged disk, and was replaced by {name}~2"
        assert any(note.startswith(said) for note in told["evidence"]["notes"])
    for proof in proofs:  # a key lives on three of the five: two damaged disks may be a quorum
        assert len(proof["replaced"]) == 1


def test_asking_one_node_is_stale_and_loses_nothing_in_the_end(tmp_path: Path) -> None:
    one = {"consistency": "one"}
    done = outcome(tmp_path / "a", "set", "partition", db_options=one)
    assert done.verdict.name == "INVALID" and {f.kind for f in done.findings()} == {"stale"}
    late = {"linearizable": False}
    done = outcome(tmp_path / "b", "set", "partition", db_options=one, workload_options=late)
    assert done.verdict.name == "VALID", done.sentence


def test_an_ablation_loses_siblings_and_the_report_says_to_whom(tmp_path: Path) -> None:
    quiet = {"check_invariants": False}  # they would stop the run first
    done = outcome(tmp_path, "siblings", "partition", ablate=("A35a",), env_options=quiet)
    assert done.verdict.name == "INVALID"
    assert "without having read" in done.sentence and "is lost" in done.sentence


def test_where_the_last_writer_wins_writes_are_lost(tmp_path: Path) -> None:
    wall, no_cas = {"versions": "lww-wall"}, {"cas": 0}
    done = outcome(tmp_path, "register", "clock", db_options=wall, workload_options=no_cas)
    assert done.verdict.name == "INVALID"
    assert "nonlinearizable" in {finding.kind for finding in done.findings()}
    assert "during clock of" in done.sentence, "and it says why"


def test_the_report_says_which_write_won_over_a_lost_one_and_why(tmp_path: Path) -> None:
    wall = {"versions": "lww-wall"}
    done = outcome(tmp_path, "siblings", "clock", db_options=wall)
    assert done.verdict.name == "INVALID"
    lost = [finding for finding in done.findings() if finding.kind == "lost"]
    assert lost and all("won with stamp" in finding.sentence for finding in lost)
    assert {finding.detail["why"] for finding in lost} <= {
        "clock-behind", "written-later", "at-once",
    }  # fmt: skip


@pytest.mark.parametrize(
    "workload, options, nemesis, sentence",
    [
        (
            "register",
            {},
            (),
            "'register', which role leaderless of the reference cluster does not "
            r"offer; it has: counter, set, siblings \(--workload counter or set or siblings\); "
            "--db-option versions=lww",
        ),
        ("set", {"versions": "lww-wall"}, (), "'set', which .* --db-option versions=dotted has"),
        ("set", {"role": "leaderles"}, (), "no role 'leaderles'; did you mean 'leaderless'"),
        ("set", {"role": "nope"}, (), "The roles are core, paxos, data, gossip, leaderless"),
        ("set", {"versions": "dottet"}, (), "did you mean 'dotted'"),
        ("set", {"consistency": "all"}, (), "consistency"),
        ("set", {"read_mode": "stale"}, (), "has the option consistency instead"),
        ("set", {"consensus": "zab"}, (), "no log to agree on"),
        ("set", {}, ("kill:primaries",), "there is no leader in role leaderless"),
        ("register", {"versions": "lww-wall"}, (), "needs the operation 'cas'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, workload: str, options: dict[str, str], nemesis: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        outcome(tmp_path, workload, *nemesis, db_options=options)


@pytest.mark.parametrize("workload", ["append", "register,mixed"])
def test_random_profiles_have_one_load_of_clients_and_no_other(workload: str) -> None:
    from harness.campaign.explore import job_of

    with pytest.raises(UsageError, match="role leaderless, whose clients use siblings, sets and"):
        job_of(role="leaderless", workload=workload)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"config": 1}, "--env-option config has no effect here; use the --db-option of each"),
        ({"consensus": "zab"}, "--env-option consensus has no effect here; use --consensus"),
        ({"role": "data"}, "--env-option role has no effect here; use --db-option role"),
        ({"ablate": "A30"}, "--env-option ablate has no effect here; use --ablate"),
        ({"check_invariants": "maybe"}, "check_invariants is 'maybe'; it should be true or false"),
    ],
)
def test_options_that_another_one_says_are_refused(
    tmp_path: Path, option: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        outcome(tmp_path, "siblings", env_options=option)
