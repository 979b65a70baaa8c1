"""Raft, scenario by scenario: each test says which rule of which pattern it holds to the letter."""

from __future__ import annotations

import random

import pytest
from core_pump import Pump, get, put
from core_single import make_leader, raft, sent

from cluster.ablations.registry import find
from cluster.channel.request_waiting_list import RequestWaitingList, Waiter
from cluster.config import MS, ClusterConfig
from cluster.consensus.interface import SafetyViolation
from cluster.core.replica import ReplicaParts
from cluster.ports import Append, Note, Send
from cluster.wire import (
    AppendEntries,
    AppendReply,
    Command,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    RequestVote,
    TimeoutNow,
    VoteReply,
)

# Leader and Followers, Generation Clock


def test_a_vote_leaves_only_after_it_is_durable() -> None:
    core = raft()
    core.step(400 * MS, "n2", RequestVote(1, "n2", 0, 0))
    effects = core.ready().effects
    append = next(e for e in effects if isinstance(e, Append))
    reply = next(e for e in effects if isinstance(e, Send))
    assert append.hard_state == HardState(1, "n2")
    assert isinstance(reply.message, VoteReply) and reply.message.granted
    assert reply.after == append.io_id
    core.persisted(401 * MS, append.io_id)
    core.step(402 * MS, "n2", RequestVote(1, "n2", 0, 0))
    again = sent(core)[0]
    assert again.after == 0 and again.message.granted  # type: ignore[union-attr]


def test_one_vote_a_generation_restart_included() -> None:
    core = raft(generation=5, voted_for="n2")
    core.step(1_000 * MS, "n3", RequestVote(5, "n3", 9, 5))
    reply = sent(core)[0].message
    assert isinstance(reply, VoteReply) and not reply.granted


def test_a_candidate_asks_only_after_its_own_vote_is_durable_and_counts_it_then() -> None:
    core = raft(config=ClusterConfig(prevote=False))
    core.tick(700 * MS)
    effects = core.ready().effects
    append = next(e for e in effects if isinstance(e, Append))
    asks = [e for e in effects if isinstance(e, Send)]
    assert {a.to for a in asks} == {"n2", "n3"} and all(a.after == append.io_id for a in asks)
    core.persisted(701 * MS, append.io_id)
    assert core.role == "candidate"
    core.step(702 * MS, "n3", VoteReply(1, 1, True))
    assert core.role == "leader"


def test_a_lone_voter_leads_only_once_its_vote_is_durable() -> None:
    core = raft(count=1)
    core.tick(700 * MS)
    assert core.role == "candidate"
    core.ready()
    core.persisted(701 * MS, core.node.writes.io_issued)
    assert core.role == "leader"


@pytest.mark.parametrize(
    ("last", "granted"),
    [((3, 2), True), ((3, 3), True), ((9, 1), False), ((2, 2), False), ((1, 3), True)],
)
def test_only_an_up_to_date_candidate_gets_the_vote(last: tuple[int, int], granted: bool) -> None:
    core = raft([(1, 1), (2, 1), (3, 2)], generation=2)
    core.step(1_000 * MS, "n2", RequestVote(4, "n2", *last))
    reply = sent(core)[0].message
    assert isinstance(reply, VoteReply) and reply.granted is granted


def test_prevote_changes_nothing_and_is_refused_while_a_leader_is_heard() -> None:
    core = raft()
    core.step(1_000 * MS, "n2", Heartbeat(1, 1, 0))
    core.step(1_100 * MS, "n3", RequestVote(2, "n3", 9, 9, prevote=True))
    core.step(1_100 * MS, "n3", RequestVote(7, "n3", 9, 9))
    replies = [s.message for s in sent(core) if isinstance(s.message, VoteReply)]
    assert [r.granted for r in replies] == [False] and core.clock.generation == 1
    core.step(1_400 * MS, "n3", RequestVote(2, "n3", 9, 9, prevote=True))
    assert sent(core)[0].message == VoteReply(1, 2, True, True)
    assert core.clock.generation == 1 and core.clock.voted_for == ""


def test_a_node_that_was_cut_off_does_not_raise_generations() -> None:
    pump = Pump(3)
    pump.run(2_000 * MS)
    leader = pump.leader()
    other = next(n for n in pump.names if n != leader)
    generation = pump.nodes[leader].consensus.clock.generation
    pump.isolate(other)
    pump.run(30_000 * MS)
    assert pump.nodes[other].consensus.clock.generation == generation
    pump.cut = set()
    pump.run(1_000 * MS)
    assert pump.leader() == leader and pump.nodes[leader].consensus.clock.generation == generation


