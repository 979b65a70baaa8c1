"""A20d: an acceptor that writes a slot in the middle of its log forgets the slots above it.

A log that is cut where a new entry goes is right for Raft, where what follows a difference is
worthless. In Paxos each slot is decided by itself, and what is above may be chosen.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.slots import Slots
from cluster.wire import Entry


class AcceptedValuesCutOff(Slots):
    """Slots that are written as a log that is cut."""

    def kept(self, last: int) -> list[Entry]:
        """Nothing is kept."""
        return []


ABLATION = Ablation(
    AcceptedValuesCutOff,
    removes="An acceptor that accepts a slot again keeps what it has accepted above.",
    breaks="An acknowledged write is gone after two changes of leader.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
