"""A23b: a node takes what it accepted under an older ballot for what is chosen now.

The leader says up to which slot all is chosen. What stands in such a slot here is the chosen value
only if it was accepted under the leader's own ballot.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.slots import HOLE, Slots
from cluster.wire import Entry


class OlderValueTakenForChosen(Slots):
    """Slots that do not look at ballots."""

    def is_accepted(self, entry: Entry, ballot: int) -> bool:
        """Any value is."""
        return entry.kind != HOLE


ABLATION = Ablation(
    OlderValueTakenForChosen,
    removes=(
        "A value accepted under an older ballot is executed only once it is known to be chosen."
    ),
    breaks="A node executes a command that never happened, and misses one that did.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
