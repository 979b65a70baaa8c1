"""Transactional checkers, timed: list-append and rw-register at 100k and 1M transactions.

    python bench/transactions.py --all
    python bench/transactions.py [--count 1000000] [--runs 3] [--kind rw-register] [--stale]
    python bench/transactions.py --broken [--count 100000]
    python bench/transactions.py --orders
    python bench/transactions.py --explode

Valid histories are so by construction: 20 clients, 1 to 4 micro-operations a transaction, executed
one at a time at a random moment between invocation and completion. Only checking is timed, not
making or loading. ``--broken`` times histories made to hurt a cycle search: stale reads, one cycle
through every transaction, as many two-cycles as fit, one key that is hardly read, nothing but keys
of their own. ``--orders`` searches orders of 10,000 transactions whose versions have none;
``--explode`` searches serial orders within 5 s and 500 MB, and says what was spent.

Elle's figures are published ones (measured by us elsewhere, warm, 2 cores, 8 GB heap), not of the
same run; no copy of Elle is run here.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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
                    told.append(["r", k, list(got or ()) if write == "append" else got])
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


def asked(mops: list[list[Any]]) -> list[list[Any]]:
    """Micro-operations as they are invoked: reads without results."""
    return [[f, k, None if f in ("r", "rp") else v] for f, k, v in mops]


def at_once(rows: list[list[list[Any]]]) -> History:
    """Transactions that are all concurrent, each by its own process."""
    events = [Event(0, -1, p, "invoke", "txn", value=asked(mops)) for p, mops in enumerate(rows)]
    events += [Event(0, -1, p, "ok", "txn", value=mops) for p, mops in enumerate(rows)]
    return History.from_events(events)


def one_by_one(rows: list[list[list[Any]]]) -> History:
    """Transactions one after another, by five processes."""
    events = []
    for number, mops in enumerate(rows):
        events.append(Event(0, -1, number % 5, "invoke", "txn", value=asked(mops)))
        events.append(Event(0, -1, number % 5, "ok", "txn", value=mops))
    return History.from_events(events)


def stale(count: int, *, share: float = 0.01, lag: int = 3) -> History:
    """A valid history, but one transaction in a hundred reads lists as they were before."""
    history = make(count)
    rng = random.Random(5)
    values = list(history.values)
    for index in range(len(values)):
        if history.type[index] and rng.random() < share:
            values[index] = [
                [f, k, v[: max(0, len(v) - lag)] if f == "r" else v] for f, k, v in values[index]
            ]
    history.values = values
    return history


#: what hurts a cycle search -> a history of it
BROKEN: dict[str, Callable[[int], History]] = {
    "1% stale reads": stale,
    "one ring of anti-dependencies": lambda n: at_once(
        [[["append", i, 1], ["r", (i + 1) % n, []]] for i in range(n)]
    ),
    "one ring of reads": lambda n: at_once(
        [[["append", i, 1], ["r", (i + 1) % n, [1]]] for i in range(n)]
    ),
    "two-cycles": lambda n: at_once(
        [[["r", i, []], ["append", i ^ 1, 1]] for i in range(n // 2 * 2)]
    ),
    "one key with unread appends": lambda n: one_by_one(
        [[["append", 0, i], *([["r", 0, []]] if i < 3 else [])] for i in range(n)]
    ),
    "everything unique": lambda n: one_by_one(
        [[["append", i, i], ["r", n + i, []]] for i in range(n)]
    ),
}


def broken(count: int) -> None:
    """Time every broken shape once."""
    from checkers.isolation import list_append

    for name, shape in BROKEN.items():
        history = shape(count)
        gc.collect()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        result = list_append()(history)
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        found = ", ".join(result.stats["anomaly_types"]) or "nothing"
        print(f"{name:32s} {result.verdict.value:8s} {wall_s:6.2f} s ({cpu_s:.2f} s cpu): {found}")


def contended(sessions: int, each: int, keys: int, *, seed: int = 1) -> History:
    """Concurrent writes of few keys, serial in truth, with next to nothing that shows the order."""
    rng = random.Random(seed)
    state: dict[int, int] = {}
    events: list[Event] = []
    value = 0
    for _ in range(each):
        told: dict[int, list[list[Any]]] = {}
        for session in rng.sample(range(sessions), sessions):
            told[session] = []
            for key in rng.sample(range(keys), 3):
                if rng.random() < 0.6:
                    value += 1
                    state[key] = value
                    told[session].append(["w", key, value])
                else:
                    told[session].append(["r", key, state.get(key)])
        for type_ in ("invoke", "ok"):
            for session in range(sessions):
                mops = asked(told[session]) if type_ == "invoke" else told[session]
                events.append(Event(0, -1, session, type_, "txn", value=mops))
    return History.from_events(events)


def in_sessions(
    sessions: int, each: int, *, keys: int, reads: float, planted: bool = False, seed: int = 1
) -> History:
    """Serial in truth, 8 micro-operations each, told session by session; or with a lost update."""
    rng = random.Random(seed)
    state: dict[int, int] = {}
    told: list[list[list[list[Any]]]] = [[] for _ in range(sessions)]
    left = [session for session in range(sessions) for _ in range(each)]
    rng.shuffle(left)
    value = 0
    for session in left:
        mops: list[list[Any]] = []
        for _ in range(8):
            key = rng.randrange(keys)
            if rng.random() < reads:
                mops.append(["r", key, state.get(key)])
            else:
                value += 1
                state[key] = value
                mops.append(["w", key, value])
        told[session].append(mops)
    for session in range(2) if planted else ():
        at = rng.randrange(each)
        told[session].insert(at, [["r", keys, None], ["w", keys, value + 1 + session]])
    events = [
        Event(0, -1, session, type_, "txn", value=asked(mops) if type_ == "invoke" else mops)
        for session, rows in enumerate(told)
        for mops in rows
        for type_ in ("invoke", "ok")
    ]
    return History.from_events(events)


def orders() -> None:
    """Unknown version orders: 100 sessions of 100 transactions, valid and with a lost update."""
    from checkers.core.budget import Budget
    from checkers.isolation import serial

    serial()(in_sessions(10, 30, keys=50, reads=0.5))  # compiles
    for keys, reads in ((100, 0.5), (1000, 0.5), (10_000, 0.5), (1000, 0.9), (1000, 0.2)):
        for planted in (False, True):
            history = in_sessions(100, 100, keys=keys, reads=reads, planted=planted)
            for level in ("serializable", "snapshot-isolation"):
                began_s, used_s = time.perf_counter(), time.process_time()
                result = serial(level)(history, budget=Budget(time_s=60.0))
                wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - used_s
                print(
                    f"{keys:6d} keys, {reads:.0%} reads, {'planted' if planted else 'valid':8s}"
                    f"{level:19s} {result.verdict.value:8s} {wall_s:5.2f} s ({cpu_s:.2f} s cpu)"
                )


def explode() -> None:
    """Searches that are hard: the budget is kept within a fifth."""
    from checkers.core.budget import Budget, resident_mb
    from checkers.isolation import serial

    for sessions, each, keys in ((20, 100, 5), (40, 100, 100), (100, 100, 5)):
        history = contended(sessions, each, keys)
        for level in ("serializable", "snapshot-isolation"):
            before_mb, began_s = resident_mb(), time.perf_counter()
            result = serial(level)(history, budget=Budget(time_s=5.0, memory_mb=500.0))
            wall_s, used_mb = time.perf_counter() - began_s, resident_mb() - before_mb
            kept = "kept" if wall_s < 6.0 and used_mb < 600 else "NOT KEPT"
            print(
                f"{sessions:3d} sessions x {each} over {keys:3d} keys, {level:18s} "
                f"{result.verdict.value:8s} {wall_s:5.2f} s, {used_mb:4.0f} MB: {kept}"
            )


#: Elle's published figures: (kind, transactions) -> words
PUBLISHED = {
    ("list-append", 100_000): "Elle, published: 4.2-5.3 s warm, 1.5-2.3 GB",
    ("list-append", 1_000_000): "Elle, published: 190 s strict, 9-12 GB",
    ("rw-register", 10_000): "Elle, published: 209 s with linearizable keys, 9 GB",
    ("rw-register", 100_000): "Elle, published: no answer in 225 s with linearizable keys",
}


#: what ``--all`` measures, each in a process of its own
ALL = [
    ["--kind", "list-append", "--count", "100000"],
    ["--kind", "list-append", "--count", "1000000"],
    ["--kind", "list-append", "--count", "1000000", "--stale"],
    ["--kind", "rw-register", "--count", "100000"],
    ["--kind", "predicates", "--count", "20000"],
]


def predicates(count: int) -> History:
    """One after another: ask for a range of keys, insert one; each misses all later insertions."""
    rows: list[list[list[Any]]] = []
    for number in range(count):
        low = max(0, number - 40)
        found = [[key, key + 1] for key in range(low, number)]
        rows.append([["rp", {"keys": [low, count]}, found], ["w", number, number + 1]])
    return one_by_one(rows)


def timed(history: History, kind: str, runs: int) -> tuple[float, float, Any]:
    """Median wall and CPU seconds of checking, and the last result."""
    from checkers.isolation import list_append, rw_register

    registers = rw_register(linearizable_keys=True, wfr_keys=True)
    check = list_append() if kind == "list-append" else registers
    wall_s, cpu_s = [], []
    result = None
    for _ in range(runs):
        gc.collect()
        started_s, used_s = time.perf_counter(), time.process_time()
        result = check(history)
        wall_s.append(time.perf_counter() - started_s)
        cpu_s.append(time.process_time() - used_s)
    return statistics.median(wall_s), statistics.median(cpu_s), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--kind", choices=["list-append", "rw-register", "predicates"], default="list-append"
    )
    parser.add_argument("--stale", action="store_true", help="one transaction in 100 reads stale")
    parser.add_argument("--all", action="store_true", help="every size, a process each")
    parser.add_argument("--broken", action="store_true", help="histories that hurt a cycle search")
    parser.add_argument("--explode", action="store_true", help="searches that are hard")
    parser.add_argument("--orders", action="store_true", help="unknown version orders, searched")
    options = parser.parse_args()
    if options.explode:
        explode()
        return
    if options.orders:
        orders()
        return
    if options.broken:
        broken(options.count)
        return
    if options.all:
        for arguments in ALL:
            runs = ["--runs", str(options.runs)]
            subprocess.run([sys.executable, __file__, *arguments, *runs], check=True)
        return
    measure(options)


def measure(options: argparse.Namespace) -> None:
    """Make one history, check it several times, and say what that took."""
    if options.kind == "predicates":
        history = predicates(options.count)
    elif options.stale:
        history = stale(options.count)
    else:
        write = "append" if options.kind == "list-append" else "w"
        history = make(options.count, write=write)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    wall_s, cpu_s, result = timed(history, options.kind, options.runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    what = f"{options.kind}{', 1% stale' if options.stale else ''}"
    print(f"{what}, {options.count} transactions: {result.verdict.value}")
    print(f"  checking {wall_s:.2f} s, {cpu_s:.2f} s of CPU (medians of {options.runs} runs)")
    print(f"  peak memory {peak:.2f} GB, of which the history {before:.2f} GB")
    published = PUBLISHED.get((options.kind, options.count))
    if published and not options.stale:
        print(f"  {published} (not of this run)")


if __name__ == "__main__":
    main()
