"""Placing points one by one so that every read sees what it saw: the inner loop, with numba.

Problem. An order of the points is needed in which no read goes wrong.

Solution. Points that no known edge holds back are tried by rank. A point is barred while it would
overwrite a version that still has readers to come. Under snapshot isolation a start is also barred
while a transaction that writes the same key has started and not committed. A barred point waits for
the key that bars it. When every remaining point waits, one is let through and noted as a guess, so
one pass finds many guesses.

Invariants. Every point placed respects all known edges.

What breaks without it: guesses would be made without regard to reads, and most would be wrong.

For :mod:`checkers.isolation.serializability.saturation`; tables and edges are those of
:mod:`.saturation_kernel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from checkers.core.columns import Flags, Int, Int32s, Int64s
from checkers.core.jit import compiled, inner

if TYPE_CHECKING:
    from checkers.isolation.serializability.saturation_kernel import State, Tables


class Scratch(NamedTuple):
    """Scratch of :func:`schedule`.

    Args:
        waiting: per point how many edges into it are open.
        heap: points that nothing known keeps back.
        latest, running: per key the slot written last, and of the writer that has started.
        unread: per slot how many readers are to come.
        void: per slot whether it is taken to have been overwritten before.
        parked, parked_next: per key the points that wait for it; per point the next one.
        bar, bar_slot: per parked point the slot that bars it, and its own slot of that key.
        order: points placed.
        guesses: first and second point of each guess.
    """

    waiting: Int32s
    heap: Int32s
    latest: Int32s
    running: Int32s
    unread: Int32s
    void: Flags
    parked: Int32s
    parked_next: Int32s
    bar: Int32s
    bar_slot: Int32s
    order: Int32s
    guesses: Int32s


@inner
def _sift(heap: Int32s, count: Int, rank: Int64s, point: Int) -> None:
    """Add a point to a heap by rank."""
    at = count
    while at > 0:
        parent = (at - 1) // 2
        if rank[heap[parent]] <= rank[point]:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = point


@inner
def _take(heap: Int32s, count: Int, rank: Int64s) -> Int:
    """Take the point of least rank from a heap of so many."""
    top: Int = heap[0]
    last = heap[count - 1]
    count -= 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        if child + 1 < count and rank[heap[child + 1]] < rank[heap[child]]:
            child += 1
        if rank[last] <= rank[heap[child]]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = last
    return top


@inner
def _unpark(
    point: Int, parked_next: Int32s, bar: Int32s, heap: Int32s, count: Int, rank: Int64s
) -> Int:
    """Points that waited for a key, from this one on, may be tried again; the heap's new size."""
    while point >= 0:
        bar[point] = -1
        _sift(heap, count, rank, point)
        count += 1
        point = parked_next[point]
    return count


@inner
def _free_one(tables: Tables, scratch: Scratch, rank: Int64s, number: Int) -> Int:
    """Guess that a parked point belongs before what bars it; that point."""
    step, key_of = tables.step, tables.write_key
    best, least = -1, 0
    for point in range(len(rank)):
        if scratch.bar[point] >= 0:
            gap = rank[point] - rank[tables.writer[scratch.bar[point]] * step]
            if best < 0 or gap < least:
                best, least = point, gap
    scratch.guesses[number, 0] = best // step * step + step - 1
    scratch.guesses[number, 1] = tables.writer[scratch.bar[best]] * step
    scratch.void[scratch.bar_slot[best]] = True
    key = key_of[scratch.bar_slot[best]]
    if scratch.parked[key] == best:
        scratch.parked[key] = scratch.parked_next[best]
    else:
        at = scratch.parked[key]
        while scratch.parked_next[at] != best:
            at = scratch.parked_next[at]
        scratch.parked_next[at] = scratch.parked_next[best]
    scratch.bar[best] = -1
    return best


