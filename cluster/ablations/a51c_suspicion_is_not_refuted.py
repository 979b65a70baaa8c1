"""A51c: a member does not contradict what is said of it.

A member that misses one ping is suspected, and hears of it. It lives, and does not say so: when its
time is up it is dead, in its own view too.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.gossip.group_membership import Incarnation
from cluster.wire import MemberRecord


class SuspicionIsNotRefuted(Incarnation):
    """A member that never objects."""

    def refutes(self, said: MemberRecord) -> bool:
        """It takes everything for true."""
        return False


ABLATION = Ablation(
    SuspicionIsNotRefuted,
    role="gossip",
    removes="A member raises its incarnation when it hears that it is suspected.",
    breaks="A short pause makes a member dead for ever.",
    nemesis="pause",
    workload="membership-convergence",
    checker="convergence",
    anomaly="wrong-members",
    random=True,
    real=True,
)
