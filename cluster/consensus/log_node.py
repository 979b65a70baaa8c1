"""The parts of a node that every consensus on a log has, and that outlive its leaderships.

They are what the node has durable, what it knows to be committed, who votes, and where its messages
go. A variant's sides (a leader's, a follower's, a candidate's) work on the same parts, one side at
a time. Each part is described in the module of its pattern. What concerns several of them is here:
they are recovered together, a snapshot cuts them together, and their effects after an event are
taken together.

Invariant. A snapshot is taken of a committed index, and is newer than the last.

Used by every consensus variant (``raft``, ``multi_paxos``, ``zab``, ``viewstamped``).
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.consensus.install_snapshot import Snapshots, snapshot_of
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.outbox import Outbox
from cluster.consensus.replicated_log import ReplicatedLog, WriteOrder
from cluster.ports import Effect, NodeId, Recovered
from cluster.wire import Entry, Message, Recovering


class LogParts(Protocol):
    """The classes of these parts, as every variant names them."""

    @property
    def clock(self) -> type[GenerationClock]: ...
    @property
    def log(self) -> type[ReplicatedLog]: ...
    @property
    def writes(self) -> type[WriteOrder]: ...
    @property
    def mark(self) -> type[HighWaterMark]: ...
    @property
    def membership(self) -> type[Membership]: ...
    @property
    def snapshots(self) -> type[Snapshots]: ...
    @property
    def repair(self) -> type[DamageRepair]: ...


class LogNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node's parts.

    Args:
        name: the node.
        config: timings and limits.
        clock: the generation, to whom it is promised, and the adopted generation.
        log: the entries.
        writes: what of them is durable.
        mark: what is committed.
        membership: who votes, by log index.
        snapshots: the newest one, and one that arrives.
        outbox: where messages and notes go.
        repair: whether the disk lost something that was promised.
    """

    name: NodeId
    config: ClusterConfig
    clock: GenerationClock
    log: ReplicatedLog
    writes: WriteOrder
    mark: HighWaterMark
    membership: Membership
    snapshots: Snapshots
    outbox: Outbox
    repair: DamageRepair

    @classmethod
    def recover(
        cls,
        name: NodeId,
        founders: Configuration,
        recovered: Recovered,
        *,
        config: ClusterConfig,
        parts: LogParts,
    ) -> LogNode:
        """Every part anew, from what is durable.

        Args:
            name: the node.
            founders: the configuration that is in force before any in the log.
            recovered: what is durable.
            config: timings and limits.
            parts: the classes.
        """
        snapshot = recovered.snapshot
        index, found = 0, founders
        if snapshot:
            index = snapshot.index
            found = Configuration.of_snapshot(snapshot.members, snapshot.configuration)
        log = parts.log.recover(recovered)
        membership = parts.membership(found, index=index, by_one=not config.joint_changes)
        for entry in log.between(index + 1, log.last_index):
            if entry.kind == "config":
                membership.append(entry.index, Configuration.decode(entry.data))
        return cls(
            name=name,
            config=config,
            clock=parts.clock(recovered.hard_state),
            log=log,
            writes=parts.writes(log.last_index),
            mark=parts.mark(index),
            membership=membership,
            snapshots=parts.snapshots(snapshot),
            outbox=Outbox(),
            repair=parts.repair(recovered.damage),
        )

    def electorate(self) -> Configuration:
        """The configuration by which votes and copies are counted."""
        return self.membership.electorate(self.mark.index)

    def peers(self) -> tuple[NodeId, ...]:
        """The other members."""
        return self.membership.peers(self.name, self.mark.index)

    def is_voter(self) -> bool:
        """Whether this node is a voter."""
        return self.membership.may_vote(self.name, self.mark.index)

    def votes(self) -> bool:
        """Whether this node votes: a voter that still has all that it promised."""
        return self.is_voter() and self.repair.takes_part()

    def is_durable(self) -> bool:
        """Whether the hard state and the whole log are durable."""
        writes = self.writes
        return not writes.after_hard_state and writes.durable_index >= self.log.last_index

    def persist_clock(self) -> None:
        """Write the generation, its vote and the adopted generation as they are now."""
        self.writes.hard_state(self.clock.hard_state())

    def send_durably(self, to: NodeId, message: Message, *, after: int = 0) -> None:
        """Send once the hard state, or the later write ``after``, is durable."""
        self.outbox.send(to, message, after=after or self.writes.after_hard_state)

    def announce_damage(self) -> None:
        """No leader is heard: others that are recovering and wait too must know of each other."""
        if self.repair.recovering:
            notice = Recovering(self.clock.generation, self.log.last_index)
            for peer in self.peers():
                self.send_durably(peer, notice)

    def end_repair(self, io_id: int) -> bool:
        """Whether the end of the repair is durable by now, every write up to ``io_id`` being so."""
        ended = self.repair.ended(io_id)
        if ended:
            index, generation = self.writes.durable_index, self.clock.generation
            self.outbox.note("repaired", index=index, generation=generation)
        return ended

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index: make it durable and let the log below the tail go."""
        log, generation = self.log, self.log.generation_at(index)
        if generation is None or not self.snapshots.index < index <= self.mark.index:
            return
        snapshot = snapshot_of(index, generation, self.membership.at(index), data)
        keep_from = max(log.first_index, index + 1 - self.config.snapshot_keep_entries)
        self.snapshots.install(snapshot)
        log.compact(keep_from - 1)
        self.membership.compact(index)
        self.writes.snapshot(snapshot, keep_from=keep_from)
        self.outbox.note("snapshot-taken", index=index, keep_from=keep_from, bytes=len(data))

    def take_committed(self) -> list[Entry]:
        """The entries to apply now, in order, each once."""
        return self.mark.take(self.log, self.config.apply_entries_max)

    def take_effects(self) -> list[Effect]:
        """Everything said since the last call: writes first, then messages and notes."""
        effects = self.writes.take()
        if self.outbox.effects:
            effects += self.outbox.effects
            self.outbox.effects.clear()
        return effects
