"""A38b: a group that has not answered in time counts as having refused.

It has carried the command out, and only its answer was lost. A transaction of one group is
committed by its vote: its client is told that it failed, and others see what it wrote.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.data.group_client import GroupClient


class SilenceIsARefusal(GroupClient):
    """A client of groups that knows two outcomes."""

    def outcome_of(self, writes: bool, in_doubt: bool) -> str:
        """What was not answered was not done."""
        return "fail"


ABLATION = Ablation(
    SilenceIsARefusal,
    role="data",
    removes="A write that found no answer has an unknown outcome.",
    breaks="What a failed transaction wrote is read by others.",
    nemesis="partition",
    workload="list-append",
    checker="list-append",
    anomaly="G1a",
    random=False,
    real=False,
    pattern="two_phase_commit",
)
