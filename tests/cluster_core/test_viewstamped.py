"""Viewstamped Replication, scenario by scenario, and the rules of its parts."""

from __future__ import annotations

import pytest
from core_pump import Pump, SeededRng, Store, get, put

from cluster.config import MS, ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.consensus.membership_change import Change
from cluster.consensus.replica_recovery import Found, ReplicaRecovery
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.consensus.state_transfer import StateTransfer
from cluster.consensus.view_change import ViewChange
from cluster.consensus.viewstamped import ViewstampedParts
from cluster.core.replica import ReplicaParts
from cluster.ports import Append, Recovered, Send
from cluster.wire import (
    AppendEntries,
    AppendReply,
    DoViewChange,
    Entry,
    GetState,
    HardState,
    Heartbeat,
    InstallSnapshot,
    NewState,
    Recovery,
    RecoveryResponse,
    Snapshot,
    SnapshotReply,
    StartView,
    StartViewChange,
)

VOTERS = ("n1", "n2", "n3")
PARTS = ReplicaParts(consensus=ViewstampedParts())


# The parts


def view_change(voters: tuple[str, ...] = VOTERS, **settings: bool) -> ViewChange:
    config = ClusterConfig(**settings)  # type: ignore[arg-type]
    return ViewChange(voters, config=config, rng=SeededRng("x"), now_ns=0, has_past=False)


def test_each_view_has_its_primary_in_turn() -> None:
    change = view_change()
    assert [change.primary_of(view) for view in range(5)] == ["n1", "n2", "n3", "n1", "n2"]
    assert [change.next_view_of("n2", view) for view in (0, 1, 2, 3)] == [1, 4, 4, 4]


def test_the_log_of_the_latest_normal_view_wins_then_the_longest_then_ones_own() -> None:
    change = view_change()
    change.reports = {"n1": DoViewChange(7, 4, 9, 2), "n2": DoViewChange(7, 5, 3, 3)}
    assert change.best("n1") == ("n2", change.reports["n2"])
    change.reports["n3"] = DoViewChange(7, 5, 4, 1)
    assert change.best("n1")[0] == "n3"
    change.reports["n1"] = DoViewChange(7, 5, 4, 0)
    assert change.best("n1")[0] == "n1" and change.best("n3")[0] == "n3"
    assert change.commit_number(tuple(change.reports.values())) == 3


