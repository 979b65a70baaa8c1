"""A21: a new proposer hears what was accepted, and proposes something else.

What a majority has accepted is chosen, whether or not anyone knows it yet. The proposer is the one
who finds out, in phase 1; its duty is to propose it again.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.phase_one import PhaseOne
from cluster.wire import Entry


class IgnoresAcceptedValues(PhaseOne):
    """A phase 1 whose reports are ignored."""

    def proposal(self, slot: int) -> Entry:
        """A filler, also where acceptors reported an accepted value."""
        return self.filler(slot)


ABLATION = Ablation(
    IgnoresAcceptedValues,
    removes="A new proposer takes over the values that acceptors report.",
    breaks="Acknowledged writes are gone when the leader changes.",
    nemesis="kill",
    consensus="multi-paxos",
    pattern="paxos",
    real=False,
)
