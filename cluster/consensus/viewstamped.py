"""Viewstamped Replication: consensus on a replicated log, whose leader follows from a number.

Where Raft elects a leader that has every committed entry, this variant numbers the views, gives
each its primary in turn, and brings the log to the primary. Otherwise it is the same work, and the
same parts do it:

    clock        generation_clock      the view, and the last normal view: ``adopted``
    log, writes  replicated_log        the entries; what of them is durable
    mark         high_water_mark       what is committed: the commit number
    membership   membership            the configuration, which does not change
    snapshots    install_snapshot      the newest snapshot, and one that arrives
    following    leader_and_followers  the backup's side: entries, marks and snapshots taken
    leadership   leader_and_followers  the primary's side, while this replica leads; composed of
                                       replication, heartbeat, read_index
    change       view_change           timer, who asks for which view, reports to a new primary
    transfer     state_transfer        what is fetched of a view's log, and served to others
    recovery     replica_recovery      the questions of a replica without a memory
    joining      joining_view          how a log comes to be that of a view
    views        views                 what follows from all of these while it does not lead

Prepare is ``AppendEntries``, PrepareOk is ``AppendReply``, Commit is ``Heartbeat``: pipelined and
batched as in the other variants. Gaps within a view are closed by the primary (``replication``);
state transfer is for a replica that was not there when the view started.

With a disk. The paper's replicas keep their state in memory alone and recover from each other. Here
entries, view and last normal view are durable, so a restarted replica goes on where it was, and
recovery is for one that has lost its disk. A restarted primary does not lead on: the others may
have entries of its view that it does not. It waits for the next view like everybody else.

Handing over. The primary tells the target to ask for the next view that is the target's, in a
message that says that the primary wants it; then even replicas that hear the primary join in.

A replica that has lost a part of its log still knows its view, so nobody needs to be asked which
one that is. It asks for no view and reports to none. It takes part in a view that has started, as
one that was away does, and its acknowledgements count again once it is repaired
(``damage_repair``).

What is not here: changes of members. A node that is none of the founders takes part in nothing.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012); Oki and Liskov (1988).
Hosted by ``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots, snapshot_of
from cluster.consensus.interface import Ready
from cluster.consensus.joining_view import Joining, ReplicaState
from cluster.consensus.leader_and_followers import Following, Leadership
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, MembershipChange, Refusal
from cluster.consensus.outbox import Outbox
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replica_recovery import ReplicaRecovery
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.replication import Replication
from cluster.consensus.state_transfer import StateTransfer
from cluster.consensus.view_change import ViewChange
from cluster.consensus.views import Views
from cluster.ports import NodeId, Recovered, Rng
from cluster.wire import Entry, Message, StartView
from cluster.wire import ReadIndex as ReadIndexRequest

#: A nonce is one of so many: that two lives of a replica draw the same is not to be expected.
_NONCES = 1 << 62


class ViewstampedParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes a replica is made of; each may be replaced by a subclass."""

    #: whether a node with a damaged disk is repaired from its peers
    repairs_damage: ClassVar[bool] = True

    clock: type[GenerationClock] = GenerationClock
    log: type[ReplicatedLog] = ReplicatedLog
    writes: type[WriteOrder] = WriteOrder
    mark: type[HighWaterMark] = HighWaterMark
    membership: type[Membership] = Membership
    snapshots: type[Snapshots] = Snapshots
    repair: type[DamageRepair] = DamageRepair
    replication: type[Replication] = Replication
    rounds: type[HeartbeatRounds] = HeartbeatRounds
    reads: type[ReadIndex] = ReadIndex
    change: type[ViewChange] = ViewChange
    transfer: type[StateTransfer] = StateTransfer
    recovery: type[ReplicaRecovery] = ReplicaRecovery

    def build(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> Viewstamped:
        """A replica of these classes; arguments as for :class:`Viewstamped`."""
        return Viewstamped(node, members, config=config, rng=rng, parts=self)


class Viewstamped:
    """One replica; see :class:`cluster.consensus.interface.Consensus`.

    Args:
        node: this replica.
        members: the voters the cluster was founded with; another node takes part in nothing.
        config: timings and limits.
        rng: randomness for timeouts, and the nonce of a recovery.
        parts: the classes it is made of.
    """

    name = "viewstamped"

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        *,
        config: ClusterConfig,
        rng: Rng,
        parts: ViewstampedParts = ViewstampedParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node
        self.config = config
        self._parts = parts
        self._rng = rng
        self._voters = tuple(sorted(members))
        self._recover(0, Recovered(GenerationClock().hard_state(), None, []))

    def _recover(self, now_ns: int, recovered: Recovered) -> None:
        """Every part anew, from what is durable."""
        parts, snapshot, voters = self._parts, recovered.snapshot, self._voters
        index = snapshot.index if snapshot else 0
        self.clock = parts.clock(recovered.hard_state)
        self.log = parts.log.recover(recovered)
        self.writes = parts.writes(self.log.last_index)
        self.mark = parts.mark(index)
        self.membership = parts.membership(Configuration(voters), index=index)
        self.snapshots = parts.snapshots(snapshot)
        self.leadership: Leadership | None = None
        self.repair = parts.repair(recovered.damage)
        self._out = Outbox()
        self._following = Following(
            self.node,
            clock=self.clock,
            log=self.log,
            writes=self.writes,
            mark=self.mark,
            membership=self.membership,
            snapshots=self.snapshots,
            repair=self.repair,
            outbox=self._out,
        )
        self.state = ReplicaState(
            self.node,
            voters,
            clock=self.clock,
            log=self.log,
            writes=self.writes,
            mark=self.mark,
            snapshots=self.snapshots,
            repair=self.repair,
            outbox=self._out,
        )
        self._change = parts.change(
            voters,
            config=self.config,
            rng=self._rng,
            now_ns=now_ns,
            has_past=self.clock.generation > 0,
        )
        nonce = self._rng.between(1, _NONCES)
        recovery = parts.recovery(self.node, voters, nonce=nonce, now_ns=now_ns)
        self.state.remembers = not (self.state.is_voter and recovery.is_needed(recovered))
        transfer = parts.transfer(self.config)
        self.views = Views(
            self.state,
            config=self.config,
            following=self._following,
            change=self._change,
            joining=Joining(self.state, self._following, self._change, transfer),
            recovery=recovery,
        )

    # -- what others may look at -------------------------------------------------------------------

    @property
    def role(self) -> str:
        """``leader`` of a view that has started, ``follower`` in one, ``candidate`` while the view
        changes, ``learner`` without a memory."""
        return self.views.role

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this replica knows."""
        return self.state.leader

    @property
    def high_water_mark(self) -> int:
        """Last index known to be committed."""
        return self.mark.index

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""
        return self.snapshots.index

    @property
    def committed_configuration(self) -> Configuration:
        """The configuration, which does not change."""
        return self.membership.at(self.mark.index)

    @property
    def accepts_batch(self) -> bool:
        """Whether no write of entries is under way, so that a batch would be written at once."""
        return not self.writes.entries_outstanding

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.leadership.deadline_ns if self.leadership else self.views.deadline_ns

    @property
    def handing_over(self) -> bool:
        """Whether this replica leads and is handing leadership over."""
        return self.leadership is not None and self.leadership.transfer is not None

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable."""
        self._recover(now_ns, recovered)
        if self.state.remembers:
            assert self.log.last_generation <= self.clock.generation, (
                f"the log ends in view {self.log.last_generation}, which {self.node}, "
                f"of view {self.clock.generation}, has not entered"
            )
            self._change.arm(now_ns)
        else:
            self.views.tick(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        if self.views.step(now_ns, source, message) and self.leadership is not None:
            self.leadership.rounds.heard(source, now_ns)
            self.leadership.on_message(now_ns, source, message)
        self._settle(now_ns)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, the next view."""
        self.state.now_ns = now_ns
        if self.leadership is not None:
            self.leadership.tick(now_ns)
        else:
            self.views.tick(now_ns)
        self._settle(now_ns)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self.writes.persisted(io_id)
        if self.leadership is not None:
            self.leadership.advance(now_ns)
        else:
            self.views.persisted(io_id)
            if self.state.is_normal:
                self._following.continue_repair(io_id)
        self._settle(now_ns)

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Append commands in order, as one batch; (first index, generation), or None if refused."""
        if self.leadership is None or self.leadership.transfer or not data:
            return None
        return self.leadership.append(now_ns, data, "command"), self.clock.generation

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; False if this replica does not lead."""
        if self.leadership is None:
            return False
        self.leadership.read(now_ns, token, lease=lease)
        return True

    def forward_read(self, now_ns: int, id: int) -> bool:
        """A backup asks the primary for the index instead; the answer comes in ``Ready.reads``."""
        if self.leadership is not None or not self.leader:
            return False
        self._out.send(self.leader, ReadIndexRequest(self.clock.generation, id))
        return True

    def transfer_leadership(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a backup, which must first have every entry; False if not possible."""
        return self.leadership is not None and self.leadership.transfer_to(now_ns, to)

    def best_successor(self) -> NodeId:
        """The voter a primary would best hand over to; "" if there is none."""
        return self.leadership.best_successor(self.state.now_ns) if self.leadership else ""

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Refused: the configuration of this variant does not change."""
        voters = ", ".join(self._voters)
        why = f"the members of a viewstamped cluster do not change: they are {voters}"
        return Refusal("fail", why)

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index: make it durable and let the log below the tail go."""
        generation = self.log.generation_at(index)
        if generation is None or not self.snapshots.index < index <= self.mark.index:
            return
        snapshot = snapshot_of(index, generation, self.membership.at(index), data)
        keep_from = max(self.log.first_index, index + 1 - self.config.snapshot_keep_entries)
        self.snapshots.install(snapshot)
        self.log.compact(keep_from - 1)
        self.writes.snapshot(snapshot, keep_from=keep_from)
        self._out.note("snapshot-taken", index=index, keep_from=keep_from, bytes=len(data))

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""
        committed = self.mark.take(self.log)
        effects = self.writes.take() + self._out.effects
        self._out.effects.clear()
        restored = self._following.take_restored()
        return Ready(effects, restored, committed, self._out.take_reads())

    # -- leading -----------------------------------------------------------------------------------

    def _settle(self, now_ns: int) -> None:
        """End a leadership that is over, and begin one that may be."""
        leadership = self.leadership
        if leadership is not None and (leadership.over or not self.state.leads):
            self.leadership = None
            leadership.end(self.clock.generation)
            if leadership.over:
                self.views.gave_up(now_ns)
        if self.views.may_begin:
            self._begin_view(now_ns)

    def _begin_view(self, now_ns: int) -> None:
        """Start the view: its first entry takes the place of whatever its log does not have."""
        end, view = self.views.end_index, self.clock.generation
        assert self.clock.adopted == view and self._change.primary_of(view) == self.node, (
            f"{self.node} starts view {view}, and its last normal view is {self.clock.adopted}"
        )
        if self.log.last_index > end:
            self.log.truncate_from(end + 1)
        previous = self.log.last_generation
        first = Entry(end + 1, view, "noop")
        self.log.extend((first,))
        self.writes.append((first,))
        self.leadership = self._lead(now_ns, first.index)
        self.views.began()
        self._out.note("leader-elected", generation=view, index=first.index)
        message = StartView(view, end, previous, (first,), self.mark.index)
        for peer, pipeline in self.leadership.replication.pipelines.items():
            self._out.send(peer, message)
            pipeline.sent(first.index, now_ns)
        self.leadership.tick(now_ns)

    def _lead(self, now_ns: int, first_index: int) -> Leadership:
        parts, config, view = self._parts, self.config, self.clock.generation
        peers = self.state.peers
        replication = parts.replication(
            self.node, view, self.log, peers, config=config, now_ns=now_ns
        )
        for pipeline in replication.pipelines.values():
            pipeline.reset(first_index)
        return Leadership(
            self.node,
            view,
            config=config,
            log=self.log,
            writes=self.writes,
            mark=self.mark,
            membership=self.membership,
            snapshots=self.snapshots,
            replication=replication,
            rounds=parts.rounds(self.node, peers, config=config, now_ns=now_ns),
            reads=parts.reads(first_index),
            change=MembershipChange(first_index, config=config),
            outbox=self._out,
        )
