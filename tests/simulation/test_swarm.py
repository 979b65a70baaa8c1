"""Random profiles: the intact system passes, the ablated ones are caught, a seed is a run."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from checkers.core.verdict import Verdict
from cluster.ablations.registry import all_ablations, find
from cluster.simulation.faults.table import ASKED_FOR, KINDS, faults_of
from cluster.simulation.profiles import (
    FAULTS_AT_ONCE,
    KEY_WORKLOADS,
    PROFILES,
    TRANSACTIONS,
    SwarmOptions,
    Wishes,
    draw,
)
from cluster.simulation.swarm import run_swarm
from harness.campaign.explore import (
    Exploration,
    SeedOutcome,
    conclude,
    explore,
    job_of,
    run_seed,
)
from harness.campaign.matrix import matrix, table
from harness.errors import UsageError

#: Seeds within which the declared nemesis must find an ablation.
BUDGET_SEEDS = 80


def complaints(seeds: range, workers: int | None = 1, consensus: str = "raft") -> list[str]:
    found = explore(seeds=seeds, workers=workers, job=job_of(consensus=consensus))
    return [f"seed {o.seed}: {o.found_by}: {o.sentence}" for o in found.failures]


def test_ten_seeds_of_the_intact_system() -> None:
    assert complaints(range(1000, 1010)) == []


def test_twenty_seeds_of_multi_paxos() -> None:
    assert complaints(range(1000, 1020), consensus="multi-paxos") == []


@pytest.mark.slow
def test_two_hundred_seeds_of_the_intact_system() -> None:
    assert complaints(range(200), workers=None) == []


@pytest.mark.parametrize(
    "ablation",
    # role gossip has no keys: whole runs of the harness find its own (test_gossip_runs)
    [a for a in all_ablations() if a.random and a.role != "gossip"],
    ids=lambda ablation: ablation.id,
)
def test_an_ablation_is_found_by_its_nemesis(ablation) -> None:
    found = explore(
        seeds=range(BUDGET_SEEDS),
        job=job_of(consensus=ablation.consensus, ablations=[ablation.id], nemesis=ablation.nemesis),
        workers=1,
        stop_at_first=True,
    )
    assert found.verdict is Verdict.INVALID
    assert found.exit_code == 1
    seed = found.failures[0].seed
    intact = job_of(consensus=ablation.consensus, nemesis=ablation.nemesis)
    assert run_seed(seed, intact).verdict is Verdict.VALID


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
    assert sorted(kind for kind, count in made.items() if count) == sorted(set(KINDS) - ASKED_FOR)


def test_options_follow_from_the_seed_and_the_nemesis() -> None:
    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    asked = draw(5, Wishes(faults=("pause",), nodes=4, workload="mixed"))
    assert (asked.faults, asked.nodes, asked.workload) == (("pause",), 4, "mixed")
    assert asked.network == draw(5).network
    several = [draw(seed, Wishes(workload="append,mixed")).workload for seed in range(20)]
    assert set(several) == {"append", "mixed"}
    assert {draw(seed, Wishes(profile="calm,harsh")).profile for seed in range(20)} == {*PROFILES}
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
        ({"consensus": "zab", "role": "paxos"}, "consensus is 'zab', and role paxos has no log"),
        ({"consensus": "zab", "nemesis": "kill,membership"}, "zab has no fault 'membership'"),
        ({"role": "paxos", "nemesis": "membership"}, "role paxos has no fault 'membership'"),
        ({"role": "leaderless", "nemesis": "kill,transfer"}, "leaderless has no fault 'transfer'"),
        ({"role": "data", "nemesis": "membership"}, "role data has no fault 'membership'"),
        ({"nemesis": "partition-move"}, "role core has no fault 'partition-move'"),
    ],
)
def test_bad_wishes_are_refused_with_a_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        job_of(**arguments)


def test_a_seed_in_which_almost_nothing_completed_does_not_count() -> None:
    idle = SeedOutcome(1, Verdict.VALID, ops=900, ops_ok=3, idle=True)
    failed = SeedOutcome(2, Verdict.INVALID, ops=900, ops_ok=3, idle=True)
    busy = SeedOutcome(3, Verdict.VALID, ops=900, ops_ok=800)
    assert [outcome.counts for outcome in (idle, failed, busy)] == [False, True, True]
    said = Exploration([idle, failed, busy], elapsed_s=1.0, workers=1).summary()
    assert said.startswith("3 seeds, 1 failed, 1 does not count (almost nothing completed);")


def test_a_campaign_of_which_no_seed_counts_is_no_evidence() -> None:
    idle = SeedOutcome(1, Verdict.VALID, ops=900, ops_ok=3, idle=True)
    busy = SeedOutcome(2, Verdict.VALID, ops=900, ops_ok=800)
    found = Exploration([idle], elapsed_s=1.0, workers=1)
    assert (found.verdict, found.exit_code) == (Verdict.UNKNOWN, 2)
    assert found.summary().startswith("1 seed, 0 failed, 1 does not count (")
    assert " on 1 process: " in found.summary()
    assert Exploration([idle, busy], elapsed_s=1.0, workers=1).exit_code == 0


def test_a_run_without_a_majority_is_idle() -> None:
    options = draw(0, Wishes(profile="calm", faults=("partition",)))
    config = msgspec.structs.replace(options.config, election_min_ns=10**10, election_max_ns=10**11)
    run = run_swarm(0, options=msgspec.structs.replace(options, config=config))
    assert conclude(run)[0].idle
    assert not conclude(run_swarm(0, options=options))[0].idle


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_ten_seeds_of_each_profile_and_workload(profile: str) -> None:
    for workload in KEY_WORKLOADS:
        job = job_of(profile=profile, workload=workload)
        found = explore(seeds=range(3), job=job, workers=1)
        assert found.failures == []


def test_harsh_seeds_elect_more_often_for_the_same_work() -> None:
    def elections_per_event(profile: str) -> float:
        elections = events = 0
        for seed in range(6):
            world_notes = run_swarm(seed, profile=profile)
            elections += world_notes.elections
            events += world_notes.world_events
        return elections / events

    assert elections_per_event("harsh") > 2 * elections_per_event("calm")


def test_the_table_of_what_seeds_find_is_measured() -> None:
    rows = list(matrix(["A28a", "A16"], seeds=5, workers=1))
    assert [row.ablation for row in rows] == [find("A28a").name, find("A16").name]
    caught, missed = rows
    assert caught.found_by == "checker" and caught.seed < 5
    assert run_seed(caught.seed, job_of(ablations=["A28a"])).verdict is Verdict.INVALID
    assert (missed.found, missed.seeds) == (False, 5)
    text = table(rows)
    assert f"| {missed.ablation} | no | none of 5 |  |" in text
    assert text.endswith("Found by seeds alone: 1 of 2 (50%).")


#: 37 of 100 seeds were idle with these.
MANY = faults_of("partition,kill,pause,clock,packets,disk,membership")


def faults_at_once(options: SwarmOptions) -> float:
    return len(options.faults) * options.duration_ns / options.interval_ns


def test_many_kinds_of_faults_share_the_time() -> None:
    for seed in range(40):
        drawn = draw(seed)
        for few in (("pause",), ("crash", "crash-many", "partition")):
            assert draw(seed, Wishes(faults=few)).interval_ns == drawn.interval_ns
        many = draw(seed, Wishes(faults=MANY))
        assert many.interval_ns >= drawn.interval_ns
        assert faults_at_once(many) <= max(FAULTS_AT_ONCE)
        assert faults_at_once(draw(seed, Wishes(workload=TRANSACTIONS))) <= max(FAULTS_AT_ONCE)
        assert msgspec.structs.replace(many, faults=(), interval_ns=1) == msgspec.structs.replace(
            drawn, faults=(), interval_ns=1
        )


@pytest.mark.parametrize("seed", [3, 6, 17])
def test_a_seed_with_many_kinds_of_faults_counts(seed: int) -> None:
    run = run_swarm(seed, faults=MANY)
    assert all(run.injected.values()), "each kind happens"
    outcome, _ = conclude(run)
    assert outcome.verdict is Verdict.VALID
    assert not outcome.idle
