"""Paxos: the parts by themselves, nodes in the message pump, and histories drawn by Hypothesis."""

from __future__ import annotations

import pytest
from core_pump import Pump, SeededRng
from hypothesis import given, settings
from hypothesis import strategies as st
from paxos_pump import PaxosPump

from cluster.config import MS, ClusterConfig
from cluster.consensus.paxos import (
    NO_BALLOT,
    ROUNDS_RESERVED,
    Acceptor,
    Attempt,
    BallotClock,
    Pace,
    Proposer,
)
from cluster.core.acceptors import Acceptors
from cluster.core.paxos_register import ROUNDS_AHEAD_MAX
from cluster.ports import Append, Recovered, SaveSnapshot, Send
from cluster.wire import (
    Ballot,
    Command,
    HardState,
    Heartbeat,
    RegisterAccept,
    RegisterAccepted,
    RegisterPrepare,
    RegisterPromise,
    RegisterRefused,
)

NODES = ("n1", "n2", "n3")
EMPTY = Recovered(HardState(), None, [])


def b(round: int, node: str = "n1") -> Ballot:
    return Ballot(round, node)


# -- parts


def test_ballots_are_ordered_by_round_and_then_by_node() -> None:
    assert NO_BALLOT < b(1, "n1") < b(1, "n2") < b(2, "n1")


def test_a_ballot_is_above_all_that_were_heard_of_and_its_round_is_reserved() -> None:
    clock = BallotClock("n1", 0)
    assert clock.next() == b(1) and clock.must_reserve()
    assert clock.reserve() == 1 + ROUNDS_RESERVED and not clock.must_reserve()
    clock.observe(7)
    assert clock.next() == b(8) and not clock.must_reserve()
    clock.observe(5_000)
    assert clock.next() == b(5_001) and clock.must_reserve()
    assert BallotClock("n1", 1_001).next() > b(1_001)


def test_an_acceptor_keeps_its_promise() -> None:
    acceptor = Acceptor()
    assert acceptor.may_promise(b(2)) and acceptor.promise(b(2))
    assert not acceptor.may_promise(b(1)) and not acceptor.may_accept(b(1))
    assert acceptor.may_promise(b(2)) and not acceptor.promise(b(2)), "a copy is no news"
    assert acceptor.may_accept(b(3)) and acceptor.accept(b(3), b"v")
    assert (acceptor.promised, acceptor.accepted, acceptor.value) == (b(3), b(3), b"v")
    assert not acceptor.accept(b(3), b"v"), "a copy is no news"
    with pytest.raises(AssertionError, match="after"):
        acceptor.promise(b(2))
    with pytest.raises(AssertionError, match="after"):
        acceptor.accept(b(2), b"w")


def test_an_attempt_builds_on_the_newest_value_of_a_majority() -> None:
    attempt = Attempt("x", b(5), NODES)
    assert not attempt.promised("n2", RegisterPromise("x", b(5), b(1), b"old"))
    assert not attempt.promised("n2", RegisterPromise("x", b(5), b(1), b"old")), "a copy"
    assert not attempt.promised("n3", RegisterPromise("x", b(4), b(1), b"old")), "another's"
    assert attempt.promised("n3", RegisterPromise("x", b(5), b(3), b"new"))
    assert attempt.found() == (b"new", False)
    assert attempt.propose(b"newer") == RegisterAccept("x", b(5), b"newer")
    assert not attempt.promised("n1", RegisterPromise("x", b(5), NO_BALLOT, b"")), "too late"
    assert not attempt.accepted("n1", RegisterAccepted("x", b(5)))
    assert attempt.accepted("n3", RegisterAccepted("x", b(5)))


def test_a_value_that_a_majority_tells_under_one_ballot_is_chosen() -> None:
    attempt = Attempt("x", b(5), NODES)
    attempt.promised("n1", RegisterPromise("x", b(5), b(3), b"v"))
    attempt.promised("n2", RegisterPromise("x", b(5), b(3), b"v"))
    assert attempt.found() == (b"v", True)


def test_one_ballot_with_two_values_is_noticed() -> None:
    attempt = Attempt("x", b(5), NODES)
    attempt.promised("n1", RegisterPromise("x", b(5), b(3), b"v"))
    attempt.promised("n2", RegisterPromise("x", b(5), b(3), b"w"))
    with pytest.raises(AssertionError, match="names two values"):
        attempt.found()


