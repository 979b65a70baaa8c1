"""Multi-Paxos, part by part and message by message: what only this variant promises."""

from __future__ import annotations

from typing import Any

import pytest
from core_pump import Pump, get, put
from core_single import LowRng

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import MS, ClusterConfig
from cluster.consensus.ballots import Ballots
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.interface import Consensus, SafetyViolation
from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import Change
from cluster.consensus.multi_paxos import MultiPaxos, MultiPaxosParts
from cluster.consensus.phase_one import PhaseOne
from cluster.consensus.phase_two import PhaseTwo
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.slots import HOLE, HOLES_MAX, Slots
from cluster.core.replica import ReplicaParts
from cluster.ports import Append, Recovered, SaveSnapshot, Send
from cluster.wire import (
    Accept,
    Accepted,
    CatchUp,
    Command,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Prepare,
    Promise,
    Snapshot,
    TimeoutNow,
)

PARTS = ReplicaParts(consensus=MultiPaxosParts())


def value(slot: int, ballot: int, data: bytes = b"v") -> Entry:
    return Entry(slot, ballot, "command", data)


def core(
    entries: list[Entry] = (),  # type: ignore[assignment]
    *,
    node: str = "n1",
    count: int = 3,
    hard: HardState = HardState(),  # noqa: B008 (frozen)
    snapshot: Snapshot | None = None,
    **settings: Any,
) -> Consensus:
    """A node recovered from this at time 0."""
    members = [f"n{i + 1}" for i in range(count)]
    made = MultiPaxosParts().build(node, members, config=ClusterConfig(**settings), rng=LowRng())
    made.start(0, Recovered(hard, snapshot, list(entries)))
    made.ready()
    return made


def sent(node: Consensus) -> list[Send]:
    return [effect for effect in node.ready().effects if isinstance(effect, Send)]


def messages(node: Consensus, kind: type) -> list[Any]:
    return [send.message for send in sent(node) if type(send.message) is kind]


