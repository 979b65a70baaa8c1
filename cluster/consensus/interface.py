"""What every consensus variant offers to the replica above it.

A consensus core knows entries, peers and durability. It knows no client, no session and no state:
the replica proposes opaque data, gets committed entries back in order, and asks at which index a
read is linearizable. Raft is one implementation; others plug in here and run on the same state
machine, the same storage and the same conformance tests. The parts that every variant has
(generation clock, log, membership) are looked at through the core, and changed by the core alone.

The rhythm is that of etcd's raft: any number of inputs (``step``, ``tick``, ``persisted``,
``propose``, ``read``), then :meth:`Consensus.ready` takes everything that must happen because of
them. Inputs carry the node's monotonic time. Nothing here performs I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.membership import Configuration, Membership
from cluster.consensus.membership_change import Change, Refusal
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.ports import Effect, NodeId, Recovered, Rng
from cluster.wire import Entry, Message, Snapshot


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


class Consensus(Protocol):
    """A node's part in agreeing on one log."""

    @property
    def name(self) -> str:
        """The variant, as on the command line: ``raft``."""

    @property
    def role(self) -> str:
        """``leader``, ``follower``, ``candidate`` or ``learner``."""

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this node knows; "" if it does not."""

    @property
    def clock(self) -> GenerationClock:
        """The node's generation, and its vote in it."""

    @property
    def log(self) -> ReplicatedLog:
        """The entries."""

    @property
    def membership(self) -> Membership:
        """The configurations in the log; the current one is in force, committed or not."""

    @property
    def committed_configuration(self) -> Configuration:
        """The newest configuration that this node knows to be committed."""

    @property
    def high_water_mark(self) -> int:
        """Last index known to be committed."""

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""

    @property
    def accepts_batch(self) -> bool:
        """Whether a batch proposed now is written at once; if not, let it grow meanwhile."""

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""

    def start(self, now_ns: int, recovered: Recovered) -> None:
        """Begin from what is durable; entries above the snapshot are given again as committed."""

    def step(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A peer's message arrived."""

    def tick(self, now_ns: int) -> None:
        """Time has passed."""

    def persisted(self, now_ns: int, io_id: int) -> None:
        """Every write up to ``io_id`` is durable."""

    def propose(self, now_ns: int, data: Sequence[bytes]) -> tuple[int, int] | None:
        """Append commands, in order.

        Returns:
            (index of the first, generation), or None if nothing was appended: not the leader, or
            leadership is being handed over.
        """

    def read(self, now_ns: int, token: int, *, lease: bool = False) -> bool:
        """Ask for a linearizable index; the answer comes in :attr:`Ready.reads`.

        Returns:
            False if this node does not lead, and no answer will come.
        """

    def forward_read(self, now_ns: int, id: int) -> bool:
        """Ask the leader for a linearizable index; the answer comes in :attr:`Ready.reads`.

        Returns:
            False if no leader is known. Messages that are lost are not repeated.
        """

    def change_members(self, now_ns: int, change: Change) -> Refusal | None:
        """Begin a change of members; it is done when a configuration with it is committed.

        Returns:
            Why not; None if it began, is under way already, or is so already.
        """

    def best_successor(self) -> NodeId:
        """The voter a leader would best hand over to; "" if there is none."""

    def transfer_leadership(self, now_ns: int, to: NodeId) -> bool:
        """Hand over to an up-to-date follower; False if this node cannot."""

    def compact(self, index: int, data: bytes) -> None:
        """The state at an applied index, encoded: make it durable and let the log below go."""

    def ready(self) -> Ready:
        """Take everything that follows from the inputs so far."""


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
