"""The parts of a consensus core and of a replica, each alone: what it decides, and what it claims.

A part states the invariants of its pattern as assertions. The tests that expect an AssertionError
break one on purpose.
"""

from __future__ import annotations

import random

import pytest

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.clocks.generation_clock import FUTURE, PAST, PRESENT, GenerationClock
from cluster.config import MS, ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.election import Election
from cluster.consensus.handover import Handover
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots, snapshot_of
from cluster.consensus.interface import SafetyViolation
from cluster.consensus.leader_and_followers import Following, Leadership
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import (
    ADD_LEARNER,
    PROMOTE,
    REMOVE,
    Change,
    MembershipChange,
    Refusal,
    settled,
)
from cluster.consensus.outbox import Outbox
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.replication import Replication
from cluster.core.answers import DIRTY_ROWS, DigestSum
from cluster.core.pending_reads import PendingReads
from cluster.ports import Note, Send
from cluster.wire import (
    AppendEntries,
    AppendReply,
    Command,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    RequestVote,
    Snapshot,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from cluster.wire import ReadIndex as ReadIndexRequest

CONFIG = ClusterConfig()
THREE = Configuration(("a", "b", "c"))


class LowRng:
    """The shortest timeout each time."""

    def between(self, low: int, high: int) -> int:
        return low


def log_of(*generations: int) -> ReplicatedLog:
    log = ReplicatedLog()
    if generations:
        log.extend([Entry(i, g, "noop") for i, g in enumerate(generations, 1)])
    return log


# Generation Clock


def test_a_message_is_of_the_past_the_present_or_the_future() -> None:
    clock = GenerationClock(HardState(3, "a"))
    for leads in (True, False):
        standings = [clock.standing(generation, leads=leads) for generation in (2, 3, 4)]
        assert standings == [PAST, PRESENT, FUTURE]
    assert clock.may_vote(3, "a") and not clock.may_vote(3, "b") and not clock.may_vote(2, "a")
    clock.advance(5)
    assert clock.may_vote(5, "b") and clock.hard_state() == HardState(5, "")


# Election


def election(*, has_past: bool = False, config: ClusterConfig = CONFIG) -> Election:
    return Election(config, LowRng(), now_ns=0, has_past=has_past)


def test_only_a_log_at_least_as_recent_wins_a_vote() -> None:
    votes, clock = election(), GenerationClock(HardState(4, ""))
    for last, granted in (((3, 2), True), ((3, 3), True), ((9, 1), False), ((2, 2), False)):
        message = RequestVote(4, "b", *last)
        assert votes.grants_vote(message, clock, (2, 3)) is granted
        later = RequestVote(5, "b", *last, prevote=True)
        assert votes.grants_prevote(later, 4, (2, 3), protected=False) is granted
        assert not votes.grants_prevote(later, 4, (2, 3), protected=True)
        assert not votes.grants_prevote(message, 4, (2, 3), protected=False), "not a later one"


def test_a_heard_leader_is_protected_for_the_shortest_timeout() -> None:
    votes = election()
    assert not votes.protects_leader(0, leads=False), "a new node has heard none"
    assert votes.protects_leader(0, leads=True)
    votes.heard_leader(10 * MS)
    assert votes.deadline_ns == 10 * MS + CONFIG.election_min_ns
    assert votes.protects_leader(309 * MS, leads=False)
    assert not votes.protects_leader(310 * MS, leads=False)
    assert election(has_past=True).protects_leader(299 * MS, leads=False), "it may have answered"
    plain = ClusterConfig(prevote=False, check_quorum=False)
    assert not election(config=plain).protects_leader(0, leads=True)


def test_a_candidate_counts_its_own_vote_when_durable_and_each_voter_once() -> None:
    votes = election()
    votes.begin_prevote("a", 0)
    assert votes.outcome(THREE) is None
    assert votes.asked_for(VoteReply(4, 5, True, True), 4)
    assert not votes.asked_for(VoteReply(4, 4, True), 4), "an answer to a vote, not to a prevote"
    votes.count("b", granted=True)
    assert votes.outcome(THREE) is True
    votes.begin(7, 0)
    assert not votes.asked_for(VoteReply(5, 6, True, True), 5) and votes.outcome(THREE) is None
    votes.count("b", granted=False)
    votes.count("b", granted=True)
    assert votes.outcome(THREE) is None, "its first answer counts"
    assert not votes.own_vote_is_durable(6) and votes.own_vote_is_durable(7)
    assert not votes.own_vote_is_durable(8), "once"
    votes.count("a", granted=True)
    votes.count("c", granted=False)
    assert votes.outcome(THREE) is False
    votes.end()
    assert votes.outcome(THREE) is None and not votes.own_vote_is_durable(9)


# High-Water Mark


def test_a_leader_commits_its_own_generation_only_and_what_is_below() -> None:
    mark, log = HighWaterMark(), log_of(1, 2, 4)
    assert not mark.advance(2, log, 4) and mark.index == 0, "figure 8"
    assert mark.advance(3, log, 4) and mark.index == 3
    assert not mark.advance(3, log, 4) and not mark.advance(1, log, 4), "no news"
    assert [entry.index for entry in mark.take(log)] == [1, 2, 3] and mark.take(log) == []
    assert not mark.may_truncate(3) and mark.may_truncate(4)


def test_a_follower_takes_the_mark_over_as_far_as_logs_are_equal() -> None:
    mark, log = HighWaterMark(), log_of(1, 1, 1)
    assert mark.follow(9, 2, log) and mark.index == 2
    assert not mark.follow(1, 3, log) and mark.index == 2, "it never goes back"


def test_a_mark_beyond_the_log_or_back_is_a_broken_invariant() -> None:
    mark, log = HighWaterMark(), log_of(1, 1)
    with pytest.raises(AssertionError, match="beyond the log"):
        mark.follow(3, 3, log)
    mark.follow(2, 2, log)
    log.truncate_from(2)
    with pytest.raises(AssertionError, match="beyond the log, which ends at 1"):
        mark.take(log)
    with pytest.raises(AssertionError, match="back"):
        mark.install(2)
    mark.install(5)
    assert (mark.index, mark.delivered) == (5, 5)


# HeartBeat


def rounds_of(*peers: str, config: ClusterConfig = CONFIG) -> HeartbeatRounds:
    return HeartbeatRounds("a", peers, config=config, now_ns=0)


def test_rounds_are_confirmed_by_answers_to_them_or_later_ones() -> None:
    rounds = rounds_of("b", "c")
    assert [rounds.next_round(t) for t in (10, 20, 30)] == [1, 2, 3]
    assert rounds.due_ns == 30 + CONFIG.heartbeat_ns
    rounds.answered("c", 7)
    rounds.answered("stranger", 3)
    rounds.confirm(THREE)
    assert rounds.confirmed == 0, "never sent, never a member"
    rounds.answered("b", 2)
    rounds.answered("b", 1)
    rounds.confirm(THREE)
    assert rounds.confirmed == 2 and rounds.confirmed_sent_ns == 20
    alone = rounds_of()
    alone.next_round(5)
    alone.confirm(Configuration(("a",)))
    assert alone.confirmed == 1, "a lone voter needs no answer"


def test_a_leader_that_hears_no_quorum_must_not_lead_on() -> None:
    rounds, late = rounds_of("b", "c"), CONFIG.election_max_ns
    assert rounds.keeps_quorum(late, THREE)
    assert not rounds.keeps_quorum(late + 1, THREE)
    rounds.heard("b", 1)
    rounds.heard("stranger", 1)
    assert rounds.keeps_quorum(late + 1, THREE)
    assert rounds.is_heard("b", late + 1) and not rounds.is_heard("c", late + 1)
    assert rounds.is_heard("a", 1 << 60) and not rounds.is_heard("stranger", 0)
    trusting = rounds_of("b", "c", config=ClusterConfig(check_quorum=False))
    assert trusting.keeps_quorum(1 << 60, THREE)


def test_a_lease_is_as_old_as_the_confirmed_round_and_ends_with_a_transfer() -> None:
    rounds = rounds_of("b", "c")
    assert not rounds.lease_is_valid(0, THREE)
    rounds.next_round(10 * MS)
    rounds.answered("b", 1)
    rounds.confirm(THREE)
    assert rounds.lease_is_valid(159 * MS, THREE) and not rounds.lease_is_valid(160 * MS, THREE)
    rounds.void_lease()
    assert not rounds.lease_is_valid(10 * MS, THREE)


def test_a_new_peer_is_heard_once_it_speaks_and_one_that_left_is_forgotten() -> None:
    rounds = rounds_of("b", "c")
    rounds.next_round(0)
    rounds.answered("b", 1)
    rounds.follow(("b", "d"), 700 * MS)
    assert not rounds.is_heard("d", 700 * MS) and not rounds.is_heard("c", 700 * MS)
    rounds.heard("d", 700 * MS)
    assert rounds.is_heard("d", 700 * MS)
    rounds.answered("c", 1)
    rounds.confirm(Configuration(("a", "c", "d")))
    assert rounds.confirmed == 0
    rounds.confirm(Configuration(("a", "b", "d")))
    assert rounds.confirmed == 1


# ReadIndex


def test_a_read_waits_for_a_round_sent_after_it_and_shares_it() -> None:
    reads = ReadIndex(first_index=3)
    assert not reads.mark_is_current(2) and reads.mark_is_current(3)
    reads.hold(1)
    assert reads.release_held() == [1] and reads.release_held() == []
    assert reads.add(1, index=3, sent=0), "it must cause round 1"
    assert reads.needs_round(0) and not reads.needs_round(1)
    assert not reads.add(2, index=4, sent=1) and not reads.add(3, index=4, sent=1)
    assert reads.take_safe(0) == []
    assert reads.take_safe(1) == [(1, 3)] and reads.needs_round(1) and len(reads) == 2
    assert reads.take_safe(2) == [(2, 4), (3, 4)] and not reads.needs_round(2)


def test_reads_that_share_a_round_and_an_index_are_decided_about_once() -> None:
    asked: list[int] = []

    class Counting(ReadIndex):
        def read_is_safe(self, round: int, confirmed: int) -> bool:
            asked.append(round)
            return super().read_is_safe(round, confirmed)

    reads = Counting(first_index=1)
    assert reads.add(0, index=1, sent=0)
    for token in range(1, 64):
        assert not reads.add(token, index=1, sent=1)
    assert not reads.add(64, index=2, sent=1), "its index is another"
    assert len(reads) == 65
    assert reads.take_safe(2) == [*((token, 1) for token in range(64)), (64, 2)]
    assert asked == [1, 2, 2]
    assert len(reads) == 0


def test_reads_of_followers_have_tokens_of_their_own() -> None:
    reads = ReadIndex(first_index=1)
    tokens = [reads.remote_token("b", 9), reads.remote_token("c", 9)]
    assert all(token < 0 for token in tokens) and tokens[0] != tokens[1]
    reads.add(tokens[1], index=1, sent=0)
    reads.hold(tokens[0])
    assert reads.drain() == [tokens[1], tokens[0]] and len(reads) == 0
    assert reads.take_remote(tokens[0]) == ("b", 9)
    with pytest.raises(KeyError):
        reads.take_remote(tokens[0])


def test_a_read_below_the_first_own_entry_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError, match="below 3"):
        ReadIndex(first_index=3).add(1, index=2, sent=0)


