"""Multi-Paxos, Zab, Viewstamped Replication: a damaged node is repaired there too, by itself.

Goal: as in ``test_damage`` and ``test_repair``, by the rules of each variant (``damage_repair``).
Method: the same trials and nemeses, and the parts that keep a damaged node from promising.
"""

from __future__ import annotations

import pytest
from damage_trial import run_trial

from checkers.core.verdict import Verdict
from cluster.config import MS, ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.interface import Consensus
from cluster.consensus.multi_paxos import MultiPaxosParts
from cluster.consensus.viewstamped import ViewstampedParts
from cluster.consensus.zab import ZabParts
from cluster.log.superblock import NAMES
from cluster.ports import Append, Damage, Recovered, Send
from cluster.simulation.damaging import damage
from cluster.simulation.disk import DiskProfile
from cluster.simulation.faults.table import faults_of
from cluster.simulation.file_damage import KINDS
from cluster.simulation.liveness import settle
from cluster.simulation.swarm import run_swarm
from cluster.simulation.world import SECOND, World
from cluster.wire import (
    Accept,
    Accepted,
    AckEpoch,
    AckNewLeader,
    AppendEntries,
    CatchUp,
    Command,
    DoViewChange,
    Entry,
    GetState,
    HardState,
    Heartbeat,
    NewEpoch,
    NewLeader,
    Prepare,
    Promise,
    Recovery,
    RecoveryResponse,
    StartViewChange,
    ZabVote,
)
from harness.campaign.explore import conclude

VARIANTS = ("multi-paxos", "zab", "viewstamped")
VOTERS = ("n1", "n2", "n3")


@pytest.mark.parametrize("consensus", VARIANTS)
@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_damage_loses_nothing(seed: int, consensus: str) -> None:
    trial = run_trial(seed, consensus=consensus)
    assert trial.lost == [] and not trial.refused, trial


@pytest.mark.slow
@pytest.mark.parametrize("consensus", VARIANTS)
def test_580_damages_lose_nothing_and_no_promise(consensus: str) -> None:
    recovered = 0
    for seed in range(1000, 1580):
        trial = run_trial(seed, consensus=consensus)
        assert trial.lost == [] and not trial.refused, (seed, trial)
        recovered += trial.recovering
    assert recovered > 290


@pytest.mark.parametrize("consensus", VARIANTS)
@pytest.mark.parametrize("kind", ["disk-lost-tail", "disk-flip", "disk-damage"])
def test_damage_among_crashes_and_partitions(kind: str, consensus: str) -> None:
    for seed in (2, 18):
        run = run_swarm(
            seed, consensus=consensus, nodes=3, faults=[*faults_of("kill,partition"), kind]
        )
        outcome, _ = conclude(run)
        assert outcome.verdict is Verdict.VALID, outcome.line
        assert run.injected[kind] > 0


def world_with_writes(consensus: str, writes: int = 10) -> World:
    world = World(seed=5, nodes=VOTERS, consensus=consensus, disk=DiskProfile())
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    session = world.session("c")
    for number in range(writes):
        call = session.submit(Command("put", "k", (number,)))
        world.run_until(lambda call=call: bool(call.status), 10 * SECOND)  # type: ignore[misc]
        assert call.status == "ok"
    world.run_for(SECOND)
    return world


def lose_log(world: World, node: str) -> None:
    assert damage(world, node, "delete", world.rng("t", node), only="wal-") is not None


def damage_of(world: World, node: str) -> object:
    status = world.status(node)
    assert status is not None
    return status["recovering"]


@pytest.mark.parametrize("consensus", VARIANTS)
def test_an_idle_cluster_repairs_each_node_in_turn(consensus: str) -> None:
    """No client writes anything that would bring news to the damaged node."""
    world = world_with_writes(consensus)
    for _ in range(2):
        for node in world.nodes:
            lose_log(world, node)
            world.run_for(SECOND)
            assert world.restart(node)
            assert damage_of(world, node) is not None
            world.run_for(3 * SECOND)
            assert damage_of(world, node) is None
            assert node not in world.atlas.damaged
    assert settle(world).ok


@pytest.mark.parametrize("consensus", VARIANTS)
def test_a_recovering_node_is_no_majority_with_one_that_lags(consensus: str) -> None:
    world = world_with_writes(consensus)
    leader = world.leader()
    assert leader is not None
    one = next(node for node in world.nodes if node != leader)
    lose_log(world, one)
    world.crash(leader)
    world.restart(one)
    world.run_for(10 * SECOND)
    assert world.leader() is None and damage_of(world, one) is not None
    world.restart(leader)
    world.run_for(5 * SECOND)
    assert world.leader() is not None and damage_of(world, one) is None
    assert settle(world).ok


