"""Viewstamped Replication in the simulated world: random profiles, and disks that are lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkers.core.verdict import Verdict
from cluster.simulation.faults.gremlin import Gremlin
from cluster.simulation.liveness import settle
from cluster.simulation.load import Load
from cluster.simulation.profiles import Wishes, draw
from cluster.simulation.sessions import client_events
from cluster.simulation.swarm import run_swarm
from cluster.simulation.world import MS, SECOND, World
from harness.campaign.explore import conclude
from harness.campaign.patterns import check_client_history
from harness.environments.sim import sim
from harness.errors import UsageError

NAME = "viewstamped"


@pytest.mark.parametrize("seed", range(2000, 2020))
def test_a_seed_of_the_random_profile(seed: int) -> None:
    outcome, _ = conclude(run_swarm(seed, consensus=NAME))
    assert outcome.verdict is Verdict.VALID, outcome.line


KINDS = ("partition", "packets", "crash", "pause", "clock")


def wipes(seed: int, *, duration_ns: int = 6 * SECOND) -> World:
    """A random profile, in which now and then a founder loses its disk; at most a minority is
    without a memory at any time."""
    drawn = draw(seed, Wishes(consensus="viewstamped", faults=KINDS))
    world = World(
        seed=seed,
        nodes=tuple(f"n{number + 1}" for number in range(drawn.nodes)),
        config=drawn.config,
        consensus=NAME,
        network=drawn.network,
        disk=drawn.disk,
    )
    gremlin, dice = Gremlin(world, drawn, end_ns=duration_ns), world.rng("wipes")
    for number in range(drawn.clients):
        Load(world, drawn, f"c{number + 1}", end_ns=duration_ns)
    lost: set[str] = set()

    def forgetful() -> set[str]:
        for node in sorted(lost):
            core = world.core(node)
            if core is not None and core.consensus.variant.state.remembers:  # type: ignore[attr-defined]
                lost.discard(node)
        return lost

    def wipe() -> None:
        node = dice.choice(world.nodes)
        if node in lost or len(forgetful()) < (len(world.nodes) - 1) // 2:
            world.crash(node)
            world.wipe(node, member=node)
            lost.add(node)
            world.restart(node)
        if world.now_ns < duration_ns:
            world.at(int(dice.expovariate(1 / (700 * MS))), wipe)

    world.at(SECOND, wipe)
    world.run_for(duration_ns)
    gremlin.stop()
    settlement = settle(world)
    assert settlement.problems == [], (seed, settlement.problems)
    assert check_client_history(client_events(world)).verdict is Verdict.VALID, seed
    return world


def test_the_simulated_environment_runs_the_variant(tmp_path: Path) -> None:
    made = sim(nodes=("n1", "n2", "n3"), run_dir=tmp_path, seed=1, options={"consensus": NAME})
    assert made.world.consensus == NAME
    made.world.run_for(SECOND)
    status = made.world.status(made.world.leader() or "")
    assert status is not None and status["consensus"] == NAME
    with pytest.raises(UsageError, match=r"unknown consensus .*viewstamped"):
        sim(nodes=("n1",), run_dir=tmp_path, seed=1, options={"consensus": "viewstampd"})


@pytest.mark.parametrize("seed", range(8))
def test_founders_that_lose_their_disks_recover(seed: int) -> None:
    world = wipes(seed)
    assert len(world.atlas.damaged) > 0
