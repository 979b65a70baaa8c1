"""Room on the disk: a node whose disk is full takes no entries, and serves what it has.

Problem: a log for which there is no room stops, and what is queued behind it stops too: votes, and
the entry with which a new leader begins. Solution: entries are refused before that. As long as the
disk could not hold one more segment, what is left of the present one is kept for what is under way
and for control records, so that elections go on and reads are served.

- A client's write is refused with ``retry`` before it reaches the core: it did not happen.
- A leader's commands are dropped like messages that were lost, and it sends them again; so is what
  a proposer of role ``paxos`` asks of an acceptor, and a state for a replica of role
  ``leaderless``. Each node of these roles writes for reads too, and refuses them with the writes.
- A leader whose disk is full hands leadership over, once: others may have room. If none has, it
  ends with the last one that was asked, and reads are served. A node of role ``data`` hands over
  every group that it leads.
- What another node of role ``data`` asks a group for, and needs room, is dropped like a message
  that was lost: it asks again, another member of the group.

What is written all the same and finds no room for a file waits in its place in the queue, and is
tried again every ``TRY_AGAIN_S``; writes before it become durable meanwhile.

Sans-IO: the disk says whether it has room, and the clock is an argument. Run by ``runtime.inlet``
and by the simulated node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cluster.client.session import UNNUMBERED
from cluster.consensus.leader_and_followers import LEADER
from cluster.core.paxos_register import PEER
from cluster.ports import Core
from cluster.wire import (
    Accept,
    AppendEntries,
    Command,
    Grouped,
    GroupRequest,
    InstallSnapshot,
    Message,
    NewState,
    RegisterAccept,
    RegisterPrepare,
    Request,
    Response,
    VersionsWrite,
)

#: How long an answer of the file system is believed.
ASK_EVERY_S = 0.1
#: Room there must be beside a segment.
SPARE_BYTES = 256 * 1024
#: How often a write is tried again for which there was no room.
TRY_AGAIN_S = 0.1
#: How often a leader looks whether it must hand over.
WATCH_S = 0.25
#: How long a leader's disk is full before it hands over.
HAND_OVER_S = 1.0
#: The connection of requests that the node itself makes: there is no client to answer.
NOBODY = 0

_NEEDS_ROOM = frozenset({InstallSnapshot, RegisterPrepare, RegisterAccept, VersionsWrite})
_HAS_ENTRIES = frozenset({AppendEntries, Accept, NewState})
#: all others, heartbeats above all, are looked at no further
_MAY_NEED_ROOM = _NEEDS_ROOM | _HAS_ENTRIES | {GroupRequest}


class RoomyDisk(Protocol):
    """The interface of a disk."""

    def has_room(self, size_bytes: int) -> bool:
        """Whether a file of this size could be created now."""

    def felt_full(self) -> None:
        """Something was refused for want of room: evidence that the fault bit."""


class Room:
    """Watches the disk of one life of a node.

    Args:
        disk: the disk.
        core: the core that takes entries, or not.
        node: the node's id.
        segment_bytes: size of a segment.
        changed: called with whether the disk is full, when that changes.
        now_s: a clock, in seconds.
    """

    def __init__(
        self,
        disk: RoomyDisk,
        core: Core,
        *,
        node: str,
        segment_bytes: int,
        changed: Callable[[bool], None],
        now_s: Callable[[], float],
    ) -> None:
        self.full = False
        self._disk = disk
        self._core = core
        self._node = node
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

    def refusal(self, request: Request) -> Response | None:
        """The answer to a client whose request needs room that is not there; None if it is."""
        if not self.look():
            return None
        role = self._role()
        if role != PEER and (role != LEADER or request.command.op in UNNUMBERED):
            return None
        self._disk.felt_full()
        error = f"the disk of {self._node} is full: it takes no entries"
        leader = self._node if role == LEADER else ""
        return Response(request.id, "retry", leader=leader, error=error)

    def drops(self, message: Message) -> bool:
        """Whether a peer's message would need room that is not there."""
        if type(message) is Grouped:
            message = message.message
        kind = type(message)
        if kind not in _MAY_NEED_ROOM:
            return False
        if kind is GroupRequest:
            needs_room = message.request.seq > 0  # type: ignore[union-attr]
            return needs_room and self._feels()
        if kind in _HAS_ENTRIES:
            entries = message.entries  # type: ignore[union-attr]
            full = bool(entries) and self.look()
            return full and any(each.kind == "command" for each in entries) and self._feels()
        return self._feels()

    def hand_over(self) -> Request | None:
        """The request that lets another lead, if it is time for a leader to make it."""
        late = self.look() and self._now_s() - self._full_since_s > HAND_OVER_S
        if not late or self._handed_over or not self._leads():
            return None
        self._handed_over = True
        return Request(0, "", 0, 0, Command("transfer", ""))

    def _feels(self) -> bool:
        if self.look():
            self._disk.felt_full()
        return self.full

    def _leads(self) -> bool:
        """Whether the node leads; of role ``data``, whether it leads any group."""
        return self._role() == LEADER or bool(self._core.status().get("leads"))

    def _role(self) -> str:
        return str(self._core.status().get("role"))
