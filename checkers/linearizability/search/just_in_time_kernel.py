"""The breadth-first engine compiled: the inner loops of :mod:`.just_in_time_compiled`, with numba.

The same algorithm as :mod:`.just_in_time` (see there for why it is right), on machine words, for
machines of few states whose every move has one outcome. Importing this module imports numba, which
takes a while, and the first call compiles unless an earlier process left the machine code in the
cache: only :mod:`.just_in_time_compiled` imports it, and only for searches long enough to pay for
that.

The pools hold configurations as columns; a configuration is a row number. Row lists per
(state, mask) hang on a hash table that is stamped rather than cleared.

How each configuration came about is kept as a *trail*: nodes that name what was done and the node
before. Almost all configurations die, and their trails with them; those of the living mostly are
one trail soon. So what is reachable is marked and the rest squeezed out whenever half is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from checkers.core.columns import Flags, Int, Int32s, Int64s, Words
from checkers.core.jit import compiled, inner

#: The return values of :func:`advance`.
LEGAL, ILLEGAL, PAUSED, FULL, OVER = 1, 0, 2, 3, 4


class Tables(NamedTuple):
    """The constant tables of a search.

    Args:
        moves: (states, classes): the state after, or -1.
        op_class, op_slot, op_end: (ops,): class, bit number and completion of each required
            operation.
        readonly: (classes,): whether operations of the class only read.
        edges: (states, groups, 2): per state the (group, state after) of unknown operations that
            change it, the preferred ones first.
        edge_count: (states,): how many of those there are.
        leads: (states,): as a mask, the states that one unknown operation leads to.
        g_word, g_low, g_mask: (groups,): per group of unknown operations its word, its lowest bit
            and all its bits.
        better: (groups, groups): whether the second is to be taken before the first.
        general, special: (families, words): the bits of the class, and of the operations that are
            to be taken before it.
        exchanged: (words,): ``special`` of all families together.
    """

    moves: Int64s
    op_class: Int64s
    op_slot: Int64s
    op_end: Int64s
    readonly: Flags
    edges: Int64s
    edge_count: Int64s
    leads: Words
    g_word: Int64s
    g_low: Words
    g_mask: Words
    better: Flags
    general: Words
    special: Words
    exchanged: Words


class Pool(NamedTuple):
    """Configurations as columns, a row each, and the hash table of their lists.

    Args:
        state, mask: (rows,): the state, and which open operations are linearised.
        taken: (rows, words): which unknown operations were taken.
        following: (rows,): the next row of the list of the same state and mask, or -1.
        alive: (rows,): whether no better configuration replaced it.
        node: (rows,): where its trail ends.
        table, stamps: (4 * rows,): first row of each list, and when it was put there.
    """

    state: Int64s
    mask: Words
    taken: Words
    following: Int64s
    alive: Flags
    node: Int64s
    table: Int64s
    stamps: Int64s


class Trail(NamedTuple):
    """How configurations came about, node by node; (nodes,).

    Args:
        before: the node before, or -1.
        what: the operation linearised, or -1 - group if one of that group was taken, or where
            ``before`` is -1 the state it all began in.
        moved: scratch for squeezing.
    """

    before: Int32s
    what: Int64s
    moved: Int64s


class Work(NamedTuple):
    """Scratch space, and what is open.

    Args:
        invoked: (groups,): the bits of the unknown operations invoked.
        opened: (64,): the open operations, by completion.
        chain: (rows,): the next row of a bucket.
        buckets: (levels,): the first row of each level, the number of operations taken.
        v_state, v_taken: (variants,) and (variants, words): state and taken bits of each variant.
        v_from, v_group: (variants,): the variant it came from, and the group it took.
        v_node: (variants,): its node of the trail, or -1 if it has none yet.
        classes, chosen: (64,): classes and numbers of the operations to linearise next.
        reads: (states,): the open reads that are legal in each state, as bits.
        earlier: (64,): of each open operation, the equal ones that complete before it, as bits.
    """

    invoked: Words
    opened: Int64s
    chain: Int64s
    buckets: Int64s
    v_state: Int64s
    v_taken: Words
    v_from: Int64s
    v_group: Int64s
    v_node: Int64s
    classes: Int64s
    chosen: Int64s
    reads: Words
    earlier: Words


class Counts:
    """The counters of a search.

    Attributes:
        rows: configurations of the frontier, the dead included.
        open_ops: operations that are open.
        stamp: of the entries of the hash table that count; the others are stale.
        examined: configurations examined so far.
        done, known: configurations in the two pools that are being filled.
        top: the highest level that has a bucket with something in it.
        until: how many configurations may be examined before the turn is over.
        nodes: nodes of the trail.
        traced: 1 if the trail is kept, else 0.
        crowded: 1 if the trail ran full, else 0.
        squeeze_at: the number of nodes beyond which the trail is squeezed.
    """

    rows: Int
    open_ops: Int
    stamp: Int
    examined: Int
    done: Int
    known: Int
    top: Int
    until: Int
    nodes: Int
    traced: Int
    crowded: Int
    squeeze_at: Int


@inner
def _ones(word: np.uint64) -> Int:
    """Number of ones in a 64-bit word."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inner
