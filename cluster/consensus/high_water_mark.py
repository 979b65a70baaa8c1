"""High-Water Mark: the index up to which the log is committed, and therefore visible.

Problem. An entry in a leader's log may be lost with that leader. A node that shows such an entry to
a client, or applies it, has shown something that may never have happened.

Solution. An index, the high-water mark. Everything at or below it is on a majority and will be in
the log of every later leader: it is committed. Only committed entries are applied and answered. The
leader raises the mark when a quorum has an entry *of the leader's own generation*; earlier entries
are committed with it. Followers learn the mark from the next append or heartbeat. A follower takes
it over only as far as its log is known to equal the leader's.

Invariants. The mark never goes back. It is never beyond the log. Entries at or below it never
change. Each committed entry is delivered once, in order. A leader never commits an entry of an
earlier generation by counting its copies (figure 8 of the Raft paper).

What breaks without it. A14a: entries served on append are dirty reads. A16: counting copies of an
old entry commits what a later leader may still overwrite. A17: a follower that takes over the
leader's mark beyond the entries it was sent applies its own divergent tail.

Source: Joshi, "High-Water Mark"; Raft paper 5.3, 5.4.2; Kafka KIP-101 for truncation by generation
and not by mark. Used by every consensus core with a log.
"""

from __future__ import annotations

from cluster.consensus.replicated_log import ReplicatedLog
from cluster.wire import Entry


class HighWaterMark:
    """A node's mark, and how far the committed entries were delivered.

    Args:
        index: of the snapshot the node starts from; 0 without one.
    """

    __slots__ = ("delivered", "index")

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.delivered = index

    def may_commit(self, index: int, entry_generation: int | None, generation: int) -> bool:
        """Decision: whether a leader may raise the mark to an index which a quorum has durable.

        Args:
            index: what a quorum has.
            entry_generation: of the entry there; None if it is not in the log.
            generation: the leader's own.
        """
        return index > self.index and entry_generation == generation

    def may_truncate(self, index: int) -> bool:
        """Decision: whether entries from an index on may be cut. Committed ones never are."""
        return index > self.index

    def advance(self, match: int, log: ReplicatedLog, generation: int) -> bool:
        """A leader's: a quorum has everything up to ``match``; whether that may be committed."""
        if not self.may_commit(match, log.generation_at(match), generation):
            return False
        self._raise(match, log)
        return True

    def follow(self, leader_mark: int, last_shared: int, log: ReplicatedLog) -> bool:
        """A follower's: take over the leader's mark; whether it rose.

        Args:
            leader_mark: the mark in the leader's message.
            last_shared: the last index at which this log is known to equal the leader's.
            log: this node's.
        """
        return self._raise(self.follower_mark(leader_mark, last_shared), log)

    def follower_mark(self, leader_mark: int, last_shared: int) -> int:
        """Decision: how much of the leader's mark a follower takes over."""
        return min(leader_mark, last_shared)

    def shared_with(self, match: int) -> int:
        """Decision: the mark in a heartbeat, which carries no entries: as far as the
        follower's log is known to equal the leader's."""
        return min(self.index, match)

    def install(self, index: int) -> None:
        """A snapshot at an index took the place of everything below it."""
        assert index > self.index, f"a snapshot at {index} would move the mark {self.index} back"
        self.index = self.delivered = index

    def take(self, log: ReplicatedLog, entries_max: int = 0) -> list[Entry]:
        """The committed entries that were not delivered yet, in order.

        Args:
            log: this node's.
            entries_max: most entries to take now; 0 for all.
        """
        if self.delivered >= self.index:
            return []
        end = min(self.index, self.delivered + entries_max) if entries_max else self.index
        committed = log.between(self.delivered + 1, end)
        assert committed and committed[0].index == self.delivered + 1, (
            f"entry {self.delivered + 1} is committed, delivered next, and not held"
        )
        assert committed[-1].index == end, (
            f"the mark {self.index} is beyond the log, which ends at {log.last_index}"
        )
        self.delivered = end
        return committed

    def _raise(self, index: int, log: ReplicatedLog) -> bool:
        if index <= self.index:
            return False
        assert index <= log.last_index, (
            f"the mark {index} would be beyond the log, which ends at {log.last_index}"
        )
        self.index = index
        return True
