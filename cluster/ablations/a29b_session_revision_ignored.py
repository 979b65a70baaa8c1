"""A29b: a read of a session is answered by any node, also by one behind what the session has seen.

The client goes to a node that lags, and sees the past after the present.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.follower_reads import FollowerReads


class SessionRevisionIgnored(FollowerReads):
    """Reads that do not ask how old a node's state is."""

    def has_seen(self, revision: int, applied: int) -> bool:
        """What is applied is enough."""
        return True


ABLATION = Ablation(
    SessionRevisionIgnored,
    removes="A session's read waits until the node has applied what the session has seen.",
    breaks="A session that hops between nodes misses its own writes.",
    nemesis="partition",
    checker="session-guarantees",
    anomaly="read-your-writes",
    random=False,
    real=False,
)
