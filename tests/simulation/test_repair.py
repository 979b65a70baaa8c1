"""A damaged node is repaired, or says why not: what its peers, its status and clients see."""

from __future__ import annotations

import pytest

from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair, why_not_repairable
from cluster.consensus.membership import Configuration
from cluster.consensus.raft import RaftParts
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.consensus.replication import Replication
from cluster.ports import Damage
from cluster.simulation.damaging import damage
from cluster.simulation.disk import DiskProfile
from cluster.simulation.faults.table import faults_of
from cluster.simulation.liveness import settle
from cluster.simulation.swarm import run_swarm
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import AppendEntries, Command, Entry, Snapshot

DAMAGED = Damage("wal-1", 77, "cut", index=9, generation=4)


def world_with_writes(nodes: int = 3, writes: int = 10) -> World:
    names = tuple(f"n{number + 1}" for number in range(nodes))
    world = World(seed=5, nodes=names, disk=DiskProfile())
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    session = world.session("c")
    for number in range(writes):
        call = session.submit(Command("put", "k", (number,)))
        world.run_until(lambda call=call: bool(call.status), 10 * SECOND)
        assert call.status == "ok"
    world.run_for(SECOND)
    return world


def lose_log(world: World, node: str) -> None:
    assert damage(world, node, "delete", world.rng("t", node), only="wal-") is not None


def notes(world: World, node: str) -> list[str]:
    return [note.event for _, name, note in world.notes if name == node]


def test_a_damaged_leader_and_a_damaged_follower_come_back_by_themselves() -> None:
    world = world_with_writes()
    for _ in range(3):
        for node in world.nodes:
            lose_log(world, node)
            world.run_for(SECOND)
            assert world.restart(node)
            status = world.status(node)
            assert status is not None and status["role"] == "follower"
            assert status["recovering"]["file"] == "wal-0000000000000001"
            world.run_for(3 * SECOND)
            assert world.status(node)["recovering"] is None  # type: ignore[index]
            assert node not in world.atlas.damaged
    assert notes(world, "n1").count("repaired") == notes(world, "n1").count("recovering") == 3
    assert settle(world).ok


def test_a_recovering_node_is_no_majority_with_one_that_lags() -> None:
    world = world_with_writes()
    leader = world.leader()
    one, other = (node for node in world.nodes if node != leader)
    lose_log(world, one)
    assert leader is not None
    world.crash(leader)
    world.restart(one)
    world.run_for(10 * SECOND)
    assert world.leader() is None
    assert world.status(one)["recovering"] is not None  # type: ignore[index]
    world.restart(leader)
    world.run_for(3 * SECOND)
    assert world.leader() in (leader, other)
    assert world.status(one)["recovering"] is None  # type: ignore[index]
    assert settle(world).ok


def test_damage_beyond_a_quorum_is_told_with_file_and_offset() -> None:
    world = world_with_writes()
    for node in world.nodes:  # all three: more than the atlas would let a nemesis do
        lose_log(world, node)
        world.atlas.replace(node)
    for node in world.nodes:
        world.atlas.damage(node)
        assert world.restart(node)
    world.run_for(5 * SECOND)
    assert world.leader() is None
    for node in world.nodes:
        assert world.status(node)["recovering"]["beyond_quorum"]  # type: ignore[index]
    call = world.session("d", timeout_ns=SECOND).submit(Command("get", "k"), to="n1")
    world.run_until(lambda: bool(call.status), 5 * SECOND)
    assert call.status != "ok"
    assert "knows no leader, and is damaged: wal-0000000000000001 at byte 0:" in call.error
    assert "so many nodes are damaged that the others form no quorum" in call.error


def test_a_lone_node_refuses_and_names_file_and_offset() -> None:
    world = world_with_writes(1)
    world.crash("n1")
    world.atlas.damage("n1")
    (log,) = [name for name in world.disk("n1").names() if name.startswith("wal-")]
    world.disk("n1").put({log: None})
    assert not world.restart("n1")
    assert world.why_down("n1").startswith(
        "refused to start: corrupt log: wal-0000000000000001 at byte 0: "
    )
    assert world.why_down("n1").endswith("n1 has no peers to be repaired from")


