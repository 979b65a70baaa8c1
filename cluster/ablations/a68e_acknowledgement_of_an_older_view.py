"""A68e: a primary counts acknowledgements of a view before its own.

An acknowledgement names an index. In the view that it belongs to, another entry was there.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.generation_clock import FUTURE, PAST, PRESENT, GenerationClock


class AcknowledgementOfAnOlderView(GenerationClock):
    """A clock by which nothing is too old for a primary."""

    def standing(self, generation: int, *, leads: bool) -> int:
        """A primary takes the past for the present."""
        if generation == self.generation or (leads and generation < self.generation):
            return PRESENT
        return PAST if generation < self.generation else FUTURE


ABLATION = Ablation(
    AcknowledgementOfAnOlderView,
    removes="A primary counts only the PrepareOk messages of its own view.",
    breaks="A write is acknowledged that too few replicas have, and lost with them.",
    nemesis="partition,kill",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="generation_clock",
)
