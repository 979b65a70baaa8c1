"""A44c: what was read is validated although another transaction has an intent on it.

The other one is prepared at a lower timestamp, and commits there: the reader should have seen it.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.two_phase_commit import Participant


class ValidationOverlooksIntents(Participant):
    """A group that validates against versions alone."""

    def intents_block_validation(self, intended: int, up_to: int) -> bool:
        """It may never commit."""
        return False


ABLATION = Ablation(
    ValidationOverlooksIntents,
    role="data",
    removes="A read holds only if no intent can still become a version that it has missed.",
    breaks="Write skew: two transactions each miss what the other wrote.",
    nemesis="partition",
    workload="list-append",
    checker="list-append",
    anomaly="G2-item",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
