"""Random profiles: the intact system passes, the ablated ones are caught, a seed is a run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from checkers.core.verdict import Verdict
from cluster.ablations.registry import all_ablations
from cluster.simulation.faults.table import KINDS, faults_of
from cluster.simulation.profiles import Wishes, draw
from cluster.simulation.swarm import run_swarm
from harness.campaign.explore import explore, job_of, run_seed
from harness.errors import UsageError

#: Seeds within which the declared nemesis must find an ablation.
BUDGET_SEEDS = 40


def complaints(seeds: range, workers: int | None = 1) -> list[str]:
    found = explore(seeds=seeds, workers=workers)
    return [f"seed {o.seed}: {o.found_by}: {o.sentence}" for o in found.failures]


def test_ten_seeds_of_the_intact_system() -> None:
    assert complaints(range(1000, 1010)) == []


@pytest.mark.slow
def test_two_hundred_seeds_of_the_intact_system() -> None:
    assert complaints(range(200), workers=None) == []


@pytest.mark.parametrize(
    "ablation", [a for a in all_ablations() if a.random], ids=lambda ablation: ablation.id
)
def test_an_ablation_is_found_by_its_nemesis(ablation) -> None:
    found = explore(
        seeds=range(BUDGET_SEEDS),
        job=job_of(ablations=[ablation.id], nemesis=ablation.nemesis),
        workers=1,
        stop_at_first=True,
    )
    assert found.verdict is Verdict.INVALID
    assert found.exit_code == 1
    seed = found.failures[0].seed
    assert run_seed(seed, job_of(nemesis=ablation.nemesis)).verdict is Verdict.VALID


def test_a_seed_is_a_run() -> None:
    first, again, third = run_swarm(13), run_swarm(13), run_swarm(13)
    assert first.trace_hash == again.trace_hash == third.trace_hash
    assert first.events == again.events
    assert len({run_swarm(seed).trace_hash for seed in range(10, 15)}) == 5


@pytest.mark.parametrize("hash_seed", ["0", "77"])
def test_a_seed_is_the_same_run_in_every_process(hash_seed: str) -> None:
    code = "from cluster.simulation.swarm import run_swarm; print(run_swarm(13).trace_hash)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == run_swarm(13).trace_hash


def test_every_kind_of_fault_is_drawn_and_made() -> None:
    made: dict[str, int] = {}
    for seed in range(12):
        for kind, count in run_swarm(seed).injected.items():
            made[kind] = made.get(kind, 0) + count
    assert sorted(kind for kind, count in made.items() if count) == sorted(KINDS)


def test_options_follow_from_the_seed_and_the_nemesis() -> None:
    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    asked = draw(5, Wishes(faults=("pause",), nodes=4, workload="mixed"))
    assert (asked.faults, asked.nodes, asked.workload) == (("pause",), 4, "mixed")
    assert asked.network == draw(5).network
    assert draw(5, Wishes(profile="calm")).config.election_max_ns == 600_000_000
    assert draw(5, Wishes(profile="harsh")).config.election_max_ns == 120_000_000
    assert faults_of("kill, partition") == ("crash", "crash-many", "partition")


def test_processes_agree_with_one() -> None:
    spread = explore(seeds=range(6), workers=2)
    alone = explore(seeds=range(6), workers=1)
    assert [o.trace_hash for o in spread.outcomes] == [o.trace_hash for o in alone.outcomes]
    assert "6 seeds, 0 failed" in spread.summary()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1], "workers": 0}, "workers is 0"),
    ],
)
def test_bad_arguments_are_refused_with_a_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        explore(**arguments)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"duration_s": 0}, "duration_s is 0"),
        ({"duration_s": float("inf")}, "duration_s is inf"),
        ({"duration_s": 1e30}, "is surely a mistake"),
        ({"nemesis": "meteor"}, "there is no fault 'meteor'"),
        ({"workload": "bank"}, "there is no workload 'bank': register, append, mixed"),
        ({"profile": "wild"}, "there is no profile 'wild': calm, harsh"),
        ({"nodes": 10}, "nodes is 10"),
        ({"consensus": "rafd"}, "there is no consensus 'rafd'"),
    ],
)
def test_bad_wishes_are_refused_with_a_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        job_of(**arguments)
