"""A18: a follower cuts its log after every append, differing or not.

An append that comes late, after longer ones, says nothing about the entries after its own. A
follower that cuts there loses what it has acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.wire import Entry


class AppendAlwaysCuts(ReplicatedLog):
    """A log that takes every entry for one that differs."""

    def missing(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """All of them, so that the log ends where the message ends."""
        return [entry for entry in entries if entry.index > self.base_index]


ABLATION = Ablation(
    AppendAlwaysCuts,
    removes="A log is cut only where an entry really differs.",
    breaks="An old copy of a message undoes acknowledged writes.",
    nemesis="packets",
    checker=BY_INVARIANTS,
    anomaly="core-raised",
    real=False,
)