def test_a_leader_that_counted_on_what_was_lost_sends_it_again() -> None:
    """The leader stays, and remembers that the follower has everything."""
    world = world_with_writes()
    leader = world.leader()
    victim = next(node for node in world.nodes if node != leader)
    lose_log(world, victim)
    world.run_for(20 * MS)  # the leader does not even miss it
    world.restart(victim)
    world.run_for(2 * SECOND)
    assert world.leader() == leader
    status = world.status(victim)
    assert status is not None and status["recovering"] is None
    assert status["last_index"] == world.status(leader)["last_index"]  # type: ignore[arg-type, index]


@pytest.mark.parametrize("kind", ["disk-lost-tail", "disk-flip", "disk-damage"])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_damage_among_crashes_and_partitions(kind: str, seed: int) -> None:
    run = run_swarm(seed, faults=[*faults_of("kill,partition"), kind])
    assert run.violation == ""
    assert run.settlement is not None and run.settlement.ok, run.settlement
    assert run.injected[kind] > 0


# -- the part alone


def test_repair_needs_what_was_promised_and_a_mark_of_the_present_leader() -> None:
    repair = DamageRepair(DAMAGED)
    assert repair.recovering and not repair.takes_part()
    assert not repair.is_repaired((4, 8), 8, 4)  # one entry short of what was promised
    assert repair.is_repaired((4, 9), 9, 4)
    assert repair.is_repaired((5, 3), 3, 5)  # a later generation's log need not be as long
    assert not repair.is_repaired((5, 3), 3, None)  # the leader has committed nothing of its own
    assert not repair.is_repaired((5, 3), 4, 5)  # and all of it must be here, durably
    repair.end_with(7)
    assert not repair.ended(6) and repair.recovering
    assert repair.ended(7) and repair.takes_part() and not repair.ended(8)


def test_a_mark_is_followed_as_far_as_entries_showed_the_logs_to_be_equal() -> None:
    repair = DamageRepair(DAMAGED)
    assert repair.shared(4, 6) == 0
    repair.shares(4, 5)
    repair.shares(4, 3)
    assert repair.shared(4, 6) == 5 and repair.shared(4, 2) == 2
    assert repair.shared(5, 6) == 0  # another leader: nothing was shown yet
    repair.shares(5, 2)
    assert repair.shared(5, 6) == 2
    assert DamageRepair(None).shared(1, 6) == 6


def test_damage_beyond_a_quorum_counts_recovering_voters_only() -> None:
    five = Configuration(("a", "b", "c", "d", "e"))
    repair = DamageRepair(DAMAGED)
    assert not repair.beyond_quorum("a", five, 100)
    repair.heard("b", 1000)
    repair.heard("x", 1000)
    assert not repair.beyond_quorum("a", five, 100)
    repair.heard("c", 1200)
    assert not repair.beyond_quorum("a", five, 100)  # b was not heard for too long
    repair.heard("b", 1210)
    assert repair.beyond_quorum("a", five, 100)
    repair.shares(4, 1)  # a leader speaks: there is a quorum
    assert not repair.beyond_quorum("a", five, 100)


def test_who_can_repair_is_asked_of_the_variant_and_of_what_is_left() -> None:
    raft = RaftParts()
    assert why_not_repairable(raft, "n1", ("n1", "n2"))(None, []) == ""
    assert why_not_repairable(raft, "n1", ())(None, []) == ""
    assert "no peers" in why_not_repairable(raft, "n1", ("n1",))(None, [])
    grown = Entry(3, 1, "config", Configuration(("n1", "n2")).encode())
    assert why_not_repairable(raft, "n1", ("n1",))(None, [grown]) == ""
    assert why_not_repairable(raft, "n1", ("n1",))(Snapshot(4, 1, ("n1", "n2"), b""), []) == ""
    assert "cannot repair" in why_not_repairable(object(), "n1", ("n1", "n2"))(None, [])


