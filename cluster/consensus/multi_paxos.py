"""Multi-Paxos: consensus on a sequence of slots, composed of the pattern modules beside it.

Where Raft lets only an up-to-date node lead, Multi-Paxos lets any node: it learns in phase 1 what
the others have accepted. Where Raft decides a log whose prefixes agree, Multi-Paxos decides each
slot by itself; logs of acceptors may differ in any slot that is not chosen. The core knows nothing
of clients, sessions or the state machine. It owns these parts:

    node         log_node            the parts that outlive a leadership:
        clock        generation_clock    the highest ballot promised; ballots are the generations
        log, writes  replicated_log      one entry per slot; what of them is durable
        mark         high_water_mark     up to which slot all is known to be chosen, so executed
        membership   membership          who votes: the founders, for ever
        snapshots    install_snapshot    the newest snapshot, and one that arrives
        repair       damage_repair       whether the disk lost something that was accepted
    ballots      ballots             the numbers that are this node's alone
    slots        slots               accepting in any slot, each change one write
    election     election            the randomised timer, and whose promises are whole
    acceptor     acceptor            promises and acceptances
    candidacy    candidacy           while this node stands: what it asks, and hears in phase_one
    serving      proposer            while this node leads; composed of phase_two, leader_rounds
                                     (heartbeat, read_index) and handover

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
Live" (2007). Behind ``interface.Consensus``.
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
from cluster.consensus.interface import Consensus
from cluster.consensus.leader_and_followers import CANDIDATE, FOLLOWER, LEADER, LEARNER
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, Refusal
from cluster.consensus.phase_one import PhaseOne
from cluster.consensus.phase_two import PhaseTwo
from cluster.consensus.proposer import Proposer
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.slots import Slots
from cluster.ports import NodeId, Recovered, Rng
from cluster.wire import (
    Message,
    Prepare,
    Promise,
    ReadIndexReply,
    Recovering,
    TimeoutNow,
)
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
    ) -> Consensus:
        """A Multi-Paxos node of these classes.

        Args:
            node: this node.
            members: the voters, for ever. A node that is none of them is heard by no other.
            config: timings and limits.
            rng: randomness for election timeouts.
        """
        founders = Configuration(tuple(sorted(members)))

        def recover(now_ns: int, recovered: Recovered) -> MultiPaxos:
            parts = LogNode.recover(node, founders, recovered, config=config, parts=self)
            chosen = recovered.hard_state.chosen
            return MultiPaxos(parts, chosen=chosen, rng=rng, parts=self, now_ns=now_ns)

        return Consensus("multi-paxos", recover)

    def leadership(
        self, node: LogNode, slots: Slots, marks: Mapping[NodeId, int], now_ns: int
    ) -> Proposer:
        """A node's leadership, whose phase 1 is done.

        Args:
            node: the parts of the node; its log holds the first proposals.
            slots: what the node has accepted.
            marks: of those that promised, the slot up to which they know all to be chosen.
            now_ns: the time.
        """
        ballot, peers, config = node.clock.generation, node.peers(), node.config
        return Proposer(
            node,
            ballot,
            slots=slots,
            phase_two=self.phase_two(
                node.name, ballot, node.log, peers, marks, config=config, now_ns=now_ns
            ),
            rounds=self.rounds(node.name, peers, config=config, now_ns=now_ns),
            reads=self.reads(node.log.last_index),
        )


class MultiPaxos:
    """One node's part in Multi-Paxos; see :class:`cluster.consensus.interface.Variant`.

    Args:
        node: the parts of the node, recovered.
        chosen: the slot up to which all are known to be chosen.
        rng: randomness for election timeouts.
        parts: the classes it is made of.
        now_ns: the time.
    """

    def __init__(
        self, node: LogNode, *, chosen: int, rng: Rng, parts: MultiPaxosParts, now_ns: int
    ) -> None:
        self.node = node
        self._parts = parts
        self._now_ns = now_ns
        clock, log = node.clock, node.log
        # Below a snapshot that a leader sent may be values that were not chosen.
        log.compact(node.snapshots.index)
        # What is left of a damaged log may be older than what was known to be chosen.
        known = 0 if node.repair.recovering else min(chosen, log.last_index)
        node.mark.follow(known, known, log)
        node.repair.note(node.outbox)
        self.ballots = parts.ballots(node.name, node.membership.current.voters)
        self.slots = parts.slots(
            node.name, clock=clock, log=log, writes=node.writes, mark=node.mark
        )
        self.election = parts.election(
            node.config, rng, now_ns=now_ns, has_past=clock.generation > 0
        )
        self.election.arm(now_ns)
        #: the leader's side, while this node leads
        self.serving: Proposer | None = None
        self.leader: NodeId = ""
        self.acceptor = parts.acceptor(node, self.slots)
        self.candidacy = Candidacy(
            node,
            ballots=self.ballots,
            election=self.election,
            acceptor=self.acceptor,
            phase_one=parts.phase_one,
        )
        self._passive_role = FOLLOWER if node.is_voter() else LEARNER
        self.role: str = self._passive_role

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.serving.deadline_ns if self.serving else self.candidacy.deadline_ns

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """The node starts."""
        node, ends_in = self.node, self.node.log.last_generation
        assert ends_in <= node.clock.generation, (
            f"the log ends under ballot {ends_in}, which {node.name}, of ballot "
            f"{node.clock.generation}, has not promised"
        )

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self._now_ns = now_ns
        kind, leads = type(message), self.serving is not None
        if source not in self.node.peers():
            return
        if kind is Prepare:
            if self.node.repair.takes_part():
                self._on_prepare(source, message)  # type: ignore[arg-type]
            return
        if kind is Recovering:
            self.node.repair.heard(source, now_ns)
        standing = self.node.clock.standing(message.generation, leads=leads)
        if standing == FUTURE:
            self._become_follower(message.generation)
        elif standing == PAST and not self.acceptor.takes_past(message):
            self.acceptor.refuse(source, message)
            return
        leadership = self.serving
        if leadership is not None:
            leadership.rounds.heartbeats.heard(source, now_ns)
            leadership.on_message(now_ns, source, message)
        else:
            self._take(source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, elections."""
        self._now_ns = now_ns
        if self.serving is not None:
            self.serving.tick(now_ns)
            if self.serving.over:
                self._become_follower(self.node.clock.generation)
        elif now_ns >= self.election.deadline_ns:
            if self.role == LEARNER or not self.node.repair.takes_part():
                self.election.arm(now_ns)
                self.node.announce_damage()
            else:
                self._stand(probe=self.node.config.prevote)
        else:
            self.candidacy.ask_again(now_ns)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self._now_ns = now_ns
        if self.serving is not None:
            self.serving.advance(now_ns)
        elif self.role == CANDIDATE and self.candidacy.own_promise_is_durable(io_id):
            self._conclude()
        self.node.end_repair(io_id)

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Refused: ballots are numbered by the members the cluster was founded with."""
        return Refusal(
            "fail",
            f"the members of a multi-paxos cluster are its founders, for ever: {change.kind} "
            f"{change.member} is not possible; raft can do it",
        )

    # -- roles and elections -----------------------------------------------------------------------

    def _become_follower(self, ballot: int) -> None:
        """Step down, or stay passive, possibly under a higher ballot, which is promised."""
        if ballot > self.node.clock.generation:
            self.acceptor.promise(ballot)
        if self.role in (LEADER, CANDIDATE):
            self.election.arm(self._now_ns)
        if self.serving is not None:
            self.serving.end(self.node.clock.generation)
            self.serving = None
        self.candidacy.end()
        self.role, self.leader = self._passive_role, ""

    def _take(self, source: NodeId, message: Message) -> None:
        """A message under the promised ballot, for a node that does not lead."""
        kind = type(message)
        if kind in FROM_LEADERS:
            if self.role == CANDIDATE:
                self._become_follower(self.node.clock.generation)
            self.leader = source
            self.election.heard_leader(self._now_ns)
            self.acceptor.on_message(source, message)
        elif kind is Promise and self.role == CANDIDATE:
            promised = self.node.clock.generation
            self.candidacy.hear(self._now_ns, source, message, promised)  # type: ignore[arg-type]
            self._conclude()
        elif kind is TimeoutNow:
            if self.role == FOLLOWER and source == self.leader and self.node.repair.takes_part():
                self._stand(transfer=True)
        elif kind is ReadIndexRequest:
            self.acceptor.refuse(source, message)
        elif kind is ReadIndexReply:
            self.node.outbox.reads.append((message.id, message.index))  # type: ignore[union-attr]

    def _stand(self, *, probe: bool = False, transfer: bool = False) -> None:
        """Stand for leadership, or only ask whether that would succeed."""
        self.candidacy.end()
        self.role, self.leader = CANDIDATE, ""
        if probe:
            self.candidacy.probe(self._now_ns, self.node.clock.generation)
        else:
            self.candidacy.stand(self._now_ns, self.node.clock.generation, transfer=transfer)
        self._conclude()

    def _on_prepare(self, source: NodeId, message: Prepare) -> None:
        ballot, election = message.generation, self.election
        protected = not message.transfer and election.protects_leader(
            self._now_ns, leads=self.serving is not None
        )
        granted = self.acceptor.grants(message)
        if message.probe:
            granted = granted and not protected
        elif protected and ballot > self.node.clock.generation:
            return
        elif granted:
            if ballot > self.node.clock.generation:
                self._become_follower(ballot)
            election.arm(self._now_ns)
        self.acceptor.answer_prepare(source, message, granted=granted)

    def _conclude(self) -> None:
        outcome = self.election.outcome(self.node.electorate())
        if outcome is False:
            self._become_follower(self.node.clock.generation)
        elif outcome and self.election.prevoting:
            self._stand()
        elif outcome:
            self._become_leader()

    def _become_leader(self) -> None:
        phase_one, ballot = self.candidacy.phase_one, self.node.clock.generation
        assert phase_one is not None and phase_one.ballot == ballot, (
            f"{self.node.name} leads ballot {ballot}, and has not prepared it"
        )
        proposals = phase_one.proposals()
        if proposals:
            self.slots.accept(ballot, proposals)
        self.role, self.leader = LEADER, self.node.name
        self.candidacy.end()
        self.serving = self._parts.leadership(self.node, self.slots, phase_one.marks, self._now_ns)
        self.serving.begin(self._now_ns)
