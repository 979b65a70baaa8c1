"""Zab, scenario by scenario: election, the three phases, and what is left of them after a crash."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from core_pump import Pump, get, put
from core_single import LowRng

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import MS, ClusterConfig
from cluster.consensus.fast_leader_election import FastLeaderElection, Position, Vote
from cluster.consensus.interface import Consensus, SafetyViolation
from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import Change
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.zab import ZabParts
from cluster.consensus.zab_discovery import Discovery, Promises
from cluster.consensus.zab_synchronisation import DIFF, SNAP, TRUNC, Synchronisation
from cluster.core.replica import ReplicaParts
from cluster.ports import Append, Note, Recovered, Send
from cluster.wire import (
    AckEpoch,
    AckNewLeader,
    AppendEntries,
    AppendReply,
    CEpoch,
    Command,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    NewEpoch,
    NewLeader,
    ReadIndex,
    ReadIndexReply,
    SnapshotReply,
    Truncate,
    UpToDate,
    ZabCommit,
    ZabVote,
)

VOTERS = Configuration(("n1", "n2", "n3"))


def pump(count: int = 3, **options: object) -> Pump:
    return Pump(count, parts=ReplicaParts(consensus=ZabParts()), **options)  # type: ignore[arg-type]


def log(pump: Pump, name: str) -> list[tuple[int, int]]:
    consensus = pump.nodes[name].consensus
    held = consensus.log.between(1, consensus.log.last_index)
    return [(entry.index, entry.generation) for entry in held]


def epochs(pump: Pump, name: str) -> tuple[int, int]:
    clock = pump.nodes[name].consensus.clock
    return clock.generation, clock.adopted


def noted(pump: Pump, event: str) -> list[str]:
    return [name for name, note in pump.notes if note.event == event]


def lose(pump: Pump, kind: type[Message], count: int = 1_000) -> int:
    """Deliver everything but the first messages of a kind; how many were lost."""
    lost = 0
    while pump.wire:
        if lost < count and isinstance(pump.wire[0][2], kind):
            pump.wire.pop(0)
            lost += 1
        else:
            pump.deliver()
    return lost


def elect_again(world: Pump, deliver: Callable[[Pump], object] = Pump.deliver_all) -> None:
    """n1, which leads, finds that it heard nobody for too long, and is elected anew."""
    world.now += 2 * world.config.election_max_ns
    world.tick("n1")
    deliver(world)


def zab(
    entries: list[tuple[int, int]] = [],  # noqa: B006 (read only)
    *,
    node: str = "n1",
    hard: HardState = HardState(),  # noqa: B008 (frozen)
) -> Consensus:
    """One node of three by hand, recovered at time 0."""
    core = ZabParts().build(node, ["n1", "n2", "n3"], config=ClusterConfig(), rng=LowRng())
    core.start(0, Recovered(hard, None, [Entry(i, g, "noop") for i, g in entries]))
    core.ready()
    return core


def sent(core: Consensus) -> list[Send]:
    return [effect for effect in core.ready().effects if isinstance(effect, Send)]


def follow(core: Consensus, leader: str = "n2", epoch: int = 1) -> None:
    """Make a node follow another one that leads an epoch; what it says is dropped."""
    core.step(400 * MS, leader, Heartbeat(epoch, 1, 0))
    core.step(401 * MS, leader, NewEpoch(epoch))


# Election


def test_the_first_to_look_leads_the_first_epoch() -> None:
    world = pump()
    world.elect("n1")
    assert [epochs(world, name) for name in world.names] == [(1, 1)] * 3
    assert [world.nodes[n].consensus.role for n in world.names] == ["leader"] + ["follower"] * 2
    assert [world.nodes[n].consensus.leader for n in world.names] == ["n1"] * 3
    assert log(world, "n1") == [(1, 1)], "an entry to read at, in the very first epoch"
    world.elect("n2")
    assert log(world, "n2") == [(1, 1)], "and in no later one"
    assert world.do("n2", put("x", 1), seq=1).status == "ok"


def test_of_those_that_look_at_once_the_greatest_id_leads() -> None:
    world = pump()
    world.now += world.config.election_max_ns
    for name in world.names:
        world.tick(name)
    world.deliver_all()
    assert world.leader() == "n3"


def test_the_most_recent_history_leads_whoever_looks_first() -> None:
    world = pump()
    world.elect("n1")
    world.isolate("n1")
    world.ask("n1", put("x", 1), seq=1)
    world.deliver_all()
    world.crash("n1")
    world.restart("n1")
    world.cut = set()
    world.now += world.config.election_max_ns
    world.tick("n2")
    world.deliver_all()
    assert world.leader() == "n1"
    assert world.do("n1", get("x")).value == 1


def test_current_epoch_before_zxid_before_id() -> None:
    election = FastLeaderElection("n1", ClusterConfig(), LowRng(), now_ns=0, has_past=False)
    ordered = [
        Vote("n3", Position(1, 1, 9)),
        Vote("n1", Position(2, 1, 3)),
        Vote("n2", Position(2, 1, 3)),
        Vote("n1", Position(2, 2, 1)),
    ]
    for place, worse in enumerate(ordered):
        assert not election.beats(worse, worse)
        for better in ordered[place + 1 :]:
            assert election.beats(better, worse) and not election.beats(worse, better)


def test_a_round_is_won_by_a_quorum_for_the_vote_this_node_has() -> None:
    election = FastLeaderElection("n1", ClusterConfig(), LowRng(), now_ns=0, has_past=False)
    own = Vote("n1", Position(1, 1, 2))
    election.look(0, own)
    assert election.winner(VOTERS) == ""
    assert not election.take("n2", ZabVote(1, 1, "n2", 1, 1, 1), own), "worse: nothing to tell"
    assert election.winner(VOTERS) == ""
    assert election.take("n3", ZabVote(1, 1, "n3", 1, 1, 3), own)
    assert election.winner(VOTERS) == "n3"
    assert not election.take("n2", ZabVote(1, 0, "n2", 9, 9, 9), own), "an earlier round"
    assert election.take("n2", ZabVote(1, 7, "n2", 1, 1, 1), own), "a later one begins anew"
    assert (election.round, election.vote) == (7, own), "and this node is more recent"
    assert election.winner(VOTERS) == ""


def test_an_old_vote_of_a_round_does_not_replace_a_better_one() -> None:
    election = FastLeaderElection("n1", ClusterConfig(), LowRng(), now_ns=0, has_past=False)
    own = Vote("n1", Position(1, 1, 2))
    election.look(0, own)
    election.take("n2", ZabVote(1, 1, "n3", 1, 1, 3), own)
    election.take("n2", ZabVote(1, 1, "n2", 1, 1, 1), own)
    assert election.winner(VOTERS) == "", "n3 itself was not heard in this round"
    election.take("n3", ZabVote(1, 1, "n3", 1, 1, 3), own)
    assert election.winner(VOTERS) == "n3"


def test_a_node_that_never_answered_is_not_waited_for_again() -> None:
    """n2 tells old votes for itself, and hears nothing."""
    core = zab()
    told = ZabVote(0, 1, "n2", 0, 0, 0)
    core.step(1_000 * MS, "n2", told)
    assert core.variant.following.leader == "n2" and core.variant.election.round == 1
    core.ready()
    core.step(1_299 * MS, "n2", told)
    assert core.variant.following.leader == "n2", "it has a while to answer"
    core.step(1_301 * MS, "n2", told)
    assert core.variant.election.looking and core.variant.election.vote.candidate == "n1"
    assert core.variant.election.round == 2


def test_a_round_that_comes_to_nothing_is_begun_anew() -> None:
    core = zab()
    core.tick(1_000 * MS)
    core.step(1_001 * MS, "n2", ZabVote(0, 1, "n3", 0, 0, 5))
    assert core.variant.election.vote.candidate == "n3", "which is not there"
    for _ in range(8):
        core.tick(core.deadline_ns)
    assert core.variant.election.round == 2 and core.variant.election.vote.candidate == "n1"


def test_a_leader_that_hears_nothing_is_replaced() -> None:
    for seed in range(5):
        world = pump(seed=seed)
        world.elect("n1")
        world.cut = {("n2", "n1"), ("n3", "n1")}
        world.run(4_000 * MS)
        leader = world.leader()
        assert leader != "n1" and world.do(leader, put("x", 1), seq=1).status == "ok"


def test_a_node_that_is_cut_off_changes_nothing_and_comes_back_quietly() -> None:
    world = pump()
    world.elect("n1")
    world.isolate("n3")
    world.run(10_000 * MS)
    assert world.nodes["n3"].consensus.role == "candidate"
    assert epochs(world, "n3") == (1, 1)
    world.cut = set()
    world.run(1_000 * MS)
    assert world.leader() == "n1" and epochs(world, "n1") == (1, 1)
    assert world.nodes["n3"].consensus.leader == "n1"


def test_a_follower_that_hears_its_leader_takes_no_part() -> None:
    core = zab()
    follow(core)
    core.ready()
    core.step(500 * MS, "n3", ZabVote(1, 9, "n3", 9, 9, 9))
    assert sent(core) == [] and core.role == "follower"
    core.step(800 * MS, "n3", ZabVote(1, 9, "n3", 9, 9, 9))
    assert core.role != "follower" or core.variant.following.leader == "n3"


def test_a_leader_says_so_to_a_node_that_looks() -> None:
    world = pump()
    world.elect("n1")
    world.restart("n3")
    world.now += world.config.election_max_ns
    world.tick("n3")
    world.cut = {("n3", "n2")}
    world.deliver_all()
    assert world.nodes["n3"].consensus.role == "candidate"
    world.now += world.config.heartbeat_ns
    world.tick("n3")
    world.deliver_all()
    assert world.nodes["n3"].consensus.leader == "n1" and epochs(world, "n1") == (1, 1)


# Discovery


def test_a_promise_leaves_only_after_it_and_the_log_are_durable() -> None:
    core = zab([(1, 1)], hard=HardState(1, "n2", 1))
    core.step(400 * MS, "n2", Heartbeat(2, 1, 0))
    assert [s.message for s in sent(core)] == [CEpoch(1)]
    core.step(401 * MS, "n2", NewEpoch(2))
    effects = core.ready().effects
    write = next(e for e in effects if isinstance(e, Append))
    promise = next(e for e in effects if isinstance(e, Send))
    assert write.hard_state == HardState(2, "n2", 1)
    assert promise == Send("n2", AckEpoch(2, True, 1, 1, 1), write.io_id)


def test_an_epoch_is_promised_once_restart_included() -> None:
    core = zab(hard=HardState(5, "n2", 1))
    core.step(400 * MS, "n3", Heartbeat(5, 1, 0))
    core.step(401 * MS, "n3", NewEpoch(5))
    told = [s.message for s in sent(core) if isinstance(s.message, AckEpoch)]
    assert told == [AckEpoch(5, False, 1, 0, 0)], "it may follow, and does not count"
    assert core.clock.voted_for == "n2"


def test_promises() -> None:
    clock, writes, promises = GenerationClock(HardState(3, "n2", 2)), WriteOrder(), Promises()
    assert promises.make(clock, 3, "n2", writes) and writes.take() == []
    assert not promises.make(clock, 3, "n1", writes)
    assert promises.make(clock, 4, "n1", writes)
    assert writes.take() == [Append(1, HardState(4, "n1", 2))]
    with pytest.raises(AssertionError, match="epoch 3 is promised after 4"):
        promises.make(clock, 3, "n1", writes)


def test_an_epoch_below_the_accepted_one_is_answered_with_that() -> None:
    core = zab(hard=HardState(5, "n3", 1))
    core.step(400 * MS, "n2", Heartbeat(6, 1, 0))
    core.ready()
    core.step(401 * MS, "n2", NewEpoch(4))
    assert [s.message for s in sent(core)] == [CEpoch(5)] and core.clock.generation == 5


def test_the_new_epoch_is_above_all_that_a_quorum_accepted() -> None:
    discovery = Discovery()
    discovery.heard("n1", 3)
    assert not discovery.choose(VOTERS, 3) and discovery.epoch == 0
    discovery.heard("n2", 7)
    assert discovery.choose(VOTERS, 3) and discovery.epoch == 8
    discovery.heard("n3", 9)
    assert not discovery.choose(VOTERS, 3) and discovery.epoch == 8
    discovery.promised["n1"] = True
    assert not discovery.done(VOTERS)
    discovery.promised["n3"] = True
    assert discovery.done(VOTERS)


def won(core: Consensus) -> None:
    """Win an election by the vote of n2, which then wants to follow."""
    core.tick(1_000 * MS)
    vote = next(s.message for s in sent(core))
    core.step(1_001 * MS, "n2", vote)
    core.step(1_002 * MS, "n2", CEpoch(core.clock.generation))


def test_a_leader_counts_its_own_promise_only_once_it_is_durable() -> None:
    core = zab()
    won(core)
    effects = core.ready().effects
    asked = next(e for e in effects if isinstance(e, Send))
    assert asked.message == NewEpoch(1) and asked.after == core.node.writes.io_issued
    core.step(1_003 * MS, "n2", AckEpoch(1, True, 0, 0, 0))
    assert core.clock.adopted == 0
    core.persisted(1_004 * MS, core.node.writes.io_issued)
    assert core.clock.adopted == 1 and core.role == "candidate"


def test_a_leader_gives_up_if_a_follower_is_ahead_of_it() -> None:
    core = zab([(1, 1)], hard=HardState(1, "n1", 1))
    won(core)
    core.ready()
    core.step(1_003 * MS, "n2", AckEpoch(2, True, 1, 1, 2))
    notes = [e.event for e in core.ready().effects if isinstance(e, Note)]
    assert notes[:2] == ["follower-ahead", "looking"]
    assert core.clock.adopted == 1, "it adopted nothing"


def test_a_leader_that_finds_no_followers_gives_up() -> None:
    core = zab()
    core.tick(1_000 * MS)
    vote = next(s.message for s in sent(core))
    core.step(1_001 * MS, "n2", vote)
    assert core.role == "candidate" and not core.variant.election.looking
    core.tick(core.deadline_ns)
    assert core.variant.election.looking


def test_a_leader_steps_down_for_a_later_epoch_it_hears_of() -> None:
    world = pump()
    world.elect("n1")
    clock = world.nodes["n3"].consensus.clock
    clock.advance(4)
    clock.vote("n3")
    world.run(3_000 * MS)
    leader = world.leader()
    assert epochs(world, leader)[1] >= 5
    assert {epochs(world, name) for name in world.names} == {epochs(world, leader)}


# Synchronisation


def test_how_a_follower_is_brought_in_line() -> None:
    history = ReplicatedLog(2, 1)
    history.extend([Entry(3, 1, "noop"), Entry(4, 3, "noop")])
    part = Synchronisation(history)
    assert (part.history, part.index) == ((3, 4), 4)
    ways = {(3, 4): DIFF, (1, 3): DIFF, (1, 2): DIFF, (2, 4): TRUNC, (3, 9): TRUNC, (2, 2): SNAP}
    assert {end: part.way(history, *end) for end in ways} == ways
    assert part.way(history, 1, 1) == SNAP
    part.truncates("n2", history, 2, 4)
    assert part.truncations["n2"] == (1, 3, 2, 4)


def test_a_damaged_follower_is_not_counted_until_it_adopts_the_history_again() -> None:
    part = Synchronisation(ReplicatedLog(0, 0))
    part.adopts("n1")
    part.adopts("n2")
    assert part.takes_proposals("n2") and part.may_establish(VOTERS)
    part.forgets("n2")
    part.forgets("n3")  # has never adopted it
    assert not part.takes_proposals("n2") and not part.may_establish(VOTERS)
    assert part.takes_proposals("n1")
    part.adopts("n2")
    assert part.takes_proposals("n2") and part.may_establish(VOTERS)


def test_a_damaged_follower_is_sent_the_history_and_no_entry_above_it() -> None:
    world = pump()
    world.elect("n1")
    assert world.do("n1", put("x", 1), seq=1).status == "ok"
    elect_again(world)
    assert world.do("n1", put("x", 2), seq=2).status == "ok"
    leader, (epoch, _) = world.nodes["n1"].consensus, epochs(world, "n1")
    assert log(world, "n1") == [(1, 1), (2, 1), (3, 2)]
    leader.ready()
    # n3 has lost its log, with the history that it had adopted, and follows again.
    leader.step(world.now, "n3", CEpoch(epoch))
    leader.step(world.now, "n3", AckEpoch(epoch, True, epoch, 0, 0, True))
    assert appended(leader, "n3") == [1, 2]
    leader.step(world.now, "n3", AppendReply(epoch, True, 2, 0, recovering=True))
    leader.step(world.now, "n3", AckNewLeader(epoch))
    assert appended(leader, "n3") == [3]


def test_a_damaged_follower_that_says_so_again_does_not_stop_its_snapshot() -> None:
    """It says so until it is repaired. Begun anew each time, a large snapshot would never end."""
    config = ClusterConfig(snapshot_entries=5, snapshot_keep_entries=0, snapshot_chunk_bytes=16)
    world = pump(config=config)
    world.elect("n1")
    for seq in range(1, 14):
        assert world.do("n1", put("x", seq), seq=seq).status == "ok"
    elect_again(world)
    leader, (epoch, _) = world.nodes["n1"].consensus, epochs(world, "n1")
    leader.ready()
    damaged = AckEpoch(epoch, False, epoch, 0, 0, True)
    leader.step(world.now, "n3", CEpoch(epoch))
    leader.step(world.now, "n3", damaged)
    assert chunks(leader, "n3") == [0]
    for offset in (16, 32, 48):
        leader.step(world.now, "n3", SnapshotReply(epoch, leader.snapshot_index, offset, False))
        leader.step(world.now, "n3", damaged)
        assert chunks(leader, "n3") == [offset]
    leader.step(world.now, "n3", CEpoch(epoch))  # it has restarted, and what it had is gone
    leader.step(world.now, "n3", damaged)
    assert chunks(leader, "n3") == [0]


def chunks(leader: Consensus, to: str) -> list[int]:
    """Where the parts of snapshots begin that a leader sends to a node now."""
    messages = [each.message for each in sent(leader) if each.to == to]
    return [message.offset for message in messages if isinstance(message, InstallSnapshot)]


def appended(leader: Consensus, to: str) -> list[int]:
    """Indexes of the entries that a leader sends to a node now."""
    messages = [each.message for each in sent(leader) if each.to == to]
    appends = [message for message in messages if isinstance(message, AppendEntries)]
    return [entry.index for message in appends for entry in message.entries]


def test_an_adopted_history_is_acknowledged_once_durable() -> None:
    core = zab()
    follow(core)
    core.ready()
    core.step(402 * MS, "n2", AppendEntries(1, 0, 0, (Entry(1, 1, "noop"),), 0))
    core.step(402 * MS, "n2", NewLeader(1, 2))
    assert core.clock.adopted == 0, "the history is not here yet"
    core.step(403 * MS, "n2", NewLeader(1, 1))
    effects = core.ready().effects
    write = [e for e in effects if isinstance(e, Append)][-1]
    acknowledged = [e for e in effects if isinstance(e, Send)][-1]
    assert write.hard_state == HardState(1, "n2", 1)
    assert acknowledged == Send("n2", AckNewLeader(1), write.io_id)
    assert core.leader == "", "it may not serve yet"
    core.step(404 * MS, "n2", UpToDate(1, 1))
    assert core.leader == "n2" and core.high_water_mark == 1


def test_nothing_is_proposed_before_a_quorum_has_adopted_the_history() -> None:
    world = pump()
    world.now += world.config.election_max_ns
    world.tick("n1")
    lost = lose(world, AckNewLeader)
    assert lost and world.nodes["n1"].consensus.role == "candidate"
    answer = world.answer(world.ask("n1", put("x", 1), seq=1))
    assert answer is not None and answer.status == "retry"
    world.run(2_000 * MS)
    assert world.leader() == "n1" and log(world, "n1") == [(1, 1)]


def test_a_leader_that_is_not_established_confirms_no_read() -> None:
    world = pump()
    world.elect("n1")
    elect_again(world, deliver=lambda world: lose(world, AckNewLeader))
    consensus = world.nodes["n1"].consensus
    assert consensus.role == "candidate" and not consensus.read(world.now, 1)
    consensus.step(world.now, "n2", ReadIndex(epochs(world, "n1")[0], 7))
    answers = [e.message for e in consensus.ready().effects if isinstance(e, Send)]
    assert answers == [ReadIndexReply(epochs(world, "n1")[0], 7, 0)]


def behind(world: Pump, away: str = "n3", count: int = 3) -> None:
    """n1 leads and commits entries while one node is away."""
    world.elect("n1")
    world.isolate(away)
    for number in range(count):
        assert world.do("n1", put("x", number), seq=number + 1).status == "ok"


def test_diff_a_follower_gets_what_it_lacks() -> None:
    world = pump()
    behind(world)
    world.cut = set()
    elect_again(world)
    world.run(200 * MS)
    assert epochs(world, "n3") == (2, 2)
    assert log(world, "n3") == log(world, "n1") == [(i, 1) for i in range(1, 5)]
    assert world.nodes["n3"].state_hash() == world.nodes["n1"].state_hash()
    assert not noted(world, "truncated") and not noted(world, "snapshot-installed")


def leftovers(world: Pump) -> None:
    """n1 has entries of epoch 1 that nobody else has; n2 leads epoch 2, and has others."""
    world.elect("n1")
    world.isolate("n1")
    for seq in (1, 2):
        world.ask("n1", put("y", seq), seq=seq, session="lost")
    world.deliver_all()
    world.elect("n2")
    assert world.do("n2", put("x", 1), seq=1).status == "ok"
    assert log(world, "n1") == [(1, 1), (2, 1), (3, 1)] and log(world, "n2") == [(1, 1), (2, 2)]


def test_trunc_a_follower_cuts_what_the_history_does_not_have() -> None:
    world = pump()
    leftovers(world)
    world.cut = set()
    world.run(500 * MS)
    assert noted(world, "truncated") == ["n1"]
    assert log(world, "n1") == [(1, 1), (2, 2)]
    assert world.do("n1", get("y"), mode="follower").value is None


def test_trunc_is_durable_before_the_history_is_adopted() -> None:
    world = pump()
    world.elect("n1")
    world.isolate("n1")
    world.ask("n1", put("y", 1), seq=1, session="lost")
    world.deliver_all()
    world.elect("n2")  # its history is shorter, and gets nothing new
    world.cut = set()
    world.run(500 * MS)
    assert noted(world, "truncated") == ["n1"] and epochs(world, "n1") == (2, 2)
    world.crash("n1")
    world.restart("n1")
    assert log(world, "n1") == [(1, 1)]


def test_trunc_never_cuts_what_is_committed() -> None:
    core = zab([(1, 1), (2, 1)], hard=HardState(1, "n2", 1))
    core.step(400 * MS, "n2", Heartbeat(2, 1, 0))
    core.step(401 * MS, "n2", NewEpoch(2))
    core.node.mark.follow(2, 2, core.log)
    with pytest.raises(SafetyViolation, match="n1: the leader of epoch 2 cuts the log at 2"):
        core.step(402 * MS, "n2", Truncate(2, 1, 1, 1, 2))


def test_a_cut_goes_to_where_the_histories_part_an_epoch_at_a_time() -> None:
    core = zab([(1, 1), (2, 2), (3, 2), (4, 4)], hard=HardState(4, "n2", 4))
    core.step(400 * MS, "n2", Heartbeat(5, 1, 0))
    core.step(401 * MS, "n2", NewEpoch(5))
    core.ready()
    core.step(402 * MS, "n2", Truncate(5, 3, 4, 4, 4))
    effects = core.ready().effects
    assert [e for e in effects if isinstance(e, Append)] == [Append(2, None, (), 4)]
    told = [e for e in effects if isinstance(e, Send)]
    assert told == [Send("n2", AckEpoch(5, True, 4, 2, 3), 2)]
    core.step(403 * MS, "n2", Truncate(5, 1, 2, 2, 3))
    assert core.log.last_index == 1


def test_a_late_copy_of_a_truncation_does_not_cut_what_was_added_since() -> None:
    core = zab([(1, 1), (2, 1)], hard=HardState(1, "n2", 1))
    core.step(400 * MS, "n2", Heartbeat(2, 1, 0))
    core.step(401 * MS, "n2", NewEpoch(2))
    cut = Truncate(2, 1, 1, 1, 2)
    core.step(402 * MS, "n2", cut)
    history = (Entry(2, 2, "noop"), Entry(3, 2, "noop"))
    core.step(403 * MS, "n2", AppendEntries(2, 1, 1, history, 0))
    core.ready()
    core.step(404 * MS, "n2", cut)
    assert core.log.last_index == 3
    assert [s.message for s in sent(core)] == [AckEpoch(2, True, 1, 2, 3)]


@pytest.mark.parametrize("keep", [0, 2])
def test_snap_a_follower_behind_compaction_gets_a_snapshot(keep: int) -> None:
    config = ClusterConfig(snapshot_entries=5, snapshot_keep_entries=keep, snapshot_chunk_bytes=16)
    world = pump(config=config)
    behind(world, count=12)
    world.cut = set()
    world.run(2_000 * MS)
    assert "n3" in noted(world, "snapshot-installed")
    assert world.nodes["n3"].state_hash() == world.nodes["n1"].state_hash()
    assert world.do("n1", put("x", 99), seq=13).status == "ok"
    world.run(200 * MS)
    assert world.nodes["n3"].applied == world.nodes["n1"].applied


def test_snap_replaces_a_log_that_agrees_nowhere_the_leader_still_knows() -> None:
    world = pump(config=ClusterConfig(snapshot_entries=5, snapshot_keep_entries=0))
    leftovers(world)
    for seq in range(2, 14):
        assert world.do("n2", put("x", seq), seq=seq).status == "ok"
    assert world.nodes["n2"].consensus.log.base_index > 3
    world.cut = set()
    world.run(2_000 * MS)
    assert "n1" in noted(world, "snapshot-installed")
    assert world.nodes["n1"].state_hash() == world.nodes["n2"].state_hash()


def test_snap_for_a_follower_that_comes_when_the_history_itself_is_compacted() -> None:
    world = pump(config=ClusterConfig(snapshot_entries=5, snapshot_keep_entries=0))
    behind(world, count=2)
    elect_again(world)
    for seq in range(3, 14):
        assert world.do("n1", put("x", seq), seq=seq).status == "ok"
    world.cut = set()
    world.run(2_000 * MS)
    assert epochs(world, "n3") == (2, 2)
    assert world.nodes["n3"].state_hash() == world.nodes["n1"].state_hash()


def test_a_late_follower_gets_no_entry_of_the_epoch_before_it_has_adopted_the_history() -> None:
    world = pump()
    behind(world)
    elect_again(world)
    assert world.do("n1", put("x", 9), seq=4).status == "ok"
    world.cut = set()
    world.now += world.config.heartbeat_ns
    world.tick("n1")
    assert lose(world, NewLeader)
    assert epochs(world, "n3") == (2, 1) and log(world, "n3") == [(i, 1) for i in range(1, 5)]
    world.run(500 * MS)
    assert epochs(world, "n3") == (2, 2) and log(world, "n3") == log(world, "n1")


@pytest.mark.parametrize(
    "kind",
    [ZabVote, CEpoch, NewEpoch, AckEpoch, Truncate, AppendEntries, NewLeader, AckNewLeader,
     UpToDate, ZabCommit],
)  # fmt: skip
def test_every_message_may_be_lost(kind: type[Message]) -> None:
    world = pump()
    leftovers(world)
    world.cut = set()
    world.now += world.config.election_max_ns
    world.tick("n2")
    lose(world, kind, count=3)
    world.run(3_000 * MS)
    leader = world.leader()
    assert world.do(leader, put("x", 2), seq=2).status == "ok"
    world.run(200 * MS)
    assert {tuple(log(world, name)) for name in world.names} == {tuple(log(world, leader))}
    assert len({world.nodes[name].state_hash() for name in world.names}) == 1


# A crash at each step


def steps_of_an_election() -> int:
    """How many messages an election takes until nothing is under way."""
    world = pump()
    leftovers(world)
    world.cut = set()
    world.now += world.config.election_max_ns
    world.tick("n2")
    steps = 0
    while world.wire:
        world.deliver()
        steps += 1
    return steps


STEPS = steps_of_an_election()


def check_alive(world: Pump) -> None:
    world.run(4_000 * MS)
    leader = world.leader()
    assert world.do(leader, get("x")).value == 1, "what was acknowledged is there"
    assert world.do(leader, put("x", 2), seq=2).status == "ok"


@pytest.mark.parametrize("victim", ["n2", "n3"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_crash_after_each_step_of_discovery_and_synchronisation(step: int, victim: str) -> None:
    world = pump()
    leftovers(world)
    world.cut = set()
    world.now += world.config.election_max_ns
    world.tick("n2")
    for _ in range(step):
        world.deliver()
    world.crash(victim)
    check_alive(world)
    world.restart(victim)
    world.run(2_000 * MS)
    assert len({world.nodes[name].state_hash() for name in world.names}) == 1


@pytest.mark.parametrize("step", range(STEPS))
def test_a_crash_of_all_after_each_step(step: int) -> None:
    world = pump()
    leftovers(world)
    world.cut = set()
    world.now += world.config.election_max_ns
    world.tick("n2")
    for _ in range(step):
        world.deliver()
    for name in world.names:
        world.crash(name)
    world.wire.clear()
    for name in world.names:
        world.restart(name)
    check_alive(world)


@pytest.mark.parametrize("step", range(0, STEPS, 2))
def test_writes_that_were_not_durable_are_lost_at_each_step(step: int) -> None:
    world = pump(auto_sync=False)
    world.auto_sync = True
    leftovers(world)
    world.cut = set()
    world.auto_sync = False
    world.now += world.config.election_max_ns
    world.tick("n2")
    for number in range(step):
        if not world.wire:
            for name in world.names:
                world.sync_one(name)
        if world.wire:
            world.deliver(number % len(world.wire))
    for name in world.names:
        world.crash(name)
    world.wire.clear()
    world.auto_sync = True
    for name in world.names:
        world.restart(name)
    check_alive(world)


def test_all_restart_and_nothing_is_forgotten() -> None:
    world = pump()
    behind(world)
    for name in world.names:
        world.crash(name)
    world.cut = set()
    for name in world.names:
        world.restart(name)
    world.run(2_000 * MS)
    assert world.do(world.leader(), get("x")).value == 2
    assert epochs(world, world.leader())[1] == 2


# Broadcast


def test_a_commit_costs_a_proposal_an_acknowledgement_and_a_commit_each() -> None:
    world = pump()
    world.elect("n1")
    world.run(100 * MS)
    seen: list[Message] = []
    world.ask("n1", put("x", 1), seq=1)
    while world.wire:
        seen.append(world.wire[0][2])
        world.deliver()
    kinds = sorted(type(message).__name__ for message in seen)
    assert kinds == ["AppendEntries"] * 2 + ["AppendReply"] * 2 + ["ZabCommit"] * 2
    assert {node.applied for node in world.nodes.values()} == {2}


def test_a_follower_takes_nothing_of_an_older_epoch() -> None:
    core = zab()
    follow(core, "n2", 3)
    core.ready()
    core.step(402 * MS, "n3", AppendEntries(2, 0, 0, (Entry(1, 2, "noop"),), 1))
    core.step(402 * MS, "n3", Heartbeat(2, 9, 1))
    answers = [s.message for s in sent(core)]
    assert [m.generation for m in answers] == [3, 3] and core.log.last_index == 0
    assert not answers[0].ok and answers[1] == HeartbeatReply(3, 0)  # type: ignore[union-attr]


def test_a_minority_commits_nothing_and_those_that_wait_are_told_unknown() -> None:
    world = pump()
    world.elect("n1")
    world.isolate("n1")
    id = world.ask("n1", put("x", 1), seq=1, timeout_ns=60_000 * MS)
    world.run(2_000 * MS)
    assert world.nodes["n1"].consensus.role == "candidate"
    answer = world.answer(id)
    assert answer is not None and answer.status == "unknown"
    assert world.nodes["n1"].applied == 1
    other = world.leader()
    assert other != "n1" and world.do(other, get("x")).value is None


def test_a_leader_that_is_cut_off_answers_no_read() -> None:
    world = pump()
    world.elect("n1")
    assert world.do("n1", put("x", 1), seq=1).status == "ok"
    world.isolate("n1")
    id = world.ask("n1", get("x"))
    world.deliver_all()
    assert world.answer(id) is None
    world.elect("n2")
    assert world.do("n2", put("x", 2), seq=2).status == "ok"
    world.run(2_000 * MS)
    answer = world.answer(id)
    assert answer is not None and answer.status == "retry"


def test_an_empty_cluster_can_be_read() -> None:
    world = pump()
    world.elect("n1")
    assert world.do("n1", get("x")).status == "ok"
    assert world.do("n2", get("x"), mode="follower").status == "ok"


def test_a_follower_reads_what_its_leader_names() -> None:
    world = pump()
    world.elect("n1")
    assert world.do("n1", put("x", 1), seq=1).status == "ok"
    assert world.do("n3", get("x"), mode="follower").value == 1
    assert world.do("n3", get("x")).status == "redirect"
    world.isolate("n3")
    assert world.do("n1", put("x", 2), seq=2).status == "ok"
    id = world.ask("n3", get("x"), mode="follower")
    world.run(10_000 * MS)
    answer = world.answer(id)
    assert answer is not None and answer.status == "retry"


def test_a_lease_read_needs_no_round_while_the_lease_lasts() -> None:
    world = pump()
    world.elect("n1")
    world.run(60 * MS)
    id = world.ask("n1", get("x"), mode="lease")
    answer = world.answer(id)
    assert answer is not None and answer.status == "ok" and not world.wire
    world.isolate("n1")
    world.run(world.config.election_min_ns)
    id = world.ask("n1", get("x"), mode="lease")
    assert world.answer(id) is None


@pytest.mark.parametrize("to", ["n2", "n3"])
def test_leadership_is_handed_over_to_the_node_asked_for(to: str) -> None:
    world = pump(5)
    world.elect("n1")
    assert world.do("n1", put("x", 1), seq=1).status == "ok"
    world.run(100 * MS)
    answer = world.do("n1", Command("transfer", to))
    assert answer.status == "ok" and answer.value == to
    assert world.leader() == to and world.nodes["n1"].consensus.leader == to
    assert world.do(to, get("x")).value == 1


def test_handing_over_to_a_node_that_is_gone_ends_by_itself() -> None:
    world = pump()
    world.elect("n1")
    world.crash("n3")
    id = world.ask("n1", Command("transfer", "n3"), timeout_ns=5_000 * MS)
    world.deliver_all()
    assert world.nodes["n1"].consensus.handing_over
    world.run(1_000 * MS)
    assert not world.nodes["n1"].consensus.handing_over and world.leader() == "n1"
    assert world.do("n1", put("x", 1), seq=1).status == "ok"
    assert world.answer(id) is not None


def test_an_old_wish_to_hand_over_draws_nobody_from_a_leader() -> None:
    core = zab(hard=HardState(2, "n2", 1))
    follow(core, "n2", 3)
    core.ready()
    core.step(410 * MS, "n3", ZabVote(2, 9, "n3", 9, 9, 9, transfer=True))
    assert core.role == "follower" and core.variant.following.leader == "n2"
    core.step(410 * MS, "n3", ZabVote(3, 9, "n3", 9, 9, 9, transfer=True))
    assert core.variant.following.leader == "n3", "this one is of the epoch it follows in"


def test_members_cannot_be_changed() -> None:
    world = pump()
    world.elect("n1")
    answer = world.do("n1", Command("add-learner", "n4", ("127.0.0.1:9",)))
    assert answer.status == "fail"
    assert answer.error == "zab has a fixed configuration: members cannot be changed"
    refusal = world.nodes["n1"].consensus.change_members(0, Change("remove-member", "n2"))
    assert refusal is not None and refusal.status == "fail"


@pytest.mark.parametrize("count", [1, 2])
def test_small_clusters(count: int) -> None:
    world = pump(count)
    world.elect("n1")
    assert world.do("n1", put("x", 1), seq=1).status == "ok"
    assert world.do("n1", get("x")).value == 1
    for name in world.names:
        world.crash(name)
        world.restart(name)
    world.run(3_000 * MS)
    assert world.do(world.leader(), get("x")).value == 1


def test_a_node_that_is_no_member_waits() -> None:
    world = pump()
    world.join("n4")
    world.run(3_000 * MS)
    assert world.nodes["n4"].consensus.role == "learner" and world.leader() != "n4"


def test_a_copy_that_begins_in_line_may_complete_a_quorum() -> None:
    """An acknowledgement is lost with the restart of its follower, which has the entry."""
    world = pump()
    world.elect("n1")
    world.isolate("n3")
    id = world.ask("n1", put("x", 1), seq=1)
    world.deliver()
    world.deliver()
    world.wire.clear()
    world.crash("n2")
    world.restart("n2")
    world.now += world.config.heartbeat_ns
    world.tick("n1")
    world.deliver_all()
    answer = world.answer(id)
    assert answer is not None and answer.status == "ok"


def test_every_refusal_carries_the_epoch() -> None:
    core = zab(hard=HardState(4, "n2", 4))
    ask: Callable[[Message], list[Message]] = lambda message: [  # noqa: E731
        s.message for s in (core.step(1 * MS, "n3", message), sent(core))[1]
    ]
    assert ask(Heartbeat(3, 7, 0)) == [HeartbeatReply(4, 0)]
    assert ask(ReadIndex(3, 5)) == [ReadIndexReply(4, 5, 0)]
    assert ask(ReadIndex(4, 5)) == [ReadIndexReply(4, 5, 0)]
    assert ask(CEpoch(4)) == [] and ask(AckEpoch(4, True, 4, 0, 0)) == []
