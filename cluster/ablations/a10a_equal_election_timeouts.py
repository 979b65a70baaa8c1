"""A10a: every node waits equally long for a leader.

Nodes that miss their leader all stand at the same moment, each votes for itself, none wins, and all
wait equally long again. What saves real clusters now and then is that their networks are not
equally fast.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.consensus.election import Election


class EqualElectionTimeouts(Election):
    """Elections without dice."""

    def timeout_ns(self) -> int:
        """Always the shortest."""
        return self._config.election_min_ns


ABLATION = Ablation(
    EqualElectionTimeouts,
    removes="Each wait for a leader is of another random length.",
    breaks="Candidates stand at the same moments and none is ever elected.",
    nemesis="kill",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    real=False,
)
