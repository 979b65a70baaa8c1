"""What a replica of the core holds, what others may look at, and how it answers.

The first of three layers that make up :class:`cluster.core.replica.Replica`: state and answers
(here), requests about the cluster itself (``replica_members``), and the way of commands and reads
(``replica``). Each layer calls only itself and those before it.

Source: see ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.ablations.registry import ablate
from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.channel.request_waiting_list import NEVER_NS, RequestWaitingList, Waiter
from cluster.channel.singular_update_queue import SingularUpdateQueue
from cluster.config import ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.consensus.membership import Configuration
from cluster.consensus.raft import Raft
from cluster.core.member_requests import MemberRequests
from cluster.core.state_machine import Answer, KeyValue
from cluster.ports import Effect, NodeId, Reply, Rng
from cluster.wire import Entry, Request, Response

#: Consensus variants by the name used on the command line.
CONSENSUS: dict[str, type[Any]] = {"raft": Raft}


class PendingRead(msgspec.Struct, frozen=True):
    """A read that waits for its index, and for that index to be applied."""

    waiter: Waiter
    request: Request


class ReplicaState:
    """State and answers of one replica; arguments as for :class:`cluster.core.replica.Replica`."""

    def __init__(
        self,
        node_id: NodeId,
        members: Sequence[NodeId],
        *,
        rng: Rng,
        config: ClusterConfig | None = None,
        consensus: str | type[Any] = "raft",
        ablations: Sequence[str] = (),
    ) -> None:
        variant = CONSENSUS[consensus] if isinstance(consensus, str) else consensus
        self.node = node_id
        self.config = config if config is not None else ClusterConfig()
        self.ablations = tuple(ablations)
        self.consensus: Consensus = ablate(variant, ablations)(
            node_id, members, config=self.config, rng=rng
        )
        self._new_machine = ablate(KeyValue, ablations)
        self._new_receiver = ablate(IdempotentReceiver, ablations)
        self.waiting = ablate(RequestWaitingList, ablations)()
        self.queue = ablate(SingularUpdateQueue, ablations)()
        self.member_requests = MemberRequests()
        self._rng = rng
        self._reset_state()

    def _reset_state(self) -> None:
        self.machine = self._new_machine()
        self.receiver = self._new_receiver(
            session_max=self.config.session_max,
            unanswered_max=self.config.session_unanswered_max,
        )
        self.applied = 0
        self._reads: dict[int, PendingRead] = {}
        self._reads_at: list[tuple[int, int]] = []
        self._reads_deadline_ns = NEVER_NS
        self._next_token = 1
        self._read_salt = 0
        self._led = 0
        self._timer_ns = 0
        self._out: list[Effect] = []

    # -- what others may look at ------------------------------------------------------------------

    @property
    def role(self) -> str:
        """``leader``, ``follower``, ``candidate`` or ``learner``."""
        return self.consensus.role

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this node knows; "" if it does not."""
        return self.consensus.leader

    @property
    def generation(self) -> int:
        """The node's generation."""
        return self.consensus.generation

    @property
    def voted_for(self) -> NodeId:
        """Whom it voted for in this generation; "" if nobody."""
        return self.consensus.voted_for

    @property
    def high_water_mark(self) -> int:
        """Last index known to be certain."""
        return self.consensus.high_water_mark

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""
        return self.consensus.snapshot_index

    @property
    def first_index(self) -> int:
        """First index of the log in memory."""
        return self.consensus.first_index

    @property
    def last_index(self) -> int:
        """Last index of the log."""
        return self.consensus.last_index

    def entry_at(self, index: int) -> Entry | None:
        """The log entry at an index; None if it is not held."""
        return self.consensus.entry_at(index)

    def generation_at(self, index: int) -> int | None:
        """The generation of the log entry at an index; None if it is not known."""
        return self.consensus.generation_at(index)

    @property
    def pending(self) -> int:
        """Client requests that wait for an answer."""
        waiting = len(self.waiting) + len(self.member_requests)
        return len(self.queue) + waiting + len(self._reads)

    @property
    def configuration(self) -> Configuration:
        """Who takes part, as far as this node's log tells."""
        return self.consensus.configuration

    def address_of(self, member: NodeId) -> str:
        """The address a member joined with, as the log tells; "" if it has none."""
        return self.consensus.configuration.address_of(member)

    def status(self) -> dict[str, Any]:
        """JSON-ready state; a host overwrites ``chaos`` and ``wall_offset_ns``, its own."""
        consensus = self.consensus
        return {
            "node": self.node,
            "role": consensus.role,
            "leader": consensus.leader,
            "generation": consensus.generation,
            "voted_for": consensus.voted_for,
            "high_water_mark": consensus.high_water_mark,
            "applied": self.applied,
            "first_index": consensus.first_index,
            "last_index": consensus.last_index,
            "snapshot_index": consensus.snapshot_index,
            "members": list(consensus.members),
            "learners": list(consensus.configuration.learners),
            "outgoing": list(consensus.configuration.outgoing),
            "configuration_index": consensus.configuration_index,
            "ablations": list(self.ablations),
            "chaos": False,
            "consensus": consensus.name,
            "wall_offset_ns": 0,
            "pending": self.pending,
            "sessions": len(self.receiver.sessions),
            "keys": len(self.machine),
            "duplicates": self.receiver.duplicates,
        }

    def state_hash(self) -> str:
        """Hex digest of the applied state: equal on all nodes at an equal applied index."""
        total = self.machine.digest() + 3 * self.receiver.digest() + 7 * self.applied
        return f"{total % (1 << 128):032x}"

    # -- answers ----------------------------------------------------------------------------------

    def _redirect(self, waiter: Waiter) -> None:
        leader = self.consensus.leader
        if leader and leader != self.node:
            self._reply(waiter, "redirect", error=f"{leader} leads, {self.node} does not")
        else:
            self._reply(waiter, "retry", error=f"{self.node} knows no leader")

    def _reply(self, waiter: Waiter, status: str, *, error: str) -> None:
        response = Response(
            id=waiter.request,
            status=status,
            revision=self.applied,
            leader=self.consensus.leader,
            error=error,
        )
        self._out.append(Reply(waiter.connection, response))

    def _answer(self, waiter: Waiter, answer: Answer, revision: int) -> None:
        status, value, error = answer
        response = Response(waiter.request, status, value, revision, self.consensus.leader, error)
        self._out.append(Reply(waiter.connection, response))
