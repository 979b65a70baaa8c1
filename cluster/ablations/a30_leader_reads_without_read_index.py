"""A30: a leader answers reads at once, without asking anybody whether it still leads.

A leader that is cut off from its peers, but not from its clients, does not know that others have
gone on without it, and answers from the past. See ``cluster.consensus.read_index``.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation


class LeaderReadsWithoutReadIndex:
    """Overrides of :class:`cluster.consensus.raft.Raft`."""

    def read_is_safe(self, round: int) -> bool:
        """A leader may always read."""
        return True


ABLATION = Ablation(
    id="A30",
    slug="leader-reads-without-read-index",
    pattern="read_index",
    removes="A leader does not confirm by a heartbeat round that it still leads before a read.",
    breaks="A leader cut off from its peers serves reads from the past.",
    target="cluster.consensus.raft:Raft",
    decision="read_is_safe",
    override=LeaderReadsWithoutReadIndex,
    workload="register",
    nemesis="partition",
    checker="linearizable",
    anomaly="nonlinearizable",
    schedule="A30.txt",
    random=True,
    real=True,
)
