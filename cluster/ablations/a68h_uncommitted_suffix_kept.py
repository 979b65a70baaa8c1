"""A68h: a replica that joins a view fetches only what follows the end of its own log.

The end of its log may be a tail of an earlier view, of which the view that it joins has nothing. It
keeps the tail and has a hole where the view's own entries belong.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.consensus.state_transfer import StateTransfer


class UncommittedSuffixKept(StateTransfer):
    """A transfer that begins at the end of the log."""

    def begins_at(self, log: ReplicatedLog, mark: int) -> int:
        """What is here is here."""
        return log.last_index


ABLATION = Ablation(
    UncommittedSuffixKept,
    removes="State transfer begins at the commit number of a log, not at its end.",
    breaks="A replica keeps uncommitted entries, and misses committed ones in their place.",
    nemesis="partition",
    random=False,
    real=False,
    consensus="viewstamped",
    pattern="replicated_log",
)
