"""Emergent Leader: the oldest member of the agreed view leads, and no election is held.

Problem. Some duties need one node that does them, and there is no log in which one is elected. All
nodes know the members by gossip, so all could name the same one: the oldest, say. But for a while
after each change they know different members. And when the network is cut in two, each side sees
the other die, and names a leader of its own.

Solution. Views have numbers. A view is a list of members in order of age: in order of their entry
into views. All who know a view name its first member. The present view stays until a *next* view is
agreed on, and these rules hold:

- The oldest living member of the present view proposes the next one, when what it sees of the group
  has been the same for two rounds: the members that still live, and behind them the new ones.
- It may only do so with a majority of the present view (*keep majority*). The members of that view
  agree on one successor, as the acceptors of a Paxos register agree on a value. So views are one
  chain: a side without a majority of the last agreed view can form no view, and two sides never
  form two.
- The leader of a view acts with the consent of a majority of its members, and only while it sees
  that many alive. Each act carries the view's number as *fencing token*. A member that has accepted
  a successor of a view, or knows a later view, consents to no act of it
  (:mod:`cluster.gossip.fenced_register`). So no act of a view follows one of a later view.

In a view of an even size, neither half is a majority, and no node acts until they meet again.

Ballots name the node and its incarnation, which no other life of it has; so a proposer that
restarts uses no ballot again.

Durability. The view, what the acceptor promised and accepted, and the fence are durable before an
answer leaves; the core sees to that. A node that lost its disk does not know what it consented to:
it could consent once more to an act of an old view, and agree on a second successor of one. Under
its old id it is refused by those who knew it with its first directory
(:mod:`cluster.consensus.member_directories`), and it comes back as another member (``n2~2``).

Bounds. When all see the same members, the view of them is agreed on ``agree_rounds()`` rounds
later, if a majority of the last view is among them and messages arrive. A leader that fails is
replaced ``2 + 2`` rounds after its death is in the view of the next oldest, if a majority of the
view lives and messages arrive; see there for the death itself.

Invariants. A number belongs to one view. The view's number never goes down at a node. A view's
members have a majority of its predecessor's among its acceptors. A node leads only a view whose
first member it is.

What breaks without it. A52: each side of a partition takes its own members for the last view, and
both act. A52b: the token is not looked at, so a leader that was stopped acts after its successor.
A52c: a leader acts without consent, on what it believes.

Which members the next view should have is a :class:`Succession`. In role ``gossip`` they are those
that live (:class:`LivingMembers`); in role ``leaderless`` those that joined and did not leave
(:mod:`cluster.leaderless.ring_changes`), and there the changes of the members are all that the
leader does: they are its acts, and the agreement on the next view is the consent.

Source: Joshi, "Emergent Leader"; Akka's split brain resolver (keep majority); Birman and Joseph,
virtual synchrony with a primary partition; Lamport, "Paxos Made Simple" (2001), for the agreement
(:mod:`cluster.consensus.paxos`). Owned by :mod:`cluster.gossip.node` and, for its ring, by
:mod:`cluster.leaderless.ring_member`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cluster.consensus.majority_quorum import quorum_size
from cluster.consensus.paxos import NO_BALLOT, NO_VALUE, Acceptor, Attempt
from cluster.ports import NodeId, Rng
from cluster.wire import (
    Ballot,
    Message,
    RegisterAccept,
    RegisterAccepted,
    RegisterMessage,
    RegisterPrepare,
    RegisterPromise,
    RegisterRefused,
    StableView,
)

#: A time that never comes.
NEVER_NS = 1 << 62
#: Rounds that a node's sight of the group must not have changed before it proposes a view.
SETTLED_ROUNDS = 2
#: Rounds that the oldest member waits between two attempts, at least; the next oldest twice that,
#: and so on, up to a limit: so that those who finish what another began do not refuse each other.
PATIENCE_ROUNDS = 2
OLDER_MAX = 4

_encode = msgspec.msgpack.Encoder().encode
_decode_view = msgspec.msgpack.Decoder(StableView).decode


class LeaderMemory(msgspec.Struct, frozen=True, array_like=True):
    """What a node must not forget of views.

    Args:
        view: the last agreed view it knows.
        promised, accepted, value: of its acceptor for the successor of that view.
        fence: the highest view that it has known, accepted or consented to an act of.
        number: the highest number of an act it consented to, of the fence's view.
        acted: what that act wrote.
    """

    view: StableView = StableView()
    promised: Ballot = Ballot()
    accepted: Ballot = Ballot()
    value: bytes = b""
    fence: int = 0
    number: int = 0
    acted: object = None


def agree_rounds() -> int:
    """Rounds in which a view is agreed on once all see the same members: until their sight has
    settled, and for two attempts of the youngest that may have to make them."""
    return SETTLED_ROUNDS + 4 * PATIENCE_ROUNDS * (1 + OLDER_MAX)


def founding_view(founders: Sequence[NodeId]) -> StableView:
    """The first view; that of a node that was not founded with the cluster is none."""
    return StableView(1, tuple(sorted(founders))) if founders else StableView()


class Succession(Protocol):
    """What views are made of: the decisions that roles take in their own ways."""

    @property
    def settled_rounds(self) -> int:
        """Rounds that a wish for another view must have been the same before it is proposed."""

    def names(self, view: StableView) -> NodeId:
        """Who leads a view; "" if it has no members."""

    def voters(self, view: StableView, living: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Of whom a majority must agree on the successor."""

    def successor(self, view: StableView, living: Sequence[NodeId]) -> StableView:
        """The view that should come next; the very same one if none is due."""


