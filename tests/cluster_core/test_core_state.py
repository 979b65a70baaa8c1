"""The state machine, the sessions and the replica around them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from core_pump import Pump, get, put
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ablations.registry import ablate
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.config import MS, ClusterConfig
from cluster.consensus.interface import Consensus, SafetyViolation
from cluster.core.answers import fail
from cluster.core.key_value import KeyValue
from cluster.core.lease import TokenFence
from cluster.core.replica import ReplicaParts
from cluster.core.state_machine import MachineParts, StateMachine
from cluster.core.state_watch import Watcher
from cluster.ports import Append, Core
from cluster.wire import Command, LoggedCommand, Request


def machine_of(**config: Any) -> StateMachine:
    return MachineParts().build(ClusterConfig(**config))


def run(machine: StateMachine, *commands: tuple[Any, ...]) -> list[Any]:
    """Apply (op, key, *args) in order; values of what went well, "fail" otherwise."""
    answers = []
    for index, (op, key, *args) in enumerate(commands, machine.keys.values.newest + 1):
        status, value, error = machine.apply(index, Command(op, key, tuple(args)))
        assert (status == "ok") == (error == "")
        answers.append(value if status == "ok" else "fail")
    return answers


def test_the_operations() -> None:
    assert run(
        machine_of(),
        ("get", "x"),
        ("put", "x", 1),
        ("put", "x", {"a": [1, None]}),
        ("cas", "x", {"a": [1, None]}, 5),
        ("cas", "x", 4, 6),
        ("incr", "x", 2),
        ("get", "x"),
        ("delete", "x"),
        ("delete", "x"),
        ("cas", "x", None, [1]),
        ("append", "x", 2),
        ("append", "y", "a"),
        ("incr", "n", -3),
        ("get", "x"),
        ("stat", "n"),
    ) == [
        None,
        1,
        2,
        3,
        "fail",
        7,
        7,
        True,
        False,
        1,
        2,
        1,
        -3,
        [1, 2],
        {"value": -3, "version": 1, "created": 13, "modified": 13, "lease": ""},
    ]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("append", "n", 1), "the value 1 is not a list"),
        (("incr", "s", 1), "the value 'a' is not an integer"),
        (("incr", "b", 1), "the value True is not an integer"),
        (("incr", "n", 2**63 - 1), "does not fit in 64 bits"),
        (("incr", "n", 1.5), "incr takes an integer, not 1.5"),
        (("incr", "n", True), "incr takes an integer, not True"),
        (("cas", "n", True, 2), "the value is 1, not True"),
        (("cas", "n", 1.0, 2), "the value is 1, not 1.0"),
        (("put", "n", None), "None means that a key is absent"),
        (("put", "n", b"x"), "is a bytes, not JSON-like"),
        (("put", "n", {1: 2}), "has a name that is not a string"),
        (("put", "n", 2**64), "does not fit in 64 bits"),
        (("put", "n"), "put takes value, [lease], and was given 0 arguments"),
        (("get", "n", 1, 2), "get takes [revision], and was given 2 arguments"),
        (("get", "n", "x"), "get takes a revision, not 'x'"),
        (("range", "n", {"limt": 1}), "range has no option 'limt'; it has end, limit"),
        (("range", "n", {"limit": 0}), "the limit of a range is 0"),
        (("compact", "", 99), "future-revision: revision 99 is not reached yet; the newest one is"),
        (("putt", "n", 1), "there is no operation 'putt'; known are"),
        (("put", 5, 1), "the key 5 is not a string"),
    ],
)
def test_a_bad_command_fails_with_a_sentence_and_changes_nothing(
    command: tuple[Any, ...], sentence: str
) -> None:
    machine = machine_of()
    run(machine, ("put", "n", 1), ("put", "s", "a"), ("put", "b", True))
    before = machine.digest()
    op, key, *args = command
    status, _value, error = machine.apply(9, Command(op, key, tuple(args)))
    assert status == "fail" and sentence in error
    assert machine.digest() == before


def test_nesting_has_a_limit() -> None:
    value: Any = []
    for _ in range(100):
        value = [value]
    assert run(machine_of(), ("put", "x", value)) == ["fail"]


def test_a_list_read_before_an_append_does_not_change() -> None:
    machine = machine_of()
    run(machine, ("append", "x", 1))
    seen = machine.read(Command("get", "x"))
    run(machine, ("append", "x", 2))
    assert seen[1] == [1]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)
commands = st.builds(
    Command,
    st.sampled_from(
        [
            "get",
            "stat",
            "put",
            "cas",
            "append",
            "incr",
            "delete",
            "range",
            "compact",
            "txn",
            "other",
        ]
    ),
    st.sampled_from(["x", "y"]),
    st.lists(values, max_size=2).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(commands, max_size=30))
def test_any_commands_equal_states_and_snapshots(given_commands: list[Command]) -> None:
    """No command raises; a state restored half-way ends equal, with an equal hash and answers."""
    left, right = machine_of(), machine_of()
    for index, command in enumerate(given_commands, 1):
        mine, theirs = left.apply(index, command), right.apply(index, command)
        assert repr(mine) == repr(theirs) and mine[0] in ("ok", "fail")
        if index % 5 == 0:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(left.encode()))
            right = machine_of()
            right.restore(state)
        assert left.digest() == right.digest()


# Sessions


def receiver(session_max: int = 10) -> IdempotentReceiver:
    return IdempotentReceiver(session_max=session_max, unanswered_max=3)


def logged(session: str, seq: int, first: int = 1, opened_after: int = 0) -> LoggedCommand:
    return LoggedCommand(session, seq, put("x", 1), first, opened_after)


def admit(own: IdempotentReceiver, index: int, command: LoggedCommand) -> str:
    """Admit, and remember an answer if it is to be applied; "apply" or the status given."""
    answer = own.admit(index, command)
    if answer is None:
        own.remember(index, command, ("ok", index, ""))
        return "apply"
    return answer[0][0]


def test_a_repeated_number_gets_the_first_answer() -> None:
    own = receiver()
    assert admit(own, 1, logged("a", 1)) == "apply"
    assert own.admit(2, logged("a", 1)) == (("ok", 1, ""), 1)
    assert own.remembered("a", 1) == (("ok", 1, ""), 1) and own.remembered("a", 2) is None
    assert own.duplicates == 1


def test_numbers_are_applied_in_order_and_given_up_ones_never() -> None:
    own = receiver()
    assert admit(own, 1, logged("a", 2)) == "retry", "1 has not arrived"
    assert admit(own, 2, logged("a", 1)) == "apply"
    assert admit(own, 3, logged("a", 2)) == "apply"
    assert admit(own, 4, logged("a", 4, first=4)) == "apply", "the client gave 3 up"
    assert admit(own, 5, logged("a", 3, first=3)) == "unknown", "so it never happens later"
    assert admit(own, 6, logged("a", 1)) == "unknown", "seen, so forgotten, so not repeated"


def test_a_session_cannot_make_the_cluster_remember_without_end() -> None:
    own = receiver()
    for seq in (1, 2, 3):
        assert admit(own, seq, logged("a", seq)) == "apply"
    assert admit(own, 4, logged("a", 4)) == "retry"
    assert admit(own, 5, logged("a", 4, first=3)) == "apply"


def test_the_least_recently_used_session_is_forgotten_and_never_begins_again() -> None:
    own = receiver(session_max=2)
    assert admit(own, 11, logged("a", 1, opened_after=5)) == "apply"
    assert admit(own, 12, logged("b", 1, opened_after=5)) == "apply"
    assert admit(own, 13, logged("a", 2, opened_after=5)) == "apply"
    assert admit(own, 14, logged("c", 1, opened_after=13)) == "apply"
    assert own.sessions.find("b") is None and own.sessions.horizon == 12
    assert admit(own, 15, logged("b", 1, opened_after=5)) == "expired", "it was applied at 12"
    assert admit(own, 16, logged("d", 1, opened_after=0)) == "expired", "it might have been"
    assert admit(own, 17, logged("d~2", 1, opened_after=16)) == "apply"


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
    )
)
def test_nothing_is_applied_twice_and_copies_agree(
    requests: list[tuple[str, int, int, int]],
) -> None:
    own, other = receiver(2), receiver(2)
    applied: list[tuple[str, int, int]] = []
    opened: dict[str, int] = {}
    for index, (session, seq, first, after) in enumerate(requests, 1):
        opened_after = opened.setdefault(session, min(after, index - 1))
        command = logged(session, seq, first, opened_after)
        status = admit(own, index, command)
        assert admit(other, index, command) == status
        if status == "apply":
            applied.append((session, seq, opened_after))
        if index % 4 == 0:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(own.encode()))
            other = receiver(2)
            other.restore(state)
        assert own.digest() == other.digest()
    assert len(set(applied)) == len(applied)


# Replica


def test_deduplication_survives_a_snapshot_installed_elsewhere() -> None:
    """A08d: the retry meets a leader that knows the original only from a snapshot."""
    pump = Pump(3, config=ClusterConfig(snapshot_entries=10, snapshot_keep_entries=1))
    pump.elect("n1")
    pump.isolate("n3")
    incr = Command("incr", "x", (1,))
    assert pump.do("n1", incr, seq=1, session="once").value == 1
    for seq in range(1, 30):
        pump.do("n1", put("y", seq), seq=seq, first=seq)
    pump.cut = set()
    pump.run(500 * MS)
    pump.isolate("n1")
    pump.now += 301 * MS
    pump.elect("n3")
    answer = pump.do("n3", incr, seq=1, session="once")
    assert (answer.status, answer.value) == ("ok", 1)
    assert pump.do("n3", get("x")).value == 1


def test_followers_send_clients_to_the_leader_and_serve_stale_reads() -> None:
    pump = Pump(3)
    answer = pump.do("n2", get("x"))
    assert (answer.status, answer.leader) == ("retry", "")
    pump.elect("n1")
    for command, seq in ((get("x"), 0), (put("x", 1), 1)):
        answer = pump.do("n2", command, seq=seq)
        assert (answer.status, answer.leader) == ("redirect", "n1")
    pump.do("n1", put("x", 1), seq=1)
    pump.run(100 * MS)
    answer = pump.do("n2", get("x"), mode="stale")
    assert (answer.status, answer.value, answer.revision) == ("ok", 1, 2)


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        (put("x", 1), {"seq": 0}, "needs a session and a seq"),
        (put("x", 1), {"seq": 1, "session": ""}, "needs a session"),
        (Command("nope", "x"), {"seq": 1}, "there is no operation"),
        (get("x"), {"mode": "fresh"}, "there is no read mode 'fresh'"),
    ],
)
def test_bad_requests_fail_with_a_sentence(
    command: Command, options: dict[str, Any], sentence: str
) -> None:
    pump = Pump(1)
    pump.run(1_000 * MS)
    answer = pump.do("n1", command, **options)
    assert answer.status == "fail" and sentence in answer.error


def test_a_deposed_leader_says_unknown_and_a_queued_command_did_not_happen() -> None:
    pump = Pump(3, auto_sync=False)
    for _ in range(40):
        for name in pump.names:
            pump.sync(name)
        pump.run(50 * MS)
    leader = pump.leader()
    logged_id = pump.ask(leader, put("x", 1), seq=1)
    queued_id = pump.ask(leader, put("x", 2), seq=1, session="d")
    pump.isolate(leader)
    pump.run(2_000 * MS)
    logged_answer, queued_answer = pump.answer(logged_id), pump.answer(queued_id)
    assert logged_answer is not None and logged_answer.status == "unknown"
    assert queued_answer is not None and queued_answer.status == "retry"


def test_patience_ends_unknown_for_writes_and_retry_for_reads() -> None:
    pump = Pump(3, config=ClusterConfig(check_quorum=False))
    pump.elect("n1")
    pump.isolate("n1")
    write = pump.ask("n1", put("x", 1), seq=1, timeout_ns=300 * MS)
    read = pump.ask("n1", get("x"), timeout_ns=400 * MS)
    pump.run(299 * MS)
    assert pump.answer(write) is None
    pump.run(200 * MS)
    answers = [pump.answer(write), pump.answer(read)]
    assert [a.status for a in answers if a is not None] == ["unknown", "retry"]
    assert pump.nodes["n1"].pending == 0


def test_too_much_waiting_is_refused_at_once() -> None:
    pump = Pump(3, config=ClusterConfig(pending_max=3))
    pump.elect("n1")
    pump.isolate("n1")
    ids = [pump.ask("n1", put("x", i), seq=1, session=f"s{i}") for i in range(5)]
    answers = [pump.answer(id) for id in ids]
    assert [a.status if a else "waits" for a in answers] == ["waits"] * 3 + ["retry"] * 2


def test_a_connection_that_is_gone_is_not_answered() -> None:
    pump = Pump(3)
    pump.elect("n1")
    pump.ask("n1", put("x", 1), seq=1)
    pump.ask("n1", get("x"))
    pump._carry_out("n1", pump.nodes["n1"].on_disconnect(pump.now, 1))
    pump.deliver_all()
    assert pump.replies == [] and pump.nodes["n1"].pending == 0


def test_several_requests_at_once_share_a_write() -> None:
    pump = Pump(3)
    pump.elect("n1")
    node = pump.nodes["n1"]

    requests = [(i, Request(i, f"s{i}", 1, 1, put("x", i))) for i in range(4)]
    writes = [e for e in node.on_clients(pump.now, requests) if isinstance(e, Append)]
    assert [len(w.entries) for w in writes] == [4]


def test_status_has_the_fields_of_the_admin_endpoint() -> None:
    pump = Pump(3)
    pump.elect("n1")
    status = pump.nodes["n1"].status()
    documented = (
        "node role leader generation high_water_mark applied last_index first_index members "
        "consensus pending sessions"
    )
    assert set(documented.split()) <= set(status)
    assert status["role"] == "leader"
    msgspec.json.encode(status)


def test_a_snapshot_of_everything_is_taken_and_found_again() -> None:
    pump = Pump(1, config=ClusterConfig(snapshot_entries=10, snapshot_keep_entries=3))
    pump.run(1_000 * MS)
    for seq in range(1, 26):
        pump.do("n1", put(f"k{seq}", seq), seq=seq, first=seq)
    node = pump.nodes["n1"]
    assert node.consensus.snapshot_index == 20 and node.consensus.log.first_index == 18
    digest, applied = node.state_hash(), node.applied
    pump.crash("n1")
    pump.restart("n1")
    pump.run(1_000 * MS)
    assert pump.nodes["n1"].applied == applied + 1, "a new leader's own entry"
    assert pump.do("n1", get("k25")).value == 25
    assert pump.do("n1", put("k25", 0), seq=25, first=25).value == 1, "remembered"
    assert digest != "" and fail("x")[0] == "fail"


# Ablations: the shortest story of each, and the intact core passing it


def a30(*ablations: str) -> Any:
    pump = Pump(3, parts=ablate(ReplicaParts(), ablations))
    pump.elect("n1")
    pump.do("n1", put("x", 1), seq=1)
    pump.isolate("n1")
    pump.now += 301 * MS
    pump.elect("n2")
    assert pump.do("n2", put("x", 2), seq=1, session="d").status == "ok"
    id = pump.ask("n1", get("x"))
    answer = pump.answer(id)
    return answer.value if answer else None


def test_a30_reads_the_past() -> None:
    assert a30("A30") == 1
    assert a30() is None


def a28(*ablations: str) -> Any:
    pump = Pump(3, parts=ablate(ReplicaParts(), ablations))
    pump.elect("n1")
    incr = Command("incr", "x", (1,))
    pump.do("n1", incr, seq=1)
    pump.do("n1", incr, seq=1)
    return pump.do("n1", get("x")).value


def test_a28a_happens_twice() -> None:
    assert (a28("A28a"), a28()) == (2, 1)


def a12(*ablations: str) -> tuple[Any, Pump]:
    pump = Pump(3, parts=ablate(ReplicaParts(), ablations))
    pump.elect("n1")
    pump.do("n1", put("x", 1), seq=1)
    pump.run(50 * MS)
    pump.paused.add("n1")
    pump.now += 301 * MS
    pump.elect("n2")
    assert pump.do("n2", put("x", 2), seq=1, session="d").status == "ok"
    pump.paused.clear()
    id = pump.ask("n1", get("x"))
    pump.deliver_all()
    read = pump.answer(id)
    return (read.value if read else None), pump


def test_a12_reads_the_past_and_would_overwrite_it() -> None:
    read, pump = a12("A12")
    assert read == 1, "followers confirm a leader that is none any more"
    with pytest.raises(SafetyViolation, match="is committed"):
        pump.do("n1", put("x", 3), seq=2)
    read, pump = a12()
    assert read is None and pump.do("n1", put("x", 3), seq=2).status in ("redirect", "retry")


def test_the_replica_is_what_the_ports_ask_for() -> None:
    core: Core = Pump(1).nodes["n1"]
    consensus: Consensus = Pump(1).nodes["n1"].consensus
    for name in (n for n in dir(Core) if not n.startswith("_")):
        assert callable(getattr(core, name))
    for name in (n for n in dir(Consensus) if not n.startswith("_")):
        assert hasattr(consensus, name)


# What clients and resources keep for themselves


def test_a_resource_takes_no_token_older_than_the_newest_it_has_seen() -> None:
    fence = TokenFence()
    assert [fence.admit(token) for token in (3, 3, 8, 3, 7, 8, 9)] == [
        True, True, True, False, False, True, True,
    ]  # fmt: skip
    assert fence.newest == 9


def test_a_watcher_goes_on_where_the_last_answer_ended() -> None:
    watcher = Watcher(2)
    assert watcher.options() == {"after": 2}
    watcher.told(7)
    assert watcher.options() == {"after": 7}


def test_the_keys_of_a_lease_are_named_in_one_order_on_a_node_that_restored_too() -> None:
    live, restored = KeyValue(), KeyValue()
    for index, key in enumerate(("b", "c", "a"), 1):
        live.apply(index, Command("put", key, (index, "lease")))
    restored.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(live.encode())))
    assert live.attached("lease") == restored.attached("lease") == ["a", "b", "c"]