@pytest.mark.parametrize("consensus", VARIANTS)
def test_damage_beyond_a_quorum_is_told_with_file_and_offset(consensus: str) -> None:
    world = world_with_writes(consensus)
    for node in world.nodes:
        lose_log(world, node)
        world.atlas.replace(node)
    for node in world.nodes:
        world.atlas.damage(node)
        assert world.restart(node)
    world.run_for(5 * SECOND)
    assert world.leader() is None
    call = world.session("d", timeout_ns=SECOND).submit(Command("get", "k"), to="n1")
    world.run_until(lambda: bool(call.status), 5 * SECOND)
    assert "is damaged: wal-0000000000000001 at byte 0:" in call.error
    assert "so many nodes are damaged that the others form no quorum" in call.error


# -- what a nemesis may do


def test_replicas_that_never_took_part_leave_none_to_damage() -> None:
    world = World(seed=5, nodes=VOTERS, consensus="viewstamped")
    assert world.atlas.blank == {(node, "") for node in VOTERS} and not world.atlas.allows("n1")
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    world.run_for(SECOND)
    assert world.atlas.blank == set() and world.atlas.allows("n1")


@pytest.mark.parametrize("power", [True, False])
def test_what_a_power_loss_took_back_is_not_damaged_on_top(power: bool) -> None:
    """The superblock is written over in place: without power the last promise may be an older."""
    world = world_with_writes("multi-paxos")
    node = world.leader()
    assert node is not None
    disk = world.disk(node)
    (name,) = (each for each in disk.names() if each == NAMES[0])
    disk.overwrite(name, 0, disk.read(name)[:8])
    if power:
        world.crash(node)
    assert disk.undone is power
    assert (damage(world, node, "lost-tail", world.rng("t"), only="wal-") is None) is power


# -- the rules alone


class Rng:
    """Always the longest."""

    def between(self, low: int, high: int) -> int:
        return high


def lost(generation: int, index: int, slot: int = 0) -> Damage:
    return Damage("wal-1", 77, "cut", index, generation, slot or index)


def messages(core: Consensus, kind: type) -> list[object]:
    effects = core.ready().effects
    return [e.message for e in effects if isinstance(e, Send) and type(e.message) is kind]


def test_a_log_is_whole_again_by_the_leaders_history_or_by_reaching_what_was_promised() -> None:
    repair = DamageRepair(lost(4, 9))
    assert repair.is_restored(5, 1), "a later leader's history takes the place of it all"
    assert not repair.is_restored(4, 8) and repair.is_restored(4, 9)
    assert not DamageRepair(None).is_restored(4, 9)


def test_slots_are_whole_again_up_to_the_highest_and_not_to_the_latest() -> None:
    repair = DamageRepair(lost(5, 10, 20))
    assert not repair.is_overwritten(19) and repair.is_overwritten(20)
    assert not DamageRepair(None).is_overwritten(20)


def acceptor() -> Consensus:
    """n2, of three, promised ballot 4, and has slot 1 left of what it accepted, up to 3."""
    core = MultiPaxosParts().build("n2", VOTERS, config=ClusterConfig(), rng=Rng())
    found = HardState(4, "", 0, 3)
    core.start(0, Recovered(found, None, [Entry(1, 1, "command", b"old")], lost(4, 2, 3)))
    core.ready()
    return core


def test_a_damaged_acceptor_promises_nothing_and_accepts() -> None:
    core = acceptor()
    assert core.high_water_mark == 0, "what is left may be older than what was known to be chosen"
    core.step(1, "n3", Prepare(6, 1))
    core.step(1, "n3", Prepare(6, 1, probe=True))
    assert messages(core, Promise) == [] and core.clock.generation == 4
    core.step(2, "n1", Accept(4, 1, (Entry(1, 4, "command", b"a"),), 0))
    assert messages(core, Accepted) == [Accepted(4, 1, 1, 1, 3)]
    core.step(3, "n1", Heartbeat(4, 1, 0))
    effects = [e.message for e in core.ready().effects if isinstance(e, Send)]
    assert CatchUp(4, 1) in effects and Accepted(4, 2, 1, 1, 3) in effects