def test_a_refusal_of_the_past_carries_the_generation_after_it_is_durable() -> None:
    core = raft(generation=3)
    core.step(1, "n2", AppendEntries(5, 0, 0, (), 0))
    effects = core.ready().effects
    io = next(e for e in effects if isinstance(e, Append)).io_id
    core.step(2, "n3", AppendEntries(4, 0, 0, (Entry(1, 4, "noop"),), 1))
    core.step(2, "n3", Heartbeat(4, 9, 0))
    refused = sent(core)
    assert [s.message.generation for s in refused] == [5, 5]
    assert all(s.after == io for s in refused)
    assert core.log.last_index == 0


def test_a_deposed_leader_arms_its_election_timer() -> None:
    core = raft()
    make_leader(core)
    core.step(5_000 * MS, "n2", HeartbeatReply(9, 1))
    assert core.role == "follower" and core.clock.generation == 9
    assert 5_000 * MS < core.deadline_ns <= 5_600 * MS


def test_a_leader_that_hears_no_quorum_steps_down() -> None:
    pump = Pump(5)
    pump.run(2_000 * MS)
    leader = pump.leader()
    pump.cut = {(a, leader) for a in pump.names}
    pump.run(1_500 * MS)
    assert pump.nodes[leader].consensus.role != "leader"
    assert ("lost-quorum") in [note.event for name, note in pump.notes if name == leader]


class AnyEntryAnswers(RequestWaitingList):
    """An entry is compared with no generation when it is applied."""

    def applied(self, index: int, generation: int) -> tuple[Waiter, bool] | None:
        held = super().applied(index, generation)
        return held and (held[0], True)


class KeepsWaiters(RequestWaitingList):
    """Waiters outlive the leadership that took them."""

    def abandon(self, generation: int) -> list[Waiter]:
        return []


@pytest.mark.parametrize(
    ("waiting", "status", "why"),
    [
        (RequestWaitingList, "unknown", "n1 lost leadership"),
        (AnyEntryAnswers, "unknown", "n1 lost leadership"),
        (KeepsWaiters, "unknown", "another entry took this one's place in the log"),
        (find("A27b").override, "ok", ""),
    ],
)
def test_two_rules_keep_a_deposed_leader_from_answering_for_anothers_entry(
    waiting: type[RequestWaitingList], status: str, why: str
) -> None:
    """Either is enough, and both ask how an entry is named. With a name that has no generation a
    client is told ok for a write that was cut."""
    pump = Pump(parts=ReplicaParts(waiting=waiting))
    pump.elect("n1")
    pump.isolate("n1")
    pump.ask("n1", put("x", 0), seq=1, session="cut")  # where n2's own entry comes
    cut = pump.ask("n1", put("x", 1), seq=2, session="cut")
    pump.deliver_all()
    pump.elect("n2")
    assert pump.do("n2", put("y", 2), seq=1, session="kept").status == "ok"
    pump.cut = set()
    pump.run(1_000 * MS)
    answer = pump.answer(cut)
    assert answer is not None and (answer.status, answer.error) == (status, why)
    assert pump.do("n2", get("x")).value is None


def test_transfer_hands_over_to_an_up_to_date_follower_at_once() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(100 * MS)
    pump._carry_out("n1", pump.nodes["n1"].transfer_leadership(pump.now, "n3"))
    pump.deliver_all()
    assert (
        pump.nodes["n3"].consensus.role == "leader"
        and pump.nodes["n1"].consensus.role == "follower"
    )


def test_transfer_waits_for_the_target_refuses_commands_and_gives_up() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.isolate("n3")
    assert pump.do("n1", put("x", 1), seq=1).status == "ok"
    pump._carry_out("n1", pump.nodes["n1"].transfer_leadership(pump.now, "n3"))
    assert not [m for _, _, m in pump.wire if isinstance(m, TimeoutNow)]
    assert pump.do("n1", put("x", 2), seq=2).status == "retry"
    pump.run(700 * MS)
    assert pump.nodes["n1"].consensus.role == "leader"
    assert pump.do("n1", put("x", 2), seq=2).status == "ok"


# Replicated Log


