"""Goal: a history written in any foreign notation is read back as the same, whatever is in it.

Method: a writer for each notation, here and by its documentation only; generated histories and
sessions; and the written text with bytes cut, flipped and put in, which is one sentence or read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from etcd_reports import Lab
from history_strategies import events
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.history import Event, History, HistoryError, load, recognise
from checkers.history.export import edn

Folder = pytest.TempPathFactory


def row(event: Event) -> dict[str, Any]:
    """An operation map; its key is a field, as in Porcupine's notation."""
    made: dict[str, Any] = {"type": event.type, "process": event.process, "f": event.f}
    made |= {"value": event.value, "time": event.time_ns}
    made |= {"key": event.key} if event.key is not None else {}
    made |= {"node": event.node} if event.node is not None else {}
    return made | ({"error": event.error} if event.error is not None else {})


def as_lines(made: list[Event]) -> str:
    return "".join(json.dumps(row(event)) + "\n" for event in made)


def as_array(made: list[Event]) -> str:
    return json.dumps([row(event) for event in made], indent=1)


def as_maps(made: list[Event]) -> str:
    pairs = (
        " ".join(f":{name} {_word(name, value)}" for name, value in row(event).items())
        for event in made
    )
    return "[" + "\n ".join(f"#jepsen.history.Op{{{pair}}}" for pair in pairs) + "]"


def as_records_with_metadata(made: list[Event]) -> str:
    return "".join(
        "^{:line " + str(event.index) + "}\n{"
        + ",\n  ".join(f":{name} ^:v {_word(name, value)}" for name, value in row(event).items())
        + "}\n"
        for event in made
    )  # fmt: skip


def _word(name: str, value: Any) -> str:
    return f":{value}" if name in ("type", "f") else edn(value)


WRITERS: dict[str, Callable[[list[Event]], str]] = {
    "elle-json": as_lines,
    "elle-json array": as_array,
    "edn": as_maps,
    "edn with metadata": as_records_with_metadata,
}


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=40)
@given(made=events())
def test_operation_maps_come_back(tmp_path_factory: Folder, name: str, made: list[Event]) -> None:
    if not made:
        return
    path = tmp_path_factory.mktemp("maps") / "history"
    path.write_text(WRITERS[name](made))
    assert recognise(path) == name.split()[0]
    assert list(load(path, independent=False).events()) == list(History.from_events(made).events())


@settings(max_examples=40)
@given(events())
def test_vectors_come_back(tmp_path_factory: Folder, made: list[Event]) -> None:
    if not made:
        return
    path = tmp_path_factory.mktemp("vectors") / "history"
    columns = ([e.process, e.type, e.f, e.value, e.error] for e in made)
    path.write_text("".join(
        f"[{p} :{kind} :{f} {edn(value)} {edn(error)}]\n" for p, kind, f, value, error in columns
    ))  # fmt: skip
    told = [
        (e.process, e.type, e.f, e.value, e.error) for e in load(path, independent=False).events()
    ]
    assert told == [(e.process, e.type, e.f, e.value, e.error) for e in made]


# Sessions -----------------------------------------------------------------------------------------

micros = st.tuples(st.sampled_from("rw"), st.integers(0, 5), st.integers(1, 9)).map(list)
transactions = st.tuples(st.booleans(), st.lists(micros, min_size=1, max_size=4))
sessions = st.lists(st.lists(transactions, min_size=1, max_size=4), min_size=1, max_size=3)
Sessions = list[list[tuple[bool, list[list[Any]]]]]


def told_of(history: History) -> dict[Any, list[tuple[str, Any]]]:
    """The completions of each process in order."""
    found: dict[Any, list[tuple[str, Any]]] = {}
    for op in history.ops():
        found.setdefault(op.process, []).append((op.type, op.output))
    return found


def as_awdit(made: Sessions) -> str:
    lines = []
    for session in made:
        for _, txn in session:
            lines += [f"{f} {key} {value}" for f, key, value in txn] + ["---"]
        lines.append("=====")
    return "\n".join(lines) + "\n"


def as_dbcop(made: Sessions) -> str:
    return json.dumps({"db": "t", "sessions": [
        [{"ok": ok, "ops": [[*micro, 1] for micro in txn]} for ok, txn in session]
        for session in made
    ]})  # fmt: skip


def as_polysi(made: Sessions) -> str:
    lines = []
    for number, session in enumerate(made):
        for at, (ok, txn) in enumerate(session):
            lines += [f"{f}({key},{value},{number},{at if ok else -1})" for f, key, value in txn]
    return "\n".join(lines) + "\n"


