"""Transactions, ranges and reads at a revision, on the state machine and through a replica."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import ClusterConfig
from cluster.core.key_value import COMPACTED_AT_ONCE
from cluster.core.state_machine import MachineParts, StateMachine
from cluster.wire import Command

KEYS = ("a", "b", "c")


def machine_of(**config: Any) -> StateMachine:
    return MachineParts().build(ClusterConfig(**config))


def do(machine: StateMachine, op: str, key: str, *args: Any) -> Any:
    """Apply at the next index: the value, or the sentence."""
    index = machine.keys.values.newest + 1
    status, value, error = machine.apply(index, Command(op, key, args))
    return value if status == "ok" else error


def txn(machine: StateMachine, compares: Any, then: Any, otherwise: Any = ()) -> Any:
    return do(machine, "txn", "", list(compares), list(then), list(otherwise))


def test_comparisons_choose_the_branch() -> None:
    machine = machine_of()
    do(machine, "put", "a", 5)
    then, otherwise = [["put", "a", 6]], [["get", "a"]]
    assert txn(machine, [["a", "value", "==", 5]], then, otherwise) == {
        "succeeded": True, "results": [2],
    }  # fmt: skip
    assert txn(machine, [["a", "value", "==", 5]], then, otherwise) == {
        "succeeded": False, "results": [6],
    }  # fmt: skip
    for compare, holds in (
        (["b", "value", "==", None], True),
        (["b", "version", "==", 0], True),
        (["a", "version", ">", 1], True),
        (["a", "created", "==", 1], True),
        (["a", "modified", "<", 2], False),
        (["a", "value", "!=", "6"], True),
        (["a", "value", "<", "6"], False),  # of different types: neither smaller nor greater
        (["a", "lease", "==", ""], True),
    ):
        assert txn(machine, [compare], [])["succeeded"] is holds, compare


def test_a_transaction_reads_its_own_writes_and_shares_one_revision() -> None:
    machine = machine_of()
    found = txn(machine, [], [["put", "a", 1], ["incr", "a", 2], ["get", "a"], ["append", "b", 7]])
    assert found["results"] == [1, 3, 3, 1]
    assert {v.revision for _, v in machine.keys.values.changes(0)} == {1}
    assert [key for key, _ in machine.keys.values.changes(0)] == ["a", "b"]


def test_a_failing_operation_undoes_the_others() -> None:
    machine = machine_of()
    do(machine, "put", "a", 1)
    do(machine, "append", "b", 1)
    before, hash_before = copy.deepcopy(machine.encode()), machine.digest()
    said = txn(machine, [], [["append", "b", 2], ["put", "c", 1], ["append", "a", 3]])
    assert said == "operation 3 of the transaction: the value 1 is not a list"
    assert machine.digest() == hash_before
    assert machine.read(Command("get", "b"))[1] == [1]
    assert do(machine, "append", "b", 9) == 2 and machine.read(Command("get", "b"))[1] == [1, 9]
    assert len(before[0][2]) == len(machine.encode()[0][2])


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (([],), "txn takes three lists"),
        (([], 1, []), "txn takes three lists"),
        (([["a"]], [], []), "['a'] is no comparison"),
        (([["a", "valeu", "==", 1]], [], []), "not of 'valeu'"),
        (([["a", "value", "=", 1]], [], []), "not '='"),
        (([["a", "version", "==", "1"]], [], []), "different types"),
        (([], [["cas", "a", 1, 2]], []), "txn has no operation 'cas'"),
        (([], [["put", "a"]], []), "put takes value"),
        (([], [["put", "a", None]], []), "None means that a key is absent"),
        (([], [["put"]], []), "is no operation"),
        (([], [["get", "a"]] * 129, []), "129 operations"),
    ],
)
def test_a_wrong_transaction_is_a_sentence(args: Any, sentence: str) -> None:
    machine = machine_of()
    status, _, error = machine.apply(1, Command("txn", "", args))
    assert status == "fail" and sentence in error


PART = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 9)),
    st.tuples(st.just("append"), st.sampled_from(KEYS), st.integers(0, 9)),
    st.tuples(st.just("incr"), st.sampled_from(KEYS), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("get"), st.sampled_from(KEYS)),
)
COMPARE = st.tuples(
    st.sampled_from(KEYS), st.just("value"), st.sampled_from(("==", "!=", "<")), st.integers(0, 9)
)
TXN = st.tuples(st.lists(COMPARE, max_size=2), *[st.lists(PART, max_size=4)] * 2)


class Twin:
    """The slow obvious one: a copy of a dict, thrown away if anything fails."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def apply(self, compares: Any, then: Any, otherwise: Any) -> Any:
        holds = all(self._holds(*compare) for compare in compares)
        trial, results = copy.deepcopy(self.state), []
        for op, key, *args in then if holds else otherwise:
            old = trial.get(key)
            if op == "get":
                results.append(copy.deepcopy(old))
            elif op == "delete":
                results.append(trial.pop(key, None) is not None)
            elif op == "put":
                trial[key] = args[0]
                results.append(None)
            elif op == "append" and (old is None or isinstance(old, list)):
                trial[key] = [*(old or []), args[0]]
                results.append(len(trial[key]))
            elif op == "incr" and (old is None or isinstance(old, int)):
                trial[key] = (old or 0) + args[0]
                results.append(trial[key])
            else:
                return None
        self.state = trial
        return holds, results

    def _holds(self, key: str, field: str, how: str, operand: int) -> bool:
        present = self.state.get(key)
        if how == "<":
            return isinstance(present, int) and present < operand
        return (present == operand) == (how == "==")