def test_silent_acceptors_are_asked_again_unless_another_has_refused() -> None:
    attempt = Attempt("x", b(5), NODES)
    attempt.promised("n1", RegisterPromise("x", b(5), NO_BALLOT, b""))
    assert attempt.ask_again() == (RegisterPrepare("x", b(5)), ["n2", "n3"])
    assert not attempt.refused("n2", b(5)) and not attempt.refused("n3", b(4))
    assert attempt.ask_again() is None
    assert attempt.refused("n3", b(5)), "no majority is left"


def test_waits_grow_with_refusals_and_with_the_time_an_attempt_takes() -> None:
    config = ClusterConfig()
    pace = Pace(config.ballot_backoff_min_ns)
    proposer = Proposer(config, SeededRng("0"), pace)
    waits = []
    for _ in range(12):
        proposer.begin(0, "x", b(1), NODES)
        proposer.give_way(1 * MS)
        waits.append(proposer.deadline_ns - 1 * MS)
    assert waits[0] <= 2 * MS < waits[-1] <= config.ballot_backoff_max_ns
    pace.refused(3_000 * MS)
    proposer.begin(0, "x", b(1), NODES)
    assert proposer.deadline_ns == 6_000 * MS, "patience is twice the time an attempt takes"
    proposer.succeed(3_000 * MS)
    assert proposer.failures == 0 and proposer.idle


def test_a_proposer_lets_another_go_first_once() -> None:
    proposer = Proposer(ClusterConfig(), SeededRng("0"), Pace(2 * MS))
    assert not proposer.yields(5 * MS, 5 * MS)
    assert proposer.yields(0, 5 * MS) and 5 * MS <= proposer.deadline_ns <= 9 * MS
    proposer.other_is_done(1 * MS)
    assert proposer.deadline_ns <= 5 * MS
    assert not proposer.yields(1 * MS, 9 * MS)


# -- what is durable


def test_acceptors_come_back_from_their_records_and_snapshots() -> None:
    acceptors = Acceptors(EMPTY, NODES, snapshot_records=4)
    assert acceptors.prepare(RegisterPrepare("x", b(1)))[1] == 1
    acceptors.accept(RegisterAccept("x", b(1), b"v"))
    acceptors.prepare(RegisterPrepare("y", b(2, "n2")))
    writes = acceptors.take_writes()
    entries = [entry for write in writes if isinstance(write, Append) for entry in write.entries]
    again = Acceptors(Recovered(HardState(), None, entries), NODES, snapshot_records=4)
    assert again.rows() == acceptors.rows() and again.last_index == 3
    answer, _ = again.prepare(RegisterPrepare("y", b(1)))
    assert answer == RegisterRefused("y", b(1), b(2, "n2"))
    again.prepare(RegisterPrepare("y", b(3)))
    saved = again.take_writes()[-1]
    assert isinstance(saved, SaveSnapshot) and (saved.snapshot.index, saved.keep_from) == (4, 5)
    whole = Acceptors(Recovered(HardState(), saved.snapshot, entries), NODES, snapshot_records=4)
    assert whole.rows() == again.rows() and whole.highest_round == 3


def test_nothing_is_promised_before_it_is_durable() -> None:
    pump = PaxosPump(auto_sync=False)
    id = pump.ask("n1", Command("put", "x", (1,)), seq=1)
    assert pump.wire == [], "a ballot leaves when its round is reserved"
    pump.sync("n1")
    assert {type(message) for _, _, message in pump.wire} == {RegisterPrepare}
    pump.deliver_all()
    assert pump.records("n2") == ["promise"] and pump.wire == []
    pump.sync("n2")
    pump.deliver_all()
    assert pump.records("n3") == ["promise", "accept"], "n1 and n2 were a majority"
    pump.sync("n1")
    assert pump.answer(id) is None, "one acceptance is no majority"
    pump.sync("n2")
    pump.deliver_all()
    assert pump.answer(id).status == "ok"  # type: ignore[union-attr]


def test_a_node_that_restarts_uses_no_ballot_again_and_remembers() -> None:
    pump = PaxosPump()
    assert pump.call("n1", "put", "x", 1).status == "ok"
    used = pump.nodes["n1"].clock.round
    for name in pump.names:
        pump.crash(name)
    for name in pump.names:
        pump.restart(name)
    assert pump.nodes["n1"].clock.round >= used + ROUNDS_RESERVED - 1
    assert pump.call("n2", "get", "x").value == 1


# -- requests


