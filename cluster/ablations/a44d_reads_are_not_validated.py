"""A44d: what a transaction has read may have changed when it commits.

A transaction reads a key, another one changes it and a second key, and the first one then appends
to the second key.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.timestamped_values import Version
from cluster.data.two_phase_commit import Participant


class ReadsAreNotValidated(Participant):
    """A group to which a read is over when it is answered."""

    def still_as_read(self, newest: Version | None, started: int, position: int) -> bool:
        """It was so once."""
        return True


ABLATION = Ablation(
    ReadsAreNotValidated,
    role="data",
    removes="What a transaction has read still holds when it commits.",
    breaks="A transaction comes before another one by what it read, and after it by what it wrote.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
