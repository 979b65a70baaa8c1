"""Transactional checkers, timed: list-append and rw-register at 100k and 1M transactions.

    python bench/transactions.py [--count 1000000] [--runs 3] [--elle "java -jar elle-cli.jar"]

Histories are valid by construction: 20 clients, 1 to 4 micro-operations a transaction, executed one
at a time at a random moment between invocation and completion. Only checking is timed, not making
or loading. With ``--elle``, the command is run on the same history as EDN, and the ratio printed.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import statistics
import time
from typing import Any

from checkers.history import Event, History


def make(
    count: int,
    *,
    clients: int = 20,
    write: str = "append",
    writes_per_key: int = 100,
    seed: int = 1,
) -> History:
    """A strict-serializable history of ``count`` transactions."""
    rng = random.Random(seed)
    active = list(range(10))
    left = [writes_per_key] * 10
    state: dict[int, Any] = {}
    next_key, next_value = 10, 1
    events: list[Event] = []
    running: dict[int, list[list[Any]]] = {}
    done: dict[int, list[list[Any]]] = {}
    started = 0
    while started < count or running or done:
        process = rng.randrange(clients)
        index = len(events)
        if process in done:
            events.append(Event(index, index * 1000, process, "ok", "txn", value=done.pop(process)))
        elif process in running:
            told: list[list[Any]] = []
            for f, k, v in running.pop(process):
                if f == "r":
                    got = state.get(k, [] if write == "append" else None)
                    told.append(["r", k, list(got) if write == "append" else got])
                elif write == "append":
                    state.setdefault(k, []).append(v)
                    told.append([f, k, v])
                else:
                    state[k] = v
                    told.append([f, k, v])
            done[process] = told
        elif started < count:
            started += 1
            mops: list[list[Any]] = []
            for _ in range(rng.randint(1, 4)):
                slot = rng.randrange(len(active))
                if rng.random() < 0.5:
                    mops.append(["r", active[slot], None])
                    continue
                mops.append([write, active[slot], next_value])
                next_value += 1
                left[slot] -= 1
                if not left[slot]:
                    active[slot], left[slot] = next_key, writes_per_key
                    next_key += 1
            running[process] = mops
            events.append(Event(index, index * 1000, process, "invoke", "txn", value=mops))
    return History.from_events(events)


def timed(history: History, kind: str, runs: int) -> tuple[float, Any]:
    """Median seconds of checking, and the last result."""
    from checkers.transactions import list_append, rw_register

    registers = rw_register(linearizable_keys=True, wfr_keys=True)
    check = list_append() if kind == "list-append" else registers
    spent = []
    result = None
    for _ in range(runs):
        gc.collect()
        started = time.perf_counter()
        result = check(history)
        spent.append(time.perf_counter() - started)
    return statistics.median(spent), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kind", choices=["list-append", "rw-register"], default="list-append")
    options = parser.parse_args()
    write = "append" if options.kind == "list-append" else "w"
    history = make(options.count, write=write)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    median_s, result = timed(history, options.kind, options.runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{options.kind} {options.count} transactions: {result.verdict.value}")
    print(f"checking {median_s:.2f} s (median of {options.runs})")
    print(f"peak memory {peak:.2f} GB, of which the history {before:.2f} GB")


if __name__ == "__main__":
    main()
