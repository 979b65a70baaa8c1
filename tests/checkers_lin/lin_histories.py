"""Histories for the linearizability tests: valid by construction, large or small, and spoiled.

A simulated atomic object is driven by simulated clients: every operation takes effect at one
instant between its invocation and its completion, so the history is linearizable whatever the
interleaving. Defects are planted afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from checkers.history import FAIL, INFO, INVOKE, OK, Event, History

#: (type, process, f, value)
Row = tuple[str, int, str, Any]


def history_of(rows: list[Row], *, keys: list[Any] | None = None) -> History:
    """A history from rows, one millisecond apart."""
    events = (
        Event(
            index=index,
            time_ns=index * 1_000_000,
            process=process,
            type=type,
            f=f,
            key=None if keys is None else keys[index],
            value=value,
        )
        for index, (type, process, f, value) in enumerate(rows)
    )
    return History.from_events(events)


def register_history(
    ops: int,
    *,
    clients: int,
    unknown: float = 0.0,
    cas: float = 0.0,
    writes: float = 0.4,
    seed: int = 1,
    domain: int | None = None,
) -> History:
    """A linearizable register history on one key, built as columns.

    Args:
        ops: operations invoked.
        clients: concurrent clients.
        unknown: share of operations whose outcome is unknown.
        cas: share of compare-and-sets; half of them expect the right value.
        writes: share of writes.
        seed: of the generator.
        domain: values are drawn from this many; None for unique values.
    """
    rng = random.Random(seed)
    types, processes, fs, values, pairs = [], [], [], [], []
    waiting: list[list[Any]] = []
    free = list(range(clients))
    fresh_process = clients
    state, counter, left = None, 0, ops
    while left or waiting:
        if left and free and (not waiting or rng.random() < 0.5):
            at = rng.randrange(len(free))
            free[at], free[-1] = free[-1], free[at]
            process = free.pop()
            left -= 1
            draw = rng.random()
            counter += 1
            fresh = counter if domain is None else rng.randrange(domain)
            if draw < writes:
                f, value = "write", fresh
            elif draw < writes + cas:
                guess = (
                    state if rng.random() < 0.7 else 0 if domain is None else rng.randrange(domain)
                )
                f, value = "cas", [guess, fresh]
            else:
                f, value = "read", None
            waiting.append([process, f, value, len(types), False, None])
            types.append(INVOKE), processes.append(process), fs.append(f), values.append(value)
            pairs.append(-1)
            continue
        at = rng.randrange(len(waiting))
        op = waiting[at]
        if not op[4]:
            op[4] = True  # takes effect
            if op[1] == "write":
                state, op[5] = op[2], OK
            elif op[1] == "cas":
                op[5] = OK if op[2][0] == state else FAIL
                state = op[2][1] if op[5] == OK else state
            else:
                op[2], op[5] = state, OK
            continue
        waiting[at] = waiting[-1]
        waiting.pop()
        process, f, value, invoke, _, outcome = op
        if rng.random() < unknown:
            outcome, value = INFO, (None if f == "read" else value)
            free.append(fresh_process)
            fresh_process += 1
        else:
            free.append(process)
        pairs[invoke] = len(types)
        pairs.append(invoke)
        types.append(outcome), processes.append(process), fs.append(f), values.append(value)
    names = ["read", "write", "cas"]
    count = len(types)
    return History(
        type=np.array(types, dtype=np.int8),
        process=np.array(processes, dtype=np.int64),
        f=np.array([names.index(f) for f in fs], dtype=np.int64),
        key=np.full(count, -1, dtype=np.int64),
        time_ns=np.arange(count, dtype=np.int64) * 1000,
        pair=np.array(pairs, dtype=np.int64),
        values=values,
        processes=list(range(fresh_process)),
        functions=names,
    )


def with_stale_read(history: History, *, age: int = 200, at: float = 0.9) -> History:
    """The history with one read changed to a value overwritten long before it was invoked."""
    values = list(history.values)
    read = history.functions.index("read")
    reads = [
        int(i)
        for i in np.flatnonzero((history.type == OK) & (history.f == read))
        if values[i] is not None
    ]
    late = reads[int(len(reads) * at)]
    old = [i for i in reads if i < late - age and values[i] != values[late]]
    values[late] = values[old[-1]]
    return History(
        type=history.type,
        process=history.process,
        f=history.f,
        key=history.key,
        time_ns=history.time_ns,
        pair=history.pair,
        values=values,
        processes=history.processes,
        functions=history.functions,
        keys=history.keys,
    )


def random_history(
    rng: random.Random,
    *,
    ops: int,
    processes: int,
    call: Callable[[random.Random], tuple[str, Any]],
    answer: Callable[[random.Random, str, Any], Any],
    info: float = 0.15,
    fail: float = 0.1,
) -> History:
    """Random operations with random answers: legal or not, nobody knows yet.

    Args:
        rng: randomness.
        ops: operations.
        processes: concurrent processes.
        call: draws ``f`` and input.
        answer: draws the output of an ok operation.
        info, fail: shares of unknown and failed outcomes.
    """
    rows: list[Row] = []
    waiting: dict[int, tuple[str, Any]] = {}
    free, fresh, left = list(range(processes)), processes, ops
    while left or waiting:
        if left and free and (not waiting or rng.random() < 0.5):
            process = free.pop(rng.randrange(len(free)))
            waiting[process] = call(rng)
            rows.append(("invoke", process, *waiting[process]))
            left -= 1
            continue
        process = rng.choice(list(waiting))
        f, value = waiting.pop(process)
        draw = rng.random()
        if draw < info:
            rows.append(("info", process, f, value))
            free.append(fresh)
            fresh += 1
        elif draw < info + fail:
            rows.append(("fail", process, f, value))
            free.append(process)
        else:
            rows.append(("ok", process, f, answer(rng, f, value)))
            free.append(process)
    return history_of(rows)
