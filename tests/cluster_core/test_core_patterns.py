"""The pure rules of the pattern modules: exhaustive where small, against slow twins where not."""

from __future__ import annotations

import random
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.ablations.registry import find
from cluster.channel.request_batch import ENTRY_OVERHEAD_BYTES, batch_entries, batch_length
from cluster.channel.request_pipeline import RequestPipeline
from cluster.channel.request_waiting_list import NEVER_NS, RequestWaitingList, Waiter
from cluster.channel.single_socket_channel import IncomingChannel, OutgoingChannel
from cluster.channel.singular_update_queue import SingularUpdateQueue
from cluster.clocks.generation_clock import GenerationClock
from cluster.consensus.install_snapshot import SnapshotAssembly, SnapshotTransfer
from cluster.consensus.majority_quorum import quorum_size, quorum_value, tally
from cluster.consensus.membership import Configuration, Membership, agreed_value, agreed_vote
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.ports import Append, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot

# Majority Quorum


@pytest.mark.parametrize("members", range(1, 8))
def test_any_two_quorums_share_a_member_and_no_smaller_size_would_do(members: int) -> None:
    size, nodes = quorum_size(members), range(members)
    for left, right in product(combinations(nodes, size), repeat=2):
        assert set(left) & set(right)
    smaller = list(combinations(nodes, size - 1))
    assert size == 1 or any(not set(a) & set(b) for a, b in product(smaller, repeat=2))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 6))
def test_quorum_value_is_the_largest_that_enough_reach(values: list[int], size: int) -> None:
    slow = max((v for v in range(10) if sum(x >= v for x in values) >= size), default=0)
    assert quorum_value(values, size) == slow


def test_a_vote_is_open_exactly_while_it_can_go_either_way() -> None:
    voters = ("a", "b", "c", "d")
    for answers in product((True, False, None), repeat=4):
        votes = {v: a for v, a in zip(voters, answers) if a is not None}
        missing = answers.count(None)
        best, worst = answers.count(True) + missing, answers.count(True)
        expected = True if worst >= 3 else False if best < 3 else None
        assert tally({**votes, "stranger": True}, voters, 3) is expected


def test_a_joint_configuration_needs_both_halves_and_no_learners() -> None:
    joint = Configuration(("a", "b", "c"), learners=("x",), outgoing=("c", "d", "e"))
    assert joint.nodes == ("a", "b", "c", "d", "e", "x")
    assert agreed_value(joint, {"a": 5, "b": 5, "c": 1, "d": 1, "e": 0, "x": 9}) == 1
    assert agreed_vote(joint, {"a": True, "b": True, "x": True}) is None
    assert agreed_vote(joint, {"a": True, "b": True, "c": True, "d": True}) is True
    assert agreed_vote(joint, {"a": True, "b": True, "d": False, "e": False}) is False


def test_membership_follows_the_log_back_and_forth() -> None:
    old, new = Configuration(("a",)), Configuration(("a",), learners=("b",))
    membership = Membership(old)
    membership.append(5, new)
    assert membership.current == new and membership.at(4) == old and membership.at(5) == new
    membership.truncate_from(5)
    assert membership.current == old
    membership.append(7, new)
    membership.compact(9)
    assert membership.at(9) == new
    with pytest.raises(AssertionError, match="not after"):
        membership.append(7, old)
    assert Configuration.decode(new.encode()) == new


# Generation Clock


def test_the_generation_only_grows_and_has_one_vote() -> None:
    clock = GenerationClock(HardState(3, "a"))
    for refused in (lambda: clock.advance(3), lambda: clock.vote("b")):
        with pytest.raises(AssertionError, match="generation 3"):
            refused()
    clock.vote("a")
    clock.advance(4)
    clock.vote("b")
    assert clock.hard_state() == HardState(4, "b")


# Replicated Log


generations = st.lists(st.integers(1, 5), max_size=12).map(sorted)


def log_of(values: list[int], base: int = 0) -> ReplicatedLog:
    log = ReplicatedLog(base, 0)
    if values:
        log.extend([Entry(i, g, "noop") for i, g in enumerate(values, base + 1)])
    return log


