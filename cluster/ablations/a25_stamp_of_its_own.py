"""A25: a changed key is stamped with a number that is not in the log.

The number counts the changes this state machine made since it began. A node that applied the whole
log and one that began with a snapshot count differently, and so have different states at one index.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.core.key_value import KeyValue


class StampOfItsOwn(KeyValue):
    """Keys whose revisions follow from something else than the log."""

    def stamp(self, index: int) -> int:
        """So much after the last one as changes were made since this object was made."""
        given: int = self.__dict__.get("given", 0) + 1
        self.__dict__["given"] = given
        return self.values.newest + given


ABLATION = Ablation(
    StampOfItsOwn,
    removes="What a command does follows from the command and its log index alone.",
    breaks="Nodes with equal logs have different states.",
    nemesis="partition",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    pattern="replicated_log",
    real=False,
)
