"""Room on the disk: a node whose disk is full takes no entries, and serves what it has.

Problem: a log for which there is no room stops, and what is queued behind it stops too: votes, and
the entry with which a new leader begins. Solution: entries are refused before that. As long as the
disk could not hold one more segment, what is left of the present one is kept for what is under way
and for control records, so that elections go on and reads are served.

- A client's write is refused with ``retry`` before it reaches the core: it did not happen.
- A leader's commands are dropped like messages that were lost, and it sends them again.
- A leader whose disk is full hands leadership over, once: others may have room. If none has, it
  ends with the last one that was asked, and reads are served.

Used by ``inlet``; runs in the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.client.session import UNNUMBERED
from cluster.runtime.disk import FileDisk
from cluster.wire import AppendEntries, Command, InstallSnapshot, Message, Request

#: How long an answer of the file system is believed.
ASK_EVERY_S = 0.1
#: Room there must be beside a segment.
SPARE_BYTES = 256 * 1024
#: How long a leader's disk is full before it hands over.
HAND_OVER_S = 1.0
#: The connection of requests that the node itself makes: nobody is answered.
NOBODY = 0


class Room:
    """Watches the disk of one node.

    Args:
        disk: the disk.
        segment_bytes: size of a segment.
        changed: called with whether the disk is full, when that changes.
        now_s: a clock, in seconds.
    """

    def __init__(
        self,
        disk: FileDisk,
        *,
        segment_bytes: int,
        changed: Callable[[bool], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.full = False
        self._disk = disk
        self._wanted_bytes = segment_bytes + SPARE_BYTES
        self._changed = changed
        self._now_s = now_s
        self._asked_s = self._full_since_s = float("-inf")
        self._handed_over = False

    def look(self) -> bool:
        """Whether the disk is full, as of a moment ago."""
        now_s = self._now_s()
        if now_s - self._asked_s < ASK_EVERY_S:
            return self.full
        self._asked_s = now_s
        full = not self._disk.has_room(self._wanted_bytes)
        if full != self.full:
            self.full, self._full_since_s, self._handed_over = full, now_s, False
            self._changed(full)
        return full

    def refuses_request(self, request: Request) -> bool:
        """Whether a client's request would need room that is not there."""
        return request.command.op not in UNNUMBERED and self._feels()

    def drops(self, message: Message) -> bool:
        """Whether a peer's message would need room that is not there."""
        kind = type(message)
        if kind is AppendEntries:
            entries = message.entries  # type: ignore[union-attr]
            full = bool(entries) and self.look()
            return full and any(each.kind == "command" for each in entries) and self._feels()
        return kind is InstallSnapshot and self._feels()

    def hand_over(self) -> Request | None:
        """The request that lets another lead, if it is time for a leader to make it."""
        late = self.look() and self._now_s() - self._full_since_s > HAND_OVER_S
        if not late or self._handed_over:
            return None
        self._handed_over = True
        return Request(0, "", 0, 0, Command("transfer", ""))

    def _feels(self) -> bool:
        if self.look():
            self._disk.faults.felt_full()
        return self.full