# Replication


def replication_of(log: ReplicatedLog, *peers: str, **limits: int) -> Replication:
    config = ClusterConfig(**limits)  # type: ignore[arg-type]
    return Replication("a", 2, log, peers, config=config, now_ns=0)


def test_a_batch_is_one_object_for_followers_at_the_same_place() -> None:
    log = log_of(1, 2)
    sender = replication_of(log, "b", "c")
    assert sender.send_all(0, 0, None) == [], "they are thought to have everything"
    log.extend([Entry(3, 2, "noop")])
    sends = sender.send_all(0, 1, None)
    assert [send.to for send in sends] == ["b", "c"] and sends[0].message is sends[1].message
    assert sends[0].message == AppendEntries(2, 2, 2, (Entry(3, 2, "noop"),), 1)
    assert sender.send_all(0, 1, None) == [], "one probe at a time"


def test_a_quorum_is_counted_from_what_is_durable() -> None:
    sender = replication_of(log_of(1, 2, 2), "b", "c")
    assert sender.quorum_index(THREE, durable_index=3) == 0
    assert sender.acknowledged("b", 2, 0) and not sender.acknowledged("b", 1, 0)
    assert sender.quorum_index(THREE, durable_index=0) == 0
    assert sender.quorum_index(THREE, durable_index=3) == 2
    assert sender.acknowledged("c", 9, 0) and sender.match("c") == 3, "never beyond the log"
    sender.follow(("b",), 0)
    assert sender.quorum_index(Configuration(("a", "b")), durable_index=3) == 2


