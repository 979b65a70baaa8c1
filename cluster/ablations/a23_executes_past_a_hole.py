"""A23: a node executes what comes after a slot in which it has accepted nothing.

Messages are sent one after the other without waiting, and one is lost. The slots after it are
accepted and chosen. A node that passes over the gap never executes the command that belongs there.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.slots import Slots
from cluster.wire import Entry


class ExecutesPastAHole(Slots):
    """Slots in which a hole is as good as a value."""

    def is_accepted(self, entry: Entry, ballot: int) -> bool:
        """Any entry under the ballot, a filler too."""
        return entry.generation == ballot


ABLATION = Ablation(
    ExecutesPastAHole,
    removes="A node executes no slot above one in which it has accepted nothing.",
    breaks="A node that leads later has not executed an acknowledged write.",
    nemesis="partition",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
