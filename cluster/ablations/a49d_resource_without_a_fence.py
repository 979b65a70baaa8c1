"""A49d: a resource outside the cluster takes a write under any token.

A holder that was stopped past the end of its lease goes on, and writes. Only the resource can know
better: it has seen the token of the next holder. (In A13 the resource is a key of the cluster, and
asks whether the lease still exists.)

Source: M. Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import TokenFence


class ResourceWithoutAFence(TokenFence):
    """A resource that takes what it is given."""

    def accepts(self, token: int) -> bool:
        """One token is as good as another."""
        return True


ABLATION = Ablation(
    ResourceWithoutAFence,
    removes="A resource refuses a write under a token older than the newest it has seen.",
    breaks="A holder that was paused writes to the resource after the next holder did.",
    nemesis="pause",
    workload="lock",
    checker="lock",
    anomaly="stale-token-accepted",
    random=False,
    real=False,
)