def test_a_refusal_steps_back_and_what_was_lost_is_found_by_a_probe() -> None:
    log = log_of(1, 1, 2, 2)
    sender = replication_of(log, "b", batch_entries_max=1)
    log.extend([Entry(5, 2, "noop")])
    sender.send("b", 0, 0, None)
    sender.refused("b", AppendReply(2, False, 0, 4, 2, 1))
    (send,) = sender.send("b", 0, 0, None)
    assert send.message.prev_index == 2  # type: ignore[union-attr]
    sender.acknowledged("b", 3, 0)
    assert [s.message.prev_index for s in sender.send("b", 0, 0, None)] == [3, 4]  # type: ignore[union-attr]
    assert sender.repair("b", 1, 0, None) == (), "too early"
    (probe,) = sender.repair("b", CONFIG.heartbeat_ns, 3, None)
    assert probe.message == AppendEntries(2, 5, 2, (), 3)


def test_a_follower_behind_the_log_gets_the_snapshot_and_then_the_rest() -> None:
    log = log_of(1, 1, 2, 2)
    sender = replication_of(log, "b", snapshot_chunk_bytes=2)
    log.compact(3)
    sender.refused("b", AppendReply(2, False, 0, 4, 0, 0))
    with pytest.raises(AssertionError, match="no snapshot reaches it"):
        sender.send("b", 0, 3, None)
    snapshot = Snapshot(3, 2, ("a", "b"), b"data")
    (first,) = sender.send("b", 0, 3, snapshot)
    assert isinstance(first.message, InstallSnapshot) and first.message.data == b"da"
    assert sender.send("b", 0, 3, snapshot) == (), "one transfer at a time"
    assert sender.progressed("b", SnapshotReply(2, 3, 0, False), 0) == ()
    (second,) = sender.progressed("b", SnapshotReply(2, 3, 2, False), 0)
    assert isinstance(second.message, InstallSnapshot) and second.message.done
    (again,) = sender.repair("b", CONFIG.election_min_ns, 3, snapshot)
    assert again.message == second.message
    assert sender.installed("b", 3, 0)
    (rest,) = sender.send("b", 0, 3, snapshot)
    assert isinstance(rest.message, AppendEntries) and rest.message.prev_index == 3


