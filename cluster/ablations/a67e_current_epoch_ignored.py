"""A67e: a Zab election compares zxids alone, not the current epochs before them.

A history is committed by being adopted, with no entry of its own. A node that was not there may
have a later zxid, of an entry that was cut everywhere else; and it wins.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.fast_leader_election import FastLeaderElection, Position


class CurrentEpochIgnored(FastLeaderElection):
    """An election in which the later zxid wins."""

    def recency(self, position: Position) -> tuple[int, int, int]:
        """The zxid alone."""
        return 0, position.last_generation, position.last_index


ABLATION = Ablation(
    CurrentEpochIgnored,
    removes="A Zab election compares the current epochs before the last zxids.",
    breaks="A committed history loses to one that is older, and what was read is gone.",
    nemesis="kill,partition",
    consensus="zab",
    pattern="leader_and_followers",
    random=False,
    real=False,
)
