"""A10d: a leader that steps down does not wait for the next one.

A leader has no election timer running, and a deposed one must start it. This one does not: until it
hears a leader it never stands. Where it is the only node with all committed entries, there is no
leader again.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.channel.request_waiting_list import NEVER_NS
from cluster.consensus.election import Election


class TimerNotArmedOnStepDown(Election):
    """Elections in which a deposed leader's timer stays off."""

    def left_office(self, now_ns: int) -> None:
        """It waits for no time."""
        self.deadline_ns = NEVER_NS


ABLATION = Ablation(
    TimerNotArmedOnStepDown,
    removes="A node that led or stood and does not any more arms its election timer.",
    breaks="The only node that could be elected never stands.",
    nemesis="partition",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    real=False,
)
