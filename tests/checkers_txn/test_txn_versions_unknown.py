"""Small histories whose versions have no known order, or that began in a state of their own.

Each is a case that was once called VALID, or a sibling of one; the right levels are written beside
it, and the oracle of :mod:`small_worlds` agrees.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import executions
import pytest
import small_worlds as sw
from executions import execution
from test_txn_oracle import judged, reconfirmed

from checkers.checker_choice import choose, infer
from checkers.core.budget import Budget
from checkers.core.verdict import Verdict
from checkers.history import Event, History, load
from checkers.isolation import list_append, rw_register


def world(text: str) -> list[sw.T]:
    """A world: a line per transaction, ``process invoke-complete outcome micro-operations``.

    ``rx`` reads nothing of x, ``rx1`` the value 1, ``rx:12`` the list [1, 2]; ``wx1`` writes, and
    ``ax1`` appends.
    """
    txns = []
    for line in text.strip().splitlines():
        process, span, outcome, *words = line.split()
        invoke, complete = map(int, span.split("-"))
        mops = tuple(_mop(word, lists=":" in text) for word in words)
        txns.append(sw.T(int(process), invoke, complete, outcome, mops))
    return txns


def _mop(word: str, *, lists: bool) -> sw.Mop:
    f, key, said = word[0], word[1], word[2:].lstrip(":")
    if f == "r":
        return "r", key, [int(c) for c in said] if lists else int(said) if said else None
    return {"w": "w", "a": "append"}[f], key, int(said)


#: name -> the history, a level that allows it (or none), and levels that do not
REGISTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "two stale reads that cross": (
        "5 0-1 ok wc1 \n 6 2-3 ok wc2 \n 5 4-5 ok rc2 \n 6 6-7 ok rc1",
        "serializable", ("strict-serializable", "strong-session-serializable"),
    ),
    "an overwritten value": (
        "1 0-1 ok wy1 \n 1 2-3 ok wy3 \n 1 4-5 ok ry1",
        "serializable",
        ("strong-session-serializable", "strong-session-snapshot-isolation", "causal"),
    ),
    "an overwritten value, of another session": (
        "1 0-1 ok wy1 \n 2 2-3 ok wy3 \n 3 4-5 ok ry1",
        "strong-session-serializable", ("strict-serializable", "strong-snapshot-isolation"),
    ),
    "both write x, and either order contradicts a read": (
        "1 0-2 ok rx wx1 wy1 \n 0 1-3 ok ry wx3",
        "causal", ("snapshot-isolation", "serializable", "repeatable-read"),
    ),
    "the same with a reader of one of them": (
        "1 0-2 ok rx wx1 wy1 \n 0 1-3 ok ry wx3 \n 2 4-5 ok rx3",
        "causal", ("snapshot-isolation", "serializable"),
    ),
    "two skews over writes that nobody read": (
        "1 0-4 ok wx1 ry \n 2 1-5 ok wx2 wy2 rz \n 3 2-6 ok wz3 rx1",
        "read-committed", ("serializable", "repeatable-read"),
    ),
    "a lost update of a blind writer": (
        "1 0-1 ok wx1 \n 2 2-4 ok rx1 wx2 wy2 \n 3 3-5 ok wx3 ry \n 3 6-7 ok rx3 ry2",
        "read-committed", ("snapshot-isolation", "serializable"),
    ),
    "a value seen, and then the one before it": (
        "1 0-1 ok wx1 \n 2 0-1 ok wx2 \n 3 2-3 ok rx1 \n 3 4-5 ok rx2 \n"
        " 4 2-3 ok rx2 \n 4 4-5 ok rx1",
        "serializable", ("strong-session-serializable", "causal"),
    ),
    "an unknown write seen before it began to be overwritten": (
        "1 0-1 ok wx1 \n 2 2-3 info wx2 \n 3 4-5 ok rx2 \n 3 6-7 ok rx1",
        "strong-session-serializable", ("strict-serializable", "strong-snapshot-isolation"),
    ),
    "a read of the beginning after a write was seen": (
        "1 0-1 ok wx1 \n 2 2-3 ok rx1 \n 2 4-5 ok rx",
        "serializable", ("strong-session-serializable", "causal", "strict-serializable"),
    ),
    "a long fork over blind writes": (
        "1 0-9 ok wx1 \n 2 0-9 ok wy1 \n 3 0-9 ok rx1 ry \n 4 0-9 ok rx ry1",
        "causal", ("snapshot-isolation", "serializable"),
    ),
    "a fractured read": (
        "1 0-1 ok wx1 wy1 \n 2 2-3 ok wx2 wy2 \n 3 4-5 ok rx2 ry1 \n 4 4-5 ok rx1 ry2",
        "read-committed", ("read-atomic", "causal-cerone", "snapshot-isolation"),
    ),
    "a read between another's writes": (
        "1 0-3 ok rx1 wx2 \n 2 1-4 ok rx2 wx1", "", ("read-committed", "serializable"),
    ),
    "a read in the wrong place within a transaction": (
        "2 0-4 ok rx4 wx1 wx2 \n 1 1-3 ok wx3 rx2 wx4", "", ("read-committed",),
    ),
}  # fmt: skip

LISTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a snapshot contradicted whichever of two unread appends comes first": (
        "3 0-3 ok az1 ry: \n 0 1-4 ok rz: ax1 ay1 \n 1 2-5 ok rz: az2 ax2",
        "causal-cerone", ("snapshot-isolation", "serializable"),
    ),
    "a fractured read of two lists": (
        "1 0-1 ok ax1 ay1 \n 2 2-3 ok rx:1 ry:", "read-committed", ("read-atomic", "causal"),
    ),
    "an append seen, and not what caused it": (
        "1 0-1 ok ax1 \n 2 2-3 ok rx:1 ay1 \n 3 4-5 ok ry:1 rx:",
        "read-atomic", ("causal-cerone", "causal", "snapshot-isolation"),
    ),
    "a session that does not see its own append": (
        "1 0-1 ok ax1 \n 1 2-3 ok rx:",
        "serializable", ("causal", "strong-session-snapshot-isolation"),
    ),
    "the same after an append of its own": (
        "1 0-1 ok ax1 \n 1 2-3 ok ax2 rx:2 \n 2 4-5 ok rx:21",
        "serializable", ("causal", "strong-session-serializable"),
    ),
    "a future append": ("1 0-1 ok rx:1 ax1", "", ("read-committed", "read-atomic")),
    "a future append with another's before it": (
        "2 0-1 ok ax1 \n 1 2-3 ok rx:12 ax2", "", ("read-committed", "serializable"),
    ),
    "a long fork of lists": (
        "1 0-9 ok ax1 \n 2 0-9 ok ay1 \n 3 0-9 ok rx:1 ry: \n 4 0-9 ok rx: ry:1",
        "causal", ("snapshot-isolation", "serializable"),
    ),
    "a skew of lists": (
        "1 0-2 ok rx: ay1 \n 2 1-3 ok ry: ax1",
        "strong-snapshot-isolation", ("serializable", "repeatable-read"),
    ),
    "three unread appends between snapshots": (
        "1 0-9 ok ry: ax1 az1 \n 2 0-9 ok rz: ax2 ay2 \n 3 0-9 ok rz: ry: ax3",
        "", ("snapshot-isolation", "serializable"),
    ),
    "an unread append before what was read of another": (
        "1 0-1 ok ax1 \n 2 2-3 ok ax2 \n 3 4-5 ok rx:2", "serializable", ("strict-serializable",),
    ),
}  # fmt: skip


CASES = [(name, False) for name in REGISTERS] + [(name, True) for name in LISTS]


@pytest.mark.parametrize(("name", "lists"), CASES)
def test_each_level_says_what_is_right(name: str, lists: bool) -> None:
    text, allowed, refused = (LISTS if lists else REGISTERS)[name]
    txns = world(text)
    kind = "list-append" if lists else "rw-register"
    for level in sw.LEVELS:
        expected = sw.allows(txns, level, lists=lists)
        assert not (level == allowed and not expected), level
        assert not (level in refused and expected), level
        history = sw.history_of(txns)
        result = judged(history, kind, level)
        assert result.verdict is (Verdict.VALID if expected else Verdict.INVALID), level
        assert all(reconfirmed(f, history, level) == "" for f in result.findings)


# What nobody wrote --------------------------------------------------------------------------------

GARBAGE = {
    "register": (False, "3 0-1 ok wa1 \n 4 2-3 ok ra12 wl5"),
    "register, alone": (False, "4 2-3 ok ra12"),
    "register, of another key": (False, "3 0-1 ok wa1 \n 4 2-3 ok rb1"),
    "list": (True, "3 0-1 ok aa1 \n 4 2-3 ok ra:12"),
    "list, before what was appended": (True, "3 0-1 ok aa1 \n 4 2-3 ok ra:21"),
    "list, alone": (True, "4 2-3 ok ra:9"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_value_that_nobody_wrote_is_refuted_from_read_committed_up(name: str) -> None:
    lists, text = GARBAGE[name]
    kind = "list-append" if lists else "rw-register"
    for level in sw.LEVELS:
        result = judged(sw.history_of(world(text)), kind, level)
        assert result.verdict is Verdict.INVALID and result.findings[0].kind == "garbage-read"
        assert "--option init=" in result.findings[0].sentence
        assert "read-committed" in result.stats["not"]
    plain = judged(sw.history_of(world(text)), kind, "read-uncommitted")
    assert plain.verdict is Verdict.VALID


UPDATE = "1 0-2 ok rx0 wx1 \n 2 1-3 ok rx0 wx2"


@pytest.mark.parametrize("level", ["snapshot-isolation", "serializable", "strict-serializable"])
def test_updates_of_a_starting_value_are_lost_like_any_others(level: str) -> None:
    result = judged(sw.history_of(world(UPDATE)), "rw-register", level)
    assert {f.kind for f in result.findings} >= {"garbage-read", "lost-update"}
    for init in (0, {"x": 0}):
        told = judged(sw.history_of(world(UPDATE)), "rw-register", level, init=init)
        assert told.verdict is Verdict.INVALID
        assert told.findings[0].kind == "lost-update"
        assert "garbage-read" not in {f.kind for f in told.findings}


def test_a_starting_value_is_what_init_says() -> None:
    read = "1 0-1 ok rx0 \n 2 2-3 ok wx1 \n 3 4-5 ok rx1"
    for init in (0, {"x": 0}):
        assert judged(sw.history_of(world(read)), "rw-register", "strict-serializable",
                      init=init).verdict is Verdict.VALID  # fmt: skip
    other = judged(sw.history_of(world(read)), "rw-register", "serializable", init=False)
    assert other.findings[0].kind == "garbage-read"  # false is not 0
    stale = "2 0-1 ok wx1 \n 3 2-3 ok rx0"
    late = judged(sw.history_of(world(stale)), "rw-register", "strict-serializable", init=0)
    assert late.verdict is Verdict.INVALID
    began = "1 0-1 ok rx:9 \n 2 2-3 ok ax1 \n 3 4-5 ok rx:91"
    for init in ([9], {"x": [9]}):
        told = list_append(init=init)(sw.history_of(world(began)))
        assert told.verdict is Verdict.VALID, told.reason
    with pytest.raises(ValueError, match="a list holds a list"):
        list_append(init=0)


# Whatever :f says ---------------------------------------------------------------------------------

NAMED: list[tuple[str, list[tuple[Any, ...]], str, str]] = [
    # what it shows, rows of (process, f, outcome, micro-operations), the model, the anomaly
    ("a stale read", [
        (0, "write", "ok", [["append", 4, 1]]), (1, "read", "ok", [["r", 4, []]]),
        (2, "read", "ok", [["r", 4, [1]]])], "list-append", "G-single-item-realtime"),
    ("an aborted read", [
        (0, "txn", "fail", [["append", 6, 1], ["r", 7, None]]),
        (1, "read", "ok", [["r", 6, [1]]])], "list-append", "G1a"),
    ("an aborted read of a register", [
        (0, "update", "fail", [["w", 6, 1]]), (1, "query", "ok", [["r", 6, 1]])],
        "rw-register", "G1a"),
    ("two names that are none of a register", [
        (0, "transfer", "ok", [["r", "x", None], ["w", "x", 1]]),
        (1, "transfer", "ok", [["r", "x", None], ["w", "x", 2]])], "rw-register", "lost-update"),
    ("writes of several keys called write", [
        (0, "write", "ok", [["w", "x", 1], ["w", "y", 1]]),
        (1, "read", "ok", [["r", "x", 1], ["r", "y", None]])], "rw-register", "G-single-item"),
    ("appends called append", [
        (0, "append", "ok", [["append", "x", 1], ["append", "y", 1]]),
        (1, "read", "ok", [["r", "x", [1]], ["r", "y", []]])], "list-append", "G-single-item"),
    ("a write and a read called by the other name", [
        (0, "read", "ok", [["w", "x", 1], ["r", "y", None]]),
        (1, "write", "ok", [["w", "y", 1], ["r", "x", None]])], "rw-register", "G2-item"),
    ("one that read first of all", [
        (0, "read", "ok", []), (0, "read", "ok", [["r", "x", [1]]]),
        (1, "mixed", "fail", [["append", "x", 1]])], "list-append", "G1a"),
    ("an intermediate read", [
        (0, "a", "ok", [["append", "x", 1], ["append", "x", 2]]),
        (1, "b", "ok", [["r", "x", [1]]])], "list-append", "G1b"),
    ("a future read", [(0, "go", "ok", [["r", "x", [1]], ["append", "x", 1]])],
        "list-append", "future-read"),
]  # fmt: skip


@pytest.mark.parametrize("row", NAMED, ids=[row[0] for row in NAMED])
def test_lists_of_micro_operations_are_transactions(row: Any) -> None:
    _, rows, model, anomaly = row
    events = []
    for process, f, outcome, mops in rows:
        asked = [[g, k, None if g == "r" else v] for g, k, v in mops]
        events.append(Event(0, -1, process, "invoke", f, None, asked))
        events.append(Event(0, -1, process, outcome, f, None, mops if outcome == "ok" else asked))
    history = History.from_events(events)
    assert infer(history) == model
    for checker in (choose(history), choose(history, model)):
        result = checker(history)
        assert result.verdict is Verdict.INVALID, result.reason
        assert anomaly in {finding.kind for finding in result.findings}


def test_a_long_fork_keeps_its_own_vocabulary() -> None:
    rows = [Event(0, -1, 0, "invoke", "write", None, [["w", 0, 1]]),
            Event(0, -1, 0, "ok", "write", None, [["w", 0, 1]]),
            Event(0, -1, 1, "invoke", "read", None, [["r", 0, None], ["r", 1, None]]),
            Event(0, -1, 1, "ok", "read", None, [["r", 0, 1], ["r", 1, None]])]  # fmt: skip
    assert infer(History.from_events(rows)) == "long-fork"


# What is open is said -----------------------------------------------------------------------------


def test_a_budget_that_runs_out_names_the_keys_whose_order_is_unknown() -> None:
    rng = random.Random(1)
    log = execution(rng, sessions=5, each=6, keys=3, operations=4, reads=0.4, level="serializable")
    reasons = set()
    for steps in range(1, 60):
        checker = rw_register(consistency_models=("snapshot-isolation",))
        result = checker(executions.history_of(log), budget=Budget(steps=steps))
        assert result.verdict is not Verdict.INVALID, steps
        if result.verdict is Verdict.UNKNOWN:
            reasons.add(result.reason)
    assert any("versions is not known of key" in reason for reason in reasons), reasons


def test_a_level_that_is_not_decided_says_by_what_it_would_be() -> None:
    fork = world(REGISTERS["a long fork over blind writes"][0])
    result = judged(sw.history_of(fork), "rw-register", "parallel-snapshot-isolation")
    assert result.verdict is Verdict.UNKNOWN
    assert "snapshot-isolation could not be shown to hold" in result.reason


@pytest.mark.parametrize("level", ["serializable", "snapshot-isolation", "causal", "read-atomic"])
def test_an_init_that_the_file_gives_as_nil_is_no_other_value(level: str, tmp_path: Path) -> None:
    """dbcop's keys hold 0 at first, and its reads of 0 are loaded as nil: init=0 says the same."""
    path = tmp_path / "run.json"
    path.write_text(
        '{"db":"x","params":{},"sessions":[[{"ok":true,"ops":[["r",1,0,1],["w",1,5,1]]}],'
        '[{"ok":true,"ops":[["r",1,5,1],["r",2,0,1]]}]]}'
    )
    history = load(path)
    for init in (None, 0):
        for checker in (choose(history, "rw-register", level, {"init": init} if init == 0 else {}),
                        rw_register(consistency_models=(level,), init=init)):  # fmt: skip
            assert checker(history).verdict is Verdict.VALID, (init, checker)
    assert rw_register(consistency_models=(level,), init=7)(history).verdict is Verdict.INVALID
