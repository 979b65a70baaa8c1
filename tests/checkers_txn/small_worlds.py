"""Small transactional histories at random, and what each isolation level by definition says.

The oracle enumerates: which unknown transactions happened, in which order transactions committed,
from which snapshot each read, in which order the versions of each key stand. It shares no code with
the checkers and knows none of their names for anomalies.

- serializable levels: transactions executed one after another give what was read;
- snapshot levels (Crooks and others): each transaction reads a state between two commits, with its
  own writes on top, and nobody commits to what it writes between that state and its own commit;
- read committed (Adya's PL-2): for some order of each key's versions, reads are of committed final
  versions, or of what the transaction itself wrote before, and ww and wr have no cycle;
- read atomic, causal (Cerone and others): for some commit order, a transaction sees whole
  transactions: those it read from, or all that happened before those, too; it reads of each key
  what the last it sees wrote. A list is in the order of commits, and all its writers are seen.

A session puts a transaction after those its process completed before; real time after all
completed before. ``causal`` has sessions, ``causal-cerone`` and the others not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, combinations, pairwise, permutations, product
from typing import Any, NamedTuple

from checkers.history import Event, History

Mop = tuple[str, str, Any]
State = dict[str, Any]

#: the order of earlier transactions that each level promises: none, of a session, of real time
SERIAL = {
    "serializable": "",
    "repeatable-read": "",
    "strong-session-serializable": "session",
    "strict-serializable": "realtime",
}
SNAPSHOT = {
    "snapshot-isolation": "",
    "strong-session-snapshot-isolation": "session",
    "strong-snapshot-isolation": "realtime",
}
SEEN = {"read-atomic": "", "causal-cerone": "", "causal": "session"}
LEVELS = ("read-committed", *SEEN, *SNAPSHOT, *SERIAL)
#: level -> levels that it implies
IMPLIED = {
    "read-atomic": ("read-committed",),
    "causal-cerone": ("read-atomic",),
    "causal": ("causal-cerone",),
    "snapshot-isolation": ("causal-cerone",),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "causal"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation",),
    "repeatable-read": ("read-atomic",),
    "serializable": ("snapshot-isolation", "repeatable-read"),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strict-serializable": ("strong-session-serializable", "strong-snapshot-isolation"),
}


class T(NamedTuple):
    """A transaction: its process, its interval of positions, its outcome, what it did."""

    process: int
    invoke: int
    complete: int
    outcome: str
    mops: tuple[Mop, ...]


def history_of(world: Sequence[T], *, f: str = "txn") -> History:
    """The world as a history."""
    moments = []
    for txn in world:
        asked = [[g, k, None if g == "r" else v] for g, k, v in txn.mops]
        told = [list(mop) for mop in txn.mops] if txn.outcome == "ok" else asked
        invoked = Event(0, txn.invoke, txn.process, "invoke", f, None, asked)
        done = Event(0, txn.complete, txn.process, txn.outcome, f, None, told)
        moments += [(txn.invoke, invoked), (txn.complete, done)]
    return History.from_events(event for _, event in sorted(moments, key=lambda pair: pair[0]))


# The oracle ---------------------------------------------------------------------------------------


def allows(world: Sequence[T], level: str, *, lists: bool, init: Any = None) -> bool:
    """Whether a level allows a history, for some choice of what happened in doubt."""
    unknown = [txn for txn in world if txn.outcome == "info"]
    some = chain.from_iterable(combinations(unknown, size) for size in range(len(unknown) + 1))
    return any(
        _allows([t for t in world if t.outcome == "ok" or t in happened], level, lists, init)
        for happened in some
    )


def _allows(ran: list[T], level: str, lists: bool, init: Any) -> bool:
    if level == "read-committed":
        return _read_committed(ran, lists, init)
    if level in SEEN:
        return any(_sees(order, level, lists, init) for order in permutations(ran))
    if level in SERIAL:
        wanted = SERIAL[level]
        return any(
            _in_order(order, wanted) and _serial(order, lists, init) for order in permutations(ran)
        )
    return any(_snapshots(order, SNAPSHOT[level], lists, init) for order in permutations(ran))


def _before(one: T, two: T, wanted: str) -> bool:
    """Whether one has to commit before the other starts."""
    together = wanted == "realtime" or (wanted == "session" and one.process == two.process)
    return together and one.outcome == "ok" and one.complete < two.invoke


def _in_order(order: Sequence[T], wanted: str) -> bool:
    return not any(_before(two, one, wanted) for one, two in combinations(order, 2))


def _run(txn: T, state: State, lists: bool, init: Any) -> State | None:
    """The state after a transaction executed on one; None if it would have read something else."""
    state = dict(state)
    for f, key, value in txn.mops:
        if f == "r":
            expected = state.get(key, [] if lists else init)
            if txn.outcome == "ok" and not (type(expected) is type(value) and expected == value):
                return None
        else:
            state[key] = [*state.get(key, []), value] if lists else value
    return state


def _serial(order: Sequence[T], lists: bool, init: Any) -> bool:
    state: State | None = {}
    for txn in order:
        state = _run(txn, state, lists, init)
        if state is None:
            return False
    return True


def written(txn: T) -> set[str]:
    """The keys a transaction wrote."""
    return {key for f, key, _ in txn.mops if f != "r"}


def _snapshots(order: Sequence[T], wanted: str, lists: bool, init: Any) -> bool:
    states: list[State] = [{}]
    for place, txn in enumerate(order):
        fits = [
            start for start in range(place + 1)
            if not any(written(other) & written(txn) for other in order[start:place])
            and not any(_before(other, txn, wanted) for other in order[start:])
            and _run(txn, states[start], lists, init) is not None
        ]  # fmt: skip
        if not fits:
            return False
        mine = _run(txn, states[fits[0]], lists, init)
        states.append({**states[place], **{key: mine[key] for key in written(txn)}})
    return True


def _last_writes(txn: T) -> dict[str, Any]:
    return {key: value for f, key, value in txn.mops if f != "r"}


def _read_committed(ran: list[T], lists: bool, init: Any) -> bool:
    keys = sorted({key for txn in ran for key in written(txn)})
    writer = {(k, v): n for n, t in enumerate(ran) for f, k, v in t.mops if f != "r"}
    last = {(k, v) for t in ran for k, v in _last_writes(t).items()}
    sources = _sources(ran, writer, last, lists, init)
    if sources is None:
        return False
    choices = []
    for key in keys:
        versions = [item for item in writer if item[0] == key and (lists or item in last)]
        choices.append([o for o in permutations(versions) if _told(ran, key, o, lists)])
    for orders in product(*choices):
        edges = {(writer[a], writer[b]) for order in orders for a, b in pairwise(order)}
        if _acyclic(edges | sources, len(ran)):
            return True
    return False


def _told(ran: list[T], key: str, order: Sequence[tuple[str, Any]], lists: bool) -> bool:
    """Whether a key's order is that of each transaction's own appends and of all that was read."""
    if not lists:
        return True
    values = [value for _, value in order]
    for txn in ran:
        own = [v for f, k, v in txn.mops if f != "r" and k == key]
        if [v for v in values if v in own] != own:
            return False
        reads = [v for f, k, v in txn.mops if f == "r" and k == key and txn.outcome == "ok"]
        if any(read != values[: len(read)] for read in reads):
            return False
    return True


def _sources(
    ran: list[T], writer: dict[Any, int], last: set[Any], lists: bool, init: Any
) -> set[tuple[int, int]] | None:
    """Who read from whom; None for a read of what is no committed or own earlier version."""
    edges = set()
    for n, txn in enumerate(ran):
        own: set[Any] = set()
        for f, key, value in txn.mops:
            if f != "r":
                own.add((key, value))
                continue
            if txn.outcome != "ok":
                continue
            seen = [(key, v) for v in value] if lists else [(key, value)] * (value != init)
            if any(item not in writer or (writer[item] == n and item not in own) for item in seen):
                return None
            for item in seen[-1:]:
                if writer[item] != n and item not in last:
                    return None
                edges.add((writer[item], n))
    return edges


def _acyclic(edges: set[tuple[int, int]], count: int) -> bool:
    left = {(a, b) for a, b in edges if a != b}
    nodes = set(range(count))
    while nodes:
        free = [n for n in nodes if not any(b == n and a in nodes for a, b in left)]
        if not free:
            return False
        nodes -= set(free)
    return True


def _sees(order: Sequence[T], level: str, lists: bool, init: Any) -> bool:
    """Whether transactions that commit in this order read what those they see wrote."""
    writer = {(k, v): n for n, t in enumerate(order) for f, k, v in t.mops if f != "r"}
    final = [
        (key, value) for t in order for f, key, value in t.mops
        if f != "r" and (lists or _last_writes(t)[key] == value)
    ]  # fmt: skip
    seen: list[set[int]] = []
    for n, txn in enumerate(order):
        mine = set()
        for f, key, value in txn.mops if txn.outcome == "ok" else ():
            if f == "r":
                items = [(key, v) for v in value] if lists else [(key, value)] * (value != init)
                if any(item not in writer for item in items):
                    return False
                mine |= {writer[item] for item in items} - {n}
        mine |= {m for m, other in enumerate(order) if _before(other, txn, SEEN[level])}
        if any(m >= n for m in mine):
            return False
        if level != "read-atomic":
            mine |= {far for near in mine for far in seen[near]}
        seen.append(mine)
        state: State = {}
        for key, value in final:
            if writer[key, value] in mine:
                state[key] = [*state.get(key, []), value] if lists else value
        if _run(txn, state, lists, init) is None:
            return False
        if lists and not _prefixes(txn, final):
            return False
    return True


def _prefixes(txn: T, final: list[Any]) -> bool:
    """Whether each list read is the beginning of its key's list, in the order of commits."""
    for f, key, value in txn.mops if txn.outcome == "ok" else ():
        if f == "r" and value != [v for k, v in final if k == key][: len(value)]:
            return False
    return True


