"""Zab, phase 2, synchronisation: a quorum has the leader's history before anything is added to it.

Problem. Followers stand at different places, and some have entries that the leader never had. An
epoch whose entries are mixed with such leftovers is no longer one order.

Solution. The leader's log at the end of discovery is the epoch's history. Each follower is brought
in line with it, from where its log (by the last zxid it reported) agrees:

    DIFF  it lacks the end of the history: entries are sent (AppendEntries)
    TRUNC its end is not in the history: it cuts its log there, if it still ends so, and tells again
          where it ends
    SNAP  what it lacks, or where it agrees, is gone from the leader's log: a snapshot is sent

Then the leader asks it to adopt the history (NEWLEADER). The follower makes its current epoch the
new one, durably, after the history, and acknowledges. When a quorum has adopted it, the whole
history is committed, the leader is established, and its followers may serve (UPTODATE). A follower
that comes later goes the same way, up to the same place: it gets entries of the new epoch only once
it has adopted the history.

Invariants. The leader creates no entry of its epoch before it is established. A follower has no
entry of an epoch before that epoch is its current one. The current epoch is never above the
accepted one. It is durable before the acknowledgement leaves, and the history before it.

What breaks without it. A67a: a leader that serves before a quorum has adopted the history shows
entries which its successor does not have. A67d: a current epoch that a restart forgets lets an
older history win. A67f: without TRUNC, leftovers count as copies of the history. A67h: entries of
the epoch on a node that has not adopted it are committed, and lose the next election.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4, phase 2. Used by ``zab_leading`` and ``zab_following``.
"""

from __future__ import annotations

from typing import Final

from cluster.consensus.membership import Configuration, agreed_vote
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.ports import NodeId

#: How a follower is brought in line.
DIFF: Final = "DIFF"
TRUNC: Final = "TRUNC"
SNAP: Final = "SNAP"


class Synchronisation:
    """The leader's side: the history, and how far each follower is.

    Args:
        log: the leader's, at the end of discovery.
    """

    __slots__ = ("adopted", "announced", "established", "history", "truncations")

    def __init__(self, log: ReplicatedLog) -> None:
        #: (generation, index) of the last entry of the history
        self.history = log.last_generation, log.last_index
        #: followers that must cut their logs: to a (generation, index), from one at the end
        self.truncations: dict[NodeId, tuple[int, int, int, int]] = {}
        #: followers that were asked to adopt the history
        self.announced: set[NodeId] = set()
        #: those that have adopted it, durably; the leader itself among them
        self.adopted: dict[NodeId, bool] = {}
        self.established = False

    @property
    def index(self) -> int:
        """Index of the last entry of the history."""
        return self.history[1]

    # -- decisions ---------------------------------------------------------------------------------

    def may_establish(self, electorate: Configuration) -> bool:
        """Decision: whether the history is committed and the leader may serve."""
        return agreed_vote(electorate, self.adopted) is True

    def way(self, log: ReplicatedLog, generation: int, index: int) -> str:
        """Decision: how a follower whose last entry is (generation, index) is brought in line."""
        if log.generation_at(index) == generation:
            return DIFF
        return TRUNC if index > log.base_index else SNAP

    def takes_proposals(self, node: NodeId) -> bool:
        """Decision: whether a follower may be sent entries of the new epoch."""
        return node in self.adopted

    # -- followers ---------------------------------------------------------------------------------

    def begins(self, node: NodeId) -> None:
        """A follower begins anew: where its log ends must be reported again."""
        self.truncations.pop(node, None)
        self.announced.discard(node)

    def truncates(self, node: NodeId, log: ReplicatedLog, generation: int, index: int) -> None:
        """A follower's last entry is not in the history: find where it may agree."""
        at, of = log.conflict_hint(index, generation)
        self.truncations[node] = (of, at, generation, index)

    def has_history(self, node: NodeId) -> bool:
        """A follower has the whole history; whether it must be asked to adopt it."""
        if node in self.announced:
            return False
        self.announced.add(node)
        return True

    def forgets(self, node: NodeId) -> None:
        """A node's disk is damaged: the history it once adopted may be gone, and it is asked again,
        until it answers."""
        self.adopted.pop(node, None)

    def adopts(self, node: NodeId) -> None:
        """A node has adopted the history, durably."""
        self.adopted[node] = True


class Adoption:
    """The follower's side: when the acknowledgement of an adopted history may leave."""

    __slots__ = ()

    def leaves_after(self, writes: WriteOrder) -> int:
        """Decision: the write that must be durable before the acknowledgement leaves; 0: none."""
        return writes.io_issued
