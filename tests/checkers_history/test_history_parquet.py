"""Goal: a history written as Parquet comes back unchanged; what is no history is one sentence."""

from __future__ import annotations

import decimal
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from history_strategies import events
from hypothesis import given, settings
from pyarrow import parquet

from checkers.history import Event, Fault, History, HistoryError, load, recognise, write_parquet


def same(one: History, other: History) -> None:
    assert repr(list(one.events())) == repr(list(other.events()))  # repr tells 1 from True
    assert one.pair.tolist() == other.pair.tolist()
    assert (one.faults, one.header, one.notes) == (other.faults, other.header, other.notes)


@settings(max_examples=60)
@given(events())
def test_histories_come_back(tmp_path_factory: pytest.TempPathFactory, made: list[Event]) -> None:
    path = tmp_path_factory.mktemp("parquet") / "history.parquet"
    faults = [Fault(1, "kill", 3, 9, [["n1"]], nodes=["n1"], evidence={"bit": True})]
    header = {"format": "history/1", "seed": 7}
    history = History.from_events(made, faults=faults, header=header, notes=["Torn."])
    write_parquet(history, path)
    assert recognise(path) == "parquet"
    same(load(path), history)


VALUES: list[Any] = [
    {0: 10, 1: 20}, [float("inf"), -1.5], decimal.Decimal("1.50"), {"a": {1: None}}, 10**30,
    "{0 1}", "[1", "nil", "", {}, [], True, 0, [["append", "x", 1], ["r", 2, None]], 2**63,
]  # fmt: skip


def test_values_that_json_would_change(tmp_path: Path) -> None:
    made = []
    for process, value in enumerate(VALUES):
        made.append(Event(len(made), -1, process, "invoke", "write", None, value))
        made.append(Event(len(made), -1, process, "info", "write", None, value, None, value))
    history = History.from_events(made)
    write_parquet(history, tmp_path / "h")
    same(load(tmp_path / "h"), history)


def test_many_batches_and_a_verdict_from_the_command(tmp_path: Path, capsys: Any) -> None:
    from harness.cli import main

    count = 40_000  # more than a batch holds
    history = History.from_columns(
        types=["invoke", "ok"] * count,
        processes=[n // 2 % 5 for n in range(2 * count)],
        functions=["write"] * (2 * count),
        keys=["x"] * (2 * count),
        times_ns=list(range(2 * count)),
        values=[n // 2 for n in range(2 * count)],
    )
    path = tmp_path / "history.parquet"
    write_parquet(history, path)
    found = load(path)
    assert found.values == history.values and found.pair.tolist() == history.pair.tolist()
    assert found.place(79_999) == "row 80000"
    assert main(["check", str(path), "-m", "register"]) == 0
    assert "40000 operations" in capsys.readouterr().out


def table(path: Path, **columns: list[Any]) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_tables_of_others(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "type": ["invoke", "ok"], "process": [3, 3], "f": ["write", "write"], "value": ["1", "1"],
    }  # fmt: skip
    history = load(table(tmp_path / "h", **columns, more=[1, 2]))
    assert [event.value for event in history.events()] == ["1", "1"], "text is text"
    assert history.processes == [3] and history.time_ns.tolist() == [-1, -1]
    with pytest.raises(HistoryError, match=r"h: the table has no column f, value; a history has"):
        load(table(tmp_path / "h", type=["ok"], process=[1]))
    columns["process"] = [3, 4]
    with pytest.raises(HistoryError, match=r"h, row 2: process 4 completes 'write'"):
        load(table(tmp_path / "h", **columns))
    columns["type"] = ["invoke", "done"]
    with pytest.raises(HistoryError, match=r"h, row 2: type 'done' is none of"):
        load(table(tmp_path / "h", **columns))
    columns["type"], columns["process"] = ["invoke", "ok"], [None, 3]
    with pytest.raises(HistoryError, match=r"h, row 1: the event has no process"):
        load(table(tmp_path / "h", **columns))


def test_damage_and_absence_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "h"
    history = History.from_events([Event(0, 1, 0, "invoke", "write", None, 1)])
    write_parquet(history, path)
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:4], b"PAR1" + whole[40:], b"PAR1" + bytes(1000) + b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(HistoryError, match=r"cannot be read|no column|damaged"):
            load(path)
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (lambda: load(path), lambda: write_parquet(history, path)):
        with pytest.raises(HistoryError, match=r"pip install splitbrain\[parquet\]"):
            act()
