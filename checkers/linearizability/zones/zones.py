"""Registers whose values are written once: linearizability in O(n log n), on columns.

If every value is written at most once, each read names the write it saw, and no search is needed
(Gibbons and Korach, "Testing shared memories", 1997). Theory, per key:

- The *cluster* of a value is its write and the reads of it. In any legal order a cluster is
  contiguous: its write, then its reads. Let f be the earliest completion in a cluster and s the
  latest invocation. Cluster A must come before B if some operation of A completed before some
  operation of B was invoked: f(A) < s(B).
- If that relation has a cycle it has one of length two. Call the *zone* of a cluster forward if
  f < s (the register held the value from f to s), else backward (from s to f, all its
  operations overlap). A two-cycle is a pair of overlapping forward zones, or a backward zone inside
  a forward one. So: legal iff forward zones are disjoint and none holds a whole backward zone.
- A successful compare-and-set from a to b reads a and writes b at one instant, so b's cluster
  follows a's at once. Chains of such clusters are contracted to one *block*: within it the order is
  forced and is checked with a running maximum of invocations; the block's zone is then its
  earliest completion and its latest invocation, and the argument above holds for blocks.
- The initial value is a write before everything.
- A write of unknown outcome that no operation observed is taken never to have happened. This is
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

import numpy as np

from checkers.core.budget import Meter, look
from checkers.history import History
from checkers.linearizability.zones.blocks import Blocks
from checkers.linearizability.zones.clusters import Clusters, Violation
from checkers.linearizability.zones.failed_compare_and_sets import (
    Timeline,
    judge_failures,
    order_with_failures,
)
from checkers.linearizability.zones.register_columns import Ints, RegisterColumns, register_columns

#: Violations whose witness is completed; at most so many are explained.
EXPLAINED_MAX = 16

#: Violations shown in more operations are looked at again for a shorter one.
FEW_ROWS = 4

#: Pairs of blocks of one key that are compared for the smallest witness.
PAIRS_MAX = 256

#: (cluster, row)
_Place = tuple[int, int]


@dataclass
class ZonesAnswer:
    """The answer of the zones.

    Args:
        columns: the operations checked, as columns.
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
        writers = self.zones.clusters.writer[sources[sources >= 0]]
        return sorted({*writers[writers >= 0].tolist()} - {*rows})

    def orders(self) -> dict[int, list[int]]:
        """For every key with no violation that was decided: a legal order, as invocations."""
        assert self.zones is not None
        return self.zones.orders(set(self.invalid_keys))


