"""A27c: a client waits for its entry however long that takes.

A leader that hears its followers and cannot replicate, since their disks stand still, keeps every
client. None is answered, and the list of those who wait is full in the end.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.channel.request_waiting_list import NEVER_NS, RequestWaitingList, Waiter


class NoEndOfWaiting(RequestWaitingList):
    """A list without deadlines."""

    def waits_until_ns(self, waiter: Waiter) -> int:
        """For ever."""
        return NEVER_NS


ABLATION = Ablation(
    NoEndOfWaiting,
    removes="A client is answered when its deadline comes, with an unknown outcome.",
    breaks="Requests wait without an answer, and fill the list.",
    nemesis="disk",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    random=False,
    real=False,
)
