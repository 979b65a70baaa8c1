"""How long the checkers of particular workloads take: ``python bench/other_checkers.py``.

For each checker a history of an atomic object with 50 clients is made, of a tenth of the operations
and of all of them; CPU seconds of both are printed, and how many times longer ten times as much
took: about 10 is linear. Exit code 1 if one takes longer than a limit of seconds per million
operations, or is plainly not linear.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from checkers import Verdict
from checkers.checker_choice import checkers_by_name
from checkers.history import Fault, History
from checkers.judges.availability import availability, recovery

CLIENTS = 50
NODES = ("n1", "n2", "n3")

#: Seconds of CPU per million operations, and how much longer ten times as much may take.
LIMIT_S, RATIO_MAX = 20.0, 25.0

Step = tuple[str, Any, Any, Any]  # f, key, input, output


def history(steps: Iterator[Step]) -> History:
    """A history in which steps happen in order, fifty at a time being under way at once."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("types", "processes", "functions", "keys", "values", "nodes")
    }

    def event(kind: str, process: int, step: Step, value: Any) -> None:
        row = (kind, process, step[0], step[1], value, NODES[process % 3])
        for column, item in zip(columns.values(), row):
            column.append(item)

    batch: list[Step] = []

    def flush() -> None:
        for process, step in enumerate(batch):
            event("invoke", process, step, step[2])
        for process, step in enumerate(batch):
            event("ok", process, step, step[3])
        batch.clear()

    for step in steps:
        batch.append(step)
        if len(batch) == CLIENTS:
            flush()
    flush()
    count = len(columns["types"])
    times_ns = [number * 10_000 for number in range(count)]
    faults = [Fault(n, "partition", n * count * 400, n * count * 400 + 10**6) for n in range(20)]
    return History.from_columns(**columns, times_ns=times_ns, faults=faults)  # type: ignore[arg-type]


def registers(count: int) -> Iterator[Step]:
    """Ten keys, written and read; values are unique and grow."""
    rng, state = random.Random(1), dict[str, int]()
    for number in range(count):
        key = f"k{rng.randrange(10)}"
        if number % 2:
            state[key] = number
            yield "write", key, number, number
        else:
            yield "read", key, None, state.get(key)