def test_an_acknowledgement_waits_for_its_entries_even_when_they_come_twice() -> None:
    core = raft()
    message = AppendEntries(1, 0, 0, (Entry(1, 1, "noop"), Entry(2, 1, "noop")), 0)
    core.step(1, "n2", message)
    first = core.ready().effects
    io = next(e for e in first if isinstance(e, Append)).io_id
    core.step(2, "n2", message)
    second = core.ready().effects
    assert not [e for e in second if isinstance(e, Append)]
    for effects in (first, second):
        reply = next(e for e in effects if isinstance(e, Send))
        assert reply.message == AppendReply(1, True, 2, 0) and reply.after == io


def test_a_write_completed_for_entries_since_replaced_makes_nothing_durable() -> None:
    """etcd's append ABA race: the same index, another entry, and the old completion."""
    core = raft()
    core.step(1, "n2", AppendEntries(1, 0, 0, (Entry(1, 1, "noop"), Entry(2, 1, "noop")), 0))
    old = core.node.writes.io_issued
    core.ready()
    core.step(2, "n3", AppendEntries(2, 0, 0, (Entry(1, 2, "noop"), Entry(2, 2, "noop")), 0))
    core.ready()
    core.persisted(3, old)
    assert core.node.writes.durable_index == 0
    core.step(4, "n3", AppendEntries(2, 2, 2, (), 0))
    assert sent(core)[0].after == old + 1
    core.persisted(5, old + 1)
    assert core.node.writes.durable_index == 2


def test_an_old_shorter_append_cuts_nothing() -> None:
    core = raft()
    entries = tuple(Entry(i, 1, "noop") for i in range(1, 6))
    core.step(1, "n2", AppendEntries(1, 0, 0, entries, 0))
    core.step(2, "n2", AppendEntries(1, 0, 0, entries[:2], 0))
    assert core.log.last_index == 5


def test_a_conflict_cuts_from_the_first_entry_that_differs() -> None:
    core = raft([(1, 1), (2, 1), (3, 1), (4, 1)], generation=1)
    news = (Entry(2, 1, "noop"), Entry(3, 2, "noop"))
    core.step(1, "n2", AppendEntries(2, 1, 1, news, 0))
    append = next(e for e in core.ready().effects if isinstance(e, Append))
    assert [e.index for e in append.entries] == [3] and core.log.last_index == 3


def test_a_conflict_with_what_is_committed_stops_the_node() -> None:
    core = raft([(1, 1), (2, 1)], generation=1)
    core.step(1, "n2", AppendEntries(1, 2, 1, (), 2))
    with pytest.raises(SafetyViolation, match="everything up to 2 is committed"):
        core.step(2, "n3", AppendEntries(2, 1, 1, (Entry(2, 2, "noop"),), 0))


def test_a_follower_does_not_trust_the_mark_beyond_what_it_shares() -> None:
    """A17: a divergent tail, an empty append below it, a mark above it."""
    core = raft([(1, 1), (2, 1), (3, 1)], generation=1)
    core.step(1, "n2", AppendEntries(2, 1, 1, (), 3))
    assert core.high_water_mark == 1


def test_conflict_back_off_skips_whole_generations() -> None:
    """Figure 7 of the paper, case f: a follower with long wrong generations costs few rounds."""
    leader = raft([(i, g) for i, g in enumerate([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], 1)], generation=7)
    follower_log = [1, 1, 1] + [2] * 3 + [3] * 40
    follower = raft([(i, g) for i, g in enumerate(follower_log, 1)], node="n2", generation=7)
    queue = [s.message for s in make_leader(leader) if s.to == "n2"]
    rounds = 0
    while queue:
        message = queue.pop(0)
        if isinstance(message, AppendEntries):
            rounds += 1
        follower.step(2_000 * MS, "n1", message)
        for reply in sent(follower):
            leader.step(2_000 * MS, "n2", reply.message)
        queue += [s.message for s in sent(leader) if s.to == "n2"]
    assert follower.log.last_index == leader.log.last_index == 11
    assert [follower.log.generation_at(i) for i in range(1, 12)] == [
        leader.log.generation_at(i) for i in range(1, 12)
    ]
    assert rounds <= 4


