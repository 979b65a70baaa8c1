"""A40: a group that has voted yes ends its part of a transaction without asking how it was decided.

The transaction is committed and its client was told. One group has not heard of it yet, and when a
reader meets the old intent there, the intent is taken away.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.orphans import Orphans


class ParticipantAbortsAlone(Orphans):
    """Old intents are aborted where they are met."""

    def may_abort_alone(self) -> bool:
        """It has waited long enough."""
        return True


ABLATION = Ablation(
    ParticipantAbortsAlone,
    role="data",
    removes="After a yes-vote only the decision group says how a transaction ends.",
    breaks="A commit that was acknowledged is undone in one of its groups.",
    nemesis="partition",
    workload="bank",
    checker="bank",
    anomaly="wrong-total",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