@given(generations, generations)
def test_hints_lead_to_agreement_and_never_below_what_is_shared(
    leader: list[int], follower: list[int]
) -> None:
    """Walk the back-off as leader and follower do; the twin knows the longest common prefix."""
    shared = 0
    while shared < min(len(leader), len(follower)) and leader[shared] == follower[shared]:
        shared += 1
    # Log matching: equal (index, generation) means equal below, so cut what real logs cannot be.
    follower = follower[:shared] + [
        g for i, g in enumerate(follower[shared:], shared) if i >= len(leader) or leader[i] != g
    ]
    ours, theirs = log_of(leader), log_of(follower)
    if any(
        ours.generation_at(i) == theirs.generation_at(i) for i in range(shared + 1, len(leader) + 1)
    ):
        return
    at, rounds = len(leader), 0
    while not theirs.matches(at, ours.generation_at(at) or 0):
        hint = theirs.conflict_hint(at - 1, ours.generation_at(at) or 0)
        following, _ = ours.conflict_hint(*hint)
        assert shared <= following < at
        at, rounds = following, rounds + 1
    assert at <= shared and rounds <= len(set(leader)) + len(set(follower)) + 1


def test_missing_begins_at_the_first_difference_only() -> None:
    log = log_of([1, 1, 2])
    same = [Entry(2, 1, "noop"), Entry(3, 2, "noop")]
    assert log.missing(same) == ()
    assert [e.index for e in log.missing([*same, Entry(4, 2, "noop")])] == [4]
    assert [e.index for e in log.missing([Entry(2, 2, "noop"), Entry(3, 2, "noop")])] == [2, 3]
    log.compact(2)
    assert log.missing([Entry(1, 9, "noop"), Entry(2, 9, "noop"), *same[1:]]) == ()


def test_a_log_is_recovered_above_its_snapshot_and_below() -> None:
    snapshot = Snapshot(5, 2, ("a",), b"")
    entries = [Entry(i, 2, "noop") for i in range(3, 8)]
    log = ReplicatedLog.recover(Recovered(HardState(), snapshot, entries))
    assert (log.base_index, log.last_index, log.generation_at(3)) == (3, 7, 2)
    log = ReplicatedLog.recover(Recovered(HardState(), snapshot, entries[:2]))
    assert (log.first_index, log.last_index, log.last_generation) == (6, 5, 2)
    for gap in ([Entry(7, 2, "noop")], [Entry(6, 2, "noop"), Entry(8, 2, "noop")]):
        with pytest.raises(ValueError, match="the log has entry"):
            ReplicatedLog.recover(Recovered(HardState(), snapshot, gap))


@given(st.lists(st.tuples(st.sampled_from(["append", "sync", "snapshot"]), st.integers(1, 6))))
def test_durable_index_says_what_a_crash_would_keep(steps: list[tuple[str, int]]) -> None:
    """Against a twin which keeps whole logs: after any completion, a crash keeps that prefix."""
    writes, log, issued, durable = WriteOrder(), [], [], []  # type: ignore[var-annotated]
    stamp = 0
    for kind, number in steps:
        if kind == "append":
            stamp += 1
            first = min(number, len(log) + 1)
            log = [*log[: first - 1], stamp, stamp]
            writes.append([Entry(first, stamp, "noop"), Entry(first + 1, stamp, "noop")])
            issued.append(("log", list(log)))
        elif kind == "snapshot" and log:
            writes.snapshot(Snapshot(1, log[0], (), b""), keep_from=1)
            issued.append(("snapshot", []))
        elif kind == "sync" and issued:
            what, kept = issued.pop(0)
            durable = kept if what == "log" else durable
            writes.persisted(writes.io_issued - len(issued))
        writes.take()
        prefix = 0
        while prefix < min(len(log), len(durable)) and log[prefix] == durable[prefix]:
            prefix += 1
        # A snapshot made durable at index 1 stands for that entry only if it is still the same.
        assert writes.durable_index <= max(prefix, 1)
        if not any(kind == "snapshot" for kind, _ in steps):
            assert writes.durable_index == prefix


