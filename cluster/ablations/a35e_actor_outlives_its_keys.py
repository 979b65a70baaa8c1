"""A35e: a node that forgot keys which it gave away writes on under the name that they know.

A node that is no replica of a key any more forgets it, and with it how many writes of the key it
has made. If it becomes a replica again, and takes a write before it has fetched the key, it counts
from one again. Others know this number, as that of the write it made then.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.leaderless.parts import ActorIds


class NamesForLife(ActorIds):
    """Actors that outlast the keys they wrote."""

    def after_forgetting(self, actor: str, following: str) -> str:
        """The one until now."""
        return actor


ABLATION = Ablation(
    NamesForLife,
    role="leaderless",
    pattern="version_vector",
    removes="A node that forgot keys counts its later writes under another name.",
    breaks="Two acknowledged writes have one name, and one of them is lost.",
    nemesis="membership",
    workload="siblings",
    checker="siblings",
    anomaly="lost",
    random=False,
    real=False,
)
