"""The nodes' logs: tails, lines around findings, panics, and events such as elections.

Logs are large and a report is one file, so a report carries the lines around each finding (two
seconds either side), lines that look like a crash, and the last lines of each log; the rest stays
in the run directory and is linked. Lines are found by the time they carry: a JSON field or a
leading ISO time, put on the run's clock by the history's ``started``. A log without readable times
gives its tail only, and the report says so.

For :mod:`reports.page`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from checkers.core.regular_files import open_regular, read_regular
from reports.svg.window import Lead
from reports.wording import one_line, seconds

AROUND_NS = 2_000_000_000
TAIL_LINES = 40
AROUND_LINES_MAX = 120
PINNED_MAX = 12
LINE_CHARS_MAX = 400
#: Longer logs are read from their end: so many bytes are enough for a run of minutes.
LOG_BYTES_MAX = 64 << 20
#: A cut first line of such an end is passed over, if it is no longer than this.
LINE_BYTES_MAX = 1 << 20
EVENTS_MAX = 2000
#: A number of ns below this counts from the run's start, not from 1970.
EPOCH_NS_MIN = 10**17

#: Times that are no times: of a line that has none, and of one older than the run.
UNKNOWN_NS = -1
BEFORE_NS = -2

_ALARM = re.compile(
    rb"panic|fatal|traceback|segfault|assertion|corrupt|out of memory|invariant", re.IGNORECASE
)
_ISO = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?")
_ROLES = {
    "leader-elected": "leader",
    "became-leader": "leader",
    "campaigning": "candidate",
    "stepped-down": "follower",
    "lost-quorum": "follower",
}
#: Events of a log that are no news of the node's part in the system.
_CHATTER = frozenset({"peer-connected", "peer-lost", "heartbeat", "connection-refused"})
_TIME_FIELDS = ("t_ns", "t", "time_ns", "ts", "time", "timestamp")


@dataclass
class Line:
    """One log line: its time on the run's clock (or -1) and its text."""

    time_ns: int
    text: str

    @property
    def moment(self) -> str:
        """The time as text, empty if unknown."""
        return "" if self.time_ns == UNKNOWN_NS else when(self.time_ns)


