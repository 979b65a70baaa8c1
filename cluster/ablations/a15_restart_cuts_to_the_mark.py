"""A15: a node that restarts keeps only what it knew to be committed.

The high-water mark lags behind the log, and is not known after a restart. A node that cuts its log
there throws away entries it has acknowledged, and then votes as if it had never had them. (Kafka
before KIP-101 cut its followers' logs so.)
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.wire import Entry


class RestartCutsToTheMark(ReplicatedLog):
    """A log of which a restart leaves what is in the snapshot."""

    def kept(self, entries: Sequence[Entry]) -> list[Entry]:
        """Nothing: none of them is known to be committed."""
        return []


ABLATION = Ablation(
    RestartCutsToTheMark,
    removes="A node that restarts keeps every durable entry, committed or not.",
    breaks="Acknowledged writes are gone after a follower restarts and the leader dies.",
    nemesis="kill",
    pattern="high_water_mark",
)