# Snapshots


def test_a_snapshot_is_news_above_the_mark_only_and_never_older_than_the_last() -> None:
    kept = Snapshots()
    assert kept.index == 0 and kept.accepts_snapshot(4, 3) and not kept.accepts_snapshot(3, 3)
    whole = kept.receive("a", InstallSnapshot(1, 4, 1, ("a",), 0, b"x", False))
    assert whole is None and kept.received_bytes == 1
    whole = kept.receive("a", InstallSnapshot(1, 4, 1, ("a",), 1, b"y", True))
    assert whole == Snapshot(4, 1, ("a",), b"xy")
    kept.install(whole)
    assert kept.index == 4 and kept.newest is whole
    with pytest.raises(AssertionError, match="is not after 4"):
        kept.install(whole)


def test_a_snapshot_carries_a_configuration_that_is_more_than_voters() -> None:
    assert snapshot_of(4, 1, THREE, b"s") == Snapshot(4, 1, ("a", "b", "c"), b"s", b"")
    learning = Configuration(("a",), learners=("b",))
    found = snapshot_of(4, 1, learning, b"s")
    assert Configuration.of_snapshot(found.members, found.configuration) == learning


# Replicated Log and Write Order


def test_entries_that_do_not_follow_are_a_broken_invariant() -> None:
    log, writes = log_of(1, 2), WriteOrder(2)
    with pytest.raises(AssertionError, match="does not follow 2"):
        log.extend([Entry(4, 2, "noop")])
    with pytest.raises(AssertionError, match="of generation 1 follows one of 2"):
        log.extend([Entry(3, 1, "noop")])
    with pytest.raises(AssertionError, match="do not continue 2"):
        writes.append([Entry(4, 2, "noop")])
    with pytest.raises(AssertionError, match="do not continue 2"):
        writes.append([Entry(3, 2, "noop"), Entry(5, 2, "noop")])
    with pytest.raises(AssertionError, match="write 1 is durable"):
        writes.persisted(1)
    log.compact(1)
    with pytest.raises(AssertionError, match="below the base 1"):
        log.truncate_from(1)