def test_one_write_an_event_and_in_order() -> None:
    writes = WriteOrder()
    writes.hard_state(HardState(1, "a"))
    writes.append([Entry(1, 1, "noop")])
    writes.hard_state(HardState(2, ""))
    writes.snapshot(Snapshot(1, 1, (), b""), keep_from=1)
    effects = writes.take()
    assert [type(e) for e in effects] == [Append, Append, SaveSnapshot]
    assert [e.io_id for e in effects if isinstance(e, Append | SaveSnapshot)] == [1, 2, 3]
    assert effects[0] == Append(1, HardState(1, "a"), (Entry(1, 1, "noop"),))
    assert writes.after_hard_state == 2 and writes.after_index(1) == 2
    writes.persisted(2)
    assert writes.after_hard_state == 0 and writes.after_index(1) == 0


# Snapshots on the wire


@given(st.binary(max_size=40), st.integers(1, 9), st.integers(0, 10**6))
def test_a_snapshot_arrives_whole_whatever_happens_to_its_chunks(
    data: bytes, chunk: int, seed: int
) -> None:
    dice = random.Random(seed)
    transfer = SnapshotTransfer(Snapshot(9, 2, ("a",), data), chunk)
    assembly = SnapshotAssembly()
    stale = [transfer.chunk(1)]
    for _ in range(2_000):
        message = transfer.chunk(1)
        fate = dice.random()
        if fate < 0.1:
            continue
        if fate < 0.2:
            message = dice.choice(stale)
        stale.append(message)
        whole = assembly.add("a", message)
        if whole is not None:
            assert whole == Snapshot(9, 2, ("a",), data)
            return
        transfer.progressed(9, assembly.offset)
    pytest.fail("it never arrived")


# Request Pipeline, Request Batch


def test_a_pipeline_probes_then_streams_within_its_window() -> None:
    pipeline = RequestPipeline(10, window=2, now_ns=0)
    pipeline.sent(12, 1)
    assert not pipeline.can_send() and pipeline.next == 10
    assert pipeline.acknowledged(12, 2) and pipeline.next == 13 and pipeline.can_send()
    pipeline.sent(13, 3)
    pipeline.sent(14, 3)
    assert not pipeline.can_send() and pipeline.in_flight == 2 and pipeline.next == 15
    assert pipeline.acknowledged(13, 4) and pipeline.can_send()
    assert not pipeline.acknowledged(12, 5) and pipeline.match == 13
    assert not pipeline.refused(13, 5), "old"
    assert pipeline.refused(14, 5) and (pipeline.next, pipeline.probing) == (14, True)
    assert not pipeline.refused(20, 5), "not the probe"
    assert not pipeline.stalled(99, 10)
    pipeline.sent(14, 100)
    assert pipeline.stalled(110, 10) and not pipeline.stalled(109, 10)


@given(st.lists(st.integers(0, 50)), st.integers(1, 5), st.integers(1, 200))
def test_batches_are_bounded_and_never_empty(sizes: list[int], most: int, total: int) -> None:
    count = batch_length(sizes, entries_max=most, bytes_max=total)
    cost = [s + ENTRY_OVERHEAD_BYTES for s in sizes]
    fitting = [n for n in range(1, len(sizes) + 1) if n <= most and sum(cost[:n]) <= total]
    assert count == max(fitting, default=min(1, len(sizes)))
    entries = [Entry(i, 1, "command", bytes(size)) for i, size in enumerate(sizes)]
    bounded = batch_entries(entries, bytes_max=total)
    assert bounded == entries[: batch_length(sizes, entries_max=10**9, bytes_max=total)]


# Waiting list, queue, channel