@settings(max_examples=60)
@given(sessions)
def test_sessions_come_back(tmp_path_factory: Folder, made: Sessions) -> None:
    path = tmp_path_factory.mktemp("sessions") / "history"
    committed = {number: [("ok", txn) for _, txn in session] for number, session in enumerate(made)}
    path.write_text(as_awdit(made))
    assert told_of(load(path)) == committed
    path.write_text(as_dbcop(made))
    assert told_of(load(path)) == {
        number: [("ok" if ok else "fail", txn) for ok, txn in session]
        for number, session in enumerate(made)
    }
    path.write_text(as_polysi(made))
    expected = {}
    for number, session in enumerate(made):
        told: list[tuple[str, Any]] = []
        for ok, txn in session:
            told += [("ok", txn)] if ok else [("fail", [m]) for m in txn if m[0] == "w"]
        if told:
            expected[number] = told
    assert recognise(path) == "polysi"
    assert list(told_of(load(path)).values()) == list(expected.values())


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["add", "remove"])), max_size=12))
def test_calls_and_returns_come_back(
    tmp_path_factory: Folder, steps: list[tuple[int, str]]
) -> None:
    """Every step of a thread is a call if it has none open, else the return."""
    path = tmp_path_factory.mktemp("limo") / "history"
    lines, expected, open_now = [], [], dict[int, tuple[str, int]]()
    for number, (thread, what) in enumerate(steps):
        if thread not in open_now:
            open_now[thread] = (what, number)
            lines.append(f"[{thread}] call {what}" + (f"({number})" if what == "add" else ""))
            f = "enqueue" if what == "add" else "dequeue"
            expected.append(("invoke", thread, f, number if what == "add" else None))
        else:
            begun, at = open_now.pop(thread)
            lines.append(f"[{thread}] return" + (f" {number}" if begun == "remove" else ""))
            f = "enqueue" if begun == "add" else "dequeue"
            expected.append(("ok", thread, f, at if begun == "add" else number))
    if not lines:
        return
    path.write_text("# @object atomic-queue\n" + "\n".join(lines) + "\n")
    assert [(e.type, e.process, e.f, e.value) for e in load(path).events()] == expected


# Damage -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: Folder) -> dict[str, bytes]:
    """A history in every notation of text."""
    made = [
        Event(0, 5, 0, "invoke", "write", "x", 3), Event(1, 6, 0, "ok", "write", "x", 3),
        Event(2, 7, 1, "invoke", "cas", "x", [3, {"a": "b\n"}]),
        Event(3, 8, 1, "info", "cas", "x", [3, {"a": "b\n"}], None, "late"),
    ]  # fmt: skip
    some: Sessions = [[(True, [["w", 1, 2], ["r", 1, 2]])], [(False, [["w", 2, 3]])]]
    report = Lab(3, 12).write(tmp_path_factory.mktemp("report"))
    texts = {name: write(made) for name, write in WRITERS.items()}
    texts |= {"awdit": as_awdit(some), "dbcop": as_dbcop(some), "polysi": as_polysi(some)}
    texts["jepsen-log"] = "0\t:invoke\t:write\t[1 nil]\n0\t:info\t:write\t[1 nil]\ttoo late\n"
    texts["completions"] = "[{:type :ok, :value [[:append :x 1]]}\n {:type :ok, :value []}]"
    texts["vectors"] = "[70 :invoke :read nil]\n[70 :ok :read #{3}]\n"
    texts["operations"] = (report / "client-1" / "operations.json").read_text()
    texts["watch"] = (report / "client-9" / "watch.json").read_text()
    return {name: text.encode() for name, text in texts.items()}


NOISE = [b'"', b"{", b"[", b"]", b"}", b"^", b"#_", b"\\", b"\0", b"\xff", b"\n", b"\t", b":", b"-",
         b"1e999", b"9" * 400, b"NaN", b"[" * 600, b"##Inf", b"null", b"\xef\xbb\xbf"]  # fmt: skip


@settings(max_examples=400)
@given(
    st.integers(0, 99),
    st.lists(
        st.tuples(
            st.sampled_from(["cut", "drop", "flip", "put", "again"]),
            st.integers(0, 10**6),
            st.integers(1, 60),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_any_damage_is_read_or_one_sentence(
    tmp_path_factory: Folder,
    written: dict[str, bytes],
    which: int,
    damage: list[tuple[str, int, int]],
) -> None:
    data = list(written.values())[which % len(written)]
    for what, at, size in damage:
        at %= len(data) + 1
        head, tail = data[:at], data[at:]
        data = {
            "cut": head,
            "drop": head + tail[size:],
            "flip": head + bytes([tail[0] ^ size]) + tail[1:] if tail else head,
            "put": head + NOISE[size % len(NOISE)] + tail,
            "again": head + data[:size] + tail,
        }[what]
    path: Path = tmp_path_factory.mktemp("damage") / "history"
    path.write_bytes(data)
    try:
        load(path)
    except HistoryError as error:
        assert "\n" not in str(error) and len(str(error)) < 5000
