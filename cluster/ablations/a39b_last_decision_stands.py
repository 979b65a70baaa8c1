"""A39b: a record that is decided takes another decision.

The coordinator was slow, and others have ended its transaction: it is aborted, and its intents are
gone. Then the coordinator's decision arrives, and is the record's from then on.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.decision_records import DecisionRecords, Record


class LastDecisionStands(DecisionRecords):
    """Records that say what they were told last."""

    def first_decision_stands(self, record: Record) -> bool:
        """The coordinator knows best."""
        return False


ABLATION = Ablation(
    LastDecisionStands,
    role="data",
    removes="The first decision of a transaction stands.",
    breaks="A transaction is acknowledged, and nothing of it is there.",
    nemesis="partition",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