def check_zones(
    history: History, *, init: object, failed_cas: str, meter: Meter | None = None
) -> ZonesAnswer:
    """Check every key of a register history whose values are unambiguous.

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
    answer, ambiguous = ZonesAnswer(columns, zones=zones), zones.clusters.ambiguous
    seen: set[int] = set()
    for violation in zones.violations():
        if violation.key not in seen:
            seen.add(violation.key)
            answer.violations.append(violation)
        if meter is not None and meter.spent():
            break
    else:
        zones.timelines, forbidden = judge_failures(zones.blocks, seen)
        for key, shown in forbidden.items():
            if shown:
                seen.add(key)
                at = int(columns.start[shown[-1]])
                answer.violations.append(Violation("failed", key, shown, at))
            else:
                ambiguous[key] = True
    answer.ambiguous_keys = np.flatnonzero(ambiguous).tolist()
    answer.unfinished = meter is not None and meter.spent()
    answer.violations.sort(key=lambda violation: violation.at)
    for number, violation in enumerate(answer.violations[:EXPLAINED_MAX]):
        if violation.kind in ("order", "zones") and len(violation.ops) > FEW_ROWS:
            violation = answer.violations[number] = zones.unchained(violation)
        violation.ops = zones.clusters.with_observers(violation.ops)
    answer.invalid_keys = sorted(seen)
    answer.decided = int(np.count_nonzero(~ambiguous[columns.key]))
    return answer


class Zones:
    """The zones of a register history: which blocks contradict each other, and in which order.

    Args:
        columns: the operations.
    """

    def __init__(self, columns: RegisterColumns) -> None:
        self.columns = columns
        self.clusters = Clusters(columns)
        self.blocks = Blocks(self.clusters)
        self.timelines: dict[int, Timeline] = {}

    def violations(self) -> Iterator[Violation]:
        """Violations of all kinds: at least one for every key that has any."""
        yield from self.clusters.violations()
        yield from self.blocks.violations()
        yield from self._overlapping_zones()

    def _overlapping_zones(self) -> Iterator[Violation]:
        """Forward zones that overlap; backward zones within a forward one."""
        clusters, blocks = self.clusters, self.blocks
        live = (clusters.writers > 0) & ~clusters.ambiguous[self.columns.c_key] & blocks.is_block
        left, right = self._conflicts(np.flatnonzero(live), blocks.earliest, blocks.latest)
        yield from self._pairs(left, right)

    def _conflicts(self, block: Ints, earliest: Ints, latest: Ints) -> tuple[Ints, Ints]:
        """Pairs of blocks (or clusters) whose zones contradict each other.

        Args:
            block: which ones.
            earliest, latest: earliest completion and latest invocation, of every cluster.
        """
        early = earliest[block]
        late = latest[block]
        base = self.columns.c_key[block] * (self.clusters.late + 4) + 1
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
        clusters = self.clusters
        written = np.flatnonzero((self.columns.c_key == violation.key) & (clusters.writers > 0))
        left, right = self._conflicts(written, clusters.earliest, clusters.latest)
        if not len(left):
            return violation
        at = np.maximum(clusters.latest[left], clusters.latest[right])
        best = int(np.argmin(at))
        rows = self._pair_rows(int(left[best]), int(right[best]), blocks=False)
        return Violation("zones", violation.key, rows, int(at[best]))

    def _pairs(self, left: Ints, right: Ints) -> Iterator[Violation]:
        """Pairs of blocks that must each come before the other; per key the one shown in fewest
        operations, of the first :data:`PAIRS_MAX`.
        """
        keys = self.columns.c_key[left]
        at = np.maximum(self.blocks.latest[left], self.blocks.latest[right])
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
            abs(int(self.blocks.depth[first[0]] - self.blocks.depth[last[0]]))
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
            rows.update(self.blocks.chain_rows(first[0], last[0]))
            rows.update(row for row in (first[1], last[1]) if row >= 0)
        return tuple(sorted(rows))

    def _before(self, one: int, two: int, *, blocks: bool) -> tuple[_Place, _Place]:
        """(cluster, row) of an op of a block that completed before one of the other was invoked.

        Writes if they do: they must be shown anyway.
        """
        clusters, first, last = self.clusters, one, two
        if blocks:
            first = int(self.blocks.earliest_cluster[one])
            last = int(self.blocks.latest_cluster[two])
        firsts = [(one, int(clusters.writer[one]), int(clusters.end[one]))]
        firsts.append((first, int(clusters.writer[first]), int(clusters.end[first])))
        seen = int(clusters.earliest_read[first])
        firsts.append((first, int(clusters.earliest_row[first]), seen))
        lasts = [(two, int(clusters.writer[two]), int(clusters.start[two]))]
        lasts.append((last, int(clusters.writer[last]), int(clusters.start[last])))
        lasts.append((last, int(clusters.latest_row[last]), int(clusters.latest[last])))
        for begin in lasts:
            for end in firsts:
                if end[2] < begin[2]:
                    return end[:2], begin[:2]
        return firsts[-1][:2], lasts[-1][:2]

    def orders(self, invalid: set[int]) -> dict[int, list[int]]:
        """A legal order of every decided key that is legal: key code -> invocation indices.

        Blocks by where their zones begin, which respects "must come before" as no zones conflict;
        within a block cluster by cluster, the write first, then its reads as they were invoked.
        Each operation happens as soon as it and all before it were invoked; that gives the places
        of failed compare-and-sets that expected what never was there: where they were invoked.
        """
        columns, clusters = self.columns, self.clusters
        rows = self.blocks.ordered_rows()
        base = columns.key[rows] * (clusters.late + 1)
        moment = np.maximum.accumulate(base + columns.start[rows])
        failures = np.flatnonzero(columns.observed_failure & ~clusters.ambiguous[columns.key])
        rows = np.concatenate([rows, failures])
        happened = columns.key[failures] * (clusters.late + 1) + columns.start[failures]
        rows = rows[np.argsort(np.concatenate([moment, happened]), kind="stable")]
        keys = columns.key[rows]
        cuts = np.flatnonzero(keys[1:] != keys[:-1]) + 1
        found: dict[int, list[int]] = {}
        for part in np.split(rows, cuts):
            code = int(columns.key[part[0]]) if len(part) else -1
            if code >= 0 and code not in invalid:
                line = self.timelines.get(code)
                if line is not None:
                    part = np.array(order_with_failures(clusters, part.tolist(), line))
                found[code] = columns.invoke[part].tolist()
        return found
