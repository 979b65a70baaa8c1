"""A run's operations as columns, and the lanes they are drawn in.

A lane is a worker: a process and its successors. After an unknown outcome a worker goes on under a
new process id, its old one plus the number of workers (Jepsen's convention and ours), so a run of
ten workers may have hundreds of processes, never more than ten at a time. The number of workers is
in the header of our own histories; in others it is the one that the processes themselves bear out.
Where there is none, each process has a lane of its own.

For :mod:`reports.embed`, :mod:`reports.performance` and :mod:`reports.overview`.
"""

from __future__ import annotations

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
    workers = _workers(history)
    owner = [_worker(process, workers) for process in history.processes]
    members: dict[object, list[int]] = {}
    for code in sorted(range(len(owner)), key=lambda code: _rank(history.processes[code])):
        members.setdefault(owner[code], []).append(code)
    order = sorted(members, key=lambda worker: _rank(history.processes[members[worker][0]]))
    place = {worker: row for row, worker in enumerate(order)}
    return [place[each] for each in owner], [_lane_name(history, members[w]) for w in order]


def _worker(process: object, workers: int) -> object:
    return process % workers if isinstance(process, int) and workers else repr(process)


def _workers(history: History) -> int:
    """How many workers the processes are of; 0 if that is unknown."""
    declared = history.header.get("concurrency")
    numbers = sorted(p for p in history.processes if isinstance(p, int) and p >= 0)
    if not numbers:
        return 0
    likely = [declared] if isinstance(declared, int) and declared > 0 else []
    first, last = _reach(history)
    begun = [p for p in numbers if first[p] <= min(last.values())]
    likely.append(max(begun, default=-1) + 1)
    return next((count for count in likely if _borne_out(numbers, count, first, last)), 0)


def _reach(history: History) -> tuple[dict[int, int], dict[int, int]]:
    """Positions of each process's first and last event."""
    positions = np.arange(len(history), dtype=np.int64)
    count = len(history.processes)
    first = np.full(count, len(history), dtype=np.int64)
    last = np.full(count, -1, dtype=np.int64)
    np.minimum.at(first, history.process, positions)
    np.maximum.at(last, history.process, positions)
    known = [(p, c) for c, p in enumerate(history.processes) if isinstance(p, int)]
    return {p: int(first[c]) for p, c in known}, {p: int(last[c]) for p, c in known}


def _borne_out(
    numbers: Sequence[int], count: int, first: dict[int, int], last: dict[int, int]
) -> bool:
    """Whether no process overlaps the one before it of the same worker."""
    if count < 1:
        return False
    before: dict[int, int] = {}
    for process in numbers:
        worker = process % count
        if worker in before and last[before[worker]] >= first[process]:
            return False
        before[worker] = process
    return True


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