def test_small_segments_and_snapshots_are_repaired_too() -> None:
    config = ClusterConfig(segment_bytes=2048, snapshot_entries=20, snapshot_keep_entries=0)
    world = World(seed=9, config=config)
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    session = world.session("c")
    for number in range(70):
        call = session.submit(Command("append", "k", (number,)))
        world.run_until(lambda call=call: bool(call.status), 10 * SECOND)
    victim = next(node for node in world.nodes if node != world.leader())
    assert damage(world, victim, "empty", world.rng("t"), only="snapshot-") is not None
    assert world.restart(victim)
    assert "snapshot" in world.status(victim)["recovering"]["file"]  # type: ignore[index]
    world.run_for(5 * SECOND)
    assert world.status(victim)["recovering"] is None  # type: ignore[index]
    assert settle(world).ok


def test_what_a_recovering_follower_acknowledges_does_not_count() -> None:
    log = ReplicatedLog()
    log.extend([Entry(index, 1, "noop") for index in (1, 2, 3)])
    side = Replication("a", 1, log, ["b", "c"], config=ClusterConfig(), now_ns=0)
    three = Configuration(("a", "b", "c"))
    side.acknowledged("b", 3, 0, True)
    assert side.quorum_index(three, durable_index=3) == 0
    assert side.acknowledged("b", 3, 0)  # the same index, from a node that is sound again
    assert side.quorum_index(three, durable_index=3) == 3
    side.lost("b", 1)
    assert side.quorum_index(three, durable_index=3) == 0
    assert (side.match("b"), side.pipelines["b"].next) == (0, 2)
    assert side.furthest(["b", "c"]) == "c"
    side.lost("x", 1)  # of one that is no peer nothing is remembered


def test_a_recovering_follower_that_has_all_is_asked_whether_it_counts_again() -> None:
    """Else an idle leader would never hear that it does: it has nothing to send."""
    log = ReplicatedLog()
    log.extend([Entry(index, 1, "noop") for index in (1, 2, 3)])
    side = Replication("a", 1, log, ["b", "c"], config=ClusterConfig(), now_ns=0)
    side.lost("b", 3)
    (probe,) = side.repair("b", 10 * MS, 3, None)
    assert isinstance(probe.message, AppendEntries)
    assert (probe.message.prev_index, probe.message.entries) == (3, ())


def test_no_more_is_damaged_than_the_voters_can_spare() -> None:
    """One of three nodes may be one of two voters."""
    world = World(seed=5, nodes=("n1", "n2", "n3"))
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    gone, *left = sorted(world.nodes, key=lambda node: node == world.leader())
    call = world.session("c").submit(Command("remove-member", gone))
    assert world.run_until(lambda: bool(call.status), 10 * SECOND) and call.status == "ok"
    world.run_for(SECOND)
    for node in left:
        assert world.atlas.allows(node)
        assert damage(world, node, "lost-tail", world.rng("test")) is None
    assert damage(world, gone, "lost-tail", world.rng("test")) is not None


# -- who has no repair


def serves(world: World, node: str) -> bool:
    """Whether a write on this node's behalf is acknowledged."""
    call = world.session(f"c{world.now_ns}", timeout_ns=10 * SECOND).submit(
        Command("put", "k", (world.now_ns,)), to=node
    )
    world.run_until(lambda: bool(call.status), 20 * SECOND)
    return call.status == "ok"


@pytest.mark.parametrize(
    ("role", "consensus", "why"),
    [
        ("paxos", "raft", "a node of this role cannot be repaired from its peers"),
    ],
)
def test_a_variant_without_repair_restarts_intact_and_refuses_damage(
    role: str, consensus: str, why: str
) -> None:
    world = World(seed=6, role=role, consensus=consensus, disk=DiskProfile())
    world.run_for(3 * SECOND)
    assert all(serves(world, node) for node in world.nodes)
    for number, node in enumerate(world.nodes * 4):  # killed amid writes: that is no damage
        world.session(f"w{number}").submit(Command("put", "w", (number,)), to=node)
        world.run_for(number * 100_000)
        world.crash(node, torn=True)
        assert world.restart(node), world.why_down(node)
        world.run_for(3 * SECOND)
        assert serves(world, node)
    assert damage(world, "n2", "lost-tail", world.rng("t"), only="wal-") is not None
    assert not world.restart("n2")
    said = world.why_down("n2")
    assert said.startswith("refused to start: corrupt log: wal-") and " at byte " in said
    assert said.endswith(why)
    world.run_for(3 * SECOND)
    assert serves(world, "n1")
    assert not world.violations