def test_any_node_answers_all_operations() -> None:
    pump = PaxosPump()
    assert pump.call("n1", "put", "x", 1).value == 1
    assert pump.call("n2", "cas", "x", 1, 2).status == "ok"
    refused = pump.call("n3", "cas", "x", 1, 3)
    assert (refused.status, refused.error) == ("fail", "the value is 2, not 1")
    assert pump.call("n1", "append", "l", "a").value == 1
    assert pump.call("n2", "append", "l", "b").value == 2
    assert pump.call("n3", "get", "l").value == ["a", "b"]
    assert pump.call("n1", "incr", "c", 5).value == 5
    assert pump.call("n2", "stat", "x").value["version"] == 2
    assert pump.call("n3", "delete", "x").value is True
    assert pump.call("n1", "get", "x").value is None
    assert pump.call("n2", "put", "x", 9).value == 1, "a version begins anew after a delete"


@pytest.mark.parametrize(
    "command, fields, sentence",
    [
        (Command("members", ""), {}, "members: the members of role paxos stay those"),
        (Command("add-learner", "n4"), {}, "add-learner: the members"),
        (Command("get", "x"), {"mode": "stale"}, "no read mode 'stale': linearizable or follower"),
        (Command("get", "x"), {"mode": "lease"}, "no read mode 'lease'"),
        (Command("put", "x", (1,)), {"seq": 0}, "needs a session and a seq"),
        (Command("fly", "x"), {}, "there is no operation 'fly'"),
        (
            Command("put", "x", (1,)),
            {"seq": 1, "opened_after": ROUNDS_AHEAD_MAX + 1},
            "no ballot has that round",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    command: Command, fields: dict, sentence: str
) -> None:
    pump = PaxosPump()
    answer = pump.answer(pump.ask("n1", command, **fields))
    assert answer is not None and answer.status == "fail" and sentence in answer.error


def test_requests_that_wait_share_an_attempt() -> None:
    pump = PaxosPump()
    ids = [pump.ask("n1", Command("incr", "c", (1,)), seq=1, session=f"s{n}") for n in range(9)]
    pump.deliver_all()
    assert [pump.answer(id).value for id in ids] == list(range(1, 10))  # type: ignore[union-attr]
    assert pump.nodes["n1"].proposers.attempts == 1
    assert pump.nodes["n1"].proposers.registers == {} and pump.nodes["n1"].proposers.pending == 0


def test_an_undisturbed_read_takes_one_round_trip_and_a_late_one_does_not() -> None:
    pump = PaxosPump()
    assert pump.call("n1", "put", "x", 1).status == "ok"
    early = pump.ask("n1", Command("get", "x"))
    pump.deliver_all()
    assert pump.answer(early).value == 1  # type: ignore[union-attr]
    kinds = {type(message) for _, _, message in pump.wire}
    assert RegisterAccept not in kinds
    # n2's promise is on its way when x is changed; n1's own is not durable yet.
    pump.auto_sync = False
    first = pump.ask("n1", Command("get", "x"))
    pump.cut = {("n1", "n3")}
    pump.deliver_all()
    pump.sync("n2")
    pump.deliver_all()
    pump.auto_sync = True
    pump.cut = {("n2", "n1"), ("n3", "n1")}
    assert pump.call("n2", "put", "x", 2).status == "ok"
    late = pump.ask("n1", Command("get", "x"))
    pump.cut = set()
    pump.run(2_000 * MS)
    assert pump.answer(late).value == 2  # type: ignore[union-attr]
    assert pump.answer(first).value in (1, 2)  # type: ignore[union-attr]


def test_a_request_asked_again_elsewhere_happens_once() -> None:
    pump = PaxosPump()
    for attempt, name in enumerate(("n1", "n2", "n3", "n1")):
        answer = pump.call(name, "append", "l", "a", session="c", seq=1)
        assert answer.value == 1, attempt
    assert pump.call("n2", "get", "l").value == ["a"]


def test_a_change_that_one_acceptor_has_is_recognised_when_it_is_built_upon() -> None:
    pump = PaxosPump()
    pump.ask("n1", Command("incr", "c", (1,)), session="c", seq=1)
    while any(type(message) is not RegisterAccept for _, _, message in pump.wire):
        pump.deliver(next(i for i, w in enumerate(pump.wire) if type(w[2]) is not RegisterAccept))
    pump.wire.clear()  # only n1 has accepted
    pump.cut = {("n2", "n3"), ("n3", "n2")}
    assert pump.call("n2", "incr", "c", 1, session="c", seq=1).value == 1
    assert pump.call("n2", "get", "c").value == 1


def test_what_no_majority_answers_is_unknown_once_it_was_proposed() -> None:
    pump = PaxosPump()
    pump.isolate("n1")
    never = pump.ask("n1", Command("incr", "c", (1,)), seq=1, timeout_ns=500 * MS)
    read = pump.ask("n1", Command("get", "d"), timeout_ns=500 * MS)
    pump.run(1_000 * MS)
    assert pump.answer(never).status == "retry"  # type: ignore[union-attr]
    assert pump.answer(read).status == "retry"  # type: ignore[union-attr]
    pump.cut = set()
    maybe = pump.ask("n1", Command("incr", "c", (1,)), seq=1, session="d", timeout_ns=500 * MS)
    while not any(type(message) is RegisterAccept for _, _, message in pump.wire):
        pump.deliver()
    pump.isolate("n1")
    pump.run(1_000 * MS)
    assert pump.answer(maybe).status == "unknown"  # type: ignore[union-attr]


def test_a_forgotten_session_is_refused_and_a_new_one_is_not() -> None:
    pump = PaxosPump(config=ClusterConfig(register_session_max=2))
    assert pump.call("n1", "incr", "c", 1, session="old").value == 1
    for name in ("a", "b", "c"):
        revision = pump.call("n2", "incr", "c", 1, session=name, opened_after=10).revision
    again = pump.call("n3", "incr", "c", 1, session="old")
    assert again.status == "expired" and again.revision >= revision
    new = pump.call("n1", "incr", "c", 1, session="new", opened_after=again.revision)
    assert (new.status, new.value) == ("ok", 5)


def test_a_full_node_says_so_and_a_client_that_left_is_forgotten() -> None:
    pump = PaxosPump(config=ClusterConfig(pending_max=1))
    pump.isolate("n1")
    pump.ask("n1", Command("get", "x"))
    answer = pump.answer(pump.ask("n1", Command("get", "x")))
    assert answer is not None and answer.status == "retry" and "waiting" in answer.error
    pump._carry_out("n1", pump.nodes["n1"].on_disconnect(pump.now, 1))
    assert pump.nodes["n1"].proposers.pending == 0


def test_messages_of_another_role_are_dropped() -> None:
    replica = Pump().nodes["n1"]
    effects = replica.on_message(0, "n2", RegisterPrepare("x", b(99)))
    assert not any(isinstance(effect, Append | Send) for effect in effects)
    assert replica.consensus.clock.generation == 0
    peer = PaxosPump().nodes["n1"]
    assert peer.on_message(0, "n2", Heartbeat(9, 1, 0)) == []
    assert peer.on_message(0, "n9", RegisterPrepare("x", b(99))) == [], "no member"
    assert peer.clock.round == 0


# -- histories drawn


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "deliver",
                "deliver",
                "deliver",
                "copy",
                "lose",
                "sync",
                "sync",
                "crash",
                "tick",
                "ask",
            )
        ),
        st.integers(0, 1_000),
    ),
    min_size=20,
    max_size=160,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(0, 1_000))