@dataclass
class Node:
    """One node's part of a report.

    Args:
        name: the node.
        link: its log, relative to the report; empty if there is none.
        size: bytes of the log.
        tail: the last lines.
        pinned: lines that look like a crash.
        around: per finding anchor, the lines about it.
        events: what is known to have happened, in order.
        timed: whether any line carried a readable time.
        cut: how many lines around findings were left out.
    """

    name: str
    link: str = ""
    size: int = 0
    tail: list[Line] = field(default_factory=list)
    pinned: list[Line] = field(default_factory=list)
    around: dict[str, list[Line]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    timed: bool = False
    cut: int = 0


def read_nodes(
    run_dir: Path, names: Sequence[str], started: Any, spans: Sequence[tuple[str, int, int]]
) -> list[Node]:
    """Read the nodes' folders of a run directory.

    Args:
        run_dir: the run directory.
        names: nodes that should be there, in order; others found are added.
        started: the run's start, an ISO time, or None.
        spans: (anchor, begin_ns, end_ns) of the findings.
    """
    folder = run_dir / "nodes"
    try:
        with os.scandir(folder) as entries:
            found = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        found = []
    order = list(dict.fromkeys([name for name in map(str, names) if name in found] + found))
    zero_ns = epoch_ns(started)
    return [_read_node(run_dir, name, zero_ns, spans) for name in order]


def leads(read: Sequence[Node]) -> list[Lead]:
    """When each node took itself for the leader, as its events tell it."""
    found = []
    for node in read:
        since: dict[str, Any] | None = None
        for event in node.events:
            if event["role"] == "leader" and event["t"] >= 0:
                since = since or event
            elif event["role"] and since is not None:
                found.append(Lead(node.name, since["t"], event["t"], _generation(since)))
                since = None
        if since is not None:
            found.append(Lead(node.name, since["t"], 1 << 62, _generation(since)))
    return found


def _generation(event: dict[str, Any]) -> str:
    generation = re.search(r"\bgeneration (\w+)", event["text"])
    return generation[1] if generation else ""


def epoch_ns(moment: Any) -> int | None:
    """An ISO time or a number of seconds, ms, µs or ns since 1970, as ns; None if it is neither."""
    if isinstance(moment, str):
        try:
            parsed = datetime.fromisoformat(moment.replace(",", "."))
        except ValueError:
            return None
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        whole = int(aware.replace(microsecond=0).timestamp())
        return whole * 10**9 + aware.microsecond * 1000
    if isinstance(moment, bool) or not isinstance(moment, (int, float)):
        return None
    for limit, unit in ((1e11, 10**9), (1e14, 10**6), (1e17, 1000)):
        if 1e8 < moment < limit:
            return int(moment * unit)
    return int(moment) if moment >= 1e17 else None


def _read_node(
    run_dir: Path, name: str, zero_ns: int | None, spans: Sequence[tuple[str, int, int]]
) -> Node:
    node = Node(name=one_line(name, limit=60))
    path = run_dir / "nodes" / name
    try:
        node.events = _events(_event_lines(path / "events.jsonl", run_dir), zero_ns)
        node.size, lines = _log_lines(path / "log", run_dir)
    except OSError:
        return node
    node.link = f"nodes/{quote(name)}/log"
    node.events = node.events or _events(lines, zero_ns)
    moments = [line_time(line, zero_ns) for line in lines]
    node.timed = any(moment >= 0 for moment in moments)
    node.tail = [_line(m, line) for m, line in zip(moments[-TAIL_LINES:], lines[-TAIL_LINES:])]
    for moment, line in zip(moments, lines):
        if len(node.pinned) < PINNED_MAX and _ALARM.search(line):
            node.pinned.append(_line(moment, line))
    for anchor, begin, end in spans:
        near = [
            (moment, line)
            for moment, line in zip(moments, lines)
            if begin >= 0 and moment >= 0 and begin - AROUND_NS <= moment <= end + AROUND_NS
        ]
        middle = (begin + end) / 2
        near = sorted(near, key=lambda entry: abs(entry[0] - middle))[:AROUND_LINES_MAX]
        near.sort(key=lambda entry: entry[0])
        if near:
            node.around[anchor] = [_line(moment, line) for moment, line in near]
    return node


def _line(moment: int, line: bytes) -> Line:
    return Line(moment, one_line(line.decode("utf-8", "replace"), limit=LINE_CHARS_MAX))


def _log_lines(path: Path, run_dir: Path) -> tuple[int, list[bytes]]:
    """A log's size and its lines, of a long one those at its end."""
    with open_regular(path, below=run_dir) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LOG_BYTES_MAX:
            file.seek(size - LOG_BYTES_MAX)
            file.readline(LINE_BYTES_MAX)
        return size, file.read(LOG_BYTES_MAX).splitlines()


def when(time_ns: int) -> str:
    """A time on the run's clock as text."""
    return {UNKNOWN_NS: "unknown", BEFORE_NS: "before"}.get(time_ns) or seconds(time_ns)


def _since(moment: int, zero_ns: int) -> int:
    return moment - zero_ns if moment >= zero_ns else BEFORE_NS


def line_time(line: bytes, zero_ns: int | None) -> int:
    """A log line's time on the run's clock, or -1."""
    if line[:1] == b"{":
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            record = None
        if isinstance(record, dict):
            return _record_time(record, zero_ns)
    found = _ISO.search(line[:80])
    if found is None or zero_ns is None:
        return -1
    moment = epoch_ns(found.group().decode())
    return UNKNOWN_NS if moment is None else _since(moment, zero_ns)


def _record_time(record: dict[str, Any], zero_ns: int | None) -> int:
    for name in _TIME_FIELDS:
        value = record.get(name)
        if name in ("t_ns", "t", "time_ns") and isinstance(value, int) and value < EPOCH_NS_MIN:
            return value if value >= 0 else BEFORE_NS
        moment = epoch_ns(value)
        if moment is not None and zero_ns is not None:
            return _since(moment, zero_ns)
    return -1


def _event_lines(path: Path, run_dir: Path) -> list[bytes]:
    try:
        return read_regular(path, limit=LOG_BYTES_MAX, below=run_dir).splitlines()
    except OSError:
        return []


def _events(lines: Sequence[bytes], zero_ns: int | None) -> list[dict[str, Any]]:
    """JSON lines with an ``event``, as ``{t, event, role, text}``, ordered by time."""
    events: list[dict[str, Any]] = []
    for line in lines:
        if line[:1] != b"{" or len(events) >= EVENTS_MAX:
            continue
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        known = isinstance(record, dict) and isinstance(record.get("event"), str)
        if known and record["event"] not in _CHATTER:
            events.append(_event(record, zero_ns))
    return sorted(events, key=lambda event: event["t"])


def _event(record: dict[str, Any], zero_ns: int | None) -> dict[str, Any]:
    skipped = {*_TIME_FIELDS, "event", "role", "node"}
    rest = ", ".join(f"{k} {one_line(v, limit=40)}" for k, v in record.items() if k not in skipped)
    role = record.get("role") or _ROLES.get(record["event"])
    return {
        "t": _record_time(record, zero_ns),
        "event": one_line(record["event"], limit=40),
        "role": one_line(role, limit=20) if role else "",
        "text": one_line(rest, limit=200),
    }
