"""A45a: what a node hears does not raise its number.

Each node counts for itself. A client that reads a value at one node and replaces it at another is
given a number that is lower than that of what it replaces.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.lamport_clock import LamportClock


class CountsAlone(LamportClock):
    """A counter that no message raises."""

    __slots__ = ()

    def highest(self, remote: int) -> int:
        """The node's own number."""
        return self.last


ABLATION = Ablation(
    CountsAlone,
    role="leaderless",
    removes="A number that comes with a message or a client raises a node's own.",
    breaks="A write loses to the value that its client had read and meant to replace.",
    nemesis="partition",
    random=False,
    real=False,
)
