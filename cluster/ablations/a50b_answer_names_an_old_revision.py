"""A50b: the answer to a watch names the revision that was asked for, and not what it tells of.

The next watch begins there, and is told the same changes again.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.state_watch import StateWatch, Watch


class AnswerNamesAnOldRevision(StateWatch):
    """Watches whose answers do not move their watchers on."""

    def complete_up_to(self, watch: Watch, applied: int) -> int:
        """What the watcher said it knows."""
        return watch.after


ABLATION = Ablation(
    AnswerNamesAnOldRevision,
    removes="An answer names the revision up to which it tells of all changes.",
    breaks="A watcher that goes on is told the same changes twice.",
    nemesis="none",
    workload="watch",
    checker="watch",
    anomaly="duplicate-event",
    random=False,
    real=False,
)
