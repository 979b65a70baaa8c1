"""A node of role ``leaderless``: quorums, repairs, hints, comparisons, tombstones, restarts.

Method: three or five nodes in the pump, whose messages and syncs the test orders.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from leaderless_pump import LeaderlessPump

from cluster.clocks.version_vector import VersionVector
from cluster.config import MS, ClusterConfig
from cluster.leaderless.commands import decode_context
from cluster.leaderless.placement import preference_list
from cluster.ports import Send
from cluster.wire import (
    Command,
    GossipMessage,
    Ping,
    PingAck,
    RequestVote,
    Response,
    StableView,
    VersionsHeld,
    VersionsRead,
    VersionsWrite,
    VersionsWritten,
)


def config(**changes: Any) -> ClusterConfig:
    return ClusterConfig(tombstone_grace_ns=1_000 * MS, **changes)


def ok(response: Response) -> Any:
    assert response.status == "ok", response
    return response.value


def kinds(pump: LeaderlessPump, *wanted: type) -> list[tuple[str, str, Any]]:
    return [each for each in pump.wire if isinstance(each[2], wanted)]


# -- quorums


def test_a_write_is_acknowledged_when_two_replicas_have_it_durably() -> None:
    pump = LeaderlessPump(auto_sync=False)
    id = pump.ask("n1", Command("put", "x", (1,)), seq=1)
    pump.deliver_all()
    assert pump.answer(id) is None, "nothing is durable"
    pump.sync("n1")
    pump.deliver_all()
    assert pump.answer(id) is None, "one is not two"
    pump.sync("n3")
    pump.deliver_all()
    assert ok(pump.answer(id)) is None  # type: ignore[arg-type]
    assert pump.held("n2", "x") == [1], "it was sent to all"


def test_a_node_alone_answers_no_quorum_request_but_does_with_mode_one() -> None:
    pump = LeaderlessPump()
    pump.isolate("n1")
    assert pump.call("n1", "put", "x", 1, timeout_ns=1_000 * MS).status == "unknown"
    assert pump.call("n1", "get", "x", timeout_ns=1_000 * MS).status == "retry"
    assert ok(pump.call("n1", "put", "x", 2, mode="one")) is None
    assert ok(pump.call("n1", "get", "x", mode="one"))["values"] == [1, 2]
    assert ok(pump.call("n2", "get", "x"))["values"] == []
    pump.cut = set()
    pump.run(2_000 * MS)
    assert ok(pump.call("n2", "get", "x"))["values"] == [1, 2]


def test_what_a_replica_says_it_holds_is_durable() -> None:
    pump = LeaderlessPump(auto_sync=False)
    pump.ask("n1", Command("put", "x", (1,)), seq=1)
    pump.deliver_all()
    id = pump.ask("n2", Command("get", "x"))
    pump.deliver_all()
    assert not kinds(pump, VersionsHeld) and pump.answer(id) is None
    pump.sync("n2")
    pump.sync("n3")
    pump.deliver_all()
    assert ok(pump.answer(id))["values"] == [1]  # type: ignore[arg-type]


def test_a_silent_replica_is_asked_again() -> None:
    pump = LeaderlessPump()
    id = pump.ask("n1", Command("put", "x", (1,)), seq=1)
    pump.wire.clear()  # lost
    pump.run(400 * MS)
    assert ok(pump.answer(id)) is None  # type: ignore[arg-type]


def test_a_read_writes_back_what_it_found_before_it_answers() -> None:
    pump = LeaderlessPump()
    pump.ask("n1", Command("put", "x", (1,)), seq=1)
    pump.wire.clear()  # n1 alone has it
    id = pump.ask("n1", Command("get", "x"))
    for _ in range(2):  # what n1 asks of the others
        pump.deliver()
    pump.deliver()  # n2 has nothing: a quorum
    assert pump.answer(id) is None
    assert kinds(pump, VersionsWrite), "it is written back first"
    pump.deliver_all()
    assert ok(pump.answer(id))["values"] == [1]  # type: ignore[arg-type]
    assert pump.held("n2", "x") == [1] and pump.held("n3", "x") == [1]


def test_a_late_answer_shows_who_is_behind() -> None:
    pump = LeaderlessPump()
    assert preference_list("k3", pump.names) == ("n1", "n2", "n3")  # n3 answers last
    pump.cut = {("n1", "n3")}
    ok(pump.call("n1", "put", "k3", 1))
    assert pump.held("n3", "k3") == []
    pump.cut = set()
    ok(pump.call("n1", "get", "k3"))
    pump.deliver_all()
    assert pump.held("n3", "k3") == [1]
    assert pump.nodes["n1"].status()["repaired"] == 1


def test_a_copy_of_a_request_changes_nothing_at_the_same_node_or_another() -> None:
    pump = LeaderlessPump()
    for node in ("n1", "n1", "n2", "n3"):
        assert ok(pump.call(node, "counter-incr", "c", 5, seq=1)) is None
        assert ok(pump.call(node, "put", "x", "a", session="t", seq=1)) is None
    assert ok(pump.call("n3", "counter-read", "c")) == 5
    assert ok(pump.call("n3", "get", "x"))["values"] == ["a"]


def test_two_coordinators_that_take_one_request_count_it_once() -> None:
    pump = LeaderlessPump()
    pump.cut = {(a, b) for a in pump.names for b in pump.names if a != b}
    first = pump.ask("n1", Command("counter-incr", "c", (5,)), seq=1)
    second = pump.ask("n2", Command("counter-incr", "c", (5,)), seq=1)
    pump.deliver_all()
    pump.cut = set()
    pump.run(1_000 * MS)
    assert ok(pump.answer(first)) is None and ok(pump.answer(second)) is None  # type: ignore[arg-type]
    assert ok(pump.call("n3", "counter-read", "c")) == 5


def test_a_removal_finds_what_its_coordinator_missed() -> None:
    pump = LeaderlessPump()
    pump.cut = {("n1", "n3")}
    ok(pump.call("n1", "set-add", "s", "e"))
    ok(pump.call("n1", "put", "x", 1))
    pump.cut = set()
    ok(pump.call("n3", "set-remove", "s", "e"))
    ok(pump.call("n3", "delete", "x"))
    assert ok(pump.call("n1", "set-read", "s")) == []
    assert ok(pump.call("n1", "get", "x"))["values"] == []


# -- what is refused


def test_what_makes_no_sense_is_refused_in_a_sentence() -> None:
    pump = LeaderlessPump()
    for op, args, how, said in (
        ("cas", (1, 2), {}, "there is no operation 'cas'"),
        ("put", (1, "zz"), {}, "is none that a read gave"),
        ("get", (), {"mode": "lease"}, "has no mode 'lease': linearizable, quorum, one"),
        ("put", (1,), {"seq": 0}, "needs a session and a seq"),
        ("put", (None,), {}, "None means that a key is absent"),
    ):
        answer = pump.do("n1", Command(op, "x", args), **{"seq": 1, **how})  # type: ignore[arg-type]
        assert answer.status == "fail" and said in answer.error, (op, answer)


def test_a_node_that_holds_no_such_key_names_one_that_does() -> None:
    pump = LeaderlessPump(5)
    replicas = preference_list("k5", pump.names)[:3]
    other = next(name for name in pump.names if name not in replicas)
    answer = pump.call(other, "put", "k5", 1)
    assert (answer.status, answer.leader) == ("redirect", replicas[0])
    pump.crash(replicas[0])
    pump.run(1_000 * MS)
    assert pump.call(other, "put", "k5", 1).leader == replicas[1]
    assert ok(pump.call(replicas[1], "put", "k5", 1)) is None
    assert pump.held(replicas[2], "k5") == [1] and pump.held(other, "k5") == []


def test_messages_of_others_are_dropped() -> None:
    pump = LeaderlessPump()
    node = pump.nodes["n1"]
    assert not kinds(pump, VersionsHeld)
    node.on_message(0, "n9", VersionsRead(0, 1, "v:x"))
    node.on_message(0, "n2", RequestVote(1, "n2", 0, 0))
    node.on_message(0, "n2", VersionsWritten(0, 77, "v:x"))
    assert node.status()["keys"] == 0


def test_a_client_that_is_gone_is_not_answered() -> None:
    pump = LeaderlessPump()
    id = pump.ask("n1", Command("put", "x", (1,)), seq=1)
    pump._carry_out("n1", pump.nodes["n1"].on_disconnect(pump.now, 1))
    pump.deliver_all()
    assert pump.answer(id) is None and pump.held("n2", "x") == [1]
    assert pump.nodes["n1"].status()["pending"] == 0


def test_too_many_requests_are_told_to_come_again() -> None:
    pump = LeaderlessPump(config=config(pending_max=2), auto_sync=False)
    ids = [pump.ask("n1", Command("put", "x", (n,)), seq=n, session=f"s{n}") for n in (1, 2, 3)]
    answer = pump.answer(ids[2])
    assert answer is not None and answer.status == "retry" and "2 requests are" in answer.error


# -- hints and comparisons


def test_a_hint_waits_with_another_node_and_arrives() -> None:
    pump = LeaderlessPump(5)
    replicas = preference_list("k5", pump.names)[:3]
    away, here = replicas[0], replicas[1]
    pump.crash(away)
    pump.run(1_000 * MS)
    ok(pump.call(here, "put", "k5", 1))
    keepers = [name for name in pump.nodes if pump.nodes[name].states.hints]
    assert len(keepers) == 1 and keepers[0] not in replicas
    pump.crash(keepers[0])
    pump.restart(keepers[0])
    assert pump.nodes[keepers[0]].status()["hints"] == 1, "hints are durable"
    pump.restart(away)
    pump.nodes[here].anti_entropy.due_ns = pump.nodes[replicas[2]].anti_entropy.due_ns = 1 << 60
    pump.run(1_000 * MS)
    assert pump.held(away, "k5") == [1]
    assert pump.nodes[keepers[0]].status()["hints"] == 0


def test_a_silent_member_is_suspected_and_trusted_again() -> None:
    pump = LeaderlessPump()
    pump.run(500 * MS)
    assert all(pump.nodes[name].status()["alive"] == list(pump.names) for name in pump.names)
    pump.isolate("n3")
    pump.run(1_000 * MS)
    assert pump.nodes["n1"].status()["alive"] == ["n1", "n2"]
    pump.run(5_000 * MS)
    assert [pump.nodes[name].status()["gossip_dead"] for name in pump.names] == [1, 1, 2]
    pump.cut = set()
    pump.run(6_000 * MS)
    assert all(pump.nodes[name].status()["alive"] == list(pump.names) for name in pump.names)
    assert pump.nodes["n1"].status()["gossip_refutations"] > 0


def test_an_incarnation_is_no_stamp() -> None:
    pump = LeaderlessPump(config=config(versions="lww-lamport"))
    pump.run(100 * MS)
    before = pump.nodes["n1"].stamps.reading
    far = 1 << 50
    pump._carry_out("n1", pump.nodes["n1"].on_message(pump.now, "n2", Ping(far, 0, 1)))
    assert pump.nodes["n1"].stamps.reading == before and before < far
    assert pump.nodes["n1"].status()["dropped_messages"] == 0
    assert any(isinstance(message, PingAck) for _, _, message in pump.wire)
    node = pump.nodes["n1"]
    stranger = node.on_message(pump.now, "n9", VersionsRead(far, 1, "v:x", ring=1))
    said = [each.message for each in stranger if isinstance(each, Send)]
    assert not any(isinstance(each, VersionsHeld) for each in said), "n9 is no member"


def test_what_a_node_says_waits_until_its_incarnation_is_durable() -> None:
    pump = LeaderlessPump(auto_sync=False)
    pump.run(4_000 * MS)
    assert pump.nodes["n1"].status()["alive"] == ["n1"], "none has heard of another"
    pump.auto_sync = True
    for name in pump.names:
        pump.sync(name)
    assert kinds(pump, GossipMessage)
    pump.run(6_000 * MS)
    assert pump.nodes["n1"].status()["alive"] == list(pump.names)


def test_bound_and_incarnation_are_written_together() -> None:
    pump = LeaderlessPump(config=config(versions="lww-lamport"))
    ok(pump.call("n1", "put", "x", 1))
    hard = pump.stores["n1"].recovered().hard_state
    assert hard.generation >= pump.nodes["n1"].stamps.reading > 0 and hard.adopted == 1
    pump.crash("n1")
    pump.restart("n1")
    assert pump.nodes["n1"].status()["incarnation"] == 2
    pump.run(100 * MS)
    ok(pump.call("n1", "put", "x", 2))
    after = pump.stores["n1"].recovered().hard_state
    assert after.generation > hard.generation and after.adopted == 2


def test_no_more_hints_are_kept_than_there_is_room_for() -> None:
    pump = LeaderlessPump(config=config(hints_max=3))
    pump.crash("n3")
    pump.run(1_000 * MS)
    for number in range(6):
        ok(pump.call("n1", "put", f"k{number}", 1))
    assert pump.nodes["n1"].status()["hints"] == 3
    pump.restart("n3")
    pump.run(2_000 * MS)
    assert [pump.held("n3", f"k{n}") for n in range(6)] == [[1]] * 6, "comparing finds the others"


def test_a_replica_that_was_away_is_brought_up_by_comparing() -> None:
    pump = LeaderlessPump(config=config(hints_max=0))
    pump.isolate("n3")
    for number in range(100):
        ok(pump.call("n1", "put", f"k{number}", number))
    assert pump.nodes["n3"].status()["keys"] == 0
    pump.cut = set()
    pump.run(4_000 * MS)
    trees = [pump.nodes[name].status()["trees"] for name in pump.names]
    assert pump.nodes["n3"].status()["keys"] == 100
    assert trees[0]["n3"] == trees[2]["n1"] and trees[1]["n3"] == trees[2]["n2"]
    assert len({pump.nodes[name].state_hash() for name in pump.names}) == 1


# -- tombstones


def deleted(pump: LeaderlessPump) -> None:
    ok(pump.call("n1", "put", "x", 1))
    pump.run(50 * MS)
    ok(pump.call("n1", "delete", "x"))


def test_a_tombstone_is_forgotten_by_all_once_all_have_it() -> None:
    pump = LeaderlessPump(config=config())
    deleted(pump)
    assert [pump.nodes[name].status()["tombstones"] for name in pump.names] == [1, 1, 1]
    pump.run(3_000 * MS)
    assert [pump.nodes[name].status()["keys"] for name in pump.names] == [0, 0, 0]
    for name in pump.names:
        pump.crash(name)
        pump.restart(name)
    assert [pump.nodes[name].status()["keys"] for name in pump.names] == [0, 0, 0]


@pytest.mark.parametrize("why", ["away", "busy", "hint"])
def test_a_tombstone_waits(why: str) -> None:
    pump = LeaderlessPump(config=config())
    first = preference_list("x", pump.names)[0]
    other = next(name for name in pump.names if name != first)
    deleted(pump)
    if why == "away":
        pump.paused.add(other)
    elif why == "busy":
        pump.nodes[other].store.is_busy = lambda key: True  # type: ignore[method-assign]
        pump.nodes[other].side._is_busy = lambda key: True
    else:
        state = pump.nodes[other].states.state("v:x")
        pump.nodes[other].states.keep_hint("n9", "v:x", state)
    pump.run(5_000 * MS)
    assert pump.nodes[first].status()["tombstones"] == 1
    assert pump.nodes[first].status()["reaped"] == 0


def test_numbers_of_a_forgotten_tombstone_are_not_used_again() -> None:
    """A replica that still has it would take the new write for an old one."""
    pump = LeaderlessPump(config=config())
    deleted(pump)
    before = pump.nodes["n1"].states.state("v:x").vector
    assert before[pump.nodes["n1"].actor] == 1
    pump.run(3_000 * MS)
    ok(pump.call("n1", "put", "x", 2))
    context = ok(pump.call("n2", "get", "x"))["context"]
    assert decode_context(context) == VersionVector({pump.nodes["n1"].actor: 2})


# -- restarts


def test_everything_durable_is_there_after_a_restart() -> None:
    pump = LeaderlessPump(config=config(snapshot_entries=5))
    for number in range(23):
        ok(pump.call("n1", "put", f"k{number % 4}", number))
        ok(pump.call("n2", "counter-incr", "c", number))
    hashes = {name: pump.nodes[name].state_hash() for name in pump.names}
    for name in pump.names:
        assert pump.stores[name].snapshot is not None, "records are compacted"
        pump.crash(name)
        pump.restart(name)
        assert pump.nodes[name].state_hash() == hashes[name]
    assert ok(pump.call("n3", "counter-read", "c")) == sum(range(23))


def test_few_large_records_are_compacted_too() -> None:
    pump = LeaderlessPump()
    for number in range(60):
        ok(pump.call("n1", "put", f"k{number}", "x" * 100_000))
    assert pump.stores["n1"].snapshot is not None and len(pump.stores["n1"].entries) < 60
    hashed = pump.nodes["n1"].state_hash()
    pump.crash("n1")
    pump.restart("n1")
    assert pump.nodes["n1"].state_hash() == hashed


def test_each_life_is_an_actor_of_its_own() -> None:
    pump = LeaderlessPump(auto_sync=False)
    first = pump.nodes["n1"].actor
    pump.ask("n1", Command("put", "x", (1,)), seq=1)
    pump.deliver_all()  # the others merge it, before it is durable at n1
    pump.crash("n1")
    pump.restart("n1")
    assert pump.nodes["n1"].actor != first and pump.held("n1", "x") == []
    pump.auto_sync = True
    for name in pump.names:
        pump.sync(name)
    ok(pump.call("n1", "put", "x", 2, session="t"))
    assert sorted(ok(pump.call("n2", "get", "x"))["values"]) == [1, 2]


def test_an_answer_to_an_earlier_life_counts_for_nothing() -> None:
    """Else the first write of a new life would be acknowledged by what was asked in the last."""
    pump = LeaderlessPump(auto_sync=False)
    pump.ask("n1", Command("put", "x", (1,)), seq=1)
    (_, _, first), *_ = kinds(pump, VersionsWrite)
    pump.wire.clear()
    pump.crash("n1")
    pump.restart("n1")
    id = pump.ask("n1", Command("put", "x", (2,)), seq=1, session="t")
    pump.sync("n1")
    pump.wire = [("n2", "n1", VersionsWritten(0, first.id, "v:x"))]
    pump.deliver()
    assert pump.answer(id) is None


# -- stamps


@pytest.mark.parametrize("versions", ["lww-lamport", "lww-hybrid", "lww-wall"])
def test_the_last_writer_wins(versions: str) -> None:
    pump = LeaderlessPump(config=config(versions=versions))
    pump.run(100 * MS)
    ok(pump.call("n1", "put", "x", 1))
    ok(pump.call("n2", "put", "x", 2, session="t"))
    assert ok(pump.call("n3", "get", "x")) == 2
    ok(pump.call("n3", "delete", "x"))
    assert ok(pump.call("n1", "get", "x")) is None
    pump.run(4_000 * MS)
    assert [pump.nodes[name].status()["keys"] for name in pump.names] == [0, 0, 0]


def test_no_stamp_is_issued_before_its_bound_is_durable() -> None:
    pump = LeaderlessPump(config=config(versions="lww-lamport"), auto_sync=False)
    answer = pump.do("n1", Command("put", "x", (1,)), seq=1)
    assert answer.status == "retry" and "not durable yet" in answer.error
    for name in pump.names:
        pump.sync(name)
    id = pump.ask("n1", Command("put", "x", (1,)), seq=1)
    pump.deliver_all()
    assert pump.answer(id) is None
    pump.sync("n1")
    pump.sync("n2")
    pump.deliver_all()
    assert ok(pump.answer(id)) == {"stamp": 1, "node": "n1", "ns": None}  # type: ignore[arg-type]
    assert pump.nodes["n2"].status()["generation"] == 1, "messages carry it"
    pump.crash("n1")
    pump.restart("n1")
    assert pump.nodes["n1"].stamps.reading == 1_000, "it begins above what it may have issued"


def test_a_stamp_too_far_ahead_is_not_taken() -> None:
    pump = LeaderlessPump(config=config(versions="lww-hybrid"))
    pump.run(10 * MS)
    node = pump.nodes["n1"]
    far = node.stamps.reading + 3_600_000 * MS
    before = node.status()
    node.on_message(pump.now, "n2", msgspec.structs.replace(VersionsRead(0, 1, "v:x"), stamp=far))
    assert node.status()["dropped_messages"] == before["dropped_messages"] + 1
    assert node.stamps.reading < far
    answer = pump.do("n1", Command("get", "x"))
    assert answer.status == "ok" or answer.status == "retry"


def test_a_node_that_gave_keys_away_writes_on_under_another_name() -> None:
    """Under its old name a later write of such a key would seem to have replaced what it forgot."""
    pump = LeaderlessPump()
    pump.run(100 * MS)
    node = pump.nodes["n1"]
    before = node.actor
    node.rename()
    assert node.actor != before and node.actor.startswith("n1.")
    assert pump.call("n1", "put", "x", 1).status == "ok"
    (sibling,) = node.states.state("v:x").siblings
    assert sibling.dot.actor == node.actor


def test_a_request_under_way_goes_on_under_the_next_ring() -> None:
    """What was answered under the old ring does not count; n1 leaves while it coordinates."""
    pump = LeaderlessPump(4)
    pump.run(100 * MS)
    key = next(f"k{n}" for n in range(50) if "n1" in pump.nodes["n1"].states.replicas(f"v:k{n}"))
    pump.cut = {("n1", other) for other in pump.names if other != "n1"}
    id = pump.ask("n1", Command("put", key, (1,)), seq=1, timeout_ns=9_000 * MS)
    pump.deliver_all()
    assert pump.answer(id) is None
    view = StableView(2, ("n2", "n3", "n4"), ("n1", "n2", "n3", "n4"))
    for name in pump.names:
        pump._carry_out(name, pump.nodes[name].on_message(pump.now, "n2", view))
    assert pump.nodes["n1"].store.operations, "it is under way still"
    operation = next(iter(pump.nodes["n1"].store.operations.values()))
    assert operation.halves == pump.nodes["n1"].states.ring.halves(f"v:{key}")
    assert len(operation.halves) == 2 and set(operation.have) <= {"n1"}, "its own copy alone"
