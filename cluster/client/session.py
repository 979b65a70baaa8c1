"""The client's half of the protocol: retries, redirects, deduplication ids, deadlines. Sans-IO.

Problem. A request may be lost, its answer may be lost, the node may not lead, or may die while it
leads. Asking again is necessary and dangerous; giving up is necessary and must be honest.

Solution. A session keeps one connection, numbers its writes, and sends a write again under the same
number, to whichever node leads, until it is answered or its deadline comes; the cluster recognises
the copies (Idempotent Receiver). Each later copy is waited for twice as long as the one before
(``cluster.channel.asking_again``). A leader that the session was not made with is asked for by
name: the members know the address of one that joined later. Events go in (connected, disconnected,
response, tick), actions come out (connect, send, complete, set a timer), and a host carries them
out over any transport.

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

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.channel.single_socket_channel import OutgoingChannel
from cluster.client.pending_command import Pending, Question
from cluster.client.routing import Routing
from cluster.client.session_name import SessionName
from cluster.config import MS
from cluster.consensus.membership import name_of
from cluster.core.member_requests import MEMBER_OPS
from cluster.core.state_machine import READS
from cluster.core.state_watch import WATCH
from cluster.gossip.requests import UNNUMBERED as GROUP_UNNUMBERED
from cluster.leaderless.operations import READS as LEADERLESS_READS
from cluster.ports import NodeId, Rng, SetTimer
from cluster.wire import Command, Request, Response

#: Operations that take no number in the session: reads, and requests about the cluster itself,
#: which say how things shall be and so may be asked again.
UNNUMBERED = READS | LEADERLESS_READS | MEMBER_OPS | {WATCH} | GROUP_UNNUMBERED
#: Clients of tests that wait for less than this, before they ask another node, are restless.
PATIENT_NS = 1_000 * MS


class Connect(msgspec.Struct, frozen=True):
    """Close the present connection, if any, and dial a node.

    The host must report ``on_connected`` or ``on_disconnected`` with this epoch, once it knows.

    Args:
        node: which.
        epoch: of the connection.
        address: ``host:port``, of a node that the session was not made with; else "".
    """

    node: NodeId
    epoch: int
    address: str = ""


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
        answered: whether a node said so, or the command can never be sent; False where the client
            gave up.
    """

    id: int
    status: str
    value: Any = None
    revision: int = 0
    error: str = ""
    node: NodeId = ""
    answered: bool = False


Action: TypeAlias = Connect | SendRequest | Complete | SetTimer


