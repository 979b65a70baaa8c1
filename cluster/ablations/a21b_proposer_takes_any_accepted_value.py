"""A21b: a new proposer takes over an accepted value, but not that of the highest ballot.

Acceptors may hold leftovers of older ballots, which were never chosen. Of all that is reported for
a slot only the value of the highest ballot can be the chosen one.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.phase_one import PhaseOne
from cluster.wire import Entry


class TakesAnyAcceptedValue(PhaseOne):
    """A phase 1 that does not look at ballots."""

    def prefers(self, entry: Entry, known: Entry) -> bool:
        """The last report counts."""
        return True


ABLATION = Ablation(
    TakesAnyAcceptedValue,
    removes=(
        "Of the values reported for a slot, a new proposer takes over that of the highest ballot."
    ),
    breaks="A value that was never chosen takes the place of an acknowledged write.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