def test_a_waiter_hears_only_of_its_own_entry() -> None:
    waiting = RequestWaitingList()
    assert waiting.add(5, 2, [Waiter(1, 7, 100), Waiter(2, 8, 50), Waiter(3, 9, 200)])
    assert waiting.add(8, 2, [Waiter(4, 10, 300)]) and waiting.deadline_ns == 50
    assert waiting.applied(4, 2) is None
    assert waiting.applied(5, 3) == (Waiter(1, 7, 100), False)
    assert waiting.expire(49) == [] and waiting.expire(50) == [Waiter(2, 8, 50)]
    assert waiting.deadline_ns == 200
    waiting.disconnect(3)
    assert waiting.applied(8, 2) == (Waiter(4, 10, 300), True)
    assert len(waiting) == 0 and waiting.abandon(2) == [] and waiting.deadline_ns == NEVER_NS


def test_waiters_end_with_the_leadership_that_took_them() -> None:
    waiting = RequestWaitingList()
    first, second = Waiter(1, 7, 100), Waiter(2, 8, 50)
    waiting.add(5, 2, [first])
    waiting.add(6, 2, [second])
    with pytest.raises(AssertionError, match="two requests wait for the entry at 6"):
        waiting.add(6, 2, [first])
    with pytest.raises(AssertionError, match="wait for generation 2, and now for 4"):
        waiting.add(7, 4, [first])
    assert waiting.abandon(1) == [] and waiting.deadline_ns == 50
    assert waiting.abandon(2) == [first, second] and waiting.deadline_ns == NEVER_NS
    assert waiting.add(6, 4, [first]) and waiting.abandon(4) == [first]


def test_waiters_by_index_alone_take_any_entry_and_outlive_a_leadership() -> None:
    waiting = find("A27b").override()
    waiting.add(5, 2, [Waiter(1, 7, 100), Waiter(2, 8, 50)])
    assert waiting.abandon(2) == [] and waiting.deadline_ns == 50
    assert waiting.applied(5, 3) == (Waiter(1, 7, 100), True)
    assert waiting.expire(50) == [Waiter(2, 8, 50)]


def test_the_queue_keeps_order_and_gives_back_what_it_never_served() -> None:
    queue = SingularUpdateQueue()
    for number in range(5):
        queue.put(Waiter(number, number, 100 + number), b"x" * number)
    waiters, data = queue.take(entries_max=2, bytes_max=10_000)
    assert [w.request for w in waiters] == [0, 1] and data == [b"", b"x"]
    queue.disconnect(2)
    assert [w.request for w in queue.expire(103)] == [3]
    assert queue.deadline_ns == 104 and [w.request for w in queue.drain()] == [4]
    assert queue.has_room(9, 10) and not queue.has_room(10, 10)


def test_a_new_channel_silences_the_old_one() -> None:
    incoming = IncomingChannel()
    assert incoming.takes(1) and incoming.takes(1) and incoming.takes(3)
    assert not incoming.takes(2), "the older epoch came late"
    assert incoming.takes(3) and incoming.epoch == 3
    outgoing = OutgoingChannel()
    first, second = outgoing.open(), outgoing.open()
    assert not outgoing.opened(first) and outgoing.opened(second) and outgoing.connected
    assert not outgoing.closed(first) and outgoing.connected and outgoing.closed(second)
    assert OutgoingChannel(7).open() == 8


@given(st.lists(st.sampled_from(["send", "reconnect", "0", "1", "2"]), max_size=80))
def test_a_frame_never_follows_one_that_was_sent_later(events: list[str]) -> None:
    """Each connection is a pipe; a digit lets the next frame out of one of the latest three."""
    outgoing, incoming = OutgoingChannel(), IncomingChannel()
    pipes: dict[int, list[int]] = {outgoing.open(): []}
    sent = 0
    came: list[tuple[int, int]] = []
    taken: list[int] = []
    for event in events:
        if event == "send":
            sent += 1
            pipes[outgoing.epoch].append(sent)
        elif event == "reconnect":
            pipes[outgoing.open()] = []
        elif pipe := pipes.get(outgoing.epoch - int(event)):
            epoch, frame = outgoing.epoch - int(event), pipe.pop(0)
            newest = all(epoch >= earlier for earlier, _ in came)
            came.append((epoch, frame))
            assert incoming.takes(epoch) == newest, "all are taken that no newer one preceded"
            taken += [frame] if newest else []
    assert taken == sorted(taken)
