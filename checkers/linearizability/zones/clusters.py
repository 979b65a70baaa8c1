"""The clusters of a register history: what a history says of each value, as columns.

Problem. Every later step asks the same of a value: which operation wrote it, when did the first
operation of its cluster complete, when was the last one invoked.

Solution. A cluster is a (key, value) pair. One pass over the operations measures all clusters. It
first leaves out what may never have happened: a write of unknown outcome counts only if a known
operation needs its value, directly or through a chain of compare-and-sets. Keys on which a value
was written twice are marked as ambiguous and left out as well.

Invariants. After the pass each cluster of a decided key has at most one writer. The first ``keys``
clusters are those of the initial values and have no writing operation.

What breaks without it: an unknown write that stays would forbid orders that are legal, and a second
writer would make "the" completion of a write ambiguous.

Source: Gibbons and Korach, "Testing shared memories", 1997, for the clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from checkers.linearizability.zones.register_columns import (
    CAS,
    READ,
    WRITE,
    Ints,
    RegisterColumns,
)


@dataclass
class Violation:
    """Why a key is not linearizable: operations that cannot be ordered.

    Args:
        kind: ``garbage`` (a value that no write began before it was observed), ``order`` (within a
            chain of compare-and-sets), ``branch`` (two compare-and-sets from one value), ``cycle``,
            ``zones`` or ``failed`` (a failed compare-and-set expected what the register held).
        key: the key's code.
        ops: rows of the columns that prove it.
        at: position of the event that showed it.
    """

    kind: str
    key: int
    ops: tuple[int, ...]
    at: int


class Clusters:
    """The clusters of a register history and the operations that take part in them.

    Attributes with one entry per operation (row), shape (rows,):
        alive: bool; the operation takes part.
        writes, reads: bool; what kind of operation it is. A compare-and-set does both.

    Attributes with one entry per cluster, int64 of shape (clusters,):
        writers: number of operations that wrote the value, the initial value counted as one.
        writer: row of the write, or -1.
        start, end: positions at which the write was invoked and completed, or -1.
        latest, latest_row: the last invocation of the cluster, and its row.
        earliest_read, earliest_row: the first completion of a read, or ``late``; its row, or -1.
        earliest: the first completion of the cluster.

    Rows, int64 of shape (some,):
        write_rows, read_rows: the operations that take part, by kind.
        telling: failed compare-and-sets that expected a value which was written.

    Attributes with one entry per key, shape (keys,):
        ambiguous: bool; a value of the key was written twice.

    Args:
        columns: the operations.
    """

    def __init__(self, columns: RegisterColumns) -> None:
        self.columns = columns
        self.count = columns.clusters
        self.late = columns.late
        self.alive = ~columns.observed_failure
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
        needed = np.zeros(self.count, dtype=bool)
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
        self.writers = np.bincount(targets, minlength=self.count)
        self.writers[: columns.keys] += 1  # the initial values
        self.ambiguous = np.zeros(columns.keys, dtype=bool)
        self.ambiguous[columns.c_key[self.writers > 1]] = True
        failures = np.flatnonzero(columns.observed_failure)
        decided = ~self.ambiguous[columns.key]
        self.telling = failures[(self.writers[columns.source[failures]] > 0) & decided[failures]]
        self.alive &= decided
        self.write_rows = self.write_rows[decided[self.write_rows]]
        self.read_rows = np.flatnonzero(self.alive & self.reads)

    def _measure(self) -> None:
        """Writer, earliest completion and latest invocation per cluster."""
        columns, clusters = self.columns, self.count
        self.writer = np.full(clusters, -1, dtype=np.int64)
        self.writer[columns.target[self.write_rows]] = self.write_rows
        written = self.writer >= 0
        self.start = np.full(clusters, -1, dtype=np.int64)
        self.end = np.full(clusters, -1, dtype=np.int64)
        self.start[written] = columns.start[self.writer[written]]
        self.end[written] = columns.end[self.writer[written]]
        self.latest = self.start.copy()
        self.latest_row = self.writer.copy()
        self.earliest_read = np.full(clusters, self.late, dtype=np.int64)
        self.earliest_row = np.full(clusters, -1, dtype=np.int64)
        # A cas reads its source too, but as the last of that cluster: its block orders it.
        plain = self.read_rows[columns.kind[self.read_rows] == READ]
        source = columns.source[plain]
        # Rows ascend by invocation, and the last of repeated assignments stays: the latest.
        later = columns.start[plain] > self.latest[source]
        self.latest[source[later]] = columns.start[plain[later]]
        self.latest_row[source[later]] = plain[later]
        by_end = columns.by_end_descending(plain)
        source = columns.source[by_end]
        self.earliest_read[source] = columns.end[by_end]
        self.earliest_row[source] = by_end
        self.earliest = np.minimum(self.end, self.earliest_read)

    def violations(self) -> Iterator[Violation]:
        """Reads of values that no write began before the read completed."""
        yield from self._garbage()
        yield from self._reads_before_writes()

    def _garbage(self) -> Iterator[Violation]:
        columns = self.columns
        known = self.writers[columns.source[self.read_rows]] > 0
        for row in self.first_per_key(self.read_rows[~known]):
            yield Violation("garbage", int(columns.key[row]), (row,), int(columns.end[row]))

    def _reads_before_writes(self) -> Iterator[Violation]:
        columns, rows = self.columns, self.read_rows
        early = columns.end[rows] < self.start[columns.source[rows]]
        for row in self.first_per_key(rows[early]):
            yield Violation("garbage", int(columns.key[row]), (row,), int(columns.end[row]))

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

    def first_per_key(self, rows: Ints) -> list[int]:
        """Of some rows, the first to complete on each key."""
        order = rows[np.lexsort((self.columns.end[rows], self.columns.key[rows]))]
        keys = self.columns.key[order]
        if not len(order):
            return []
        return [int(row) for row in order[np.r_[True, keys[1:] != keys[:-1]]]]
