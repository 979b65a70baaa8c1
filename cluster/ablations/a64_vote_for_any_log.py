"""A64: a vote is given to a candidate whose log is behind.

A candidate that misses committed entries is elected and cuts them from every other log.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_INVARIANTS, Ablation
from cluster.consensus.election import Election, LogEnd


class VoteForAnyLog(Election):
    """Voters that do not compare logs."""

    def log_is_up_to_date(self, theirs: LogEnd, own: LogEnd) -> bool:
        """It will do."""
        return True


ABLATION = Ablation(
    VoteForAnyLog,
    removes="A candidate's log must be at least as recent as the voter's.",
    breaks="Acknowledged writes are lost in an election.",
    nemesis="partition",
    checker=BY_INVARIANTS,
    anomaly="leader-completeness",
    pattern="leader_and_followers",
    real=False,
)
