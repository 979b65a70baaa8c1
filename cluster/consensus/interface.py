"""What every consensus variant offers to the replica above it, and what a variant must bring.

A consensus core knows entries, peers and durability. It knows no client, no session and no state:
the replica proposes opaque data, gets committed entries back in order, and asks at which index a
read is linearizable. :class:`Consensus` is this interface, the same for all. Behind it a
:class:`Variant` (``raft``, ``multi_paxos``, ``zab``, ``viewstamped``) decides who leads, and what a
leader does first; variants run on the same state machine, the same storage and the same conformance
tests. Requests to a leader go to the variant's :class:`LeaderSide`, while it has one.

The rhythm is that of etcd's raft: any number of inputs (``step``, ``tick``, ``persisted``,
``propose``, ``read``), then :meth:`Consensus.ready` takes everything that must happen because of
them. Inputs carry the node's monotonic time. Nothing here performs I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.handover import Handover
from cluster.consensus.leader_rounds import LeaderRounds
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, Refusal
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.ports import Effect, NodeId, Recovered, Rng
from cluster.wire import Entry, Message, Snapshot
from cluster.wire import ReadIndex as ReadIndexRequest


class SafetyViolation(Exception):
    """The protocol's safety is already broken (committed entries differ): the node must stop."""


class Ready(msgspec.Struct):
    """What follows from the inputs since the last one.

    Args:
        effects: writes first, then messages and notes, for the host.
        snapshot: replace the state with this one, before anything else; None normally.
        committed: committed entries to apply, in order, each exactly once.
        reads: (token, index): serve the read once ``index`` is applied; index 0: it cannot be
            served here any more.
    """

    effects: list[Effect]
    snapshot: Snapshot | None
    committed: list[Entry]
    reads: list[tuple[int, int]]


