"""A20p: an acceptor promises before its promise is durable.

A promise is all that keeps an older ballot from being chosen after a newer one has looked around.
An acceptor that loses it in a crash accepts the older ballot after all, and the newer one, built on
what it saw before, undoes it.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.paxos import Acceptor


class PromisesBeforeSync(Acceptor):
    """An acceptor whose promises wait for no write."""

    def answers_after(self, write: int) -> int:
        """A promise leaves at once."""
        return 0


ABLATION = Ablation(
    PromisesBeforeSync,
    role="paxos",
    removes="A promise leaves an acceptor only when it is durable.",
    breaks="Two compare-and-sets of one value both succeed, or an acknowledged write is gone.",
    nemesis="kill",
    random=False,
    real=False,
)
