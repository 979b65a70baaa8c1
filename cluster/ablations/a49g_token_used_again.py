"""A49g: the token of a lease is the number of leases there are, and not the revision of the grant.

When one holder is gone, the next one gets the same token, and no resource can tell them apart.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.core.lease import Leases


class TokenUsedAgain(Leases):
    """A table of leases that numbers those that it has."""

    def token_of(self, index: int) -> int:
        """One more than there are."""
        return len(self.table) + 1


ABLATION = Ablation(
    TokenUsedAgain,
    removes="The token of a grant is larger than that of every earlier grant.",
    breaks="Two holders, one after the other, have the same fencing token.",
    nemesis="none",
    workload="lease",
    checker="lease",
    anomaly="token-backwards",
    random=False,
    real=False,
)
