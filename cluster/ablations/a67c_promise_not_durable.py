"""A67c: a Zab follower promises an epoch before the promise is durable.

It restarts, has forgotten the promise, and helps the former leader to commit a write. The leader it
promised the epoch to does not know the write, and counts on the promise.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.replicated_log import WriteOrder
from cluster.consensus.zab_discovery import Promises


class PromiseNotDurable(Promises):
    """Promises that wait for no write."""

    def leaves_after(self, writes: WriteOrder) -> int:
        """At once."""
        return 0


ABLATION = Ablation(
    PromiseNotDurable,
    removes="A Zab follower's promise of an epoch leaves only when it is durable.",
    breaks="A write acknowledged by the former leader is lost.",
    nemesis="kill,partition",
    consensus="zab",
    pattern="generation_clock",
    random=False,
    real=False,
)
