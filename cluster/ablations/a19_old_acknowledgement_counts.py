"""A19: an acknowledgement counts that was given to an earlier leadership.

The follower had the entries when it said so. It has cut them since, and what is at their place in
the new leader's log it has never seen.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.generation_clock import GenerationClock


class OldAcknowledgementCounts(GenerationClock):
    """A clock that does not tell old answers from new ones."""

    def counts_old_answers(self) -> bool:
        """They count."""
        return True


ABLATION = Ablation(
    OldAcknowledgementCounts,
    removes="An acknowledgement counts in the generation it was given in.",
    breaks="An entry is acknowledged that too few nodes have, and is lost.",
    nemesis="packets,partition",
    random=False,
    real=False,
)
