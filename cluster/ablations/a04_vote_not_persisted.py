"""A04: a vote is not written down.

The generation is durable and the vote in it is not. A node that votes, crashes and comes back has
its vote of the generation free again, and gives it to another candidate: two leaders of one
generation, each with a majority.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.clocks.generation_clock import GenerationClock
from cluster.wire import HardState


class VoteNotPersisted(GenerationClock):
    """A clock whose durable part leaves the vote out."""

    def hard_state(self) -> HardState:
        """The generation alone."""
        return HardState(self.generation, "", self.adopted)


ABLATION = Ablation(
    VoteNotPersisted,
    removes="A vote is durable before it is given.",
    breaks="A node votes twice in one generation, and two leaders take writes.",
    nemesis="kill,partition",
    checker=BY_INVARIANTS,
    anomaly="one-vote-per-generation",
    real=False,
)
