"""The trace of a run: a digest of every event, and a ring of the latest ones for a reader.

The digest is how two runs are compared: same seed, same commit, same digest, whatever process,
machine or hash seed. Every delivered message enters it whole, so that a difference in any byte of
any message is a difference of digests. Events are encoded in batches; the cost is well below a
microsecond an event.

The ring is the trace shown when an invariant breaks: what the nodes concerned did last, and before
it the turning points of the run (a crash, a start, a new leader), which often explain more than the
last messages do. Ticks and heartbeats are left out where there is anything else to tell. Used by
the world and by directed schedules.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

import msgspec

from cluster import wire

#: Events between two updates of the digest.
BATCH_EVENTS = 512

#: Events remembered for the trace, and turning points, which are remembered for longer.
RING_EVENTS = 2000
TURNS = 200

#: Turning points shown beside the latest events.
TURNS_TOLD = 10

#: Kinds of events of which there are few, and which change what comes after.
TURNING = frozenset(("start", "down", "wipe", "pause", "resume", "clock", "disk", "note"))

Record = tuple[int, str, str, str, Any]


class TraceEvent(NamedTuple):
    """One event of a trace; ``str()`` gives its line.

    Attributes:
        time_ns: virtual time.
        kind: as :meth:`Trace.add` has it.
        source, target: who sent it to whom; ``source`` is empty where one party did it alone.
        words: the fields that matter.
    """

    time_ns: int
    kind: str
    source: str
    target: str
    words: str

    def __str__(self) -> str:
        where = f"{self.source} -> {self.target}" if self.source else self.target
        return f"{self.time_ns / 1e6:12.3f} ms  {self.kind:<9} {where:<10} {self.words}".rstrip()


class Trace:
    """The record of a run's events."""

    __slots__ = ("_batch", "_encode", "_hash", "_ring", "_turns", "events")

    def __init__(self) -> None:
        self.events = 0
        self._batch: list[Record] = []
        self._hash = hashlib.sha256()
        self._ring: deque[Record] = deque(maxlen=RING_EVENTS)
        self._turns: deque[Record] = deque(maxlen=TURNS)
        self._encode = msgspec.msgpack.Encoder().encode

    def add(self, now_ns: int, kind: str, node: str, other: str = "", detail: Any = None) -> None:
        """Something happened.

        Args:
            now_ns: virtual time.
            kind: a word: ``deliver tick persisted client crash restart note`` and so on.
            node: where.
            other: the other party, if there is one.
            detail: the message, or anything msgpack can encode.
        """
        record = (now_ns, kind, node, other, detail)
        if kind in TURNING:
            self._turns.append(record)
        batch = self._batch
        batch.append(record)
        if len(batch) == BATCH_EVENTS:
            self._flush()

    def digest(self) -> str:
        """Hex digest of everything so far."""
        self._flush()
        return self._hash.copy().hexdigest()

    def _flush(self) -> None:
        self.events += len(self._batch)
        self._hash.update(self._encode(self._batch))
        self._ring.extend(self._batch)
        self._batch.clear()

    def recent(self, *, nodes: tuple[str, ...] = (), limit: int = 40) -> list[TraceEvent]:
        """The latest events, oldest first, after the latest turning points before them.

        Args:
            nodes: only events that concern one of these; empty for all.
            limit: how many at most, turning points included.
        """
        latest_first = chain(reversed(self._batch), reversed(self._ring))
        concerned = list(_concerning(islice(latest_first, RING_EVENTS), nodes))
        latest = [record for record in concerned if not _is_routine(record)] or concerned
        latest = latest[: max(1, limit - TURNS_TOLD)]
        since_ns = latest[-1][0] if latest else 0
        turns = [t for t in _concerning(reversed(self._turns), nodes) if t[0] < since_ns]
        return [tell(record) for record in reversed(latest + turns[: limit - len(latest)])]


def _concerning(records: Iterable[Record], nodes: tuple[str, ...]) -> Iterator[Record]:
    return (each for each in records if not nodes or each[2] in nodes or each[3] in nodes)


_ROUTINE = (wire.Heartbeat, wire.HeartbeatReply, wire.Ping, wire.PingAck)