def test_lost_appends_are_sent_again() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(100 * MS)
    for seq in range(1, 6):
        pump.ask("n1", put("x", seq), seq=seq, first=seq)
        pump.wire = [w for w in pump.wire if not isinstance(w[2], AppendEntries)]
    pump.run(300 * MS)
    assert pump.do("n1", get("x")).value == 5
    assert {node.consensus.log.last_index for node in pump.nodes.values()} == {6}


def test_the_window_bounds_what_is_under_way() -> None:
    pump = Pump(3, config=ClusterConfig(inflight_max=4, batch_entries_max=1))
    pump.elect("n1")
    pump.cut = {("n1", "n3")}
    for seq in range(1, 30):
        pump.do("n1", put("x", seq), seq=seq, first=seq)
    pump.cut = set()
    pump.wire = []
    pump.run(51 * MS)
    for _ in range(60):
        appends = [m for _, to, m in pump.wire if to == "n3" and isinstance(m, AppendEntries)]
        assert len(appends) <= 4
        pump.now += 50 * MS
        pump.tick("n1")
        while pump.wire and not (len(pump.wire) and pump.wire[0][1] == "n3"):
            pump.deliver()
        for _ in range(8):
            if pump.wire:
                pump.deliver()
    pump.run(500 * MS)
    assert pump.nodes["n3"].consensus.log.last_index == pump.nodes["n1"].consensus.log.last_index


# High-Water Mark


def test_figure_8_an_old_entry_is_not_committed_by_counting() -> None:
    """S1 of generation 4 has its entry of generation 2 on a majority: it is not committed yet."""
    core = raft([(1, 1), (2, 2)], count=5, generation=3)
    make_leader(core)
    assert core.clock.generation == 4 and core.log.last_index == 3
    for peer in ("n2", "n3"):
        core.step(1_001 * MS, peer, AppendReply(4, True, 2, 1))
    assert core.high_water_mark == 0, "S5 could still win with generation 3 and overwrite it"
    core.ready()
    core.persisted(1_002 * MS, core.node.writes.io_issued)
    for peer in ("n2", "n3"):
        core.step(1_003 * MS, peer, AppendReply(4, True, 3, 2))
    assert core.high_water_mark == 3, "its own entry commits all below it"


def test_a_leader_counts_its_own_log_only_where_durable() -> None:
    core = raft(generation=0)
    make_leader(core)
    core.step(1_001 * MS, "n2", AppendReply(1, True, 1, 0))
    assert core.high_water_mark == 0
    core.persisted(1_002 * MS, core.node.writes.io_issued)
    assert core.high_water_mark == 1


def test_entries_on_a_majority_of_followers_are_committed_before_the_leaders_disk() -> None:
    core = raft()
    make_leader(core)
    core.step(1_001 * MS, "n2", AppendReply(1, True, 1, 0))
    core.step(1_001 * MS, "n3", AppendReply(1, True, 1, 0))
    assert core.high_water_mark == 1


def test_an_acknowledgement_of_another_generation_does_not_count() -> None:
    """A19: the answer to this node's earlier leadership arrives in its next one."""
    core = raft(generation=4)
    make_leader(core)
    core.persisted(1_000 * MS, 0)
    core.step(1_001 * MS, "n2", AppendReply(4, True, 1, 0))
    core.step(1_001 * MS, "n3", AppendReply(4, True, 1, 0))
    assert core.high_water_mark == 0


# HeartBeat


def test_heartbeats_and_their_answers_wait_for_no_entries() -> None:
    pump = Pump(3, auto_sync=False)
    for _ in range(40):
        for name in pump.names:
            pump.sync(name)
        pump.run(50 * MS)
    leader = pump.leader()
    for seq in range(1, 4):
        pump.ask(leader, put("x", seq), seq=seq)
    pump.run(10_000 * MS)  # no disk completes anything
    assert pump.leader() == leader
    assert (
        pump.nodes[leader].consensus.high_water_mark < pump.nodes[leader].consensus.log.last_index
    )


# Snapshots