def sets(count: int) -> Iterator[Step]:
    """Additions, and twenty reads of everything."""
    added: list[int] = []
    for number in range(count):
        if number % max(1, count // 20) == count // 20 - 1:
            yield "read", None, None, list(added)
        else:
            added.append(number)
            yield "add", None, number, number


def queues(count: int) -> Iterator[Step]:
    """Ten put in, ten taken out."""
    for number in range(count):
        value = number // 20 * 10 + number % 10
        put = number // 10 % 2 == 0
        yield ("enqueue", None, value, value) if put else ("dequeue", None, None, value)


def identifiers(count: int) -> Iterator[Step]:
    """Unique ones."""
    yield from (("generate", None, None, f"id-{number}") for number in range(count))


def counters(count: int) -> Iterator[Step]:
    """Additions of one, and reads."""
    for number in range(count):
        yield ("add", None, 1, 1) if number % 2 else ("read", None, None, number // 2)


def banks(count: int) -> Iterator[Step]:
    """Transfers between eight accounts, and reads of all."""
    rng, state = random.Random(1), dict.fromkeys(range(8), 10**7)
    for number in range(count):
        if number % 2:
            source, target = rng.sample(range(8), 2)
            state[source] -= 1
            state[target] += 1
            move = {"from": source, "to": target, "amount": 1}
            yield "transfer", None, move, move
        else:
            yield "read", None, None, dict(state)


def forks(count: int) -> Iterator[Step]:
    """Groups of three keys: three writes, seven reads."""
    for number in range(count):
        group, part = number // 10 * 3, number % 10
        if part < 3:
            yield "write", None, [["w", group + part, 1]], [["w", group + part, 1]]
        else:
            keys = range(group, group + 3)
            asked = [["r", key, None] for key in keys]
            yield "read", None, asked, [["r", key, 1] for key in keys]


def growing(count: int) -> Iterator[Step]:
    """Writes of a set, and reads of windows that hold all of it, twenty in all."""
    yield from (
        ("write" if f == "add" else f, key, asked, told) for f, key, asked, told in sets(count)
    )


def increments(count: int) -> Iterator[Step]:
    """A number that grows."""
    for number in range(count):
        f = "inc" if number % 2 else "read"
        yield f, None, None, (number + 1) // 2


def locks(count: int) -> Iterator[Step]:
    """One holder after another: invoked and done within one client's turn."""
    for number in range(count):
        token = {"token": number // 3}
        yield (
            ("acquire", None, None, token),
            ("write", None, token, None),
            ("release", None, token, None),
        )[number % 3]


def leases(count: int) -> Iterator[Step]:
    """Grants of a hundred keys, renewed nine times."""
    for number in range(count):
        f = "grant" if number % 1000 < 100 else "renew"
        if number % 1000 >= 900:
            f = "release"
        told = None if f == "release" else {"ttl_ms": 1, "token": number // 1000}
        yield f, f"l{number % 100}", None, told


def watches(count: int) -> Iterator[Step]:
    """Puts, and polls of ten changes each by one watcher after another."""
    told = 0
    for number in range(count):
        if number % 10 == 9:
            made = [[r, r % 7, r] for r in range(told + 1, number // 10 * 9 + 1)]
            yield "watch", None, {"from": told + 1, "watcher": "w"}, made
            told = number // 10 * 9
        else:
            revision = number // 10 * 9 + number % 10 + 1
            yield "put", revision % 7, revision, {"revision": revision}


def logs(count: int) -> Iterator[Step]:
    """Sends to ten logs, polled in tens by one consumer."""
    ends = dict.fromkeys((f"log{n}" for n in range(10)), 0)
    starts = dict(ends)
    for number in range(count):
        name = f"log{number // CLIENTS % 10}"
        if number % CLIENTS == 0:
            found = [[at, at] for at in range(starts[name], ends[name])]
            starts[name] = ends[name]
            yield "poll", name, None, found
        else:
            ends[name] += 1
            yield "send", name, ends[name] - 1, ends[name] - 1


def settled(count: int) -> Iterator[Step]:
    """Writes of a hundred keys, then reads of them from every node."""
    for number in range(count):
        key = number // 7 % 100
        late = number >= count // 2
        yield ("read", key, None, "x") if late else ("write", key, "x", "x")


def one_by_one(steps: Iterator[Step]) -> History:
    """A history without concurrency: each of three processes in turn runs three steps."""
    rows: dict[str, list[Any]] = {n: [] for n in ("types", "processes", "functions", "values")}
    for number, (f, _, asked, told) in enumerate(steps):
        for kind, value in (("invoke", asked), ("ok", told)):
            rows["types"].append(kind)
            rows["processes"].append(number // 3 % CLIENTS)
            rows["functions"].append(f)
            rows["values"].append(value)
    count = len(rows["types"])
    return History.from_columns(**rows, keys=[None] * count, times_ns=list(range(count)))


#: Checker -> its history, and how that is made of steps.
CASES: dict[str, tuple[Callable[[int], Iterator[Step]], Callable[..., History]]] = {
    "set": (sets, history), "set-full": (sets, history), "queue": (queues, history),
    "total-queue": (queues, history), "unique-ids": (identifiers, history),
    "counter": (counters, history), "bank": (banks, history), "long-fork": (forks, history),
    "causal": (registers, history), "causal-reverse": (growing, history),
    "session-guarantees": (registers, history), "monotonic": (increments, history),
    "lock": (locks, one_by_one), "lease": (leases, history), "watch": (watches, history),
    "log": (logs, history), "convergence": (settled, history),
    "availability": (registers, history), "recovery": (registers, history),
}  # fmt: skip


def judge(name: str, found: History) -> tuple[float, Any]:
    """CPU seconds of one check, and its result."""
    made = {"availability": availability, "recovery": recovery, **checkers_by_name()}[name]()
    began_s = time.process_time()
    result = made(found)
    return time.process_time() - began_s, result


def main() -> int:
    """Run it; 0 if the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkers", nargs="*", help="names; all if none")
    parser.add_argument("--ops", type=int, default=1_000_000)
    options = parser.parse_args()
    kept = True
    for name in options.checkers or CASES:
        steps, build = CASES[name]
        small_s, _ = judge(name, build(steps(options.ops // 10)))
        large_s, result = judge(name, build(steps(options.ops)))
        ratio = large_s / max(small_s, 0.001)
        fine = large_s <= LIMIT_S * options.ops / 1e6 and (ratio <= RATIO_MAX or large_s < 1.0)
        kept = kept and fine
        if result.verdict is not Verdict.VALID:
            print(f"{name}: {result.verdict.name}: {result.reason}")
        print(
            f"{name:<20} {options.ops // 10} ops {small_s:7.2f} s   {options.ops} ops "
            f"{large_s:7.2f} s   {ratio:5.1f} times{'' if fine else '   TOO SLOW'}",
            flush=True,
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
