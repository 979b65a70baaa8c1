"""Database ``reference`` with ``role=paxos``: a whole run in simulation, and what is refused."""

from __future__ import annotations

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
