"""A52c: a leader acts on what it believes, and does not wait for the members to consent.

It believes to lead until it hears of the next view. If it was stopped meanwhile, its act is
answered before it hears anything.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.gossip.fenced_register import FencedRegister


class ActsWithoutConsent(FencedRegister):
    """A leader that does not wait for answers."""

    def is_settled(self, consents: int, members: int) -> bool:
        """Its own consent is enough."""
        return consents > 0


ABLATION = Ablation(
    ActsWithoutConsent,
    role="gossip",
    removes="An act needs the consent of a majority of the view.",
    breaks="A deposed leader acts after its successor.",
    nemesis="pause",
    workload="emergent-leader",
    checker="lock",
    anomaly="token-backwards",
    random=True,
    real=True,
)
