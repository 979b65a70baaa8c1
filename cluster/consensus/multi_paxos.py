"""Multi-Paxos: consensus on a sequence of slots, composed of the pattern modules beside it.

Where Raft lets only an up-to-date node lead, Multi-Paxos lets any node: it learns in phase 1 what
the others have accepted. Where Raft decides a log whose prefixes agree, Multi-Paxos decides each
slot by itself; logs of acceptors may differ in any slot that is not chosen. The core knows nothing
of clients, sessions or the state machine. It owns these parts:

    clock        generation_clock    the highest ballot promised; ballots are the generations
    ballots      ballots             the numbers that are this node's alone
    log, writes  replicated_log      one entry per slot; what of them is durable
    slots        slots               accepting in any slot, each change one write
    mark         high_water_mark     up to which slot all is known to be chosen, so executed
    membership   membership          who votes: the founders, for ever
    election     election            the randomised timer, and whose promises are whole
    snapshots    install_snapshot    the newest snapshot, and one that arrives
    repair       damage_repair       whether the disk lost something that was accepted
    acceptor     acceptor            promises and acceptances
    candidacy    candidacy           while this node stands: what it asks, and hears in phase_one
    leadership   proposer            while this node leads; composed of phase_two, heartbeat and
                                     read_index

Ballots. The integer is ``round * n + rank`` (see ``ballots``), so each is one node's alone, and the
Generation Clock needs no vote: to promise a ballot is to enter that generation. Duelling proposers
are kept apart by random timeouts, by a probe before a candidacy that promises nothing (PreVote's
idea), and by acceptors that stand by a leader they heard a moment ago.

Durability order. A promise and an acceptance leave with ``after`` naming the write they depend on.
A proposer asks for promises only once its own is durable, and counts itself in phase 2 only for
what it has durable. Heartbeats and their answers depend on no write of entries. What is known to be
chosen is written along with later entries; what a crash takes of that is learned again.

Membership is that of the founders; changes are refused.

Source: Lamport, "The Part-Time Parliament" (1998), "Paxos Made Simple" (2001); van Renesse and
Altinbuken, "Paxos Made Moderately Complex" (2015); Chandra, Griesemer and Redstone, "Paxos Made
Live" (2007). Hosted by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from cluster.clocks.generation_clock import FUTURE, PAST, GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.acceptor import FROM_LEADERS, Acceptor
from cluster.consensus.ballots import Ballots
from cluster.consensus.candidacy import Candidacy
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.election import Election
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots
from cluster.consensus.interface import Ready
from cluster.consensus.leader_and_followers import CANDIDATE, FOLLOWER, LEADER, LEARNER
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, Refusal
from cluster.consensus.outbox import Outbox
from cluster.consensus.phase_one import PhaseOne
from cluster.consensus.phase_two import PhaseTwo
from cluster.consensus.proposer import Proposer
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.slots import Slots
from cluster.ports import NodeId, Recovered, Rng
from cluster.wire import Message, Prepare, Promise, ReadIndexReply, Recovering, TimeoutNow
from cluster.wire import ReadIndex as ReadIndexRequest


class MultiPaxosParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes a Multi-Paxos node is made of; each may be replaced by a subclass."""

    #: whether a node with a damaged disk is repaired from its peers
    repairs_damage: ClassVar[bool] = True

    clock: type[GenerationClock] = GenerationClock
    ballots: type[Ballots] = Ballots
    log: type[ReplicatedLog] = ReplicatedLog
    writes: type[WriteOrder] = WriteOrder
    slots: type[Slots] = Slots
    mark: type[HighWaterMark] = HighWaterMark
    membership: type[Membership] = Membership
    election: type[Election] = Election
    snapshots: type[Snapshots] = Snapshots
    repair: type[DamageRepair] = DamageRepair
    acceptor: type[Acceptor] = Acceptor
    phase_one: type[PhaseOne] = PhaseOne
    phase_two: type[PhaseTwo] = PhaseTwo
    rounds: type[HeartbeatRounds] = HeartbeatRounds
    reads: type[ReadIndex] = ReadIndex

    def build(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> MultiPaxos:
        """A Multi-Paxos node of these classes; arguments as for :class:`MultiPaxos`."""
        return MultiPaxos(node, members, config=config, rng=rng, parts=self)

    def candidacy(self, core: MultiPaxos) -> Candidacy:
        """How a node stands, once its other parts are there."""
        return Candidacy(
            core.node,
            core.peers,
            config=core.config,
            ballots=core.ballots,
            election=core.election,
            acceptor=core.acceptor,
            log=core.log,
            writes=core.writes,
            mark=core.mark,
            outbox=core.outbox,
            phase_one=self.phase_one,
        )

    def leadership(
        self, core: MultiPaxos, peers: Sequence[NodeId], marks: Mapping[NodeId, int]
    ) -> Proposer:
        """A node's leadership, whose phase 1 is done.

        Args:
            core: the node; its log holds the first proposals.
            peers: the other members.
            marks: of those that promised, the slot up to which they know all to be chosen.
        """
        node, ballot, config, now_ns = core.node, core.clock.generation, core.config, core.now_ns
        return Proposer(
            node,
            ballot,
            config=config,
            log=core.log,
            slots=core.slots,
            writes=core.writes,
            mark=core.mark,
            membership=core.membership,
            snapshots=core.snapshots,
            phase_two=self.phase_two(
                node, ballot, core.log, peers, marks, config=config, now_ns=now_ns
            ),
            rounds=self.rounds(node, peers, config=config, now_ns=now_ns),
            reads=self.reads(core.log.last_index),
            outbox=core.outbox,
        )


class MultiPaxos:
    """One node's part in Multi-Paxos; see :class:`cluster.consensus.interface.Consensus`.

    Args:
        node: this node.
        members: the voters, for ever. A node that is none of them is heard by nobody.
        config: timings and limits.
        rng: randomness for election timeouts.
        parts: the classes it is made of.
    """

    name = "multi-paxos"

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        *,
        config: ClusterConfig,
        rng: Rng,
        parts: MultiPaxosParts = MultiPaxosParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node
        self.config = config
        self._parts = parts
        self._rng = rng
        self._founders = Configuration(tuple(sorted(members)))
        self.peers = [peer for peer in self._founders.voters if peer != node]
        self._passive_role = FOLLOWER if self._founders.decides(node) else LEARNER
        self.ballots = parts.ballots(node, self._founders.voters)
        self.start(0, Recovered(GenerationClock().hard_state(), None, []))

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin with every part anew, from what is durable."""
        parts, snapshot = self._parts, recovered.snapshot
        index = snapshot.index if snapshot else 0
        self.now_ns = now_ns
        self.clock = parts.clock(recovered.hard_state)
        self.log = parts.log.recover(recovered)
        assert self.log.last_generation <= self.clock.generation, (
            f"the log ends under ballot {self.log.last_generation}, which {self.node}, of ballot "
            f"{self.clock.generation}, has not promised"
        )
        # Below a snapshot that a leader sent may be values that were not chosen.
        self.log.compact(index)
        self.writes = parts.writes(self.log.last_index)
        self.mark = parts.mark(index)
        self.repair = parts.repair(recovered.damage)
        # What is left of a damaged log may be older than what was known to be chosen.
        known = 0 if self.repair.recovering else recovered.hard_state.chosen
        self.mark.follow(known, self.log.last_index, self.log)
        self.membership = parts.membership(self._founders, index=index)
        self.snapshots = parts.snapshots(snapshot)
        self.slots = parts.slots(
            self.node, clock=self.clock, log=self.log, writes=self.writes, mark=self.mark
        )
        self.election = parts.election(
            self.config, self._rng, now_ns=now_ns, has_past=self.clock.generation > 0
        )
        self.election.arm(now_ns)
        self.leadership: Proposer | None = None
        self.leader: NodeId = ""
        self.outbox = Outbox()
        self.acceptor = parts.acceptor(
            self.config,
            clock=self.clock,
            log=self.log,
            writes=self.writes,
            mark=self.mark,
            slots=self.slots,
            snapshots=self.snapshots,
            repair=self.repair,
            outbox=self.outbox,
        )
        self.repair.note(self.outbox)
        self.candidacy = parts.candidacy(self)
        self.role: str = self._passive_role

    # -- what others may look at -------------------------------------------------------------------

    @property
    def high_water_mark(self) -> int:
        """Last slot up to which all are known to be chosen."""
        return self.mark.index

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""
        return self.snapshots.index

    @property
    def committed_configuration(self) -> Configuration:
        """The founders."""
        return self.membership.current

    @property
    def accepts_batch(self) -> bool:
        """Whether no write of entries is under way, so that a batch would be written at once."""
        return not self.writes.entries_outstanding

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.leadership.deadline_ns if self.leadership else self.candidacy.deadline_ns

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""
        return self.leadership is not None and self.leadership.transfer is not None

    # -- inputs ------------------------------------------------------------------------------------

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self.now_ns = now_ns
        kind, leads = type(message), self.leadership is not None
        if source not in self.peers:
            return
        if kind is Prepare:
            if self.repair.takes_part():
                self._on_prepare(source, message)  # type: ignore[arg-type]
            return
        if kind is Recovering:
            self.repair.heard(source, now_ns)
        standing = self.clock.standing(message.generation, leads=leads)
        if standing == FUTURE:
            self._become_follower(message.generation)
        elif standing == PAST and not self.acceptor.takes_past(message):
            self.acceptor.refuse(source, message)
            return
        leadership = self.leadership
        if leadership is not None:
            leadership.rounds.heard(source, now_ns)
            leadership.on_message(now_ns, source, message)
        else:
            self._take(source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, elections."""
        self.now_ns = now_ns
        if self.leadership is not None:
            self.leadership.tick(now_ns)
            if self.leadership.over:
                self._become_follower(self.clock.generation)
        elif now_ns >= self.election.deadline_ns:
            if self.role == LEARNER or not self.repair.takes_part():
                self.election.arm(now_ns)
                self.acceptor.announce_damage(self.peers)
            else:
                self._stand(probe=self.config.prevote)
        else:
            self.candidacy.ask_again(now_ns)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self.now_ns = now_ns
        self.writes.persisted(io_id)
        if self.leadership is not None:
            self.leadership.advance(now_ns)
        elif self.role == CANDIDATE and self.candidacy.own_promise_is_durable(io_id):
            self._conclude()
        if self.repair.ended(io_id):
            self.outbox.note(
                "repaired", index=self.log.last_index, generation=self.clock.generation
            )

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Propose commands in order, as one batch; (first slot, ballot), or None if refused."""
        self.now_ns = now_ns
        if self.leadership is None or self.leadership.transfer or not data:
            return None
        return self.leadership.append(now_ns, data, "command"), self.clock.generation

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; False if this node does not lead."""
        self.now_ns = now_ns
        if self.leadership is None:
            return False
        self.leadership.read(now_ns, token, lease=lease)
        return True

    def forward_read(self, now_ns: int, id: int) -> bool:
        """A follower asks its leader for the index instead; False if it knows none."""
        self.now_ns = now_ns
        if self.leadership is not None or not self.leader:
            return False
        self.outbox.send(self.leader, ReadIndexRequest(self.clock.generation, id))
        return True

    def transfer_leadership(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a voter, which must first have everything; False if not possible."""
        self.now_ns = now_ns
        return self.leadership is not None and self.leadership.transfer_to(now_ns, to)

    def best_successor(self) -> NodeId:
        """The voter a leader would best hand over to; "" if there is none."""
        return self.leadership.best_successor(self.now_ns) if self.leadership else ""

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Refused: ballots are numbered by the members the cluster was founded with."""
        return Refusal(
            "fail",
            f"the members of a multi-paxos cluster are its founders, for ever: {change.kind} "
            f"{change.member} is not possible; raft can do it",
        )

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index: make it durable and let the log below the tail go."""
        self.acceptor.compact(index, self.membership.current, data)

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""
        committed = self.mark.take(self.log)
        effects = self.writes.take()
        if self.outbox.effects:
            effects += self.outbox.effects
            self.outbox.effects.clear()
        restored = self.acceptor.take_restored()
        return Ready(effects, restored, committed, self.outbox.take_reads())

    # -- roles and elections -----------------------------------------------------------------------

    def _become_follower(self, ballot: int) -> None:
        """Step down, or stay passive, possibly under a higher ballot, which is promised."""
        if ballot > self.clock.generation:
            self.acceptor.promise(ballot)
        if self.role in (LEADER, CANDIDATE):
            self.election.arm(self.now_ns)
        if self.leadership is not None:
            self.leadership.end(self.clock.generation)
            self.leadership = None
        self.candidacy.end()
        self.role, self.leader = self._passive_role, ""

    def _take(self, source: NodeId, message: Message) -> None:
        """A message under the promised ballot, for a node that does not lead."""
        kind = type(message)
        if kind in FROM_LEADERS:
            if self.role == CANDIDATE:
                self._become_follower(self.clock.generation)
            self.leader = source
            self.election.heard_leader(self.now_ns)
            self.acceptor.on_message(source, message)
        elif kind is Promise and self.role == CANDIDATE:
            promised = self.clock.generation
            self.candidacy.hear(self.now_ns, source, message, promised)  # type: ignore[arg-type]
            self._conclude()
        elif kind is TimeoutNow:
            if self.role == FOLLOWER and source == self.leader and self.repair.takes_part():
                self._stand(transfer=True)
        elif kind is ReadIndexRequest:
            self.acceptor.refuse(source, message)
        elif kind is ReadIndexReply:
            self.outbox.reads.append((message.id, message.index))  # type: ignore[union-attr]

    def _stand(self, *, probe: bool = False, transfer: bool = False) -> None:
        """Stand for leadership, or only ask whether that would succeed."""
        self.candidacy.end()
        self.role, self.leader = CANDIDATE, ""
        if probe:
            self.candidacy.probe(self.now_ns, self.clock.generation)
        else:
            self.candidacy.stand(self.now_ns, self.clock.generation, transfer=transfer)
        self._conclude()

    def _on_prepare(self, source: NodeId, message: Prepare) -> None:
        ballot, leads = message.generation, self.leadership is not None
        protected = not message.transfer and self.election.protects_leader(self.now_ns, leads=leads)
        granted = self.acceptor.grants(message)
        if message.probe:
            granted = granted and not protected
        elif protected and ballot > self.clock.generation:
            return
        elif granted:
            if ballot > self.clock.generation:
                self._become_follower(ballot)
            self.election.arm(self.now_ns)
        self.acceptor.answer_prepare(source, message, granted=granted)

    def _conclude(self) -> None:
        outcome = self.election.outcome(self.membership.electorate())
        if outcome is False:
            self._become_follower(self.clock.generation)
        elif outcome and self.election.prevoting:
            self._stand()
        elif outcome:
            self._become_leader()

    def _become_leader(self) -> None:
        phase_one, ballot = self.candidacy.phase_one, self.clock.generation
        assert phase_one is not None and phase_one.ballot == ballot, (
            f"{self.node} leads ballot {ballot}, and has not prepared it"
        )
        proposals = phase_one.proposals()
        if proposals:
            self.slots.accept(ballot, proposals)
        self.role, self.leader = LEADER, self.node
        self.candidacy.end()
        self.leadership = self._parts.leadership(self, self.peers, phase_one.marks)
        self.leadership.begin(self.now_ns)
