"""Budgets are kept on histories made to explode: real memory and time of processes of their own."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lin_histories import Row, history_of, register_history

from checkers import Budget, check, models
from checkers.history import History
from checkers.linearizability import Model

HERE = str(Path(__file__).parent)


def simulated(
    call: Callable[[random.Random], tuple[str, Any]],
    answer: Callable[[str, Any], Any],
    *,
    ops: int,
    clients: int,
    unknown: float,
) -> History:
    """A legal history of an object that answers atomically."""
    rng = random.Random(3)
    rows: list[Row] = []
    waiting: dict[int, list[Any]] = {}
    free, fresh, left = list(range(clients)), clients, ops
    while left or waiting:
        if left and free and (not waiting or rng.random() < 0.6):
            process = free.pop(rng.randrange(len(free)))
            f, value = call(rng)
            waiting[process] = [f, value, False, None]
            rows.append(("invoke", process, f, value))
            left -= 1
            continue
        process = rng.choice(list(waiting))
        f, value, happened, output = waiting[process]
        if not happened:
            waiting[process][2:] = [True, answer(f, value)]
            continue
        del waiting[process]
        if rng.random() < unknown:
            rows.append(("info", process, f, value))
            free.append(fresh)
            fresh += 1
        else:
            rows.append(("ok", process, f, output))
            free.append(process)
    return history_of(rows)


def key_value_history() -> History:
    """Few strings put and appended to, so that a get does not tell which of them made its value."""
    content: list[Any] = [None]

    def call(rng: random.Random) -> tuple[str, Any]:
        f = rng.choice(["get", "put", "append", "append"])
        return f, None if f == "get" else f"x{rng.randrange(5)} "

    def answer(f: str, value: Any) -> Any:
        if f != "get":
            content[0] = value if f == "put" else (content[0] or "") + value
        return content[0] if f == "get" else value

    return simulated(call, answer, ops=20_000, clients=20, unknown=0.05)


def container_history(names: tuple[str, str], take: int, *, values: int) -> History:
    """A stack or bag with values many times in it, and removals of unknown outcome."""
    items: list[Any] = []

    def call(rng: random.Random) -> tuple[str, Any]:
        f = rng.choice(names)
        return f, rng.randrange(values) if f == names[0] else None

    def answer(f: str, value: Any) -> Any:
        if f == names[0]:
            items.append(value)
            return value
        return items.pop(take) if items else None

    return simulated(call, answer, ops=8_000, clients=25, unknown=0.15)


def all_concurrent(ops: int) -> tuple[History, Model]:
    """All orders of many distinct appends, and a read that none explains; without its monitor."""
    rows: list[Row] = [("invoke", process, "append", process) for process in range(ops)]
    rows.append(("invoke", ops, "read", None))
    rows += [("ok", process, "append", process) for process in range(ops)]
    rows.append(("ok", ops, "read", [99]))
    model = models.append_list()
    fields = {name: getattr(model, name) for name in model.__dataclass_fields__}
    return history_of(rows), Model(**{**fields, "engine": ""})


EXPLODING: dict[str, Callable[[], tuple[History, Model]]] = {
    "orders": lambda: all_concurrent(24),
    "cas-register": lambda: (
        register_history(20_000, clients=60, unknown=0.05, cas=0.3, writes=0.4, domain=40),
        models.cas_register(),
    ),
    "key-value": lambda: (key_value_history(), models.key_value()),
    "stack": lambda: (container_history(("push", "pop"), -1, values=40), models.stack()),
    "unordered-queue": lambda: (
        container_history(("enqueue", "dequeue"), 0, values=40),
        models.unordered_queue(),
    ),
    "many clients": lambda: (
        register_history(30_000, clients=15_000, unknown=0.05, cas=0.3, writes=0.4, domain=40),
        models.cas_register(),
    ),
    "many values": lambda: (
        register_history(100_000, clients=50, unknown=0.05, cas=0.3, writes=0.4),
        models.key_value(),
    ),
}

SCRIPT = """
import gc, re, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_lin_budgets import EXPLODING
from checkers import Budget, check
from checkers.core.budget import resident_mb
history, model = EXPLODING[sys.argv[2]]()
gc.collect()
before_mb, started = resident_mb(), time.process_time()
budget = Budget(time_s=float(sys.argv[3]), memory_mb=float(sys.argv[4]))
result = check(history, model, budget=budget)
spent_s = time.process_time() - started
# Not ru_maxrss, which begins with what the parent had when it forked.
peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
peak_mb = peak_kb * 1024 / 1e6
print(result.verdict.value, peak_mb - before_mb, spent_s, result.reason)
"""


def _kept(kind: str, time_s: float, memory_mb: float) -> str:
    """Check in a new process that a budget is kept within a fifth; the reason of its UNKNOWN.

    Of time that of the processor is looked at, as others may keep the process waiting.
    """
    command = [sys.executable, "-c", SCRIPT, HERE, kind, str(time_s), str(memory_mb)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    verdict, peak_mb, spent_s, reason = done.stdout.strip().split(" ", 3)
    assert verdict == "unknown"
    assert float(peak_mb) < 1.2 * memory_mb, reason
    assert float(spent_s) < 1.2 * time_s, reason
    return reason


@pytest.mark.parametrize("kind", ["cas-register", "key-value", "stack", "unordered-queue"])
def test_a_time_budget_is_kept_and_the_certified_part_is_told(kind: str) -> None:
    reason = _kept(kind, 2.0, 200.0)
    assert reason.startswith("the time budget of 2 s is spent")
    assert re.search(r"certified up to event \d+ of \d+ \(t=", reason), reason


def test_a_memory_budget_is_kept_and_the_certified_part_is_told() -> None:
    reason = _kept("orders", 60.0, 100.0)
    assert reason.startswith("the memory budget of 100 MB is spent")
    assert re.search(r"certified up to event \d+ of \d+ \(t=", reason), reason


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPLODING)
def test_a_budget_of_5_s_and_500_mb_is_kept_within_a_fifth(kind: str) -> None:
    assert "budget" in _kept(kind, 5.0, 500.0)


def test_a_step_budget_gives_the_same_answer_every_time() -> None:
    history, model = all_concurrent(20)
    results = [check(history, model, budget=Budget(steps=3_000)) for _ in range(2)]
    assert results[0].reason == results[1].reason
    assert "3000 steps" in results[0].reason