# Membership


def test_peers_are_told_of_a_configuration_that_leaves_them_out() -> None:
    membership = Membership(THREE)
    with pytest.raises(AssertionError, match="without a joint configuration"):
        membership.append(4, Configuration(("a", "b")))
    membership.append(4, Configuration(("a", "b"), outgoing=THREE.voters))
    membership.append(5, Configuration(("a", "b")))
    assert membership.peers("a", 4) == ("b", "c") and membership.peers("a", 5) == ("b",)
    assert membership.may_vote("c", 4) and not membership.may_vote("c", 5)
    membership.reset(Configuration(("d",)), 9)
    assert (membership.index, membership.current.voters) == (9, ("d",))


def change_of(membership: Membership, change: Change, mark: int = 3, **seen: object) -> object:
    steps = MembershipChange(3, config=CONFIG)
    seen = {"heard": ["a", "b", "c"], "behind": 0, **seen}
    return steps.begin(change, membership, mark, **seen)  # type: ignore[arg-type]


def test_one_change_at_a_time_and_none_before_an_own_entry_is_committed() -> None:
    membership = Membership(THREE)
    early = change_of(membership, Change(REMOVE, "c"), mark=2)
    assert early == Refusal("retry", "no entry of this leadership is committed yet")
    begun = change_of(membership, Change(REMOVE, "c"))
    assert isinstance(begun, Configuration) and begun.joint
    membership.append(4, begun)
    assert change_of(membership, Change(REMOVE, "c")) is None, "under way"
    busy = change_of(membership, Change(REMOVE, "b"))
    assert busy == Refusal("retry", "another change of members is under way")


def test_a_change_that_would_leave_too_few_is_refused() -> None:
    membership = Membership(Configuration(("a", "b", "c"), learners=("d",)))
    for change, seen, why in (
        (Change(REMOVE, "c"), {"heard": ["a"]}, "no majority"),
        (Change(PROMOTE, "d"), {}, "d is not heard"),
        (Change(PROMOTE, "d"), {"heard": ["a", "d"], "behind": 999}, "999 entries behind"),
        (Change(PROMOTE, "x"), {}, "x is no member"),
    ):
        refusal = change_of(membership, change, **seen)
        assert isinstance(refusal, Refusal) and refusal.status == "fail" and why in refusal.why
    assert isinstance(change_of(membership, Change(ADD_LEARNER, "e")), Configuration)


