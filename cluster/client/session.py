"""The client's half of the protocol: retries, redirects, deduplication ids, deadlines. Sans-IO.

Problem. A request may be lost, its answer may be lost, the node may not lead, or may die while it
leads. Asking again is necessary and dangerous; giving up is necessary and must be honest.

Solution. A session keeps one connection, numbers its writes, and sends a write again under the same
number, to whichever node leads, until it is answered or its deadline comes; the cluster recognises
the copies (Idempotent Receiver). Events go in (connected, disconnected, response, tick), actions
come out (connect, send, complete, set a timer), and a host carries them out over any transport.

Outcomes, and they are meant literally:

    ok        it happened, once; ``value`` and ``revision`` are the cluster's answer
    fail      it did not happen and never will: refused by the state machine, a read that found no
              answer in time, or a write of which every copy sent was refused
    unknown   a write of which some copy may have been taken, and whose answer did not come in time.
              It may have happened, and may yet, until a later write of this session is done

A transaction over data groups (``txn-...``) is sent once: its outcome is unknown when the one
copy gets no answer, or when the node says so.

Commands are sent in order of submission, at most ``window`` under way (1: strictly one after the
other); the cluster keeps the order of a session's writes. A session that the cluster has forgotten
goes on under a new name; the write that met this ends unknown.

Invariants. Each command completes exactly once. A number is never used for two commands. A session
never sends on a connection that was replaced. Delays are jittered by the given randomness alone.

Source: Joshi, "Idempotent Receiver", "Request Pipeline", "Single-Socket Channel"; Raft thesis 6.3.
Used by ``cluster.client.asyncio_client`` and the simulation; a host must obey :class:`Connect`
(close the old connection, dial the new one, report under its epoch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from cluster.channel.single_socket_channel import OutgoingChannel
from cluster.client.routing import Routing
from cluster.client.session_name import SessionName
from cluster.config import MS
from cluster.core.member_requests import CHANGES, MEMBER_OPS, TRANSFER
from cluster.core.state_machine import READS
from cluster.core.state_watch import WATCH
from cluster.gossip.requests import UNNUMBERED as GROUP_UNNUMBERED
from cluster.leaderless.operations import READS as LEADERLESS_READS
from cluster.ports import NodeId, Rng, SetTimer
from cluster.wire import Command, Request, Response

#: Operations that take no number in the session: reads, and requests about the cluster itself,
#: which say how things shall be and so may be asked again.
UNNUMBERED = READS | LEADERLESS_READS | MEMBER_OPS | {WATCH} | GROUP_UNNUMBERED
NEVER_NS = 1 << 62


class Connect(msgspec.Struct, frozen=True):
    """Close the present connection, if any, and dial a node.

    The host must report ``on_connected`` or ``on_disconnected`` with this epoch, once it knows.
    """

    node: NodeId
    epoch: int


class SendRequest(msgspec.Struct, frozen=True):
    """Send a request on the connection of this epoch."""

    epoch: int
    request: Request


class Complete(msgspec.Struct, frozen=True):
    """A command has its outcome; said once per command.

    Args:
        id: as :meth:`ClientSession.submit` returned it.
        status: ``ok``, ``fail`` or ``unknown``.
        value: the result, for ok.
        revision: log index of the effect, or at which it was read.
        error: why, unless ok.
        node: the one that answered, or was asked last; "" if none was.
        answered: whether a node said so; False where the client gave up.
    """

    id: int
    status: str
    value: Any = None
    revision: int = 0
    error: str = ""
    node: NodeId = ""
    answered: bool = False


Action: TypeAlias = Connect | SendRequest | Complete | SetTimer


class _Pending:
    """A command that has no outcome yet."""

    __slots__ = (
        "attempt_until_ns",
        "command",
        "deadline_ns",
        "id",
        "in_doubt",
        "last_error",
        "last_node",
        "mode",
        "request_id",
        "seq",
        "staleness_ns",
        "to",
        "turned_away",
    )

    def __init__(
        self,
        id: int,
        seq: int,
        command: Command,
        mode: str,
        deadline_ns: int,
        to: NodeId,
        staleness_ns: int,
    ) -> None:
        self.id = id
        self.seq = seq
        self.command = command
        self.mode = mode
        self.deadline_ns = deadline_ns
        self.to = to
        self.turned_away = False  # the node to ask first took no connection
        self.staleness_ns = staleness_ns
        self.request_id = 0  # of the copy under way, 0 if none is
        self.attempt_until_ns = NEVER_NS
        self.in_doubt = False  # some copy may have been taken
        self.last_error = "no node could be reached"
        self.last_node = ""

    @property
    def pinned(self) -> bool:
        """Whether only the node it names may answer: with its own state, or since a transaction
        that was begun lives there."""
        return bool(self.to) and (self.mode == "stale" or (self.once and bool(self.command.key)))

    @property
    def writes(self) -> bool:
        """Whether a copy of it that was taken may have changed something."""
        return bool(self.seq) or self.command.op in CHANGES or self.command.op == TRANSFER

    @property
    def once(self) -> bool:
        """Whether it must not be sent twice: data nodes recognise no copy of a transaction."""
        return self.command.op.startswith("txn-")

    @property
    def due_ns(self) -> int:
        """When the session must look at it again."""
        return min(self.deadline_ns, self.attempt_until_ns)

    def copy(
        self, request_id: int, node: NodeId, now_ns: int, attempt_ns: int, first_unanswered: int,
        name: SessionName,
    ) -> Request:  # fmt: skip
        """A copy that is sent to a node now, which should answer within ``attempt_ns``."""
        self.request_id, self.last_node = request_id, node
        attempt_ns = max(1, self.deadline_ns - now_ns) if self.once else attempt_ns
        self.attempt_until_ns = now_ns + attempt_ns
        return Request(
            id=request_id,
            session=str(name),
            seq=self.seq,
            first_unanswered=first_unanswered,
            command=self.command,
            mode=self.mode,
            timeout_ns=self.patience_ns(now_ns, attempt_ns),
            opened_after=max(0, name.opened_after),
            min_revision=name.revision,
            staleness_ns=self.staleness_ns,
        )

    def answered(self, error: str) -> None:
        """The copy under way was answered."""
        self.request_id, self.attempt_until_ns, self.last_error = 0, NEVER_NS, error

    def unreached(self, why: str, refused_by: NodeId) -> None:
        """A connection is gone, or a node took none."""
        self.turned_away |= bool(refused_by) and refused_by == self.to
        if not self.last_node:  # it was never sent: this is why
            self.last_error = why

    def lost(self, error: str) -> None:
        """The copy under way will not be answered: it may have been taken."""
        self.answered(error)
        self.in_doubt = True

    def patience_ns(self, now_ns: int, attempt_ns: int) -> int:
        """How long a node may keep it; a watch, and a change of the members that waits, are
        answered before the client looks away: the answer says what it waits for."""
        left_ns = max(1, self.deadline_ns - now_ns)
        if self.command.op == WATCH:
            attempt_ns -= attempt_ns // 5
        elif self.command.op in CHANGES:
            attempt_ns = min(attempt_ns, left_ns)
            attempt_ns -= attempt_ns // 5
        return min(attempt_ns, left_ns)


class _Probe:
    """The question for any revision, without which a session sends no write; none if its id is 0.

    Args:
        id: of the request.
        until_ns: when the node that is asked counts as silent.
    """

    __slots__ = ("id", "until_ns")

    def __init__(self, id: int = 0, until_ns: int = NEVER_NS) -> None:
        self.id, self.until_ns = id, until_ns

    def request(self, session: str, attempt_ns: int) -> Request:
        """The question, as it is sent."""
        return Request(self.id, session, 0, 1, Command("get", ""), "stale", attempt_ns)


class ClientSession:
    """One session of one client.

    Args:
        name: unique among all clients there ever are.
        nodes: the nodes, the preferred one first.
        rng: randomness for back-off.
        window: commands under way at once.
        attempt_ns: how long one copy may go unanswered before another node is tried.
        backoff_min_ns, backoff_max_ns: bounds of the growing delay between attempts.
        revision: one that was answered elsewhere, and that ``session`` reads are as new as.

    Raises:
        ValueError: no name, no nodes, or a window below 1.
    """

    def __init__(
        self,
        name: str,
        nodes: Sequence[NodeId],
        *,
        rng: Rng,
        window: int = 1,
        attempt_ns: int = 1_000 * MS,
        backoff_min_ns: int = 10 * MS,
        backoff_max_ns: int = 500 * MS,
        revision: int = 0,
    ) -> None:
        if not name:
            raise ValueError("name is empty: a session needs a name that no other session has")
        if not nodes:
            raise ValueError("nodes is empty: a session needs at least one node to ask")
        if window < 1:
            raise ValueError(f"window is {window}: at least one command must be under way")
        self._routing = Routing(nodes, rng=rng, backoff_ns=(backoff_min_ns, backoff_max_ns))
        self._name = SessionName(name, revision)
        self._window = window
        self._attempt_ns = attempt_ns
        self._channel = OutgoingChannel()
        self._dialling = False
        self._pending: list[_Pending] = []
        self._next_id = 1
        self._next_request = 1
        self._probe = _Probe()
        self._timer_ns = 0
        self._out: list[Action] = []

    @property
    def name(self) -> str:
        """The session's name as the cluster knows it now."""
        return str(self._name)

    @property
    def node(self) -> NodeId:
        """The node that is asked now."""
        return self._routing.node

    @property
    def revision(self) -> int:
        """The highest log index that the session has seen in an answer."""
        return self._name.revision

    @property
    def epoch(self) -> int:
        """Epoch of the present connection; 0 before the first."""
        return self._channel.epoch

    @property
    def pending(self) -> int:
        """Commands without an outcome."""
        return len(self._pending)

    # -- events -----------------------------------------------------------------------------------

    def submit(
        self,
        now_ns: int,
        command: Command,
        *,
        timeout_ns: int,
        mode: str = "linearizable",
        to: NodeId = "",
        staleness_ns: int = 0,
    ) -> tuple[int, list[Action]]:
        """Begin a command.

        Args:
            now_ns: the client's monotonic time.
            command: what to do.
            timeout_ns: when to give up.
            mode: of a read: one of :data:`cluster.data.follower_reads.READ_MODES`.
            to: the node to ask first; a stale read is answered by it or not at all.
            staleness_ns: of a ``bounded`` read: how long ago the answer may be from.

        Returns:
            The command's id, to be found in its :class:`Complete`, and actions.
        """
        seq = 0
        if command.op not in UNNUMBERED:
            seq = self._name.number()
        id, self._next_id = self._next_id, self._next_id + 1
        self._pending.append(
            _Pending(id, seq, command, mode, now_ns + timeout_ns, to, staleness_ns)
        )
        return id, self._settle(now_ns)

    def withdraw(self, now_ns: int, id: int) -> list[Action]:
        """Wait no more for a command, if it has no outcome; a write that was sent may happen yet.

        Args:
            now_ns: the client's monotonic time.
            id: the command's.
        """
        for pending in [each for each in self._pending if each.id == id]:
            self._give_up(pending, "it was withdrawn")
        return self._settle(now_ns)

    def on_connected(self, now_ns: int, epoch: int) -> list[Action]:
        """The connection of an epoch stands."""
        if self._channel.opened(epoch):
            self._dialling = False
        return self._settle(now_ns)

    def on_disconnected(self, now_ns: int, epoch: int, error: str = "") -> list[Action]:
        """The connection of an epoch is gone, or could not be made."""
        if self._channel.closed(epoch):
            refused, self._dialling = self._dialling, False
            why = error or f"the connection to {self.node} was lost"
            self._lose_copies(why)
            for pending in self._pending:
                pending.unreached(why, self.node if refused else "")
            self._routing.back_off(now_ns)
            self._leave_for(self._routing.next_in_turn())
        return self._settle(now_ns)

    def on_response(self, now_ns: int, epoch: int, response: Response) -> list[Action]:
        """An answer arrived on the connection of an epoch."""
        if not self._channel.is_current(epoch):
            return []
        if response.status != "expired":
            self._name.revision = max(self._name.revision, response.revision)
        if response.id == self._probe.id:
            self._probe = _Probe()
            self._name.learned(response.revision)
            return self._settle(now_ns)
        for pending in self._pending:
            if pending.request_id == response.id:
                self._take_answer(now_ns, pending, response)
                break
        return self._settle(now_ns)

    def on_tick(self, now_ns: int) -> list[Action]:
        """The time asked for by the last SetTimer has come."""
        self._timer_ns = 0
        return self._settle(now_ns)

    def close(self) -> list[Action]:
        """Give everything up: reads fail, writes end as honestly as they stand."""
        for pending in list(self._pending):
            self._give_up(pending, "the session was closed")
        actions, self._out = self._out, []
        return actions

    # -- answers ----------------------------------------------------------------------------------

    def _take_answer(self, now_ns: int, pending: _Pending, response: Response) -> None:
        status, routing = response.status, self._routing
        leader = routing.known(response.leader)
        pending.answered(response.error or status)
        if status in ("ok", "fail"):
            routing.answered()
            self._complete(pending, status, response)
        elif status == "expired":
            pending.in_doubt = True
            self._begin_anew(response.revision)
        elif status == "redirect" and leader and not pending.pinned:
            routing.redirected(now_ns)
            if leader != routing.node:
                self._leave_for(leader)
        else:
            # retry: refused for now. unknown: it may be in the log, and its next copy will tell.
            pending.in_doubt = pending.in_doubt or status != "retry"
            routing.back_off(now_ns)
            if leader and leader != routing.node:
                self._leave_for(leader)
            elif leader != routing.node and len(routing.nodes) > 1:
                self._leave_for(self._routing.next_in_turn())

    def _begin_anew(self, revision: int) -> None:
        """The cluster has forgotten this session: go on as another, whose numbers begin at 1."""
        self._name.begin_anew(revision)
        for pending in list(self._pending):
            if pending.seq and (pending.request_id or pending.in_doubt):
                # Some copy may have been taken under the old name: it must not be sent under this.
                pending.in_doubt = True
                self._give_up(pending, "the cluster has forgotten the session")
            elif pending.seq:
                pending.seq = self._name.number()

    def _complete(self, pending: _Pending, status: str, said: Response) -> None:
        self._pending.remove(pending)
        error = "" if status == "ok" else said.error or pending.last_error
        node = pending.last_node
        self._out.append(
            Complete(pending.id, status, said.value, said.revision, error, node, answered=True)
        )

    def _give_up(self, pending: _Pending, why: str) -> None:
        self._pending.remove(pending)
        in_doubt = pending.in_doubt or pending.request_id
        status = "unknown" if pending.writes and in_doubt else "fail"
        why = why or pending.last_error
        self._out.append(Complete(pending.id, status, error=why, node=pending.last_node))

    # -- connections ------------------------------------------------------------------------------

    def _lose_copies(self, why: str) -> None:
        """Copies under way will not be answered on this connection."""
        self._probe = _Probe()
        for pending in self._pending:
            if pending.request_id:
                pending.lost(why)

    def _leave_for(self, node: NodeId) -> None:
        """Go to another node; what is under way here is lost track of."""
        self._lose_copies(f"left {self.node} for {node}")
        self._routing.node = node
        self._dialling = False
        self._channel.open()  # frames of the old connection are out of date from now on

    # -- what follows from an event ---------------------------------------------------------------

    def _settle(self, now_ns: int) -> list[Action]:
        self._time_out(now_ns)
        if self._pending and now_ns >= self._routing.wait_until_ns:
            self._advance(now_ns)
        self._set_timer(now_ns)
        actions, self._out = self._out, []
        return actions

    def _time_out(self, now_ns: int) -> None:
        """End commands whose deadline came; leave a node that does not answer."""
        silent = self._probe.until_ns <= now_ns
        for pending in list(self._pending):
            if pending.deadline_ns <= now_ns:
                silent = silent or bool(pending.request_id)
                why = pending.last_error
                if pending.request_id:
                    why = f"{pending.last_node} did not answer"
                self._give_up(pending, f"timed out: {why}")
            elif pending.once and pending.in_doubt:
                self._give_up(pending, pending.last_error)
            elif pending.attempt_until_ns <= now_ns:
                silent = True
        if silent:
            error = f"{self.node} did not answer"
            self._lose_copies(error)
            self._routing.back_off(now_ns)
            self._leave_for(self._routing.next_in_turn())

    def _advance(self, now_ns: int) -> None:
        """Connect if need be; send what may be sent."""
        first = self._pending[0]
        elsewhere = bool(first.to) and first.to != self.node and not first.request_id
        if elsewhere and (first.pinned or not (first.last_node or first.turned_away)):
            self._leave_for(first.to)
        if not self._channel.connected:
            if not self._dialling:
                self._dialling = True
                self._out.append(Connect(self.node, self._channel.open()))
            return
        for pending in self._pending[: self._window]:
            if pending.request_id or (pending.pinned and pending.to != self.node):
                continue
            if pending.seq and not self._name.may_write():
                self._ask_revision(now_ns)
                break
            self._send(now_ns, pending)

    def _ask_revision(self, now_ns: int) -> None:
        if not self._probe.id:
            self._probe = _Probe(self._next_request, now_ns + self._attempt_ns)
            self._next_request += 1
            asked = self._probe.request(self.name, self._attempt_ns)
            self._out.append(SendRequest(self._channel.epoch, asked))

    def _send(self, now_ns: int, pending: _Pending) -> None:
        request_id, self._next_request = self._next_request, self._next_request + 1
        first = next((p.seq for p in self._pending if p.seq), self._name.next_number)
        request = pending.copy(request_id, self.node, now_ns, self._attempt_ns, first, self._name)
        self._out.append(SendRequest(self._channel.epoch, request))

    def _set_timer(self, now_ns: int) -> None:
        wanted_ns = min([self._probe.until_ns, *(each.due_ns for each in self._pending)])
        if self._pending and self._routing.wait_until_ns > now_ns:
            wanted_ns = min(wanted_ns, self._routing.wait_until_ns)
        if wanted_ns < NEVER_NS and not now_ns < self._timer_ns <= wanted_ns:
            self._timer_ns = wanted_ns
            self._out.append(SetTimer(wanted_ns))
