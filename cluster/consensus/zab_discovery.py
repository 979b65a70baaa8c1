"""Zab, phase 1, discovery: a quorum promises a new epoch, before anything of it exists.

Problem. A former leader may still be at work. Whatever it can still get accepted must be known to
the new leader, and nothing more may be added to it later.

Solution. Followers tell the node they chose the epoch they accepted last (CEPOCH). With those of a
quorum it proposes an epoch above them all (NEWEPOCH). A follower that accepts it makes it durable,
takes nothing of an earlier epoch from then on, and answers with its current epoch and last zxid
(ACKEPOCH). When a quorum has promised, every entry that may ever be committed in an earlier epoch
is in the log of one of them, for good. The leader must be at least as recent as each of them; if
one is ahead, the votes were out of date, and it gives up.

An epoch is promised to one node. A follower that promised the same epoch to another node, which
then got no quorum, may follow all the same once a quorum has promised; it does not count for it.

Invariants. An epoch is above all that were accepted before by the quorum that promises it. A node
promises an epoch to one node only, and never one below what it accepted. The promise, and the log
it tells of, are durable before it leaves.

What breaks without it. A67b: an epoch used twice gives two entries one zxid. A67c: a promise that a
restart forgets lets the former leader commit what the new one does not know. A67g: a leader that
is behind a follower cuts committed entries.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4, phase 1. Used by ``zab_leading`` and ``zab_following``.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.clocks.generation_clock import GenerationClock
from cluster.consensus.membership import Configuration, agreed_vote
from cluster.consensus.replicated_log import WriteOrder
from cluster.ports import NodeId


class Discovery:
    """The leader's side: who wants to follow, and who promised the epoch."""

    __slots__ = ("accepted", "epoch", "promised")

    def __init__(self) -> None:
        #: the epoch each follower accepted last, the leader itself included
        self.accepted: dict[NodeId, int] = {}
        #: those that promised the new epoch, durably
        self.promised: dict[NodeId, bool] = {}
        #: the new epoch; 0 until a quorum wants to follow
        self.epoch = 0

    # -- decisions ---------------------------------------------------------------------------------

    def next_epoch(self, accepted: Iterable[int], led: int) -> int:
        """Decision: the new epoch.

        Args:
            accepted: the epochs that the followers accepted last.
            led: the one that this node wanted to lead last; 0 if it is known no more.
        """
        return max(accepted) + 1

    def gives_up(self, theirs: tuple[int, int, int], own: tuple[int, int, int]) -> bool:
        """Decision: whether a follower that promises is ahead of this node, which then must not
        lead. Both are how recent a history is, as the election compares it."""
        return theirs > own

    # -- the way to a quorum -----------------------------------------------------------------------

    def heard(self, node: NodeId, accepted: int) -> None:
        """A node wants to follow, and tells the epoch it accepted last."""
        self.accepted[node] = accepted

    def choose(self, electorate: Configuration, led: int) -> bool:
        """Whether a quorum wants to follow, and the new epoch is chosen by it now."""
        if self.epoch or not agreed_vote(electorate, dict.fromkeys(self.accepted, True)):
            return False
        self.epoch = self.next_epoch(self.accepted.values(), led)
        return True

    def done(self, electorate: Configuration) -> bool:
        """Whether a quorum has promised the new epoch."""
        return agreed_vote(electorate, self.promised) is True


class Promises:
    """The follower's side: to whom an epoch is promised, and when the promise may leave."""

    __slots__ = ()

    # -- decisions ---------------------------------------------------------------------------------

    def may_promise(self, clock: GenerationClock, epoch: int, leader: NodeId) -> bool:
        """Decision: whether an epoch may be promised to a node."""
        return epoch > clock.generation or clock.may_vote(epoch, leader)

    def leaves_after(self, writes: WriteOrder) -> int:
        """Decision: the write that must be durable before a promise leaves; 0 for none."""
        return writes.io_issued

    # -- promising ---------------------------------------------------------------------------------

    def make(self, clock: GenerationClock, epoch: int, leader: NodeId, writes: WriteOrder) -> bool:
        """Promise an epoch to a node, if that may be; whether it is promised to it."""
        assert epoch >= clock.generation, f"epoch {epoch} is promised after {clock.generation}"
        if not self.may_promise(clock, epoch, leader):
            return False
        if epoch > clock.generation:
            clock.advance(epoch)
        if not clock.voted_for:
            clock.vote(leader)
            writes.hard_state(clock.hard_state())
        return True