@inner
def _clear(tables: Tables, state: State, rank: Int64s, scratch: Scratch, edges: Int) -> Int:
    """Nothing is placed; how many points nothing keeps back."""
    scratch.latest[:] = -1
    scratch.running[:] = -1
    scratch.parked[:] = -1
    scratch.bar[:] = -1
    scratch.void[:] = False
    scratch.waiting[:] = 0
    scratch.unread[:] = tables.reader_at[1:] - tables.reader_at[:-1]
    for edge in range(edges):
        scratch.waiting[state.target[edge]] += 1
    count = 0
    for point in range(len(rank)):
        if scratch.waiting[point] == 0:
            _sift(scratch.heap, count, rank, point)
            count += 1
    return count


@inner
def _bar(tables: Tables, scratch: Scratch, point: Int) -> Int:
    """The first of a transaction's slots whose key bars this point now, or -1."""
    step, own = tables.step, tables.own
    write_key, latest, running = tables.write_key, scratch.latest, scratch.running
    unread, void = scratch.unread, scratch.void
    txn = point // step
    for slot in range(tables.write_at[txn], tables.write_at[txn + 1]):
        if void[slot]:
            continue
        key = write_key[slot]
        if step > 1 and point % step == 0:  # beside another writer, who has not committed
            if running[key] >= 0:
                scratch.bar[point] = running[key]
                return slot
        elif latest[key] >= 0:
            mine = 1 if step == 1 and own[slot] == latest[key] else 0
            if unread[latest[key]] > mine:
                scratch.bar[point] = latest[key]
                return slot
    return -1


@inner
def _effects(tables: Tables, scratch: Scratch, point: Int, rank: Int64s, count: Int) -> Int:
    """Place a point's reads and writes; returns the size of the heap, with those that waited."""
    step, txn = tables.step, point // tables.step
    read_key, read_from, write_key = tables.read_key, tables.read_from, tables.write_key
    parked, parked_next, bar, heap = scratch.parked, scratch.parked_next, scratch.bar, scratch.heap
    latest, running, unread, void = scratch.latest, scratch.running, scratch.unread, scratch.void
    if point % step == 0:
        for read in range(tables.read_at[txn], tables.read_at[txn + 1]):
            slot = read_from[read]
            if slot >= 0:
                unread[slot] -= 1
                if unread[slot] <= 1:
                    key = read_key[read]
                    count = _unpark(parked[key], parked_next, bar, heap, count, rank)
                    parked[key] = -1
    for slot in range(tables.write_at[txn], tables.write_at[txn + 1]):
        key = write_key[slot]
        if void[slot]:
            continue
        if point % step == step - 1:
            latest[key], running[key] = slot, -1
            count = _unpark(parked[key], parked_next, bar, heap, count, rank)
            parked[key] = -1
        else:
            running[key] = slot
    return count


@compiled
def schedule(tables: Tables, state: State, rank: Int64s, scratch: Scratch, edges: Int) -> Int:
    """Place points one by one, lowest rank first, none where reads would go wrong.

    Where every point left waits for another, one is let through, which is noted as a guess.

    Returns:
        How many guesses there are. If none, ``order`` explains every read.
    """
    out_head, out_next, target = state.out_head, state.out_next, state.target
    waiting, heap, order = scratch.waiting, scratch.heap, scratch.order
    bar_slot, parked, parked_next = scratch.bar_slot, scratch.parked, scratch.parked_next
    count = _clear(tables, state, rank, scratch, edges)
    placed, guessed = 0, 0
    while placed < len(rank):
        if count == 0:
            if guessed == len(scratch.guesses):
                break
            _sift(heap, count, rank, _free_one(tables, scratch, rank, guessed))
            guessed, count = guessed + 1, 1
        point = _take(heap, count, rank)
        count -= 1
        slot = _bar(tables, scratch, point)
        if slot >= 0:
            key = tables.write_key[slot]
            bar_slot[point] = slot
            parked_next[point], parked[key] = parked[key], point
            continue
        order[placed] = point
        placed += 1
        count = _effects(tables, scratch, point, rank, count)
        edge = out_head[point]
        while edge >= 0:
            after = target[edge]
            waiting[after] -= 1
            if waiting[after] == 0:
                _sift(heap, count, rank, after)
                count += 1
            edge = out_next[edge]
    return guessed
