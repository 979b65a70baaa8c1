"""A50c: a watch is told that it knows of everything in the node's log, committed or not.

The entry at that index may be cut, and another one take its place: a change that the watcher is
not told of, since it goes on above it.

Source: etcd had answers like this: progress notifications that ran ahead of the events (2023).
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.state_watch import StateWatch


class AnswerNamesAnAppendedRevision(StateWatch):
    """Watches that are told of the end of the log."""

    def reaches(self, applied: int, appended: int) -> int:
        """What the node has in its log."""
        return appended


ABLATION = Ablation(
    AnswerNamesAnAppendedRevision,
    removes="A watch is told up to which revision it knows everything by what is applied.",
    breaks="A leader that is cut off tells its watchers of progress; they miss what others commit.",
    nemesis="partition",
    workload="watch",
    checker="watch",
    anomaly="gap",
    random=False,
    real=False,
)