# Histories at random ------------------------------------------------------------------------------


def worlds(rng: random.Random, *, lists: bool, txns: int = 6) -> Iterator[list[T]]:
    """Worlds of up to so many transactions, without end."""
    while True:
        yield _world(rng, lists, rng.randint(2, txns))


def _world(rng: random.Random, lists: bool, count: int) -> list[T]:
    keys = "xyz"[: rng.randint(1, 3)]
    shapes = _shapes(rng, keys, count, "append" if lists else "w")
    spans = _spans(rng, count)
    outcomes = rng.choices(("ok", "info", "fail"), (86, 9, 5), k=count)
    faults = rng.choice((0.0, 0.0, 0.15, 0.6))
    told = _executed(rng, shapes, spans, outcomes, lists)
    return [
        T(process, invoke, complete, outcome, tuple(
            (f, k, _mistaken(rng, shapes, k, lists) if f == "r" and rng.random() < faults else v)
            for f, k, v in mops
        ))
        for (process, invoke, complete), outcome, mops in zip(spans, outcomes, told)
    ]  # fmt: skip


def _shapes(rng: random.Random, keys: str, count: int, write: str) -> list[list[Mop]]:
    """What transactions want to do; at most four writes of a key."""
    shapes: list[list[Mop]] = []
    values = dict.fromkeys(keys, 0)
    reads = rng.choice((0.4, 0.6))
    for _ in range(count):
        mops: list[Mop] = []
        for _ in range(rng.choice((1, 2, 2, 3))):
            key = rng.choice(keys)
            if rng.random() < reads or values[key] == 4:
                mops.append(("r", key, None))
            else:
                values[key] += 1
                mops.append((write, key, values[key]))
        shapes.append(mops)
    return shapes


