"""A11: half of the members are taken for a majority.

A quorum of n//2: two of four, one of three. Two halves share no node, so each side of a cut elects
a leader, commits, and answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.membership import Configuration, Membership


class _Halves(Configuration, frozen=True, array_like=True):
    """A configuration of which half decides."""

    def quorum_of(self, half: Sequence[str]) -> int:
        """Half, and at least one."""
        return max(1, len(half) // 2)


class HalfIsEnough(Membership):
    """A membership that counts to half."""

    def electorate(self, mark: int) -> Configuration:
        """The configuration in force, of which half decides."""
        found = self.current
        return _Halves(found.voters, found.learners, found.outgoing)


ABLATION = Ablation(
    HalfIsEnough,
    removes="A decision needs more than half of the voters.",
    breaks="Both sides of a partition serve: acknowledged writes are lost, reads are stale.",
    nemesis="partition",
    pattern="majority_quorum",
)
