"""Data node: a node of role ``data``, whole. It implements :class:`cluster.ports.Core`.

It is composed of replicated groups (the replicas that live here), a group client (the way to every
group, here or elsewhere), a front (who answers a client) and up to three parts that decide
something: placement, controller, coordinator (``cluster.data.parts``).

    client --> front --> coordinator --ask--> group client --> links --> a group elsewhere
                 |                                |
                 +--> replica of group core <-----+--> replica of a group that is here

An event enters the part it concerns. What that part asks is sent, or given to a replica here; what
a replica answers goes back to the part that asked, which may ask again; so until nothing is left,
and only then are the effects handed to the host, as of one core.

The node's hybrid clock stamps every message between nodes and hears the stamps of all that arrive.
Its upper bound is durable before it is used (``clock_log``), in the same sequence of writes.

Invariants. The outcome of a question comes to the part that asked, once, and after the call that
asked has returned. Nothing that a part says leaves before what it stands on: an answer of a replica
that waits for a write waits here as well. The parts' own state is volatile, and what must not be
forgotten is in groups.

What breaks without it: see ``replicated_groups``, ``group_client`` and ``front``.

Sources: Joshi, "Consistent Core"; CockroachDB's and TiKV's node, which hosts many Raft groups and a
coordinator. Any host may run it: ``cluster.runtime`` with sockets and fsync, ``cluster.simulation``
in virtual time. Attributes without underscore may be read for invariants, never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import ClusterConfig
from cluster.core.member_requests import MEMBERS
from cluster.core.parts import ReplicaParts
from cluster.core.state_watch import WATCH
from cluster.data.clock_log import CLOCK
from cluster.data.group_client import Ask
from cluster.data.parts import ClientPart, DataParts, Part, PartSetting
from cluster.data.replicated_groups import CORE, Answer, founding_groups
from cluster.ports import (
    Clock,
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
    Command,
    Grouped,
    GroupRequest,
    GroupResponse,
    Message,
    Request,
    Response,
)

#: Status of a node that is not in the core.
DATA = "data"
#: The connection of requests that the node's host makes; nobody is answered.
_HOST = 0
#: Rounds in which parts and replicas may answer each other within one event.
_ROUNDS_MAX = 10_000

_NOTHING: dict[str, Any] = {
    "role": DATA, "leader": "", "generation": 0, "voted_for": "", "high_water_mark": 0,
    "applied": 0, "first_index": 1, "last_index": 0, "snapshot_index": 0, "members": [],
    "learners": [], "outgoing": [], "configuration_index": 0, "sessions": 0, "keys": 0,
    "duplicates": 0, "recovering": None,
}  # fmt: skip


class DataNode:
    """A node that hosts groups.

    Args:
        node_id: this node.
        founders: the nodes the cluster was founded with; none for a node that joins it.
        rng: randomness.
        clock: the node's clocks, of which the wall clock is for hybrid timestamps.
        config: timings and limits.
        peers: nodes that may know where the core is; for a node that joins.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node_id: NodeId,
        founders: Sequence[NodeId],
        *,
        rng: Rng,
        clock: Clock,
        config: ClusterConfig | None = None,
        peers: Sequence[NodeId] = (),
        parts: DataParts = DataParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node_id
        self.founders = tuple(sorted({*founders}))
        self.config = config if config is not None else ClusterConfig()
        self._peers = tuple(each for each in sorted({*peers}) if each != node_id)
        self._rng, self._clock, self._parts = rng, clock, parts
        self._members = founding_groups(self.founders)
        self._reads = {CORE: self._reads_of(parts.core)}
        self._data_reads = self._reads_of(parts.group)
        self._reset(None)

    def _reads_of(self, parts: ReplicaParts) -> frozenset[str]:
        """Commands that a group answers without an entry of its log."""
        return frozenset(parts.machine.build(self.config).reads) | {MEMBERS, WATCH}

    def _reset(self, clock: Recovered | None) -> None:
        parts = self._parts
        self._clock_log = parts.clock_log(clock, lambda: self.groups.next_write())
        self.stamps = parts.stamps(
            self.config,
            self._clock,
            self._clock_log.durable,
            make=parts.hybrid_clock,
            fence=parts.fence,
        )
        self.groups = parts.groups(
            self.node,
            rng=self._rng,
            config=self.config,
            parts_of=lambda group: parts.core if group == CORE else parts.group,
            stamp=self.stamps.stamp,
            also_damaged=lambda: [CLOCK] if self._clock_log.damaged else [],
        )
        self.client = parts.client(
            self.node,
            rng=self._rng,
            is_read=lambda group, command: command.op in self._reads.get(group, self._data_reads),
            stamp=self.stamps.stamp,
            attempt_ns=self.config.election_max_ns,
        )
        self.front = parts.front()
        self._durable = self._timer_ns = 0
        self._held: list[tuple[int, Answer]] = []  # (write, answer that waits for it)
        self._asked_by: dict[int, str] = {}
        self._to_open: list[tuple[str, tuple[NodeId, ...]]] = []
        self._build_parts()

    def _build_parts(self) -> None:
        """The parts above, each with a way to the groups of its own."""
        parts = self._parts
        self.placement: ClientPart | None = (
            parts.placement(self._setting("placement")) if parts.placement else None
        )
        self.controller = (
            parts.controller(self._setting("controller")) if parts.controller else None
        )
        self.coordinator: ClientPart | None = (
            parts.coordinator(self._setting("coordinator")) if parts.coordinator else None
        )
        made: dict[str, Part | None] = {
            "placement": self.placement,
            "controller": self.controller,
            "coordinator": self.coordinator,
        }
        self.parts: dict[str, Part] = {name: part for name, part in made.items() if part}

    def _setting(self, part: str) -> PartSetting:
        return PartSetting(
            node=self.node,
            founders=self.founders,
            config=self.config,
            rng=self._rng,
            clock=self._clock,
            stamps=self.stamps,
            services=_NodeServices(self, part),
            placement=getattr(self, "placement", None) if part != "placement" else None,
        )

    # -- what others may look at -------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Requests that wait for an answer, of clients and of the node itself."""
        return self.groups.pending + self.client.pending

    def status(self) -> dict[str, Any]:
        """JSON-ready state: of the core, if this node is in it, and a row for each group."""
        rows = self.groups.rows()
        core = next((row for row in rows if row["group"] == CORE), None)
        base = dict(core) if core is not None else {**_NOTHING, "leader": self._known_core()}
        base.pop("group", None)
        damage = [row["recovering"] for row in rows if row["recovering"]]
        return {
            "node": self.node,
            "consensus": rows[0]["consensus"] if rows else "",
            **base,
            "pending": self.pending,
            "recovering": damage[0] if damage else None,
            "leads": [row["group"] for row in rows if row["role"] == "leader"],
            "groups": rows,
            **{name: part.status() for name, part in self.parts.items()},
        }

    def state_hash(self) -> str:
        """Hex digest of the core's applied state; zeros on a node that is not in the core."""
        replica = self.groups.replica(CORE)
        return replica.state_hash() if replica is not None else "0" * 32

    def _known_core(self) -> str:
        return self.client.target(CORE)

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        found = dict(recovered.groups)
        self._reset(found.pop(CLOCK, None))
        effects: list[Effect] = [*self._clock_log.start()]
        effects += self.groups.start(now_ns, found, self._members)
        self._learn_groups()
        for part in self.parts.values():
            effects += part.start(now_ns)
        return self._settle(now_ns, effects)

    def _learn_groups(self) -> None:
        """Tell the client where the groups are that this node knows of."""
        known: Mapping[str, Sequence[NodeId]] = self._members or {CORE: self._peers}
        for group, members in known.items():
            self.client.learn(group, members)
        for group in self.groups.names:
            replica = self.groups.replica(group)
            if group not in self._members and replica is not None:
                self.client.learn(group, replica.configuration.voters)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A node's message arrived; one of another role is dropped."""
        self.groups.touched.clear()
        kind = type(message)
        effects: list[Effect] = []
        if kind is Grouped:
            self.stamps.heard(source, message.stamp)  # type: ignore[union-attr]
            effects = self.groups.message(now_ns, source, message)  # type: ignore[arg-type]
        elif kind is GroupRequest:
            self.stamps.heard(source, message.stamp)  # type: ignore[union-attr]
            effects = self._take_request(now_ns, source, message)  # type: ignore[arg-type]
        elif kind is GroupResponse:
            self.stamps.heard(source, message.stamp)  # type: ignore[union-attr]
            self.client.on_response(now_ns, source, message)  # type: ignore[arg-type]
        return self._settle(now_ns, effects)

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""
        self.groups.touched.clear()
        self._timer_ns = 0
        effects = self.groups.tick(now_ns)
        self.client.tick(now_ns)
        for part in self.parts.values():
            if part.deadline_ns <= now_ns:
                effects += part.tick(now_ns)
        return self._settle(now_ns, effects)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""
        self.groups.touched.clear()
        self._durable = io_id
        effects = self._clock_persisted(io_id)
        effects += self.groups.persisted(now_ns, io_id)
        if self._held:
            held, self._held = self._held, []
            for after, answer in held:
                self._deliver(now_ns, answer._replace(after=after), effects)
        return self._settle(now_ns, effects)

    def _clock_persisted(self, io_id: int) -> list[Effect]:
        was_damaged = self._clock_log.damaged
        bound = self._clock_log.persisted(io_id)
        if bound:
            self.stamps.bound_durable(bound)
        if not was_damaged or self._clock_log.damaged:
            return []
        return [Note("repaired", {"group": CLOCK, "damaged_groups": self.groups.damaged})]

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's request arrived on a connection."""
        return self.on_clients(now_ns, ((connection, request),))

    def on_clients(self, now_ns: int, requests: Sequence[tuple[int, Request]]) -> list[Effect]:
        """Several requests arrived at once, as (connection, request): those for the core share a
        batch."""
        self.groups.touched.clear()
        effects: list[Effect] = []
        for_core: list[tuple[int, Request]] = []
        for connection, request in requests:
            wrong = self.front.problem(request.command)
            if connection == _HOST:
                effects += self.groups.hand_over(now_ns)
            elif wrong:
                effects.append(Reply(connection, Response(request.id, "fail", error=wrong)))
            elif self.front.is_for_coordinator(request.command):
                effects += self._coordinate(now_ns, connection, request)
            elif self.front.is_for_placement(request.command):
                effects += self._place(now_ns, connection, request)
            elif self.groups.hosts(CORE):
                for_core.append((connection, request))
            else:
                answer = self.front.elsewhere(self.node, request, self._known_core())
                effects.append(Reply(connection, answer))
        if for_core:
            effects += self.groups.clients(now_ns, CORE, for_core)
        return self._settle(now_ns, effects)

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self.groups.touched.clear()
        effects = self.groups.disconnected(now_ns, connection)
        for part in (self.coordinator, self.placement):
            if part is not None:
                effects += part.on_disconnect(now_ns, connection)
        return self._settle(now_ns, effects)

    # -- requests ----------------------------------------------------------------------------------

    def _coordinate(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        if self.coordinator is None:
            return [Reply(connection, self.front.no_coordinator(self.node, request))]
        return self.coordinator.on_client(now_ns, connection, request)

    def _place(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        if self.placement is None:
            return [Reply(connection, self.front.no_placement(self.node, request))]
        return self.placement.on_client(now_ns, connection, request)

    def _take_request(self, now_ns: int, source: NodeId, message: GroupRequest) -> list[Effect]:
        """A node asks a group, through this node: its replica here is asked, or the node is told
        who is in the group."""
        group, request = message.group, message.request
        if self.groups.hosts(group):
            return self.groups.ask(now_ns, group, request, asker=source, token=message.token)
        known = self.client.target(group)
        response = Response(
            request.id,
            "redirect" if known not in ("", self.node) else "retry",
            leader=known,
            error=f"{self.node} is not in group {group!r}",
        )
        return self._respond(now_ns, source, message.token, 0, response, 0)

    def _respond(
        self,
        now_ns: int,
        to: NodeId,
        token: int,
        generation: int,
        response: Response,
        after: int,
    ) -> list[Effect]:
        message = GroupResponse(generation, token, response, self.stamps.stamp())
        if to != self.node:
            return [Send(to, message, after)]
        self.client.on_response(now_ns, self.node, message)
        return []

    def _deliver(self, now_ns: int, answer: Answer, effects: list[Effect]) -> None:
        """An answer of a replica goes to the node that asked: this one, once it may."""
        if answer.to == self.node and answer.after > self._durable:
            self._held.append((answer.after, answer))
            return
        effects += self._respond(
            now_ns, answer.to, answer.token, answer.generation, answer.response, answer.after
        )

    # -- what follows from an input ----------------------------------------------------------------

    def _settle(self, now_ns: int, effects: list[Effect]) -> list[Effect]:
        """Carry everything through that an input made possible."""
        for _ in range(_ROUNDS_MAX):
            if not self._advance(now_ns, effects):
                break
        else:
            raise AssertionError(f"parts of {self.node} ask without end within one event")
        bound = self.stamps.bound_wanted()
        if bound:
            effects += self._clock_log.writes(bound)
        timer = self._next_timer(now_ns)
        if timer is not None:
            effects.append(timer)
        return effects

    def _advance(self, now_ns: int, effects: list[Effect]) -> bool:
        """One round: answers to those who asked, questions to those who know. Whether there were
        any."""
        answers = self.groups.take_answers()
        for answer in answers:
            self._deliver(now_ns, answer, effects)
        outcomes = self.client.take()
        for token, status, value, error in outcomes:
            part = self.parts[self._asked_by.pop(token)]
            effects += part.on_answer(now_ns, token, status, value, error)
        requests = self.client.take_requests()
        for to, message in requests:
            if to == self.node:
                effects += self._take_request(now_ns, to, message)
            else:
                effects.append(Send(to, message))
        to_open, self._to_open = self._to_open, []
        for group, members in to_open:
            effects += self.groups.open(now_ns, group, members)
        return bool(answers or outcomes or requests or to_open)

    def _next_timer(self, now_ns: int) -> SetTimer | None:
        """A timer, if the one set before is used up or too late."""
        wanted_ns = min(self.groups.deadline_ns, self.client.deadline_ns)
        for part in self.parts.values():
            wanted_ns = min(wanted_ns, part.deadline_ns)
        if wanted_ns >= NEVER_NS or now_ns < self._timer_ns <= wanted_ns:
            return None
        self._timer_ns = wanted_ns
        return SetTimer(wanted_ns)

    # -- for the parts -----------------------------------------------------------------------------

    def ask_for(self, part: str, now_ns: int, group: str, command: Command, **how: Any) -> int:
        """Ask a group for a part, which is given the outcome."""
        token = self.client.ask(now_ns, group, command, **how)
        self._asked_by[token] = part
        return token

    def open_group(self, group: str, members: Sequence[NodeId]) -> None:
        """There is such a group; see :meth:`cluster.data.parts.Services.open_group`."""
        if group not in (CORE, CLOCK) and group not in self._members:
            self.client.learn(group, tuple(members))
            self._to_open.append((group, tuple(members)))


class _NodeServices:
    """The :class:`cluster.data.parts.Services` of one part of a node."""

    __slots__ = ("_node", "ask")

    def __init__(self, node: DataNode, part: str) -> None:
        self._node = node
        self.ask: Ask = partial(node.ask_for, part)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that are here."""
        return self._node.groups.names

    def members(self, group: str) -> tuple[NodeId, ...]:
        """The members of a group."""
        return self._node.client.members(group)

    def leads(self, group: str) -> bool:
        """Whether this node leads a group."""
        return self._node.groups.leads(group)

    def machine(self, group: str) -> Any:
        """The state machine of a group that is here."""
        replica = self._node.groups.replica(group)
        return replica.machine if replica is not None else None

    def open_group(self, group: str, members: Sequence[NodeId]) -> None:
        """There is such a group."""
        self._node.open_group(group, members)


__all__ = ["CLOCK", "CORE", "DATA", "DataNode", "DataParts"]
