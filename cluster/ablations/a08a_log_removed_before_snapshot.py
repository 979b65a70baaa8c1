"""A08a: the log is removed before the snapshot that replaces it is durable.

For a moment the node has neither. A crash at that moment loses everything up to the snapshot.

Source: Joshi, "Low-Water Mark".
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.log.storage import Storage


class RemovesFirst(Storage):
    """Storage that makes room before it fills it."""

    def snapshot_first(self) -> bool:
        """The other way round."""
        return False


ABLATION = Ablation(
    RemovesFirst,
    removes="A snapshot is durable under its name before the log below it is removed.",
    breaks="After a loss of power at the wrong moment a node has neither log nor snapshot.",
    nemesis="kill",
    checker=BY_INVARIANTS,
    anomaly="sound-log",
    pattern="low_water_mark",
    random=False,
    real=False,
)