class LivingMembers:
    """Views of those who live."""

    __slots__ = ()

    settled_rounds = SETTLED_ROUNDS

    def names(self, view: StableView) -> NodeId:
        """Decision: who leads a view: its oldest member; "" if it has none."""
        return view.members[0] if view.members else ""

    def voters(self, view: StableView, living: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Decision: of whom a majority must agree on the successor: the last agreed view."""
        return view.members

    def successor(self, view: StableView, living: Sequence[NodeId]) -> StableView:
        """Decision: who should be in the next view: who lives, the oldest first."""
        old = tuple(node for node in view.members if node in living)
        members = old + tuple(node for node in living if node not in view.members)
        return view if members == view.members else StableView(view.id + 1, members)


class EmergentLeader:
    """One node's part in the agreement on views.

    Args:
        node: this node.
        incarnation: of this life of it; makes its ballots its own.
        memory: what it knows.
        round_ns: length of a round of gossip.
        rng: randomness for the waits between attempts.
        succession: what views are made of.
        attempt: the class of an attempt.
        acceptor: the class of an acceptor.
    """

    __slots__ = (
        "_acceptor", "_attempt_type", "_changed_ns", "_incarnation", "_make_acceptor", "_messages",
        "_rng", "_round", "_round_ns", "_seen", "_wanted", "attempt", "due_ns", "fence", "node",
        "succession", "view",
    )  # fmt: skip

    def __init__(
        self,
        node: NodeId,
        *,
        incarnation: int,
        memory: LeaderMemory,
        round_ns: int,
        rng: Rng,
        succession: Succession | None = None,
        attempt: type[Attempt] = Attempt,
        acceptor: type[Acceptor] = Acceptor,
    ) -> None:
        self.node, self._incarnation = node, incarnation
        self.succession: Succession = LivingMembers() if succession is None else succession
        self.view = memory.view
        self.fence = max(memory.fence, memory.view.id)
        self._make_acceptor, self._attempt_type = acceptor, attempt
        self._acceptor = acceptor(memory.promised, memory.accepted, memory.value)
        self._round = self._acceptor.promised.round
        self._rng, self._round_ns = rng, round_ns
        self._seen: tuple[NodeId, ...] = ()
        self._wanted = self.view
        self._changed_ns = 0
        #: the attempt at a next view that is under way here
        self.attempt: Attempt | None = None
        #: when :meth:`tick` is wanted
        self.due_ns = NEVER_NS
        #: (to, message, whether it promises something and must wait until that is durable)
        self._messages: list[tuple[NodeId, Message, bool]] = []

    # -- what others may look at -------------------------------------------------------------------

    @property
    def leader(self) -> NodeId:
        """Who leads the view that this node knows; "" if it knows none."""
        return self.succession.names(self.view)

    def has_majority(self, living: Sequence[NodeId]) -> bool:
        """Whether enough members live to agree on anything."""
        voters = self.succession.voters(self.view, living)
        return bool(voters) and sum(node in living for node in voters) >= quorum_size(len(voters))

    def leads(self, living: Sequence[NodeId]) -> bool:
        """Whether this node leads, as far as it can see."""
        return self.leader == self.node and self.has_majority(living)

    def remembered(self, number: int, acted: object) -> LeaderMemory:
        """What must be durable, with what the fenced register adds."""
        held = self._acceptor
        return LeaderMemory(
            self.view, held.promised, held.accepted, held.value, self.fence, number, acted
        )

    def take_messages(self) -> list[tuple[NodeId, Message, bool]]:
        """What is to be sent, to this node itself too; True if it must wait for the last write."""
        messages, self._messages = self._messages, []
        return messages

    # -- proposing ---------------------------------------------------------------------------------

    def consider(self, now_ns: int, living: tuple[NodeId, ...], *, changed: bool = False) -> None:
        """The group is seen so now: whether a next view is due, and when to look again.

        Args:
            now_ns: the time.
            living: the members that live; the same tuple until they change.
            changed: whether something else has changed that the succession looks at.
        """
        if living is not self._seen or changed:
            self._seen = living
            self._want(now_ns)
            self._look_again(now_ns)
        if now_ns >= self.due_ns:
            self._act(now_ns, living)

    def _want(self, now_ns: int) -> None:
        """See which view should come next."""
        wanted = self.succession.successor(self.view, self._seen)
        if wanted != self._wanted:
            self._wanted, self._changed_ns = wanted, now_ns

    def _look_again(self, now_ns: int) -> None:
        """Something has changed: when an attempt is due."""
        if self.attempt is not None:
            return
        self.due_ns = NEVER_NS
        if self.view.members and self._wanted != self.view:
            settled_ns = self.succession.settled_rounds * self._round_ns
            self.due_ns = max(now_ns, self._changed_ns + settled_ns)
        elif self._is_unfinished:
            self.due_ns = self._patience_end_ns(now_ns)

    def _act(self, now_ns: int, living: tuple[NodeId, ...]) -> None:
        """It is time: for a first attempt, another one, or for another node to make one."""
        self.attempt = None
        self.due_ns = NEVER_NS
        first = next((node for node in self.view.voters if node in living), "")
        proposes = self._wanted != self.view and first == self.node
        if proposes or self._is_unfinished:
            if self.has_majority(living):
                self._begin(living)
            self.due_ns = self._patience_end_ns(now_ns)

    @property
    def _is_unfinished(self) -> bool:
        """Whether a successor was accepted here, and nothing more was heard of it.

        Its proposer may be gone. Any member may finish it; and somebody must, since those who
        accepted it consent to no act of the present view.
        """
        return self._acceptor.accepted != NO_BALLOT

    def _patience_end_ns(self, now_ns: int) -> int:
        """How long to wait for answers, or for another: the older a member, the less."""
        members = self._wanted.members
        older = members.index(self.node) if self.node in members else OLDER_MAX
        patience_ns = PATIENCE_ROUNDS * (1 + min(older, OLDER_MAX)) * self._round_ns
        return now_ns + patience_ns + self._rng.between(0, patience_ns)

    def _begin(self, living: Sequence[NodeId]) -> None:
        self._round += 1
        ballot = Ballot(self._round, f"{self.node}/{self._incarnation}")
        voters = self.succession.voters(self.view, living)
        self.attempt = self._attempt_type(self._key, ballot, voters)
        for node in voters:
            if node != self.node:
                self._say(node, self.view)
        self._ask(self.attempt.prepare(), voters)

    @property
    def _key(self) -> str:
        return f"view/{self.view.id}"

    def _ask(self, message: Message, voters: Sequence[NodeId]) -> None:
        for node in voters:
            self._say(node, message)

    def _say(self, to: NodeId, message: Message, *, promises: bool = False) -> None:
        self._messages.append((to, message, promises))

    # -- messages ----------------------------------------------------------------------------------

    def heard(self, source: NodeId, agreed: int) -> None:
        """A member knows views up to this number: tell it of a later one."""
        if agreed < self.view.id:
            self._say(source, self.view)

    def receive(self, now_ns: int, source: NodeId, message: RegisterMessage | StableView) -> bool:
        """A message about views; whether there is something new to be made durable."""
        if isinstance(message, StableView):
            if message.id < self.view.id:
                self._say(source, self.view)
            return self._install(now_ns, message)
        if message.key != self._key:
            if int(message.key.rpartition("/")[2]) < self.view.id:
                self._say(source, self.view)
            return False
        self._round = max(self._round, message.ballot.round)
        match message:
            case RegisterPrepare():
                return self._prepare(source, message)
            case RegisterAccept():
                news = self._accept(source, message)
                if self.due_ns == NEVER_NS:
                    self._look_again(now_ns)
                return news
            case RegisterPromise():
                self._promised(source, message)
            case RegisterAccepted():
                return self._accepted(now_ns, source, message)
            case RegisterRefused():
                self._round = max(self._round, message.promised.round)
        return False

    def _prepare(self, source: NodeId, message: RegisterPrepare) -> bool:
        acceptor, ballot = self._acceptor, message.ballot
        if not acceptor.may_promise(ballot):
            self._say(source, RegisterRefused(message.key, ballot, acceptor.promised))
            return False
        news = acceptor.promise(ballot)
        promise = RegisterPromise(message.key, ballot, acceptor.accepted, acceptor.value)
        self._say(source, promise, promises=True)
        return news

    def _accept(self, source: NodeId, message: RegisterAccept) -> bool:
        acceptor, ballot = self._acceptor, message.ballot
        if not acceptor.may_accept(ballot):
            self._say(source, RegisterRefused(message.key, ballot, acceptor.promised))
            return False
        news = acceptor.accept(ballot, message.value)
        self.fence = max(self.fence, self.view.id + 1)
        self._say(source, RegisterAccepted(message.key, ballot), promises=True)
        return news

    def _promised(self, source: NodeId, answer: RegisterPromise) -> None:
        attempt = self.attempt
        if attempt is None or not attempt.promised(source, answer):
            return
        value, _ = attempt.found()
        if value == NO_VALUE and self._wanted == self.view:
            self.attempt = None  # no other view is wanted any more
            return
        if value == NO_VALUE:
            value = _encode(self._wanted)
        self._ask(attempt.propose(value), self.succession.voters(self.view, self._seen))

    def _accepted(self, now_ns: int, source: NodeId, answer: RegisterAccepted) -> bool:
        attempt = self.attempt
        if attempt is None or not attempt.accepted(source, answer):
            return False
        view = _decode_view(attempt.value)
        everybody = dict.fromkeys(
            (*self.view.members, *self.view.before, *view.members, *self._seen)
        )
        for node in everybody:
            if node != self.node:
                self._say(node, view, promises=True)
        return self._install(now_ns, view)

    def _install(self, now_ns: int, view: StableView) -> bool:
        """A view is agreed on; whether that is news."""
        if view.id < self.view.id:
            return False
        if view.id == self.view.id:
            assert view == self.view, f"two views have number {view.id}"
            return False
        assert view.members, f"view {view.id} has no members"
        self.view = view
        self.fence = max(self.fence, view.id)
        self._acceptor = self._make_acceptor(NO_BALLOT, NO_BALLOT, NO_VALUE)
        self.attempt = None
        self._want(now_ns)
        self._look_again(now_ns)
        return True
