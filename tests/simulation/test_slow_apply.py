"""Applied lags behind committed: what waits for an index waits until that index is applied."""

from __future__ import annotations

import pytest

from cluster.config import ClusterConfig
from cluster.core.parts import CONSENSUS
from cluster.core.replica import STEP_ENTRIES, Replica
from cluster.ports import Effect
from cluster.simulation.liveness import settle
from cluster.simulation.world import SECOND, World
from cluster.wire import Command


@pytest.mark.parametrize("consensus", CONSENSUS)
def test_a_node_that_applies_slowly_serves_no_read_too_early(consensus: str) -> None:
    """What is applied lags behind what is committed: a read waits for its index all the same."""
    config = ClusterConfig(apply_entries_max=1)
    world = World(seed=3, config=config, consensus=consensus)
    assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
    session = world.session("c1", window=8)
    calls = [session.submit(Command("append", "x", (number,))) for number in range(40)]
    lagged = 0
    while not all(call.status for call in calls):
        world.step()
        told = [world.status(node) for node in world.nodes]
        lagged += any(s is not None and s["applied"] < s["high_water_mark"] for s in told)
    assert lagged
    for node in world.nodes:
        read = world.session(f"r-{node}").submit(Command("get", "x"), mode="follower", to=node)
        world.run_until(lambda call=read: bool(call.status), SECOND)  # type: ignore[misc]
        assert (read.status, read.value) == ("ok", list(range(40)))
    assert settle(world).ok


@pytest.mark.parametrize("consensus", CONSENSUS)
def test_some_lives_of_nodes_work_in_steps(consensus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the runtime, messages leave before what is committed is applied; a seed is one run."""
    steps: list[int] = []
    whole = Replica.more

    def counted(self: Replica, now_ns: int) -> list[Effect]:
        before = self.applied
        assert self.in_steps and self.unfinished is not None
        effects = whole(self, now_ns)
        steps.append(self.applied - before)
        return effects

    monkeypatch.setattr(Replica, "more", counted)

    def run() -> str:
        world = World(seed=4, nodes=("n1", "n2", "n3", "n4", "n5"), consensus=consensus)
        assert world.run_until(lambda: world.leader() is not None, 5 * SECOND)
        session = world.session("c1", window=16)
        calls = [session.submit(Command("append", "x", (number,))) for number in range(60)]
        assert world.run_until(lambda: all(call.status for call in calls), 10 * SECOND)
        assert settle(world).ok
        return world.trace_hash()

    first = run()
    assert steps and min(steps) >= STEP_ENTRIES
    assert run() == first
