"""Trials of availability: what is promised is kept, and a system that does not keep it is noticed.

The intact system without PreVote or CheckQuorum must be noticed: it is safe, it lives once healed,
and nothing else would tell.
"""

from __future__ import annotations

import pytest

from cluster.config import ClusterConfig
from cluster.simulation.availability import hold_trial, trials_for
from cluster.simulation.world import SECOND, World

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


def test_no_trial_where_the_voters_that_run_need_the_leader() -> None:
    world = led(1)
    follower = next(node for node in world.nodes if node != world.leader())
    world.crash(follower)
    assert trials_for(world) == ()
    assert hold_trial(world, "lost-leader") == "", "healed, it can spare its leader again"