def test_each_step_of_a_change_is_taken_once_it_is_committed() -> None:
    steps, membership = MembershipChange(3, config=CONFIG), Membership(THREE)
    joint = Configuration(("a", "b"), outgoing=("a", "b", "c"))
    membership.append(4, joint)
    assert steps.committed(membership, 3) is None
    assert steps.committed(membership, 4) == joint
    membership.append(5, settled(joint))
    assert steps.committed(membership, 4) is None
    assert steps.committed(membership, 5) == settled(joint)
    assert steps.committed(membership, 6) is None, "done"


# Leadership: the parts of a leader together


def node_of(name: str, log: ReplicatedLog, *, of: int = 0) -> LogNode:
    """A node of three, in generation ``of``, with this log, all of it durable."""
    return LogNode(
        name=name,
        config=CONFIG,
        clock=GenerationClock(HardState(of, "")),
        log=log,
        writes=WriteOrder(log.last_index),
        mark=HighWaterMark(),
        membership=Membership(THREE),
        snapshots=Snapshots(),
        outbox=Outbox(),
        repair=DamageRepair(None),
    )


def leadership(*generations: int) -> tuple[Leadership, Outbox, HighWaterMark, WriteOrder]:
    """Node a leads generation 2, over a log of these generations, and has begun."""
    log = log_of(*generations)
    node, first = node_of("a", log, of=2), log.last_index + 1
    leading = Leadership(
        node,
        2,
        replication=replication_of(log, "b", "c"),
        rounds=rounds_of("b", "c"),
        reads=ReadIndex(first),
        change=MembershipChange(first, config=CONFIG),
    )
    leading.begin(0)
    return leading, node.outbox, node.mark, node.writes


def test_a_leader_begins_with_a_round_and_an_entry_of_its_own() -> None:
    leading, out, mark, writes = leadership(1)
    kinds = [
        effect.event if isinstance(effect, Note) else type(effect.message)  # type: ignore[union-attr]
        for effect in out.effects
    ]
    assert kinds == ["leader-elected", Heartbeat, Heartbeat, AppendEntries, AppendEntries]
    leading.on_message(1, "b", AppendReply(2, True, 2, 1))
    assert mark.index == 0, "its own copy is not durable"
    writes.persisted(writes.io_issued)
    leading.advance(2)
    assert mark.index == 2


def test_a_leader_holds_reads_until_its_own_entry_is_committed() -> None:
    leading, out, _mark, _writes = leadership(1)
    leading.rounds.read(1, 7)
    leading.on_message(1, "b", HeartbeatReply(2, 1))
    assert out.reads == []
    for peer in ("b", "c"):
        leading.on_message(2, peer, AppendReply(2, True, 2, 1))
    leading.on_message(3, "b", HeartbeatReply(2, 2))
    assert out.take_reads() == [(7, 2)] and out.take_reads() == []
    leading.on_message(4, "c", ReadIndexRequest(2, 5))
    leading.rounds.read(4, 8)
    out.effects.clear()
    leading.end(3)
    assert out.reads == [(8, 0)] and len(out.effects) == 2, "a note, and an answer to c"


def test_a_leader_that_hears_no_quorum_is_over() -> None:
    leading, out, _mark, _writes = leadership(1)
    leading.tick(CONFIG.election_max_ns)
    assert not leading.over
    leading.tick(2 * CONFIG.election_max_ns)
    assert leading.over
    assert isinstance(out.effects[-1], Note) and out.effects[-1].event == "lost-quorum"


def test_a_generation_with_entries_before_its_leader_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError, match="has entries before its leader a begins"):
        leadership(1, 2)


# Handing over: what Leadership and Proposer share


