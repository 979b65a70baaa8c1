"""A20c: an acceptor says that it has accepted a value before that is durable.

The proposer counts the answer, and with its own copy the value is chosen and acknowledged. Then the
acceptor loses power, and is asked by the next proposer what it has accepted: nothing.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.consensus.acceptor import Acceptor


class AnswersBeforeSync(Acceptor):
    """An acceptor whose answers about values wait for no write."""

    def after_accepting(self, last: int) -> int:
        """At once."""
        return 0


ABLATION = Ablation(
    AnswersBeforeSync,
    removes="An acceptor's answer that it accepted a value leaves only when the value is durable.",
    breaks="An acknowledged write is gone after one node of three lost power.",
    nemesis="kill",
    consensus="multi-paxos",
    pattern="paxos",
    random=False,
    real=False,
)