def _node(trail: Trail, counts: Counts, before: Int, what: Int) -> Int:
    """A new node of the trail; the caller has made sure that there is room."""
    if not counts.traced:
        return before
    at = counts.nodes
    trail.before[at] = before
    trail.what[at] = what
    counts.nodes += 1
    return at


@inner
def _node_of_variant(v: Int, trail: Trail, work: Work, counts: Counts) -> Int:
    """The node of a variant, made now if it has none."""
    while work.v_node[v] < 0:
        at = v
        while work.v_node[work.v_from[at]] < 0:
            at = work.v_from[at]
        before = work.v_node[work.v_from[at]]
        work.v_node[at] = _node(trail, counts, before, -1 - work.v_group[at])
    found: Int = work.v_node[v]
    return found


@compiled
def squeeze(frontier: Pool, trail: Trail, counts: Counts) -> None:
    """Keep only the nodes that lead to a living configuration; a node comes after its before."""
    nodes = counts.nodes
    moved = trail.moved
    moved[:nodes] = -1
    for row in range(counts.rows):
        at = frontier.node[row] if frontier.alive[row] else -1
        while at >= 0 and moved[at] < 0:
            moved[at] = 0
            at = trail.before[at]
    count = 0
    for at in range(nodes):
        if moved[at] < 0:
            continue
        before = trail.before[at]
        trail.before[count] = moved[before] if before >= 0 else -1
        trail.what[count] = trail.what[at]
        moved[at] = count
        count += 1
    for row in range(counts.rows):
        if frontier.alive[row]:
            frontier.node[row] = moved[frontier.node[row]]
    counts.nodes = count
    counts.squeeze_at = max(len(moved) // 2, 2 * count)


@inner
def _covers(
    lesses: Words, i: Int, mores: Words, j: Int, general: Words, special: Words, exchanged: Words
) -> bool:
    """As :func:`checkers.linearizability.search.info_op_dominance.covers`, on rows of words."""
    words = lesses.shape[1]
    none = True
    for k in range(words):
        lacks = lesses[i, k] & ~mores[j, k]
        if lacks:
            if lacks & ~exchanged[k]:
                return False
            none = False
    if none:
        return True
    for f in range(len(general)):
        lacking: Int = 0
        spare: Int = 0
        for k in range(words):
            lacking += _ones(lesses[i, k] & ~mores[j, k] & special[f, k])
            spare += _ones(mores[j, k] & ~lesses[i, k] & general[f, k])
        if lacking > spare:
            return False
    return True


@inner
def _find(pool: Pool, stamp: Int, state: Int, mask: np.uint64) -> Int:
    """The slot of (state, mask) in the hash table; it is stale if nothing is there yet."""
    size = np.uint64(len(pool.table) - 1)
    word = (mask * np.uint64(64) + np.uint64(state)) * np.uint64(0x9E3779B97F4A7C15)
    at = np.int64((word >> np.uint64(32)) & size)
    while pool.stamps[at] == stamp:
        row = pool.table[at]
        if pool.state[row] == state and pool.mask[row] == mask:
            return at
        at = (at + 1) & np.int64(size)
    return at


@inner
def _replace(
    pool: Pool,
    head: Int,
    row_taken: Words,
    at: Int,
    general: Words,
    special: Words,
    exchanged: Words,
) -> Int:
    """The last row of a list after dropping what is covered; -1 if something covers the new one.

    The head is the first row ever put there; it stays, alive or not, so that it can name the list.
    """
    alive, following, own = pool.alive, pool.following, pool.taken
    row = head
    while row >= 0:
        if alive[row] and _covers(own, row, row_taken, at, general, special, exchanged):
            return -1
        row = following[row]
    last = head
    row = head
    while row >= 0:
        if alive[row] and _covers(row_taken, at, own, row, general, special, exchanged):
            alive[row] = False
        if alive[row] and row != head:
            following[last] = row
            last = row
        row = following[row]
    following[last] = -1
    return last


@inner
def _put(
    pool: Pool,
    count: Int,
    stamp: Int,
    state: Int,
    mask: np.uint64,
    row_taken: Words,
    at: Int,
    tables: Tables,
) -> bool:
    """Add a configuration as row ``count`` unless another is as good; whether it was added."""
    slot = _find(pool, stamp, state, mask)
    if pool.stamps[slot] == stamp:
        head = pool.table[slot]
        last = _replace(pool, head, row_taken, at, tables.general, tables.special, tables.exchanged)
        if last < 0:
            return False
        pool.following[last] = count
    else:
        pool.stamps[slot] = stamp
        pool.table[slot] = count
    pool.state[count] = state
    pool.mask[count] = mask
    for k in range(row_taken.shape[1]):
        pool.taken[count, k] = row_taken[at, k]
    pool.following[count] = -1
    pool.alive[count] = True
    return True


@inner
def _came(v: Int, op: Int, trail: Trail, work: Work, counts: Counts) -> Int:
    """The node of the variant after linearising ``op``, or (-1) of the variant itself."""
    if op < 0:
        start: Int = work.v_node[0]
        return start
    return _node(trail, counts, _node_of_variant(v, trail, work, counts), op)


@inner
def _add(
    state: Int,
    mask: np.uint64,
    row_taken: Words,
    at: Int,
    op: Int,
    bit: np.uint64,
    done: Pool,
    known: Pool,
    tables: Tables,
    work: Work,
    trail: Trail,
    counts: Counts,
) -> bool | np.bool_:
    """Take legal reads and keep the configuration; whether there is room for more.

    It comes from variant ``at`` by linearising ``op``, or is row ``at`` of the frontier (op -1).
    """
    mask = mask | work.reads[state]
    stamp = counts.stamp
    if mask & bit:
        row = counts.done
        if _put(done, row, stamp, state, mask & ~bit, row_taken, at, tables):
            done.node[row] = _came(at, op, trail, work, counts)
            counts.done += 1
    else:
        row = counts.known
        if _put(known, row, stamp, state, mask, row_taken, at, tables):
            known.node[row] = _came(at, op, trail, work, counts)
            level: Int = 0
            for k in range(row_taken.shape[1]):
                level += _ones(row_taken[at, k])
            work.chain[row] = work.buckets[level]
            work.buckets[level] = row
            counts.top = max(counts.top, level)
            counts.known += 1
    return counts.done < len(done.state) - 1 and counts.known < len(known.state) - 1


@inner
def _useful(state: Int, moves: Int64s, classes: Int64s, chosen: Int, leads: Words) -> np.uint64:
    """The states, as a mask, worth taking unknown operations for; see ``Demand``."""
    found = np.uint64(0)
    for other in range(len(moves)):
        for c in range(chosen):
            after = moves[other, classes[c]]
            if after >= 0 and after != moves[state, classes[c]]:
                found |= np.uint64(1) << np.uint64(other)
                break
    grown = True
    while grown:
        grown = False
        for other in range(len(moves)):
            bit = np.uint64(1) << np.uint64(other)
            if not found & bit and leads[other] & found:
                found |= bit
                grown = True
    return found


@inner
def _variants(state: Int, useful: np.uint64, tables: Tables, work: Work) -> Int:
    """States that taking unknown operations leads to; variant 0, given, is the state itself.

    Returns:
        How many; -1 if they are too many.
    """
    v_state, v_taken, invoked = work.v_state, work.v_taken, work.invoked
    edges, edge_count, better, g_word = (
        tables.edges, tables.edge_count, tables.better, tables.g_word,
    )  # fmt: skip
    general, special, exchanged = tables.general, tables.special, tables.exchanged
    v_state[0] = state
    count = 1
    at = 0
    while at < count:
        now = v_state[at]
        for e in range(edge_count[now]):
            group, after = edges[now, e, 0], edges[now, e, 1]
            word = g_word[group]
            fresh = invoked[group] & ~v_taken[at, word]
            if not fresh or not (useful >> np.uint64(after)) & np.uint64(1):
                continue
            dominated = False
            for before in range(e):  # is one left that is to be taken rather?
                other = edges[now, before, 0]
                if better[group, other] and invoked[other] & ~v_taken[at, g_word[other]]:
                    dominated = True
                    break
            if dominated:
                continue
            if count >= len(v_state) - 1:
                return -1
            v_state[count] = after
            work.v_from[count], work.v_group[count], work.v_node[count] = at, group, -1
            for k in range(v_taken.shape[1]):
                v_taken[count, k] = v_taken[at, k]
            v_taken[count, word] |= fresh & (~fresh + np.uint64(1))
            for other in range(count):
                if v_state[other] == after and _covers(
                    v_taken, other, v_taken, count, general, special, exchanged
                ):
                    dominated = True
                    break
            if not dominated:
                count += 1
        at += 1
    return count


@inner
def _expand(
    row: Int,
    bit: np.uint64,
    done: Pool,
    known: Pool,
    tables: Tables,
    work: Work,
    trail: Trail,
    counts: Counts,
    open_count: Int,
) -> bool | np.bool_:
    """Linearise each open operation next, at once or after taking; whether there was room."""
    one = np.uint64(1)
    state, mask = known.state[row], known.mask[row]
    chosen = 0
    for i in range(open_count):
        op = work.opened[i]
        if not mask & (one << np.uint64(tables.op_slot[op])) and not work.earlier[i] & ~mask:
            work.classes[chosen] = tables.op_class[op]
            work.chosen[chosen] = op
            chosen += 1
    useful = _useful(state, tables.moves, work.classes, chosen, tables.leads)
    for k in range(known.taken.shape[1]):
        work.v_taken[0, k] = known.taken[row, k]
    work.v_node[0] = known.node[row]
    variants = _variants(state, useful, tables, work)
    for v in range(variants):
        if counts.traced and counts.nodes + variants + chosen >= len(trail.what):
            counts.crowded = 1
            return False
        for c in range(chosen):
            after = tables.moves[work.v_state[v], work.classes[c]]
            if after < 0 or (v and after == tables.moves[state, work.classes[c]]):
                continue  # illegal, or reached for less
            op = work.chosen[c]
            now = mask | (one << np.uint64(tables.op_slot[op]))
            if not _add(after, now, work.v_taken, v, op, bit, done, known, tables, work, trail,
                        counts):  # fmt: skip
                return False
    return variants > 0


@inner
def _prepare(bit: np.uint64, tables: Tables, work: Work, open_count: Int) -> None:
    """Which open reads each state makes legal, and who goes first among equals."""
    one = np.uint64(1)
    work.reads[:] = np.uint64(0)
    work.buckets[:] = -1
    for i in range(open_count):
        op = work.opened[i]
        own = tables.op_class[op]
        work.earlier[i] = np.uint64(0)
        for j in range(i):
            if tables.op_class[work.opened[j]] == own:
                work.earlier[i] |= one << np.uint64(tables.op_slot[work.opened[j]])
        if tables.readonly[own]:
            for state in range(len(tables.moves)):
                if tables.moves[state, own] >= 0:
                    work.reads[state] |= one << np.uint64(tables.op_slot[op])


@inner
def _complete(
    op: Int,
    frontier: Pool,
    done: Pool,
    known: Pool,
    tables: Tables,
    work: Work,
    trail: Trail,
    counts: Counts,
) -> bool:
    """Fill ``done`` with what explains this completion too; whether there was room."""
    bit = np.uint64(1) << np.uint64(tables.op_slot[op])
    open_count = counts.open_ops
    _prepare(bit, tables, work, open_count)
    counts.stamp += 1
    counts.done = counts.known = counts.top = 0
    for row in range(counts.rows):
        work.v_node[0] = frontier.node[row]
        if frontier.alive[row] and not _add(
            frontier.state[row], frontier.mask[row], frontier.taken, row, -1,
            bit, done, known, tables, work, trail, counts,
        ):  # fmt: skip
            return False
    level = 0
    while level <= counts.top:
        row = work.buckets[level]
        if row < 0:
            level += 1
            continue
        work.buckets[level] = work.chain[row]
        if known.alive[row]:
            counts.examined += 1
            if counts.examined > counts.until:
                return False
            if not _expand(row, bit, done, known, tables, work, trail, counts, open_count):
                return False
    return True


@inner
def _open(op: Int, tables: Tables, work: Work, counts: Counts) -> None:
    """Insert an operation among the open ones, by completion."""
    place = counts.open_ops
    while place > 0 and tables.op_end[work.opened[place - 1]] > tables.op_end[op]:
        work.opened[place] = work.opened[place - 1]
        place -= 1
    work.opened[place] = op
    counts.open_ops += 1


@compiled
def advance(
    at: Int,
    turn: Int,
    events: Int64s,
    tables: Tables,
    work: Work,
    trail: Trail,
    frontier: Pool,
    done: Pool,
    known: Pool,
    counts: Counts,
) -> tuple[int, Int, int]:
    """Work through events from ``at`` until the turn is over.

    Events are (0, group) for an unknown operation, (1, op) for an invocation, (2, op) for a
    completion. The two pools ``frontier`` and ``done`` change places at every completion.

    Returns:
        (what happened, the event to go on at, completions worked off). FULL: a pool, or the trail
        if ``counts.crowded``, is too small for that event; OVER: it takes more than the turn. In
        both cases nothing of that event was done.
    """
    until = counts.examined + turn
    counts.until = until + turn  # one completion may take a turn more, not any number
    swaps = 0
    while at < len(events):
        kind, index = events[at, 0], events[at, 1]
        if kind == 0:
            word = work.invoked[index]
            work.invoked[index] = word | tables.g_mask[index] & (word + tables.g_low[index])
        elif kind == 1:
            _open(index, tables, work, counts)
        else:
            if counts.examined >= until:
                return PAUSED, at, swaps
            nodes = counts.nodes
            if not _complete(index, frontier, done, known, tables, work, trail, counts):
                counts.nodes = nodes
                over = counts.examined > counts.until
                return OVER if over else FULL, at, swaps
            if counts.done == 0:
                return ILLEGAL, at, swaps
            frontier, done = done, frontier
            swaps += 1
            counts.rows = counts.done
            if counts.nodes > counts.squeeze_at:
                squeeze(frontier, trail, counts)
            place = 0
            while work.opened[place] != index:
                place += 1
            counts.open_ops -= 1
            for i in range(place, counts.open_ops):
                work.opened[i] = work.opened[i + 1]
        at += 1
    return LEGAL, at, swaps
