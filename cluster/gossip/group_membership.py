"""The group: who its members are, found out by gossip. A part that a core owns.

Problem. A node must know who is there without asking anyone in particular: there is no leader, no
log, and no list that is always right.

Solution. Four parts and one number. The view holds a record of each member, the detector pings one
member a round, rumours spread what is learnt, and push-pulls repair what rumours missed. The number
is this node's *incarnation*. Only the node itself raises it, and it does so in two cases: when it
starts, and when it hears that it is suspected or dead. The record with the new number is greater
than what was said, so it refutes it wherever it comes.

Every message carries its sender's incarnation, which alone says that the sender lives. A message
from a member that is not known to be alive is answered with what is said of it, so a node that
comes back from a long partition refutes its death with the first message that passes.

Durability. A node that restarts must not use a number again, or what was said of its earlier life
would be said of this one. ``incarnation`` must be durable before any message of it leaves; the core
sees to that (``Send.after``). A node without its disk begins at 1, hears of its record, and goes
above that; until then its messages are those of the past, which no view takes.

Bounds, in rounds, for n members that reach each other: a change is in all views within
``spread_rounds(n)``; a death ``8 + suspicion_rounds(n) + spread_rounds(n)`` rounds after it; and
all views are equal ``heal_rounds(n)`` rounds after a partition of any length is healed. Messages of
one node in a round: a ping, an answer to each ping that came (one on average), and for each silent
member a few requests; each has at most ``gossip_bytes_max`` of rumours.

How a core owns it: ``start`` it with the durable incarnation plus one; hand it messages with
``receive`` and the time with ``tick``; then send what ``take_messages`` gives, after the write of
``incarnation`` if that changed; and ask for a timer at ``due_ns``. Who is there, it asks with
``members``, ``trusts`` and ``living``. The agreed view (:mod:`cluster.gossip.emergent_leader`) is a
part beside this one; a core without a singleton leaves it out.

Invariants. The incarnation never goes down. The node's own record is alive in its own view, until
it leaves. A member whose suspicion is running is suspect in the view.

What breaks without it. A51c: a suspicion cannot be refuted.

Source: Das, Gupta and Motivala, "SWIM" (2002). Owned by :mod:`cluster.gossip.node`
and :mod:`cluster.leaderless.node`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.config import ClusterConfig
from cluster.gossip.failure_detector import FailureDetector, Relays
from cluster.gossip.gossip_dissemination import GossipDissemination, rounds_of
from cluster.gossip.membership_view import ALIVE, DEAD, LEFT, SUSPECT, MembershipView
from cluster.gossip.push_pull import PushPulls
from cluster.ports import NodeId, Rng
from cluster.wire import (
    GossipMessage,
    MemberRecord,
    Message,
    Ping,
    PingAck,
    PingRequest,
    PushPull,
)


class Incarnation:
    """A node's own number.

    Args:
        durable: the number of its earlier lives; 0 if there was none.
    """

    __slots__ = ("number",)

    def __init__(self, durable: int) -> None:
        self.number = self.of_new_life(durable)

    def of_new_life(self, durable: int) -> int:
        """Decision: the number a node starts with."""
        return durable + 1

    def refutes(self, said: MemberRecord) -> bool:
        """Decision: whether the node contradicts what is said of it."""
        return said.incarnation > self.number or said.state != ALIVE

    def raise_above(self, said: MemberRecord) -> None:
        """Contradict it."""
        self.number = max(self.number, said.incarnation) + 1


class GroupParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a group."""

    incarnation: type[Incarnation] = Incarnation
    view: type[MembershipView] = MembershipView
    dissemination: type[GossipDissemination] = GossipDissemination
    detector: type[FailureDetector] = FailureDetector
    push_pulls: type[PushPulls] = PushPulls


def spread_rounds(members: int) -> int:
    """Rounds in which a rumour reaches all."""
    return 3 * rounds_of(members) + 3


def heal_rounds(members: int, config: ClusterConfig) -> int:
    """Rounds in which all views are equal after a partition: until somebody asks across it, until
    the dead refute and all know, twice, and until push-pulls found what rumours missed."""
    return 2 * config.gossip_exchange_rounds + 2 * spread_rounds(members)


