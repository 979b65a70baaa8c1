"""Handover: members that gain keys fetch them before the ring counts on them.

Problem. When members change, some keys get a replica that has nothing of them. If it counted at
once, a quorum could consist of it and of a replica that missed a write, and the write would be
lost though it was acknowledged.

Solution. In a joint ring (:mod:`cluster.leaderless.ring_changes`) each member that gains keys asks
each member before for what it holds of them, page by page in order of key, and merges it. It is
done when all of them have sent everything, or all but fewer than a quorum, of which none seems to
live. Then it says so to all, once everything is durable, in each round until the ring is settled.

After a settled ring, a node may hold keys that it is no replica of any more. It sends each of
them to its replicas once more, and forgets it when a write quorum said that it has it durably. A
node that forgets keys takes another name for its writes (``ActorIds``): under the old one, a later
write of such a key would seem to have seen, and replaced, what the node forgot.

Invariants. A page is sent under the number of the joint ring, so its sender takes no message of an
earlier ring any more. A key is forgotten only when a write quorum of its replicas has it.

What breaks without it. A52e: the ring counts on who has no keys yet. A35e: a node that gave keys
away writes on under its old name.

Source: DeCandia et al., "Dynamo" (2007), 4.9; Lynch and Shvartsman, "RAMBO" (2002). Used by
:mod:`cluster.leaderless.ring_member`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cluster.leaderless.ring import Ring
from cluster.ports import NodeId

#: Keys of a page, and bytes of their states beyond which it ends.
PAGE_KEYS, PAGE_BYTES = 64, 256 * 1024
#: Keys that are being given away at a time.
AWAY_MAX = 64


def may_miss(ring: Ring, *, replicas: int, read_quorum: int, write_quorum: int) -> int:
    """How many members before need not have sent: without them no quorum of them is left.

    Args:
        ring: a joint one.
        replicas, read_quorum, write_quorum: as configured.
    """
    count = min(replicas, len(ring.view.before))
    return min(read_quorum, write_quorum, count) - 1


class Fetching:
    """What a member gains by one change, from whom it has it, and from whom not.

    Args:
        ring: the joint ring.
        node: this member.
        may_miss: how many members before may be left out if they are away.
    """

    __slots__ = ("_may_miss", "cursors", "ring")

    def __init__(self, ring: Ring, node: NodeId, *, may_miss: int) -> None:
        gains = ring.joint and node in ring.gainers()
        sources = [each for each in ring.view.before if each != node] if gains else []
        #: member that has not sent everything -> the last key it sent
        self.cursors: dict[NodeId, str] = dict.fromkeys(sources, "")
        self._may_miss = may_miss
        self.ring = ring

    def is_next(self, source: NodeId, after: str) -> bool:
        """Whether a page is the one that was asked for."""
        return self.cursors.get(source) == after

    def arrived(self, source: NodeId, keys: Sequence[str], *, last: bool) -> None:
        """A page was merged."""
        if last:
            del self.cursors[source]
        else:
            assert keys and keys[-1] > self.cursors[source], "pages go on in order of key"
            self.cursors[source] = keys[-1]

    def has_all(self, alive: Callable[[NodeId], bool]) -> bool:
        """Whether everything that is needed is here."""
        left = list(self.cursors)
        return len(left) <= self._may_miss and not any(map(alive, left))


def page_for(
    node: NodeId, ring: Ring, keys: Iterable[str], after: str, size: Callable[[str], int]
) -> tuple[list[str], bool]:
    """The next keys for a member that gains keys, and whether they are the last.

    Args:
        node: the member.
        ring: the joint ring.
        keys: all that this node holds, in order.
        after: the last one that the member has.
        size: of a key's state.
    """
    page: list[str] = []
    room = PAGE_BYTES
    for key in keys:
        if key <= after or not ring.gains(key, node):
            continue
        if page and (len(page) >= PAGE_KEYS or room <= 0):
            return page, False
        page.append(key)
        room -= size(key)
    return page, True


class GivingAway:
    """The keys that a node holds and is no replica of: sent to their replicas, then forgotten."""

    __slots__ = ("_asked", "_have")

    def __init__(self) -> None:
        #: id -> (key, replica) of what was sent
        self._asked: dict[int, tuple[str, NodeId]] = {}
        #: key -> replicas that have it
        self._have: dict[str, dict[NodeId, None]] = {}

    def clear(self) -> None:
        """The ring is another: begin again."""
        self._asked.clear()
        self._have.clear()

    def ask(
        self, keys: Sequence[str], ring: Ring, next_id: Callable[[], int]
    ) -> list[tuple[int, str, NodeId]]:
        """(id, key, to whom) of what is to be sent now, again if it was not answered."""
        self._asked.clear()
        for key in keys[:AWAY_MAX]:
            for node in ring.replicas(key):
                if node not in self._have.setdefault(key, {}):
                    self._asked[next_id()] = (key, node)
        return [(id, key, node) for id, (key, node) in self._asked.items()]

    def arrived(self, id: int) -> str:
        """A replica has merged a key; the key, "" if it was none of these."""
        key, node = self._asked.pop(id, ("", ""))
        if key in self._have:  # it may be forgotten since
            self._have[key][node] = None
        return key

    def have(self, key: str) -> Sequence[NodeId]:
        """The replicas that are known to have a key."""
        return tuple(self._have.get(key, ()))

    def forgotten(self, key: str) -> None:
        """The key is forgotten here."""
        self._have.pop(key, None)
