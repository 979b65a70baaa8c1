"""A50d: after each answer the watcher begins a new watch, of what changes from then on.

This is how a watch that fires once is used by a client that does not read again when it sets the
next one: what changes between the answer and the next watch is told by neither.

Source: ZooKeeper's documentation says of its one-shot watches that this must be expected.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.state_watch import Watcher


class WatcherBeginsAnew(Watcher):
    """A watcher that remembers nothing of the last answer."""

    def goes_on_after(self, told: int) -> int | None:
        """It begins at the newest revision when the next watch arrives."""
        return None


ABLATION = Ablation(
    WatcherBeginsAnew,
    removes="A watcher goes on from the revision up to which it was told of everything.",
    breaks="Of two quick changes a watcher is told of one, and never of the other.",
    nemesis="none",
    workload="watch",
    checker="watch",
    anomaly="gap",
    random=False,
    real=False,
)