def handover() -> tuple[Handover, LogNode, HeartbeatRounds]:
    """Node a leads generation 2 with two entries, and a quorum has just confirmed a round."""
    node, rounds = node_of("a", log_of(1, 2), of=2), rounds_of("b", "c")
    rounds.answered("b", rounds.next_round(0))
    rounds.confirm(THREE)
    assert rounds.lease_is_valid(1, THREE)
    return Handover(node, 2, rounds), node, rounds


def test_the_next_leader_is_told_once_and_only_when_it_has_everything() -> None:
    moving, node, rounds = handover()
    assert moving.begin(1, "b") and moving.under_way
    for peer, match in (("b", 1), ("c", 2)):
        moving.caught_up(peer, match)
        assert node.outbox.effects == [] and rounds.lease_is_valid(1, THREE)
    moving.caught_up("b", 2)
    moving.caught_up("b", 2)
    assert node.outbox.effects == [Send("b", TimeoutNow(2), 0)]
    assert not rounds.lease_is_valid(1, THREE)


def test_a_leader_hands_over_to_another_voter_and_to_one_at_a_time() -> None:
    moving, _node, _rounds = handover()
    assert not moving.begin(1, "a") and not moving.begin(1, "x") and not moving.under_way
    assert moving.begin(1, "b") and not moving.begin(2, "c")


def test_a_leader_carries_on_if_the_next_one_does_not_take_over() -> None:
    moving, _node, rounds = handover()
    assert moving.deadline_ns == NEVER_NS
    moving.begin(1, "b")
    moving.caught_up("b", 2)
    moving.tick(moving.deadline_ns - 1)
    assert moving.under_way
    moving.tick(moving.deadline_ns)
    assert not moving.under_way and moving.deadline_ns == NEVER_NS
    assert not rounds.lease_is_valid(1, THREE), "the other may still win"


# Pending reads


def test_a_read_is_answered_once_its_index_is_applied() -> None:
    reads = PendingReads()
    tokens = [reads.next_token() for _ in range(3)]
    for number, token in enumerate(tokens):
        reads.add(token, Waiter(number, number, 100 + number), Command("get", str(number)), 0)
    assert reads.name([(tokens[0], 5), (tokens[1], 0), (999, 0)]) == [Waiter(1, 1, 101)]
    assert reads.take_runnable(0, 4) == []
    assert [read.command.key for read in reads.take_runnable(0, 5)] == ["0"]
    assert len(reads) == 1 and reads.expire(100) == [] and reads.expire(102) == [Waiter(2, 2, 102)]
    assert reads.deadline_ns == NEVER_NS


def test_a_read_whose_client_is_gone_is_not_looked_for_again() -> None:
    """Its index may never be applied: a session may have seen a cluster that is no more."""
    reads = PendingReads()
    for number in range(5):
        reads.wait_for(10**15, Waiter(number, number, 100), Command("get", "x"))
    reads.disconnect(3)
    assert reads.take_runnable(0, 7) == [] and len(reads.named) == 4
    assert len(reads.expire(100)) == 4
    assert reads.take_runnable(0, 7) == [] and reads.named == []


def test_an_answer_to_a_former_life_names_no_read_of_this_one() -> None:
    reads, token = PendingReads(), 1
    before = LowRng().between(1, 2) + token
    salted = reads.forwarded(reads.next_token(), LowRng())
    reads.add(token, Waiter(1, 1, 100), Command("get", "x"), 0)
    assert reads.name([(salted - before, 0)]) == []
    assert reads.name([(salted, 0)]) == [Waiter(1, 1, 100)]
    reads.add(2, Waiter(7, 1, 100), Command("get", "x"), 0)
    reads.disconnect(7)
    assert len(reads) == 0


# The hash of a table


def test_a_table_has_one_hash_however_often_it_was_asked_for() -> None:
    rng, often, once = random.Random(3), DigestSum(), DigestSum()
    rows: dict[str, int] = {}
    for step in range(4 * DIRTY_ROWS):
        name = str(rng.randrange(2 * DIRTY_ROWS))
        if rng.random() < 0.3:
            rows.pop(name, None)
        else:
            rows[name] = step
        often.touch(name)
        once.touch(name)
        if step % 997 == 0:
            often.value(rows.get, rows)
    afresh = DigestSum().value(rows.get, rows)
    assert often.value(rows.get, rows) == once.value(rows.get, rows) == afresh
    rows["other"] = 1
    assert DigestSum().value(rows.get, rows) != afresh


