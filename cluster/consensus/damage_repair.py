"""Damage repair: how a node that lost a part of its log comes back without breaking a promise.

Problem. A node acknowledged entries and gave votes, and then its disk lost some of it: a segment is
gone, a bit is flipped, the log is cut. If it goes on with what is left, it elects a leader that
lacks committed entries, or it completes a quorum with entries it no longer has. If it refuses to
start, one bad sector costs a node until an operator comes.

Solution. The storage knows what was promised without the log (``cluster.log.superblock``): the
generation, the vote, and the last entry. A node that no longer has that entry starts as
*recovering*. It follows a leader and takes its log like any follower, but it gives no vote, does
not stand for election, and marks each acknowledgement so that a leader does not count it. It tells
the leader where its log ends now, since the leader remembers more. It is repaired when

1. its durable log, in (generation, index) order, has reached what it promised, and
2. the leader it follows has told it a high-water mark that covers an entry of the leader's own
   generation, and it has that durably too.

It writes down that it is repaired, and takes part again once that is durable.

Why that is safe. The leader was elected, and committed an entry of its generation, by a quorum
without this node's present vote or acknowledgement; votes and acknowledgements from before the
damage were true when they were given. So the leader has every committed entry of earlier
generations, and rule 2 brings them here. An entry of the leader's own generation may be committed
because this very node acknowledged it before the damage: rule 1 asks for it. The vote and the
generation are those of the superblock, so a leader of a generation that this node has left is
refused as ever, and no second vote is given.

Where no history is compared. In Multi-Paxos each slot stands by itself, and accepting under a
higher ballot takes the place of whatever was accepted before, known or not. So a damaged acceptor
accepts, and that counts; it promises nothing until every slot in which it may have accepted
something is accepted again. In Zab and Viewstamped Replication a follower's log is replaced by its
leader's anyway. A damaged follower is one that has been away: it is brought in line, and counts
from then on, if it has everything that it may have acknowledged in that very epoch or view.

Liveness. The others must be able to elect a leader without the damaged node. If they cannot, since
too many are damaged or away, the cluster waits: it is unavailable, and never wrong. Recovering
nodes tell each other. One that knows of so many that the sound ones form no quorum says so, and
names the file and the offset of its own damage.

Invariants. A recovering node sends no vote, and its acknowledgements are marked. What it takes as
committed it was shown in this life, by entries that match. It leaves recovery at most once.

What breaks without it. A03c: a recovering node votes, and an acknowledged write is lost. So it is
where it promises (A20e), where it is counted for an epoch (A67j), and where it reports to a view
(A68k).

Source: Alagappan and others, "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018);
Ongaro's Raft thesis, 11.7.2 (a server that lost its disk must not vote). One part of each consensus
core. A variant that has no such part says so by leaving ``repairs_damage`` of its parts out, and
its nodes refuse to start from a damaged disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from cluster.consensus.membership import Configuration, agreed_vote
from cluster.consensus.outbox import Outbox
from cluster.ports import Damage, NodeId
from cluster.wire import Entry, Snapshot

#: (generation, index) of a log's last entry.
LogEnd: TypeAlias = tuple[int, int]


class DamageRepair:
    """Whether a node is recovering, and what it still needs.

    Args:
        damage: what storage found; None for a sound node.
    """

    __slots__ = ("_others", "_shared", "_write", "damage")

    def __init__(self, damage: Damage | None) -> None:
        self.damage = damage
        #: the write that says it is repaired; 0 if it is not under way
        self._write = 0
        #: (generation, last index) up to which this log was shown to equal the leader's
        self._shared = (0, 0)
        #: when each other recovering node was last heard
        self._others: dict[NodeId, int] = {}

    # -- decisions ---------------------------------------------------------------------------------

    def takes_part(self) -> bool:
        """Decision: whether this node votes and stands, and its acknowledgements count."""
        return self.damage is None

    def is_repaired(self, durable: LogEnd, mark: int, mark_generation: int | None) -> bool:
        """Decision: whether this node has again what it promised.

        Args:
            durable: the end of the durable log.
            mark: the high-water mark.
            mark_generation: of the entry there, if the present leader created it; else None.
        """
        damage = self.damage
        if damage is None or mark_generation is None:
            return False
        return durable >= (damage.generation, damage.index) and mark <= durable[1]

    def is_restored(self, generation: int, last_index: int) -> bool:
        """Decision: whether a log that is the leader's, up to an index, has again what was
        promised. What an earlier generation left is not asked for: the leader's log is in its
        place, as on a node whose disk is sound.

        Args:
            generation: the leader's, in which this node has its whole history.
            last_index: where the log ends.
        """
        damage = self.damage
        if damage is None:
            return False
        return damage.generation < generation or damage.index <= last_index

    def is_overwritten(self, agreed: int) -> bool:
        """Decision: whether each slot in which something may have been accepted has a value of the
        promised ballot again, or one that is known to be chosen.

        Args:
            agreed: the slot up to which that is so.
        """
        return self.damage is not None and self.damage.slot <= agreed

    # -- while recovering --------------------------------------------------------------------------

    @property
    def recovering(self) -> bool:
        """Whether what this node says must not count."""
        return not self.takes_part()

    @property
    def ending(self) -> bool:
        """Whether it is repaired, and that is not durable yet."""
        return self._write > 0

    def note(self, outbox: Outbox) -> None:
        """Tell who reads the run what the damage is, if there is any."""
        if self.damage is not None:
            outbox.note("recovering", **msgspec.structs.asdict(self.damage))

    def shares(self, generation: int, last_index: int) -> None:
        """A leader's entries or snapshot show that the logs are equal up to an index."""
        if self.damage is not None:
            self._others.clear()  # there is a leader: the sound ones form a quorum
            before, index = self._shared
            self._shared = (
                generation,
                max(index, last_index) if before == generation else last_index,
            )

    def shared(self, generation: int, last_index: int) -> int:
        """How much of the log may be taken to equal the leader's, which remembers too much."""
        if self.damage is None:
            return last_index
        return min(last_index, self._shared[1]) if self._shared[0] == generation else 0

    def end_with(self, write: int) -> None:
        """It is repaired once this write is durable."""
        assert self.damage is not None and not self._write, "nothing is repaired twice"
        self._write = write

    def ended(self, io_id: int) -> bool:
        """Every write up to ``io_id`` is durable: whether the node takes part again by it."""
        if not 0 < self._write <= io_id:
            return False
        self.damage, self._write = None, 0
        return True

    # -- damage beyond a quorum --------------------------------------------------------------------

    def heard(self, peer: NodeId, now_ns: int) -> None:
        """Another node is recovering too."""
        self._others[peer] = now_ns

    def beyond_quorum(self, node: NodeId, electorate: Configuration, for_ns: int) -> bool:
        """Whether so many voters are recovering that the sound ones form no quorum.

        Args:
            node: this node.
            electorate: whose majority elects a leader.
            for_ns: others that were not heard so long before the last one do not count.
        """
        if self.damage is None:
            return False
        since_ns = max(self._others.values(), default=0) - for_ns
        lost = [peer for peer, heard_ns in self._others.items() if heard_ns >= since_ns]
        return agreed_vote(electorate, dict.fromkeys([node, *lost], False)) is False


def why_not_repairable(
    parts: object, node: NodeId, founders: Sequence[NodeId]
) -> Callable[[Snapshot | None, Sequence[Entry]], str]:
    """What storage asks when it finds damage: why peers cannot repair it; "" if they may.

    Args:
        parts: the consensus variant, as ``ConsensusParts``; None for a role that has none.
        node: this node.
        founders: the voters its cluster began with; none for a node that joined it.
    """

    def why(snapshot: Snapshot | None, entries: Sequence[Entry]) -> str:
        if parts is None:
            return "a node of this role cannot be repaired from its peers"
        if not getattr(parts, "repairs_damage", False):
            return "this consensus variant cannot repair a node from its peers"
        known = {*founders, *(snapshot.members if snapshot else ())}
        for entry in entries:
            if entry.kind == "config":
                known.update(Configuration.decode(entry.data).nodes)
        if founders and not known - {node}:
            return f"{node} has no peers to be repaired from"
        return ""

    return why
