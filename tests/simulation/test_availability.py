"""Trials of availability: what is promised is kept, and a system that does not keep it is noticed.

The intact system without PreVote or CheckQuorum must be noticed: it is safe, it lives once healed,
and nothing else would tell.
"""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config import ClusterConfig
from cluster.simulation.availability import WITNESS, hold_trial, trials_for
from cluster.simulation.connections import DIAL
from cluster.simulation.swarm import run_swarm
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command

TRIALS = ("lost-leader", "slow-disk", "deaf-leader", "rejoin")


def led(seed: int, **settings: bool) -> World:
    world = World(seed=seed, config=ClusterConfig(**settings))
    assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
    world.run_for(SECOND)
    return world


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize("seed", range(4))
def test_the_intact_system_stands_every_trial(seed: int, trial: str) -> None:
    world = led(seed)
    assert trials_for(world) == TRIALS
    assert hold_trial(world, trial) == ""


@pytest.mark.parametrize("seed", range(4))
def test_a_system_without_prevote_is_noticed(seed: int) -> None:
    assert "was deposed by it" in hold_trial(led(seed, prevote=False), "rejoin")


@pytest.mark.parametrize("seed", range(4))
def test_a_system_without_check_quorum_is_noticed(seed: int) -> None:
    assert "hears no other node" in hold_trial(led(seed, check_quorum=False), "deaf-leader")


def test_what_a_configuration_does_not_promise_is_not_asked_of_it() -> None:
    assert trials_for(led(1, prevote=False)) == ("lost-leader", "slow-disk")
    assert trials_for(led(1, check_quorum=False)) == ("lost-leader", "slow-disk", "rejoin")


@pytest.mark.parametrize("check_quorum", [False, True])
def test_where_a_former_member_campaigns_a_leader_with_a_slow_disk_needs_protection(
    check_quorum: bool,
) -> None:
    world = World(
        seed=1,
        nodes=("n1", "n2", "n3", "n4", "n5"),
        config=ClusterConfig(prevote=False, check_quorum=check_quorum),
    )
    assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
    leader = world.leader()
    former = next(node for node in world.nodes if node != leader)
    assert "slow-disk" in trials_for(world)
    asked = world.session("operator").submit(Command("remove-member", world.member(former)))
    assert world.run_until(lambda: asked.status != "", 5 * SECOND) and asked.status == "ok"
    assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
    assert ("slow-disk" in trials_for(world)) == check_quorum


def test_a_former_member_that_healing_starts_is_no_fault_of_the_leader() -> None:
    kinds = "clock,crash,crash-many,disk,membership,packets,partition,pause"
    run = run_swarm(55120, nodes=5, faults=tuple(kinds.split(",")))
    assert run.trial == "slow-disk" and run.unavailable == ""


def test_no_trial_where_the_voters_that_run_need_the_leader() -> None:
    world = led(1)
    follower = next(node for node in world.nodes if node != world.leader())
    world.crash(follower)
    assert trials_for(world) == ()
    assert hold_trial(world, "lost-leader") == "", "healed, it can spare its leader again"


def test_dials_that_the_network_loses_are_not_held_against_the_cluster() -> None:
    """The leader is replaced soon, and who asks it would wait a second for each lost dial."""
    config = ClusterConfig(
        heartbeat_ns=15 * MS, election_min_ns=60 * MS, election_max_ns=120 * MS, prevote=False
    )
    world = World(seed=1, config=config)
    assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
    send, dials = world.network.send, 0

    def lossy(src: str, dst: str, frame: Any) -> None:
        nonlocal dials
        if src == WITNESS and frame[1] is DIAL and world.alive(dst):
            dials += 1
            if dials % 8:
                return
        send(src, dst, frame)

    world.network.send = lossy  # type: ignore[method-assign]
    assert hold_trial(world, "lost-leader") == "" and dials >= 8
