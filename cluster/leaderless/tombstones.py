"""Tombstones: what was deleted is remembered until no replica can bring it back.

Problem. A deleted key cannot simply be dropped: a replica that missed the deletion still has the
value, and in the next comparison it would seem to be the one that knows more. Remembered for ever,
deletions fill the disk.

Solution. A tombstone is a state without a value. It is forgotten when it is older than a grace
period and every member has said that it holds this very state durably, that it has no request for
the key under way, and that it keeps no hint of it for anybody. Then nothing that is older than the
deletion is left: not on a replica, not with a node that stands in for one, not at a coordinator.
What is on the network is younger than the grace period. A member that is away says nothing, so
tombstones wait for it, however long that takes.

A node whose own dots are in a tombstone that it forgets never uses their numbers again.

Invariants. A tombstone is forgotten only while it is still the state that all were asked about. A
replica that comes back after any time meets the tombstone, or nothing older is anywhere.

What breaks without it. A35d: tombstones are forgotten after the grace period alone, and a replica
that was away for longer brings the deleted value back.

Source: Cassandra's ``gc_grace_seconds`` and its repairs; Joshi, "Version Vector". Used by
``cluster.leaderless.node``.
"""

from __future__ import annotations

from collections.abc import Collection

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.ports import NodeId

#: Tombstones asked about at a time.
ASKED_MAX = 32


class Asked:
    """A tombstone that members were asked about.

    Args:
        digest: of the state.
    """

    __slots__ = ("confirmed", "digest")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.confirmed: dict[NodeId, None] = {}


class Tombstones:
    """The tombstones of one node.

    Args:
        grace_ns: how old a tombstone must be.
    """

    __slots__ = ("_asked", "_grace_ns", "_since_ns", "due_ns", "reaped")

    def __init__(self, *, grace_ns: int) -> None:
        self._grace_ns = grace_ns
        self._since_ns: dict[str, int] = {}
        self._asked: dict[str, Asked] = {}
        #: when tombstones are looked at next
        self.due_ns = NEVER_NS
        #: how many were forgotten
        self.reaped = 0

    def __len__(self) -> int:
        return len(self._since_ns)

    def may_reap(self, confirmed: Collection[NodeId], members: Collection[NodeId]) -> bool:
        """Decision: whether a tombstone older than the grace period may be forgotten.

        Args:
            confirmed: members that hold it, and nothing older.
            members: all members.
        """
        return all(member in confirmed for member in members)

    def changed(self, now_ns: int, key: str, *, is_tombstone: bool) -> None:
        """A key's state is another one: its time begins anew."""
        self._asked.pop(key, None)
        self._since_ns.pop(key, None)
        if is_tombstone:
            self._since_ns[key] = now_ns
            self.due_ns = min(self.due_ns, now_ns + self._grace_ns)

    def to_ask(self, now_ns: int) -> list[str]:
        """The tombstones that members are to be asked about now."""
        if now_ns < self.due_ns:
            return []
        old = [key for key, since in self._since_ns.items() if since + self._grace_ns <= now_ns]
        self.due_ns = NEVER_NS
        if self._since_ns:
            oldest_ns = min(self._since_ns.values()) + self._grace_ns
            self.due_ns = max(now_ns + self._grace_ns // 2, oldest_ns)
        return old[:ASKED_MAX]

    def ask(self, key: str, digest: bytes) -> None:
        """Members are asked about a tombstone."""
        self._asked[key] = Asked(digest)

    def confirm(self, key: str, digest: bytes, source: NodeId, members: Collection[NodeId]) -> bool:
        """A member holds it, and nothing older; whether the tombstone may be forgotten now.

        Args:
            key: of the tombstone.
            digest: of the state that the member holds.
            source: the member.
            members: all of them; who is asked under one ring answers under that one.
        """
        asked = self._asked.get(key)
        if asked is None or asked.digest != digest:
            return False
        asked.confirmed[source] = None
        return self.may_reap(asked.confirmed, members)

    def ask_anew(self) -> None:
        """The members are others: what was confirmed counts no more."""
        self._asked.clear()

    def reap(self, key: str) -> None:
        """It is forgotten."""
        self._asked.pop(key, None)
        self._since_ns.pop(key, None)
        self.reaped += 1
