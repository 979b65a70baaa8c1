"""A20: an acceptor's promise leaves before it is durable.

The acceptor loses power, comes back without its promise, and accepts what an older proposer sends.
The younger one relies on the promise: it heard nothing of that value, and proposes its own.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.acceptor import Acceptor


class PromisesBeforeSync(Acceptor):
    """An acceptor whose promises wait for no write."""

    def after_promise(self) -> int:
        """At once."""
        return 0


ABLATION = Ablation(
    PromisesBeforeSync,
    removes="An acceptor's promise leaves only when it is durable.",
    breaks="Two proposers have two values chosen for one slot: an acknowledged write is gone.",
    nemesis="kill",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
