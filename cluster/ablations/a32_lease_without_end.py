"""A32: a lease is taken to hold as long as its holder has not heard otherwise.

A lease read trusts that no other leader can exist yet, for a part of the election timeout after a
round that a quorum answered. A leader that does not look at its clock reads on when it is cut off.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.membership import Configuration


class LeaseWithoutEnd(HeartbeatRounds):
    """Rounds of which the latest is good for ever."""

    def lease_is_valid(self, now_ns: int, members: Configuration) -> bool:
        """Once confirmed, it is."""
        return self.confirmed_sent_ns >= 0


ABLATION = Ablation(
    LeaseWithoutEnd,
    removes="A lease ends before another leader can have been elected.",
    breaks="A leader that is cut off serves lease reads from the past.",
    nemesis="partition",
    pattern="follower_reads",
    random=False,
    real=False,
)
