"""Known group: what a node's client knows of one group, and its sessions with it.

Whom to ask: the one who answered or was named last; after one who could not answer, the next member
in turn, wherever redirects have led meanwhile. Sessions: as many as there are writes under way, at
most ``WRITES_MAX``, each used again when its write has its outcome.

Used by ``group_client``; bookkeeping.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from cluster.ports import NodeId

#: Writes under way at once in one group; the others wait here.
WRITES_MAX = 64


class ClientOfGroup:
    """A session of a node with a group; one write is under way in it at a time.

    Args:
        name: unique among all sessions there ever are.
        opened_after: a log index of the group that was known when it began.
    """

    __slots__ = ("name", "opened_after", "seq")

    def __init__(self, name: str, opened_after: int) -> None:
        self.name = name
        self.opened_after = opened_after
        #: the last number used
        self.seq = 0


class KnownGroup:
    """One group.

    Args:
        name: its name.
    """

    __slots__ = (
        "_sessions", "_turn", "free", "generation", "members", "name", "revision", "target",
        "waiting",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: tuple[NodeId, ...] = ()
        #: whom to ask; "" for the member whose turn it is
        self.target: NodeId = ""
        #: the highest that were seen
        self.revision = self.generation = 0
        self._turn = 0
        self._sessions = 0
        #: sessions without a write under way
        self.free: list[ClientOfGroup] = []
        #: tokens of the writes that wait for a session
        self.waiting: deque[int] = deque()

    def learn(self, members: Sequence[NodeId], *, prefer: NodeId) -> None:
        """It has these members; one of them may be preferred."""
        self.members = tuple(members)
        if self.target not in self.members:
            self.target = prefer if prefer in self.members else ""

    def whom(self) -> NodeId:
        """The member to be asked now."""
        if not self.target:
            self.target = self.members[self._turn % len(self.members)]
        return self.target

    def leave(self, node: NodeId, leader: NodeId = "") -> None:
        """A node could not answer: ask the leader that it named from now on, or another member, if
        it is the one that would be asked."""
        if leader and leader != node:
            self.target = leader
        elif self.target == node and leader != node:
            for _ in self.members:
                self._turn = (self._turn + 1) % len(self.members)
                self.target = self.members[self._turn]
                if self.target != node:
                    break

    def session(self, name: Callable[[], str]) -> ClientOfGroup | None:
        """A session for a write; None if too many are under way.

        Args:
            name: gives the name of one that begins.
        """
        if self.free:
            return self.free.pop()
        if self._sessions >= WRITES_MAX:
            return None
        self._sessions += 1
        return ClientOfGroup(name(), self.revision)

    def lost_session(self, revision: int) -> None:
        """The group has forgotten a session that was under way; a later one begins after this."""
        self.revision = max(self.revision, revision)
        self._sessions -= 1
