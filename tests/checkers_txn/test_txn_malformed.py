"""Malformed transactions end as one sentence with the place: never a traceback, never VALID."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.check_files import check_files
from checkers.core.checker import as_checker
from checkers.core.verdict import Result, Verdict
from checkers.history import Event, History, HistoryError
from checkers.isolation import list_append, rw_register, serial, weak

CHECKERS: dict[str, Callable[[History], Result]] = {
    "list-append": list_append(),
    "rw-register": rw_register(linearizable_keys=True, wfr_keys=True),
    "serializable": serial("serializable"),
    "snapshot-isolation": serial("snapshot-isolation"),
    "read-committed": weak("read-committed"),
    "causal": weak("causal"),
}
REGISTERS = [name for name in CHECKERS if name != "list-append"]


def history(asked: Any, told: Any, *, outcome: str = "ok") -> History:
    """A good transaction by another process, then one with these values."""
    write = ["append", "x", 7]
    good = [write if told and "append" in str(told) else ["w", "x", 7]]
    rows = [(0, "invoke", good), (0, "ok", good), (1, "invoke", asked), (1, outcome, told)]
    return History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)


def sentence(name: str, made: History) -> str:
    with pytest.raises(HistoryError) as caught:
        CHECKERS[name](made)
    said = str(caught.value)
    assert said.startswith("event ") and "\n" not in said
    judged = as_checker(CHECKERS[name])(made)
    assert judged.verdict is Verdict.UNKNOWN and judged.stats["malformed"], judged.reason
    return said


LISTS: list[tuple[str, Any, Any, str]] = [
    ("a scalar read", [["r", "y", None]], [["r", "y", 3]], "returns a list"),
    ("a read of a string", [["r", "y", None]], [["r", "y", "ab"]], "list"),
    ("a read of a map", [["r", "y", None]], [["r", "y", {"a": 1}]], "list"),
    ("a write", [["w", "y", 1]], [["w", "y", 1]], "of another model"),
    ("NaN appended", [["append", "y", float("nan")]], None, "NaN"),
]
BOTH: list[tuple[str, Any, Any, str]] = [
    ("more", [["r", "y", None]], [["r", "y", None], ["r", "z", None]], "2 micro-operations"),
    ("fewer", [["r", "y", None], ["r", "z", None]], [["r", "y", None]], "1 micro-operations"),
    ("none left", [["r", "y", None]], [], "0 micro-operations"),
    ("another key", [["r", "y", None]], [["r", "z", None]], "not what was invoked"),
    ("another order", [["r", "y", 0], ["r", "z", 0]], [["r", "z", None], ["r", "y", None]],
     "micro-operation 1"),
    ("no list", [["r", "y", None]], "r y", "no transaction"),
    ("a map", [["r", "y", None]], {"r": "y"}, "no transaction"),
    ("a number", [["r", "y", None]], 5, "no transaction"),
    ("no micro-operation", [["r", "y", None]], [5], "no micro-operation"),
    ("a string as one", [["r", "y", None]], ["ry1"], "no micro-operation"),
    ("an empty one", [[]], [[]], "f is one of"),
    ("two parts", [["r", "y"]], [["r", "y"]], "2 parts"),
    ("four parts", [["r", "y", None]], [["r", "y", None, 1]], "4 parts"),
    ("an unknown function", [["x", "y", 1]], [["x", "y", 1]], "f is one of"),
    ("a number for a function", [[1, "y", 1]], [[1, "y", 1]], "f is one of"),
    ("a list for a function", [[["r"], "y", 1]], [[["r"], "y", 1]], "f is one of"),
    ("no key", [["r", None, None]], [["r", None, None]], "names no"),
    ("a key that is not a number", [["r", float("nan"), None]], None, "names nothing"),
    ("invoked with a number", 5, [["r", "y", None]], "no list of micro-operations"),
    ("a strange predicate", [["rp", {"colour": 1}, None]], [["rp", {"colour": 1}, {}]],
     "unknown field"),
    ("a predicate that is a number", [["rp", 3, None]], [["rp", 3, {}]], "no predicate"),
    ("a strange operator", [["rp", {"value": ["~", 1]}, None]], [["rp", {"value": ["~", 1]}, {}]],
     "operator"),
    ("a result that is no map", [["rp", None, None]], [["rp", None, 3]], "neither a map"),
    ("another predicate", [["rp", None, None]], [["rp", {"in": ["x"]}, {}]], "not what was"),
]  # fmt: skip
WRITTEN: list[tuple[str, Any, Any, str]] = [
    ("another value", [["w", "y", 1]], [["w", "y", 2]], "not what was invoked"),
    ("another function", [["w", "y", 1]], [["r", "y", 1]], "not what was invoked"),
    ("an append", [["append", "y", 1]], [["append", "y", 1]], "of another model"),
]


@pytest.mark.parametrize(("what", "asked", "told", "said"), [*LISTS, *BOTH])
def test_list_append_refuses(what: str, asked: Any, told: Any, said: str) -> None:
    told = asked if told is None else told
    told_text = json.dumps(told)
    rows = [(0, "invoke", [["append", "x", 7]]), (0, "ok", [["append", "x", 7]]),
            (1, "invoke", asked), (1, "ok", told)]  # fmt: skip
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    assert said in sentence("list-append", made), (what, told_text)


@pytest.mark.parametrize("name", REGISTERS)
@pytest.mark.parametrize(("what", "asked", "told", "said"), [*WRITTEN, *BOTH])
def test_registers_refuse(name: str, what: str, asked: Any, told: Any, said: str) -> None:
    told = asked if told is None else told
    rows = [(0, "invoke", [["w", "x", 7]]), (0, "ok", [["w", "x", 7]]),
            (1, "invoke", asked), (1, "ok", told)]  # fmt: skip
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    assert said in sentence(name, made), what


@pytest.mark.parametrize("outcome", ["fail", "info"])
def test_what_did_not_complete_is_taken_from_its_invocation(outcome: str) -> None:
    rows = [(0, "invoke", [["w", "x", 7]]), (0, "ok", [["w", "x", 7]]),
            (1, "invoke", [["w", "y", 1], ["r", "x"]]), (1, outcome, "timed out")]  # fmt: skip
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    for name in REGISTERS:
        assert CHECKERS[name](made).verdict is Verdict.VALID
    bad = [(0, "invoke", [["w", "x", 7]]), (0, "ok", [["w", "x", 7]]), (1, "invoke", [["w", 1]])]
    torn = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in bad)
    for name in REGISTERS:
        assert "2 parts" in sentence(name, torn)


def test_keys_may_be_nested_and_stay_apart() -> None:
    """[1, 2], (1, 2) and {"a": 1} are keys like others; 1 and True are two."""
    keys: list[Any] = [[1, 2], {"a": [1]}, 1, True, "1", 1.5]
    mops = [["w", key, n] for n, key in enumerate(keys, 1)]
    reads = [["r", key, n] for n, key in enumerate(keys, 1)]
    asked = [["r", key, None] for key in keys]
    rows = [(0, "invoke", mops), (0, "ok", mops), (1, "invoke", asked), (1, "ok", reads)]
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    for name in REGISTERS:
        assert CHECKERS[name](made).verdict is Verdict.VALID, name


def test_bottomless_values_are_a_sentence() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    rows = [(0, "invoke", [["w", deep, 1]]), (0, "ok", [["w", deep, 1]])]
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    result = as_checker(rw_register())(made)
    assert result.verdict is Verdict.UNKNOWN and result.stats["malformed"]


def test_a_completion_without_a_value_read_nothing_that_is_known() -> None:
    """Its reads are unknown, not reads of the initial state."""
    rows = [(0, "invoke", [["w", "x", 1]]), (0, "ok", [["w", "x", 1]]),
            (1, "invoke", [["r", "x", None], ["w", "y", 2]]), (1, "ok", None)]  # fmt: skip
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    assert rw_register(linearizable_keys=True)(made).verdict is Verdict.VALID


def test_single_operations_must_complete_as_invoked() -> None:
    rows = [("invoke", 5), ("ok", 6)]
    made = History.from_events(Event(0, -1, 0, t, "append", "x", v) for t, v in rows)
    assert "not what was invoked" in sentence("list-append", made)
    rows = [("invoke", 5), ("ok", None)]
    made = History.from_events(Event(0, -1, 0, t, "append", "x", v) for t, v in rows)
    assert list_append()(made).verdict is Verdict.VALID


def test_the_command_names_file_and_place(tmp_path: Path) -> None:
    lines = [
        {"index": 0, "time": 1, "process": 0, "type": "invoke", "f": "txn",
         "value": [["append", "x", 1], ["r", "y", None]]},
        {"index": 1, "time": 2, "process": 0, "type": "ok", "f": "txn",
         "value": [["append", "x", 1], ["r", "y", 3]]},
    ]  # fmt: skip
    path = tmp_path / "scalar.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    (found,) = check_files([path], model="list-append")
    assert found.blame == "file", found
    assert found.error.startswith(str(path))
    assert "micro-operation 2, ['r', 'y', 3], read 3 of a list" in found.error
    assert "event 1:" in found.error or "line 2:" in found.error


# Never a traceback, never VALID -------------------------------------------------------------------

names = st.sampled_from(["r", "w", "append", "rp", "read", "x", 1, None, [], "R"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=2))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=1), inner, max_size=2)
    ),
    max_leaves=6,
)
mops = st.one_of(
    anything, st.tuples(names, anything, anything).map(list), st.lists(anything, max_size=4)
)
values = st.one_of(anything, st.lists(mops, max_size=3))


@settings(max_examples=400, deadline=None)
@given(values, values, st.sampled_from(["ok", "info", "fail"]), st.sampled_from(sorted(CHECKERS)))
def test_any_values_get_an_answer(asked: Any, told: Any, outcome: str, name: str) -> None:
    """Whatever stands in a history, the answer is a result or a sentence with an event."""
    made = history(asked, told, outcome=outcome)
    result = as_checker(CHECKERS[name])(made)
    assert "traceback" not in result.stats, result.reason
    if result.stats.get("malformed"):
        assert result.verdict is Verdict.UNKNOWN and "\n" not in result.reason


good_mops = st.lists(
    st.tuples(st.sampled_from(["r", "w"]), st.sampled_from("xyz"), st.integers(1, 99)),
    min_size=1, max_size=3, unique_by=lambda mop: mop[2],
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(good_mops, st.integers(0, 9), anything, st.sampled_from(sorted(CHECKERS)), st.data())
def test_a_well_formed_transaction_with_one_thing_wrong_is_never_valid(
    base: list[tuple[str, str, int]], kind: int, odd: Any, name: str, data: st.DataObject
) -> None:
    write = "append" if name == "list-append" else "w"
    told: list[Any] = []
    for f, key, value in base:
        told.append([write, key, value] if f == "w" else ["r", key, None])
    asked = [list(mop) for mop in told]
    at = data.draw(st.integers(0, len(told) - 1))
    if kind == 0:
        del told[at]
    elif kind == 1:
        told.insert(at, ["r", "w", None])
    elif kind == 2:
        told[at][1] = [told[at][1], 0]
    elif kind == 3:
        told[at][0] = "r" if told[at][0] == write else write
    elif kind == 4:
        told[at] = tuple(told[at][:2])
    elif kind == 5:
        asked[at][0] = told[at][0] = {"r": "w", "w": "append", "append": "w"}[told[at][0]]
        if told[at][0] == "w" and name != "list-append":
            asked[at][2] = 1
    elif kind == 6:
        asked[at][1] = told[at][1] = None
    elif kind == 7:
        told[at] = odd if not isinstance(odd, list) else {}
    elif kind == 8:
        asked[at] = [*asked[at], odd]
    else:
        told[at] = [*told[at], odd]
    rows = [(0, "invoke", asked), (0, "ok", told)]
    made = History.from_events(Event(0, -1, p, t, "txn", None, v) for p, t, v in rows)
    result = as_checker(CHECKERS[name])(made)
    assert result.verdict is not Verdict.VALID, (asked, told)
    assert result.stats.get("malformed"), result.reason