def stand(node: Consensus, now: int = 1_000 * MS) -> int:
    """Through the probe, to a ballot of its own whose promise is durable here; the ballot."""
    node.tick(now)
    assert isinstance(node.variant, MultiPaxos)
    ballot = node.variant.ballots.next_ballot(node.clock.generation)
    for peer in node.node.peers()[: len(node.membership.current.voters) // 2]:
        node.step(now, peer, Promise(node.clock.generation, ballot, True, probe=True))
    node.ready()
    node.persisted(now, node.node.writes.io_issued)
    assert node.clock.generation == ballot and node.role == "candidate"
    return ballot


def promise(ballot: int, first: int, *entries: Entry, end: int = -1, mark: int = 0) -> Promise:
    """A whole promise, granted."""
    end = max((entry.index for entry in entries), default=first - 1) if end < 0 else end
    return Promise(ballot, ballot, True, False, first, entries, end, end, mark)


# Ballots


def test_ballots_are_unique_ordered_and_name_their_node() -> None:
    members = ["n1", "n2", "n3"]
    mine = {name: Ballots(name, members) for name in members}
    taken: dict[int, str] = {}
    for above in range(200):
        for name in members:
            ballot = mine[name].next_ballot(above)
            assert ballot > above and taken.setdefault(ballot, name) == name
            assert ballot - above <= 3, "the lowest that will do"
    assert [mine[name].next_ballot(0) for name in members] == [1, 2, 3]


def test_a_node_that_is_no_member_has_no_ballot() -> None:
    with pytest.raises(AssertionError, match="no member"):
        Ballots("n9", ["n1"]).next_ballot(0)


def test_a_restarted_proposer_takes_a_new_ballot() -> None:
    node = core()
    first = stand(node)
    again = core(hard=HardState(first))
    assert stand(again) > first


# Slots


def slots_of(*entries: Entry, promised: int = 9, mark: int = 0) -> tuple[Slots, Any, WriteOrder]:
    log = ReplicatedLog.recover(Recovered(HardState(), None, list(entries)))
    writes = WriteOrder(log.last_index)
    clock = GenerationClock(HardState(promised))
    made = HighWaterMark(mark)
    return Slots("n1", clock=clock, log=log, writes=writes, mark=made), log, writes


def written(writes: WriteOrder) -> list[Append]:
    return [effect for effect in writes.take() if isinstance(effect, Append)]


def test_a_slot_accepted_again_keeps_what_is_above_in_the_same_write() -> None:
    slots, log, writes = slots_of(value(1, 1), value(2, 1, b"a"), value(3, 1, b"b"))
    slots.accept(9, [value(2, 9, b"c")])
    (append,) = written(writes)
    assert append.entries == (value(2, 9, b"c"), value(3, 1, b"b"))
    assert log.last_index == 3 and log.generation_at(3) == 1


def test_a_slot_that_is_passed_over_holds_a_hole_until_it_is_accepted() -> None:
    slots, log, writes = slots_of(value(1, 9))
    slots.accept(9, [value(4, 9)])
    assert [entry.kind for entry in log.between(1, 4)] == ["command", HOLE, HOLE, "command"]
    assert slots.agreed(9) == 1
    slots.accept(9, [value(2, 9), value(3, 9)])
    assert slots.agreed(9) == 4
    assert [len(append.entries) for append in written(writes)] == [3, 3]


def test_agreed_passes_nothing_of_another_ballot() -> None:
    slots, _, _ = slots_of(value(1, 9), value(2, 3), value(3, 9))
    assert slots.agreed(9) == 1
    slots, _, _ = slots_of(value(1, 3), value(2, 3), value(3, 9), mark=2)
    assert slots.agreed(9) == 3, "what is known to be chosen needs no ballot"


def test_another_promise_begins_at_what_is_chosen() -> None:
    slots, _, _ = slots_of(value(1, 9), value(2, 9), mark=1)
    assert slots.agreed(9) == 2
    slots.begin()
    assert slots.agreed(12) == 1


def test_what_is_accepted_already_is_not_written_again() -> None:
    slots, _, writes = slots_of(value(1, 9), value(2, 9))
    slots.accept(9, [value(1, 9), value(2, 9)])
    assert written(writes) == []
    slots.accept(9, [value(2, 9), value(3, 9)])
    assert written(writes)[0].entries == (value(3, 9),)


def test_a_chosen_value_is_never_replaced() -> None:
    slots, log, writes = slots_of(value(1, 1, b"a"), value(2, 1, b"b"), mark=1)
    slots.accept(9, [value(1, 9, b"a"), value(2, 9, b"c")])
    assert log.generation_at(1) == 1 and written(writes)[0].entries == (value(2, 9, b"c"),)
    with pytest.raises(SafetyViolation, match="another value for slot 1"):
        slots.accept(9, [value(1, 9, b"x")])


def test_what_is_chosen_is_written_with_the_next_entries_and_nothing_waits_for_it() -> None:
    slots, _, writes = slots_of(value(1, 9), value(2, 9), mark=2)
    slots.accept(9, [value(3, 9)])
    assert writes.after_hard_state == 0
    assert written(writes)[0].hard_state == HardState(9, chosen=2)


# Acceptor


def test_a_promise_leaves_after_it_is_durable_and_tells_what_is_accepted() -> None:
    node = core([value(1, 1), value(2, 1), value(3, 2)], hard=HardState(2, chosen=1), node="n3")
    node.step(1_000 * MS, "n1", Prepare(4, 2))
    effects = node.ready().effects
    append = next(effect for effect in effects if isinstance(effect, Append))
    reply = next(effect for effect in effects if isinstance(effect, Send))
    assert append.hard_state == HardState(4, chosen=1)
    assert reply.after == append.io_id
    expected = promise(4, 2, value(2, 1), value(3, 2), mark=1)
    assert reply.message == expected


def test_a_probe_changes_nothing() -> None:
    node = core(node="n3")
    node.step(1_000 * MS, "n1", Prepare(4, 1, probe=True))
    assert sent(node) == [Send("n1", Promise(0, 4, True, True, 1, (), 0, 0, 0))]
    assert node.clock.generation == 0


def test_a_promise_is_kept_against_lower_ballots() -> None:
    node = core(hard=HardState(5), node="n3")
    node.step(1, "n1", Prepare(4, 1))
    node.step(1, "n1", Accept(4, 1, (value(1, 4),), 0))
    node.step(1, "n1", Heartbeat(4, 7, 1))
    refused, accepted, beaten = (send.message for send in sent(node))
    assert not refused.granted and refused.generation == 5
    assert accepted == Accepted(5, 1, 0, 0, 0) and beaten == HeartbeatReply(5, 0)
    assert node.log.last_index == 0


def test_acceptors_stand_by_a_leader_they_heard_a_moment_ago() -> None:
    node = core(node="n3")
    node.step(1_000 * MS, "n1", Heartbeat(1, 1, 0))
    node.ready()
    node.step(1_100 * MS, "n2", Prepare(2, 1, probe=True))
    node.step(1_100 * MS, "n2", Prepare(2, 1))
    (answer,) = messages(node, Promise)
    assert answer.probe and not answer.granted and node.clock.generation == 1
    node.step(1_100 * MS, "n2", Prepare(2, 1, transfer=True))
    assert messages(node, Promise)[0].granted, "the leader itself asked for this one"


def test_an_acceptor_that_dropped_slots_promises_nothing_over_them() -> None:
    held = Snapshot(3, 1, ("n1", "n2", "n3"), b"")
    node = core([value(4, 1)], hard=HardState(1), snapshot=held, node="n3")
    node.step(1_000 * MS, "n2", Prepare(2, 3))
    assert not messages(node, Promise)[0].granted and node.clock.generation == 1
    node.step(1_000 * MS, "n2", Prepare(2, 4))
    assert messages(node, Promise)[0].granted and node.clock.generation == 2


def test_a_long_report_comes_in_parts() -> None:
    entries = [value(slot, 1) for slot in range(1, 8)]
    node = core(entries, hard=HardState(1), node="n3", batch_entries_max=3)
    told, first = [], 1
    while first <= 7:
        node.step(1_000 * MS, "n2", Prepare(2, first))
        part = messages(node, Promise)[0]
        assert part.granted and part.end == 7
        told += part.accepted
        first = part.told + 1
    assert told == entries


def test_values_too_far_ahead_are_not_accepted() -> None:
    node = core(hard=HardState(1), node="n3")
    far = HOLES_MAX + 2
    node.step(1, "n1", Accept(1, far, (value(far, 1),), 0))
    assert messages(node, Accepted) == [Accepted(1, far, far - 1, 0, 0)]
    near = HOLES_MAX + 1
    node.step(1, "n1", Accept(1, near, (value(near, 1),), 0))
    assert messages(node, Accepted) == [Accepted(1, near, near, 0, near)]


def test_a_restarted_acceptor_says_that_it_does_not_know_what_was_chosen() -> None:
    node = core([value(1, 1), value(2, 2)], hard=HardState(2), node="n3")
    node.step(1, "n2", Heartbeat(2, 1, 2))
    assert messages(node, CatchUp) == [CatchUp(2, 0)]
    node.step(2, "n2", Accept(2, 1, (value(1, 2),), 2))
    assert node.high_water_mark == 2
    node.step(3, "n2", Heartbeat(2, 2, 2))
    assert messages(node, CatchUp) == []


def test_a_restarted_node_knows_what_it_wrote_along() -> None:
    node = core([value(1, 1), value(2, 1), value(3, 1)], hard=HardState(1, chosen=2))
    assert node.high_water_mark == 2
    assert core([value(1, 1)], hard=HardState(1, chosen=5)).high_water_mark == 1


def test_a_snapshot_keeps_what_is_accepted_above_it_under_the_ballot_held_here() -> None:
    entries = [value(slot, 1) for slot in range(1, 6)]
    node = core(entries, hard=HardState(5), node="n3")
    node.step(1, "n2", InstallSnapshot(5, 3, 4, ("n1", "n2", "n3"), 0, b"state", True))
    ready = node.ready()
    (save,) = [effect for effect in ready.effects if isinstance(effect, SaveSnapshot)]
    assert not save.reset_log and save.snapshot.generation == 1, "storage compares it with the log"
    assert node.log.last_index == 5 and node.log.base_index == 3 and node.high_water_mark == 3
    assert ready.snapshot is not None and ready.snapshot.data == b"state"


def test_a_snapshot_beyond_the_log_resets_it() -> None:
    node = core([value(1, 1)], hard=HardState(5), node="n3")
    node.step(1, "n2", InstallSnapshot(5, 3, 4, ("n1", "n2", "n3"), 0, b"state", True))
    (save,) = [effect for effect in node.ready().effects if isinstance(effect, SaveSnapshot)]
    assert save.reset_log and node.log.last_index == 3


def test_slots_below_a_snapshot_are_not_served_after_a_restart() -> None:
    """A snapshot from a leader says nothing about what was accepted below it here."""
    held = Snapshot(3, 1, ("n1", "n2", "n3"), b"")
    node = core([value(slot, 1) for slot in range(1, 6)], hard=HardState(1), snapshot=held)
    assert node.log.first_index == 4 and node.high_water_mark == 3


# Phase 1


def test_the_value_of_the_highest_ballot_is_taken_over_and_holes_get_no_ops() -> None:
    phase = PhaseOne(9, 3)
    phase.report([value(3, 4, b"a"), value(6, 2, b"d")], 6)
    phase.report([value(3, 1, b"b"), value(4, 5, b"c"), Entry(5, 9, HOLE)], 5)
    phase.report([value(3, 2, b"e")], 3)
    assert phase.proposals() == [
        value(3, 9, b"a"),
        value(4, 9, b"c"),
        Entry(5, 9, "noop"),
        value(6, 9, b"d"),
    ]


def test_a_promise_counts_once_it_is_whole_and_parts_count_in_order() -> None:
    phase = PhaseOne(9, 1)
    first = Promise(9, 9, True, False, 1, (value(1, 1),), 1, 2, 0)
    second = Promise(9, 9, True, False, 2, (value(2, 1),), 2, 2, 0)
    assert not phase.hear("n2", second), "not asked for yet"
    assert phase.hear("n2", first) and not phase.hear("n2", first)
    assert phase.marks == {} and phase.asks_from("n2") == 2
    assert phase.hear("n2", second) and phase.marks == {"n2": 0}


def test_the_first_proposer_of_all_fills_slot_1() -> None:
    """Index 0 means "not here" to a reader: a cluster that was never written to has an index."""
    assert PhaseOne(3, 1).proposals() == [Entry(1, 3, "noop")]
    assert PhaseOne(3, 2).proposals() == []
    pump = Pump(3, parts=PARTS)
    pump.elect("n1")
    assert pump.do("n1", get("x")).status == "ok"


def test_a_proposer_asks_only_after_its_own_promise_is_durable_and_counts_it_then() -> None:
    node = core(prevote=False)
    node.tick(1_000 * MS)
    effects = node.ready().effects
    append = next(effect for effect in effects if isinstance(effect, Append))
    asks = [effect for effect in effects if isinstance(effect, Send)]
    assert [ask.to for ask in asks] == ["n2", "n3"]
    assert all(ask.after == append.io_id for ask in asks)
    node.step(1_001 * MS, "n2", promise(1, 1))
    assert node.role == "candidate", "one promise of three that is durable"
    node.persisted(1_002 * MS, append.io_id)
    assert node.role == "leader"


def test_questions_are_repeated_until_the_promise_is_whole() -> None:
    """Found by a seed: one lost part of a long report ended each candidacy."""
    node = core()
    ballot = stand(node)
    part = Promise(ballot, ballot, True, False, 1, (value(1, 0),), 1, 2, 0)
    node.step(1_001 * MS, "n2", part)
    assert messages(node, Prepare) == [Prepare(ballot, 2)]
    node.tick(1_060 * MS)
    asked = {send.to: send.message for send in sent(node)}
    assert asked == {"n2": Prepare(ballot, 2), "n3": Prepare(ballot, 1)}
    assert node.deadline_ns == 1_110 * MS


def test_each_part_of_a_promise_prolongs_the_candidacy() -> None:
    node = core()
    ballot = stand(node)
    for slot in range(1, 30):
        now = 1_000 * MS + slot * 100 * MS
        node.step(now, "n2", Promise(ballot, ballot, True, False, slot, (), slot, 30, 0))
        node.tick(now + 1)
    assert node.role == "candidate" and node.clock.generation == ballot


def test_a_new_leader_proposes_what_it_heard_before_anything_else() -> None:
    node = core([value(1, 1), value(2, 1, b"own")], hard=HardState(1, chosen=1))
    ballot = stand(node)
    node.step(1_001 * MS, "n3", promise(ballot, 2, value(2, 3, b"theirs"), value(4, 2), mark=1))
    assert node.role == "leader"
    effects = node.ready().effects
    (append,) = [effect for effect in effects if isinstance(effect, Append)]
    expected = (value(2, ballot, b"theirs"), Entry(3, ballot, "noop"), value(4, ballot))
    assert append.entries == expected
    sends = [e for e in effects if isinstance(e, Send) and type(e.message) is Accept]
    told = {send.to: send.message for send in sends}
    assert told["n3"] == Accept(ballot, 2, expected, 1)
    assert node.propose(1_002 * MS, [b"new"]) == (5, ballot)


def test_reads_wait_for_the_slots_that_phase_1_found_open() -> None:
    node = core([value(1, 1), value(2, 1)], hard=HardState(1, chosen=1))
    ballot = stand(node)
    node.step(1_001 * MS, "n2", promise(ballot, 2, mark=1))
    node.read(1_002 * MS, 7)
    beat = messages(node, Heartbeat)[-1]
    node.step(1_003 * MS, "n2", HeartbeatReply(ballot, beat.round))
    assert node.ready().reads == []
    node.step(1_004 * MS, "n2", Accepted(ballot, 2, 2, 2, 2))
    node.persisted(1_005 * MS, node.node.writes.io_issued)
    beat = messages(node, Heartbeat)[-1]
    node.step(1_006 * MS, "n2", HeartbeatReply(ballot, beat.round))
    assert node.ready().reads == [(7, 2)]


# Phase 2


def leader_of(*, count: int = 3, slots: int = 3) -> Consensus:
    """A leader of ballot 1 with slot 1 chosen, and ``slots`` more proposed; nothing durable."""
    node = core(count=count)
    ballot = stand(node)
    for peer in [f"n{i + 2}" for i in range(count // 2)]:
        node.step(1_001 * MS, peer, promise(ballot, 1))
    assert node.role == "leader"
    node.ready()
    node.persisted(1_002 * MS, node.node.writes.io_issued)
    for peer in [f"n{i + 2}" for i in range(count // 2)]:
        node.step(1_003 * MS, peer, Accepted(ballot, 1, 1, 1, 1))
    assert node.high_water_mark == 1
    node.propose(1_004 * MS, [b"v"] * slots)
    node.ready()
    return node


def test_slots_are_counted_one_by_one_and_the_mark_stops_below_a_gap() -> None:
    node = leader_of()
    node.persisted(1_005 * MS, node.node.writes.io_issued)
    node.step(1_006 * MS, "n2", Accepted(1, 3, 4, 1, 4))
    assert node.high_water_mark == 1, "slot 2 is not chosen"
    node.step(1_007 * MS, "n3", Accepted(1, 2, 2, 2, 2))
    assert node.high_water_mark == 4, "slot 2 by n3, slots 3 and 4 by n2"


def test_the_proposer_counts_itself_only_for_what_is_durable() -> None:
    node = leader_of()
    node.step(1_006 * MS, "n2", Accepted(1, 2, 4, 4, 4))
    assert node.high_water_mark == 1
    node.persisted(1_007 * MS, node.node.writes.io_issued)
    assert node.high_water_mark == 4


def test_an_acceptor_counts_once_per_slot_and_only_under_this_ballot() -> None:
    node = leader_of(count=5)
    node.persisted(1_005 * MS, node.node.writes.io_issued)
    for _ in range(3):
        node.step(1_006 * MS, "n2", Accepted(1, 2, 4, 4, 4))
    assert node.high_water_mark == 1
    node.step(1_007 * MS, "n3", Accepted(0, 2, 4, 4, 4))
    assert node.high_water_mark == 1
    node.step(1_008 * MS, "n3", Accepted(1, 2, 4, 4, 4))
    assert node.high_water_mark == 4


def test_a_late_promise_tells_where_an_acceptor_is() -> None:
    node = leader_of()
    node.step(1_005 * MS, "n3", promise(1, 1))
    (accept,) = messages(node, Accept)
    assert accept.first == 1 and len(accept.entries) == 4


def test_leftovers_above_the_last_slot_are_overwritten() -> None:
    """They are of an older ballot, and no promise told of them: they are not chosen."""
    node = leader_of(slots=1)
    node.step(1_005 * MS, "n3", Accepted(1, 1, 0, 0, 4))
    assert [node.log.entry_at(slot).kind for slot in (3, 4)] == ["noop", "noop"]  # type: ignore[union-attr]
    node.step(1_006 * MS, "n3", Accepted(1, 1, 0, 0, 4))
    assert node.log.last_index == 4


def test_leftovers_that_a_late_promise_tells_of_are_overwritten() -> None:
    """Found by a seed: an acceptor that needs nothing else would keep them for ever."""
    node = leader_of(slots=1)
    node.step(1_005 * MS, "n3", promise(1, 1, end=5, mark=1))
    assert node.log.last_index == 5
    (accept,) = messages(node, Accept)[-1:]
    assert accept.entries[-1] == Entry(5, 1, "noop")


def test_an_acceptor_that_forgot_what_was_chosen_is_sent_it_again_and_still_counts() -> None:
    node = leader_of()
    node.persisted(1_005 * MS, node.node.writes.io_issued)
    node.step(1_006 * MS, "n2", Accepted(1, 2, 4, 4, 4))
    node.ready()
    node.step(1_007 * MS, "n2", CatchUp(1, 0))
    (accept,) = messages(node, Accept)
    assert accept.first == 1 and accept.high_water_mark == 4 and len(accept.entries) == 4
    assert node.high_water_mark == 4
    node.tick(1_200 * MS)
    beats = [send.message for send in sent(node) if send.to == "n2"]
    marks = [beat.high_water_mark for beat in beats if type(beat) is Heartbeat]
    assert marks == [0], "no further than the acceptor can follow"


def test_values_are_sent_under_the_ballot_of_their_sender() -> None:
    log = ReplicatedLog.recover(Recovered(HardState(), None, [value(1, 1), value(2, 4)]))
    two = PhaseTwo("n1", 7, log, ["n2"], {"n2": 0}, config=ClusterConfig(), now_ns=0)
    (send,) = two.send("n2", 0, 2, None)
    assert send.message == Accept(7, 1, (value(1, 7), value(2, 7)), 2)


def test_a_majority_is_of_the_voters() -> None:
    log = ReplicatedLog.recover(Recovered(HardState(), None, [value(1, 7), value(2, 7)]))
    voters = Configuration(("n1", "n2", "n3", "n4"))
    peers = ["n2", "n3", "n4"]
    two = PhaseTwo("n1", 7, log, peers, {}, config=ClusterConfig(), now_ns=0)
    assert two.chosen_up_to(voters, durable_index=2) == 0
    two.accepted("n2", Accepted(7, 1, 2, 2, 2), 0)
    assert two.chosen_up_to(voters, durable_index=2) == 0, "two of four"
    two.accepted("n3", Accepted(7, 2, 2, 0, 2), 0)
    assert two.chosen_up_to(voters, durable_index=2) == 0 and two.is_chosen(2, voters)
    two.accepted("n4", Accepted(7, 1, 1, 1, 2), 0)
    assert two.chosen_up_to(voters, durable_index=2) == 2


# The whole


def test_members_are_the_founders_for_ever() -> None:
    pump = Pump(3, parts=PARTS)
    pump.elect("n1")
    refused = pump.nodes["n1"].consensus.change_members(pump.now, Change("remove-member", "n3"))
    assert refused is not None and refused.status == "fail"
    assert "remove-member n3 is not possible" in refused.why
    assert pump.do("n1", Command("remove-member", "n3")).error == refused.why


def test_any_node_may_lead_and_learns_what_was_chosen() -> None:
    """Where Raft would refuse it the votes: n3 has nothing, and n2 tells it everything."""
    pump = Pump(3, parts=PARTS)
    pump.elect("n1")
    pump.isolate("n3")
    for seq in range(1, 5):
        assert pump.do("n1", put("x", seq), seq=seq, first=seq).status == "ok"
    pump.crash("n1")
    pump.cut = set()
    pump.elect("n3")
    pump.run(200 * MS)
    assert pump.do("n3", get("x")).value == 4


def test_a_transfer_is_asked_for_once_the_target_has_everything() -> None:
    pump = Pump(3, parts=PARTS)
    pump.elect("n1")
    pump.isolate("n3")
    assert pump.do("n1", put("x", 1), seq=1).status == "ok"
    pump._carry_out("n1", pump.nodes["n1"].transfer_leadership(pump.now, "n3"))
    assert not [m for _, _, m in pump.wire if isinstance(m, TimeoutNow)]
    assert pump.do("n1", put("x", 2), seq=2).status == "retry"
    pump.cut = set()
    pump.run(200 * MS)
    assert pump.nodes["n3"].consensus.role == "leader"