def test_a_damaged_acceptor_promises_once_every_slot_is_accepted_again() -> None:
    core = acceptor()
    for slot in (1, 2, 3):
        assert core.repair.recovering and not core.repair.ending
        core.step(slot, "n1", Accept(4, slot, (Entry(slot, 4, "command", b"a"),), 0))
    write = [e for e in core.ready().effects if isinstance(e, Append)][-1]
    assert write.repaired and core.repair.recovering
    core.persisted(4, write.io_id)
    core.step(5_000 * MS, "n3", Prepare(6, 1))
    (promise,) = messages(core, Promise)
    assert isinstance(promise, Promise) and promise.granted and len(promise.accepted) == 3


def test_a_damaged_follower_of_zab_neither_votes_nor_counts_until_it_has_the_history() -> None:
    core = ZabParts().build("n2", VOTERS, config=ClusterConfig(), rng=Rng())
    entry = Entry(1, 3, "command", b"a")
    core.start(0, Recovered(HardState(4, "n1", 3), None, [entry], lost(3, 2)))
    core.tick(5_000 * MS)
    core.step(5_000 * MS, "n3", ZabVote(4, 1, "n3", 3, 3, 1))
    assert messages(core, ZabVote) == [] and core.log.last_index == 0
    core.step(5_001 * MS, "n1", Heartbeat(4, 1, 0))
    core.step(5_002 * MS, "n1", NewEpoch(4))
    assert messages(core, AckEpoch) == [AckEpoch(4, False, 3, 0, 0, True)]
    core.step(5_003 * MS, "n1", NewLeader(4, 2))
    assert not core.repair.ending, "the history is not here"
    core.step(5_004 * MS, "n1", NewLeader(4, 0))
    write = [e for e in core.ready().effects if isinstance(e, Append)][-1]
    assert write.repaired
    core.persisted(5_005 * MS, write.io_id)
    assert core.repair.takes_part()


def test_a_damaged_follower_of_zab_does_not_acknowledge_a_history_that_it_has_lost() -> None:
    """It adopted the history in an earlier life. A heartbeat before the history is here again is no
    reason to say so: the leader would not send it once more."""
    core = ZabParts().build("n2", VOTERS, config=ClusterConfig(), rng=Rng())
    core.start(0, Recovered(HardState(4, "n1", 4), None, [], lost(4, 2)))
    core.step(5_001 * MS, "n1", Heartbeat(4, 1, 0))
    core.step(5_002 * MS, "n1", NewEpoch(4))
    core.step(5_003 * MS, "n1", NewLeader(4, 2))
    core.step(5_004 * MS, "n1", Heartbeat(4, 2, 0))
    assert messages(core, AckNewLeader) == []
    entries = (Entry(1, 4, "command", b"a"), Entry(2, 4, "command", b"b"))
    core.step(5_005 * MS, "n1", AppendEntries(4, 0, 0, entries, 0))
    core.step(5_006 * MS, "n1", NewLeader(4, 2))
    assert messages(core, AckNewLeader) == [AckNewLeader(4)] and core.repair.ending


def test_a_damaged_group_of_zab_is_repaired_when_a_promise_and_a_question_were_lost() -> None:
    faults = [*faults_of("kill,partition,pause"), "disk-lost-tail"]
    run = run_swarm(
        7006, role="data", nodes=5, consensus="zab", faults=faults, duration_ns=4 * SECOND
    )
    outcome, _ = conclude(run)
    assert outcome.verdict is Verdict.VALID, outcome.line


def test_a_damaged_replica_asks_for_no_view_and_reports_to_none() -> None:
    core = ViewstampedParts().build("n1", VOTERS, config=ClusterConfig(), rng=Rng())
    core.start(0, Recovered(HardState(1, "", 1), None, [], lost(1, 2)))
    core.ready()
    core.tick(5_000 * MS)
    for message in (StartViewChange(1, 2), StartViewChange(2, 2), DoViewChange(3, 1, 1, 1)):
        core.step(5_001 * MS, "n3", message)
    core.step(5_002 * MS, "n2", GetState(1, 0))
    said = [type(e.message) for e in core.ready().effects if isinstance(e, Send)]
    assert not {StartViewChange, DoViewChange} & set(said) and core.clock.generation == 1
    core.step(5_003 * MS, "n3", Recovery(0, 7))
    assert messages(core, RecoveryResponse) == [RecoveryResponse(1, 7, 1, 2, False, True)]