def _spans(rng: random.Random, count: int) -> list[tuple[int, int, int]]:
    """Process, invocation and completion of each; a process has one at a time."""
    processes = rng.randint(1, 3) if rng.random() < 0.7 else count
    spans, running, left = [], {}, count
    moment = 0
    while left or running:
        free = [p for p in range(processes) if p not in running]
        if left and free and (not running or rng.random() < 0.5):
            running[rng.choice(free)] = moment
            left -= 1
        else:
            process = rng.choice(list(running))
            spans.append((process, running.pop(process), moment))
        moment += 1
    return sorted(spans, key=lambda span: span[1])


def _executed(
    rng: random.Random, shapes: Any, spans: Any, outcomes: list[str], lists: bool
) -> list[list[Mop]]:
    """What a lax database tells: snapshots that may be old, commits in nearly any order."""
    order = sorted(range(len(shapes)), key=lambda n: rng.uniform(spans[n][1], spans[n][2]))
    if rng.random() < 0.3:
        rng.shuffle(order)
    stale = rng.choice((0.0, 0.0, 0.3, 0.9))
    states: list[State] = [{}]
    told: list[list[Mop]] = [[] for _ in shapes]
    for n in order:
        age = rng.randint(1, len(states)) if rng.random() < stale else 1
        now, mine = dict(states[-age]), dict(states[-1])
        for f, key, value in shapes[n]:
            if f == "r":
                got = now.get(key, [] if lists else None)
                told[n].append((f, key, list(got) if lists else got))
            else:
                told[n].append((f, key, value))
                for state in (now, mine):
                    state[key] = [*state.get(key, []), value] if lists else value
        if outcomes[n] == "ok" or (outcomes[n] == "info" and rng.random() < 0.5):
            states.append(mine)
    return told


def _mistaken(rng: random.Random, shapes: Any, key: str, lists: bool) -> Any:
    """Something else to have read: of anybody, too early, too late, or of nobody."""
    values = [v for mops in shapes for f, k, v in mops if f != "r" and k == key]
    if rng.random() < 0.04:
        values.append(77)
    if not lists:
        return rng.choice([None, *values])
    if rng.random() < 0.3:
        rng.shuffle(values)
    return values[: rng.randint(0, len(values))]
