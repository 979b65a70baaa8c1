"""Goal: a budget holds for all that judging a file is: reading it, every judge, what never asks.

Method: the clock of budgets is set to this process's processor time, so that a busy machine does
not disturb; histories of tens of thousands of operations, and budgets far too small for them. What
is spent may exceed the budget by a fifth, and by what so many operations need between two looks.
"""

from __future__ import annotations

import gzip
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checkers import Verdict
from checkers.check_files import FileResult, check_files
from checkers.checker_choice import checkers_by_name
from checkers.core import budget
from checkers.core.budget import Budget, BudgetSpent, Meter, alarm, look, not_counted, within
from checkers.core.checker import checker
from checkers.history import History, write_edn, write_jsonl

COUNT = 50_000
TIME_S = 0.1
SLACK_S = 0.25

Rows = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=time.process_time))


def made(rows: Rows) -> History:
    """(f, input, output, key) of operations one after another, by twenty processes."""
    twice = [(row, half) for row in rows for half in (1, 2)]
    return History.from_columns(
        types=["invoke", "ok"] * len(rows),
        processes=[at % 20 for at in range(len(rows)) for _ in (0, 1)],
        functions=[row[0] for row, _ in twice],
        keys=[row[3] if len(row) > 3 else None for row, _ in twice],
        times_ns=range(2 * len(rows)),
        values=[row[half] for row, half in twice],
    )


def pairs(change: str, ask: str, key: Callable[[int], Any] = lambda at: None) -> Rows:
    """A change to a fresh value, then a question that is answered with it."""
    return [
        (change, at, at, key(at)) if at % 2 == 0 else (ask, None, at - 1, key(at - 1))
        for at in range(COUNT)
    ]


def transactions(write: str) -> Rows:
    rows: Rows = []
    seen: list[int] = []
    for at in range(COUNT):
        key = at // 20
        seen = [] if at % 20 == 0 else seen
        if at % 2 == 0:
            seen = [*seen, at]
            rows.append(("txn", [[write, key, at]], [[write, key, at]]))
        else:
            value = list(seen) if write == "append" else seen[-1]
            rows.append(("txn", [["r", key, None]], [["r", key, value]]))
    return rows


def every_key() -> Rows:
    return [("write", 1, 1, at) for at in range(COUNT)]


def additions() -> Rows:
    return [("add", at, at) for at in range(COUNT - 1)] + [("read", None, list(range(COUNT - 1)))]


