"""Recovery: how a replica that has lost its memory comes to take part again.

Problem. A replica that starts with an empty disk may never have taken part in anything, or may have
acknowledged entries and entered views of which it remembers nothing. Were it to report an empty log
as if that were all it ever had, a quorum with it could lose what is committed.

Solution. A founder without a memory takes part in nothing. It asks every other voter what there is
(Recovery), under a nonce that names this life of it; answers with another nonce, to an earlier
life, do not count. When each of the others has answered:

- If none of them was ever part of a view and all have empty logs, nothing was ever committed. The
  cluster is new, and the replica takes part: it enters the view after the latest that the others
  have entered, and from then on has a memory. So a new cluster forms once all of its founders have
  met.
- Else a quorum of the others must have a memory, and the primary of the latest view among the
  answers must be at work. Its log is fetched (``state_transfer``), as far as it went when the
  primary answered, and with it the replica becomes part of that view. Whatever its earlier life has
  acknowledged, in that view or before, the primary had by then.

The paper asks a majority only. There, a report that the lost life sent before it died may still be
under way to a replica that was not asked, and count (Michael and others, 2017). A channel drops the
frames of an earlier connection once a later one is heard (Single-Socket Channel), so asking every
one closes that door. The price: one dead replica keeps another from recovering.

Invariants. A recovering replica asks for no view, enters none, reports to none and acknowledges
nothing. What it fetches is not taken for a memory: until it is done, a restart begins anew.

What breaks without it. A68b: without the nonce, answers to an earlier life, when the cluster was
new, let a wiped replica take part with nothing. A68g: so does no recovery at all. A68j: a replica
that takes part with the first piece of the log misses what it has acknowledged.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 4.3; Michael, Ports, Sharma
and Szekeres, "Recovering Shared Objects Without Stable Storage" (2017). Bookkeeping of one life;
used by ``views``. (How storage reads its files after a crash is ``cluster.log.recovery``.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cluster.consensus.majority_quorum import quorum_size
from cluster.ports import NodeId, Recovered
from cluster.wire import RecoveryResponse


class Found(NamedTuple):
    """What the answers come to.

    Args:
        view: the latest among them.
        is_new: whether nothing was ever committed; else the view's primary is at work.
        last_index: what of its log must be here before this replica takes part.
    """

    view: int
    is_new: bool
    last_index: int = 0


class ReplicaRecovery:
    """The questions of one life of a replica, and the answers to them.

    Args:
        node: this replica.
        voters: the configuration, sorted.
        nonce: names this life.
        now_ns: the time.
    """

    __slots__ = ("_answers", "_node", "_voters", "deadline_ns", "nonce")

    def __init__(self, node: NodeId, voters: Sequence[NodeId], *, nonce: int, now_ns: int) -> None:
        self._node = node
        self._voters = tuple(voters)
        self._answers: dict[NodeId, RecoveryResponse] = {}
        self.nonce = nonce
        #: when to ask again
        self.deadline_ns = now_ns

    # -- decisions ---------------------------------------------------------------------------------

    def is_needed(self, recovered: Recovered) -> bool:
        """Decision: whether a voter with this on its disk must ask before it takes part. Its first
        durable word is the view it enters, so without one it has nothing to stand by."""
        return recovered.hard_state.generation == 0 and len(self._voters) > 1

    def is_answer(self, message: RecoveryResponse) -> bool:
        """Decision: whether an answer is to a question of this life."""
        return message.nonce == self.nonce

    def must_reach(self, primary: RecoveryResponse) -> int:
        """Decision: how much of a primary's log must be here before this replica takes part."""
        return primary.last_index

    # -- answers -----------------------------------------------------------------------------------

    def add(self, source: NodeId, message: RecoveryResponse) -> None:
        """Another voter answered. The latest view it names counts."""
        known = self._answers.get(source)
        if known is None or message.generation >= known.generation:
            self._answers[source] = message

    def outcome(self, primary_of_latest: NodeId) -> Found | None:
        """What the answers come to; None while they do not suffice.

        Args:
            primary_of_latest: the primary of :attr:`latest`.
        """
        answers = self._answers
        if len(answers) < len(self._voters) - 1:
            return None
        if all(a.last_normal == 0 and a.last_index == 0 for a in answers.values()):
            return Found(self.latest, is_new=True)
        remember = sum(not answer.asking for answer in answers.values())
        primary = answers.get(primary_of_latest)
        if primary is None or not primary.leads or primary.generation != self.latest:
            return None
        enough = remember >= quorum_size(len(self._voters))
        return Found(self.latest, False, self.must_reach(primary)) if enough else None

    @property
    def latest(self) -> int:
        """The latest view among the answers."""
        return max((answer.generation for answer in self._answers.values()), default=0)