def test_a_table_that_is_not_hashed_does_not_remember_which_rows_changed() -> None:
    table, rows = DigestSum(), {str(number): number for number in range(10)}
    before = table.value(rows.get, rows)
    for number in range(3 * DIRTY_ROWS):
        table.touch(f"gone{number}")
    looked_at: list[str] = []

    def row(name: str) -> int | None:
        looked_at.append(name)
        return rows.get(name)

    assert table.value(row, rows) == before
    assert looked_at == list(rows), "the rows there are, and not what changed"


# Following: the parts of a follower together


def following(*generations: int) -> tuple[Following, Outbox, HighWaterMark, WriteOrder]:
    """Node b, of generation 2, with a log of these generations, all durable."""
    node = node_of("b", log_of(*generations), of=2)
    return Following(node), node.outbox, node.mark, node.writes


def test_a_follower_acknowledges_entries_once_they_are_durable() -> None:
    side, out, mark, writes = following(1)
    entry = Entry(2, 2, "noop")
    assert not side.on_message("a", AppendEntries(2, 1, 1, (entry,), 2))
    (answer,) = out.effects
    assert answer == Send("a", AppendReply(2, True, 2, 1), 1) and writes.durable_index == 1
    assert mark.index == 2, "committed by others, whatever this disk does"
    out.effects.clear()
    side.on_message("a", AppendEntries(2, 4, 2, (), 4))
    assert out.effects == [Send("a", AppendReply(2, False, 0, 4, 2, 2))]


def test_a_follower_cuts_what_differs_and_never_what_is_committed() -> None:
    side, _out, mark, _writes = following(1, 1, 1)
    side.on_message("a", AppendEntries(2, 1, 1, (Entry(2, 2, "noop"),), 2))
    assert mark.index == 2
    with pytest.raises(SafetyViolation, match="everything up to 2 is committed"):
        side.on_message("a", AppendEntries(2, 1, 1, (Entry(2, 1, "noop"),), 2))


def test_a_follower_says_when_it_may_be_a_voter_or_a_learner_now() -> None:
    side, out, _mark, _writes = following(1)
    leaving = Configuration(("a", "c"), outgoing=THREE.voters)
    entries = (Entry(2, 2, "config", leaving.encode()),)
    assert side.on_message("a", AppendEntries(2, 1, 1, entries, 1)), "another configuration"
    assert isinstance(out.effects[0], Note) and out.effects[0].detail["outgoing"] == ["a", "b", "c"]
    assert not side.on_message("a", Heartbeat(2, 1, 1))
    assert side.on_message("a", Heartbeat(2, 2, 2)), "the one before is history"
    assert not side.on_message("a", Heartbeat(2, 3, 2))


def test_a_follower_restores_a_snapshot_once_and_answers_after_it_is_durable() -> None:
    side, out, mark, writes = following(1, 1)
    chunk = InstallSnapshot(2, 5, 2, ("a", "b", "c"), 0, b"state", True)
    side.on_message("a", chunk)
    assert out.effects[-1] == Send("a", SnapshotReply(2, 5, 0, True), writes.io_issued)
    assert mark.index == 5
    restored, out.restored = out.restored, None
    assert restored is not None and restored.data == b"state"
    out.effects.clear()
    side.on_message("a", chunk)
    assert out.restored is None, "no news"


def test_a_message_of_the_past_is_answered_and_an_answer_is_not() -> None:
    side, out, _mark, _writes = following(1)
    side.refuse("a", Heartbeat(1, 4, 0))
    side.refuse("a", HeartbeatReply(1, 4))
    assert out.effects == [Send("a", HeartbeatReply(2, 0))]
