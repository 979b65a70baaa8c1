"""The parts of a Zab node that outlive a leadership: what its log holds and how far it is durable.

The two sides of a node (``zab_leading``, ``zab_following``) and the core work on the same parts,
one side at a time. Each part is told in the module of its pattern.
"""

from __future__ import annotations

import msgspec

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.fast_leader_election import Position, Vote
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.outbox import Outbox
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.ports import NodeId


class ZabNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node's parts.

    Args:
        name: the node.
        config: timings and limits.
        clock: the accepted epoch (its generation), to whom it is promised, and the current epoch
            (the adopted generation).
        log: the entries.
        writes: what of them is durable.
        mark: what is committed.
        membership: who votes.
        snapshots: the newest one, and one that arrives.
        repair: whether the disk lost something that was promised.
        outbox: where messages go.
    """

    name: NodeId
    config: ClusterConfig
    clock: GenerationClock
    log: ReplicatedLog
    writes: WriteOrder
    mark: HighWaterMark
    membership: Membership
    snapshots: Snapshots
    repair: DamageRepair
    outbox: Outbox

    def electorate(self) -> Configuration:
        """The configuration by which votes and copies are counted."""
        return self.membership.electorate()

    def peers(self) -> tuple[NodeId, ...]:
        """The other members."""
        return self.membership.peers(self.name, self.mark.index)

    def is_voter(self) -> bool:
        """Whether this node is a voter."""
        return self.membership.may_vote(self.name, self.mark.index)

    def votes(self) -> bool:
        """Whether this node votes: a voter whose log is all that it promised."""
        return self.is_voter() and self.repair.takes_part()

    def position(self) -> Position:
        """How recent this node's history is."""
        log = self.log
        return Position(self.clock.adopted, log.last_generation, log.last_index)

    def vote(self) -> Vote:
        """The vote for this node."""
        return Vote(self.name, self.position())

    def is_durable(self) -> bool:
        """Whether the hard state and the whole log are durable."""
        writes = self.writes
        return not writes.after_hard_state and writes.durable_index >= self.log.last_index
