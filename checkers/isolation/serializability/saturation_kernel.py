"""Orders that are forced, kept complete while further orders are guessed: inner loops, with numba.

Problem. Every guess forces further orders, and thousands of guesses must be made and taken back.

Solution. Points are transactions (serializability) or their starts and commits (snapshot
isolation). They are numbered session by session, so a session is a *lane* of successive numbers.
The vector of a point says how many points of each lane must come before it. An edge raises the
vector of its target, then those of the targets behind it. Two rules look at every raise, for a key,
two of its writers w and o, and the readers r of w:

1. if o commits before r starts, o commits before w starts (r would have read o's write);
2. if w starts before o commits, w commits before o starts, and every r starts before o commits.

Only the last earlier writer of each lane is checked; the order of the others follows from it.

Invariants. When no rule applies any more, every pair of writers whose order is forced has it (the
pruning of Cobra and PolySI). An edge into the past is a conflict. Each edge keeps its reason, a
path that existed when the edge was made, so a conflict can be traced back to the guesses it rests
on and to the transactions that prove it.

What breaks without it: see :mod:`checkers.isolation.serializability.saturation`, the only caller.
Importing this module imports numba. The first call compiles, unless an earlier process left the
machine code in the cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from checkers.core.columns import Flags, Int, Int32s, Int64s
from checkers.core.jit import compiled, inner

#: What :func:`propagate` came back with.
REST, CONFLICT, PAUSED, FULL = 0, 1, 2, 3

#: Why an edge is there if not for a path: it was given, or guessed, or follows from a guess.
GIVEN, GUESSED, LEARNED = -1, -2, -4
#: In place of where a path ends: the conflict is an edge that is there, whose number comes before.
PRESENT = -3


class Counts:
    """The counters of a state.

    Attributes:
        edges: edges that are there.
        trail: entries of the trail.
        head, queued: where the queue begins, and how many points are in it.
        source, target: of a conflict, the edge that cannot be.
        why_from, why_to: and why it should have held: a path, or one of the reasons above.
        until: how many points to look at before a pause.
        stamp: of the last path that was looked for.
    """

    edges: Int
    trail: Int
    head: Int
    queued: Int
    source: Int
    target: Int
    why_from: Int
    why_to: Int
    until: Int
    stamp: Int


class Tables(NamedTuple):
    """The constant columns.

    Args:
        step: points of a transaction: 1, or 2 for its start and its commit.
        lane, place: (points,): lane of each point, and its position there.
        first: (lanes,): the first point of each lane.
        read_at: (transactions + 1,): where the reads of each transaction begin.
        read_key, read_from: (reads,): key, and slot of the version that was read, or -1.
        write_at: (transactions + 1,): where the writes of each transaction begin. The number of a
            write is the *slot* of its version.
        write_key: (slots,): the key written.
        own: (slots,): the slot that the same transaction read of that key; -1 or -2 for none.
        key_group_at: (keys + 1,): where the groups of each key begin: its writers, by lane.
        group_lane, group_at: (groups,) and (groups + 1,): lane of each group, and where it begins.
        key_slot, key_txn: (slots,): slot and transaction of each writer, by key, lane and place.
        reader_at, reader: (slots + 1,) and (reads,): the transactions that read each slot.
        writer: (slots,): its transaction.
        read_room, write_room: (reads,) and (slots,): at most so many edges come of a look at it.
    """

    step: int
    lane: Int32s
    place: Int32s
    first: Int32s
    read_at: Int32s
    read_key: Int32s
    read_from: Int32s
    write_at: Int32s
    write_key: Int32s
    own: Int32s
    key_group_at: Int32s
    group_lane: Int32s
    group_at: Int32s
    key_slot: Int32s
    key_txn: Int32s
    reader_at: Int32s
    reader: Int32s
    writer: Int32s
    read_room: Int32s
    write_room: Int32s


class State(NamedTuple):
    """The state that grows with each edge and shrinks when a guess is undone.

    Args:
        clock: (points, lanes): how many points of the lane must come before the point.
        ruled: (points, lanes): how much of that the rules have looked at.
        out_head, in_head: (points,): the newest edge out of and into each point.
        out_next, in_next: (edges,): the edge before it.
        source, target: (edges,): the points of each edge.
        why_from, why_to: (edges,): the path that forced it, or the reasons above.
        trail: (raises, 3): point, lane and clock before of each raise.
        queue, queued: (points + 1,) and (points,): points raised and not yet looked at.
        looked: (lanes,): the clock of the point that is looked at.
        seen, came: (points,): scratch for paths.
        counts: its counters.
    """

    clock: Int32s
    ruled: Int32s
    out_head: Int32s
    in_head: Int32s
    out_next: Int32s
    in_next: Int32s
    source: Int32s
    target: Int32s
    why_from: Int32s
    why_to: Int32s
    trail: Int32s
    queue: Int32s
    queued: Flags
    looked: Int32s
    seen: Int32s
    came: Int32s
    counts: Counts


@inner
def _enqueue(state: State, point: Int) -> None:
    if not state.queued[point]:
        state.queued[point] = True
        size = len(state.queue)
        counts = state.counts
        state.queue[(counts.head + counts.queued) % size] = point
        counts.queued += 1


@inner
def _raise(tables: Tables, state: State, source: Int, target: Int, traced: bool) -> Int:
    """Order the source and its predecessors before the target; False if impossible."""
    lane, place = tables.lane, tables.place
    before, after = state.clock[source], state.clock[target]
    if before[lane[target]] > place[target]:
        return False
    counts = state.counts
    home, least = lane[source], place[source] + 1
    changed = after[home] < least
    for at in range(len(before)):
        changed |= before[at] > after[at]
    if not changed:
        return True
    if traced:
        count = counts.trail
        for at in range(len(before)):
            value = max(before[at], least) if at == home else before[at]
            if value > after[at]:
                state.trail[count, 0] = target
                state.trail[count, 1] = at
                state.trail[count, 2] = after[at]
                count += 1
        counts.trail = count
    for at in range(len(before)):
        after[at] = max(after[at], before[at])
    after[home] = max(after[home], least)
    _enqueue(state, target)
    return True


@inner
def _link(state: State, source: Int, target: Int, why_from: Int, why_to: Int) -> None:
    """Put an edge behind the others, in the lists of both its ends."""
    edge = state.counts.edges
    state.source[edge], state.target[edge] = source, target
    state.why_from[edge], state.why_to[edge] = why_from, why_to
    state.out_next[edge] = state.out_head[source]
    state.out_head[source] = edge
    state.in_next[edge] = state.in_head[target]
    state.in_head[target] = edge
    state.counts.edges = edge + 1


@compiled
def add_edge(
    tables: Tables, state: State, source: Int, target: Int, why_from: Int, why_to: Int, traced: bool
) -> Int:
    """One point before another, unless that is known; False for a conflict."""
    if state.clock[target, tables.lane[source]] > tables.place[source]:
        return True
    counts = state.counts
    counts.source, counts.target = source, target
    counts.why_from, counts.why_to = why_from, why_to
    if source == target or not _raise(tables, state, source, target, traced):
        return False
    _link(state, source, target, why_from, why_to)
    return True


@inner
def _last_writer(key_txn: Int32s, left: Int, right: Int, high: Int, skip: Int) -> Int:
    """Place from ``left`` to before ``right`` of the last writer before ``high``, or -1."""
    start = left
    while left < right:
        middle = (left + right) // 2
        if key_txn[middle] < high:
            left = middle + 1
        else:
            right = middle
    left -= 1
    if left >= start and key_txn[left] == skip:
        left -= 1
    return left if left >= start else -1


@inner
def _rule_reads(tables: Tables, state: State, txn: Int, read: Int, traced: bool) -> Int:
    """Rule 1 for one read, in every session of which its start comes after more than was known."""
    step, place = tables.step, tables.place
    group_lane, group_at, first = tables.group_lane, tables.group_at, tables.first
    key_txn, key_slot = tables.key_txn, tables.key_slot
    slot, key, point = tables.read_from[read], tables.read_key[read], txn * step
    start = tables.writer[slot] * step
    looked, ruled, known = state.looked, state.ruled[point], state.clock[start]
    for group in range(tables.key_group_at[key], tables.key_group_at[key + 1]):
        lane = group_lane[group]
        if ruled[lane] >= looked[lane] or known[lane] >= looked[lane]:
            continue
        # transactions of the lane whose commit is among those before
        high = (first[lane] + looked[lane]) // step
        at = _last_writer(key_txn, group_at[group], group_at[group + 1], high, -1)
        if at < 0 or key_slot[at] == slot:
            continue
        commit = key_txn[at] * step + step - 1
        if known[lane] <= place[commit] and not add_edge(
            tables, state, commit, start, commit, point, traced
        ):
            return False
    return True


@inner
def _rule_writes(tables: Tables, state: State, txn: Int, slot: Int, traced: bool) -> Int:
    """Rule 2 for one write, in every session of which its commit comes after more than before."""
    step, place, lane_of = tables.step, tables.place, tables.lane
    group_lane, group_at, first = tables.group_lane, tables.group_at, tables.first
    key_txn, key_slot = tables.key_txn, tables.key_slot
    reader_at, readers = tables.reader_at, tables.reader
    key, point = tables.write_key[slot], txn * step + step - 1
    looked, ruled, known = state.looked, state.ruled[point], state.clock[point]
    begun = state.clock[txn * step]
    for group in range(tables.key_group_at[key], tables.key_group_at[key + 1]):
        lane = group_lane[group]
        if ruled[lane] >= looked[lane]:
            continue
        # transactions of the lane whose start is among those before
        high = (first[lane] + looked[lane] + step - 1) // step
        at = _last_writer(key_txn, group_at[group], group_at[group + 1], high, txn)
        if at < 0:
            continue
        start = key_txn[at] * step
        if (
            step > 1
            and begun[lane] <= place[start + 1]
            and not add_edge(tables, state, start + 1, point - 1, start, point, traced)
        ):
            return False
        for number in range(reader_at[key_slot[at]], reader_at[key_slot[at] + 1]):
            other = readers[number] * step
            if (
                readers[number] != txn
                and known[lane_of[other]] <= place[other]
                and not add_edge(tables, state, other, point, start, point, traced)
            ):
                return False
    return True


@inner
def _full(state: State, edges: Int, traced: bool) -> Int:
    """Whether so many more edges, and what they raise, may not fit."""
    counts = state.counts
    if counts.edges + edges > len(state.source):
        return True
    return traced and counts.trail + edges * state.clock.shape[1] > len(state.trail)


@inner
def _look(tables: Tables, state: State, point: Int, traced: bool) -> Int:
    """Both rules for what was raised of a point; then its successors are raised."""
    step = tables.step
    txn = point // step
    state.looked[:] = state.clock[point]  # what is raised meanwhile is looked at later
    if point % step == 0:
        for read in range(tables.read_at[txn], tables.read_at[txn + 1]):
            if tables.read_from[read] >= 0:
                if _full(state, tables.read_room[read], traced):
                    return FULL
                if not _rule_reads(tables, state, txn, read, traced):
                    return CONFLICT
    if point % step == step - 1:
        for slot in range(tables.write_at[txn], tables.write_at[txn + 1]):
            if _full(state, tables.write_room[slot], traced):
                return FULL
            if not _rule_writes(tables, state, txn, slot, traced):
                return CONFLICT
    state.ruled[point] = state.looked
    edge = state.out_head[point]
    while edge >= 0:
        if _full(state, 1, traced):
            return FULL
        if not _raise(tables, state, point, state.target[edge], traced):
            counts = state.counts
            counts.source, counts.target = point, state.target[edge]
            counts.why_from, counts.why_to = edge, PRESENT
            return CONFLICT
        edge = state.out_next[edge]
    return REST


@compiled
def propagate(tables: Tables, state: State, traced: bool) -> Int:
    """Until nothing is new: REST, CONFLICT, PAUSED for the budget, or FULL for larger arrays."""
    counts = state.counts
    left = counts.until
    while counts.queued:
        if left <= 0:
            return PAUSED
        left -= 1
        point = state.queue[counts.head]
        counts.head = (counts.head + 1) % len(state.queue)
        counts.queued -= 1
        state.queued[point] = False
        answer = _look(tables, state, point, traced)
        if answer == FULL:
            _enqueue(state, point)
        if answer != REST:
            return answer
    return REST


@compiled
def take_back(state: State, edges: Int, trail: Int) -> None:
    """Forget the edges and the raises after so many of them, and what waits to be looked at."""
    counts = state.counts
    for at in range(counts.trail - 1, trail - 1, -1):
        point, lane, value = state.trail[at, 0], state.trail[at, 1], state.trail[at, 2]
        state.clock[point, lane] = value
        if state.ruled[point, lane] > value:
            state.ruled[point, lane] = value
    counts.trail = trail
    for edge in range(counts.edges - 1, edges - 1, -1):
        state.out_head[state.source[edge]] = state.out_next[edge]
        state.in_head[state.target[edge]] = state.in_next[edge]
    counts.edges = edges
    while counts.queued:
        state.queued[state.queue[counts.head]] = False
        counts.head = (counts.head + 1) % len(state.queue)
        counts.queued -= 1


@compiled
def find_path(tables: Tables, state: State, source: Int, target: Int, limit: Int) -> Int32s:
    """Edges of a path among those before ``limit``, with the fewest that had to be derived.

    Breadth first from the target: all that is reached by given edges before anything farther.
    """
    counts = state.counts
    counts.stamp += 1
    stamp = counts.stamp
    lane, place = tables.lane[source], tables.place[source]
    near = np.empty(len(state.seen), dtype=np.int32)
    far = np.empty(limit, dtype=np.int32)
    state.seen[target] = stamp
    state.came[target] = -1
    near[0] = target
    count, at, beyond, tried = 1, 0, 0, 0
    while state.seen[source] != stamp:
        if at < count:
            point = near[at]
            at += 1
            edge = state.in_head[point]
            while edge >= 0:
                before = state.source[edge]
                if (
                    edge < limit
                    and state.seen[before] != stamp
                    and (before == source or state.clock[before, lane] > place)
                ):
                    if state.why_from[edge] == GIVEN:
                        state.seen[before] = stamp
                        state.came[before] = edge
                        near[count] = before
                        count += 1
                    else:
                        far[beyond] = edge
                        beyond += 1
                edge = state.in_next[edge]
        elif tried < beyond:
            edge = far[tried]
            tried += 1
            before = state.source[edge]
            if state.seen[before] != stamp:
                state.seen[before] = stamp
                state.came[before] = edge
                near[count] = before
                count += 1
        else:
            break
    path = np.empty(count, dtype=np.int32)
    length = 0
    if state.seen[source] == stamp:
        point = source
        while state.came[point] >= 0:
            path[length] = state.came[point]
            length += 1
            point = state.target[state.came[point]]
    return path[:length]


@compiled
def give(state: State, sources: Int32s, targets: Int32s) -> None:
    """Add edges that hold from the beginning."""
    state.counts.edges = 0
    for at in range(len(sources)):
        _link(state, sources[at], targets[at], GIVEN, GIVEN)


@compiled
def sources_first(state: State) -> Int32s:
    """Points in an order of the edges; those on and behind cycles come last."""
    points = len(state.out_head)
    waiting = np.zeros(points, dtype=np.int32)
    for edge in range(state.counts.edges):
        waiting[state.target[edge]] += 1
    order = np.empty(points, dtype=np.int32)
    count, at = 0, 0
    for point in range(points):
        if waiting[point] == 0:
            order[count] = point
            count += 1
    while at < count:
        edge = state.out_head[order[at]]
        at += 1
        while edge >= 0:
            after = state.target[edge]
            waiting[after] -= 1
            if waiting[after] == 0:
                order[count] = after
                count += 1
            edge = state.out_next[edge]
    for point in range(points):
        if waiting[point] > 0:
            order[count] = point
            count += 1
    return order


@compiled
def sweep(tables: Tables, state: State) -> Int:
    """What :func:`propagate` does, untraced, for all that waits, sources first: one pass."""
    counts = state.counts
    left = counts.until
    order = sources_first(state)
    for at in range(len(order)):
        point = order[at]
        if not state.queued[point]:
            continue
        if left <= 0:
            return PAUSED
        left -= 1
        state.queued[point] = False
        answer = _look(tables, state, point, False)
        if answer != REST:
            state.queued[point] = True
            return answer
    counts.head = counts.queued = 0
    for point in range(len(order)):
        if state.queued[point]:
            return PAUSED
    return REST


@compiled
def behind(tables: Tables, state: State, start: Int, end: Int, found: Int64s) -> None:
    """For each point from ``start`` to before ``end``, how many must come after it."""
    lane, place, first, clock = tables.lane, tables.place, tables.first, state.clock
    for point in range(start, end):
        total = 0
        for other in range(len(first) - 1):
            low, high = first[other], first[other + 1]
            last = high
            while low < high:
                middle = (low + high) // 2
                if clock[middle, lane[point]] > place[point]:
                    high = middle
                else:
                    low = middle + 1
            total += last - low
        found[point] = total
