"""Registers whose values are written once: linearizability in O(n log n), on columns.

If every value is written at most once, each read names the write it saw, and no search is needed
(Gibbons and Korach, "Testing shared memories", 1997). Theory, per key:

- The *cluster* of a value is its write and the reads of it. In any legal order a cluster is
  contiguous: its write, then its reads. Let f be the earliest completion in a cluster and s the
  latest invocation. Cluster A must come before B if some operation of A completed before some
  operation of B was invoked: f(A) < s(B).
- If that relation has a cycle it has one of length two. Call the *zone* of a cluster forward if
  f < s (the value was certainly there from f to s), else backward (from s to f, all its
  operations overlap). A two-cycle is a pair of overlapping forward zones, or a backward zone inside
  a forward one. So: legal iff forward zones are disjoint and none holds a whole backward zone.
- A successful compare-and-set from a to b reads a and writes b at one instant, so b's cluster
  follows a's at once. Chains of such clusters are contracted to one *block*: within it the order is
  forced and is checked with a running maximum of invocations; the block's zone is then its
  earliest completion and its latest invocation, and the argument above holds for blocks.
- The initial value is a write before everything.
- A write of unknown outcome that nobody observed may be thought never to have happened. This is
  sound and complete. If it was observed it happened, and its interval never ends. What an
  unknown compare-and-set expected was observed only if the compare-and-set itself happened.

What breaks the argument: a value written twice. Such keys are named in the answer and are decided
by the general search. So are keys with an observed failed compare-and-set that this order of values
cannot explain and no value's zone forbids (:mod:`.failed_compare_and_sets`).

Everything is done on all keys at once, with numpy, in the time base of history positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from checkers.core.budget import Meter, look
from checkers.history import History
from checkers.linearizability.zones.failed_compare_and_sets import (
    Timeline,
    judge_failures,
    order_with_failures,
)
from checkers.linearizability.zones.register_columns import (
    CAS,
    READ,
    WRITE,
    Bools,
    Ints,
    RegisterColumns,
    register_columns,
)

#: Violations whose witness is completed; at most so many are explained.
EXPLAINED_MAX = 16

#: Violations shown in more operations are looked at again for a shorter one.
FEW_ROWS = 4

#: Pairs of blocks of one key that are compared for the smallest witness.
PAIRS_MAX = 256

#: (cluster, row)
_Place = tuple[int, int]


@dataclass
class Violation:
    """Why a key is not linearizable: operations that cannot be ordered.

    Args:
        kind: ``garbage`` (a value that no write began before it was observed), ``order`` (within a
            chain of compare-and-sets), ``branch`` (two compare-and-sets from one value), ``cycle``,
            ``zones`` or ``failed`` (a failed compare-and-set expected what was certainly there).
        key: the key's code.
        ops: rows of the columns that prove it.
        at: position of the event that made it certain.
    """

    kind: str
    key: int
    ops: tuple[int, ...]
    at: int


@dataclass
class ZonesAnswer:
    """What the zones say.

    Args:
        columns: the operations judged, as columns.
        violations: the first few of every kind, at most one per key.
        invalid_keys: codes of the keys with a violation.
        ambiguous_keys: codes of the keys this engine cannot decide.
        decided: number of operations on the decided keys.
        zones: what the verdict rests on.
        unfinished: the budget was spent before all kinds of violation were looked for.
    """

    columns: RegisterColumns
    violations: list[Violation] = field(default_factory=list)
    invalid_keys: list[int] = field(default_factory=list)
    ambiguous_keys: list[int] = field(default_factory=list)
    decided: int = 0
    zones: Zones | None = None
    unfinished: bool = False

    def writers_of(self, rows: Sequence[int]) -> list[int]:
        """The writes, beyond these rows, of the values that these rows read or swapped out."""
        assert self.zones is not None
        sources = self.columns.source[list(rows)]
        writers = self.zones.c_writer[sources[sources >= 0]]
        return sorted({*writers[writers >= 0].tolist()} - {*rows})

    def orders(self) -> dict[int, list[int]]:
        """For every key with no violation that was decided: a legal order, as invocations."""
        assert self.zones is not None
        return self.zones.orders(set(self.invalid_keys))


def check_zones(
    history: History, *, init: Any, failed_cas: str, meter: Meter | None = None
) -> ZonesAnswer:
    """Judge every key of a register history whose values are unambiguous.

    Args:
        history: operations ``read``, ``write`` and ``cas``.
        init: the initial value of every register.
        failed_cas: ``absent`` or ``observed``, as the model says.
        meter: the check's budget, asked between stages; None for no limit.
    """
    look()
    columns = register_columns(history, init=init, observe_failures=failed_cas == "observed")
    look()
    zones = Zones(columns)
    look()
    answer = ZonesAnswer(columns, zones=zones)
    seen: set[int] = set()
    for violation in zones.violations():
        if violation.key not in seen:
            seen.add(violation.key)
            answer.violations.append(violation)
        if meter is not None and meter.spent():
            break
    else:
        for key, shown in judge_failures(zones, seen).items():
            if shown:
                seen.add(key)
                at = int(columns.start[shown[-1]])
                answer.violations.append(Violation("failed", key, shown, at))
            else:
                zones.ambiguous[key] = True
    answer.ambiguous_keys = np.flatnonzero(zones.ambiguous).tolist()
    answer.unfinished = meter is not None and meter.spent()
    answer.violations.sort(key=lambda violation: violation.at)
    for number, violation in enumerate(answer.violations[:EXPLAINED_MAX]):
        if violation.kind in ("order", "zones") and len(violation.ops) > FEW_ROWS:
            violation = answer.violations[number] = zones.unchained(violation)
        violation.ops = zones.with_observers(violation.ops)
    answer.invalid_keys = sorted(seen)
    answer.decided = int(np.count_nonzero(~zones.ambiguous[columns.key]))
    return answer


class Zones:
    """The clusters, blocks and zones of a register history.

    A cluster is a (key, value) pair; the first ``keys`` clusters are those of the initial values.
    Arrays named ``c_*`` have one entry per cluster, others one per operation (row).
    """

    def __init__(self, columns: RegisterColumns) -> None:
        self.columns = columns
        self.clusters = columns.clusters
        self.late = columns.late
        self.alive = ~columns.observed_failure  # rows taken part in; the unobserved leave below
        self.writes = columns.kind != READ
        self.reads = columns.kind != WRITE
        self._leave_out_unobserved()
        self._find_ambiguous()
        self._measure()

    def _leave_out_unobserved(self) -> None:
        """Keep an unknown write only if a known operation needs its value, directly or by a chain.

        A known read or swap needs its source; an unknown swap that is needed needs its own.
        """
        columns = self.columns
        unknown = columns.unknown & self.writes
        needed = np.zeros(self.clusters, dtype=bool)
        needed[columns.source[self.alive & self.reads & ~unknown]] = True
        unknown_cas = np.flatnonzero(unknown & (columns.kind == CAS))
        by_target: dict[int, list[int]] = {}
        for row, target in zip(unknown_cas.tolist(), columns.target[unknown_cas].tolist()):
            by_target.setdefault(target, []).append(row)
        pending = [target for target in by_target if needed[target]]
        while pending:
            for row in by_target.pop(pending.pop(), ()):
                source = int(columns.source[row])
                if not needed[source]:
                    needed[source] = True
                    if source in by_target:
                        pending.append(source)
        self.alive &= ~(unknown & ~needed[columns.target])

    def _find_ambiguous(self) -> None:
        """Keys with a value written twice; and the failed swaps that say something."""
        columns = self.columns
        self.write_rows = np.flatnonzero(self.alive & self.writes)
        targets = columns.target[self.write_rows]
        self.c_writers = np.bincount(targets, minlength=self.clusters)
        self.c_writers[: columns.keys] += 1  # the initial values
        self.ambiguous = np.zeros(columns.keys, dtype=bool)
        self.ambiguous[columns.c_key[self.c_writers > 1]] = True
        failures = np.flatnonzero(columns.observed_failure)
        decided = ~self.ambiguous[columns.key]
        self.telling = failures[(self.c_writers[columns.source[failures]] > 0) & decided[failures]]
        self.timelines: dict[int, Timeline] = {}
        self.alive &= decided
        self.write_rows = self.write_rows[decided[self.write_rows]]
        self.read_rows = np.flatnonzero(self.alive & self.reads)

    def _measure(self) -> None:
        """Writer, earliest completion and latest invocation per cluster."""
        columns, clusters = self.columns, self.clusters
        self.c_writer = np.full(clusters, -1, dtype=np.int64)
        self.c_writer[columns.target[self.write_rows]] = self.write_rows
        written = self.c_writer >= 0
        self.c_start = np.full(clusters, -1, dtype=np.int64)
        self.c_end = np.full(clusters, -1, dtype=np.int64)
        self.c_start[written] = columns.start[self.c_writer[written]]
        self.c_end[written] = columns.end[self.c_writer[written]]
        self.c_latest = self.c_start.copy()
        self.c_latest_row = self.c_writer.copy()
        self.c_earliest_read = np.full(clusters, self.late, dtype=np.int64)
        self.c_earliest_row = np.full(clusters, -1, dtype=np.int64)
        # A cas reads its source too, but as the last of that cluster: its block orders it.
        plain = self.read_rows[columns.kind[self.read_rows] == READ]
        source = columns.source[plain]
        # Rows ascend by invocation, and the last of repeated assignments stays: the latest.
        later = columns.start[plain] > self.c_latest[source]
        self.c_latest[source[later]] = columns.start[plain[later]]
        self.c_latest_row[source[later]] = plain[later]
        by_end = columns.by_end_descending(plain)
        source = columns.source[by_end]
        self.c_earliest_read[source] = columns.end[by_end]
        self.c_earliest_row[source] = by_end

    def violations(self) -> Iterator[Violation]:
        """Violations of all kinds: at least one for every key that has any."""
        yield from self._garbage()
        yield from self._reads_before_writes()
        yield from self._branches()
        yield from self._chained()
        yield from self._overlapping_zones()

    def _garbage(self) -> Iterator[Violation]:
        columns = self.columns
        known = self.c_writers[columns.source[self.read_rows]] > 0
        for row in self._first_per_key(self.read_rows[~known]):
            yield Violation("garbage", int(columns.key[row]), (row,), int(columns.end[row]))

    def _reads_before_writes(self) -> Iterator[Violation]:
        columns, rows = self.columns, self.read_rows
        early = columns.end[rows] < self.c_start[columns.source[rows]]
        for row in self._first_per_key(rows[early]):
            yield Violation("garbage", int(columns.key[row]), (row,), int(columns.end[row]))

    def _branches(self) -> Iterator[Violation]:
        """Two compare-and-sets that both swapped out the one occurrence of a value."""
        columns = self.columns
        cas = self.write_rows[columns.kind[self.write_rows] == CAS]
        source = columns.source[cas]
        first = np.full(self.clusters, -1, dtype=np.int64)
        first[source[::-1]] = cas[::-1]
        branching = cas[first[source] != cas]
        self.c_single = np.ones(columns.keys, dtype=bool)
        self.c_single[columns.key[branching]] = False
        self.c_single = self.c_single[columns.c_key]
        for row in self._first_per_key(branching):
            rows = (int(first[columns.source[row]]), row)
            yield Violation(
                "branch", int(columns.key[row]), rows, int(columns.end[list(rows)].min())
            )

    def _chained(self) -> Iterator[Violation]:
        """Contract chains of compare-and-sets; what is out of order or cyclic within them."""
        columns = self.columns
        cas = self.write_rows[columns.kind[self.write_rows] == CAS]
        self.c_parent = np.arange(self.clusters)
        self.c_parent[columns.target[cas]] = columns.source[cas]
        self.c_root, self.c_depth, cyclic = _roots(self.c_parent)
        cyclic[columns.target[cas[columns.source[cas] == columns.target[cas]]]] = True
        self.is_block = (self.c_root == np.arange(self.clusters)) & ~cyclic
        for cluster in self._first_clusters_per_key(np.flatnonzero(cyclic), self.c_end):
            yield self._cycle(int(cluster))
        self.c_earliest = np.minimum(self.c_end, self.c_earliest_read)
        yield from self._within_blocks(np.flatnonzero((self.c_depth > 0) & ~cyclic & self.c_single))

    def _cycle(self, cluster: int) -> Violation:
        columns = self.columns
        rows: list[int] = []
        at = cluster
        for _ in range(self.clusters):  # first onto the cycle itself
            at = int(self.c_parent[at])
            row = int(self.c_writer[at])
            if row in rows:
                rows = rows[rows.index(row) :]
                break
            rows.append(row)
        ends = columns.end[rows]
        return Violation("cycle", int(columns.c_key[cluster]), tuple(sorted(rows)), int(ends.min()))

    def _within_blocks(self, chained: Ints) -> Iterator[Violation]:
        """Per chain, in its forced order: none may complete before an earlier one is invoked."""
        self.b_earliest = self.c_earliest.copy()
        self.b_latest = self.c_latest.copy()
        self.b_earliest_cluster = np.arange(self.clusters)
        self.b_latest_cluster = np.arange(self.clusters)
        if not len(chained):
            return
        members = np.union1d(chained, self.c_root[chained])
        order = members[np.lexsort((self.c_depth[members], self.c_root[members]))]
        root = self.c_root[order]
        begins = np.flatnonzero(np.r_[True, root[1:] != root[:-1]])
        segment = np.cumsum(np.r_[False, root[1:] != root[:-1]])
        latest, latest_at = _running_max(self.c_latest[order], segment, self.late)
        before = np.r_[-1, latest[:-1]]
        before[begins] = -2
        bad = np.flatnonzero(self.c_earliest[order] < before)
        links = self.c_depth[order[bad]] - self.c_depth[order[latest_at[bad - 1]]]
        when = np.lexsort((self.c_earliest[order[bad]], links, self.columns.c_key[order[bad]]))
        keys = self.columns.c_key[order[bad[when]]]
        for place in bad[when[np.r_[True, keys[1:] != keys[:-1]]]].tolist() if len(bad) else []:
            cluster = int(order[place])
            late = int(order[latest_at[place - 1]])
            rows = {*self._chain_rows(late, cluster), int(self.c_latest_row[late])}
            if self.c_earliest_read[cluster] < self.c_end[cluster]:
                rows.add(int(self.c_earliest_row[cluster]))
            key = int(self.columns.c_key[cluster])
            at = int(before[place])
            yield Violation("order", key, tuple(sorted(row for row in rows if row >= 0)), at)
        self._contract(order, begins, latest, latest_at)

    def _contract(self, order: Ints, begins: Ints, latest: Ints, latest_at: Ints) -> None:
        """Zones of the blocks, kept at the chain's first cluster."""
        roots = self.c_root[order[begins]]
        lasts = np.r_[begins[1:], len(order)] - 1
        earliest = np.minimum.reduceat(self.c_earliest[order], begins)
        self.b_earliest[roots] = earliest
        self.b_latest[roots] = latest[lasts]
        self.b_latest_cluster[roots] = order[latest_at[lasts]]
        sizes = np.diff(np.r_[begins, len(order)])
        hits = np.flatnonzero(self.c_earliest[order] == np.repeat(earliest, sizes))
        self.b_earliest_cluster[self.c_root[order[hits]]] = order[hits]

    def _overlapping_zones(self) -> Iterator[Violation]:
        """Forward zones that overlap; backward zones within a forward one."""
        columns = self.columns
        live = (self.c_writers > 0) & ~self.ambiguous[columns.c_key] & self.is_block
        left, right = self._conflicts(np.flatnonzero(live), self.b_earliest, self.b_latest)
        yield from self._pairs(left, right)

    def _conflicts(self, block: Ints, earliest: Ints, latest: Ints) -> tuple[Ints, Ints]:
        """Pairs of blocks (or clusters) whose zones contradict each other.

        Args:
            block: which ones.
            earliest, latest: earliest completion and latest invocation, of every cluster.
        """
        early = earliest[block]
        late = latest[block]
        base = self.columns.c_key[block] * (self.late + 4) + 1
        forward = early < late
        zone = block[forward]
        place = (base + early)[forward]
        sort = np.argsort(place)
        zone, place = zone[sort], place[sort]
        reach = (base + late)[forward][sort]
        touching = np.flatnonzero(reach[:-1] > place[1:])
        inner = block[~forward]
        begin = (base + late)[~forward]
        end = (base + early)[~forward]
        at = np.searchsorted(place, begin) - 1
        inside = (
            np.flatnonzero((at >= 0) & (reach[np.maximum(at, 0)] > end)) if len(zone) else at[:0]
        )
        left = np.concatenate([zone[touching], zone[at[inside]]])
        return left, np.concatenate([zone[touching + 1], inner[inside]])

    def unchained(self, violation: Violation) -> Violation:
        """A violation of the same key that needs no chain of compare-and-sets, if there is one.

        Two clusters may contradict each other by themselves, though they are in blocks.
        """
        clusters = np.flatnonzero((self.columns.c_key == violation.key) & (self.c_writers > 0))
        left, right = self._conflicts(clusters, self.c_earliest, self.c_latest)
        if not len(left):
            return violation
        at = np.maximum(self.c_latest[left], self.c_latest[right])
        best = int(np.argmin(at))
        rows = self._pair_rows(int(left[best]), int(right[best]), blocks=False)
        return Violation("zones", violation.key, rows, int(at[best]))

    def _pairs(self, left: Ints, right: Ints) -> Iterator[Violation]:
        """Pairs of blocks that must each come before the other; per key the one shown in fewest
        operations, of the first :data:`PAIRS_MAX`.
        """
        keys = self.columns.c_key[left]
        at = np.maximum(self.b_latest[left], self.b_latest[right])
        order = np.lexsort((at, keys))
        cuts = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
        for pairs in np.split(order, cuts) if len(order) else []:
            best = min(
                pairs[:PAIRS_MAX].tolist(),
                key=lambda pair: (self._links(int(left[pair]), int(right[pair])), int(at[pair])),
            )
            rows = self._pair_rows(int(left[best]), int(right[best]))
            yield Violation("zones", int(keys[best]), rows, int(at[best]))

    def _links(self, one: int, two: int) -> int:
        """How many compare-and-sets it takes to tie the proof of a pair together."""
        return sum(
            abs(int(self.c_depth[first[0]] - self.c_depth[last[0]]))
            for first, last in self._ends(one, two)
        )

    def _ends(
        self, one: int, two: int, *, blocks: bool = True
    ) -> tuple[tuple[_Place, _Place], tuple[_Place, _Place]]:
        """Per block the (cluster, row) of its first and its last op that show the contradiction.

        The first of a block proves that it comes before the other, the last that it comes after.
        """
        first, late = self._before(one, two, blocks=blocks)
        early, last = self._before(two, one, blocks=blocks)
        return (first, last), (early, late)

    def _pair_rows(self, one: int, two: int, *, blocks: bool = True) -> tuple[int, ...]:
        """The operations of two blocks (or clusters) that prove each must come before the other."""
        rows: set[int] = set()
        for first, last in self._ends(one, two, blocks=blocks):
            rows.update(self._chain_rows(first[0], last[0]))
            rows.update(row for row in (first[1], last[1]) if row >= 0)
        return tuple(sorted(rows))

    def _before(self, one: int, two: int, *, blocks: bool) -> tuple[_Place, _Place]:
        """(cluster, row) of an op of a block that completed before one of the other was invoked.

        Writes if they do: they must be shown anyway.
        """
        first, last = one, two
        if blocks:
            first, last = int(self.b_earliest_cluster[one]), int(self.b_latest_cluster[two])
        firsts = [(one, int(self.c_writer[one]), int(self.c_end[one]))]
        firsts.append((first, int(self.c_writer[first]), int(self.c_end[first])))
        seen = int(self.c_earliest_read[first])
        firsts.append((first, int(self.c_earliest_row[first]), seen))
        lasts = [(two, int(self.c_writer[two]), int(self.c_start[two]))]
        lasts.append((last, int(self.c_writer[last]), int(self.c_start[last])))
        lasts.append((last, int(self.c_latest_row[last]), int(self.c_latest[last])))
        for begin in lasts:
            for end in firsts:
                if end[2] < begin[2]:
                    return end[:2], begin[:2]
        return firsts[-1][:2], lasts[-1][:2]

    def _chain_rows(self, one: int, two: int) -> tuple[int, ...]:
        """The writes of two clusters of one block and of those between."""
        low, high = sorted((one, two), key=lambda cluster: int(self.c_depth[cluster]))
        rows = [int(self.c_writer[low])]
        at = high
        for _ in range(int(self.c_depth[high] - self.c_depth[low])):
            rows.append(int(self.c_writer[at]))
            at = int(self.c_parent[at])
        return tuple(sorted({row for row in rows if row >= 0}))

    def orders(self, invalid: set[int]) -> dict[int, list[int]]:
        """A legal order of every decided key that is legal: key code -> invocation indices.

        Blocks by where their zones begin, which respects "must come before" as no zones conflict;
        within a block cluster by cluster, the write first, then its reads as they were invoked.
        Each operation happens as soon as it and all before it were invoked; that gives the places
        of failed compare-and-sets that expected what never was there: where they were invoked.
        """
        columns = self.columns
        rows = self.ordered_rows()
        base = columns.key[rows] * (self.late + 1)
        moment = np.maximum.accumulate(base + columns.start[rows])
        failures = np.flatnonzero(columns.observed_failure & ~self.ambiguous[columns.key])
        rows = np.concatenate([rows, failures])
        happened = columns.key[failures] * (self.late + 1) + columns.start[failures]
        rows = rows[np.argsort(np.concatenate([moment, happened]), kind="stable")]
        keys = columns.key[rows]
        cuts = np.flatnonzero(keys[1:] != keys[:-1]) + 1
        found: dict[int, list[int]] = {}
        for part in np.split(rows, cuts):
            code = int(columns.key[part[0]]) if len(part) else -1
            if code >= 0 and code not in invalid:
                if code in self.timelines:
                    part = np.array(order_with_failures(self, part.tolist(), code))
                found[code] = columns.invoke[part].tolist()
        return found

    def ordered_rows(self, *, late: bool = False) -> Ints:
        """The rows that take part, key by key, in the order of their blocks.

        Args:
            late: order the blocks by where their zones end rather than where they begin; turning
                time around shows that this respects "must come before" as well.
        """
        columns = self.columns
        rows = np.flatnonzero(self.alive)
        cluster = np.where(self.writes[rows], columns.target[rows], columns.source[rows])
        root = self.c_root[cluster]
        sides = self.b_earliest[root], self.b_latest[root]
        begin = np.maximum(*sides) if late else np.minimum(*sides)
        read = ~self.writes[rows]
        depth = self.c_depth[cluster]
        order = np.lexsort((columns.start[rows], read, depth, root, begin, columns.key[rows]))
        return rows[order]

    def with_observers(self, rows: tuple[int, ...]) -> tuple[int, ...]:
        """Some rows, and for every unknown one a known operation that proves it happened."""
        columns = self.columns
        found = dict.fromkeys(rows)
        pending = list(rows)
        while pending:
            row = pending.pop()
            if not columns.unknown[row]:
                continue
            saw = np.flatnonzero(self.alive & self.reads & (columns.source == columns.target[row]))
            known = saw[~columns.unknown[saw]].tolist()
            if any(other in found for other in known):
                continue
            fresh = [other for other in (known[:1] or saw.tolist()) if other not in found]
            found.update(dict.fromkeys(fresh))
            pending.extend(fresh)
        return tuple(sorted(found))

    def _first_per_key(self, rows: Ints) -> list[int]:
        """Of some rows, the first to complete on each key."""
        order = rows[np.lexsort((self.columns.end[rows], self.columns.key[rows]))]
        keys = self.columns.key[order]
        if not len(order):
            return []
        return [int(row) for row in order[np.r_[True, keys[1:] != keys[:-1]]]]

    def _first_clusters_per_key(self, clusters: Ints, when: Ints) -> list[int]:
        keys = self.columns.c_key[clusters]
        order = clusters[np.lexsort((when[clusters], keys))]
        keys = self.columns.c_key[order]
        if not len(order):
            return []
        return [int(cluster) for cluster in order[np.r_[True, keys[1:] != keys[:-1]]]]


def _running_max(values: Ints, segment: Ints, span: int) -> tuple[Ints, Ints]:
    """Running maximum within each segment, and where it was reached first; values under span."""
    lifted = values + segment * (span + 2)
    peak = np.maximum.accumulate(lifted)
    fresh = np.r_[True, peak[1:] > peak[:-1]]
    at = np.maximum.accumulate(np.where(fresh, np.arange(len(values)), 0))
    return values[at], at


def _roots(parent: Ints) -> tuple[Ints, Ints, Bools]:
    """Root and depth of every node of a forest of parent pointers, and which lead into a cycle."""
    count = len(parent)
    root = parent.copy()
    depth = (parent != np.arange(count)).astype(np.int64)
    active = np.flatnonzero(depth)
    for _ in range(max(1, count).bit_length() + 1):
        if not len(active):
            break
        hop = root[active]
        depth[active] += depth[hop]
        jump = root[hop]
        moved = jump != hop
        root[active] = jump
        active = active[moved]
    return root, depth, parent[root] != root
