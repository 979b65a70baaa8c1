"""Zab: ZooKeeper's atomic broadcast, as a consensus variant, composed of the modules beside it.

Zab and Raft agree on one log from one leader, and differ in what a leader does first. A Raft leader
is elected by votes that are promises, appends an entry of its own, and brings followers in line as
it goes. A Zab leader is elected by votes that bind nobody. It then gets a quorum's promise of a new
epoch (discovery), brings a quorum in line with its history (synchronisation), and only then serves
(broadcast). The history is committed by being adopted, with no entry of its own.

    epoch accepted last     the generation, promised to one node     generation_clock
    current epoch           the adopted generation                   generation_clock
    zxid                    an entry's (generation, index)           replicated_log

This core is the variant as others see it. It owns:

    node        zab_node                the parts that outlive a leadership
    sides       zab_sides               which side of Zab the node is on: it looks for a leader,
                                        follows one, or leads; composed of
        election    fast_leader_election    the timer, the vote, the votes of others
        following   zab_following           the follower's side of the three phases
        leading     zab_leading             the leader's side, from a won election on:
                                            zab_discovery, then zab_epoch, with zab_synchronisation
                                            and Raft's Leadership

The role is ``leader`` only once the node's history is adopted by a quorum. The configuration is the
one that the cluster was founded with.

Reads. A quorum of answers to a heartbeat round sent after the read arrived shows that no quorum has
promised a later epoch before. A follower asks its leader for the index, as with ZooKeeper's
``sync``, and serves the read itself.

A node with a damaged disk drops what is left of its log above the snapshot. It neither looks for a
leader nor counts for a promise; it follows a leader that a quorum of the others has made, is
synchronised by it, and votes again once it has adopted that history (``damage_repair``).

Handing over is an election in which the chosen node looks although its leader lives: the leader and
the followers take part because the leader asked for it.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011); Medeiros, "ZooKeeper's atomic broadcast protocol: theory and practice" (2012). Hosted by
``cluster.core.replica``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.fast_leader_election import FastLeaderElection
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots, snapshot_of
from cluster.consensus.interface import Ready
from cluster.consensus.leader_and_followers import LEADER
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, Refusal
from cluster.consensus.outbox import Outbox
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.zab_discovery import Promises
from cluster.consensus.zab_epoch import LeadingParts
from cluster.consensus.zab_following import ZabFollowing
from cluster.consensus.zab_node import ZabNode
from cluster.consensus.zab_sides import ZabSides
from cluster.consensus.zab_synchronisation import Adoption
from cluster.ports import NodeId, Recovered, Rng
from cluster.wire import Message
from cluster.wire import ReadIndex as ReadIndexRequest


class ZabParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes a Zab node is made of; each may be replaced by a subclass."""

    #: whether a node with a damaged disk is repaired from its peers
    repairs_damage: ClassVar[bool] = True

    clock: type[GenerationClock] = GenerationClock
    log: type[ReplicatedLog] = ReplicatedLog
    writes: type[WriteOrder] = WriteOrder
    mark: type[HighWaterMark] = HighWaterMark
    membership: type[Membership] = Membership
    snapshots: type[Snapshots] = Snapshots
    repair: type[DamageRepair] = DamageRepair
    election: type[FastLeaderElection] = FastLeaderElection
    promises: type[Promises] = Promises
    adoption: type[Adoption] = Adoption
    leading: LeadingParts = LeadingParts()

    def build(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> Zab:
        """A Zab node of these classes; arguments as for :class:`Zab`."""
        return Zab(node, members, config=config, rng=rng, parts=self)


class Zab:
    """One node's part in Zab; see :class:`cluster.consensus.interface.Consensus`.

    Args:
        node: this node.
        members: the voters the cluster was founded with; a node that is none of them takes no part.
        config: timings and limits.
        rng: randomness for timeouts.
        parts: the classes it is made of.
    """

    name = "zab"

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        *,
        config: ClusterConfig,
        rng: Rng,
        parts: ZabParts = ZabParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.config = config
        self._name = node
        self._parts = parts
        self._rng = rng
        self._founders = Configuration(tuple(sorted(members)))
        self._recover(0, Recovered(GenerationClock().hard_state(), None, []))

    def _recover(self, now_ns: int, recovered: Recovered) -> None:
        """Every part anew, from what is durable."""
        parts, snapshot = self._parts, recovered.snapshot
        index, found = 0, self._founders
        if snapshot:
            index = snapshot.index
            found = Configuration.of_snapshot(snapshot.members, snapshot.configuration)
        self.clock = parts.clock(recovered.hard_state)
        self.log = parts.log.recover(recovered)
        self.membership = parts.membership(found, index=index)
        self.node = node = ZabNode(
            name=self._name,
            config=self.config,
            clock=self.clock,
            log=self.log,
            writes=parts.writes(self.log.last_index),
            mark=parts.mark(index),
            membership=self.membership,
            snapshots=parts.snapshots(snapshot),
            repair=parts.repair(recovered.damage),
            outbox=Outbox(),
        )
        self.repair = node.repair
        if self.repair.recovering:
            self._drop_what_is_left()
        promises, has_past = parts.promises(), self.clock.generation > 0
        self.sides = ZabSides(
            node,
            parts.election(self._name, self.config, self._rng, now_ns=now_ns, has_past=has_past),
            ZabFollowing(node, promises, parts.adoption()),
            promises=promises,
            leading_parts=parts.leading,
        )
        self._now_ns = now_ns

    def _drop_what_is_left(self) -> None:
        """A damaged log may be one from before a truncation, and a leader that remembers more of
        this node would take it for its own. Only the snapshot is known to be history."""
        node, first = self.node, max(self.node.snapshots.index, self.log.base_index) + 1
        node.repair.note(node.outbox)
        if self.log.last_index >= first:
            self.log.truncate_from(first)
            node.writes.truncate(first)

    # -- what others may look at -------------------------------------------------------------------

    @property
    def role(self) -> str:
        """``leader`` once established; ``candidate`` before, and while looking for a leader."""
        return self.sides.role

    @property
    def leader(self) -> NodeId:
        """The established leader; "" while none is known."""
        return self.sides.leader

    @property
    def committed_configuration(self) -> Configuration:
        """The founders' configuration."""
        return self.membership.current

    @property
    def high_water_mark(self) -> int:
        """Last index known to be committed."""
        return self.node.mark.index

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""
        return self.node.snapshots.index

    @property
    def accepts_batch(self) -> bool:
        """Whether no write of entries is under way, so that a batch would be written at once."""
        return not self.node.writes.entries_outstanding

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.sides.deadline_ns

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""
        serving = self.sides.serving
        return serving is not None and serving.transfer is not None

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable."""
        self._recover(now_ns, recovered)
        assert self.clock.adopted <= self.clock.generation, (
            f"{self._name} recovers current epoch {self.clock.adopted}, above the accepted one, "
            f"{self.clock.generation}"
        )
        self.sides.election.wait(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self._now_ns = now_ns
        if source != self._name and source in self.membership.current.nodes:
            self.sides.on_message(now_ns, source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, votes and questions again, a new election."""
        self._now_ns = now_ns
        self.sides.tick(now_ns)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self._now_ns = now_ns
        self.node.writes.persisted(io_id)
        self.sides.persisted(now_ns)
        if self.repair.ended(io_id):
            index, epoch = self.log.last_index, self.clock.generation
            self.node.outbox.note("repaired", index=index, generation=epoch)

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Append commands in order, as one batch; (first index, epoch), or None if refused."""
        serving = self.sides.serving
        if serving is None or serving.transfer or not data:
            return None
        return serving.append(now_ns, data, "command"), self.clock.generation

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; False if this node does not lead."""
        serving = self.sides.serving
        if serving is None:
            return False
        serving.read(now_ns, token, lease=lease)
        return True

    def forward_read(self, now_ns: int, id: int) -> bool:
        """A follower asks its leader for the index instead; the answer comes in ``Ready.reads``."""
        if self.role == LEADER or not self.leader:
            return False
        self.node.outbox.send(self.leader, ReadIndexRequest(self.clock.generation, id))
        return True

    def transfer_leadership(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a follower, which must first have every entry; False if not possible."""
        serving = self.sides.serving
        return serving is not None and serving.transfer_to(now_ns, to)

    def best_successor(self) -> NodeId:
        """The voter a leader would best hand over to; "" if there is none."""
        serving = self.sides.serving
        return serving.best_successor(self._now_ns) if serving is not None else ""

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Refused: the configuration of this variant is the one it was founded with."""
        return Refusal("fail", "zab has a fixed configuration: members cannot be changed")

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index: make it durable and let the log below the tail go."""
        node = self.node
        generation = node.log.generation_at(index)
        if generation is None or not node.snapshots.index < index <= node.mark.index:
            return
        snapshot = snapshot_of(index, generation, node.membership.current, data)
        keep_from = max(node.log.first_index, index + 1 - self.config.snapshot_keep_entries)
        node.snapshots.install(snapshot)
        node.log.compact(keep_from - 1)
        node.writes.snapshot(snapshot, keep_from=keep_from)
        node.outbox.note("snapshot-taken", index=index, keep_from=keep_from, bytes=len(data))

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""
        node = self.node
        committed = node.mark.take(node.log)
        effects = node.writes.take()
        effects += node.outbox.effects
        node.outbox.effects.clear()
        restored = self.sides.following.take_restored()
        return Ready(effects, restored, committed, node.outbox.take_reads())
