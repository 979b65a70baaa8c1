"""A run's operations as columns, and the lanes they are drawn in.

A lane holds one process and its successors: after an unknown outcome the harness gives a worker a
new process id, so a run of ten workers may have hundreds of processes, never more than ten at a
time. Lanes are packed greedily in order of first appearance, which gives a worker's successors its
lane back; within a lane operations never overlap.

For :mod:`reports.embed`, :mod:`reports.performance` and :mod:`reports.overview`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from checkers.history import FAIL, INFO, OK, Fault, History
from reports.wording import POSITION_NS, one_line

Ints = npt.NDArray[np.int64]


@dataclass
class Operations:
    """One row per operation, in order of invocation; times in ns, ``end`` -1 while open."""

    invoke: Ints
    begin: Ints
    end: Ints
    outcome: npt.NDArray[np.int8]
    process: Ints
    lane_of_process: list[int]
    lane_names: list[str]

    def __len__(self) -> int:
        return len(self.invoke)

    def closed(self, end_ns: int) -> Ints:
        """Ends, with ``end_ns`` for operations whose completion was not recorded."""
        return np.where(self.end < 0, np.maximum(end_ns, self.begin), self.end)


def operations(history: History) -> Operations:
    """The columns of a history."""
    invoke = history.invocations
    done = history.pair[invoke]
    end = np.where(done < 0, -1, history.time_ns[np.maximum(done, 0)])
    lanes, names = _lanes(history)
    return Operations(
        invoke=invoke,
        begin=history.time_ns[invoke],
        end=end.astype(np.int64),
        outcome=history.outcomes(),
        process=history.process[invoke],
        lane_of_process=lanes,
        lane_names=names,
    )


def _lanes(history: History) -> tuple[list[int], list[str]]:
    """The lane of each process code, and each lane's name: its first process, how many follow."""
    count = len(history.processes)
    positions = np.arange(len(history), dtype=np.int64)
    first = np.full(count, len(history), dtype=np.int64)
    last = np.full(count, -1, dtype=np.int64)
    np.minimum.at(first, history.process, positions)
    np.maximum.at(last, history.process, positions)
    lanes = [0] * count
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    members: list[list[int]] = []
    for code in np.argsort(first, kind="stable").tolist():
        while busy and busy[0][0] < first[code]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(members)
        if lane == len(members):
            members.append([])
        members[lane].append(code)
        lanes[code] = lane
        heapq.heappush(busy, (int(last[code]), lane))
    order = sorted(range(len(members)), key=lambda lane: _rank(history.processes[members[lane][0]]))
    place = {lane: row for row, lane in enumerate(order)}
    names = [_lane_name(history, members[lane]) for lane in order]
    return [place[lane] for lane in lanes], names


def _rank(process: object) -> tuple[int, int, str]:
    """Processes with numbers in the order of their numbers, then the others by name."""
    return (0, process, "") if isinstance(process, int) else (1, 0, str(process))


def _lane_name(history: History, codes: Sequence[int]) -> str:
    name = one_line(history.processes[codes[0]], limit=12)
    return f"{name} +{len(codes) - 1}" if len(codes) > 1 else name


def timed(history: History) -> tuple[History, bool]:
    """The history with a time for every event, and whether the times are real.

    A history without times (or with only some) gets its positions as times, a microsecond each, so
    that everything can be drawn; the report says that no durations can be read from it.
    """
    if not len(history) or int(history.time_ns.min()) >= 0:
        return history, True
    twin = History(
        type=history.type, process=history.process, f=history.f, key=history.key,
        time_ns=np.arange(len(history), dtype=np.int64) * POSITION_NS, pair=history.pair,
        values=history.values, node=history.node, processes=history.processes,
        functions=history.functions, keys=history.keys, nodes=history.nodes,
        errors=history.errors, faults=history.faults, header=history.header, notes=history.notes,
    )  # fmt: skip
    return twin, False


def concurrency(ops: Operations) -> int:
    """Most operations open at one moment; one that never completed is open to its lane's next."""
    closed = ops.end >= 0
    ends = ops.end[closed]
    times = np.concatenate([ops.begin, ends])
    change = np.concatenate([np.ones(len(ops), np.int64), -np.ones(len(ends), np.int64)])
    order = np.lexsort((-change, times))
    most = int(np.cumsum(change[order]).max(initial=0))
    return min(most, max(1, len(ops.lane_names))) if len(ops) else 0


def inside_faults(ops: Operations, faults: Sequence[Fault], end_ns: int) -> int:
    """How many operations overlap a fault that was not skipped."""
    hit = np.zeros(len(ops), dtype=bool)
    ends = ops.closed(end_ns)
    for fault in faults:
        if fault.outcome != "skipped":
            stop = fault.end_ns if fault.end_ns >= 0 else end_ns
            hit |= (ops.begin <= stop) & (ends >= fault.begin_ns)
    return int(hit.sum())


def counts(ops: Operations) -> dict[str, int]:
    """How many operations ended ok, fail and info."""
    codes = {"ok": OK, "fail": FAIL, "info": INFO}
    return {name: int((ops.outcome == code).sum()) for name, code in codes.items()}
