"""What makes a node's core and storage at each start: the shape, and the reference cluster's own.

Named ablations are put into the parts here, as the runtime's entry point does.
Used by :class:`cluster.simulation.world.World` when it is given no factories of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.ablations.registry import ablate
from cluster.config import ClusterConfig
from cluster.core.parts import CONSENSUS, ReplicaParts
from cluster.core.replica import Replica
from cluster.ports import Core
from cluster.simulation.disk import SimDisk
from cluster.simulation.invariants import View
from cluster.simulation.randomness import SeededRng
from cluster.simulation.storage_thread import StorageLike


class CoreFactory(Protocol):
    """Makes a node's core. Called at each start of the node."""

    def __call__(
        self,
        node: str,
        nodes: Sequence[str],
        *,
        config: ClusterConfig,
        rng: SeededRng,
        consensus: str,
        ablations: Sequence[str],
    ) -> Core: ...


class StorageFactory(Protocol):
    """Makes a node's storage over its disk. Called at each start of the node."""

    def __call__(
        self, disk: SimDisk, *, config: ClusterConfig, consensus: str, ablations: Sequence[str]
    ) -> StorageLike: ...


def reference_parts(consensus: str, ablations: Sequence[str]) -> ReplicaParts:
    """The parts of a node with this consensus and these ablations.

    Raises:
        ValueError: there is no such consensus, or no such ablation of it.
    """
    if consensus not in CONSENSUS:
        raise ValueError(f"there is no consensus {consensus!r}: {', '.join(CONSENSUS)}")
    return ablate(ReplicaParts(consensus=CONSENSUS[consensus]), ablations)


def reference_core(
    node: str,
    nodes: Sequence[str],
    *,
    config: ClusterConfig,
    rng: SeededRng,
    consensus: str,
    ablations: Sequence[str],
) -> Core:
    """The core of role ``core``: a :class:`cluster.core.replica.Replica`."""
    parts = reference_parts(consensus, ablations)
    return Replica(node, tuple(nodes), config=config, rng=rng, parts=parts)


def reference_view(core: Replica) -> View:
    """What the invariants look at, without building a status for every event."""
    consensus = core.consensus
    return View(
        consensus.role,
        consensus.clock.generation,
        consensus.high_water_mark,
        core.applied,
        consensus.log.last_index,
        consensus.snapshot_index,
    )


def reference_storage(
    disk: SimDisk, *, config: ClusterConfig, consensus: str, ablations: Sequence[str]
) -> StorageLike:
    """The storage of every role."""
    return reference_parts(consensus, ablations).storage(disk, config)
