"""A55b: a refusal changes nothing: the pipeline is not emptied, and its sender does not go back.

The follower lacks what precedes a request, and refuses everything from then on. It is alive,
answers heartbeats, and its log stays where it is.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.channel.request_pipeline import RequestPipeline


class RefusalChangesNothing(RequestPipeline):
    """A pipeline that goes forward only."""

    def is_old(self, prev_index: int) -> bool:
        """Every refusal is."""
        return True


ABLATION = Ablation(
    RefusalChangesNothing,
    removes="A refusal empties the pipeline, and the sender goes back to where the logs agree.",
    breaks="One lost message, and a follower never catches up; writes stop when it is needed.",
    nemesis="packets",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    real=False,
)
