"""A67f: a Zab leader lets a follower keep an end of its log that the history does not have.

It takes the leftovers for copies of its own entries at the same indexes, and commits by them what
is nowhere but in its own log.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.consensus.zab_synchronisation import DIFF, SNAP, Synchronisation


class TruncationSkipped(Synchronisation):
    """A leader that sends followers what they lack, and never has them cut anything."""

    def way(self, log: ReplicatedLog, generation: int, index: int) -> str:
        """What is in place is taken to be right."""
        return DIFF if index >= log.base_index else SNAP


ABLATION = Ablation(
    TruncationSkipped,
    removes="A Zab follower cuts an end of its log which the new leader's history does not have.",
    breaks="A write is acknowledged that no node but the leader has, and is lost with it.",
    nemesis="partition,kill",
    consensus="zab",
    pattern="replicated_log",
    random=False,
    real=False,
)
