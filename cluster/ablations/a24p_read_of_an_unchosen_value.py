"""A24p: a read returns the newest value it finds, whether or not a majority has it.

What one acceptor accepted may be chosen later, or never. A read that returns it must first see to
it that it is chosen; else the next read, of another majority, does not find it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.paxos import Attempt
from cluster.wire import Ballot


class ReadsUnchosenValues(Attempt):
    """An attempt that takes every value for a chosen one."""

    def is_chosen(self, promises: Sequence[tuple[Ballot, bytes]], base: Ballot) -> bool:
        """What one acceptor has is good enough."""
        return True


ABLATION = Ablation(
    ReadsUnchosenValues,
    role="paxos",
    removes="A read writes back a value unless it is known that a majority has it.",
    breaks="A later read does not see what an earlier one saw.",
    nemesis="partition",
)
