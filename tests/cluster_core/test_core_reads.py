"""ReadIndex, lease reads and reads through a follower, case by case."""

from __future__ import annotations

from core_pump import Pump, get
from core_single import make_leader, raft, sent

from cluster.channel.request_waiting_list import Waiter
from cluster.config import MS
from cluster.consensus.interface import Consensus
from cluster.core.key_value import KeyValue
from cluster.core.parts import ReplicaParts
from cluster.core.pending_reads import PendingReads
from cluster.core.state_machine import MachineParts
from cluster.ports import Send
from cluster.wire import (
    AppendReply,
    Command,
    Heartbeat,
    HeartbeatReply,
    ReadIndex,
    ReadIndexReply,
    Request,
)


def reading() -> tuple[Consensus, Heartbeat]:
    """A leader that was asked for read 7, and the round which it has sent for it."""
    core = raft()
    make_leader(core)
    core.persisted(1_000 * MS, core.node.writes.io_issued)
    core.step(1_001 * MS, "n2", AppendReply(1, True, 1, 0))
    core.ready()
    assert core.read(1_002 * MS, 7)
    beat = next(s.message for s in sent(core) if isinstance(s.message, Heartbeat))
    return core, beat


def test_a_read_needs_a_round_sent_after_it() -> None:
    core, beat = reading()
    core.step(1_003 * MS, "n2", HeartbeatReply(1, beat.round - 1))
    assert core.ready().reads == [], "an answer to an earlier round proves nothing"
    core.step(1_004 * MS, "n2", HeartbeatReply(1, beat.round))
    assert core.ready().reads == [(7, 1)]


def test_a_read_is_validated_once() -> None:
    validated: list[str] = []

    class Counting(KeyValue):
        __slots__ = ()

        def problem(self, command: Command) -> str:
            validated.append(command.op)
            return super().problem(command)

    pump = Pump(1, parts=ReplicaParts(machine=MachineParts(keys=Counting)))
    pump.run(1_000 * MS)
    assert pump.do("n1", get("x")).status == "ok"
    assert validated == ["get"]
    assert pump.do("n1", Command("get", "x", (-1,))).status == "fail"
    assert validated == ["get", "get"]


def test_reads_share_rounds() -> None:
    core = raft()
    make_leader(core)
    core.persisted(1_000 * MS, core.node.writes.io_issued)
    core.step(1_001 * MS, "n2", AppendReply(1, True, 1, 0))
    core.ready()
    for token in range(50):
        core.read(1_002 * MS, token)
    beats = [s.message for s in sent(core) if isinstance(s.message, Heartbeat)]
    assert len(beats) == 2, "one round, to two followers"
    core.step(1_003 * MS, "n2", HeartbeatReply(1, beats[0].round))
    ready = core.ready()
    assert ready.reads == [(0, 1)], "the others came after that round was sent"
    core.step(1_004 * MS, "n3", HeartbeatReply(1, beats[0].round + 1))
    assert core.ready().reads == [(token, 1) for token in range(1, 50)]


def ask_together(pump: Pump, name: str, modes: list[str], *, timeout_ns: int = 0) -> None:
    """Reads of different clients that arrive in one event; the connection is the place."""
    requests = [
        (place, Request(place, f"s{place}", 0, 1, get("x"), mode, timeout_ns or 5_000 * MS))
        for place, mode in enumerate(modes, 1)
    ]
    pump._carry_out(name, pump.nodes[name].on_clients(pump.now, requests))


def rounds_of(pump: Pump) -> set[int]:
    return {m.round for _, _, m in pump.wire if isinstance(m, Heartbeat)}


def test_reads_that_arrive_together_share_an_index_and_a_round() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(100 * MS)
    ask_together(pump, "n1", ["linearizable"] * 20)
    assert len(rounds_of(pump)) == 1
    pump.deliver_all()
    assert sorted(r.id for _, _, r in pump.replies if r.status == "ok") == list(range(1, 21))
    ask_together(pump, "n1", ["linearizable"])
    assert len(rounds_of(pump)) == 1, "a later event is another round"
    pump.deliver_all()


def test_a_follower_asks_its_leader_once_for_reads_that_arrive_together() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(100 * MS)
    ask_together(pump, "n2", ["follower"] * 5 + ["linearizable"])
    assert sum(isinstance(m, ReadIndex) for _, _, m in pump.wire) == 1
    pump.deliver_all()
    answers = {r.id: r.status for _, _, r in pump.replies if r.id <= 6}
    assert answers == {**dict.fromkeys(range(1, 6), "ok"), 6: "redirect"}


def test_reads_that_share_an_index_are_lost_or_late_each_for_itself() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(100 * MS)
    pump.isolate("n1")
    ask_together(pump, "n1", ["linearizable"] * 2, timeout_ns=200 * MS)
    pump._carry_out("n1", pump.nodes["n1"].on_disconnect(pump.now, 1))
    pump.run(250 * MS)
    assert [(r.id, r.status) for _, _, r in pump.replies if r.id < 9] == [(2, "retry")]
    ask_together(pump, "n1", ["linearizable"] * 3)
    pump.run(2_000 * MS)
    answers = [(r.id, r.status) for _, _, r in pump.replies if r.id < 9][1:]
    assert [id for id, _ in answers] == [1, 2, 3], "told when the leadership is over"
    assert {status for _, status in answers} <= {"retry", "redirect"}


