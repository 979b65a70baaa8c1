"""The liveness phase: what a healed system owes, and who does not pay is named."""

from __future__ import annotations

import pytest

from cluster.simulation.liveness import Settlement, _remember, settle
from cluster.simulation.network import LinkFault
from cluster.simulation.world import SECOND, World
from cluster.wire import Command


def written(**options: object) -> World:
    world = World(seed=3, **options)  # type: ignore[arg-type]
    session = world.session("c1")
    for number in range(5):
        call = session.submit(Command("append", "list", (number,)))
        assert world.run_until(lambda call=call: bool(call.status), 10 * SECOND)
        assert call.status == "ok"
    return world


def test_a_battered_system_lives_and_remembers() -> None:
    world = written()
    world.crash("n1")
    world.pause("n2")
    world.set_clock("n3", offset_ns=SECOND, rate=0.5)
    world.set_disk("n3", {"latency_ns": SECOND})
    world.network.set_links({("n3", "n2"): LinkFault(cut=True)})
    world.run_for(SECOND)
    settlement = settle(world)
    assert settlement.ok, settlement.problems
    assert dict(settlement.final_reads)["list"] == [0, 1, 2, 3, 4]
    assert 0 <= settlement.converged_ns <= settlement.total_ns
    assert world.clock_offset_ns("n3") == 0
    assert world.network.faults() == {}


def test_what_was_acknowledged_and_is_gone_is_named() -> None:
    world = written(ablations=["A01"], check_invariants=False)
    for node in world.nodes:
        world.crash(node)
    settlement = settle(world)
    assert settlement.problems == ["item 0 of list was acknowledged and is not there"]


def test_what_is_answered_during_the_last_read_may_be_missing_from_it() -> None:
    missing = 0
    for seed in range(200):
        if missing and seed >= 40:
            break  # it is rare: in one world of fifty
        world = World(seed=seed)
        session = world.session("c1")
        assert world.run_until(lambda world=world: world.leader() is not None, 10 * SECOND)
        call = session.submit(Command("append", "list", (1,)))
        settlement = Settlement([], -1, 0, [])
        _remember(world, [call], settlement)
        assert settlement.problems == [], seed
        missing += call.status == "ok" and settlement.final_reads == [("list", None)]
    assert missing, "in some world the append is answered before the read that misses it is"


def test_a_cluster_that_cannot_converge_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    world = written()
    monkeypatch.setattr(world, "restart", lambda node: False)
    world.crash("n2")
    settlement = settle(world, limit_ns=2 * SECOND)
    assert settlement.problems == ["no convergence in 2 s: n2 is down: crashed"]
    assert settlement.converged_ns == -1
