"""A50e: an answer to a watch ends as soon as it is long enough, in the middle of a revision too.

It can only name the revision before, and the next watch begins with the first half again.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.state_watch import StateWatch
from cluster.data.versioned_value import Version


class AnswerEndsInsideARevision(StateWatch):
    """Watches that count events and nothing else."""

    def may_stop(self, last: int, version: Version) -> bool:
        """It is long enough."""
        return True


ABLATION = Ablation(
    AnswerEndsInsideARevision,
    removes="The changes of one revision are never divided between two answers.",
    breaks="A watcher of what a transaction changed is told a part of it twice.",
    nemesis="none",
    workload="watch",
    checker="watch",
    anomaly="duplicate-event",
    random=False,
    real=False,
)
