"""A08d: a snapshot has the keys, and not what was remembered of sessions.

A node that begins with a snapshot has the effect of a request and does not know that it was carried
out. The client asks again.
"""

from __future__ import annotations

from typing import Any

from cluster.ablations.registry import Ablation
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.core.session import SessionTable


class SessionsLeftOutOfSnapshots(IdempotentReceiver):
    """A receiver whose memory is that of one life."""

    def encode(self) -> Any:
        """Nothing."""
        return SessionTable(0).encode()


ABLATION = Ablation(
    SessionsLeftOutOfSnapshots,
    removes="What is remembered of sessions is a part of snapshots.",
    breaks="A write that is retried after the nodes restarted happens twice.",
    nemesis="kill",
    workload="append",
    random=False,
    real=False,
)
