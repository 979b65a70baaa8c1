"""What happened: a digest of every event, and a ring of the latest ones for a reader.

The digest is how two runs are compared: same seed, same commit, same digest, whatever process,
machine or hash seed. Every delivered message enters it whole, so that a difference in any byte of
any message is a difference of digests. Events are encoded in batches; the cost is well below a
microsecond an event.

The ring is the story told when an invariant breaks: one line an event, times in milliseconds,
``who -> whom`` and the fields that matter. Used by the world and by directed schedules.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

import msgspec

from cluster import wire

#: Events between two updates of the digest.
BATCH_EVENTS = 512

#: Events remembered for the story.
RING_EVENTS = 2000

Record = tuple[int, str, str, str, Any]


class Story:
    """The record of a run's events."""

    __slots__ = ("_batch", "_encode", "_hash", "_ring", "events")

    def __init__(self) -> None:
        self.events = 0
        self._batch: list[Record] = []
        self._hash = hashlib.sha256()
        self._ring: deque[Record] = deque(maxlen=RING_EVENTS)
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
        self._ring.append(record)
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
        self._batch.clear()

    def recent(self, *, nodes: tuple[str, ...] = (), limit: int = 40) -> list[str]:
        """The latest events as lines, oldest first.

        Args:
            nodes: only events that concern one of these; empty for all.
            limit: how many at most.
        """
        lines: list[str] = []
        for record in reversed(self._ring):
            if nodes and record[2] not in nodes and record[3] not in nodes:
                continue
            lines.append(describe(record))
            if len(lines) == limit:
                break
        return lines[::-1]


def describe(record: Record) -> str:
    """One event as one line."""
    now_ns, kind, node, other, detail = record
    where = f"{other} -> {node}" if kind in ("deliver", "client") else f"{node} {other}".strip()
    return f"{now_ns / 1e6:12.3f} ms  {kind:<9} {where:<10} {say(detail)}".rstrip()


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
            told = f"match {detail.match_index}" if detail.ok else f"no, try {detail.hint_index}"
            return f"AppendReply g{detail.generation} {told}"
        case wire.RequestVote():
            name = "PreVote" if detail.prevote else "RequestVote"
            return f"{name} g{detail.generation} last {detail.last_index}/{detail.last_generation}"
        case wire.VoteReply():
            name = "PreVoteReply" if detail.prevote else "VoteReply"
            return f"{name} g{detail.generation} {'granted' if detail.granted else 'refused'}"
        case wire.Heartbeat() | wire.HeartbeatReply():
            return f"{type(detail).__name__} g{detail.generation} round {detail.round}"
        case wire.Request():
            return f"{say_command(detail.command)} ({detail.session} #{detail.seq})"
        case wire.Response():
            return f"{detail.status} {detail.value!r} at {detail.revision} {detail.error}".rstrip()
        case dict():
            return " ".join(f"{key}={value}" for key, value in detail.items())
    return str(detail)


def say_command(command: wire.Command) -> str:
    """``put x 1``."""
    return " ".join([command.op, command.key, *map(repr, command.args)])


def span(entries: tuple[wire.Entry, ...]) -> str:
    """``[4..6 g2]``: which entries."""
    if not entries:
        return "[]"
    first, last = entries[0], entries[-1]
    where = f"{first.index}" if first is last else f"{first.index}..{last.index}"
    return f"[{where} g{last.generation}]"
