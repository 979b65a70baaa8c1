"""A24q: a read that joins an attempt late is answered by promises that are older than itself.

The attempt of a slow node may have the promise of an acceptor that has accepted other values since.
A write proposed on such promises is refused by that acceptor; a read that is answered without
phase 2 never hears of it.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.register_requests import Asked, RegisterRequests


class ReadsByOlderPromises(RegisterRequests):
    """Requests that do not care when they came."""

    def promises_cover(self, asked: Asked) -> bool:
        """Any promise will do."""
        return True


ABLATION = Ablation(
    ReadsByOlderPromises,
    role="paxos",
    pattern="paxos",
    removes="A read without phase 2 needs promises that were made after it was asked.",
    breaks="A node with a slow disk serves reads from the past.",
    nemesis="disk",
    random=False,
)