def test_a_new_leader_reads_only_after_its_own_first_entry_is_committed() -> None:
    core = raft([(1, 1)], generation=1)
    make_leader(core)
    core.persisted(1_000 * MS, core.node.writes.io_issued)
    core.read(1_001 * MS, 7)
    for peer in ("n2", "n3"):
        core.step(1_002 * MS, peer, HeartbeatReply(2, 1))
    assert core.ready().reads == []
    core.step(1_003 * MS, "n2", AppendReply(2, True, 2, 1))
    beat = [s.message for s in sent(core) if isinstance(s.message, Heartbeat)][-1]
    core.step(1_004 * MS, "n2", HeartbeatReply(2, beat.round))
    assert core.ready().reads == [(7, 2)]


def test_reads_of_a_lost_leadership_are_sent_away() -> None:
    core = raft()
    make_leader(core)
    core.read(1_001 * MS, 7)
    core.step(1_002 * MS, "n2", HeartbeatReply(9, 1))
    assert core.ready().reads == [(7, 0)]


def test_a_lost_round_is_made_good_by_the_next_heartbeat() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(60 * MS)
    id = pump.ask("n1", get("x"))
    pump.wire.clear()
    pump.run(60 * MS)
    response = pump.answer(id)
    assert response is not None and response.status == "ok"


def test_a_cut_off_leader_does_not_answer_reads() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.isolate("n1")
    id = pump.ask("n1", get("x"))
    pump.run(300 * MS)
    assert pump.answer(id) is None
    pump.run(2_000 * MS)
    response = pump.answer(id)
    assert response is not None and response.status in ("retry", "redirect")


def test_a_follower_gets_an_index_from_its_leader() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(100 * MS)
    follower, leader = pump.nodes["n2"].consensus, pump.nodes["n1"].consensus
    assert follower.forward_read(pump.now, 5)
    leader.step(pump.now, "n2", sent(follower)[0].message)
    beat = next(s.message for s in sent(leader) if isinstance(s.message, Heartbeat))
    leader.step(pump.now, "n3", HeartbeatReply(leader.clock.generation, beat.round))
    follower.step(pump.now, "n1", sent(leader)[0].message)
    assert follower.ready().reads == [(5, leader.high_water_mark)]


def test_a_lease_read_trusts_a_recent_round_and_nothing_else() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(500 * MS)
    pump.isolate("n1")
    id = pump.ask("n1", get("x"), mode="lease")
    response = pump.answer(id)
    assert response is not None and response.status == "ok", "within the lease: at once"
    pump.now += 151 * MS  # half the shortest election timeout
    id = pump.ask("n1", get("x"), mode="lease")
    assert pump.answer(id) is None, "the lease is over: a round is needed"


def test_a_leader_that_has_told_another_to_campaign_has_no_lease() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.run(500 * MS)
    core = pump.nodes["n1"].consensus
    serving = core.variant.serving
    assert serving is not None
    heartbeats = serving.rounds.heartbeats
    assert heartbeats.lease_is_valid(pump.now, core.membership.current)
    core.transfer_leadership(pump.now, "n2")
    assert not heartbeats.lease_is_valid(pump.now, core.membership.current)


def test_pending_reads_run_at_their_index_each_measured_by_when_it_was_asked() -> None:
    reads, command = PendingReads(), Command("get", "x")
    asked_ns = {1: 1_000 * MS, 2: 1_000 * MS, 3: 1_400 * MS, 4: 1_400 * MS}
    for token, at_ns in asked_ns.items():
        reads.add(token, Waiter(token, token, 9_000 * MS), command, at_ns)
    assert reads.name([(1, 5), (2, 5), (9, 5), (3, 7), (4, 0)]) == [Waiter(4, 4, 9_000 * MS)]
    ran = reads.take_runnable(2_000 * MS, applied=6)
    assert [read.waiter.connection for read in ran] == [1, 2]
    assert (reads.waited_seconds.count, reads.waited_seconds.total) == (2, 2.0)
    ran = reads.take_runnable(2_400 * MS, applied=7)
    assert [read.waiter.connection for read in ran] == [3]
    assert (reads.waited_seconds.count, reads.waited_seconds.total) == (3, 3.0)
    assert reads.take_runnable(2_400 * MS, applied=9) == [] and len(reads) == 0


def test_a_round_confirms_reads_of_the_leader_and_of_followers_together() -> None:
    core, beat = reading()
    core.step(1_003 * MS, "n2", HeartbeatReply(1, beat.round))
    assert core.ready().reads == [(7, 1)]
    assert core.read(1_004 * MS, 8)  # its round is under way while the next two arrive
    core.step(1_005 * MS, "n3", ReadIndex(1, 70))
    assert core.read(1_005 * MS, 9)
    core.step(1_006 * MS, "n2", HeartbeatReply(1, beat.round + 1))
    ready = core.ready()
    assert ready.reads == [(8, 1)]
    core.step(1_007 * MS, "n2", HeartbeatReply(1, beat.round + 2))
    ready = core.ready()
    assert ready.reads == [(9, 1)]
    assert ready.effects == [Send("n3", ReadIndexReply(1, 70, 1))]
