"""A node of role ``gossip``: the group, and the leader that emerges from it, running alone.

It implements :class:`cluster.ports.Core` around parts that any other core may own as well
(the leaderless store does, for its membership):

    group_membership     who is there            messages Ping, PingAck, PingRequest, PushPull
    emergent_leader      the agreed view         messages StableView, Register...
    fenced_register      what its leader writes  messages Act, ActReply

The core makes durable what they must not forget (:mod:`cluster.gossip.writes`). Every message waits
for the write of the incarnation; a promise also waits for that of the memory of views.

Invariants. What this node tells others, itself included, is durable first. The group is looked at
by the leader's part after every event that may have changed it.

Source: Joshi, "Gossip Dissemination", "Emergent Leader". Attributes without underscore may be read
for invariants, never written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.config import ClusterConfig
from cluster.consensus.paxos import Acceptor, Attempt
from cluster.core.answers import Answer, fail, ok
from cluster.core.key_value import KeyValue
from cluster.gossip.emergent_leader import EmergentLeader, LivingMembers
from cluster.gossip.fenced_register import FencedRegister, unanswered
from cluster.gossip.group_membership import GroupMembership, GroupParts, status_of
from cluster.gossip.membership_view import SUSPECT
from cluster.gossip.requests import (
    ACT,
    JOIN,
    LEAVE,
    MEMBERS_VIEW,
    VIEWS,
    group_problem,
)
from cluster.gossip.writes import Writes, memory_of
from cluster.log.storage import Storage
from cluster.measures import Measures
from cluster.ports import (
    Effect,
    NodeId,
    Note,
    Recovered,
    Reply,
    Rng,
    Send,
    SetTimer,
)
from cluster.wire import (
    Act,
    ActReply,
    GossipMessage,
    HardState,
    Message,
    PushPull,
    RegisterMessage,
    Request,
    Response,
    StableView,
)

#: What such a node is, in its status, while it does not lead.
MEMBER = "member"


class GossipParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a node of role ``gossip``, and of the storage its host gives it."""

    group: GroupParts = GroupParts()
    leader: type[EmergentLeader] = EmergentLeader
    succession: type[LivingMembers] = LivingMembers
    register: type[FencedRegister] = FencedRegister
    attempt: type[Attempt] = Attempt
    acceptor: type[Acceptor] = Acceptor
    storage: type[Storage] = Storage


