"""A56: a leader changes the members before an entry of its own generation is committed.

With one voter at a time, in one step, two majorities share a node only if both count from the same
configuration. A leader that has committed nothing yet may have an older one than another node,
whose change is in its log alone, and may still come into force.

Source: D. Ongaro, "bug in single-server membership changes", raft-dev, 10 July 2015; Raft thesis
4.1. A joint change survives this: it needs a majority of the configuration that it starts from.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.consensus.membership import Membership
from cluster.consensus.membership_change import MembershipChange


class ChangesAtOnce(MembershipChange):
    """Changes for which it is enough that no other is under way."""

    def may_change_members(self, membership: Membership, mark: int) -> str:
        """A change is allowed unless another is under way."""
        busy = membership.current.joint
        return "another change of members is under way" if busy else ""


ABLATION = Ablation(
    ChangesAtOnce,
    removes="A change of members waits until the leader has committed an entry of its own.",
    breaks="Two majorities without a common node: what one has committed the other overwrites.",
    nemesis="membership,partition",
    checker=BY_INVARIANTS,
    anomaly="leader-completeness",
    pattern="majority_quorum",
    random=False,
    real=False,
)
