"""Failed compare-and-sets as observations, on registers whose values are written once.

A compare-and-set that expected a and found something else says: at some moment of its interval the
register did not hold a. The zones (:mod:`.zones`) give an order of the values that is legal without
such observations, and leave open *when* each value replaced the one before. Let value i be written
at moment t(i), between the bounds that its own operations and those of the value before it set. A
failure that expected value i, from s to e, is satisfied iff t(i) > s or t(i+1) < e.

So the moments are chosen from the first value to the last, each as late as its bounds allow: a
later t(i) satisfies more failures of value i and so bounds t(i+1) less. The failures that remain
bound t(i+1) from above. If a bound cannot be met, an unobserved write of unknown outcome may have
been what was found; each may fill in once. If there is none, no choice of moments will do *for this
order of values*. Then there are two cases. Either the register held the value from its first
completion to its last invocation, with a failure inside, which no order can explain. Or another
order might explain it, and the general search must decide. Linear in the operations, after sorting.

Called by the zones only, for keys that are legal but for such failures.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from checkers.linearizability.zones.blocks import Blocks
from checkers.linearizability.zones.clusters import Clusters
from checkers.linearizability.zones.register_columns import WRITE

#: Later than every position; as the bound of a moment: none.
FREE = 1 << 60

#: A value that is swapped out at once stays until then.
NEVER_LEFT = FREE


@dataclass
class Timeline:
    """When each value of one key was written, in order.

    Args:
        moments: of each value; the first is the initial one.
        stuck: place of the value whose failures cannot be satisfied in this order, or -1.
        place: cluster of a value -> its place in the order.
        fillers: place of a value -> (moment, row) of an unobserved write that replaced it.
    """

    moments: list[int]
    stuck: int = -1
    place: dict[int, int] = field(default_factory=dict)
    fillers: dict[int, tuple[int, int]] = field(default_factory=dict)


def timeline(
    bounds: Sequence[tuple[int, int]],
    failures: Sequence[Sequence[tuple[int, int]]],
    *,
    seen: Sequence[int] = (),
    spare: Sequence[tuple[int, int]] = (),
) -> Timeline:
    """Choose the moments at which values are written, so that failures are satisfied.

    Args:
        bounds: for each value, the earliest and latest moment (positions) of its write, given the
            order; both ascend.
        failures: for each value, the intervals of the failures that expected it.
        seen: for each value, the moment until which it must stay; NEVER_LEFT if what comes next
            swaps it out. Needed where there are spare writes.
        spare: (start, row) of the writes that may fill in, by start.
    """
    line, used, until = Timeline([]), 0, FREE
    for place, (earliest, latest) in enumerate([*bounds, (FREE, FREE)]):
        moment = min(latest, until)
        if moment < earliest:
            before = place - 1
            fits = used < len(spare) and max(spare[used][0], seen[before]) < moment
            if not fits:
                line.stuck = before
                return line
            line.fillers[before] = (moment, spare[used][1])
            used += 1
            moment = latest
        if place < len(bounds):
            line.moments.append(moment)
            until = min((end for start, end in failures[place] if start >= moment), default=FREE)
    return line


def place_of(line: Timeline, value: int, start: int) -> tuple[int, int]:
    """(place of the value that was there, moment) where a satisfied failure may be put.

    Args:
        line: without a value that is stuck.
        value: place of the value it expected; -1 if that was never there.
        start: where it was invoked.
    """
    if value < 0 or line.moments[value] > start:
        return bisect_right(line.moments, start) - 1, start
    after = bisect_right(line.moments, start)
    if after > value + 1:
        return after - 1, start
    if value in line.fillers:
        return value, max(start, line.fillers[value][0])
    return value + 1, line.moments[value + 1]


def judge_failures(
    blocks: Blocks, invalid: Set[int]
) -> tuple[dict[int, Timeline], dict[int, tuple[int, ...]]]:
    """Whether the failed compare-and-sets of each key fit the order of its values.

    Returns:
        The timelines of the keys whose order explains them; and for each other key the rows that
        prove that no order does, or an empty tuple if this is left open.

    Args:
        blocks: the blocks, in which no violation of a key other than the ``invalid`` was found.
        invalid: keys that have a violation.
    """
    clusters, columns = blocks.clusters, blocks.columns
    by_key: dict[int, list[int]] = {}
    for row, key in zip(clusters.telling.tolist(), columns.key[clusters.telling].tolist()):
        if key not in invalid:
            by_key.setdefault(key, []).append(row)
    lines: dict[int, Timeline] = {}
    forbidden: dict[int, tuple[int, ...]] = {}
    if not by_key:
        return lines, forbidden
    rows = blocks.ordered_rows(late=True)
    ordered = np.where(clusters.writes[rows], columns.target[rows], columns.source[rows])
    cuts = np.flatnonzero(np.diff(columns.key[rows])) + 1
    of_key = {int(columns.c_key[part[0]]): part for part in np.split(ordered, cuts) if len(part)}
    spare = _spare(clusters)
    for key, failed in by_key.items():
        values = list(dict.fromkeys([key, *of_key.get(key, ordered[:0]).tolist()]))
        line = _timeline(blocks, values, failed, spare.get(key, []))
        if line.stuck < 0:
            lines[key] = line
        else:
            forbidden[key] = _forbidden(clusters, failed)
    return lines, forbidden


def _spare(clusters: Clusters) -> dict[int, list[tuple[int, int]]]:
    """Per key (start, row) of the unobserved writes of values that nothing else speaks of."""
    columns = clusters.columns
    quiet = clusters.writers == 0
    quiet[columns.source[columns.observed_failure]] = False
    unknown = columns.unknown & (columns.kind == WRITE) & ~clusters.alive
    rows = np.flatnonzero(unknown & quiet[columns.target])
    found: dict[int, list[tuple[int, int]]] = {}
    for row, key in zip(rows.tolist(), columns.key[rows].tolist()):
        found.setdefault(key, []).append((int(columns.start[row]), row))
    return found


def _timeline(
    blocks: Blocks, values: list[int], failed: list[int], spare: list[tuple[int, int]]
) -> Timeline:
    """When each of these values, in order, was written, if that explains the failures."""
    clusters, columns = blocks.clusters, blocks.columns
    earliest = np.maximum(clusters.start[values], np.r_[-1, clusters.latest[values[:-1]]])
    earliest = np.maximum.accumulate(earliest)
    latest = np.minimum.accumulate(clusters.earliest[values][::-1])[::-1]
    place = {value: at for at, value in enumerate(values)}
    failures: list[list[tuple[int, int]]] = [[] for _ in values]
    for row in failed:
        interval = int(columns.start[row]), int(columns.end[row])
        failures[place[int(columns.source[row])]].append(interval)
    swapped = np.r_[blocks.parent[values[1:]] == values[:-1], False]
    seen = np.where(swapped, NEVER_LEFT, np.maximum(clusters.latest[values], earliest))
    line = timeline(
        list(zip(earliest.tolist(), latest.tolist())), failures, seen=seen.tolist(), spare=spare
    )
    line.place = place
    return line


def _forbidden(clusters: Clusters, failed: list[int]) -> tuple[int, ...]:
    """The first failure within the zone of the very value that it did not find, with the two
    operations that show the zone; nothing if there is none.
    """
    columns = clusters.columns
    rows = np.array(failed, dtype=np.int64)
    value = columns.source[rows]
    inside = (clusters.earliest[value] < columns.start[rows]) & (
        columns.end[rows] < clusters.latest[value]
    )
    if not inside.any():
        return ()
    row = int(rows[inside][np.argmin(columns.end[rows[inside]])])
    cluster = int(columns.source[row])
    first, last = int(clusters.writer[cluster]), int(clusters.latest_row[cluster])
    if first < 0 or clusters.end[cluster] > columns.start[row]:
        first = int(clusters.earliest_row[cluster])
    return tuple(sorted({first, row, last} - {-1}))


def order_with_failures(clusters: Clusters, rows: list[int], line: Timeline) -> list[int]:
    """The rows of one key in a legal order, failed swaps at moments when another value was there.

    Args:
        clusters: the clusters of all keys.
        rows: all of the key that take part, failures included.
        line: the key's timeline.
    """
    columns = clusters.columns
    placed = [(at, moment, 0, row) for at, (moment, row) in line.fillers.items()]
    for row in rows:
        start = int(columns.start[row])
        if columns.observed_failure[row]:
            at, moment = place_of(line, line.place.get(int(columns.source[row]), -1), start)
            placed.append((at, moment, 1, row))
        elif clusters.writes[row]:
            placed.append((line.place[int(columns.target[row])], -2, 0, row))
        else:
            at = line.place[int(columns.source[row])]
            placed.append((at, max(start, line.moments[at]), 0, row))
    return [row for *_, row in sorted(placed)]
