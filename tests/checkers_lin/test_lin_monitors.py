"""The monitors against the search, on random histories with unique values, and at size."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from lin_histories import Row, history_of, random_history

from checkers import Verdict, check, models
from checkers.core.budget import Meter
from checkers.linearizability.monitors.collections import (
    append_list_monitor,
    queue_monitor,
    stack_monitor,
)
from checkers.linearizability.monitors.orders import ORDERS
from checkers.linearizability.problem import problem_of
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.verify import brute_force, order_error


def _unique(adding: str, other: str) -> Callable[[], Callable[[random.Random], tuple[str, Any]]]:
    def make() -> Callable[[random.Random], tuple[str, Any]]:
        count = iter(range(1, 99))
        return lambda rng: (adding, next(count)) if rng.random() < 0.5 else (other, None)

    return make


def _dequeued(rng: random.Random, f: str, value: Any) -> Any:
    return value if f in ("enqueue", "push") else rng.choice([None, 1, 2, 3, 4])


def _listed(rng: random.Random, f: str, value: Any) -> Any:
    if f == "append":
        return value
    order = [1, 2, 3] if rng.random() < 0.6 else rng.sample([1, 2, 3], 3)
    return order[: rng.randrange(4)]


@pytest.mark.parametrize(
    ("model", "monitor", "calls", "answer"),
    [
        (models.fifo_queue(), queue_monitor, _unique("enqueue", "dequeue"), _dequeued),
        (models.stack(), stack_monitor, _unique("push", "pop"), _dequeued),
        (models.append_list(), append_list_monitor, _unique("append", "read"), _listed),
    ],
    ids=["queue", "stack", "append-list"],
)
def test_monitor_agrees_with_the_search_and_its_proof_is_illegal(
    model: Any, monitor: Any, calls: Any, answer: Any
) -> None:
    seen = {True: 0, False: 0}
    for seed in range(4000):
        rng = random.Random(seed)
        history = random_history(
            rng,
            ops=rng.randrange(1, 9),
            processes=rng.randrange(1, 5),
            call=calls(),
            answer=answer,
            info=0.1,
        )
        problem = problem_of(list(history.ops()), model)
        proof = monitor(problem, model, Meter())
        if proof is None:
            continue
        legal = search(problem, Machine(model), Meter()).legal
        assert (not proof) == legal, seed
        if not proof:
            assert order_error(problem, model, ORDERS[model.engine](problem, model)) == "", seed
        else:
            assert brute_force(problem.subset(proof), model) is False, seed
        seen[bool(legal)] += 1
    assert min(seen.values()) > 500


def _queue_rows(ops: int, clients: int, seed: int) -> list[Row]:
    """A linearizable queue history: each operation takes effect between its two events."""
    rng = random.Random(seed)
    rows: list[Row] = []
    content: list[int] = []
    waiting: list[list[Any]] = []
    free = list(range(clients))
    fresh, left = 0, ops
    while left or waiting:
        if left and free and rng.random() < 0.5:
            process = free.pop()
            left -= 1
            fresh += 1
            f, value = ("enqueue", fresh) if rng.random() < 0.55 else ("dequeue", None)
            rows.append(("invoke", process, f, value))
            waiting.append([process, f, value, False])
        elif waiting:
            at = rng.randrange(len(waiting))
            op = waiting[at]
            if not op[3]:
                op[3] = True
                if op[1] == "enqueue":
                    content.append(op[2])
                else:
                    op[2] = content.pop(0) if content else None
                continue
            waiting.pop(at)
            rows.append(("ok", op[0], op[1], op[2]))
            free.append(op[0])
    return rows


def test_a_large_queue_history_is_judged_fast_and_a_swap_is_found() -> None:
    rows = _queue_rows(40_000, 20, seed=3)
    started = time.process_time()
    result = check(history_of(rows), models.fifo_queue())
    assert (result.verdict, result.engine) == (Verdict.VALID, "monitor")
    assert time.process_time() - started < 3.0
    taken = [i for i, r in enumerate(rows) if r[0] == "ok" and r[1:3][1] == "dequeue" and r[3]]
    early, late = taken[1000], taken[1100]
    swapped = list(rows)
    swapped[early] = (*rows[early][:3], rows[late][3])
    swapped[late] = (*rows[late][:3], rows[early][3])
    result = check(history_of(swapped), models.fifo_queue())
    assert result.verdict is Verdict.INVALID
    assert len(result.findings[0].ops) <= 4
    assert result.findings[0].detail["rechecked"] is True


def test_a_dequeue_that_found_nothing_while_something_was_inside() -> None:
    def op(process: int, f: str, value: Any, answer: Any) -> list[Row]:
        return [("invoke", process, f, value), ("ok", process, f, answer)]

    rows = [
        *op(0, "enqueue", 1, 1),
        *op(0, "enqueue", 2, 2),
        ("invoke", 1, "dequeue", None),
        *op(0, "dequeue", None, 1),
        ("ok", 1, "dequeue", None),
        *op(0, "dequeue", None, 2),
    ]
    result = check(history_of(rows), models.fifo_queue())
    assert (result.verdict, result.engine) == (Verdict.INVALID, "monitor")
    assert "returned empty" in result.findings[0].because[-1].text


def test_a_set_is_judged_element_by_element() -> None:
    rows: list[Row] = []
    for element in range(3000):
        rows += [("invoke", 0, "add", element), ("ok", 0, "add", True)]
        rows += [("invoke", 1, "contains", element), ("ok", 1, "contains", element != 2000)]
    result = check(history_of(rows), models.set())
    assert result.verdict is Verdict.INVALID
    assert len(result.findings[0].ops) == 2
    assert "contains of 2000 returned false, but it is in the set" in result.reason
