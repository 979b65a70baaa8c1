"""Failed compare-and-sets as observations, on registers whose values are written once.

A compare-and-set that expected a and found something else says: at some moment of its interval the
register did not hold a. The zones (:mod:`.zones`) give an order of the values that is legal without
such observations, and leave open *when* each value replaced the one before. Let value i be written
at moment t(i), between the bounds that its own operations and those of the value before it set. A
failure that expected value i, from s to e, is satisfied iff t(i) > s or t(i+1) < e.

So the moments are chosen from the first value to the last, each as late as its bounds allow: a
later t(i) satisfies more failures of value i and so bounds t(i+1) less. The failures that remain
bound t(i+1) from above. If a bound cannot be met, a write of unknown outcome that nobody observed
may have been what was found; each may fill in once. If there is none, no choice of moments will do
*for this order of values*. Then either a value was certainly there from its first completion to its
last invocation with a failure inside, which no order can explain; or another order might, and the
general search must decide. Linear in the operations, after sorting.

Called by the zones only, for keys that are legal but for such failures.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from checkers.linearizability.zones.register_columns import WRITE

if TYPE_CHECKING:
    from checkers.linearizability.zones.zones import Zones


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


def judge_failures(zones: Zones, invalid: Set[int]) -> dict[int, tuple[int, ...]]:
    """The keys whose failed compare-and-sets their order of values does not explain.

    For each the rows that prove that none does, or nothing if this is left open. The timelines of
    the other keys are put into ``zones.timelines``.

    Args:
        zones: measured, and asked for all violations.
        invalid: keys that have one.
    """
    columns = zones.columns
    told: dict[int, list[int]] = {}
    for row, key in zip(zones.telling.tolist(), columns.key[zones.telling].tolist()):
        if key not in invalid:
            told.setdefault(key, []).append(row)
    found: dict[int, tuple[int, ...]] = {}
    if not told:
        return found
    rows = zones.ordered_rows(late=True)
    clusters = np.where(zones.writes[rows], columns.target[rows], columns.source[rows])
    cuts = np.flatnonzero(np.diff(columns.key[rows])) + 1
    of_key = {int(columns.c_key[part[0]]): part for part in np.split(clusters, cuts) if len(part)}
    spare = _spare(zones)
    for key, failed in told.items():
        values = list(dict.fromkeys([key, *of_key.get(key, clusters[:0]).tolist()]))
        line = _timeline(zones, values, failed, spare.get(key, []))
        if line.stuck < 0:
            zones.timelines[key] = line
        else:
            found[key] = _forbidden(zones, failed)
    return found


def _spare(zones: Zones) -> dict[int, list[tuple[int, int]]]:
    """Per key (start, row) of the unobserved writes of values that nothing else speaks of."""
    columns = zones.columns
    quiet = zones.c_writers == 0
    quiet[columns.source[columns.observed_failure]] = False
    unknown = columns.unknown & (columns.kind == WRITE) & ~zones.alive
    rows = np.flatnonzero(unknown & quiet[columns.target])
    found: dict[int, list[tuple[int, int]]] = {}
    for row, key in zip(rows.tolist(), columns.key[rows].tolist()):
        found.setdefault(key, []).append((int(columns.start[row]), row))
    return found


def _timeline(
    zones: Zones, values: list[int], failed: list[int], spare: list[tuple[int, int]]
) -> Timeline:
    """When each of these values, in order, was written, if that explains the failures."""
    columns = zones.columns
    earliest = np.maximum(zones.c_start[values], np.r_[-1, zones.c_latest[values[:-1]]])
    earliest = np.maximum.accumulate(earliest)
    latest = np.minimum.accumulate(zones.c_earliest[values][::-1])[::-1]
    place = {value: at for at, value in enumerate(values)}
    failures: list[list[tuple[int, int]]] = [[] for _ in values]
    for row in failed:
        interval = int(columns.start[row]), int(columns.end[row])
        failures[place[int(columns.source[row])]].append(interval)
    swapped = np.r_[zones.c_parent[values[1:]] == values[:-1], False]
    seen = np.where(swapped, NEVER_LEFT, np.maximum(zones.c_latest[values], earliest))
    line = timeline(
        list(zip(earliest.tolist(), latest.tolist())), failures, seen=seen.tolist(), spare=spare
    )
    line.place = place
    return line


def _forbidden(zones: Zones, failed: list[int]) -> tuple[int, ...]:
    """The first failure within the zone of the very value that it did not find, with the two
    operations that show the zone; nothing if there is none.
    """
    columns = zones.columns
    rows = np.array(failed, dtype=np.int64)
    value = columns.source[rows]
    inside = (zones.c_earliest[value] < columns.start[rows]) & (
        columns.end[rows] < zones.c_latest[value]
    )
    if not inside.any():
        return ()
    row = int(rows[inside][np.argmin(columns.end[rows[inside]])])
    cluster = int(columns.source[row])
    first, last = int(zones.c_writer[cluster]), int(zones.c_latest_row[cluster])
    if first < 0 or zones.c_end[cluster] > columns.start[row]:
        first = int(zones.c_earliest_row[cluster])
    return tuple(sorted({first, row, last} - {-1}))


def order_with_failures(zones: Zones, rows: list[int], key: int) -> list[int]:
    """The rows of one key in a legal order, failed swaps at moments when another value was there.

    Args:
        zones: with a timeline of this key.
        rows: all that take part, failures included.
        key: code of the key.
    """
    columns, line = zones.columns, zones.timelines[key]
    placed = [(at, moment, 0, row) for at, (moment, row) in line.fillers.items()]
    for row in rows:
        start = int(columns.start[row])
        if columns.observed_failure[row]:
            at, moment = place_of(line, line.place.get(int(columns.source[row]), -1), start)
            placed.append((at, moment, 1, row))
        elif zones.writes[row]:
            placed.append((line.place[int(columns.target[row])], -2, 0, row))
        else:
            at = line.place[int(columns.source[row])]
            placed.append((at, max(start, line.moments[at]), 0, row))
    return [row for *_, row in sorted(placed)]
