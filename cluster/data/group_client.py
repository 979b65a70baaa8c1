"""Group client: a node's way to the groups, its own and others'. Sans-IO.

Problem. The parts of a data node (coordinator, placement, controller) must ask groups that live
elsewhere, lead elsewhere, and change leaders while they are asked. A request may be lost, its
answer may be lost, and a write that is asked for twice must happen once. Each part that solved this
for itself would solve it differently.

Solution. One client for the whole node, which speaks to groups as ``client.session`` speaks to the
core, over the links between nodes. A part asks and gets a token; some time later the token has its
outcome. Outcomes are meant literally:

    ok        it happened, once; the value is the group's answer
    fail      it did not happen and never will: refused by the state machine, a read that found no
              answer in time, or a write of which every copy sent was refused
    unknown   a write of which some copy may have been taken, and whose answer did not come in time

A write goes under a number of a session of this client, and is sent again under the same number to
whichever member leads, until it is answered or its deadline comes; the group's Idempotent Receiver
recognises the copies. Sessions are many, and each has one write under way at a time: so no write
waits for another, and none depends on the order of arrival between nodes. A session that is free is
used again, under its next number, which also tells the group that the answer before was seen.

The client remembers for each group who answered for its leader last. A redirect is followed at
once, a few times in a row; a refusal (``retry``) is tried again after a jittered, growing delay; a
member that is silent for ``attempt_ns`` is left for the next one, and the time doubles with each
copy (``cluster.channel.asking_again``), so that a slow group gets fewer and recovers.

Invariants. Each token has exactly one outcome. A number of a session is used for one command. No
answer to an earlier copy is taken for one to a later copy. A client's life has session names and
tokens of copies of its own: a number used in an earlier life may have been used for something else,
and an answer to it may still be under way.

What breaks without it. A retried write happens twice (A28a, in the group); a write that was sent
and not answered is called failed, and happens (A27d).

Source: Joshi, "Idempotent Receiver", "Request Waiting List"; Raft thesis 6.3. Used by
``cluster.data.node``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from cluster.channel.asking_again import REDIRECTS_MAX, delay_ns, window_ns
from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import MS
from cluster.core.state_watch import WATCH
from cluster.data.known_group import ClientOfGroup, KnownGroup
from cluster.data.round_trips import Times, no_times
from cluster.ports import NodeId, Rng
from cluster.wire import Command, GroupRequest, GroupResponse, Request, Response

#: (token, status, value, error): ``ok``, ``fail`` or ``unknown``, and why unless ok.
Answered: TypeAlias = tuple[int, str, Any, str]

_encode = msgspec.msgpack.Encoder().encode
_decode_command = msgspec.msgpack.Decoder(Command).decode


class Ask(Protocol):
    """How a part of a data node asks a group: :meth:`GroupClient.ask` has the arguments."""

    def __call__(
        self,
        now_ns: int,
        group: str,
        command: Command,
        *,
        mode: str = "linearizable",
        timeout_ns: int,
        to: NodeId = "",
    ) -> int: ...


class _Asked:
    """A command that has no outcome yet."""

    __slots__ = (
        "attempt_until_ns", "command", "copies_lost", "copy", "deadline_ns", "failures", "group",
        "in_doubt", "last_error", "last_node", "mode", "redirects", "seq", "session", "to", "token",
        "wait_until_ns", "writes",
    )  # fmt: skip

    def __init__(
        self,
        token: int,
        group: KnownGroup,
        command: Command,
        *,
        mode: str,
        deadline_ns: int,
        to: NodeId,
        writes: bool,
    ) -> None:
        self.token, self.group, self.command = token, group, command
        self.mode, self.deadline_ns, self.to, self.writes = mode, deadline_ns, to, writes
        self.session: ClientOfGroup | None = None
        self.seq = 0
        self.copy = 0  # token of the copy under way; 0 if none is
        self.attempt_until_ns = self.wait_until_ns = 0
        self.in_doubt = False  # some copy may have been taken
        self.redirects = self.failures = 0
        self.copies_lost = 0  # copies that ended without an outcome
        self.last_error, self.last_node = "no member was asked", ""

    def lost(self, why: str) -> None:
        """A copy ended without an outcome: it may have been taken, or may yet be."""
        self.in_doubt = True
        self.copies_lost += 1
        self.last_error = why

    def window_ns(self, first_ns: int) -> int:
        """How long the next copy may go unanswered: longer after each that was lost."""
        return window_ns(first_ns, self.copies_lost)


class GroupClient:
    """One node's client of all groups.

    Args:
        node: this node, which is asked first where it is a member.
        rng: randomness for session names and back-off.
        is_read: whether a command is answered from the state, without an entry of the log.
        times: gives what a message to a node has as stamp, sent and back.
        attempt_ns: how long the first copy of a command may go unanswered before another member
            is tried; twice as long for each later one.
        backoff_min_ns, backoff_max_ns: bounds of the growing delay between attempts.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        rng: Rng,
        is_read: Callable[[str, Command], bool],
        times: Times = no_times,
        attempt_ns: int = 600 * MS,
        backoff_min_ns: int = 5 * MS,
        backoff_max_ns: int = 300 * MS,
    ) -> None:
        self._node = node
        self._rng = rng
        self._is_read = is_read
        self._times = times
        self._attempt_ns = attempt_ns
        self._backoff_ns = (backoff_min_ns, backoff_max_ns)
        self._life = ""
        self._session_count = 0
        self._next_token = 1
        # An answer to a former life of this node must not be taken for one to this.
        self._next_copy = rng.between(1, 1 << 40) << 20
        self._groups: dict[str, KnownGroup] = {}
        self._asked: dict[int, _Asked] = {}
        self._copies: dict[int, _Asked] = {}
        #: (time, token) of every moment at which something may have to be done
        self._moments: list[tuple[int, int]] = []
        self._requests: list[tuple[NodeId, GroupRequest]] = []
        self._answered: list[Answered] = []

    # -- decisions ---------------------------------------------------------------------------------

    def outcome_of(self, writes: bool, in_doubt: bool) -> str:
        """Decision: what is said of a command that found no answer."""
        return "unknown" if writes and in_doubt else "fail"

    # -- what is known -----------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Commands without an outcome."""
        return len(self._asked)

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        moments = self._moments
        while moments and moments[0][1] not in self._asked:
            heapq.heappop(moments)
        return moments[0][0] if moments else NEVER_NS

    def learn(self, group: str, members: Sequence[NodeId]) -> None:
        """A group has these members, or may be found at these nodes."""
        found = self._groups.setdefault(group, KnownGroup(group))
        found.learn(members, prefer=self._node)

    def members(self, group: str) -> tuple[NodeId, ...]:
        """Where a group is asked; empty if it is not known."""
        found = self._groups.get(group)
        return found.members if found is not None else ()

    def target(self, group: str) -> NodeId:
        """The member that would be asked now: the leader, as far as is known; "" for none."""
        found = self._groups.get(group)
        return found.whom() if found is not None and found.members else ""

    # -- asking ------------------------------------------------------------------------------------

    def ask(
        self,
        now_ns: int,
        group: str,
        command: Command,
        *,
        mode: str = "linearizable",
        timeout_ns: int,
        to: NodeId = "",
    ) -> int:
        """Ask a group.

        Args:
            now_ns: the node's monotonic time.
            group: its name.
            command: what to do; what its arguments hold may be changed afterwards.
            mode: of a read: one of :data:`cluster.data.follower_reads.READ_MODES`.
            timeout_ns: when to give up.
            to: the member to ask first; a ``stale`` read is answered by it or not at all.

        Returns:
            A token, to be found in :meth:`take` with its outcome, never before this call returns.
        """
        token, self._next_token = self._next_token, self._next_token + 1
        found = self._groups.get(group)
        if found is None or not found.members:
            self._answered.append((token, "fail", None, f"there is no group {group!r}"))
            return token
        asked = _Asked(
            token,
            found,
            _detached(command),
            mode=mode,
            deadline_ns=now_ns + timeout_ns,
            to=to,
            writes=not self._is_read(group, command),
        )
        self._asked[token] = asked
        self._wake(asked.deadline_ns, asked)
        if asked.writes and not self._gives_session(asked):
            found.waiting.append(token)
        else:
            self._send(now_ns, asked)
        return token

    def on_response(self, now_ns: int, source: NodeId, message: GroupResponse) -> None:
        """A member answered."""
        asked = self._copies.pop(message.token, None)
        if asked is None:
            return
        assert asked.copy == message.token, f"copy {message.token} is not the last of its command"
        asked.copy = 0
        response = message.response
        group = asked.group
        group.generation = max(group.generation, message.generation)
        if response.status != "expired":
            group.revision = max(group.revision, response.revision)
        self._judge(now_ns, asked, source, response)

    def tick(self, now_ns: int) -> None:
        """Time has passed."""
        moments = self._moments
        while moments and moments[0][0] <= now_ns:
            asked = self._asked.get(heapq.heappop(moments)[1])
            if asked is not None:
                self._look_at(now_ns, asked)

    def take_requests(self) -> list[tuple[NodeId, GroupRequest]]:
        """Take what must be sent, as (node, request); the node may be this one."""
        if not self._requests:
            return []
        requests, self._requests = self._requests, []
        return requests

    def take(self) -> list[Answered]:
        """Take the outcomes there are."""
        if not self._answered:
            return []
        answered, self._answered = self._answered, []
        return answered

    # -- answers -----------------------------------------------------------------------------------

    def _judge(self, now_ns: int, asked: _Asked, source: NodeId, response: Response) -> None:
        status, group = response.status, asked.group
        asked.last_error = response.error or status
        if status in ("ok", "fail"):
            group.target = group.target or source
            self._complete(now_ns, asked, status, response.value, response.error)
        elif status == "expired":
            self._begin_anew(now_ns, asked, response.revision)
        elif status == "redirect" and self._follows(asked, source, response.leader):
            asked.redirects += 1
            group.target = response.leader
            if asked.redirects > REDIRECTS_MAX:
                self._back_off(now_ns, asked)
            else:
                self._send(now_ns, asked)
        else:
            # retry: refused for now. unknown: it may be in the log, and its next copy will tell.
            if status == "unknown":
                asked.lost(asked.last_error)
            group.leave(source, response.leader)
            self._back_off(now_ns, asked)

    def _follows(self, asked: _Asked, source: NodeId, leader: NodeId) -> bool:
        return leader not in ("", source) and not (asked.to and asked.mode == "stale")

    def _begin_anew(self, now_ns: int, asked: _Asked, revision: int) -> None:
        """The group has forgotten the session: go on in another, unless this may have happened."""
        asked.group.lost_session(revision)
        asked.session = None
        if asked.in_doubt:
            self._give_up(now_ns, asked, f"group {asked.group.name} has forgotten the session")
        else:
            gives = self._gives_session(asked)
            assert gives, "a session was given back"
            self._send(now_ns, asked)

    def _complete(
        self, now_ns: int, asked: _Asked, status: str, value: Any = None, error: str = ""
    ) -> None:
        del self._asked[asked.token]
        self._copies.pop(asked.copy, None)
        why = "" if status == "ok" else error or asked.last_error
        self._answered.append((asked.token, status, value, why))
        group, session = asked.group, asked.session
        if session is not None:
            group.free.append(session)
        while group.waiting:
            after = self._asked.get(group.waiting[0])
            if after is not None and after.deadline_ns > now_ns:
                if not self._gives_session(after):
                    return
                self._send(now_ns, after)
            group.waiting.popleft()

    def _give_up(self, now_ns: int, asked: _Asked, why: str) -> None:
        asked.in_doubt = asked.in_doubt or bool(asked.copy)
        self._complete(now_ns, asked, self.outcome_of(asked.writes, asked.in_doubt), error=why)

    # -- time --------------------------------------------------------------------------------------

    def _look_at(self, now_ns: int, asked: _Asked) -> None:
        if asked.deadline_ns <= now_ns:
            silent = f"{asked.last_node} did not answer"
            why = silent if asked.copy else asked.last_error
            self._give_up(now_ns, asked, f"timed out: {why}")
        elif asked.copy:
            if asked.attempt_until_ns <= now_ns:
                self._silent(now_ns, asked)
        elif asked.wait_until_ns <= now_ns and (asked.session is not None or not asked.writes):
            self._send(now_ns, asked)

    def _silent(self, now_ns: int, asked: _Asked) -> None:
        """A copy was not answered: it may have been taken, or may yet be."""
        del self._copies[asked.copy]
        asked.copy = 0
        asked.lost(f"{asked.last_node} did not answer")
        asked.group.leave(asked.last_node)
        self._send(now_ns, asked)

    def _back_off(self, now_ns: int, asked: _Asked) -> None:
        asked.wait_until_ns = now_ns + delay_ns(self._backoff_ns, asked.failures, self._rng)
        asked.failures += 1
        asked.redirects = 0
        self._wake(asked.wait_until_ns, asked)

    def _wake(self, at_ns: int, asked: _Asked) -> None:
        heapq.heappush(self._moments, (at_ns, asked.token))

    # -- sending -----------------------------------------------------------------------------------

    def _gives_session(self, asked: _Asked) -> bool:
        """Give a write a number in a session; False if too many are under way."""
        session = asked.group.session(self._session_name)
        if session is None:
            return False
        session.seq += 1
        asked.session, asked.seq = session, session.seq
        return True

    def _session_name(self) -> str:
        if not self._life:
            self._life = f"{self._node}/{self._rng.between(1, (1 << 62) - 1):x}"
        self._session_count += 1
        return f"{self._life}.{self._session_count}"

    def _send(self, now_ns: int, asked: _Asked) -> None:
        pinned = asked.to and (asked.mode == "stale" or not asked.last_node)
        node = asked.to if pinned else asked.group.whom()
        copy, self._next_copy = self._next_copy, self._next_copy + 1
        asked.copy, asked.last_node = copy, node
        asked.attempt_until_ns = now_ns + asked.window_ns(self._attempt_ns)
        self._copies[copy] = asked
        self._wake(asked.attempt_until_ns, asked)
        session = asked.session
        request = Request(
            id=copy,
            session=session.name if session is not None else "",
            seq=asked.seq,
            first_unanswered=asked.seq,
            command=asked.command,
            mode=asked.mode,
            timeout_ns=self._patience_ns(now_ns, asked),
            opened_after=session.opened_after if session is not None else 0,
        )
        group = asked.group
        message = GroupRequest(group.generation, copy, group.name, request, *self._times(node))
        self._requests.append((node, message))

    def _patience_ns(self, now_ns: int, asked: _Asked) -> int:
        """How long a member may keep a request; a watch is answered before it is given up."""
        attempt_ns = asked.window_ns(self._attempt_ns)
        if asked.command.op == WATCH:
            attempt_ns -= attempt_ns // 5
        return min(attempt_ns, max(1, asked.deadline_ns - now_ns))


def _detached(command: Command) -> Command:
    """The command as the wire would carry it: no argument shared with the one who asks."""
    for argument in command.args:
        if isinstance(argument, (list, dict, tuple)):
            return _decode_command(_encode(command))
    return command