def test_a_follower_behind_the_low_water_mark_gets_a_snapshot_in_chunks() -> None:
    config = ClusterConfig(snapshot_entries=20, snapshot_keep_entries=5, snapshot_chunk_bytes=100)
    pump = Pump(3, config=config)
    pump.elect("n1")
    pump.isolate("n3")
    for seq in range(1, 60):
        pump.do("n1", put(f"k{seq}", seq), seq=seq, first=seq)
    assert (
        pump.nodes["n1"].consensus.log.first_index > pump.nodes["n3"].consensus.log.last_index + 1
    )
    pump.cut = set()
    chunks: list[int] = []
    deliver = pump.nodes["n3"].consensus.step

    def count(now_ns: int, source: str, message: Message) -> None:
        if isinstance(message, InstallSnapshot):
            chunks.append(len(message.data))
        deliver(now_ns, source, message)

    pump.nodes["n3"].consensus.step = count  # type: ignore[method-assign]
    pump.run(500 * MS)
    assert len(chunks) > 5 and max(chunks) == 100
    assert pump.nodes["n3"].applied == pump.nodes["n1"].applied
    assert pump.nodes["n3"].state_hash() == pump.nodes["n1"].state_hash()
    pump.crash("n3")
    pump.restart("n3")
    pump.run(500 * MS)
    assert pump.nodes["n3"].state_hash() == pump.nodes["n1"].state_hash()


def test_a_snapshot_transfer_survives_lost_repeated_and_reordered_chunks() -> None:
    config = ClusterConfig(snapshot_entries=20, snapshot_keep_entries=2, snapshot_chunk_bytes=64)
    for seed in range(12):
        pump = Pump(3, config=config, seed=seed)
        pump.elect("n1")
        pump.isolate("n3")
        for seq in range(1, 50):
            pump.do("n1", put(f"k{seq}", seq), seq=seq, first=seq)
        pump.cut = set()
        dice = random.Random(seed)
        for _ in range(400):
            pump.now += 20 * MS
            pump.tick(pump.leader())
            for _ in range(6):
                if pump.wire:
                    fate, position = dice.random(), dice.randrange(len(pump.wire))
                    if fate < 0.2:
                        pump.wire.pop(position)
                    else:
                        pump.deliver(position, keep=fate < 0.4)
            del pump.wire[:-50]
        pump.run(4_000 * MS)
        assert len({n.state_hash() for n in pump.nodes.values()}) == 1


def test_a_snapshot_that_is_no_news_changes_nothing() -> None:
    core = raft([(1, 1), (2, 1), (3, 1)], generation=1)
    core.step(1, "n2", AppendEntries(1, 3, 1, (), 3))
    core.ready()
    core.step(2, "n2", InstallSnapshot(1, 2, 1, ("n1", "n2", "n3"), 0, b"old", True))
    ready = core.ready()
    assert ready.snapshot is None and core.high_water_mark == 3 and core.log.last_index == 3


def test_a_snapshot_keeps_a_log_that_agrees_and_drops_one_that_does_not() -> None:
    for generation, last in ((1, 5), (2, 3)):
        core = raft([(i, 1) for i in range(1, 6)], generation=2)
        members = ("n1", "n2", "n3")
        core.step(1, "n2", InstallSnapshot(2, 3, generation, members, 0, b"s", True))
        assert core.log.last_index == last and core.high_water_mark == 3
        save = core.ready().effects[0]
        assert save.reset_log is (last == 3)  # type: ignore[union-attr]


def test_notes_tell_the_story() -> None:
    pump = Pump(3)
    pump.elect("n1")
    events = [note.event for name, note in pump.notes if name == "n1" and isinstance(note, Note)]
    assert events == ["campaigning", "leader-elected"]


def test_oneself_and_answers_of_strangers_are_not_heard() -> None:
    core = raft()
    core.step(1, "n1", Heartbeat(8, 1, 0))
    core.step(1, "n9", VoteReply(8, 8, True))
    core.step(1, "n9", HeartbeatReply(8, 1))
    assert core.clock.generation == 0 and sent(core) == []
    core.step(1, "n9", Heartbeat(8, 1, 0))  # this node's configuration may be an old one
    assert core.clock.generation == 8 and core.leader == "n9"


def test_commands_that_gather_while_the_disk_writes_share_a_batch() -> None:
    pump = Pump(3, auto_sync=False)
    for _ in range(40):
        for name in pump.names:
            pump.sync(name)
        pump.run(50 * MS)
    leader = pump.leader()
    for seq in range(1, 11):
        pump.ask(leader, Command("incr", "x", (1,)), session=f"s{seq}", seq=1)
    assert [len(w.entries) for w in pump.stores[leader].queue if isinstance(w, Append)] == [1]
    pump.sync_one(leader)
    assert [len(w.entries) for w in pump.stores[leader].queue if isinstance(w, Append)] == [9]