class Joining:
    """The clients that wait until this node has joined through a member."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[NodeId, Waiter]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due_ns(self) -> int:
        """When the first of them must be answered."""
        return min((waiter.deadline_ns for _, waiter in self._waiting), default=NEVER_NS)

    def add(self, seed: NodeId, waiter: Waiter) -> None:
        """A client waits for this member."""
        self._waiting.append((seed, waiter))

    def take(self, gone: Callable[[NodeId, Waiter], bool]) -> list[tuple[NodeId, Waiter]]:
        """Take out those that do not wait any more."""
        taken = [each for each in self._waiting if gone(*each)]
        if taken:
            self._waiting = [each for each in self._waiting if not gone(*each)]
        return taken


class GossipNode:
    """A node of role ``gossip``.

    Args:
        node_id: this node.
        members: the nodes the cluster was founded with; none for one that will ``join``.
        rng: randomness for the order of pings, partners and waits.
        config: timings and limits.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node_id: NodeId,
        members: Sequence[NodeId],
        *,
        rng: Rng,
        config: ClusterConfig | None = None,
        parts: GossipParts = GossipParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node_id
        self.founders = tuple(sorted(members))
        self.config = config if config is not None else ClusterConfig()
        self._parts, self._rng = parts, rng
        self._reset(Recovered(HardState(), None, []))

    def _reset(self, recovered: Recovered) -> None:
        config, parts, durable = self.config, self._parts, recovered.hard_state.generation
        self.group = GroupMembership(
            self.node, self.founders, config=config, rng=self._rng, parts=parts.group,
            durable=durable,
        )  # fmt: skip
        memory = memory_of(recovered, self.founders)
        self.leader = parts.leader(
            self.node, incarnation=self.group.incarnation, memory=memory,
            round_ns=config.gossip_round_ns, rng=self._rng, succession=parts.succession(),
            attempt=parts.attempt, acceptor=parts.acceptor,
        )  # fmt: skip
        self.register = parts.register(memory.fence, memory.number, memory.acted)
        self.writes = Writes(recovered, snapshot_records=config.snapshot_entries)
        self._durable = 0
        #: messages of this node to itself: those that wait for a write, and those to be taken now
        self._own: list[tuple[int, Message]] = []
        self._inbox: deque[tuple[NodeId, Message]] = deque()
        self._joining = Joining()
        self._again_ns = NEVER_NS
        self._timer_ns = 0
        self._told_leader = ""
        self._out: list[Effect] = []

    # -- what others may look at -------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this node leads the agreed view, as far as it can see."""
        return self.leader.leads(self.group.living)

    def measures(self) -> Measures:
        """How many members are suspected now, for ``/metrics``."""
        return Measures(gauges={"gossip_suspects": self.group.view.count(SUSPECT)})

    def status(self) -> dict[str, Any]:
        """JSON-ready state; the generation is the number of the last agreed view."""
        view = self.leader.view
        return {
            "node": self.node,
            "role": "leader" if self.leads else MEMBER,
            "leader": self.leader.leader,
            "generation": view.id,
            "high_water_mark": 0,
            "applied": 0,
            "first_index": self.writes.snapshot_index + 1,
            "last_index": self.writes.last_index,
            "snapshot_index": self.writes.snapshot_index,
            "members": list(self.group.living),
            "view_members": list(view.members),
            "configuration_index": 0,
            "consensus": "gossip",
            "pending": len(self.register) + len(self._joining),
            **status_of(self.group),
            "fence": self.leader.fence,
        }

    def state_hash(self) -> str:
        """Hex digest of the membership view, equal where views are."""
        return f"{self.group.view.digest:016x}"

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        self._reset(recovered)
        self.group.start(now_ns)
        return self._settle(now_ns)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A peer's message arrived."""
        self._inbox.append((source, message))
        return self._settle(now_ns)

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""
        if now_ns >= self.group.due_ns:
            self.group.tick(now_ns)
        if now_ns >= self._again_ns:
            self._again_ns = NEVER_NS
            for node, act in unanswered(self.register.silent()):
                self._send(node, act, self.writes.memory)
        return self._settle(now_ns)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""
        assert io_id >= self._durable, f"write {io_id} is durable after {self._durable}"
        self._durable = io_id
        own, self._own = self._own, []
        for after, message in own:
            self._send(self.node, message, after)
        return self._settle(now_ns)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's request arrived on a connection."""
        waiter = Waiter(connection, request.id, now_ns + max(0, request.timeout_ns))
        answer = self._begin_request(now_ns, waiter, request)
        if answer is not None:
            self._answer(waiter, answer)
        return self._settle(now_ns)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self.register.disconnect(connection)
        self._joining.take(lambda _, waiter: waiter.connection == connection)
        return self._settle(now_ns)

    # -- requests ----------------------------------------------------------------------------------

    def _begin_request(self, now_ns: int, waiter: Waiter, request: Request) -> Answer | None:
        """Answer a request, or None if it waits."""
        command = request.command
        if command.op in KeyValue.reads and command.key == "":
            return ok(None)  # a session asks for any revision before its first write
        wrong = group_problem(command)
        if wrong:
            return fail(wrong)
        if command.op in VIEWS:
            return ok(self._view_of(command.op))
        if command.op == ACT:
            return self._act(now_ns, waiter, command.args[0])
        if command.op == LEAVE:
            self.group.leave(now_ns)
            return ok(None)
        assert command.op == JOIN, f"{command.op} is no operation"
        if command.key in self.group.living:
            return ok(list(self.group.living))
        self._joining.add(command.key, waiter)
        self.group.join(now_ns, command.key)
        return None

    def _view_of(self, op: str) -> Any:
        if op == MEMBERS_VIEW:
            return list(self.group.living)
        view = self.leader.view
        return {
            "view": view.id, "leader": self.leader.leader, "members": list(view.members),
            "acting": self.leads,
        }  # fmt: skip

    def _act(self, now_ns: int, waiter: Waiter, value: Any) -> Answer | None:
        """The singleton's act: by the leader of the view, if it sees a majority of it."""
        view, fence = self.leader.view, self.leader.fence
        if self.leader.leader != self.node:
            alive = self.leader.leader in self.group.living
            return (
                "redirect" if alive else "retry",
                None,
                f"{self.leader.leader or 'no member'} leads",
            )
        if not self.leads or not self.register.consents(view.id, fence):
            return ("retry", None, f"{self.node} leads view {view.id} without a majority of it")
        if len(self.register) >= self.config.pending_max:
            return ("retry", None, f"{len(self.register)} acts wait already")
        act = self.register.begin(view.id, view.members, value, waiter)
        self._take_act(self.node, act)  # its number is durable here before others hear of it
        for node in view.members:
            if node != self.node:
                self._send(node, act, self.writes.memory)
        self._again_ns = min(self._again_ns, now_ns + self.config.gossip_round_ns)
        return None

    def _take_act(self, source: NodeId, act: Act) -> None:
        reply, news = self.register.take(act, self.leader.fence)
        if reply.accepted:
            self.leader.fence = max(self.leader.fence, act.view)
        if news:
            self._remember()
        self._send(source, reply, self.writes.memory)

    # -- messages ----------------------------------------------------------------------------------

    def _step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """One message, of a peer or of this node; those of other roles are dropped."""
        match message:
            case GossipMessage():
                self.group.receive(now_ns, source, message)
                self.leader.heard(source, message.view)
                if isinstance(message, PushPull):
                    self._joined(source)
            case StableView() | RegisterMessage():
                if self.leader.receive(now_ns, source, message):
                    self._remember()
            case Act():
                self._take_act(source, message)
            case ActReply():
                self.register.consented(source, message)

    def _joined(self, source: NodeId) -> None:
        """A member that was asked to let this node join may have spoken."""
        for _, waiter in self._joining.take(lambda seed, _: seed == source):
            self._answer(waiter, ok(list(self.group.living)))

    # -- writes and sending ------------------------------------------------------------------------

    def _remember(self) -> None:
        """Write down what the leader's part and the register must not forget."""
        memory = self.leader.remembered(self.register.number, self.register.value)
        if self.register.view < memory.fence:
            memory = msgspec.structs.replace(memory, number=0)
        self.writes.write_memory(memory)
        self._out += self.writes.take()

    def _send(self, to: NodeId, message: Message, after: int) -> None:
        """Send, once a write is durable; what this node says to itself waits here."""
        after = max(after, self.writes.incarnation)
        if to != self.node:
            self._out.append(Send(to, message, after))
        elif after <= self._durable:
            self._inbox.append((to, message))
        else:
            self._own.append((after, message))

    # -- what follows from an input ----------------------------------------------------------------

    def _settle(self, now_ns: int) -> list[Effect]:
        """Take what waits, look at the group; all effects, and a timer."""
        self._go_on(now_ns)
        while self._inbox:
            self._step(now_ns, *self._inbox.popleft())
            self._go_on(now_ns)
        self._answer_all(now_ns)
        self._set_timer(now_ns)
        effects, self._out = self._out, []
        return effects

    def _go_on(self, now_ns: int) -> None:
        """What one step has led to."""
        self.writes.write_incarnation(self.group.incarnation)
        self._out += self.writes.take()
        self.leader.consider(now_ns, self.group.living)
        self.group.agreed = self.leader.view.id
        for to, message in self.group.take_messages():
            self._send(to, message, self.writes.incarnation)
        for to, said, promises in self.leader.take_messages():
            self._send(to, said, self.writes.memory if promises else 0)
        if self.leader.leader != self._told_leader:
            self._told_leader = self.leader.leader
            view = self.leader.view
            if self._told_leader == self.node:
                self._out.append(Note("leader-emerged", {"view": view.id}))

    def _answer_all(self, now_ns: int) -> None:
        self.register.give_up(now_ns, self.leader.view.id)
        answers, self.register.answers = self.register.answers, []
        for waiter, (status, value, error) in answers:
            told = {**value, "leader": self.node} if status == "ok" else None
            self._answer(waiter, (status, told, error))
        for seed, waiter in self._joining.take(lambda _, waiter: waiter.deadline_ns <= now_ns):
            self._answer(waiter, ("retry", None, f"{seed} has not answered"))

    def _answer(self, waiter: Waiter, answer: Answer) -> None:
        status, value, error = answer
        leader = self.leader.leader if status == "redirect" else ""
        response = Response(waiter.request, status, value, self.leader.view.id, leader, error)
        self._out.append(Reply(waiter.connection, response))

    def _set_timer(self, now_ns: int) -> None:
        due_ns = min(
            self.group.due_ns, self.leader.due_ns, self.register.due_ns, self._joining.due_ns,
            self._again_ns,
        )  # fmt: skip
        if due_ns < NEVER_NS and not now_ns < self._timer_ns <= due_ns:
            self._timer_ns = max(due_ns, now_ns + 1)
            self._out.append(SetTimer(self._timer_ns))


__all__ = ["GossipNode", "GossipParts"]
