"""A28c: which session is forgotten follows from what one node saw, and not from the log alone.

A copy of a write is answered at the leader's door and reaches no log. Where it counts as a use of
the session, the leader takes the session for a younger one than the other nodes do, and forgets
another.
"""

from __future__ import annotations

from cluster.ablations.registry import BY_LIVENESS, Ablation
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.core.session import Session


class SessionsForgottenByWhatOneNodeSaw(IdempotentReceiver):
    """A receiver whose sessions grow younger by a question."""

    def asked_for(self, name: str) -> Session | None:
        """The session, used now."""
        found = self.sessions.find(name)
        return found and self.sessions.use(name, found.last_index)


ABLATION = Ablation(
    SessionsForgottenByWhatOneNodeSaw,
    removes="The age of a session follows from the log alone.",
    breaks="Nodes with equal logs remember different sessions.",
    nemesis="partition",
    checker=BY_LIVENESS,
    anomaly=BY_LIVENESS,
    random=False,
    real=False,
)