def _is_routine(record: Record) -> bool:
    """Whether it happens all the time, in every run."""
    return record[1] == "tick" or isinstance(record[4], _ROUTINE)


def tell(record: Record) -> TraceEvent:
    """One event for a reader."""
    now_ns, kind, node, other, detail = record
    if kind in ("deliver", "client", "reply"):
        return TraceEvent(now_ns, kind, other, node, say(detail))
    return TraceEvent(now_ns, kind, "", node, f"{other} {say(detail)}".strip())


def say(detail: Any) -> str:
    """A message in few words: its name and the fields that matter."""
    match detail:
        case None:
            return ""
        case wire.AppendEntries():
            tail = f"{detail.prev_index}/{detail.prev_generation}"
            return (
                f"AppendEntries g{detail.generation} after {tail} "
                f"{span(detail.entries)} hwm {detail.high_water_mark}"
            )
        case wire.AppendReply():
            outcome = f"match {detail.match_index}" if detail.ok else f"no, try {detail.hint_index}"
            return f"AppendReply g{detail.generation} {outcome}"
        case wire.StartView() | wire.NewState():
            return (
                f"{type(detail).__name__} g{detail.generation} after {detail.prev_index} "
                f"{span(detail.entries)} hwm {detail.high_water_mark}"
            )
        case wire.RequestVote():
            name = "PreVote" if detail.prevote else "RequestVote"
            return f"{name} g{detail.generation} last {detail.last_index}/{detail.last_generation}"
        case wire.VoteReply():
            name = "PreVoteReply" if detail.prevote else "VoteReply"
            return f"{name} g{detail.generation} {'granted' if detail.granted else 'refused'}"
        case wire.Prepare():
            name = "Probe" if detail.probe else "Prepare"
            return f"{name} b{detail.generation} from {detail.first}"
        case wire.Promise():
            name = "ProbeReply" if detail.probe else "Promise"
            outcome = "granted" if detail.granted else "refused"
            return f"{name} b{detail.asked} {outcome} {span(detail.accepted)} end {detail.end}"
        case wire.Accept():
            where = f"{span(detail.entries)} from {detail.first}"
            return f"Accept b{detail.generation} {where} hwm {detail.high_water_mark}"
        case wire.Accepted():
            where = f"{detail.first}..{detail.last} agreed {detail.agreed} end {detail.end}"
            return f"Accepted b{detail.generation} {where}"
        case wire.Heartbeat() | wire.HeartbeatReply():
            return f"{type(detail).__name__} g{detail.generation} round {detail.round}"
        case wire.RegisterMessage():
            name, ballot = type(detail).__name__, say_ballot(detail.ballot)
            above = getattr(detail, "accepted", None) or getattr(detail, "promised", None)
            return f"{name} {detail.key} {ballot}{f' over {say_ballot(above)}' if above else ''}"
        case wire.Request():
            return f"{say_command(detail.command)} ({detail.session} #{detail.seq})"
        case wire.Response():
            return f"{detail.status} {detail.value!r} at {detail.revision} {detail.error}".rstrip()
        case dict():
            return " ".join(f"{key}={value}" for key, value in detail.items())
    return str(detail)


def say_ballot(ballot: wire.Ballot) -> str:
    """``3/n2``, or ``none``."""
    return "none" if ballot == wire.Ballot() else f"{ballot.round}/{ballot.node}"


def say_command(command: wire.Command) -> str:
    """``put x 1``."""
    return " ".join([command.op, command.key, *map(repr, command.args)])


def span(entries: tuple[wire.Entry, ...]) -> str:
    """``[4..6 g2]``: which entries."""
    if not entries:
        return "[]"
    first, last = entries[0], entries[-1]
    if first is last and first.kind == "hole":
        return f"[{first.index} hole]"
    where = f"{first.index}" if first is last else f"{first.index}..{last.index}"
    return f"[{where} g{last.generation}]"


def say_entry(entry: wire.Entry) -> str:
    """The content of a log entry: ``put x 1``, ``noop``."""
    if entry.kind != "command":
        return entry.kind
    try:
        logged = msgspec.msgpack.decode(entry.data, type=wire.LoggedCommand)
    except msgspec.MsgspecError:
        return f"{len(entry.data)} bytes that are no command"
    return f"{say_command(logged.command)} of {logged.session}"
