"""Zab: ZooKeeper's atomic broadcast, as a consensus variant, composed of the modules beside it.

Zab and Raft agree on one log from one leader, and differ in what a leader does first. A Raft leader
is elected by votes that are promises, appends an entry of its own, and brings followers in line as
it goes. A Zab leader is elected by votes that are no promises. It then gets a quorum's promise of a
new epoch (discovery), brings a quorum in line with its history (synchronisation), and only then
serves (broadcast). The history is committed by being adopted, with no entry of its own.

    epoch accepted last     the generation, promised to one node     generation_clock
    current epoch           the adopted generation                   generation_clock
    zxid                    an entry's (generation, index)           replicated_log

This module names the classes and puts a node together of them:

    node        log_node                the parts that outlive a leadership
    variant     zab_sides               which side of Zab the node is on: it looks for a leader,
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
(2011); Medeiros, "ZooKeeper's atomic broadcast protocol: theory and practice" (2012). Behind
``interface.Consensus``.
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
from cluster.consensus.install_snapshot import Snapshots
from cluster.consensus.interface import Consensus
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.consensus.zab_discovery import Promises
from cluster.consensus.zab_epoch import LeadingParts
from cluster.consensus.zab_following import ZabFollowing
from cluster.consensus.zab_sides import ZabSides
from cluster.consensus.zab_synchronisation import Adoption
from cluster.ports import NodeId, Recovered, Rng


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
    ) -> Consensus:
        """A Zab node of these classes.

        Args:
            node: this node.
            members: the voters the cluster was founded with; a node that is none of them takes no
                part.
            config: timings and limits.
            rng: randomness for timeouts.
        """
        founders = Configuration(tuple(sorted(members)))

        def recover(now_ns: int, recovered: Recovered) -> ZabSides:
            parts = LogNode.recover(node, founders, recovered, config=config, parts=self)
            if parts.repair.recovering:
                _drop_what_is_left(parts)
            promises, has_past = self.promises(), parts.clock.generation > 0
            return ZabSides(
                parts,
                self.election(node, config, rng, now_ns=now_ns, has_past=has_past),
                ZabFollowing(parts, promises, self.adoption()),
                promises=promises,
                leading_parts=self.leading,
            )

        return Consensus("zab", recover)


def _drop_what_is_left(node: LogNode) -> None:
    """A damaged log may be one from before a truncation, and a leader that remembers more of this
    node would take it for its own. Only the snapshot is known to be history."""
    first = max(node.snapshots.index, node.log.base_index) + 1
    node.repair.note(node.outbox)
    if node.log.last_index >= first:
        node.log.truncate_from(first)
        node.writes.truncate(first)
