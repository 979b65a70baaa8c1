"""A55b: a leader whose request was refused goes on with the next one.

The follower lacks what precedes it, and refuses everything from then on. It is alive, answers
heartbeats, and its log stays where it is.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.channel.request_pipeline import RequestPipeline


class NoStepBack(RequestPipeline):
    """A pipeline that never goes back."""

    def resumes_at(self, prev_index: int, next_index: int) -> int:
        """Where it was."""
        return self.next


ABLATION = Ablation(
    NoStepBack,
    removes="After a refusal the sender goes back to what the follower can take.",
    breaks="One lost message, and a follower never catches up; writes stop when it is needed.",
    nemesis="packets",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    real=False,
)
