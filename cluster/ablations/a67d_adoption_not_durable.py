"""A67d: a Zab follower says that it adopted a history before its new current epoch is durable.

It restarts with the current epoch it had before. So a node with an older history, or with entries
that were cut elsewhere, looks as recent as this one and wins the election.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.replicated_log import WriteOrder
from cluster.consensus.zab_synchronisation import Adoption


class AdoptionNotDurable(Adoption):
    """Acknowledgements of a history that wait for no write."""

    def leaves_after(self, writes: WriteOrder) -> int:
        """At once."""
        return 0


ABLATION = Ablation(
    AdoptionNotDurable,
    removes="A Zab follower acknowledges a new history only when its current epoch is durable.",
    breaks="A committed history is replaced by another one, and what was read is gone.",
    nemesis="kill,partition",
    consensus="zab",
    pattern="leader_and_followers",
    random=False,
    real=False,
)
