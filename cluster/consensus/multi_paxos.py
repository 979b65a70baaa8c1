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
    acceptor     acceptor            promises and acceptances
    phase_one    phase_one           while this node stands: the promises it hears
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

from collections.abc import Sequence

import msgspec

from cluster.clocks.generation_clock import FUTURE, PAST, GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.acceptor import FROM_LEADERS, Acceptor
from cluster.consensus.ballots import Ballots
from cluster.consensus.election import Election
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots, snapshot_of
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
from cluster.wire import Accept, Message, Prepare, Promise, ReadIndexReply, TimeoutNow
from cluster.wire import ReadIndex as ReadIndexRequest


class MultiPaxosParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes a Multi-Paxos node is made of; each may be replaced by a subclass."""

    clock: type[GenerationClock] = GenerationClock
    ballots: type[Ballots] = Ballots
    log: type[ReplicatedLog] = ReplicatedLog
    writes: type[WriteOrder] = WriteOrder
    slots: type[Slots] = Slots
    mark: type[HighWaterMark] = HighWaterMark
    membership: type[Membership] = Membership
    election: type[Election] = Election
    snapshots: type[Snapshots] = Snapshots
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
        self.ballots = parts.ballots(node, self._founders.voters)
        self._recover(0, Recovered(GenerationClock().hard_state(), None, []))

    def _recover(self, now_ns: int, recovered: Recovered) -> None:
        """Every part anew, from what is durable."""
        parts, snapshot = self._parts, recovered.snapshot
        index = snapshot.index if snapshot else 0
        self.now_ns = now_ns
        self.clock = parts.clock(recovered.hard_state)
        self.log = parts.log.recover(recovered)
        # Below a snapshot that a leader sent may be values that were not chosen.
        self.log.compact(index)
        self.writes = parts.writes(self.log.last_index)
        self.mark = parts.mark(index)
        chosen = min(recovered.hard_state.chosen, self.log.last_index)
        self.mark.follow(chosen, chosen, self.log)
        self.membership = parts.membership(self._founders, index=index)
        self.snapshots = parts.snapshots(snapshot)
        self.slots = parts.slots(
            self.node, clock=self.clock, log=self.log, writes=self.writes, mark=self.mark
        )
        self.election = parts.election(
            self.config, self._rng, now_ns=now_ns, has_past=self.clock.generation > 0
        )
        self.leadership: Proposer | None = None
        self.phase_one: PhaseOne | None = None
        self.leader: NodeId = ""
        self._out = Outbox()
        self.acceptor = parts.acceptor(
            self.config,
            clock=self.clock,
            log=self.log,
            writes=self.writes,
            mark=self.mark,
            slots=self.slots,
            snapshots=self.snapshots,
            outbox=self._out,
        )
        self.role: str = self._passive_role()

    # -- what others may look at -------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """The highest ballot this node has promised."""
        return self.clock.generation

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
        if self.leadership:
            return self.leadership.deadline_ns
        deadline_ns = self.election.deadline_ns
        return min(deadline_ns, self.phase_one.due_ns) if self.phase_one else deadline_ns

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""
        return self.leadership is not None and self.leadership.transfer is not None

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable."""
        self._recover(now_ns, recovered)
        assert self.log.last_generation <= self.generation, (
            f"the log ends under ballot {self.log.last_generation}, which {self.node}, of ballot "
            f"{self.generation}, has not promised"
        )
        self.election.arm(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self.now_ns = now_ns
        kind, leads = type(message), self.leadership is not None
        if source == self.node or source not in self.membership.current.voters:
            return
        if kind is Prepare:
            self._on_prepare(source, message)  # type: ignore[arg-type]
            return
        standing = self.clock.standing(message.generation, leads=leads)
        if standing == FUTURE:
            self._become_follower(message.generation)
        elif standing == PAST and not self._takes_past(message):
            self.acceptor.refuse(source, message)
            return
        leadership = self.leadership
        if leadership is not None:
            leadership.rounds.heard(source, now_ns)
            leadership.on_message(now_ns, source, message)
            self._look_at(leadership)
        else:
            self._take(source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, elections."""
        self.now_ns = now_ns
        if self.leadership is not None:
            self.leadership.tick(now_ns)
            self._look_at(self.leadership)
        elif now_ns >= self.election.deadline_ns:
            if self.role == LEARNER:
                self.election.arm(now_ns)
            elif self.config.prevote:
                self._probe()
            else:
                self._stand()
        elif self.phase_one is not None and now_ns >= self.phase_one.due_ns:
            self._prepare_again(self.phase_one)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self.now_ns = now_ns
        self.writes.persisted(io_id)
        if self.leadership is not None:
            self.leadership.advance(now_ns)
        elif self.role == CANDIDATE and self.election.own_vote_is_durable(io_id):
            self._report_own()
            self._conclude()

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Propose commands in order, as one batch; (first slot, ballot), or None if refused."""
        self.now_ns = now_ns
        if self.leadership is None or self.leadership.transfer or not data:
            return None
        return self.leadership.append(now_ns, data, "command"), self.generation

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; False if this node does not lead."""
        self.now_ns = now_ns
        if self.leadership is None:
            return False
        self.leadership.read(now_ns, token, lease=lease)
        return True

    def forward_read(self, now_ns: int, id: int) -> bool:
        """A follower asks its leader for the index instead; the answer comes in ``Ready.reads``.

        Args:
            now_ns: the time.
            id: the caller's token, echoed.

        Returns:
            False if no leader is known. Lost messages are not repeated: the caller asks again.
        """
        self.now_ns = now_ns
        if self.leadership is not None or not self.leader:
            return False
        self._out.send(self.leader, ReadIndexRequest(self.generation, id))
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
        generation = self.log.generation_at(index)
        if generation is None or not self.snapshots.index < index <= self.mark.index:
            return
        snapshot = snapshot_of(index, generation, self.membership.current, data)
        keep_from = max(self.log.first_index, index + 1 - self.config.snapshot_keep_entries)
        self.snapshots.install(snapshot)
        self.log.compact(keep_from - 1)
        self.writes.snapshot(snapshot, keep_from=keep_from)
        self._out.note("snapshot-taken", index=index, keep_from=keep_from, bytes=len(data))

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""
        committed = self.mark.take(self.log)
        effects = self.writes.take()
        if self._out.effects:
            effects += self._out.effects
            self._out.effects.clear()
        restored = self.acceptor.take_restored()
        return Ready(effects, restored, committed, self._out.take_reads())

    # -- roles -------------------------------------------------------------------------------------

    def _passive_role(self) -> str:
        return FOLLOWER if self.membership.current.decides(self.node) else LEARNER

    def _takes_past(self, message: Message) -> bool:
        """Whether a message of a lower ballot is taken all the same."""
        if type(message) is Promise:
            return message.probe
        ballot, promised = message.generation, self.generation
        return type(message) is Accept and self.acceptor.may_accept(ballot, promised)

    def _look_at(self, leadership: Proposer) -> None:
        """Step down if the leadership ended by itself."""
        if leadership.over:
            self._become_follower(self.generation)

    def _become_follower(self, ballot: int) -> None:
        """Step down, or stay passive, possibly under a higher ballot, which is promised."""
        if ballot > self.generation:
            self._promise(ballot)
        if self.role in (LEADER, CANDIDATE):
            self.election.arm(self.now_ns)
        if self.leadership is not None:
            self.leadership.end(self.generation)
            self.leadership = None
        self._end_candidacy()
        self.role, self.leader = self._passive_role(), ""

    def _promise(self, ballot: int) -> None:
        self.clock.advance(ballot)
        self.slots.begin()
        self.writes.hard_state(self.slots.hard_state())

    def _end_candidacy(self) -> None:
        self.election.end()
        self.phase_one = None

    def _take(self, source: NodeId, message: Message) -> None:
        """A message under the promised ballot, for a node that does not lead."""
        kind = type(message)
        if kind in FROM_LEADERS:
            if self.role == CANDIDATE:
                self._become_follower(self.generation)
            self.leader = source
            self.election.heard_leader(self.now_ns)
            self.acceptor.on_message(source, message)
        elif kind is Promise:
            self._on_promise(source, message)  # type: ignore[arg-type]
        elif kind is TimeoutNow:
            if self.role == FOLLOWER and source == self.leader:
                self._stand(transfer=True)
        elif kind is ReadIndexRequest:
            self.acceptor.refuse(source, message)
        elif kind is ReadIndexReply:
            self._out.reads.append((message.id, message.index))  # type: ignore[union-attr]

    # -- phase 1 -----------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Ask whether a majority would promise; nothing is promised by it."""
        self._end_candidacy()
        self.role, self.leader = CANDIDATE, ""
        self.election.begin_prevote(self.node, self.now_ns)
        self._prepare(self.ballots.next_ballot(self.generation), probe=True)
        self._conclude()

    def _stand(self, *, transfer: bool = False) -> None:
        """Promise oneself the next own ballot and, once that is durable, ask the others."""
        self._end_candidacy()
        self.role, self.leader = CANDIDATE, ""
        self._promise(self.ballots.next_ballot(self.generation))
        self.election.begin(self.writes.after_hard_state, self.now_ns)
        self.phase_one = self._parts.phase_one(self.generation, self.mark.index + 1)
        self.phase_one.due_ns = self.now_ns + self.config.heartbeat_ns
        self._out.note("campaigning", generation=self.generation)
        self._prepare(self.generation, transfer=transfer)

    def _prepare(self, ballot: int, *, probe: bool = False, transfer: bool = False) -> None:
        message = Prepare(ballot, self.mark.index + 1, probe, transfer)
        for peer in self._peers():
            self._out.send(peer, message, after=self.writes.after_hard_state)

    def _prepare_again(self, phase_one: PhaseOne) -> None:
        """Ask for what is missing; those whose promise is whole hear that this node still stands."""
        phase_one.due_ns = self.now_ns + self.config.heartbeat_ns
        for peer in self._peers():
            message = Prepare(phase_one.ballot, phase_one.asks_from(peer))
            self._out.send(peer, message, after=self.writes.after_hard_state)

    def _peers(self) -> list[NodeId]:
        return [peer for peer in self.membership.current.voters if peer != self.node]

    def _on_prepare(self, source: NodeId, message: Prepare) -> None:
        ballot, leads = message.generation, self.leadership is not None
        protected = not message.transfer and self.election.protects_leader(
            self.now_ns, leads=leads
        )
        granted = self.acceptor.grants(message)
        if message.probe:
            granted = granted and not protected
        elif protected and ballot > self.generation:
            return
        elif granted:
            if ballot > self.generation:
                self._become_follower(ballot)
            self.election.arm(self.now_ns)
        self.acceptor.answer_prepare(source, message, granted=granted)

    def _on_promise(self, source: NodeId, message: Promise) -> None:
        standing, phase_one = self.role == CANDIDATE, self.phase_one
        if not standing or message.probe != self.election.prevoting:
            return
        if message.probe:
            if message.asked == self.ballots.next_ballot(self.generation):
                self.election.count(source, granted=message.granted)
        elif phase_one is not None and message.asked == phase_one.ballot:
            self._hear(phase_one, source, message)
        self._conclude()

    def _hear(self, phase_one: PhaseOne, source: NodeId, message: Promise) -> None:
        if not message.granted:
            self.election.count(source, granted=False)
        elif phase_one.hear(source, message):
            self.election.arm(self.now_ns)
            if source in phase_one.marks:
                self.election.count(source, granted=True)
            else:
                self._out.send(source, Prepare(phase_one.ballot, phase_one.asks_from(source)))

    def _report_own(self) -> None:
        """The own promise is durable: what this node has accepted is reported like any other's."""
        assert self.phase_one is not None, f"{self.node} stands without a ballot"
        end = self.log.last_index
        self.phase_one.report(self.log.between(self.phase_one.first, end), end)
        self.election.count(self.node, granted=True)

    def _conclude(self) -> None:
        outcome = self.election.outcome(self.membership.electorate())
        if outcome is False:
            self._become_follower(self.generation)
        elif outcome and self.election.prevoting:
            self._stand()
        elif outcome:
            self._become_leader()

    def _become_leader(self) -> None:
        phase_one, parts, config, now_ns = self.phase_one, self._parts, self.config, self.now_ns
        assert phase_one is not None and phase_one.ballot == self.generation, (
            f"{self.node} leads ballot {self.generation}, and has not prepared it"
        )
        proposals = phase_one.proposals()
        if proposals:
            self.slots.accept(self.generation, proposals)
        self.role, self.leader = LEADER, self.node
        self._end_candidacy()
        peers = self._peers()
        self.leadership = Proposer(
            self.node,
            self.generation,
            config=config,
            log=self.log,
            slots=self.slots,
            writes=self.writes,
            mark=self.mark,
            membership=self.membership,
            snapshots=self.snapshots,
            phase_two=parts.phase_two(
                self.node, self.generation, self.log, peers, phase_one.marks,
                config=config, now_ns=now_ns,
            ),
            rounds=parts.rounds(self.node, peers, config=config, now_ns=now_ns),
            reads=parts.reads(self.log.last_index),
            outbox=self._out,
        )  # fmt: skip
        self.leadership.begin(now_ns)
