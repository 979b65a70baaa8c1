"""A06: what is said in a generation does not wait for that generation to be durable.

Entries are acknowledged when they are durable, as they should be. Votes and the first words of a
new generation leave while the write of that generation is still under way. A crash in between takes
the vote back, and the node gives it again.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.consensus.replicated_log import WriteOrder


class PromisesBeforeGenerationIsDurable(WriteOrder):
    """An order of writes in which the hard state is waited for by nothing."""

    def hard_state_first(self) -> bool:
        """Nothing waits."""
        return False


ABLATION = Ablation(
    PromisesBeforeGenerationIsDurable,
    removes="A vote, a refusal and a question wait until the generation they are of is durable.",
    breaks="A node that crashes at the wrong moment votes twice in one generation.",
    nemesis="kill,partition",
    checker=BY_INVARIANTS,
    anomaly="one-vote-per-generation",
    real=False,
)
