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
from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import ClusterConfig
from cluster.core.member_requests import MEMBERS
from cluster.core.parts import ReplicaParts
from cluster.core.state_watch import WATCH
from cluster.data.clock_log import CLOCK
from cluster.data.exchange import Exchange
from cluster.data.group_client import Ask
from cluster.data.hosted_parts import HostedParts
from cluster.data.node_measures import measures_of
from cluster.data.node_status import DATA, status_of
from cluster.data.parts import DataParts, Part, PartSetting
from cluster.data.replicated_groups import CORE, founding_groups
from cluster.measures import Measures
from cluster.ports import (
    Clock,
    Effect,
    NodeId,
    Note,
    Recovered,
    Reply,
    Rng,
    SetTimer,
)
from cluster.wire import (
    Grouped,
    GroupRequest,
    GroupResponse,
    Message,
    Request,
    Response,
)

#: The connection of requests that the node's host makes; they are not answered.
_HOST = 0
#: Rounds in which parts and replicas may answer each other within one event.
_ROUNDS_MAX = 10_000


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
        self._reads = {CORE: _reads_of(parts.core, self.config)}
        self._data_reads = _reads_of(parts.group, self.config)
        self._reset(None)

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
            clock=self._clock,
            config=self.config,
            parts_of=lambda group: parts.core if group == CORE else parts.group,
            times=self.stamps.times,
            also_damaged=lambda: [CLOCK] if self._clock_log.damaged else [],
        )
        self.client = parts.client(
            self.node,
            rng=self._rng,
            is_read=lambda group, command: command.op in self._reads.get(group, self._data_reads),
            times=self.stamps.times,
            attempt_ns=self.config.election_max_ns,
        )
        self.front = parts.front()
        self._timer_ns = 0
        self.exchange = Exchange(self.node, self.groups, self.client, self.stamps)
        self._to_open: list[tuple[str, tuple[NodeId, ...]]] = []
        self.parts = HostedParts(self.node, parts, self._setting, self.client)

    def _setting(self, part: str, placement: Part | None) -> PartSetting:
        """What a part is made with, its own way to the groups among it."""
        return PartSetting(
            node=self.node,
            founders=self.founders,
            config=self.config,
            rng=self._rng,
            clock=self._clock,
            stamps=self.stamps,
            services=_NodeServices(self, part),
            placement=placement,
        )

    @property
    def consensus(self) -> Any:
        """The core's consensus; None on a node that is not in the core."""
        replica = self.groups.replica(CORE)
        return replica.consensus if replica is not None else None

    @property
    def placement(self) -> Any:
        """The placement part; None if there is none."""
        return self.parts.placement

    @property
    def controller(self) -> Any:
        """The controller part; None if there is none."""
        return self.parts.controller

    @property
    def coordinator(self) -> Any:
        """The coordinator part; None if there is none."""
        return self.parts.coordinator

    # -- what others may look at -------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Requests that wait for an answer, of clients and of the node itself."""
        return self.groups.pending + self.client.pending

    def status(self) -> dict[str, Any]:
        """JSON-ready state: of the core, if this node is in it, and a row for each group."""
        return {
            **status_of(self.node, self.groups, core=self.client.target(CORE)),
            "pending": self.pending,
            **self.parts.status(),
        }

    def state_hash(self) -> str:
        """Hex digest of the core's applied state; zeros on a node that is not in the core."""
        replica = self.groups.replica(CORE)
        return replica.state_hash() if replica is not None else "0" * 32

    def measures(self) -> Measures:
        """What its groups and its clock have measured, for ``/metrics``."""
        return measures_of(self.groups, self.stamps)

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""
        found = dict(recovered.groups)
        self._reset(found.pop(CLOCK, None))
        effects: list[Effect] = [*self._clock_log.start()]
        effects += self.groups.start(now_ns, found, self._members)
        self._learn_groups()
        effects += self.parts.start(now_ns)
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
            self.stamps.heard(source, message)  # type: ignore[arg-type]
            effects = self.groups.message(now_ns, source, message)  # type: ignore[arg-type]
        elif kind is GroupRequest:
            self.stamps.heard(source, message)  # type: ignore[arg-type]
            effects = self.exchange.take_request(now_ns, source, message)  # type: ignore[arg-type]
        elif kind is GroupResponse:
            self.stamps.heard(source, message)  # type: ignore[arg-type]
            self.client.on_response(now_ns, source, message)  # type: ignore[arg-type]
        return self._settle(now_ns, effects)

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""
        self.groups.touched.clear()
        self._timer_ns = 0
        effects = self.groups.tick(now_ns)
        self.client.tick(now_ns)
        effects += self.parts.tick(now_ns)
        return self._settle(now_ns, effects)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""
        self.groups.touched.clear()
        effects = self._clock_persisted(io_id)
        effects += self.groups.persisted(now_ns, io_id)
        self.exchange.persisted(now_ns, io_id)
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
            answer = self._answer_here(now_ns, connection, request)
            if answer is None:
                for_core.append((connection, request))
            else:
                effects += answer
        if for_core:
            effects += self.groups.clients(now_ns, CORE, for_core)
        return self._settle(now_ns, effects)

    def _answer_here(self, now_ns: int, connection: int, request: Request) -> list[Effect] | None:
        """What follows from a request that is not for the core's replica here; None for one that
        is."""
        if connection == _HOST:
            return self.groups.hand_over(now_ns)
        wrong = self.front.problem(request.command)
        if wrong:
            return [Reply(connection, Response(request.id, "fail", error=wrong))]
        effects = self.parts.on_client(now_ns, connection, request)
        if effects is None and not self.groups.hosts(CORE):
            answer = self.front.elsewhere(self.node, request, self.client.target(CORE))
            return [Reply(connection, answer)]
        return effects

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""
        self.groups.touched.clear()
        effects = self.groups.disconnected(now_ns, connection)
        effects += self.parts.on_disconnect(now_ns, connection)
        return self._settle(now_ns, effects)

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
        exchanged = self.exchange.advance(now_ns)
        if exchanged:
            effects += exchanged
        outcomes = self.client.take()
        for outcome in outcomes:
            effects += self.parts.on_answer(now_ns, outcome)
        if not self._to_open:
            return exchanged is not None or bool(outcomes)
        to_open, self._to_open = self._to_open, []
        for group, members in to_open:
            effects += self.groups.open(now_ns, group, members)
        return True

    def _next_timer(self, now_ns: int) -> SetTimer | None:
        """A timer, if the one set before is used up or too late."""
        wanted_ns = self.groups.deadline_ns
        client_ns, parts_ns = self.client.deadline_ns, self.parts.deadline_ns
        if client_ns < wanted_ns:
            wanted_ns = client_ns
        if parts_ns < wanted_ns:
            wanted_ns = parts_ns
        if wanted_ns >= NEVER_NS or now_ns < self._timer_ns <= wanted_ns:
            return None
        self._timer_ns = wanted_ns
        return SetTimer(wanted_ns)

    # -- for the parts -----------------------------------------------------------------------------

    def open_group(self, group: str, members: Sequence[NodeId]) -> None:
        """There is such a group; see :meth:`cluster.data.parts.Services.open_group`."""
        if group not in (CORE, CLOCK) and group not in self._members:
            self.client.learn(group, tuple(members))
            self._to_open.append((group, tuple(members)))


