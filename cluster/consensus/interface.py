"""What every consensus variant offers to the replica above it.

A consensus core knows entries, peers and durability. It knows no client, no session and no state:
the replica proposes opaque data, gets certain entries back in order, and asks at which index a read
is linearizable. Raft is one implementation; others plug in here and run on the same state machine,
the same storage and the same conformance tests.

The rhythm is that of etcd's raft: any number of inputs (``step``, ``tick``, ``persisted``,
``propose``, ``read``), then :meth:`Consensus.ready` takes everything that must happen because of
them. Inputs carry the node's monotonic time. Nothing here performs I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cluster.consensus.membership import Configuration
from cluster.consensus.membership_change import Change, Refusal
from cluster.ports import Effect, NodeId, Recovered
from cluster.wire import Entry, Message, Snapshot


class SafetyViolation(Exception):
    """The protocol's safety is already broken (certain entries differ): the node must stop."""


class Ready(msgspec.Struct):
    """What follows from the inputs since the last one.

    Args:
        effects: writes first, then messages and notes, for the host.
        snapshot: replace the state with this one, before anything else; None normally.
        committed: certain entries to apply, in order, each exactly once.
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
    def generation(self) -> int:
        """The node's generation."""

    @property
    def voted_for(self) -> NodeId:
        """Whom it voted for in this generation; "" if nobody."""

    @property
    def high_water_mark(self) -> int:
        """Last index known to be certain."""

    @property
    def snapshot_index(self) -> int:
        """Index of the newest snapshot; 0 if none."""

    @property
    def first_index(self) -> int:
        """First index of the log held in memory."""

    @property
    def last_index(self) -> int:
        """Last index of the log."""

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The voters in force."""

    @property
    def configuration(self) -> Configuration:
        """The configuration in force: the newest in the log, certain or not."""

    @property
    def certain_configuration(self) -> Configuration:
        """The newest configuration that this node knows to be certain."""

    @property
    def configuration_index(self) -> int:
        """The index at which it came into force."""

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""

    @property
    def accepts_batch(self) -> bool:
        """Whether a batch proposed now is written at once; if not, let it grow meanwhile."""

    @property
    def handing_over(self) -> bool:
        """Whether this node leads and is handing leadership over."""

    def entry_at(self, index: int) -> Entry | None:
        """The entry at an index; None if it is not held."""

    def generation_at(self, index: int) -> int | None:
        """The generation of the entry at an index; None if it is not known."""

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
        """Begin a change of members; it is done when a configuration with it is certain.

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