class GroupMembership:
    """One node's part of the group.

    Args:
        node: this node.
        members: those it knows from the start; itself among them or not.
        config: timings and limits.
        rng: randomness.
        parts: the classes it is made of.
        durable: the incarnation of its earlier lives; 0 if there was none.
    """

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        *,
        config: ClusterConfig,
        rng: Rng,
        parts: GroupParts,
        durable: int = 0,
    ) -> None:
        self.node = node
        self._config = config
        self._own = parts.incarnation(durable)
        self.view = parts.view()
        self.rumours = parts.dissemination(
            bytes_max=config.gossip_bytes_max, retransmit=config.gossip_retransmit
        )
        self.detector = parts.detector(
            round_ns=config.gossip_round_ns,
            ack_ns=config.gossip_ack_ns,
            helpers=config.gossip_helpers,
            suspicion=config.gossip_suspicion,
            rng=rng,
        )
        self.push_pulls = parts.push_pulls(
            round_ns=config.gossip_round_ns,
            rounds=config.gossip_exchange_rounds,
            bytes_max=config.gossip_bytes_max,
            rng=rng,
        )
        #: the number that every message tells as the last agreed view; the core's business
        self.agreed = 0
        self.left = False
        #: members declared dead here, suspicions begun here, and refutations, since the start
        self.deaths = self.suspicions = self.refutations = 0
        self._relays = Relays()
        self._messages: list[tuple[NodeId, Message]] = []
        for member in members:
            self.view.merge(MemberRecord(member, 0, ALIVE))
        self._speak_up()

    @property
    def incarnation(self) -> int:
        """This node's own number: to be durable before any message leaves."""
        return self._own.number

    @property
    def due_ns(self) -> int:
        """When :meth:`tick` is wanted."""
        return min(self.detector.due_ns, self.push_pulls.due_ns)

    @property
    def living(self) -> tuple[NodeId, ...]:
        """The members that are not known to be dead or to have left."""
        return self.view.living

    @property
    def members(self) -> tuple[NodeId, ...]:
        """All members that have not said good-bye, the dead too, by name."""
        return self.view.present

    def trusts(self, node: NodeId) -> bool:
        """Whether a member seems to be there: it is not suspected, dead or gone."""
        record = self.view.get(node)
        return record is not None and record.state == ALIVE

    def take_messages(self) -> list[tuple[NodeId, Message]]:
        """What is to be sent, in order."""
        messages, self._messages = self._messages, []
        return messages

    # -- what the owner says -----------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """Begin."""
        self.detector.start(now_ns)
        self.push_pulls.start(now_ns)

    def join(self, now_ns: int, seed: NodeId) -> None:
        """Ask a member for its view; it need not be known."""
        self.push_pulls.wait(now_ns)
        self._ask(seed)

    def leave(self, now_ns: int) -> None:
        """Say good-bye: everybody shall know that this is no failure."""
        self.left = True
        self._learn(now_ns, MemberRecord(self.node, self.incarnation, LEFT))
        for node in self.detector.helpers_among(self._others()):
            self._ask(node)

    # -- inputs ------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Time has passed."""
        if now_ns >= self.detector.round_due_ns:
            self._next_round(now_ns)
        elif now_ns >= self.detector.ack_due_ns:
            self._ask_helpers()
        for node, incarnation in self.detector.expired(now_ns):
            self.detector.clear(node)
            self.deaths += 1
            self._learn(now_ns, MemberRecord(node, incarnation, DEAD))
        if now_ns >= self.push_pulls.due_ns:
            self.push_pulls.wait(now_ns)
            partner = self.push_pulls.partner(self.view.present, self.node)
            if partner:
                self._ask(partner)

    def receive(self, now_ns: int, source: NodeId, message: GossipMessage) -> None:
        """A message of the group arrived."""
        if source == self.node:
            return
        self._learn(now_ns, MemberRecord(source, message.incarnation, ALIVE))
        if isinstance(message, PushPull):
            self._exchange(now_ns, source, message)
            return
        assert isinstance(message, Ping | PingAck | PingRequest), f"{message} is no message of ours"
        for record in message.rumours:
            self._learn(now_ns, record)
        match message:
            case Ping():
                self._send_ack(source, message.number, self.node)
            case PingAck():
                relay = self._relays.end(message.number)
                if relay is not None:
                    self._send_ack(*relay, message.node)
                else:
                    self.detector.acknowledged(message.node, message.number)
            case PingRequest():
                number = self._relays.begin(source, message.number)
                self._send_ping(message.target, number)

    # -- pings -------------------------------------------------------------------------------------

    def _others(self) -> list[NodeId]:
        return [node for node in self.view.living if node != self.node]

    def _next_round(self, now_ns: int) -> None:
        """The last round is over; a member that was not reached in it is suspected."""
        silent = self.detector.end_round(now_ns)
        record = self.view.get(silent)
        if record is not None and record.state == ALIVE:
            self.suspicions += 1
            state = self.detector.state_of_silent()
            self._learn(now_ns, MemberRecord(silent, record.incarnation, state))
        target = self.detector.begin_round(now_ns, self._others())
        if target:
            self._send_ping(target, self.detector.number)

    def _send_ping(self, target: NodeId, number: int) -> None:
        self._send(target, Ping(self.incarnation, self.agreed, number, self._rumours_for(target)))

    def _send_ack(self, to: NodeId, number: int, node: NodeId) -> None:
        ack = PingAck(self.incarnation, self.agreed, number, node, self._rumours_for(to))
        self._send(to, ack)

    def _ask_helpers(self) -> None:
        target, number = self.detector.target, self.detector.number
        for helper in self.detector.helpers(self._others()):
            rumours = self._rumours_for(helper)
            self._send(helper, PingRequest(self.incarnation, self.agreed, number, target, rumours))

    # -- push-pull ---------------------------------------------------------------------------------

    def _ask(self, partner: NodeId) -> None:
        """Step 0: are our views equal?"""
        self._send_range(partner, 0, self.push_pulls.cursor, "", self._said_of(partner))

    def _exchange(self, now_ns: int, source: NodeId, message: PushPull) -> None:
        pulls = self.push_pulls
        for record in message.records:
            self._learn(now_ns, pulls.heard(record, self.view.get(record.node)))
        if message.step == 0 and message.digest != self.view.digest:
            found = pulls.range_of(self.view, message.after)
            self._send_range(source, 1, found.after, found.last, found.records)
        elif message.step == 1:
            after, last = message.after, message.last
            better = pulls.better(self.view, message.records, after, last)
            pulls.differed(now_ns, last)
            if better:
                self._send_range(source, 2, after, last, better)

    def _send_range(
        self, to: NodeId, step: int, after: str, last: str, records: tuple[MemberRecord, ...]
    ) -> None:
        digest = self.view.digest
        self._send(to, PushPull(self.incarnation, self.agreed, step, digest, after, last, records))

    # -- what is learnt ----------------------------------------------------------------------------

    def _learn(self, now_ns: int, record: MemberRecord) -> None:
        """Take in a record, and spread it if it is news."""
        own = record.node == self.node
        if own and not self.left and self._own.refutes(record):
            known = self.view.get(self.node)
            if known is None or self.view.outranks(record, known):
                self.refutations += 1
                self._own.raise_above(record)
                self._speak_up()
            return
        if not self.view.merge(record):
            return
        self.rumours.add(record)
        if record.state == SUSPECT:
            self.detector.suspect(now_ns, record.node, record.incarnation, len(self.living))
        else:
            self.detector.clear(record.node)

    def _speak_up(self) -> None:
        """This node's own record, as it is now, is news."""
        record = MemberRecord(self.node, self.incarnation, ALIVE)
        self.view.merge(record)
        self.rumours.add(record)

    def _said_of(self, node: NodeId) -> tuple[MemberRecord, ...]:
        """What is said of a member, if it has reason to object."""
        record = self.view.get(node)
        return (record,) if record is not None and record.state != ALIVE else ()

    def _rumours_for(self, to: NodeId) -> tuple[MemberRecord, ...]:
        return self.rumours.take(len(self.living), first=self._said_of(to))

    def _send(self, to: NodeId, message: Message) -> None:
        self._messages.append((to, message))


def status_of(group: GroupMembership) -> dict[str, Any]:
    """What a node's status says of its group."""
    return {
        "incarnation": group.incarnation,
        "gossip_suspects": group.view.count(SUSPECT),
        "gossip_dead": group.view.count(DEAD),
        "gossip_deaths": group.deaths,
        "gossip_suspicions": group.suspicions,
        "gossip_refutations": group.refutations,
    }


__all__ = [
    "GroupMembership",
    "GroupParts",
    "Incarnation",
    "heal_rounds",
    "spread_rounds",
    "status_of",
]