def test_each_increment_happens_once_whatever_is_lost_doubled_late_or_forgotten(
    events: list[tuple[str, int]], seed: int
) -> None:
    pump = PaxosPump(auto_sync=False, seed=seed)
    asked: dict[int, int] = {}  # id of a copy -> number of the increment
    for kind, number in events:
        name = pump.names[number % 3]
        if kind in ("deliver", "copy", "lose") and pump.wire:
            position = number % len(pump.wire)
            if kind == "lose":
                pump.wire.pop(position)
            else:
                pump.deliver(position, keep=kind == "copy")
        elif kind == "sync":
            pump.sync_one(name)
        elif kind == "crash":
            pump.crash(name)
            pump.restart(name)
        elif kind == "tick":
            pump.now += 400 * MS
            pump.tick(name)
        elif kind == "ask":
            increment = number % 4
            command = Command("incr", "c", (1,))
            asked[pump.ask(name, command, session=f"s{increment}", seq=1)] = increment
    pump.auto_sync = True
    for name in pump.names:
        pump.sync(name)
    pump.run(6_000 * MS)
    total = pump.call("n2", "get", "c").value or 0
    answers = {id: pump.answer(id) for id in asked}
    told = {asked[id]: a.value for id, a in answers.items() if a is not None and a.status == "ok"}
    assert len(told) <= total <= len(set(asked.values()))
    assert len(set(told.values())) == len(told), "two increments made the same number"
