"""A01: a write is acknowledged before it is durable.

``Storage.sync`` returns at once, so votes and entries live in a volatile buffer until a segment is
full. Nothing is wrong until enough nodes lose what they acknowledged: all of them at once, or one
that lost the entry being elected by another that never had it. A plain ``kill -9`` does not show it
where the operating system keeps the bytes; our disk keeps unsynced bytes in the process, so here it
does.

Source: Write-Ahead Log in Joshi, *Patterns of Distributed Systems*; the default of Kafka and of
Redis, where durability is left to replication.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.log.storage import Storage


class AcknowledgesBeforeSync(Storage):
    """Storage that calls a write durable while it is in memory."""

    def syncs_before_ack(self) -> bool:
        """Never waits for the disk."""
        return False


ABLATION = Ablation(
    AcknowledgesBeforeSync,
    pattern="write_ahead_log",
    removes="A node answers for a write only when it is durable.",
    breaks="Acknowledged writes are gone after nodes crash.",
    nemesis="kill",
)
