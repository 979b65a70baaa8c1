"""Answers to clients: what every part of the replica says to a client passes here.

An answer carries the index it holds for (the applied index, unless a remembered one is named) and
the leader this node knows, so that a client learns both from any node. A node that cannot serve a
request redirects it to the leader, or says why no leader is known.

Invariant. Answers leave in the order in which they were given, after the writes of their event.

Used by ``cluster.core.replica`` and the parts that it gives this object to.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.channel.request_waiting_list import Waiter
from cluster.config import ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.core.answers import Answer
from cluster.core.damage import why_no_leader
from cluster.core.replicated_state import ReplicatedState
from cluster.ports import Effect, NodeId, Note, Reply
from cluster.wire import Response


class ClientAnswers:
    """The answers of the present event.

    Args:
        node: this node.
        config: timings and limits.
        consensus: knows who leads.
        state: knows the applied index.
    """

    __slots__ = ("_config", "_consensus", "_node", "_out", "_state")

    def __init__(
        self, node: NodeId, *, config: ClusterConfig, consensus: Consensus, state: ReplicatedState
    ) -> None:
        self._node, self._config = node, config
        self._consensus, self._state = consensus, state
        self._out: list[Effect] = []

    def give(self, waiter: Waiter, answer: Answer, revision: int = 0) -> None:
        """Answer a client; the revision is the applied index, unless another is given."""
        status, value, error = answer
        leader = self._consensus.variant.leader
        response = Response(
            waiter.request, status, value, revision or self._state.applied, leader, error
        )
        self._out.append(Reply(waiter.connection, response))

    def give_all(self, waiters: Iterable[Waiter], status: str, error: str) -> None:
        """Answer each with the same sentence and no value."""
        for waiter in waiters:
            self.give(waiter, (status, None, error))

    def redirect(self, waiter: Waiter) -> None:
        """Name the leader to a client; if none is known, say why, and that it may try again."""
        leader = self._consensus.leader
        if leader and leader != self._node:
            self.give(waiter, ("redirect", None, f"{leader} leads, {self._node} does not"))
        else:
            why = why_no_leader(self._node, self._config, self._consensus)
            self.give(waiter, ("retry", None, why))

    def note(self, kind: str, **fields: int) -> None:
        """Tell the host of something, between the answers."""
        self._out.append(Note(kind, fields))

    def take(self) -> list[Effect]:
        """Take the answers given since the last call."""
        taken, self._out = self._out, []
        return taken
