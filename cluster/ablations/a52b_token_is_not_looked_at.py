"""A52b: the number of the view is in each act, and members consent to any.

A leader that was stopped while the others agreed on a next view acts once more, under the old one,
after its successor did.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.gossip.fenced_register import FencedRegister


class TokenIsNotLookedAt(FencedRegister):
    """A resource without a fence."""

    def consents(self, view: int, fence: int) -> bool:
        """Any leader is as good as another."""
        return True


ABLATION = Ablation(
    TokenIsNotLookedAt,
    role="gossip",
    removes="Members refuse an act of a view older than one they know.",
    breaks="A deposed leader writes after its successor.",
    nemesis="pause",
    workload="emergent-leader",
    checker="lock",
    anomaly="token-backwards",
    random=False,
    real=False,
)
