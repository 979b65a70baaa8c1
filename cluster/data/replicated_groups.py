"""Replicated groups: many replicated logs on one node.

Problem. One log has one leader, and its disk and processor are the limit of all; and its members
are the only nodes that hold data. To have many leaders a node must be a member of many groups, and
every host of a node (a runtime, a simulation) would have to learn of groups everywhere: in
messages, writes, timers, notes.

Solution. This module hosts one :class:`cluster.core.replica.Replica` for each group, and looks to
its host like a single core. Messages between members are wrapped with their group's name. The
replicas number their writes each for itself, and the numbers of the node are one sequence over all
groups, as the one queue of its storage demands: an effect that waits for a write of its group waits
for the node's number of that write. There is one timer, for the earliest of all. An event wakes the
replica it concerns and no other, so an idle group costs its heartbeats.

Who asks. A request comes from a client that is connected to this node, or from a node: from this
one's own :class:`cluster.data.group_client.GroupClient` or another's. What asks for a node is given
a connection below 0 that is used once.

Which groups. The groups of the founders are computed from the sorted list of founders
(:func:`founding_groups`), on every node alike: the core on the first three, and one for each
founder on it and the two after it in the ring. A group that comes later is opened with a snapshot
which says who its members are, the same one at each of them; it is made durable before anything
else of the group, so a restarted node knows the members of each group that it is in from its own
disk. The files of a founder's groups are made at its first start, before there is anything to
write: on a disk that is full later, no group's first write holds up the writes of the others.

Invariants. A message, write or answer of a replica concerns its own group. The writes of a group
keep their order among those of the node. A replica hears that a write is durable once, and after
all earlier ones of its group. Each request of a node is answered at most once.

What breaks without it. Numbers that are each group's own, taken for the node's: a vote leaves when
another group's write is durable (A01, A04). Equal groups computed from differing lists: two
majorities that share no member.

Source: CockroachDB and TiKV ("Multi-Raft") for many groups on a node; the sequence of writes is the
durability order of ``cluster.ports``. Used by ``cluster.data.node``; sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import ClusterConfig
from cluster.consensus.leader_and_followers import LEADER
from cluster.core.parts import ReplicaParts
from cluster.core.replica import Replica
from cluster.data.hosted_replica import HostedReplica
from cluster.data.round_trips import Times, no_times
from cluster.ports import (
    Append,
    Clock,
    Effect,
    NodeId,
    Note,
    Recovered,
    Reply,
    Rng,
    SaveSnapshot,
    Send,
    SetTimer,
)
from cluster.wire import Grouped, HardState, Request, Response, Snapshot

#: The group that is the Consistent Core of a data cluster.
CORE = "core"
#: Members of a group, or all nodes if there are fewer.
MEMBERS = 3
#: Index of the snapshot that a group begins with which is opened while the cluster runs.
OPENED_AT = 1
#: The hard state that its members begin with: a generation without a leader, in which all have the
#: same log. (A replica of Viewstamped Replication that has been in no view has no memory.)
OPENED_IN = HardState(generation=1, adopted=1)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def home_group(node: NodeId) -> str:
    """The group whose home is this node."""
    return f"g-{node}"


def ring_members(home: NodeId, nodes: Sequence[NodeId]) -> tuple[NodeId, ...]:
    """The home node and those that follow it in the ring of these nodes, sorted.

    Raises:
        ValueError: the home is none of the nodes.
    """
    ring = sorted({*nodes})
    if home not in ring:
        raise ValueError(f"home is {home!r}, which is none of {', '.join(ring) or 'no nodes'}")
    at = ring.index(home)
    return tuple((ring[at:] + ring[:at])[:MEMBERS])


def founding_groups(founders: Sequence[NodeId]) -> dict[str, tuple[NodeId, ...]]:
    """The groups a cluster begins with, and the members of each."""
    ring = sorted({*founders})
    groups = {CORE: tuple(ring[:MEMBERS])} if ring else {}
    return groups | {home_group(node): ring_members(node, ring) for node in ring}


class Answer(NamedTuple):
    """The answer to a node that asked.

    Args:
        to: the node.
        token: of its question.
        generation: of the group.
        response: what it is.
        after: the node's write that must be durable first; 0 for none.
    """

    to: NodeId
    token: int
    generation: int
    response: Response
    after: int


class ReplicatedGroups:
    """The groups of one node.

    Args:
        node: this node.
        rng: randomness of the replicas.
        clock: the node's clocks.
        config: timings and limits of each.
        parts_of: the classes that a group's replica is made of, by the group's name.
        times: gives what a message to a node has as stamp, sent and back.
        also_damaged: what else of this node is still damaged, by name.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        rng: Rng,
        clock: Clock,
        config: ClusterConfig,
        parts_of: Callable[[str], ReplicaParts],
        times: Times = no_times,
        also_damaged: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._also_damaged = also_damaged
        self.node = node
        self.config = config
        self._make = partial(Replica, node, rng=rng, clock=clock, config=config)
        self._parts_of = parts_of
        self._times = times
        self._hosted: dict[str, HostedReplica] = {}
        #: the first deadline of all replicas; None after one of them has set its timer
        self._deadline_ns: int | None = None
        self._last_write = 0
        self._last_asked = 0
        self._askers: dict[int, tuple[str, NodeId, int]] = {}
        #: the groups that the present event has concerned
        self.touched: dict[str, None] = {}
        #: answers to nodes since the last call of :meth:`take_answers`
        self._answers: list[Answer] = []

    # -- what others may look at -------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The groups this node is in, sorted."""
        return tuple(sorted(self._hosted))

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        if self._deadline_ns is None:
            deadlines = (each.due_ns for each in self._hosted.values())
            self._deadline_ns = min(deadlines, default=NEVER_NS)
        return self._deadline_ns

    def hosts(self, group: str) -> bool:
        """Whether this node is in a group."""
        return group in self._hosted

    def replica(self, group: str) -> Replica | None:
        """The replica of a group, to be looked at; None if this node is not in it."""
        hosted = self._hosted.get(group)
        return hosted.replica if hosted is not None else None

    def leads(self, group: str) -> bool:
        """Whether this node leads a group, as far as it knows."""
        replica = self.replica(group)
        return replica is not None and replica.consensus.role == LEADER

    @property
    def damaged(self) -> list[str]:
        """The groups of which the disk lost something that peers have not given back yet."""
        return [name for name in self.names if self._hosted[name].replica.status()["recovering"]]

    @property
    def pending(self) -> int:
        """Requests that wait in all groups."""
        return sum(each.replica.pending for each in self._hosted.values())

    def rows(self) -> list[dict[str, Any]]:
        """One row per group, for the status."""
        return [self._row(name, self._hosted[name].replica) for name in self.names]

    def _row(self, name: str, replica: Replica) -> dict[str, Any]:
        status = replica.status()
        del status["node"]
        return {"group": name, **status}

    # -- inputs ------------------------------------------------------------------------------------

    def start(
        self,
        now_ns: int,
        recovered: Mapping[str, Recovered],
        members: Mapping[str, Sequence[NodeId]],
    ) -> list[Effect]:
        """Begin, or begin again after a crash.

        Args:
            now_ns: the node's monotonic time.
            recovered: what is durable, by group.
            members: the groups of the founding, by name; those that this node is not in too.
        """
        effects: list[Effect] = []
        for group in sorted({*recovered, *members}):
            found = recovered.get(group)
            founding = tuple(members.get(group, ()))
            if found is None and self.node in founding:
                # Its files are made now, and not when the disk may be full.
                effects.append(Append(self.next_write(), group=group))
                found = Recovered(HardState(), None, [])
            if found is not None and not founding and found.snapshot is not None:
                founding = found.snapshot.members
            if found is not None and self.node in founding:
                if found.hard_state.generation == 0:
                    effects.append(Note("group-founded", {"group": group}))
                effects += self._begin(now_ns, group, founding, found)
        return effects

    def open(self, now_ns: int, group: str, members: Sequence[NodeId]) -> list[Effect]:
        """A group comes to be while the cluster runs; nothing to do if this node is in it, or is
        none of its members.

        Raises:
            ValueError: it has no members, or one of them twice.
        """
        voters = tuple(sorted({*members}))
        if not voters or len(voters) != len(members):
            raise ValueError(f"members of group {group!r} are {list(members)}: a set of nodes")
        if self.hosts(group) or self.node not in voters:
            return []
        empty = self._make(voters, parts=self._parts_of(group))
        first = Snapshot(OPENED_AT, 0, voters, empty.state.encode())
        entered = Append(self.next_write(), OPENED_IN, group=group)
        save = SaveSnapshot(self.next_write(), first, OPENED_AT + 1, reset_log=True, group=group)
        note = Note("group-opened", {"group": group, "members": list(voters)})
        found = Recovered(OPENED_IN, first, [])
        self.touched[group] = None
        return [entered, save, note, *self._begin(now_ns, group, voters, found)]

    def message(self, now_ns: int, source: NodeId, message: Grouped) -> list[Effect]:
        """A member of a group said something; of a group this node is not in, it is dropped."""
        hosted = self._hosted.get(message.group)
        if hosted is None:
            return []
        return self._own(hosted, hosted.replica.on_message(now_ns, source, message.message))

    def tick(self, now_ns: int) -> list[Effect]:
        """The time of some group has come."""
        effects: list[Effect] = []
        if now_ns < self.deadline_ns:
            return effects
        self._deadline_ns = None
        for hosted in self._hosted.values():
            if hosted.due_ns <= now_ns:
                hosted.due_ns = NEVER_NS
                effects += self._own(hosted, hosted.replica.on_tick(now_ns))
        return effects

    def persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write of the node up to this one is durable."""
        effects: list[Effect] = []
        for hosted in self._hosted.values():
            own = hosted.persisted(io_id)
            if own:
                effects += self._own(hosted, hosted.replica.on_persisted(now_ns, own))
        return effects

    def clients(
        self, now_ns: int, group: str, requests: Sequence[tuple[int, Request]]
    ) -> list[Effect]:
        """Requests of clients that are connected to this node, as (connection, request)."""
        hosted = self._hosted[group]
        return self._own(hosted, hosted.replica.on_clients(now_ns, requests))

    def ask(
        self, now_ns: int, group: str, request: Request, *, asker: NodeId, token: int
    ) -> list[Effect]:
        """A node asks a group that this one is in; see :meth:`take_answers`."""
        hosted = self._hosted[group]
        self._last_asked -= 1
        self._askers[self._last_asked] = (group, asker, token)
        requests = ((self._last_asked, request),)
        return self._own(hosted, hosted.replica.on_clients(now_ns, requests))

    def next_write(self) -> int:
        """A number in the node's sequence, for a write that is no group's."""
        self._last_write += 1
        return self._last_write

    def take_answers(self) -> list[Answer]:
        """Take the answers to nodes."""
        if not self._answers:
            return []
        answers, self._answers = self._answers, []
        return answers

    def disconnected(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone."""
        effects: list[Effect] = []
        for hosted in self._hosted.values():
            if hosted.replica.pending:
                effects += self._own(hosted, hosted.replica.on_disconnect(now_ns, connection))
        return effects

    def hand_over(self, now_ns: int) -> list[Effect]:
        """Hand over every group that this node leads to the member best suited."""
        effects: list[Effect] = []
        for hosted in self._hosted.values():
            if self.leads(hosted.name):
                successor = hosted.replica.consensus.best_successor()
                given = hosted.replica.transfer_leadership(now_ns, successor) if successor else []
                effects += self._own(hosted, given)
        return effects

    # -- effects -----------------------------------------------------------------------------------

    def _begin(
        self, now_ns: int, group: str, members: Sequence[NodeId], recovered: Recovered
    ) -> list[Effect]:
        replica = self._make(members, parts=self._parts_of(group))
        hosted = self._hosted[group] = HostedReplica(group, replica)
        self._deadline_ns = None
        return self._own(hosted, replica.start(now_ns, recovered))

    def _own(self, hosted: HostedReplica, effects: Sequence[Effect]) -> list[Effect]:
        """A replica's effects as the node's."""
        self.touched[hosted.name] = None
        out: list[Effect] = []
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                out.append(hosted.send(effect, self._times))  # type: ignore[arg-type]
            elif kind is Append or kind is SaveSnapshot:
                out.append(hosted.write(effect, self.next_write()))  # type: ignore[arg-type]
            elif kind is SetTimer:
                hosted.due_ns = effect.at_ns  # type: ignore[union-attr]
                self._deadline_ns = None
            elif kind is Reply:
                self._reply(hosted, effect, out)  # type: ignore[arg-type]
            else:
                out.append(self._note(hosted, effect))  # type: ignore[arg-type]
        return out

    def _reply(self, hosted: HostedReplica, effect: Reply, out: list[Effect]) -> None:
        after = hosted.number(effect.after)
        if effect.connection >= 0:
            out.append(Reply(effect.connection, effect.response, after))
            return
        asked = self._askers.pop(effect.connection, None)
        assert asked is not None, f"request {effect.response.id} of a node is answered twice"
        generation = hosted.replica.consensus.clock.generation
        response = _detached(effect.response)
        self._answers.append(Answer(asked[1], asked[2], generation, response, after))

    def _note(self, hosted: HostedReplica, note: Note) -> Note:
        detail = {"group": hosted.name, **note.detail}
        if note.event == "repaired":
            detail["damaged_groups"] = [*self._also_damaged(), *self.damaged]
        return Note(note.event, detail)


def _detached(response: Response) -> Response:
    """The response as the wire would carry it: no value shared with the state machine."""
    if isinstance(response.value, (list, dict, tuple)):
        return msgspec.structs.replace(response, value=_decode(_encode(response.value)))
    return response