@pytest.mark.parametrize(("count", "enough"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_quorum_reports_before_a_view_starts(count: int, enough: int) -> None:
    change = view_change(tuple(f"n{i}" for i in range(count)))
    reports = [DoViewChange(1, 0, 0, 0)] * count
    assert [change.may_start(reports[:n]) for n in range(count + 1)] == [
        n >= enough for n in range(count + 1)
    ]


def test_a_quorum_asks_for_one_view_and_not_long_ago() -> None:
    change = view_change()
    change.asked("n2", 4, 0)
    assert not change.quorum_asks(0), "this replica does not ask itself"
    change.want(3, 0)
    assert not change.quorum_asks(0)
    change.want(4, 0)
    assert change.quorum_asks(0) and change.quorum_asks(600 * MS)
    assert not change.quorum_asks(601 * MS)
    change.asked("n2", 4, 601 * MS)
    assert change.quorum_asks(601 * MS)
    change.heard_primary(601 * MS)
    assert not change.quorum_asks(601 * MS)


def test_a_primary_that_is_heard_is_protected_unless_all_of_that_is_switched_off() -> None:
    for settings, protected in (({}, True), ({"prevote": False, "check_quorum": False}, False)):
        change = view_change(**settings)
        assert not change.protects_primary(0)
        change.heard_primary(10 * MS)
        assert change.protects_primary(309 * MS) is protected
        assert not change.protects_primary(310 * MS)


def test_a_request_to_be_replaced_outlives_the_primarys_heartbeats_for_a_while() -> None:
    change = view_change()
    change.want(4, 0, on_request=True)
    change.heard_primary(600 * MS)
    assert change.wanted == 4 and change.on_request
    change.heard_primary(601 * MS)
    assert change.wanted == 0 and not change.on_request


def log_of(count: int, *, base: int = 0) -> ReplicatedLog:
    log = ReplicatedLog(base, 1 if base else 0)
    log.extend([Entry(index, 1, "noop") for index in range(base + 1, base + count + 1)])
    return log


def test_state_is_served_in_pieces_and_a_piece_is_taken_where_it_follows() -> None:
    transfer = StateTransfer(ClusterConfig(batch_entries_max=3))
    log = log_of(7)
    piece = transfer.answer("n2", GetState(5, 2), log=log, mark=4, newest=None)
    assert piece == NewState(5, 2, tuple(log.between(3, 5)), 4)
    assert transfer.answer("n2", GetState(5, 9), log=log, mark=4, newest=None) == NewState(
        5, 9, (), 4
    )
    transfer.begin("n3", log, 4)
    assert transfer.ask(5, 0) == GetState(5, 4)
    assert transfer.takes("n3", NewState(5, 4, (), 0)) and transfer.takes(
        "n3", NewState(5, 2, (), 0)
    )
    assert not transfer.takes("n3", NewState(5, 5, (), 0))
    assert not transfer.takes("n1", NewState(5, 4, (), 0))
    assert transfer.took(9)
    assert not transfer.took(6) and not transfer.took(9)
    assert transfer.at == 9


def test_where_the_log_is_gone_the_snapshot_is_served_chunk_by_chunk() -> None:
    transfer = StateTransfer(ClusterConfig(snapshot_chunk_bytes=2))
    snapshot = Snapshot(6, 1, VOTERS, b"abc")
    log = log_of(4, base=5)
    for _ in range(2):  # asked again, since the first was lost
        chunk = transfer.answer("n2", GetState(3, 4), log=log, mark=9, newest=snapshot)
        assert isinstance(chunk, InstallSnapshot)
        assert (chunk.offset, chunk.data, chunk.done) == (0, b"ab", False)
    last = transfer.next_chunk("n2", SnapshotReply(3, 6, 2, False))
    assert last is not None and (last.data, last.done) == (b"c", True)
    assert transfer.next_chunk("n3", SnapshotReply(3, 6, 2, False)) is None
    assert transfer.next_chunk("n2", SnapshotReply(3, 6, 0, True)) is None
    assert transfer.next_chunk("n2", SnapshotReply(3, 6, 2, False)) is None


def answer(view: int, normal: int, last: int, *, leads: bool = False, asking: bool = False):
    return RecoveryResponse(view, 7, normal, last, leads, asking)


def recovery(*answers: RecoveryResponse, voters: tuple[str, ...] = VOTERS) -> ReplicaRecovery:
    found = ReplicaRecovery(voters[0], voters, nonce=7, now_ns=0)
    for voter, each in zip(voters[1:], answers):
        found.add(voter, each)
    return found


def test_a_new_cluster_is_one_in_which_every_other_voter_has_nothing() -> None:
    nothing = answer(0, 0, 0, asking=True)
    assert recovery(nothing).outcome("n3") is None
    assert recovery(nothing, nothing).outcome("n3") == Found(0, is_new=True)
    assert recovery(nothing, answer(2, 0, 0)).outcome("n3") == Found(2, is_new=True)
    assert recovery(nothing, answer(2, 2, 0)).outcome("n3") is None
    assert recovery(nothing, answer(0, 0, 1, asking=True)).outcome("n3") is None


def test_a_memory_comes_from_the_primary_of_the_latest_view_and_a_quorum_that_has_one() -> None:
    backup, primary = answer(5, 5, 9), answer(5, 5, 9, leads=True)
    assert recovery(backup, primary).outcome("n3") == Found(5, False, 9)
    assert recovery(primary, backup).outcome("n3") is None, "n2 is no primary of view 5"
    assert recovery(backup, backup).outcome("n3") is None, "the view has not started"
    assert recovery(answer(6, 5, 9), primary).outcome("n1") is None, "a later one is under way"
    asking = answer(0, 0, 0, asking=True)
    assert recovery(asking, primary).outcome("n3") is None, "one of three is no quorum"
    five = ("n1", "n2", "n3", "n4", "n5")
    four = (asking, primary, backup, backup)
    assert recovery(*four, voters=five).outcome("n3") == Found(5, False, 9)


def test_an_earlier_answer_does_not_replace_a_later_one() -> None:
    found = recovery(answer(5, 5, 9), answer(5, 5, 9, leads=True))
    found.add("n2", answer(3, 3, 4))
    assert found.outcome("n3") == Found(5, False, 9)
    found.add("n2", answer(6, 5, 9))
    assert found.latest == 6 and found.outcome("n1") is None


# One replica, message by message


def replica(
    *, node: str = "n1", view: int = 0, normal: int = 0, log: tuple[tuple[int, int], ...] = ()
) -> Consensus:
    core = ViewstampedParts().build(node, VOTERS, config=ClusterConfig(), rng=SeededRng(node))
    entries = [Entry(index, generation, "noop") for index, generation in log]
    core.start(0, Recovered(HardState(view, "", normal), None, entries))
    core.ready()
    return core


def sent(core: Consensus) -> list[Send]:
    return [effect for effect in core.ready().effects if isinstance(effect, Send)]


def test_a_report_waits_for_the_view_to_be_durable() -> None:
    core = replica(view=1, normal=1, log=((1, 1),))
    core.step(400 * MS, "n2", StartViewChange(2, 2))
    effects = core.ready().effects
    write = next(e for e in effects if isinstance(e, Append))
    assert write.hard_state == HardState(2, "", 1)
    report = next(e for e in effects if isinstance(e, Send) and type(e.message) is DoViewChange)
    assert report == Send("n3", DoViewChange(2, 1, 1, 0), write.io_id)
    assert core.role == "candidate"


def test_entries_are_durable_before_the_name_of_their_view_and_both_before_the_answer() -> None:
    core = replica(view=2, normal=1, log=((1, 1),))
    first = Entry(2, 2, "noop")
    core.step(1, "n3", StartView(2, 1, 1, (first,), 1))
    effects = core.ready().effects
    log, name = (e for e in effects if isinstance(e, Append))
    assert (log.hard_state, log.entries) == (None, (first,))
    assert (name.hard_state, name.entries) == (HardState(2, "", 2), ())
    reply = next(e for e in effects if isinstance(e, Send))
    assert reply == Send("n3", AppendReply(2, True, 2, 2), name.io_id)
    assert core.role == "follower" and core.leader == "n3" and core.high_water_mark == 1


def test_a_primary_says_that_its_view_has_started_once_its_log_is_durable() -> None:
    core = replica(view=2, normal=2, log=((1, 1),))
    core.step(400 * MS, "n2", StartViewChange(3, 3))
    core.ready()
    core.step(401 * MS, "n2", DoViewChange(3, 2, 1, 1))
    effects = core.ready().effects
    write = next(e for e in effects if isinstance(e, Append))
    assert write.hard_state == HardState(3, "", 3) and core.role != "leader"
    assert not [e for e in effects if isinstance(e, Send)]
    core.persisted(402 * MS, write.io_id)
    assert core.role == "leader" and core.high_water_mark == 1
    starts = [s for s in sent(core) if type(s.message) is StartView]
    assert {s.to for s in starts} == {"n2", "n3"}
    assert starts[0].message == StartView(3, 1, 1, (Entry(2, 3, "noop"),), 1)


def test_a_primary_that_restarts_does_not_start_its_view_again() -> None:
    core = replica(view=3, normal=3, log=((1, 1),))
    core.step(1, "n2", DoViewChange(3, 2, 5, 1))
    core.step(1, "n3", DoViewChange(3, 2, 5, 1))
    core.persisted(2, 0)
    assert core.role == "follower" and sent(core) == []


def test_a_primary_fetches_the_log_that_was_chosen_and_cuts_its_own() -> None:
    """n1 has a tail of view 1; n2 has the log of view 2, which is shorter."""
    core = replica(view=1, normal=1, log=((1, 1), (2, 1), (3, 1), (4, 1)))
    core.step(400 * MS, "n2", StartViewChange(3, 3))
    core.ready()
    core.step(401 * MS, "n2", DoViewChange(3, 2, 3, 1))
    assert [s for s in sent(core) if type(s.message) is GetState] == [Send("n2", GetState(3, 0))]
    pieces = [(Entry(1, 1, "noop"), Entry(2, 1, "noop")), (Entry(3, 2, "noop"),)]
    core.step(402 * MS, "n2", NewState(3, 0, pieces[0], 1))
    assert [s.message for s in sent(core)] == [GetState(3, 2)]
    core.step(403 * MS, "n2", NewState(3, 2, pieces[1], 1))
    core.ready()
    core.persisted(404 * MS, core.node.writes.io_issued)
    assert core.role == "leader"
    assert [core.log.generation_at(i) for i in range(1, 6)] == [1, 1, 2, 3, None]


def test_a_piece_that_comes_twice_is_no_reason_to_ask_twice() -> None:
    """Else each frame that the network repeats begins one more chain of questions and answers."""
    core = replica(view=1, normal=1, log=((1, 1),))
    core.step(400 * MS, "n2", StartViewChange(3, 3))
    core.step(401 * MS, "n2", DoViewChange(3, 2, 9, 1))
    core.ready()
    for at in range(3):
        piece = NewState(3, at, (Entry(at + 1, 1, "noop"),), 1)
        for _ in range(4):
            core.step(402 * MS, "n2", piece)
    asked = [s.message for s in sent(core) if type(s.message) is GetState]
    assert asked == [GetState(3, 1), GetState(3, 2), GetState(3, 3)]


def test_chunks_of_two_snapshots_do_not_undo_each_other() -> None:
    """A primary answers what is fetched, and sends its newest to any replica that is behind."""
    core = replica(view=1, normal=1, log=((1, 1),))
    core.step(400 * MS, "n3", Heartbeat(5, 1, 0))
    assert GetState(5, 0) in [s.message for s in sent(core)]

    def chunk(index: int, offset: int) -> list[SnapshotReply]:
        done = offset == 4
        core.step(401 * MS, "n3", InstallSnapshot(5, index, 5, VOTERS, offset, b"ab", done))
        return [s.message for s in sent(core) if type(s.message) is SnapshotReply]

    for offset in (0, 2):
        assert [each.offset for each in chunk(10, offset)] == [offset + 2]
        assert chunk(20, offset) == [], "another one has begun"
    core.step(600 * MS, "n3", Heartbeat(5, 2, 0))
    core.tick(600 * MS)
    assert GetState(5, 0) in [s.message for s in sent(core)], "nothing came for a while"
    for offset in (0, 2, 4):
        chunk(20, offset)
    assert core.snapshot_index == 20


def test_a_new_primary_with_a_longer_log_of_an_earlier_view_cuts_it_where_its_view_begins() -> None:
    """The log that was chosen is a prefix of this one: the view's first entry takes the place."""
    core = replica(view=1, normal=1, log=((1, 1), (2, 1), (3, 1)))
    core.step(1, "n2", AppendEntries(1, 1, 1, (), 1))
    core.step(400 * MS, "n3", StartViewChange(3, 3))
    core.step(401 * MS, "n3", DoViewChange(3, 2, 1, 1))
    core.ready()
    core.persisted(402 * MS, core.node.writes.io_issued)
    write = next(e for e in core.ready().effects if isinstance(e, Append))
    assert write.entries == (Entry(2, 3, "noop"),)
    assert core.log.last_index == 2


def test_a_replica_that_hears_its_primary_joins_no_other_view() -> None:
    core = replica(view=1, normal=1)
    core.step(1_000 * MS, "n2", Heartbeat(1, 1, 0))
    core.ready()
    for message in (StartViewChange(1, 2), StartViewChange(5, 5), DoViewChange(3, 1, 0, 0)):
        core.step(1_299 * MS, "n3", message)
    assert core.clock.generation == 1 and sent(core) == []
    core.step(1_300 * MS, "n3", StartViewChange(1, 2))
    assert core.clock.generation == 2, "two of three ask"


def test_an_old_request_to_replace_a_primary_does_not_replace_a_later_one() -> None:
    """Lease reads of the later primary rest on it."""
    core = replica(view=4, normal=4)
    core.step(1_000 * MS, "n2", Heartbeat(4, 1, 0))
    core.step(1_010 * MS, "n3", StartViewChange(3, 5, True))
    assert core.clock.generation == 4
    core.step(1_010 * MS, "n3", StartViewChange(4, 5, True))
    assert core.clock.generation == 5


def test_one_that_has_entered_a_view_and_asks_for_the_next_is_heard_in_both() -> None:
    core = replica(view=1, normal=1)
    core.step(700 * MS, "n3", StartViewChange(2, 3))
    assert core.clock.generation == 3


def test_messages_of_a_view_come_from_its_primary_alone() -> None:
    core = replica(view=1, normal=1, log=((1, 1),))
    core.step(1, "n3", AppendEntries(1, 1, 1, (Entry(2, 1, "noop"),), 2))
    core.step(1, "n3", StartView(4, 1, 1, (Entry(2, 4, "noop"),), 2))
    assert core.clock.generation == 1 and core.log.last_index == 1 and core.leader == ""


def test_an_acknowledgement_of_a_view_that_was_left_does_not_leave() -> None:
    core = replica(view=3, normal=1, log=((1, 1),))
    core.step(1, "n2", AppendEntries(1, 1, 1, (Entry(2, 1, "noop"),), 0))
    refused = sent(core)
    assert [s.message for s in refused] == [AppendReply(3, False, 0, 1)]
    assert core.log.last_index == 1


def test_a_replica_without_a_memory_says_nothing_but_its_question() -> None:
    core = ViewstampedParts().build("n1", VOTERS, config=ClusterConfig(), rng=SeededRng("n1"))
    core.start(0, Recovered(HardState(), None, []))
    asked = sent(core)
    assert {s.to for s in asked} == {"n2", "n3"} and type(asked[0].message) is Recovery
    for message in (
        StartViewChange(2, 2),
        DoViewChange(3, 2, 0, 0),
        StartView(1, 0, 0, (Entry(1, 1, "noop"),), 1),
        AppendEntries(1, 0, 0, (Entry(1, 1, "noop"),), 1),
        Heartbeat(1, 1, 0),
    ):
        core.step(1_000 * MS, "n2", message)
    core.tick(2_000 * MS)
    assert {type(s.message) for s in sent(core)} == {Recovery}
    assert core.role == "learner" and core.log.last_index == 0
    core.step(2_001 * MS, "n2", Recovery(0, 99))
    assert sent(core)[0].message == RecoveryResponse(0, 99, 0, 0, False, True)


def test_an_answer_to_an_earlier_life_does_not_count() -> None:
    core = ViewstampedParts().build("n1", VOTERS, config=ClusterConfig(), rng=SeededRng("n1"))
    core.start(0, Recovered(HardState(), None, []))
    nonce = sent(core)[0].message.nonce  # type: ignore[union-attr]
    for peer in ("n2", "n3"):
        core.step(1, peer, RecoveryResponse(0, nonce + 1, 0, 0, False, True))
    assert core.role == "learner"
    for peer in ("n2", "n3"):
        core.step(1, peer, RecoveryResponse(0, nonce, 0, 0, False, True))
    assert core.role == "candidate"


def test_a_founder_that_takes_part_has_a_memory_from_then_on() -> None:
    """Else a restart, and one lost disk elsewhere, would leave no quorum that remembers."""
    core = ViewstampedParts().build("n1", VOTERS, config=ClusterConfig(), rng=SeededRng("n1"))
    core.start(0, Recovered(HardState(), None, []))
    nonce = sent(core)[0].message.nonce  # type: ignore[union-attr]
    core.step(1, "n2", RecoveryResponse(0, nonce, 0, 0, False, True))
    core.step(1, "n3", RecoveryResponse(4, nonce, 0, 0, False, False))
    effects = core.ready().effects
    write = next(e for e in effects if isinstance(e, Append))
    assert write.hard_state == HardState(5, "", 0), "above what the others have entered"
    assert all(e.after == write.io_id for e in effects if isinstance(e, Send))
    core.start(2, Recovered(HardState(5), None, []))
    assert core.role == "candidate"


def test_a_view_may_begin_with_the_empty_log_of_another() -> None:
    """n2 had started view 1 and died before the view's first entry was on its disk."""
    core = replica(view=2)
    core.step(400 * MS, "n2", StartViewChange(3, 3))
    core.step(401 * MS, "n2", DoViewChange(3, 1, 0, 0))
    core.ready()
    core.persisted(402 * MS, core.node.writes.io_issued)
    assert core.role == "leader" and core.log.last_index == 1


def test_what_a_recovery_has_fetched_is_no_memory_after_a_restart() -> None:
    core = ViewstampedParts().build("n1", VOTERS, config=ClusterConfig(), rng=SeededRng("n1"))
    core.start(0, Recovered(HardState(), None, [Entry(1, 4, "noop")]))
    assert core.role == "learner"
    core.step(1, "n2", Recovery(0, 5))
    answers = [s.message for s in sent(core) if s.to == "n2"]
    assert RecoveryResponse(0, 5, 0, 1, False, True) in answers, "it knows of something"


def test_changes_of_members_are_refused_with_a_sentence() -> None:
    refusal = replica(view=1, normal=1).change_members(0, Change("remove-member", "n2"))
    assert refusal is not None and refusal.status == "fail"
    assert refusal.why == "the members of a viewstamped cluster do not change: they are n1, n2, n3"


def test_a_node_that_knows_nobody_takes_part_in_nothing() -> None:
    core = ViewstampedParts().build("n9", (), config=ClusterConfig(), rng=SeededRng("n9"))
    core.start(0, Recovered(HardState(), None, []))
    core.step(1, "n1", StartView(1, 0, 0, (Entry(1, 1, "noop"),), 1))
    core.tick(700 * MS)
    assert core.role == "learner" and sent(core) == [] and core.deadline_ns > 700 * MS


# Whole clusters


def cluster(count: int = 3, *, settled: bool = True, **options: object) -> Pump:
    pump = Pump(count, parts=PARTS, **options)  # type: ignore[arg-type]
    if settled:
        pump.run(2_000 * MS)
    return pump


def views(pump: Pump) -> dict[str, int]:
    return {name: node.consensus.clock.generation for name, node in pump.nodes.items()}


def others(pump: Pump, name: str) -> list[str]:
    return [other for other in pump.names if other != name]


def converge(pump: Pump) -> str:
    """Everything runs and is healed; the primary, once all have the same."""
    pump.cut = set()
    for name in pump.names:
        if name not in pump.nodes:
            pump.restart(name)
    pump.run(5_000 * MS)
    leader = pump.leader()
    assert pump.do(leader, put("end", pump.now), seq=1, session=f"s{pump.now}").status == "ok"
    pump.run(500 * MS)
    assert len({node.state_hash() for node in pump.nodes.values()}) == 1
    return leader


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_new_cluster_forms_and_commits(count: int) -> None:
    pump = cluster(count)
    leader = pump.leader()
    view = views(pump)[leader]
    assert leader == pump.names[view % count]
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    assert pump.do(leader, get("x")).value == 1


def test_a_new_cluster_forms_once_all_founders_have_met() -> None:
    pump = Pump(3, parts=PARTS)
    pump.crash("n3")
    pump.run(10_000 * MS)
    assert {node.consensus.role for node in pump.nodes.values()} == {"learner"}
    pump.restart("n3")
    pump.run(2_000 * MS)
    assert pump.leader()


def test_the_next_primary_has_what_the_last_one_committed() -> None:
    pump = cluster()
    first = pump.leader()
    assert pump.do(first, put("x", 1), seq=1).status == "ok"
    pump.crash(first)
    pump.run(3_000 * MS)
    second = pump.leader()
    assert second != first and pump.do(second, get("x")).value == 1
    assert converge(pump)


def test_a_view_whose_primary_is_dead_is_passed_over() -> None:
    pump = cluster(5)
    first = pump.names.index(pump.leader())
    for step in range(2):
        pump.crash(pump.names[(first + step) % 5])
    pump.run(5_000 * MS)
    assert pump.leader() == pump.names[(first + 2) % 5]


def test_a_replica_that_was_cut_off_disturbs_nobody() -> None:
    pump = cluster()
    leader = pump.leader()
    other = others(pump, leader)[0]
    before = views(pump)
    pump.isolate(other)
    pump.run(30_000 * MS)
    assert views(pump) == before
    pump.cut = set()
    pump.run(1_000 * MS)
    assert views(pump) == before and pump.leader() == leader


def test_a_minority_commits_nothing_and_what_it_took_is_unknown() -> None:
    pump = cluster()
    first = pump.leader()
    pump.isolate(first)
    asked = pump.ask(first, put("x", "lost"), seq=1)
    pump.run(3_000 * MS)
    told = pump.answer(asked)
    assert told is not None and told.status == "unknown" and "lost leadership" in told.error
    second = pump.leader()
    assert second != first
    assert pump.do(second, put("x", 2), seq=1, session="d").status == "ok"
    converge(pump)
    assert pump.do(pump.leader(), get("x")).value == 2


def test_a_primary_that_was_replaced_reads_nothing() -> None:
    pump = cluster(config=ClusterConfig(check_quorum=False))
    first = pump.leader()
    pump.isolate(first)
    pump.run(3_000 * MS)
    second = pump.leader()  # of the latest view
    assert second != first and pump.do(second, put("x", 2), seq=1).status == "ok"
    assert pump.nodes[first].consensus.role == "leader", "it does not know"
    asked = pump.ask(first, get("x"))
    pump.run(200 * MS)
    assert pump.answer(asked) is None
    pump.cut = set()
    pump.run(1_000 * MS)
    told = pump.answer(asked)
    assert told is not None and told.status in ("redirect", "retry")


def test_a_backup_reads_at_an_index_that_its_primary_names() -> None:
    pump = cluster()
    leader = pump.leader()
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    assert pump.do(others(pump, leader)[0], get("x"), mode="follower").value == 1
    assert pump.do(leader, get("x"), mode="lease").value == 1


def test_a_replica_that_missed_the_start_of_a_view_fetches_its_log() -> None:
    """And loses the tail that its own view left it with."""
    pump = cluster()
    first = pump.leader()
    pump.isolate(first)
    for seq in (1, 2, 3):
        pump.ask(first, put("y", seq), seq=seq, session="y")
    pump.run(3_000 * MS)
    second = pump.leader()
    assert pump.do(second, put("x", 2), seq=1).status == "ok"
    pump.cut = set()
    asked: list[int] = []
    step = pump.nodes[second].consensus.step

    def watch(now_ns: int, source: str, message: object) -> None:
        if isinstance(message, GetState):
            asked.append(message.index)
        step(now_ns, source, message)  # type: ignore[arg-type]

    pump.nodes[second].consensus.step = watch  # type: ignore[method-assign]
    pump.run(1_000 * MS)
    mark = pump.nodes[first].consensus.high_water_mark
    assert asked and mark == pump.nodes[second].consensus.high_water_mark
    assert pump.nodes[first].state_hash() == pump.nodes[second].state_hash()
    hard = pump.stores[first].hard_state
    assert hard.generation == hard.adopted == views(pump)[second]


def test_a_replica_behind_the_low_water_mark_is_sent_the_snapshot() -> None:
    config = ClusterConfig(snapshot_entries=20, snapshot_keep_entries=2, snapshot_chunk_bytes=100)
    pump = cluster(config=config)
    away = others(pump, pump.leader())[0]
    pump.isolate(away)
    for view in range(2):  # in its own view, and then, in another, as one that missed the start
        leader = pump.leader()
        for seq in range(1, 60):
            session = f"s{view}"
            pump.do(leader, put(f"k{seq}", seq), seq=seq, first=seq, session=session)
        here, there = pump.nodes[leader].consensus, pump.nodes[away].consensus
        assert here.log.first_index > there.log.last_index + 1
        if view:
            other = next(n for n in others(pump, leader) if n != away)
            pump._carry_out(leader, pump.nodes[leader].transfer_leadership(pump.now, other))
            pump.run(500 * MS)
            assert pump.leader() == other
        pump.cut = set()
        pump.run(2_000 * MS)
        assert len({node.state_hash() for node in pump.nodes.values()}) == 1
        pump.isolate(away)
    pump.crash(away)
    pump.restart(away)
    converge(pump)


def test_a_new_primary_may_need_the_snapshot_of_the_log_that_was_chosen() -> None:
    config = ClusterConfig(snapshot_entries=20, snapshot_keep_entries=2, snapshot_chunk_bytes=100)
    pump = cluster(config=config)
    first = pump.leader()
    place = pump.names.index(first)
    following = pump.names[(place + 1) % 3]
    pump.isolate(following)
    for seq in range(1, 60):
        pump.do(first, put(f"k{seq}", seq), seq=seq, first=seq)
    pump.cut = set()
    pump.crash(first)
    pump.run(3_000 * MS)
    assert pump.leader() == following
    assert pump.do(following, get("k59")).value == 59


@pytest.mark.parametrize("step", range(24))
def test_a_new_primary_may_die_at_any_step_of_the_change(step: int) -> None:
    pump = cluster(seed=step)
    first = pump.leader()
    place = pump.names.index(first)
    following = pump.names[(place + 1) % 3]
    assert pump.do(first, put("x", 1), seq=1).status == "ok"
    pump.isolate(following)
    assert pump.do(first, put("x", 2), seq=2).status == "ok", "the next primary has to fetch it"
    pump.cut = set()
    pump.wire.clear()
    pump.auto_sync = False
    pump.crash(first)
    pump.now += pump.config.election_max_ns
    pump.tick(following)
    for _ in range(step):
        if pump.wire:
            pump.deliver()
        for name in pump.nodes:
            pump.sync_one(name)
    pump.crash(following)
    pump.auto_sync = True
    for name in pump.nodes:
        pump.sync(name)
    pump.run(500 * MS)
    converge(pump)
    assert pump.do(pump.leader(), get("x")).value == 2


def test_all_restart_and_go_on() -> None:
    pump = cluster(5)
    assert pump.do(pump.leader(), put("x", 1), seq=1).status == "ok"
    before = max(views(pump).values())
    for name in pump.names:
        pump.crash(name)
    for name in pump.names:
        pump.restart(name)
    pump.run(3_000 * MS)
    assert pump.do(pump.leader(), get("x")).value == 1
    assert min(views(pump).values()) > before, "no primary leads on after a restart"


def test_leadership_is_handed_over_by_a_change_of_view() -> None:
    for target in range(2):
        pump = cluster()
        leader = pump.leader()
        to = others(pump, leader)[target]
        assert pump.do(leader, put("x", 1), seq=1).status == "ok"
        pump._carry_out(leader, pump.nodes[leader].transfer_leadership(pump.now, to))
        pump.deliver_all()
        assert pump.leader() == to and pump.nodes[leader].consensus.role != "leader"
        assert pump.do(to, get("x")).value == 1


def test_a_founder_that_lost_its_disk_recovers_and_then_counts() -> None:
    pump = cluster()
    leader = pump.leader()
    wiped, other = others(pump, leader)
    pump.isolate(other)
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    pump.crash(wiped)
    pump.stores[wiped] = Store()
    pump.restart(wiped)
    pump.run(10_000 * MS)
    assert pump.nodes[wiped].consensus.role == "learner", "the other has not answered"
    assert pump.nodes[wiped].applied == 0
    pump.cut = set()
    pump.run(3_000 * MS)
    assert pump.nodes[wiped].consensus.role != "learner"
    pump.crash(other)
    pump.run(3_000 * MS)
    assert pump.do(pump.leader(), get("x")).value == 1
    assert pump.do(pump.leader(), put("x", 2), seq=1, session="d").status == "ok"


def test_a_wiped_primary_recovers_in_a_view_that_is_not_its_own() -> None:
    pump = cluster()
    leader = pump.leader()
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    pump.crash(leader)
    pump.stores[leader] = Store()
    pump.restart(leader)
    pump.run(5_000 * MS)
    assert pump.leader() != leader
    assert pump.nodes[leader].consensus.role == "follower"
    assert pump.nodes[leader].state_hash() == pump.nodes[pump.leader()].state_hash()


def test_a_recovery_may_be_cut_short_by_another_crash() -> None:
    config = ClusterConfig(batch_entries_max=4)
    pump = cluster(config=config)
    leader = pump.leader()
    wiped = others(pump, leader)[0]
    for seq in range(1, 30):
        pump.do(leader, put("x", seq), seq=seq, first=seq)
    pump.crash(wiped)
    pump.stores[wiped] = Store()
    pump.restart(wiped)
    while not pump.stores[wiped].entries:
        pump.now += 10 * MS
        if pump.wire:
            pump.deliver()
        else:
            pump.tick(wiped)
    assert pump.stores[wiped].hard_state.generation == 0
    assert pump.nodes[wiped].consensus.role == "learner", "it has acknowledged more than a piece"
    pump.crash(wiped)
    pump.restart(wiped)
    assert pump.nodes[wiped].consensus.role == "learner"
    converge(pump)


def test_a_majority_without_a_memory_is_not_taken_for_a_new_cluster() -> None:
    pump = cluster()
    leader = pump.leader()
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    for name in others(pump, leader):
        pump.crash(name)
        pump.stores[name] = Store()
        pump.restart(name)
    pump.run(20_000 * MS)
    for name in others(pump, leader):
        assert pump.nodes[name].consensus.role == "learner"
        assert pump.nodes[name].applied == 0