HISTORIES: dict[str, Callable[[], Rows]] = {
    "register": every_key,
    "key-value": lambda: pairs("put", "get", lambda at: at // 50),
    "append-list": lambda: [("append", at, at, at // 2) for at in range(COUNT)],
    "fifo-queue": lambda: pairs("enqueue", "dequeue"),
    "stack": lambda: pairs("push", "pop"),
    "linearizable-set": additions,
    "list-append": lambda: transactions("append"),
    **dict.fromkeys(
        (
            "rw-register", "read-committed", "read-atomic", "transactional-causal", "serializable",
            "snapshot-isolation",
        ),
        lambda: transactions("w"),
    ),
    "set-full": additions,
    "total-queue": lambda: pairs("enqueue", "dequeue"),
    "unique-ids": lambda: [("generate", None, at) for at in range(COUNT)],
    "counter": lambda: [("increment", 1, 1) for _ in range(COUNT)],
    "session-guarantees": lambda: pairs("write", "read", lambda at: at % 7),
    "causal": lambda: pairs("write", "read", lambda at: at % 7),
    "bounded-staleness": lambda: pairs("write", "read", lambda at: at % 7),
    "monotonic": lambda: pairs("inc", "read"),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_every_judge_keeps_it(name: str) -> None:
    history = made(HISTORIES[name]())
    judge = checkers_by_name()[name]()
    judge(made(HISTORIES[name]()[:40]), budget=Budget(time_s=60))  # whatever is to be imported
    spent_s = math.inf
    for _ in range(3):  # a busy machine makes a try dearer, never cheaper
        began_s = time.process_time()
        result = judge(history, budget=Budget(time_s=TIME_S))
        spent_s = min(spent_s, time.process_time() - began_s)
    assert spent_s < 1.2 * TIME_S + SLACK_S, result.reason
    if result.verdict is Verdict.UNKNOWN:
        assert f"the time budget of {TIME_S} s is spent" in result.reason
    else:
        assert result.verdict is Verdict.VALID, result.reason


def checked(path: Path, limit: Budget, model: str = "list-append") -> tuple[FileResult, float]:
    began_s = time.process_time()
    (found,) = check_files([path], model=model, budget=limit, jobs=1)
    return found, time.process_time() - began_s


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "edn", "edn.gz"])
def test_reading_a_file_is_within_it(tmp_path: Path, form: str) -> None:
    history = made(transactions("append") * 2)
    plain, path = tmp_path / form.removesuffix(".gz"), tmp_path / f"history.{form}"
    (write_jsonl if form.startswith("jsonl") else write_edn)(history, plain)
    text = plain.read_bytes()
    path.write_bytes(gzip.compress(text, 1) if form.endswith(".gz") else text)
    checked(path, Budget(time_s=0.001))  # whatever is to be imported
    found, spent_s = checked(path, Budget(time_s=TIME_S))
    assert found.verdict is Verdict.UNKNOWN and not found.error
    assert found.result is not None
    assert f"the time budget of {TIME_S} s is spent while the file was read: " in (
        found.result.reason
    )
    assert spent_s < 1.2 * TIME_S + SLACK_S
    found, _ = checked(path, Budget(time_s=None, memory_mb=1.0))
    assert found.result is not None
    assert "the memory budget of 1 MB is spent while the file was read" in found.result.reason


@checker
def endless(history: History) -> Verdict:
    """Never asks its budget, and is long past it when it ends."""
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s:
        pass
    return Verdict.VALID


@checker
def slow(history: History) -> Verdict:
    """Waits for something that does not count."""
    with not_counted():
        began_s = time.process_time()
        while time.process_time() < began_s + 0.6:
            pass
    return Verdict.VALID


def test_what_never_asks_is_interrupted_and_what_does_not_count_is_not(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_jsonl(made([("read", None, 1)]), path)
    found, spent_s = checked(path, Budget(time_s=0.4), "test_other_budgets:endless")
    assert found.verdict is Verdict.UNKNOWN and found.result is not None
    assert "the time budget of 0.4 s is spent" in found.result.reason
    assert 0.4 < spent_s < 1.2 * 0.4 + SLACK_S
    found, _ = checked(path, Budget(time_s=0.4), "test_other_budgets:slow")
    assert found.verdict is Verdict.VALID


def test_the_budget_named_is_the_whole_one(tmp_path: Path) -> None:
    meter = Meter(Budget(time_s=0.0001, whole_s=5.0))
    left = Meter(meter.left())
    while not left.spent():
        pass
    assert left.reason == "the time budget of 5 s is spent"
    some = Meter(Budget(time_s=8.0)).left(0.25)
    assert some.time_s == pytest.approx(2.0, abs=0.01) and some.as_dict()["time_s"] == 8.0


def test_a_stage_without_a_meter_asks_that_of_its_caller() -> None:
    look()
    with pytest.raises(BudgetSpent, match="steps"), within(Meter(Budget(steps=0))) as meter:
        meter.spent(1)
        look()
    with alarm(Meter(Budget(time_s=None))):
        look()
    with alarm(Meter(Budget(time_s=1e11))):  # longer than the system's timer knows
        look()


def test_the_time_told_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.commands import checking_text

    path = tmp_path / "history.jsonl"
    write_jsonl(made([("read", None, 1)]), path)
    found, _ = checked(path, Budget(time_s=0.4), "test_other_budgets:slow")
    assert found.result is not None and found.compile_s > 0.5
    parts_s = found.load_s + found.result.elapsed_s + found.compile_s
    assert parts_s <= found.spent_s + 0.1
    monkeypatch.setattr(checking_text, "PARTS_TOLD_S", 0.0)
    (told,) = checking_text.described([found])
    line = " ".join(told.split())
    assert f", {found.spent_s:.2f} s (reading {found.load_s:.2f}, checking " in line
    assert f", compiling {found.compile_s:.2f}, the rest " in line


def test_what_a_history_takes_is_not_taken_from_its_check(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_jsonl(made(transactions("append")), path)
    code = (
        "import sys; from checkers import Budget; from checkers.check_files import check_files;"
        "limit = Budget(time_s=None, memory_mb=40.0);"  # the history takes more
        "print(check_files(sys.argv[1:], model='list-append', budget=limit)[0].verdict.value)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout == "valid\n", done.stderr
