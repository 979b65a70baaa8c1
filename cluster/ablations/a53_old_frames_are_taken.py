"""A53: a frame of an old connection is taken, although a newer one was taken before.

The bytes of a connection may wait in a proxy or a kernel, while the sender has connected anew and
sent more. Then a frame follows one that was sent later.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.channel.single_socket_channel import IncomingChannel


class OldFramesAreTaken(IncomingChannel):
    """A receiver for which no connection is old."""

    def is_old(self, epoch: int) -> bool:
        """None is."""
        return False


ABLATION = Ablation(
    OldFramesAreTaken,
    removes="Frames of an older connection than the newest that was taken are dropped.",
    breaks="Messages between two nodes arrive in another order than they were sent in.",
    nemesis="packets",
    checker=BY_INVARIANTS,
    anomaly="channel-order",
    real=False,
)
