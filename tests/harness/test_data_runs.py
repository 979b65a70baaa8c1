"""Database ``reference`` with ``role=data``: whole runs in simulation, and what is refused.

Goal: each workload is carried out as transactions over partitions and judged; the levels promise
what they say, and no more; partitions move, split and merge while clients work.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkers.core.verdict import Verdict
from harness.databases.reference import Reference
from harness.databases.reference_data import cut_points, element_key
from harness.errors import UsageError
from harness.nemesis.placement import is_so
from harness.resolve import resolve
from harness.runner import RunOutcome, run
from harness.spec import TestSpec
from reports import overview
from reports.run_directory import read_run

NODES = ("n1", "n2", "n3", "n4", "n5")


def spec(tmp_path: Path, workload: str, **fields: Any) -> TestSpec:
    options = {"role": "data", "clock_bound_ms": 10.0, **fields.pop("db_options", {})}
    given = {"time_limit_s": 3.0, "seed": 4, "rate_hz": 60.0, **fields}
    return TestSpec(
        env="sim", db="reference", workload=workload, nodes=NODES, store=str(tmp_path),
        quiet=True, no_report=True, db_options=options, **given,
    )  # fmt: skip


def ran(tmp_path: Path, workload: str, **fields: Any) -> RunOutcome:
    return run(spec(tmp_path, workload, **fields), say=lambda line: None)


@pytest.mark.parametrize(
    "workload",
    [
        "bank", "causal", "causal-reverse", "counter", "list-append", "log", "long-fork",
        "monotonic", "queue", "register", "rw-register", "set",
    ],
)  # fmt: skip
def test_a_workload_is_carried_out_as_transactions(workload: str, tmp_path: Path) -> None:
    outcome = ran(tmp_path, workload)
    assert outcome.verdict is Verdict.VALID, outcome.sentence


@pytest.mark.parametrize("scheme", ["fixed", "range"])
def test_lists_are_strict_serializable_while_a_node_is_killed(scheme: str, tmp_path: Path) -> None:
    options = {"scheme": scheme, "partitions": 6}
    outcome = ran(tmp_path, "list-append", db_options=options, nemesis=("kill",), time_limit_s=6.0)
    assert outcome.verdict is Verdict.VALID, outcome.sentence


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"isolation": "chaos"}, "isolation"),
        ({"isolation": "snapshot"}, "snapshot-isolation"),
        ({"scheme": "ranges"}, "did you mean 'range'"),
        ({"partitions": 0}, "partitions is 0; from 1 to 64"),
        ({"clock_bound_ms": 0.0}, "clock_bound_ms is 0; it should be above 0"),
        ({"partitions": 65}, "partitions is 65; from 1 to 64"),
        ({"clock_bound_ms": -1.0}, "clock_bound_ms is -1"),
        ({"role": "core", "scheme": "range"}, "scheme is 'range', and only role data has it"),
        ({"role": "paxos", "partitions": 4}, "partitions is 4, and only role data has it"),
    ],
)
def test_what_cannot_be_had_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Reference(**{"role": "data", **options})


def test_nodes_are_told_how_to_divide_keys_and_how_long_to_wait() -> None:
    fixed = Reference(role="data", partitions=4, clock_bound_ms=20.0)
    assert fixed.dividing.arguments == ["--partitions", "4", "--clock-bound-ms", "20"]
    assert fixed.node_settings == {"partition_slots": 4, "clock_offset_bound_ns": 20_000_000}
    ranges = Reference(role="data", scheme="range", partitions=3).dividing
    assert ranges.arguments[:2] == ["--partition-splits", ",".join(cut_points(3))]
    assert Reference().node_settings == {} and Reference().dividing.arguments == []
    assert fixed.assumptions.clock_offset_s == 0.02
    assert Reference(role="data", objects="watch").assumptions.clock_offset_s is None


@pytest.mark.parametrize("partitions", [1, 2, 8, 64])
def test_ranges_are_cut_in_order(partitions: int) -> None:
    points = cut_points(partitions)
    assert len(points) == partitions - 1
    assert list(points) == sorted(set(points))


def test_elements_added_one_after_the_other_are_far_apart() -> None:
    assert [element_key(n) for n in (9, 10, 11)] == ["e9", "e01", "e11"]


def test_consensus_of_the_groups_can_be_chosen(tmp_path: Path) -> None:
    outcome = ran(tmp_path, "list-append", consensus="multi-paxos")
    assert outcome.verdict is Verdict.VALID, outcome.sentence


# -- isolation -------------------------------------------------------------------------------------


def test_predicate_reads_are_scans(tmp_path: Path) -> None:
    skew = {"predicates": True}
    outcome = ran(tmp_path, "write-skew", workload_options=skew, db_options={"scheme": "range"})
    assert outcome.verdict is Verdict.VALID, outcome.sentence
    with pytest.raises(UsageError, match="objects of the kind 'txn-predicates'"):
        Reference(objects="txn-predicates")


@pytest.mark.parametrize(
    ("isolation", "claimed", "anomaly"),
    [
        ("snapshot-isolation", "snapshot-isolation", ""),
        ("snapshot-isolation", "serializable", "G2-item"),
        ("read-committed", "read-committed", ""),
        ("read-committed", "snapshot-isolation", "lost-update"),
    ],
)
def test_a_level_keeps_its_promise_and_not_the_next_one(
    isolation: str, claimed: str, anomaly: str, tmp_path: Path
) -> None:
    outcome = ran(
        tmp_path, "write-skew", db_options={"isolation": isolation}, rate_hz=150.0,
        workload_options={"consistency_models": claimed},
    )  # fmt: skip
    assert (outcome.verdict is Verdict.INVALID) == bool(anomaly), outcome.sentence
    if anomaly:
        assert anomaly in {finding.kind for finding in outcome.findings()}


@pytest.mark.parametrize(
    ("workload", "isolation", "explicit", "models", "because"),
    [
        ("list-append", "", "", ["strict-serializable"], "isolation=strict-serializable"),
        ("list-append", "read-committed", "", ["read-committed"], "isolation=read-committed"),
        ("write-skew", "snapshot-isolation", "", ["snapshot-isolation"], "runs at isolation=snap"),
        ("write-skew", "snapshot-isolation", "serializable", ["serializable"],
         "--workload-option consistency_models"),
        ("bank", "snapshot-isolation", "", [], ""),
    ],
)  # fmt: skip
def test_the_claim_follows_the_level_unless_the_user_names_another(
    workload: str, isolation: str, explicit: str, models: list[str], because: str, tmp_path: Path
) -> None:
    resolved = resolve(
        spec(
            tmp_path, workload,
            db_options={"isolation": isolation} if isolation else {},
            workload_options={"consistency_models": explicit} if explicit else {},
        )
    )  # fmt: skip
    claim = resolved.parts.claim
    assert list(claim.models) == models == list(resolved.parts.workload.claimed)
    assert because in claim.because and bool(because) == bool(claim.because)


def test_a_database_without_a_promise_leaves_the_workload_its_own(tmp_path: Path) -> None:
    given = TestSpec(env="sim", workload="write-skew", nodes=NODES, store=str(tmp_path), seed=4,
                     db="atom")  # fmt: skip
    claim = resolve(given).parts.claim
    assert str(claim) == "serializable (the workload's default)"


def test_a_run_says_what_was_claimed_and_why(tmp_path: Path) -> None:
    options = {"isolation": "snapshot-isolation"}
    said: list[str] = []
    asked = spec(tmp_path, "write-skew", db_options=options, rate_hz=150.0)
    outcome = run(msgspec.structs.replace(asked, quiet=False), say=said.append)
    assert outcome.verdict is Verdict.VALID, outcome.sentence
    expected = "snapshot-isolation (role data runs at isolation=snapshot-isolation)"
    assert f"claimed  {expected}" in said
    facts = json.loads((outcome.run_dir / "results.json").read_bytes())["run"]
    assert facts["claimed"] == ["snapshot-isolation"]
    assert ("claimed", expected) in overview.facts(read_run(outcome.run_dir))


# -- partitions that change ------------------------------------------------------------------------


CHANGES = ("partition-move", "partition-split", "partition-merge")


@pytest.mark.parametrize("seed", [1, 2])
def test_ranges_move_split_and_merge_while_transactions_run(seed: int, tmp_path: Path) -> None:
    outcome = ran(
        tmp_path, "list-append", db_options={"scheme": "range"}, nemesis=CHANGES, seed=seed,
        time_limit_s=6.0, nemesis_interval_s=2.0,
    )  # fmt: skip
    assert outcome.verdict is Verdict.VALID, outcome.sentence
    faults = json.loads((outcome.run_dir / "results.json").read_bytes())["faults"]
    assert {each["f"] for each in faults if each["outcome"] == "installed"} == {*CHANGES}


def test_a_scan_sees_every_key_once_while_ranges_change(tmp_path: Path) -> None:
    outcome = ran(
        tmp_path, "scans", db_options={"scheme": "range"}, nemesis=CHANGES, time_limit_s=5.0,
        nemesis_interval_s=2.0,
    )  # fmt: skip
    assert outcome.verdict is Verdict.VALID, outcome.sentence


def test_fixed_partitions_move_and_are_neither_split_nor_merged(tmp_path: Path) -> None:
    outcome = ran(tmp_path, "bank", nemesis=("partition-move", "kill"), time_limit_s=6.0)
    assert outcome.verdict is Verdict.VALID, outcome.sentence
    with pytest.raises(UsageError, match="fixed partitions are neither split nor merged"):
        ran(tmp_path, "bank", nemesis=("partition-split",))
    with pytest.raises(UsageError, match="role core has no partitions"):
        run(
            TestSpec(env="sim", db="reference", workload="bank", nodes=NODES, store=str(tmp_path),
                     quiet=True, no_report=True, seed=4, nemesis=("partition-move",)),
            say=lambda line: None,
        )  # fmt: skip


def test_a_change_is_read_back_from_the_map() -> None:
    rows = [{"id": "p0", "low": "", "group": "g-n1"}, {"id": "p1", "low": "m", "group": "g-n2"}]
    assert is_so("partition-move", ("p0", "g-n1"), rows)
    assert not is_so("partition-move", ("p0", "g-n2"), rows)
    assert is_so("partition-split", ("m",), rows) and not is_so("partition-split", ("x",), rows)
    assert is_so("partition-merge", ("x",), rows) and not is_so("partition-merge", ("m",), rows)
    assert not is_so("partition-merge", ("x",), [])
