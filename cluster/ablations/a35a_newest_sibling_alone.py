"""A35a: of concurrent writes only the newest is kept.

Version vectors tell that neither writer knew of the other. A store that keeps one all the same has
dropped a write that it acknowledged, and no later read tells.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.version_vector import DottedVersions, Sibling


class NewestAlone(DottedVersions):
    """Versions of which one is kept."""

    def kept(self, siblings: list[Sibling]) -> list[Sibling]:
        """The newest."""
        newest = max(siblings, key=lambda each: (each.dot.counter, each.dot.actor), default=None)
        return [] if newest is None else [newest]


ABLATION = Ablation(
    NewestAlone,
    role="leaderless",
    removes="Of siblings that do not know of each other, all are kept.",
    breaks="An acknowledged write that no client had read is gone.",
    nemesis="partition",
    workload="siblings",
    checker="siblings",
    anomaly="lost",
)
