"""Latency, rate and availability over time, in buckets that suit the run's length.

Only ``ok`` operations have a latency: a ``fail`` is quick for reasons of its own, and the latency
of an unknown outcome is the client's time-out, so those are drawn on a rail of their own. A bucket
never mixes them. Quantiles are exact, of the operations that completed in the bucket.

An unavailability window is the longest stretch in which operations were asked for and none was
answered ``ok``, measured as the checker :func:`checkers.judges.availability.availability` does, in
the whole run and at each node asked, with the faults that overlap it.

For :mod:`reports.page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from checkers.history import FAIL, INFO, OK, Fault, History
from checkers.judges.availability import longest_gap
from reports.operations import Ints, Operations
from reports.wording import duration, listing, one_line, seconds

#: About so many buckets make a curve; more is noise, fewer hides a fault of a second.
BUCKETS = 120
QUANTILES = (0.5, 0.95, 0.99, 1.0)
GAPS_MAX = 6

_STEPS_NS: list[int] = [base * 10**power for power in range(3, 13) for base in (1, 2, 5)]


@dataclass
class Performance:
    """Measures per bucket.

    Args:
        width_ns: a bucket's width.
        completed: per outcome ``ok fail info``, completions per bucket.
        quantiles: per entry of :data:`QUANTILES`, ns per bucket, -1 where nothing completed.
        in_flight: mean number of open operations per bucket.
        overall: quantiles of all ``ok`` operations per function: (f, count, texts).
        gaps: unavailability windows as texts: where, from, how long, during.
    """

    width_ns: int
    completed: dict[str, list[int]]
    quantiles: list[list[int]]
    in_flight: list[float]
    overall: list[tuple[str, int, list[str]]]
    gaps: list[tuple[str, str, str, str]]

    @property
    def buckets(self) -> int:
        """How many buckets there are."""
        return len(self.in_flight)


def bucket_width(end_ns: int) -> int:
    """A round width, in ns, that gives about :data:`BUCKETS` buckets."""
    for step in _STEPS_NS:
        if step * BUCKETS >= end_ns:
            return step
    return _STEPS_NS[-1]


def performance(
    history: History, ops: Operations, faults: Sequence[Fault], end_ns: int
) -> Performance:
    """Measure a run.

    Args:
        history: for the names of functions and nodes.
        ops: its operations.
        faults: to name beside the gaps.
        end_ns: the end of the run.
    """
    width = bucket_width(end_ns)
    buckets = end_ns // width + 1
    ends = ops.closed(end_ns)
    place = np.minimum(ends // width, buckets - 1)
    completed = {
        name: np.bincount(place[ops.outcome == code], minlength=buckets).tolist()
        for name, code in (("ok", OK), ("fail", FAIL), ("info", INFO))
    }
    good = (ops.outcome == OK) & (ops.end >= 0)
    latency = (ops.end - ops.begin)[good]
    return Performance(
        width_ns=width,
        completed=completed,
        quantiles=_quantiles(place[good], latency, buckets),
        in_flight=_in_flight(ops.begin, ends, width, buckets),
        overall=_overall(history, ops, good, latency),
        gaps=_gaps(history, faults),
    )


def _quantiles(place: Ints, latency: Ints, buckets: int) -> list[list[int]]:
    """Exact quantiles per bucket: sort by bucket then latency and pick by rank."""
    order = np.lexsort((latency, place))
    ordered = latency[order]
    sizes = np.bincount(place, minlength=buckets)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    found = []
    for quantile in QUANTILES:
        rank = np.ceil(quantile * sizes).astype(np.int64) - 1
        at = np.minimum(starts + np.maximum(rank, 0), max(len(ordered) - 1, 0))
        values = ordered[at] if len(ordered) else np.zeros(buckets, dtype=np.int64)
        found.append(np.where(sizes > 0, values, -1).tolist())
    return found


def _in_flight(begin: Ints, end: Ints, width: int, buckets: int) -> list[float]:
    """Mean number of open operations: the integral of opened minus closed, per bucket."""
    edges = np.arange(buckets + 1, dtype=np.float64) * width
    area = _ramp(begin, edges) - _ramp(end, edges)
    return [round(value, 2) for value in (np.diff(area) / width).tolist()]


def _ramp(times: Ints, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum over times before each edge of the distance to the edge."""
    ordered = np.sort(times).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    before = np.searchsorted(ordered, edges)
    return np.asarray(edges * before - sums[before], dtype=np.float64)


def _overall(
    history: History, ops: Operations, good: npt.NDArray[np.bool_], latency: Ints
) -> list[tuple[str, int, list[str]]]:
    rows = []
    functions = history.f[ops.invoke][good]
    for code, name in enumerate(history.functions):
        chosen = np.sort(latency[functions == code])
        if len(chosen):
            ranks = [max(0, int(np.ceil(q * len(chosen))) - 1) for q in QUANTILES]
            texts = [duration(int(chosen[rank])) for rank in ranks]
            rows.append((one_line(name, limit=30), len(chosen), texts))
    return rows


def _gaps(history: History, faults: Sequence[Fault]) -> list[tuple[str, str, str, str]]:
    """The longest stretches without an ok: of the run, then of each node, longest first."""
    rows = [("all nodes", *longest_gap(history))]
    each = [
        (f"node {one_line(name, limit=24)}", *longest_gap(history, node=name))
        for name in history.nodes
    ]
    each.sort(key=lambda row: (-row[1], row[0]))
    rows += each[:GAPS_MAX]
    return [
        (where, seconds(begin), duration(took), _during(faults, begin, stop))
        for where, took, begin, stop in rows
        if took > 0
    ]


def _during(faults: Sequence[Fault], begin: int, stop: int) -> str:
    hit = [
        fault.f
        for fault in faults
        if fault.outcome != "skipped"
        and fault.begin_ns <= stop
        and (fault.end_ns < 0 or fault.end_ns >= begin)
    ]
    return listing(list(dict.fromkeys(hit))) or "no fault"
