"""A35b: a write replaces what its coordinator has, whether or not the client had read it.

So does a store that keeps one counter per server and no dots, or that ignores the context of the
client: the server's own vector stands for what the client knew, and covers what it never saw.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.clocks.version_vector import DottedVersions, KeyState, VersionVector


class ReplacesAll(DottedVersions):
    """Versions whose writes replace all that is there."""

    def replaced_context(self, state: KeyState, read: VersionVector) -> VersionVector:
        """All that the coordinator has heard of."""
        return state.vector


ABLATION = Ablation(
    ReplacesAll,
    role="leaderless",
    removes="A write replaces what its client had read, and nothing else.",
    breaks="Of two clients that read the same, the second to write drops the first one's element.",
    nemesis="partition",
    workload="siblings",
    checker="siblings",
    anomaly="lost",
)
