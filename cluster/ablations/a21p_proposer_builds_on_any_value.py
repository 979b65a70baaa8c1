"""A21p: a proposer builds on the oldest value of its majority, and not on the newest.

Of the acceptors that promise, some may have missed the last changes. Only the highest accepted
ballot is sure to be that of the chosen value, or of one built on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.paxos import Attempt
from cluster.wire import Ballot


class BuildsOnAnyValue(Attempt):
    """An attempt that trusts the acceptor which lags most."""

    def newest(self, promises: Sequence[tuple[Ballot, bytes]]) -> tuple[Ballot, bytes]:
        """The value of the lowest ballot."""
        return min(promises)


ABLATION = Ablation(
    BuildsOnAnyValue,
    role="paxos",
    removes="A proposer builds on the value of the highest ballot that was accepted.",
    breaks="An acknowledged change is gone as soon as an acceptor that missed it is asked.",
    nemesis="partition",
)
