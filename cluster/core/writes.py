"""Writes: the way of a command from the client through the log, and back.

Problem. A write passes two waiting places, the update queue and the list of those that wait for an
entry, and the promise made to its client differs: before the log it did not happen, after it the
outcome is unknown until the entry is committed.

Solution. One object owns both. A write is answered from the receiver's memory if it is a copy;
else it is queued, proposed in a batch when ``request_batch`` lets it go and no earlier write of
entries is under way here, and answered when its own entry is applied.

Invariants. A request is in one of the two places at a time. What leaves the queue unproposed is
answered ``retry`` or redirected; what leaves the list unapplied is answered ``unknown``.

What breaks without it. A27a, A27d: an answer at append, a definite answer of a deposed leader.
A27b: an answer for another client's entry. A54: an answer before there is an entry. A26: a command
read before its turn. A28b: copies looked for only here, at the door.

Source: Joshi, "Singular Update Queue", "Request Waiting List". Used by ``cluster.core.replica``.
"""

from __future__ import annotations

import msgspec

from cluster.channel.request_batch import RequestBatch
from cluster.channel.request_waiting_list import NEVER_NS, RequestWaitingList, Waiter
from cluster.channel.singular_update_queue import SingularUpdateQueue
from cluster.config import ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.consensus.leader_and_followers import LEADER
from cluster.core.answers import Answer, fail, ok
from cluster.core.client_answers import ClientAnswers
from cluster.core.pending_requests import PendingRequests
from cluster.core.replicated_state import ReplicatedState
from cluster.wire import Entry, LoggedCommand, Request

_encode = msgspec.msgpack.Encoder().encode


class Writes:
    """The writes that wait at one node.

    Args:
        queue: those that are not in the log yet.
        waiting: those that wait for their entry.
        batch: what is promised while a batch gathers.
        config: limits of a batch.
        consensus: the log.
        state: the receiver remembers the answers to copies.
        answers: where answers go.
        pending: all requests that wait at this node.
    """

    __slots__ = (
        "_answers",
        "_batch",
        "_config",
        "_consensus",
        "_pending",
        "_queue",
        "_state",
        "_waiting",
    )

    def __init__(
        self,
        queue: SingularUpdateQueue,
        waiting: RequestWaitingList,
        batch: RequestBatch,
        *,
        config: ClusterConfig,
        consensus: Consensus,
        state: ReplicatedState,
        answers: ClientAnswers,
        pending: PendingRequests,
    ) -> None:
        self._queue, self._waiting, self._batch = queue, waiting, batch
        self._config, self._consensus, self._state = config, consensus, state
        self._answers, self._pending = answers, pending

    def __len__(self) -> int:
        return len(self._queue) + len(self._waiting)

    @property
    def deadline_ns(self) -> int:
        """When the first write must be answered, or the next batch must go, at the latest."""
        placed_ns, queued_ns = self._waiting.deadline_ns, self._queue.deadline_ns
        if self._batch.waits_until_ns < queued_ns:
            queued_ns = self._batch.waits_until_ns
        return placed_ns if placed_ns < queued_ns else queued_ns

    def take(self, waiter: Waiter, request: Request) -> None:
        """A well-formed write arrived."""
        if request.seq < 1 or not request.session:
            refused = fail("a command that writes needs a session and a seq >= 1")
            self._answers.give(waiter, refused)
        elif self._consensus.role != LEADER:
            self._answers.redirect(waiter)
        else:
            self._admit(waiter, request)

    def _admit(self, waiter: Waiter, request: Request) -> None:
        known = self._state.receiver.remembered(request.session, request.seq)
        if known is not None:
            self._answers.give(waiter, *known)
        elif self._pending.admit(waiter):
            logged = LoggedCommand(
                request.session,
                request.seq,
                self._queue.as_logged(request.command, self._state.machine.read),
                request.first_unanswered,
                request.opened_after,
            )
            self._queue.put(waiter, _encode(logged))
            if self._batch.answers_when_gathered():
                self._answers.give(waiter, ok(None))

    def propose(self, now_ns: int) -> None:
        """Give the log what has gathered, unless an earlier batch is to be waited for."""
        consensus, batch = self._consensus, self._batch
        batch.waits_until_ns = NEVER_NS
        if not self._queue.updates:
            return
        if consensus.role != LEADER:
            self._redirect_queue()
        while (
            self._queue
            and consensus.accepts_batch
            and batch.goes(
                now_ns,
                size=len(self._queue),
                size_max=self._config.batch_entries_max,
                under_way=consensus.uncommitted,
            )
        ):
            waiters, data = self._queue.take(
                entries_max=self._config.batch_entries_max,
                bytes_max=self._config.batch_bytes_max,
            )
            placed = consensus.propose(now_ns, data)
            if placed is None:
                self._answers.give_all(waiters, "retry", "leadership is being handed over")
                continue
            if not self._waiting.add(*placed, waiters):
                for waiter in waiters:
                    self._answers.give(waiter, ok(None))

    def _redirect_queue(self) -> None:
        for waiter in self._queue.drain():
            self._answers.redirect(waiter)

    def applied(self, entry: Entry, answer: tuple[Answer, int] | None) -> None:
        """An entry was applied, with this answer: answer the client that waits at its index."""
        held = self._waiting.applied(entry.index, entry.generation)
        if held is None:
            return
        waiter, own = held
        if own and answer is not None:
            self._answers.give(waiter, *answer)
        else:
            replaced = "another entry took this one's place in the log"
            self._answers.give(waiter, ("unknown", None, replaced))

    def abandon(self, generation: int, why: str) -> None:
        """Leadership of a generation is lost: the outcome of what was proposed in it is unknown."""
        lost = self._waiting.abandon(generation)
        self._answers.give_all(lost, self._waiting.outcome_when_lost(), why)
        self._redirect_queue()

    def expire(self, now_ns: int) -> None:
        """Answer the writes whose time is up."""
        late = self._waiting.expire(now_ns)
        self._answers.give_all(late, "unknown", "the entry is not committed yet: timed out")
        late = self._queue.expire(now_ns)
        self._answers.give_all(late, "retry", "timed out before it reached the log")

    def disconnect(self, connection: int) -> None:
        """Forget the writes of a connection that is gone."""
        self._queue.disconnect(connection)
        self._waiting.disconnect(connection)
