"""A node's part in the ring: it agrees on rings, gains keys and gives them away.

It puts together what decides (:mod:`~cluster.leaderless.ring_changes`), what agrees
(:mod:`cluster.gossip.emergent_leader`), what moves keys (:mod:`~cluster.leaderless.handover`) and
the clients that wait for changes (:mod:`~cluster.leaderless.ring_requests`).

    group: who lives, who would join ---> emergent leader: the next ring ---> states: the ring
    wishes, reports of those who gain keys --^                                  |
                                             fetching, giving away keys <-------+

Wishes and reports are told to all voters in each round of gossip, until the ring is another, so any
of them may come to lead. Messages about views need no common ring; all others do.

Invariants. A ring is durable here before any message leaves that has its number.

Source: as of those modules. A part of :mod:`cluster.leaderless.node`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import Waiter
from cluster.config import ClusterConfig
from cluster.consensus.membership_change import REMOVE
from cluster.core.answers import Answer, fail, ok
from cluster.core.member_requests import MEMBERS
from cluster.gossip.emergent_leader import EmergentLeader, LeaderMemory, founding_view
from cluster.gossip.group_membership import GroupMembership
from cluster.gossip.requests import JOIN
from cluster.leaderless.commands import Rules
from cluster.leaderless.handover import Fetching, GivingAway, may_miss, page_for
from cluster.leaderless.outgoing import Outgoing
from cluster.leaderless.replica_states import ReplicaStates, decode_state, encode_state
from cluster.leaderless.ring import Ring, is_quorum
from cluster.leaderless.ring_changes import WISH_ROUNDS, RingChanges, is_retired
from cluster.leaderless.ring_requests import RingRequests, Waiting, describe, ring_problem
from cluster.ports import NodeId, Rng
from cluster.wire import (
    Command,
    HandedOver,
    KeysOwed,
    KeysPage,
    RegisterMessage,
    ShallLeave,
    StableView,
    VersionsWrite,
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LeaderMemory).decode

RingMessage = KeysOwed | KeysPage | HandedOver | ShallLeave


def memory_of(memory: bytes, founders: Sequence[NodeId]) -> LeaderMemory:
    """What a node knew of rings when it last wrote it down; of a new one, the founding ring."""
    return _decode(memory) if memory else LeaderMemory(founding_view(founders))


class RingMember:
    """One node's part in the ring.

    Args:
        states: what the node holds.
        rules: how states are merged.
        group: who seems to be there.
        outgoing: where messages go.
        config: quorums and timings.
        changes: what the next ring should be.
        leader: agrees on it.
        fetching: the class of what a member gains.
        seeds: whom a node without a ring asks by itself; none to wait for a client.
        rng: randomness for the choice of a seed.
        next_id: numbers for what is asked of others.
        reading: the highest stamp known here.
        renamed: called when keys were forgotten: the node's writes need another name.
    """

    def __init__(
        self,
        *,
        states: ReplicaStates,
        rules: Rules,
        group: GroupMembership,
        outgoing: Outgoing,
        config: ClusterConfig,
        changes: RingChanges,
        leader: EmergentLeader,
        fetching: type[Fetching],
        seeds: Sequence[NodeId],
        rng: Rng,
        next_id: Callable[[], int],
        reading: Callable[[], int],
        renamed: Callable[[], None],
    ) -> None:
        self._states, self._rules, self._group = states, rules, group
        self._outgoing, self._config = outgoing, config
        self.changes, self.leader = changes, leader
        self._fetching_type, self._seeds, self._rng = fetching, tuple(seeds), rng
        self._next_id, self._reading, self._renamed = next_id, reading, renamed
        self.requests = RingRequests()
        self._giving = GivingAway()
        self._changed = True
        #: whether the ring is another since the node last looked
        self.news = False
        self._fetching = self._fetch()

    @property
    def ring(self) -> Ring:
        """The ring in force."""
        return self._states.ring

    @property
    def proposer(self) -> NodeId:
        """Who changes the ring, as this node sees it: the oldest voter that lives."""
        living = self._group.living
        return next((node for node in self.ring.view.voters if node in living), "")

    @property
    def fetching(self) -> int:
        """From how many members keys are still to come."""
        return len(self._fetching.cursors)

    # -- agreement ---------------------------------------------------------------------------------

    def view(self, now_ns: int, source: NodeId, message: RegisterMessage | StableView) -> None:
        """A message about rings."""
        if self.leader.receive(now_ns, source, message):
            self._states.write_memory(_encode(self.leader.remembered(0, None)))
            self._follow(now_ns)

    def other_ring(self, source: NodeId, ring: int) -> None:
        """A message came under another ring: the node that knows the later one tells it."""
        if ring != self.ring.number:
            self._outgoing.send(source, self.leader.view)

    def go_on(self, now_ns: int) -> None:
        """What an event has led to."""
        self.leader.consider(now_ns, self._group.living, changed=self._changed)
        self._changed = False
        self._group.agreed = self.leader.view.id
        for to, said, promises in self.leader.take_messages():
            self._outgoing.send(to, said, self._states.memory if promises else 0)
        if len(self.requests):
            self.requests.look(now_ns, self.ring.view, self._described, self._awaited_away())

    def _follow(self, now_ns: int) -> None:
        """The ring that is agreed on is in force here."""
        view = self.leader.view
        if view == self.ring.view:
            return
        assert view.id > self.ring.number, f"ring {view.id} follows {self.ring.number}"
        self._states.follow(view)
        self.news = self._changed = True
        self._giving.clear()
        self._fetching = self._fetch()
        self.farewell(now_ns)

    def farewell(self, now_ns: int) -> None:
        """Say good-bye to the group if this node has left the ring for good."""
        if is_retired(self.ring.view, self._states.node) and not self._group.left:
            self._group.leave(now_ns)

    def _fetch(self) -> Fetching:
        config, ring = self._config, self.ring
        missing = may_miss(
            ring, replicas=config.replicas, read_quorum=config.read_quorum,
            write_quorum=config.write_quorum,
        )  # fmt: skip
        return self._fetching_type(ring, self._states.node, may_miss=missing)

    # -- rounds ------------------------------------------------------------------------------------

    def round(self, now_ns: int) -> None:
        """A round of gossip has begun: say again what is wanted and what is so."""
        self.changes.forget(now_ns)
        self._changed = True
        self._ask_seed(now_ns)
        for member in self.requests.leaving():
            self._tell_voters(ShallLeave(self._reading(), member))
        self._go_on_fetching()
        if not self.ring.joint and self._states.node in self.ring.members:
            self._give_away()

    def _ask_seed(self, now_ns: int) -> None:
        """A node without a ring asks for the view of those who have one."""
        if self.ring.number:
            return
        own = self._states.node
        seeds = self.requests.seeds() or [each for each in self._seeds if each != own]
        if seeds:
            self._group.join(now_ns, seeds[self._rng.between(0, len(seeds) - 1)])

    def _tell_voters(self, message: HandedOver | ShallLeave, after: int = 0) -> None:
        for node in self.ring.view.voters:
            self._outgoing.send(node, message, after)

    def _go_on_fetching(self) -> None:
        """Ask again for what did not come; or say that all is here."""
        ring, own = self.ring, self._states.node
        if not ring.joint or own not in ring.gainers():
            return
        for source, after in self._fetching.cursors.items():
            self._outgoing.send(source, KeysOwed(self._reading(), after))
        if self._fetching.has_all(self._group.trusts):
            self._tell_voters(HandedOver(self._reading()), self._states.last_write)

    # -- keys --------------------------------------------------------------------------------------

    def data(self, now_ns: int, source: NodeId, message: RingMessage) -> None:
        """A message about the change under way, under this very ring."""
        match message:
            case KeysOwed():
                self._send_page(source, message.after)
            case KeysPage():
                self._take_page(source, message)
            case HandedOver():
                self._changed |= self.changes.handed_over(message.ring, source)
            case ShallLeave():
                self._changed |= self.changes.wish(now_ns, message.member)

    def _send_page(self, to: NodeId, after: str) -> None:
        states = self._states
        size = lambda key: len(encode_state(states.state(key)))  # noqa: E731
        keys, last = page_for(to, self.ring, states.keys, after, size)
        rows = tuple((key, encode_state(states.state(key))) for key in keys)
        self._outgoing.send(to, KeysPage(self._reading(), after, rows, last))

    def _take_page(self, source: NodeId, page: KeysPage) -> None:
        if not self._fetching.is_next(source, page.after):
            return
        states = self._states
        for key, encoded in page.rows:
            states.put(key, self._rules.merge(states.state(key), decode_state(encoded)))
        self._fetching.arrived(source, [key for key, _ in page.rows], last=page.last)
        if page.last:
            self._go_on_fetching()
        else:
            after = self._fetching.cursors[source]
            self._outgoing.send(source, KeysOwed(self._reading(), after))

    def _give_away(self) -> None:
        states = self._states
        foreign = states.foreign()
        for id, key, node in self._giving.ask(foreign, self.ring, self._next_id):
            state = encode_state(states.state(key))
            self._outgoing.send(node, VersionsWrite(self._reading(), id, key, state))

    def given(self, id: int) -> bool:
        """A replica has merged something; whether it was a key that is given away."""
        key = self._giving.arrived(id)
        if not key:
            return False
        wanted = self._config.write_quorum
        if is_quorum(self.ring.asked(key), self._giving.have(key), wanted):
            self._states.forget(key)
            self._giving.forgotten(key)
            self._renamed()
        return True

    # -- requests ----------------------------------------------------------------------------------

    def take(self, now_ns: int, waiter: Waiter, command: Command) -> Answer | None:
        """A client's request about the members; None if it waits."""
        wrong, view = ring_problem(command), self.ring.view
        if wrong:
            return fail(wrong)
        if command.op == MEMBERS:
            return ok(self._described()) if view.id else self._no_ring()
        if command.op == JOIN:
            member = command.args[0] if command.args else self._states.node
            return self._join(now_ns, waiter, command.key, member)
        assert command.op == REMOVE, f"{command.op} is no request about members"
        if self._states.node not in self.ring.members:
            return self._no_ring()
        member = command.key
        wanted = Waiting(waiter, REMOVE, member)
        if wanted.is_so(view):
            return ok(self._described())
        if len(view.members) < 2 and member in view.members and not view.before:
            return fail(f"{member} is the last member and cannot leave")
        self.requests.add(wanted)
        self._tell_voters(ShallLeave(self._reading(), member))
        return None

    def _join(self, now_ns: int, waiter: Waiter, seed: NodeId, member: NodeId) -> Answer | None:
        own, view = self._states.node, self.ring.view
        if member != own:
            return ("redirect", None, f"{member} itself is asked to join")
        if is_retired(view, own):
            return fail(f"{own} has left: its node may join under its next id, with an empty disk")
        wanted = Waiting(waiter, JOIN, own, seed)
        if wanted.is_so(view):
            return ok(self._described())
        self.requests.add(wanted)
        self._group.join(now_ns, seed)
        return None

    def _awaited_away(self) -> list[NodeId]:
        living = self._group.living
        return [node for node in self.changes.awaited(self.ring.view) if node not in living]

    def _described(self) -> dict[str, Any]:
        view = self.ring.view
        awaited = self.changes.awaited(view)
        return describe(view, node=self._states.node, leader=self.proposer, awaited=awaited)

    def _no_ring(self) -> Answer:
        return ("retry", None, f"{self._states.node} is no member of ring {self.ring.number}")


def make_changes(config: ClusterConfig, changes: type[RingChanges]) -> RingChanges:
    """The decisions about rings, with wishes that last for some rounds of gossip."""
    return changes(wish_ns=WISH_ROUNDS * config.gossip_round_ns)
