"""A data node with transactions: what a node of role ``data`` is made of when it carries data.

The three parts put together: the placement and the controller, the coordinator, and the state
machine of partitions in every group but the core.

Used by entry points, the simulation and tests, which may put other classes in the parts.
"""

from __future__ import annotations

import msgspec

from cluster.core.parts import ReplicaParts
from cluster.data.controller_part import ControllerPart
from cluster.data.partition_machine import PartitionParts
from cluster.data.parts import DataParts
from cluster.data.placement_part import MakePlacement
from cluster.data.transaction_part import MakeTransactions


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
        coordinator=MakeTransactions(),
    )
