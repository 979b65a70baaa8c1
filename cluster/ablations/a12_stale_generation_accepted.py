"""A12: a message of any generation is taken, and a leader does not step down for a higher one.

A leader that was paused through an election wakes up, goes on sending, and is obeyed. Its followers
answer its heartbeat rounds, so its reads are confirmed, and come from the past. Its writes compete
with those of its successor; a follower that would have to cut a committed entry stops itself.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.generation_clock import FUTURE, PRESENT, GenerationClock


class StaleGenerationAccepted(GenerationClock):
    """A clock that calls no message old, and no message new to a leader."""

    def standing(self, generation: int, *, leads: bool) -> int:
        """A message of any generation is current; a leader stays one after a higher generation."""
        return FUTURE if generation > self.generation and not leads else PRESENT


ABLATION = Ablation(
    StaleGenerationAccepted,
    removes="Messages of older generations are refused, and a leader steps down for a higher one.",
    breaks="A leader resumed after a pause serves stale reads, and its writes break followers.",
    nemesis="pause",
)
