"""A67a: a Zab leader serves as soon as a quorum has promised its epoch, synchronised or not.

Its history has entries that were never committed. It shows them, and its successor, which was to
get them and did not, does not have them.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.membership import Configuration
from cluster.consensus.zab_synchronisation import Synchronisation


class ServedBeforeSynchronised(Synchronisation):
    """A history that counts as committed before a quorum has adopted it."""

    def may_establish(self, electorate: Configuration) -> bool:
        """The promises are enough."""
        return True


ABLATION = Ablation(
    ServedBeforeSynchronised,
    removes="A Zab leader serves only when a quorum has adopted its history.",
    breaks="A read shows a write that the next leader never had.",
    nemesis="partition,kill",
    consensus="zab",
    pattern="leader_and_followers",
    random=False,
    real=False,
)