@settings(deadline=None)
@given(st.lists(TXN, max_size=12))
def test_transactions_do_as_a_copied_dict_does(transactions: list[Any]) -> None:
    machine, twin = machine_of(), Twin()
    for compares, then, otherwise in transactions:
        wanted, found = (
            twin.apply(compares, then, otherwise),
            txn(machine, compares, then, otherwise),
        )
        if wanted is None:
            assert isinstance(found, str) and "not a" in found
        else:
            assert found["succeeded"] is wanted[0]
            for mine, theirs in zip(found["results"], wanted[1], strict=True):
                assert theirs is None or mine == theirs
        present = {key: machine.read(Command("get", key))[1] for key in KEYS}
        assert {k: v for k, v in present.items() if v is not None} == twin.state
        again = machine_of()
        again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(machine.encode())))
        assert again.digest() == machine.digest()


def test_a_range_is_a_prefix_or_goes_to_its_end() -> None:
    machine = machine_of()
    for key in ("a/1", "a/2", "b/1", "a0"):
        do(machine, "put", key, key)
    found = machine.read(Command("range", "a/"))[1]
    assert [item["key"] for item in found["items"]] == ["a/1", "a/2"]
    assert (found["count"], found["more"], found["revision"]) == (2, False, 4)
    whole = machine.read(Command("range", "", ({"limit": 3, "keys_only": True},)))[1]
    assert whole["items"] == [{"key": "a/1"}, {"key": "a/2"}, {"key": "a0"}] and whole["more"]
    ended = machine.read(Command("range", "a/2", ({"end": "b", "count_only": True},)))[1]
    assert (ended["count"], ended["items"]) == (2, [])


def test_a_read_at_a_revision_sees_the_past_until_it_is_compacted() -> None:
    machine = machine_of()
    for number in range(1, 6):
        txn(machine, [], [["put", "a", number], ["put", "b", -number]])
    for revision in range(1, 6):
        items = machine.read(Command("range", "", ({"revision": revision},)))[1]["items"]
        assert [item["value"] for item in items] == [revision, -revision]
    assert do(machine, "compact", "", 3) == 3
    status, _, error = machine.read(Command("get", "a", (2,)))
    assert status == "fail" and error.startswith("compacted: revision 2")
    assert machine.read(Command("get", "a", (3,)))[1] == 3
    assert do(machine, "compact", "", 2).startswith("compacted: revision 2 is compacted")


FUTURE = "future-revision: revision 9 is not reached yet; the newest one is 3"


def test_a_read_at_a_revision_that_is_not_reached_is_refused() -> None:
    machine = machine_of()
    for number in (1, 2, 3):
        do(machine, "put", "a", number)
    for op, *args in (("get", "a", 9), ("stat", "b", 9), ("range", "", {"revision": 9})):
        asked = Command(op, args[0], tuple(args[1:]))
        assert machine.read(asked) == ("fail", None, FUTURE)
    assert do(machine, "compact", "", 9) == FUTURE.replace("is 3", "is 4")
    assert machine.read(Command("get", "a", (4,)))[0] == "fail"  # the compaction changed no key


def test_a_transaction_that_reads_the_future_changes_nothing() -> None:
    machine = machine_of()
    do(machine, "put", "a", 1)
    said = txn(machine, [], [["put", "a", 2], ["get", "b", 9]])
    wanted = "operation 2 of the transaction: future-revision: revision 9 is not reached yet; "
    assert said == wanted + "the newest one is 2"
    assert machine.read(Command("get", "a"))[1] == 1
    assert txn(machine, [], [["put", "a", 3], ["get", "a", 3]])["results"] == [2, 3]


def test_a_revision_without_a_change_can_be_read_once_it_is_applied() -> None:
    """The answers of reads, sessions and members name revisions at which no key changed."""
    machine = machine_of()
    do(machine, "put", "a", 1)
    machine.reach(7)
    assert machine.read(Command("get", "a", (7,)))[1] == 1
    assert machine.read(Command("get", "a", (8,)))[2].startswith("future-revision: revision 8")
    again = machine_of()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(machine.encode())))
    again.reach(7)
    assert again.read(Command("range", "", ({"revision": 7},)))[1]["revision"] == 7


def test_history_is_bounded_without_being_asked() -> None:
    machine = machine_of(history_revisions=10)
    for number in range(100):
        do(machine, "put", "a", number)
    assert 100 - 20 <= machine.keys.values.floor < 100
    assert len(machine.encode()[0][2][0][1]) <= 21


def test_history_is_compacted_in_small_steps() -> None:
    """No request is served while ten thousand revisions are dropped."""
    machine = machine_of(history_revisions=1_000)
    floors = [0]
    for number in range(4_000):
        do(machine, "put", f"k{number % 7}", number)
        floors.append(machine.keys.values.floor)
    steps = [after - before for before, after in itertools.pairwise(floors) if after != before]
    assert len(steps) >= 4 and max(steps[1:]) <= COMPACTED_AT_ONCE + 1
    assert 4_000 - floors[-1] >= 1_000
