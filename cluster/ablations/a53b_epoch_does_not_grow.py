"""A53b: a new connection has the same epoch as the one before.

The receiver drops frames of lower epochs, and there are none. It cannot tell an old connection's
frame from one of the new connection.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.channel.single_socket_channel import OutgoingChannel


class EpochDoesNotGrow(OutgoingChannel):
    """A sender whose connections are all alike."""

    def next_epoch(self) -> int:
        """The one it has."""
        return self.epoch


ABLATION = Ablation(
    EpochDoesNotGrow,
    removes="Each new connection has a higher epoch.",
    breaks="Messages between two nodes arrive in another order than they were sent in.",
    nemesis="packets",
    checker=BY_INVARIANTS,
    anomaly="channel-order",
    real=False,
)
