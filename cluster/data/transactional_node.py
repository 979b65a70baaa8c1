"""A data node with transactions: what a node of role ``data`` is made of when it carries data.

The three parts put together: the placement and the controller, the coordinator, the state machine
of partitions in every group but the core, and the hybrid clock that transactions get their
timestamps from, which stamps the messages of the node.

Used by entry points, the simulation and tests, which may put other classes in the parts.
"""

from __future__ import annotations

from functools import partial

import msgspec

from cluster.clocks.hybrid_clock import HybridClock
from cluster.config import ClusterConfig
from cluster.core.parts import ReplicaParts
from cluster.data.controller_part import ControllerPart
from cluster.data.node_clock import NodeClock
from cluster.data.partition_machine import PartitionMachine, PartitionParts
from cluster.data.parts import DataParts, PartSetting, Services
from cluster.data.placement_part import MakePlacement
from cluster.data.replicated_groups import CORE
from cluster.data.transaction_part import TransactionPart, TransactionParts
from cluster.ports import Clock, NodeId


class TransactionStamps:
    """The timestamps of a node's transactions as the stamps of its messages.

    Args:
        clock: the timestamps. Their upper bound is kept in the core by the transactional part, so
            the node has none to keep.
    """

    __slots__ = ("clock",)

    def __init__(self, clock: NodeClock) -> None:
        self.clock = clock

    def stamp(self) -> int:
        """The stamp of a message that leaves now."""
        return self.clock.stamp()

    def heard(self, source: NodeId, stamp: int) -> None:
        """A message with this stamp arrived from a node; 0 for a message without."""
        if stamp:
            self.clock.heard(source, stamp)

    def bound_wanted(self) -> int:
        """0: none is to be kept by the node."""
        return 0

    def bound_durable(self, bound: int) -> None:
        """None is kept by the node."""


class MakeTransactionStamps(msgspec.Struct, frozen=True, kw_only=True):
    """Makes the timestamps of one life of a node.

    Args:
        transactions: the classes they are made of.
    """

    transactions: TransactionParts = TransactionParts()

    def __call__(
        self, config: ClusterConfig, clock: Clock, durable: int, *, make: type[HybridClock]
    ) -> TransactionStamps:
        """The timestamps; the hybrid clock is that of the transactional parts."""
        return TransactionStamps(self.transactions.make_clock(config, clock))


class MakeCoordinator(msgspec.Struct, frozen=True, kw_only=True):
    """Makes the coordinator of one life of a node.

    Args:
        transactions: the classes it is made of.
    """

    transactions: TransactionParts = TransactionParts()

    def __call__(self, setting: PartSetting) -> TransactionPart:
        """The coordinator, with its node's timestamps and map."""
        stamps = setting.stamps
        assert isinstance(stamps, TransactionStamps), "transactions need timestamps of their own"
        return TransactionPart(
            setting.node,
            config=setting.config,
            rng=setting.rng,
            clock=stamps.clock,
            ask=setting.services.ask,
            routes=setting.placement,
            led=partial(_led, setting.services),
            parts=self.transactions,
        )


def _led(services: Services) -> list[tuple[str, PartitionMachine]]:
    """The data groups that a node leads, with their state machines."""
    led = [group for group in services.groups if group != CORE and services.leads(group)]
    return [(group, services.machine(group)) for group in led]


def transactional(replica: ReplicaParts = ReplicaParts()) -> DataParts:  # noqa: B008 (frozen)
    """The parts of a node that carries data.

    Args:
        replica: the classes of every group's replica, the core's among them.
    """
    return DataParts(
        core=replica,
        group=msgspec.structs.replace(replica, machine=PartitionParts()),
        placement=MakePlacement(),
        controller=ControllerPart,
        coordinator=MakeCoordinator(),
        stamps=MakeTransactionStamps(),
    )
