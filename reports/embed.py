"""The operations as the page carries them: columns of variable-length integers, deflated, base64.

Problem. A hundred thousand operations as JSON objects are 15 MB and a second of parsing; the report
should be one file of at most 2 MB that opens at once.

Solution. One column per field, times in microseconds, indices and times as differences, values as
codes into one table of texts; each number is a base-128 varint (seven bits a byte, least
significant first), the whole is deflated. The browser inflates it with its own decoder. A byte or
so per field remains.

Beyond :data:`OPS_MAX` operations a page carries all operations around the findings, one operation
for each pixel of the latency plot, and for each lane and slice of time the worst outcome and the
count, so that nothing unusual is hidden; it says so, and ``harness serve`` gives the whole.

For :mod:`reports.page`; the reader is ``assets/core.js``.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from checkers.history import OK, History
from reports.operations import Ints, Operations
from reports.wording import clip, one_line, show

#: Operations embedded in a page, one by one.
OPS_MAX = 100_000
#: Of those, at most so many around findings when there are more than OPS_MAX.
AROUND_MAX = 40_000
AROUND_NS = 2_000_000_000
#: Slices of time of the density of a page that does not carry every operation.
SLICES = 2048
SAMPLE_TIMES, SAMPLE_LATENCIES = 1200, 120
#: Longest text of a value, an error and a key: in a report, and in the page that ``serve`` makes.
TEXT_CHARS_MAX, ERROR_CHARS_MAX, KEY_CHARS_MAX = 160, 120, 40
WHOLE_CHARS_MAX = 65_536

Bytes = npt.NDArray[np.uint8]


@dataclass
class Embedded:
    """The data of the page, JSON-ready, and the number of operations in it."""

    data: dict[str, Any]
    shown: int
    complete: bool


def varints(numbers: Ints) -> bytes:
    """Non-negative integers below 2**63 as base-128 varints, vectorised."""
    values = numbers.astype(np.uint64)
    sizes = np.ones(len(values), dtype=np.int64)
    for byte in range(1, 9):
        sizes += values >= np.uint64(1 << (7 * byte))
    ends = np.cumsum(sizes)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    starts = ends - sizes
    for byte in range(9):
        chosen = sizes > byte
        if not chosen.any():
            break
        low = (values[chosen] >> np.uint64(7 * byte)) & np.uint64(127)
        more = np.where(sizes[chosen] > byte + 1, 128, 0).astype(np.uint64)
        out[starts[chosen] + byte] = (low | more).astype(np.uint8)
    return out.tobytes()


def zigzag(numbers: Ints) -> Ints:
    """Signed integers as non-negative ones, small staying small."""
    return np.where(numbers >= 0, 2 * numbers, -2 * numbers - 1)


def _deltas(numbers: Ints) -> Ints:
    return zigzag(np.diff(numbers, prepend=np.int64(0)))


class _Texts:
    """Codes for the texts of values; 0 is nil."""

    def __init__(self, chars_max: int) -> None:
        self._chars_max = chars_max
        self.table: list[str] = ["nil"]
        self._codes: dict[str, int] = {"nil": 0}
        self._plain: dict[Any, int] = {}

    def words(self, texts: Sequence[str | None]) -> Ints:
        """Codes of texts that are no values and stand as they are."""
        found = [0 if text is None else self._text(text) for text in texts]
        return np.array(found, dtype=np.int64)

    def codes(self, values: Sequence[Any]) -> Ints:
        found = [self._code(value) for value in values]
        return np.array(found, dtype=np.int64)

    def _code(self, value: Any) -> int:
        if value is None:
            return 0
        kind = value.__class__
        if kind is int or kind is str:
            code = self._plain.get(value)
            if code is None:
                text = (
                    str(value)
                    if kind is int
                    else clip(show(value, limit=self._chars_max), self._chars_max)
                )
                code = self._plain[value] = self._text(text)
            return code
        return self._text(show(value, limit=self._chars_max))

    def _text(self, text: str) -> int:
        code = self._codes.setdefault(text, len(self.table))
        if code == len(self.table):
            self.table.append(text)
        return code


def embed(
    history: History,
    ops: Operations,
    *,
    spans: Sequence[tuple[int, int]],
    must: Sequence[int],
    end_ns: int,
    limit: int = OPS_MAX,
    whole: bool = False,
) -> Embedded:
    """Make a page's data of a history's operations.

    Args:
        history, ops: the run's.
        spans: (begin_ns, end_ns) of the findings, most telling first.
        must: invocation indices that are always embedded: the witnesses.
        end_ns: the end of the run.
        limit: most operations to embed one by one.
        whole: do not shorten values, errors and keys.
    """
    complete = len(ops) <= limit
    if complete:
        rows, windows = np.arange(len(ops), dtype=np.int64), [(0, end_ns)]
        density = None
    else:
        rows, windows = _choose(ops, spans, must, end_ns, limit)
        density = _density(ops, end_ns)
    data = {
        "complete": complete,
        "total": len(ops),
        "end": end_ns // 1000,
        "windows": [[begin // 1000, end // 1000] for begin, end in windows],
        "density": density,
        "lanes": ops.lane_names,
        **_columns(history, ops, rows, whole=whole),
    }
    return Embedded(data, len(rows), complete)


def _columns(history: History, ops: Operations, rows: Ints, *, whole: bool) -> dict[str, Any]:
    invoke = ops.invoke[rows]
    done = history.pair[invoke]
    begin, end = ops.begin[rows] // 1000, ops.end[rows] // 1000
    texts = _Texts(WHOLE_CHARS_MAX if whole else TEXT_CHARS_MAX)
    asked = texts.codes([history.values[i] for i in invoke.tolist()])
    values = [history.values[i] if i >= 0 else None for i in done.tolist()]
    answered = texts.codes(values)
    error_chars = WHOLE_CHARS_MAX if whole else ERROR_CHARS_MAX
    errors = _Texts(error_chars)
    said = errors.words([_error(history, i, error_chars) for i in done.tolist()])
    columns = {
        "index": _deltas(invoke),
        "t": _deltas(begin),
        "d": np.where(ops.end[rows] < 0, 0, np.maximum(end - begin, 0) + 1),
        "process": history.process[invoke],
        "f": history.f[invoke],
        "key": history.key[invoke] + 1,
        "node": history.node[invoke] + 1,
        "outcome": ops.outcome[rows].astype(np.int64),
        "input": asked,
        "output": zigzag(answered - asked),
        "error": said,
    }
    key_chars = WHOLE_CHARS_MAX if whole else KEY_CHARS_MAX
    packed = [varints(column.astype(np.int64)) for column in columns.values()]
    tables = {
        "processes": [one_line(name, limit=24) for name in history.processes],
        "laneOf": ops.lane_of_process,
        "functions": [one_line(name, limit=24) for name in history.functions],
        "keys": [show(key, limit=key_chars) for key in history.keys],
        "nodes": [one_line(name, limit=24) for name in history.nodes],
        "values": texts.table,
        "errors": errors.table,
    }
    tail = msgspec.json.encode(tables)
    return {
        "count": len(rows),
        "columns": [[name, len(part)] for name, part in zip(columns, packed)],
        "blob": _pack(b"".join([*packed, tail])),
    }


def _error(history: History, done: int, chars_max: int) -> str | None:
    error = history.errors.get(done) if done >= 0 else None
    return None if error is None else one_line(error, limit=chars_max)


def _pack(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 6)).decode("ascii")


def unpack(blob: str) -> bytes:
    """The bytes of a packed blob; what the browser does, for tests and tools."""
    return zlib.decompress(base64.b64decode(blob))


def _choose(
    ops: Operations,
    spans: Sequence[tuple[int, int]],
    must: Sequence[int],
    end_ns: int,
    limit: int,
) -> tuple[Ints, list[tuple[int, int]]]:
    """Rows to embed when there are too many, and the windows in which none is missing."""
    chosen = np.isin(ops.invoke, np.array(sorted(set(must)), dtype=np.int64))
    ends = ops.closed(end_ns)
    windows: list[tuple[int, int]] = []
    room = min(AROUND_MAX, limit // 2)
    for begin, end in spans:
        if begin < 0:
            continue
        around = AROUND_NS
        while around > 1_000_000:
            near = (ops.begin <= end + around) & (ends >= begin - around)
            if int((chosen | near).sum()) <= room:
                chosen |= near
                windows.append((max(0, begin - around), min(end_ns, end + around)))
                break
            around //= 2
    chosen |= _sample(ops, end_ns, limit - int(chosen.sum()))
    return np.flatnonzero(chosen).astype(np.int64), sorted(windows)


def _sample(ops: Operations, end_ns: int, room: int) -> npt.NDArray[np.bool_]:
    """One operation for each pixel of the latency plot and outcome, the first in each."""
    latency = np.maximum(ops.closed(end_ns) - ops.begin, 1)
    level = np.log2(latency.astype(np.float64)) / 40
    times, latencies = SAMPLE_TIMES, SAMPLE_LATENCIES
    while True:
        column = ops.begin * times // (end_ns + 1)
        row = np.clip(level * latencies, 0, latencies - 1).astype(np.int64)
        cell = (column * latencies + row) * 4 + ops.outcome
        _, first = np.unique(cell, return_index=True)
        if len(first) <= room or times < 16:
            break
        times //= 2
    sample = np.zeros(len(ops), dtype=bool)
    sample[first[: max(room, 0)]] = True
    return sample


def _density(ops: Operations, end_ns: int) -> dict[str, Any]:
    """For each lane and slice: the worst outcome of the operations in it, 0 for none."""
    lanes = np.array(ops.lane_of_process, dtype=np.int64)[ops.process]
    first = ops.begin * SLICES // (end_ns + 1)
    last = np.minimum(ops.closed(end_ns), end_ns) * SLICES // (end_ns + 1)
    worst = np.zeros((len(ops.lane_names), SLICES), dtype=np.uint8)
    for outcome in (OK, OK + 1, OK + 2):
        chosen = ops.outcome == outcome
        edges = np.zeros((len(ops.lane_names), SLICES + 1), dtype=np.int64)
        np.add.at(edges, (lanes[chosen], first[chosen]), 1)
        np.add.at(edges, (lanes[chosen], last[chosen] + 1), -1)
        worst[np.cumsum(edges, axis=1)[:, :SLICES] > 0] = outcome
    return {"slices": SLICES, "blob": _pack(worst.tobytes())}
