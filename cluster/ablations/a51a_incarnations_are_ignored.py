"""A51a: a record is judged by its state alone, and incarnations are ignored.

A member that was stopped for longer than a suspicion lasts is dead in all views. It comes back and
says so under a higher incarnation, and is not believed: a worse state is final.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.gossip.membership_view import MembershipView
from cluster.wire import MemberRecord


class IncarnationsAreIgnored(MembershipView):
    """A view without incarnation numbers."""

    def outranks(self, new: MemberRecord, old: MemberRecord) -> bool:
        """Whether the state is worse; incarnations only break ties."""
        return (new.state, new.incarnation) > (old.state, old.incarnation)


ABLATION = Ablation(
    IncarnationsAreIgnored,
    role="gossip",
    removes="A higher incarnation makes a record newer, in any state.",
    breaks="A member that was taken for dead once is dead for ever.",
    nemesis="pause",
    workload="membership-convergence",
    checker="convergence",
    anomaly="diverged",
    random=True,
    real=True,
)
