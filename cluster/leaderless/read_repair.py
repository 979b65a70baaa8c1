"""Read Repair: who reads finds out who is behind, and brings them up to date.

Problem. A write that reached its quorum, or only a part of it, is missing on other replicas. A read
that meets it once and misses it the next time goes back in time, although each read asked a quorum.

Solution. A read merges what a quorum holds. Before its answer leaves, the merged state is durable
on a write quorum: where the replicas asked did not all have it, it is written back first (Attiya,
Bar-Noy and Dolev's second phase). Any later quorum read meets it. Replicas that answer too late to
be waited for are compared too, and are sent what they lack without anybody waiting for that.

Invariants. A quorum read's answer is contained in that of every quorum read which begins after it
was given. A repair is a merge, so a late one does no harm.

What breaks without it. A11d: a read answers before it writes back, and the next one, which asks
other replicas, misses what the first one told.

Source: Attiya, Bar-Noy and Dolev, "Sharing Memory Robustly in Message-Passing Systems" (1995);
Dynamo (2007). Pure bookkeeping, used by ``cluster.leaderless.quorum_store``.
"""

from __future__ import annotations

from cluster.clocks.version_vector import KeyState
from cluster.ports import NodeId

#: Reads whose late answers are waited for.
LATE_MAX = 256


class ReadRepair:
    """Decides about write-back, and remembers reads whose late answers may show who is behind."""

    __slots__ = ("_late", "repaired")

    def __init__(self) -> None:
        #: read -> (its key, what it found, replicas that have not answered)
        self._late: dict[int, tuple[str, KeyState, set[NodeId]]] = {}
        #: replicas that were brought up to date
        self.repaired = 0

    def must_write_back(self, *, have: int, quorum: int) -> bool:
        """Decision: whether an answer waits until a write quorum has it.

        Args:
            have: replicas known to have it durably.
            quorum: how many make a write quorum.
        """
        return have < quorum

    def expect(self, read: int, key: str, found: KeyState, silent: set[NodeId]) -> None:
        """A read is answered; some replicas were not heard."""
        if silent:
            self._late[read] = (key, found, silent)
            while len(self._late) > LATE_MAX:
                del self._late[next(iter(self._late))]

    def late(self, read: int, source: NodeId) -> tuple[str, KeyState] | None:
        """A late answer came from a replica: what it should have; None if it was not waited for."""
        held = self._late.get(read)
        if held is None or source not in held[2]:
            return None
        held[2].remove(source)
        if not held[2]:
            del self._late[read]
        return held[0], held[1]
