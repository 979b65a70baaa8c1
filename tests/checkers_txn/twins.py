"""Slow and obvious twins of the transactional checkers: permutations and definitions.

Each follows the definition in the literature as directly as possible and is exponential. They share
no code with the checkers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

from checkers.history import Event, History

Mop = tuple[str, str, Any]


class T:
    """A transaction of a small history: its micro-operations and its interval of positions."""

    def __init__(self, number: int, process: int, invoke: int, complete: int, mops: list[Mop]):
        self.number = number
        self.process = process
        self.invoke = invoke
        self.complete = complete
        self.mops = mops


def history_of(txns: list[T], *, outcome: dict[int, str] | None = None) -> History:
    """The history of these transactions; all ok unless ``outcome`` says otherwise."""
    outcome = outcome or {}
    moments: list[tuple[int, Event]] = []
    for txn in txns:
        asked = [[f, k, None if f == "r" else v] for f, k, v in txn.mops]
        kind = outcome.get(txn.number, "ok")
        told = [list(mop) for mop in txn.mops] if kind == "ok" else asked
        moments.append(
            (txn.invoke, Event(0, txn.invoke, txn.process, "invoke", "txn", None, asked))
        )
        moments.append((txn.complete, Event(0, txn.complete, txn.process, kind, "txn", None, told)))
    return History.from_events(event for _, event in sorted(moments, key=lambda pair: pair[0]))


def replay_lists(order: tuple[T, ...]) -> bool:
    """Whether executing list-append transactions in this order gives exactly what they read."""
    state: dict[str, list[Any]] = {}
    for txn in order:
        for f, key, value in txn.mops:
            if f == "r":
                if state.get(key, []) != value:
                    return False
            else:
                state[key] = [*state.get(key, []), value]
    return True


def replay_registers(order: tuple[T, ...]) -> bool:
    """Whether executing register transactions in this order gives exactly what they read."""
    state: dict[str, Any] = {}
    for txn in order:
        for f, key, value in txn.mops:
            if f == "r":
                if state.get(key) != value:
                    return False
            else:
                state[key] = value
    return True


def orders(
    txns: list[T], *, session: bool = False, realtime: bool = False
) -> Iterator[tuple[T, ...]]:
    """All orders of the transactions that respect sessions, or real time, if asked."""
    for order in permutations(txns):
        place = {txn.number: at for at, txn in enumerate(order)}
        before = (
            (a, b)
            for a in txns
            for b in txns
            if a.complete < b.invoke and (realtime or (session and a.process == b.process))
        )
        if all(place[a.number] < place[b.number] for a, b in before):
            yield order


def serializable(txns: list[T], replay: Any, **options: bool) -> bool:
    """Some order explains everything read."""
    return any(replay(order) for order in orders(txns, **options))


def external(txns: list[T]) -> tuple[dict[int, list[tuple[str, Any]]], dict[int, dict[str, Any]]]:
    """External reads in program order, and last writes, of register transactions."""
    reads: dict[int, list[tuple[str, Any]]] = {}
    writes: dict[int, dict[str, Any]] = {}
    for txn in txns:
        mine: dict[str, Any] = {}
        reads[txn.number] = []
        for f, key, value in txn.mops:
            if f == "w":
                mine[key] = value
            elif key not in mine:
                reads[txn.number].append((key, value))
        writes[txn.number] = mine
    return reads, writes


def consistent_within(txns: list[T]) -> bool:
    """Reads after own writes return them, and reads return final writes of others."""
    _, writes = external(txns)
    final = {(k, v) for mine in writes.values() for k, v in mine.items()}
    for txn in txns:
        mine: dict[str, Any] = {}
        for f, key, value in txn.mops:
            if f == "w":
                mine[key] = value
            elif key in mine:
                if mine[key] != value:
                    return False
            elif value is not None and (
                (key, value) not in final or writes[txn.number].get(key) == value
            ):
                return False
    return True


def repeatable(txns: list[T]) -> bool:
    """No transaction reads two values of a key it did not write meanwhile."""
    reads, _ = external(txns)
    return all(
        len({v for k, v in mine if k == key}) == 1 for mine in reads.values() for key, _ in mine
    )


def weak(txns: list[T], level: str) -> bool:
    """The axioms of Biswas and Enea, over every commit order."""
    if not consistent_within(txns) or (level != "read-committed" and not repeatable(txns)):
        return False
    reads, writes = external(txns)
    writer = {(k, v): n for n, mine in writes.items() for k, v in mine.items()}
    source = {(n, k, v): writer.get((k, v), -1) for n, mine in reads.items() for k, v in mine}
    near = {
        (a.number, b.number)
        for a in txns
        for b in txns
        if a.process == b.process and a.invoke < b.invoke
    }
    near |= {(s, n) for (n, _, _), s in source.items() if s >= 0}
    far = set(near)
    while True:
        more = {(a, d) for a, b in far for c, d in near if b == c} - far
        if not more:
            break
        far |= more
    for order in permutations(txns):
        place = {txn.number: at for at, txn in enumerate(order)} | {-1: -1}
        if any(place[a] >= place[b] for a, b in near):
            continue
        if all(_placed(n, level, reads, writes, source, near, far, place) for n in reads):
            return True
    return False


def _placed(
    reader: int, level: str, reads: Any, writes: Any, source: Any, near: Any, far: Any, place: Any
) -> bool:
    seen: set[int] = set()
    for key, value in reads[reader]:
        t1 = source[(reader, key, value)]
        for t2, mine in writes.items():
            if key not in mine or t2 in (t1, reader):
                continue
            visible = {
                "read-committed": t2 in seen,
                "read-atomic": (t2, reader) in near,
                "causal": (t2, reader) in far,
            }[level]
            if visible and place[t2] > place[t1]:
                return False
        seen.add(t1)
    return True


def snapshot_isolation(txns: list[T]) -> bool:
    """Start and commit points: all interleavings, first committer wins, reads from the snapshot."""
    if not consistent_within(txns) or not repeatable(txns):
        return False
    reads, writes = external(txns)
    points = [(txn.number, part) for txn in txns for part in (0, 1)]
    for order in permutations(points):
        place = {point: at for at, point in enumerate(order)}
        if any(place[(t.number, 0)] > place[(t.number, 1)] for t in txns):
            continue
        if any(
            a.process == b.process and a.invoke < b.invoke
            and place[(a.number, 1)] > place[(b.number, 0)]
            for a, b in product(txns, txns)
        ):  # fmt: skip
            continue
        if _snapshots_hold(txns, reads, writes, place):
            return True
    return False


def _snapshots_hold(txns: list[T], reads: Any, writes: Any, place: Any) -> bool:
    for txn in txns:
        n = txn.number
        for other in txns:
            o = other.number
            if o != n and writes[n].keys() & writes[o].keys():
                apart = place[(o, 1)] < place[(n, 0)] or place[(n, 1)] < place[(o, 0)]
                if not apart:
                    return False
        for key, value in reads[n]:
            committed = [
                (place[(o, 1)], mine[key])
                for o, mine in writes.items()
                if key in mine and o != n and place[(o, 1)] < place[(n, 0)]
            ]
            if (max(committed)[1] if committed else None) != value:
                return False
    return True