class LeaderSide(Protocol):
    """The side of a node that leads, whichever the variant."""

    @property
    def rounds(self) -> LeaderRounds:
        """Its heartbeat rounds, and the reads that wait for them."""

    @property
    def handover(self) -> Handover:
        """Whether it is handing leadership over, and to whom."""

    def append(self, now_ns: int, data: Sequence[bytes], kind: str) -> int:
        """Create entries, write and send them as one batch; the index of the first."""

    def transfer_to(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to a voter, which must first have every entry; False if not possible."""

    def best_successor(self, now_ns: int) -> NodeId:
        """The voter it would best hand over to; "" if there is none."""


class Variant(Protocol):
    """What a consensus variant does in its own way: who leads, and how it comes to lead."""

    @property
    def node(self) -> LogNode:
        """The parts that outlive a leadership."""

    @property
    def role(self) -> str:
        """``leader``, ``follower``, ``candidate`` or ``learner``."""

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this node knows; "" if it does not."""

    @property
    def serving(self) -> LeaderSide | None:
        """The leader's side, while this node leads and serves."""

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""

    def begin(self, now_ns: int) -> None:
        """The node starts: its parts are recovered."""

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""

    def tick(self, now_ns: int) -> None:
        """Time has passed."""

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable; ``node.writes`` knows."""

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """As :meth:`Consensus.change_members`."""


class Consensus:
    """A node's part in agreeing on one log.

    Args:
        name: the variant, as on the command line: ``raft``.
        recover: makes the variant anew, of (the time, what is durable).
    """

    def __init__(self, name: str, recover: Callable[[int, Recovered], Variant]) -> None:
        self.name = name
        self._recover = recover
        self._take_over(0, Recovered(GenerationClock().hard_state(), None, []))

    def _take_over(self, now_ns: int, recovered: Recovered) -> None:
        self.variant = self._recover(now_ns, recovered)
        self.node = node = self.variant.node
        #: the generation, the entries, the configurations in the log: to be looked at
        self.clock: GenerationClock = node.clock
        self.log: ReplicatedLog = node.log
        self.membership: Membership = node.membership
        self._now_ns = now_ns

    # -- what others may look at -------------------------------------------------------------------

    @property
    def role(self) -> str:
        """``leader``, ``follower``, ``candidate`` or ``learner``."""
        return self.variant.role

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this node knows; "" if it does not."""
        return self.variant.leader

    @property
    def committed_configuration(self) -> Configuration:
        """The newest configuration that this node knows to be committed."""
        return self.membership.at(self.node.mark.index)

    @property
    def high_water_mark(self) -> int:
        """Last index known to be committed."""
        return self.node.mark.index

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""
        return self.node.snapshots.index

    @property
    def repair(self) -> DamageRepair:
        """What the disk lost, and what it takes to be sound again."""
        return self.node.repair

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.variant.deadline_ns

    @property
    def accepts_batch(self) -> bool:
        """Whether a batch proposed now is written at once; if not, let it grow meanwhile."""
        return not self.node.writes.entries_outstanding

    @property
    def uncommitted(self) -> int:
        """How many entries of the log are not committed, as far as this node knows."""
        return self.node.log.last_index - self.node.mark.index

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""
        serving = self.variant.serving
        return serving is not None and serving.handover.under_way

    # -- inputs ------------------------------------------------------------------------------------

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable; entries above the snapshot are given again as committed."""
        self._take_over(now_ns, recovered)
        self.variant.begin(now_ns)

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""
        self._now_ns = now_ns
        self.variant.step(now_ns, source, message)

    def tick(self, now_ns: int) -> None:
        """Time has passed."""
        self._now_ns = now_ns
        self.variant.tick(now_ns)

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""
        self._now_ns = now_ns
        self.node.writes.persisted(io_id)
        self.variant.persisted(now_ns, io_id)

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Append commands, in order, as one batch.

        Returns:
            (index of the first, generation), or None if nothing was appended: not the leader, or
            leadership is being handed over.
        """
        serving = self.variant.serving
        if serving is None or serving.handover.under_way or not data:
            return None
        return serving.append(now_ns, data, "command"), self.clock.generation

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; the answer comes in :attr:`Ready.reads`.

        Returns:
            False if this node does not lead, and no answer will come.
        """
        serving = self.variant.serving
        if serving is None:
            return False
        serving.rounds.read(now_ns, token, lease=lease)
        return True

    def forward_read(self, now_ns: int, id: int) -> bool:
        """Ask the leader for a linearizable index; the answer comes in :attr:`Ready.reads`.

        Args:
            now_ns: the time.
            id: the caller's token, echoed.

        Returns:
            False if no leader is known. Messages that are lost are not repeated.
        """
        leader = self.leader
        if not leader or leader == self.node.name:
            return False
        self.node.outbox.send(leader, ReadIndexRequest(self.clock.generation, id))
        return True

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Begin a change of members; it is done when a configuration with it is committed.

        Returns:
            Why not; None if it began, is under way already, or is so already.
        """
        self._now_ns = now_ns
        return self.variant.change_members(now_ns, change)

    def best_successor(self) -> NodeId:
        """The voter a leader would best hand over to; "" if there is none."""
        serving = self.variant.serving
        return serving.best_successor(self._now_ns) if serving is not None else ""

    def transfer_leadership(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to an up-to-date follower; False if this node cannot."""
        serving = self.variant.serving
        return serving is not None and serving.transfer_to(now_ns, to)

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index, encoded: make it durable and let the log below go."""
        self.node.compact(index, data)

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""
        node, outbox = self.node, self.node.outbox
        mark, restored = node.mark, outbox.restored
        outbox.restored = None
        # Asked here, since most events commit nothing and answer no read.
        committed = node.take_committed() if mark.delivered < mark.index else []
        reads = outbox.take_reads() if outbox.reads else []
        return Ready(node.take_effects(), restored, committed, reads)


class ConsensusParts(Protocol):
    """The classes a variant is made of, and how they make a core."""

    def build(
        self, node: NodeId, members: Sequence[NodeId], *, config: ClusterConfig, rng: Rng
    ) -> Consensus:
        """A core.

        Args:
            node: this node.
            members: the voters the cluster was founded with; none for a node that joins it.
            config: timings and limits.
            rng: randomness for election timeouts.
        """