class ClientSession:
    """One session of one client.

    Args:
        name: unique among all clients there ever are.
        nodes: the nodes, the preferred one first.
        rng: randomness for back-off.
        window: commands under way at once.
        attempt_ns: how long the first copy may go unanswered before another node is tried.
        restless: later copies wait no longer than the first, so that tests soon ask every node.
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
        restless: bool = False,
        backoff_min_ns: int = 10 * MS,
        backoff_max_ns: int = 500 * MS,
        revision: int = 0,
    ) -> None:
        _refuse_what_no_session_has(name, nodes, window)
        self._routing = Routing(nodes, rng=rng, backoff_ns=(backoff_min_ns, backoff_max_ns))
        self._name = SessionName(name, revision)
        self._window = window
        self._attempt_ns, self._restless = attempt_ns, restless
        self._channel = OutgoingChannel()
        self._dialling = False
        self._pending: list[Pending] = []
        self._next_id = 1
        self._next_request = 1
        self._question = Question()
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
        seq = 0 if command.op in UNNUMBERED else self._name.number()
        id, self._next_id = self._next_id, self._next_id + 1
        self._pending.append(Pending(id, seq, command, mode, now_ns + timeout_ns, to, staleness_ns))
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
            self._leave_for(self._routing.disconnected(now_ns, refused))
        return self._settle(now_ns)

    def on_response(self, now_ns: int, epoch: int, response: Response) -> list[Action]:
        """An answer arrived on the connection of an epoch."""
        if not self._channel.is_current(epoch):
            return []
        if response.status != "expired":
            self._name.revision = max(self._name.revision, response.revision)
        if response.id == self._question.id:
            question, self._question = self._question, Question()
            if not question.member:
                self._name.learned(response.revision)
            else:
                self._leave_for(self._routing.meet(now_ns, question.member, response.value))
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

    def _take_answer(self, now_ns: int, pending: Pending, response: Response) -> None:
        status, routing = response.status, self._routing
        leader = routing.known(response.leader)
        pending.answered(response.error or status)
        if status in ("ok", "fail"):
            routing.answered()
            self._complete(pending, status, response)
        elif status == "expired":
            pending.in_doubt = True
            self._begin_anew(response.revision)
        elif status == "redirect" and leader not in ("", routing.node) and not pending.pinned:
            routing.redirected(now_ns)
            self._leave_for(leader)
        elif status == "redirect" and response.leader and not (leader or self._question.id):
            pending.leader = name_of(response.leader)
            self._ask(now_ns, response.leader)
        else:
            # retry: refused for now. unknown: it may be in the log, and its next copy will tell.
            if status not in ("retry", "redirect"):
                pending.lost(pending.last_error)
            elif status == "redirect":  # to the node that is asked: another one has its address
                pending.leader, leader = leader, ""
                routing.doubt_address()
            self._leave_for(routing.elsewhere(now_ns, leader))

    def _begin_anew(self, revision: int) -> None:
        """The cluster has forgotten this session: go on as another, whose numbers begin at 1."""
        self._name.begin_anew(revision)
        for pending in list(self._pending):
            if pending.seq and (pending.request_id or pending.in_doubt):
                # Some copy may have been taken under the old name: it must not be sent under this.
                self._give_up(pending, "the cluster has forgotten the session")
            elif pending.seq:
                pending.seq = self._name.number()

    def _complete(self, pending: Pending, status: str, said: Response) -> None:
        self._pending.remove(pending)
        error = "" if status == "ok" else said.error or pending.last_error
        node = pending.last_node
        self._out.append(
            Complete(pending.id, status, said.value, said.revision, error, node, answered=True)
        )

    def _give_up(self, pending: Pending, why: str) -> None:
        self._pending.remove(pending)
        in_doubt = pending.in_doubt or pending.request_id
        status = "unknown" if pending.writes and in_doubt else "fail"
        self._out.append(Complete(pending.id, status, error=why, node=pending.last_node))

    # -- connections ------------------------------------------------------------------------------

    def _lose_copies(self, why: str) -> None:
        """Copies under way will not be answered on this connection."""
        self._question = Question()
        for pending in self._pending:
            if pending.request_id:
                pending.lost(why)

    def _leave_for(self, node: NodeId) -> None:
        """Go to another node, "" to stay; what is under way here is lost track of."""
        if not node:
            return
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
        silent, error = self._question.until_ns <= now_ns, f"{self.node} did not answer"
        for place, pending in enumerate(list(self._pending)):
            late = pending.deadline_ns <= now_ns
            if self._question.id and place < self._window and (silent or late):
                pending.unreached(error, "")
            if late:
                silent = silent or bool(pending.request_id)
                why = pending.why_late(place >= self._window, self._routing.nodes)
                self._give_up(pending, f"timed out: {why}")
            elif pending.once and pending.in_doubt:
                self._give_up(pending, pending.last_error)
            elif pending.attempt_until_ns <= now_ns:
                silent = True
        if silent:
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
                self._out.append(Connect(self.node, self._channel.open(), self._routing.address))
            return
        if self._question.member:  # the node that is asked does not lead
            return
        for pending in self._pending[: self._window]:
            if pending.request_id or (pending.pinned and pending.to != self.node):
                continue
            if pending.seq and not self._name.may_write():
                self._ask(now_ns)
                break
            self._send(now_ns, pending)

    def _ask(self, now_ns: int, member: NodeId = "") -> None:
        """Ask for any revision, or for the address of a member."""
        if not self._question.id:
            id, self._next_request = self._next_request, self._next_request + 1
            self._question = Question(id, now_ns + self._attempt_ns, member)
            asked = self._question.request(self.name, self._attempt_ns)
            self._out.append(SendRequest(self._channel.epoch, asked))

    def _send(self, now_ns: int, pending: Pending) -> None:
        request_id, self._next_request = self._next_request, self._next_request + 1
        first = next((p.seq for p in self._pending if p.seq), self._name.next_number)
        window_ns = pending.window_ns(self._attempt_ns, self._restless)
        request = pending.copy(request_id, self.node, now_ns, window_ns, first, self._name)
        self._out.append(SendRequest(self._channel.epoch, request))

    def _set_timer(self, now_ns: int) -> None:
        wanted_ns = min([self._question.until_ns, *(each.due_ns for each in self._pending)])
        if self._pending and self._routing.wait_until_ns > now_ns:
            wanted_ns = min(wanted_ns, self._routing.wait_until_ns)
        if wanted_ns < NEVER_NS and not now_ns < self._timer_ns <= wanted_ns:
            self._timer_ns = wanted_ns
            self._out.append(SetTimer(wanted_ns))


def _refuse_what_no_session_has(name: str, nodes: Sequence[NodeId], window: int) -> None:
    if not name:
        raise ValueError("name is empty: a session needs a name that no other session has")
    if not nodes:
        raise ValueError("nodes is empty: a session needs at least one node to ask")
    if window < 1:
        raise ValueError(f"window is {window}: at least one command must be under way")