def _reads_of(parts: ReplicaParts, config: ClusterConfig) -> frozenset[str]:
    """Commands that a group answers without an entry of its log."""
    return frozenset(parts.machine.build(config).reads) | {MEMBERS, WATCH}


class _NodeServices:
    """The :class:`cluster.data.parts.Services` of one part of a node."""

    __slots__ = ("_node", "ask")

    def __init__(self, node: DataNode, part: str) -> None:
        self._node = node
        self.ask: Ask = lambda now_ns, group, command, **how: node.parts.ask(
            part, now_ns, group, command, **how
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that are here."""
        return self._node.groups.names

    def members(self, group: str) -> tuple[NodeId, ...]:
        """The members of a group."""
        return self._node.client.members(group)

    def leader(self, group: str) -> NodeId:
        """Who leads a group: by its replica here, or the member that is asked for it."""
        replica = self._node.groups.replica(group)
        return replica.consensus.leader if replica else self._node.client.target(group)

    def leads(self, group: str) -> bool:
        """Whether this node leads a group."""
        return self._node.groups.leads(group)

    def machine(self, group: str) -> Any:
        """The state machine of a group that is here."""
        replica = self._node.groups.replica(group)
        return replica.state.machine if replica is not None else None

    def open_group(self, group: str, members: Sequence[NodeId]) -> None:
        """There is such a group."""
        self._node.open_group(group, members)


__all__ = ["CLOCK", "CORE", "DATA", "DataNode", "DataParts"]
