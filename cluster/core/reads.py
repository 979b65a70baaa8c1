"""Reads: every request that is answered from the state, whichever way it gets its index.

Problem. A read is served at once, after an index is applied, or after an event (a watch), by its
mode and by who leads. The rules of the modes, the clients that wait and the watches know nothing of
each other.

Solution. One object owns the three (:mod:`cluster.data.follower_reads`,
:mod:`cluster.core.pending_reads`, :mod:`cluster.core.state_watch`). It takes a read, asks the
consensus for an index where the mode needs one, and serves what the state has become new enough
for.

Invariants. A read runs at a state at least as new as its mode promises. ``members`` tells the
committed configuration, not the one in force.

What breaks without it. A29, A29b, A33: see the three modules.

Source: Joshi, "Follower Reads", "State Watch"; Raft thesis 6.4. Used by ``cluster.core.replica``.
"""

from __future__ import annotations

from cluster.channel.request_waiting_list import Waiter
from cluster.consensus.interface import Consensus
from cluster.core.answers import Answer, fail
from cluster.core.client_answers import ClientAnswers
from cluster.core.member_requests import MEMBERS, describe_members
from cluster.core.parts import ReplicaParts
from cluster.core.pending_requests import PendingRequests
from cluster.core.replicated_state import ReplicatedState
from cluster.data.follower_reads import ASK_LEADER, LEASE, NOW, READ_MODES, WAIT
from cluster.measures import Measures
from cluster.ports import NodeId, Rng
from cluster.wire import Command, Request


class Reads:
    """The reads and watches of one node.

    Args:
        node: this node.
        rng: for the salt of tokens that leave the node.
        parts: the classes of modes, waiting reads and watches.
        consensus: names the index at which a read is linearizable.
        state: what is read.
        answers: where answers go.
        pending: all requests that wait at this node.
    """

    __slots__ = (
        "_answers", "_asked", "_consensus", "_modes", "_node", "_pending", "_rng", "_state",
        "_waiting", "_watches",
    )  # fmt: skip

    def __init__(
        self,
        node: NodeId,
        *,
        rng: Rng,
        parts: ReplicaParts,
        consensus: Consensus,
        state: ReplicatedState,
        answers: ClientAnswers,
        pending: PendingRequests,
    ) -> None:
        self._node, self._rng = node, rng
        self._modes, self._waiting, self._watches = (
            parts.follower_reads(),
            parts.reads(),
            parts.watch(),
        )
        self._consensus, self._state = consensus, state
        self._answers, self._pending = answers, pending
        #: (lease, may be forwarded) -> token of the index that reads of this event have asked for
        self._asked: dict[tuple[bool, bool], int] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._watches)

    @property
    def deadline_ns(self) -> int:
        """When the first of them must be answered at the latest."""
        read_ns, watch_ns = self._waiting.deadline_ns, self._watches.deadline_ns
        return read_ns if read_ns < watch_ns else watch_ns

    def take(self, now_ns: int, waiter: Waiter, request: Request) -> None:
        """A well-formed read arrived."""
        if request.mode not in READ_MODES:
            modes = f"{', '.join(READ_MODES[:-1])} or {READ_MODES[-1]}"
            self._answers.give(waiter, fail(f"there is no read mode {request.mode!r}: {modes}"))
            return
        way = self._modes.way(now_ns, request, self._state.applied)
        if way == NOW:
            self._answers.give(waiter, self._answer(request.command))
        elif self._pending.admit(waiter):
            if way == WAIT:
                self._waiting.wait_for(request.min_revision, waiter, request.command)
            else:
                self._ask_index(now_ns, waiter, request, may_forward=way == ASK_LEADER)

    def _ask_index(
        self, now_ns: int, waiter: Waiter, request: Request, *, may_forward: bool
    ) -> None:
        """A read that needs an index; those of one kind that arrive in one event share it."""
        kind = request.mode == LEASE, may_forward
        token = self._asked.get(kind) or self._ask(now_ns, *kind)
        if token:
            self._waiting.add(token, waiter, request.command, now_ns)
        else:
            self._answers.redirect(waiter)

    def _ask(self, now_ns: int, lease: bool, may_forward: bool) -> int:
        """Ask the consensus for an index, or the leader; the token it is named for, 0 if none."""
        token, consensus = self._waiting.next_token(), self._consensus
        if consensus.read(now_ns, token, lease=lease) or (
            may_forward
            and consensus.forward_read(now_ns, self._waiting.forwarded(token, self._rng))
        ):
            self._asked[lease, may_forward] = token
            return token
        return 0

    def take_watch(self, waiter: Waiter, command: Command) -> None:
        """A well-formed watch arrived."""
        if self._pending.admit(waiter):
            values = self._state.machine.watched
            answer = self._watches.take(waiter, command, values, self._watched_to)
            if answer is not None:
                self._answers.give(waiter, answer)

    @property
    def _watched_to(self) -> int:
        """Up to which index watches are told of everything."""
        return self._watches.reaches(self._state.applied, self._consensus.log.last_index)

    def measures(self) -> Measures:
        """Watches, and how long reads waited for their index, by the node's own clock."""
        return Measures(
            gauges={"watch_count": len(self._watches)},
            counters={"watch_slow": self._watches.slow},
            histograms={"read_index_seconds": self._waiting.waited_seconds},
        )

    def serve(self, now_ns: int, named: list[tuple[int, int]]) -> None:
        """Answer what can be answered now.

        Args:
            now_ns: the node's time.
            named: indexes named by the consensus, as (token, index); index 0 means that the read
                cannot be served here any more.
        """
        self._asked.clear()
        if self._waiting.reads and (named or self._waiting.named):
            for waiter in self._waiting.name(named):
                self._answers.redirect(waiter)
            asked_ns, give = -1, self._answers.give
            for read in self._waiting.take_runnable(now_ns, self._state.applied):
                if read.asked_ns > asked_ns:
                    asked_ns = read.asked_ns
                give(read.waiter, self._answer(read.command))
            if asked_ns >= 0:
                self._modes.confirmed(asked_ns)
        if self._watches.watches:
            values = self._state.machine.watched
            for waiter, answer in self._watches.notice(values, self._watched_to):
                self._answers.give(waiter, answer)

    def _answer(self, command: Command) -> Answer:
        if command.op == MEMBERS:
            configuration = self._consensus.committed_configuration
            return describe_members(configuration, node=self._node, leader=self._consensus.leader)
        return self._state.machine.read(command)

    def expire(self, now_ns: int) -> None:
        """Answer the reads whose time is up; a watch learns that nothing has happened."""
        self._answers.give_all(self._waiting.expire(now_ns), "retry", "the read timed out")
        for waiter, answer in self._watches.expire(now_ns, self._watched_to):
            self._answers.give(waiter, answer)

    def disconnect(self, connection: int) -> None:
        """Forget the reads and watches of a connection that is gone."""
        self._waiting.disconnect(connection)
        self._watches.disconnect(connection)
