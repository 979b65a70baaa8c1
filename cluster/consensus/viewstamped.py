"""Viewstamped Replication: consensus on a replicated log, whose leader follows from a number.

Where Raft elects a leader that has every committed entry, this variant numbers the views, gives
each its primary in turn, and brings the log to the primary. Otherwise it is the same work, and the
same parts do it:

    node         log_node              the parts that outlive a leadership:
        clock        generation_clock      the view, and the last normal view: ``adopted``
        log, writes  replicated_log        the entries; what of them is durable
        mark         high_water_mark       what is committed: the commit number
        membership   membership            the configuration, which does not change
        snapshots    install_snapshot      the newest snapshot, and one that arrives
    following    leader_and_followers  the backup's side: entries, marks and snapshots taken
    serving      leader_and_followers  the primary's side, while this replica leads; composed of
                                       replication, leader_rounds, handover
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
have entries of its view that it does not. It waits for the next view, as the others do.

Handing over. The primary tells the target to ask for the next view that is the target's, in a
message that says that the primary wants it; then even replicas that hear the primary join in.

A replica that has lost a part of its log still knows its view, and need not ask which one that is.
It asks for no view and reports to none. It takes part in a view that has started, as
one that was away does, and its acknowledgements count again once it is repaired
(``damage_repair``).

What is not here: changes of members. A node that is none of the founders takes part in nothing.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012); Oki and Liskov (1988).
Behind ``interface.Consensus``.
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
from cluster.consensus.install_snapshot import Snapshots
from cluster.consensus.interface import Consensus
from cluster.consensus.joining_view import Joining, ReplicaState
from cluster.consensus.leader_and_followers import Following, Leadership
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, MembershipChange, Refusal
from cluster.consensus.read_index import ReadIndex
from cluster.consensus.replica_recovery import ReplicaRecovery
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.replication import Replication
from cluster.consensus.state_transfer import StateTransfer
from cluster.consensus.view_change import ViewChange
from cluster.consensus.views import Views
from cluster.ports import NodeId, Recovered, Rng
from cluster.wire import Entry, Message, StartView

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
    ) -> Consensus:
        """A replica of these classes.

        Args:
            node: this replica.
            members: the voters the cluster was founded with; another node takes part in nothing.
            config: timings and limits.
            rng: randomness for timeouts, and the nonce of a recovery.
        """
        founders = Configuration(tuple(sorted(members)))

        def recover(now_ns: int, recovered: Recovered) -> Viewstamped:
            parts = LogNode.recover(node, founders, recovered, config=config, parts=self)
            voters = founders.voters
            return Viewstamped(parts, voters, recovered, rng=rng, parts=self, now_ns=now_ns)

        return Consensus("viewstamped", recover)

    def leadership(self, state: ReplicaState, first_index: int, now_ns: int) -> Leadership:
        """The primary's side of a view, whose first entry is in the log."""
        node, view, peers = state.node, state.clock.generation, state.peers
        replication = self.replication(
            node.name, view, node.log, peers, config=node.config, now_ns=now_ns
        )
        for pipeline in replication.pipelines.values():
            pipeline.reset(first_index)
        return Leadership(
            node,
            view,
            replication=replication,
            rounds=self.rounds(node.name, peers, config=node.config, now_ns=now_ns),
            reads=self.reads(first_index),
            change=MembershipChange(first_index, config=node.config),
        )


class Viewstamped:
    """One replica; see :class:`cluster.consensus.interface.Variant`.

    Args:
        node: the parts of the replica, recovered.
        voters: the configuration, sorted.
        recovered: what is durable: whether there is a memory.
        rng: randomness for timeouts, and the nonce of a recovery.
        parts: the classes it is made of.
        now_ns: the time.
    """

    def __init__(
        self,
        node: LogNode,
        voters: Sequence[NodeId],
        recovered: Recovered,
        *,
        rng: Rng,
        parts: ViewstampedParts,
        now_ns: int,
    ) -> None:
        self.node = node
        #: the primary's side, while this replica leads
        self.serving: Leadership | None = None
        self.state = ReplicaState(node, voters)
        self._parts = parts
        self._voters = voters
        self._following = Following(node)
        self._change = parts.change(
            voters,
            config=node.config,
            rng=rng,
            now_ns=now_ns,
            has_past=node.clock.generation > 0,
        )
        nonce = rng.between(1, _NONCES)
        recovery = parts.recovery(node.name, voters, nonce=nonce, now_ns=now_ns)
        self.state.remembers = not (self.state.is_voter and recovery.is_needed(recovered))
        transfer = parts.transfer(node.config)
        self.views = Views(
            self.state,
            config=node.config,
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
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.serving.deadline_ns if self.serving else self.views.deadline_ns

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """The replica starts: where it was, or without a memory."""
        if not self.state.remembers:
            self.views.tick(now_ns)
            return
        node, ends_in = self.node, self.node.log.last_generation
        assert ends_in <= node.clock.generation, (
            f"the log ends in view {ends_in}, which {node.name}, "
            f"of view {node.clock.generation}, has not entered"
        )
        self._change.arm(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        if self.views.step(now_ns, source, message) and self.serving is not None:
            self.serving.rounds.heartbeats.heard(source, now_ns)
            self.serving.on_message(now_ns, source, message)
        self._settle(now_ns)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, CheckQuorum, the next view."""
        self.state.now_ns = now_ns
        if self.serving is not None:
            self.serving.tick(now_ns)
        else:
            self.views.tick(now_ns)
        self._settle(now_ns)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        if self.serving is not None:
            self.serving.advance(now_ns)
        else:
            self.views.persisted(io_id)
            if self.state.is_normal:
                self._following.continue_repair(io_id)
        self._settle(now_ns)

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Refused: the configuration of this variant does not change."""
        voters = ", ".join(self._voters)
        why = f"the members of a viewstamped cluster do not change: they are {voters}"
        return Refusal("fail", why)

    # -- leading -----------------------------------------------------------------------------------

    def _settle(self, now_ns: int) -> None:
        """End a leadership that is over, and begin one that may be."""
        leadership = self.serving
        if leadership is not None and (leadership.over or not self.state.leads):
            self.serving = None
            leadership.end(self.node.clock.generation)
            if leadership.over:
                self.views.gave_up(now_ns)
        if self.views.may_begin:
            self._begin_view(now_ns)

    def _begin_view(self, now_ns: int) -> None:
        """Start the view: its first entry takes the place of whatever its log does not have."""
        node, end, view = self.node, self.views.end_index, self.node.clock.generation
        assert node.clock.adopted == view and self._change.primary_of(view) == node.name, (
            f"{node.name} starts view {view}, and its last normal view is {node.clock.adopted}"
        )
        if node.log.last_index > end:
            node.log.truncate_from(end + 1)
        previous = node.log.last_generation
        first = Entry(end + 1, view, "noop")
        node.log.extend((first,))
        node.writes.append((first,))
        self.serving = self._parts.leadership(self.state, first.index, now_ns)
        self.views.began()
        node.outbox.note("leader-elected", generation=view, index=first.index)
        message = StartView(view, end, previous, (first,), node.mark.index)
        for peer, pipeline in self.serving.replication.pipelines.items():
            node.outbox.send(peer, message)
            pipeline.sent(first.index, now_ns)
        self.serving.tick(now_ns)
