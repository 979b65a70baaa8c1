"""Factories of a node's core and storage at each start: the interface, and the reference cluster's.

Each role of the reference cluster has its core, storage and invariants; see :func:`role_of`.

Named ablations are put into the parts here, as the runtime's entry point does.
Used by :class:`cluster.simulation.world.World` when it is given no factories of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from cluster.ablations.registry import ablate
from cluster.channel.single_socket_channel import ChannelParts
from cluster.config import ClusterConfig
from cluster.consensus.interface import ConsensusParts
from cluster.core.parts import CONSENSUS, ReplicaParts
from cluster.core.paxos_register import PaxosParts, PaxosRegisters
from cluster.core.replica import Replica
from cluster.data.node import DataNode, DataParts
from cluster.data.transactional_node import transactional
from cluster.gossip.node import GossipNode, GossipParts
from cluster.leaderless.node import LeaderlessNode
from cluster.leaderless.parts import LeaderlessParts
from cluster.ports import Clock, Core
from cluster.simulation.disk import SimDisk
from cluster.simulation.gossip_invariants import GossipInvariants
from cluster.simulation.group_invariants import GroupInvariants, group_view
from cluster.simulation.invariants import Invariants, View, view_of_status
from cluster.simulation.leaderless_invariants import LeaderlessInvariants
from cluster.simulation.paxos_invariants import PaxosInvariants
from cluster.simulation.randomness import SeededRng
from cluster.simulation.storage_thread import StorageLike
from cluster.simulation.variant_invariants import Fail
from cluster.simulation.watch import Watch


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
        clock: Clock,
        peers: Sequence[str],
    ) -> Core: ...


class StorageFactory(Protocol):
    """Makes a node's storage over its disk. Called at each start of the node."""

    def __call__(
        self, disk: SimDisk, *, config: ClusterConfig, consensus: str, ablations: Sequence[str]
    ) -> StorageLike: ...


class Role(NamedTuple):
    """The parts of the nodes of a role.

    Args:
        core: makes a core.
        storage: makes a storage.
        view_of: looks into a core.
        watch: makes the invariants, of (fail, view_of, consensus, founders).
        variant: the parts of a consensus variant, of (name, ablations); None if the role has none.
    """

    core: CoreFactory
    storage: StorageFactory
    view_of: Callable[[Any], View]
    watch: Callable[[Fail, Callable[[Any], View], str, Sequence[str]], Watch]
    variant: Callable[[str, Sequence[str]], ConsensusParts | None]


def reference_parts(consensus: str, ablations: Sequence[str]) -> ReplicaParts:
    """The parts of a node with this consensus and these ablations.

    Raises:
        ValueError: there is no such consensus, or no such ablation of it.
    """
    if consensus not in CONSENSUS:
        raise ValueError(f"there is no consensus {consensus!r}: {', '.join(CONSENSUS)}")
    return ablate(ReplicaParts(consensus=CONSENSUS[consensus]), ablations)


def channel_parts(role: str, consensus: str, ablations: Sequence[str]) -> ChannelParts:
    """The channels between nodes of a role; only those of role ``core`` can be ablated."""
    if role != "core":
        return ChannelParts()
    return reference_parts(consensus, ablations).channels


def reference_consensus(consensus: str, ablations: Sequence[str]) -> ConsensusParts:
    """Those of them that are the consensus variant's; arguments and errors are the same."""
    return reference_parts(consensus, ablations).consensus


def data_parts(consensus: str, ablations: Sequence[str]) -> DataParts:
    """The parts of a node of role ``data`` whose groups have this consensus.

    Raises:
        ValueError: there is no such consensus, or no such ablation of it.
    """
    return ablate(transactional(reference_parts(consensus, ())), ablations)


def data_consensus(consensus: str, ablations: Sequence[str]) -> ConsensusParts:
    """Those of a group's consensus variant; arguments and errors are the same."""
    return data_parts(consensus, ablations).group.consensus


def check_parts(role: str, consensus: str, ablations: Sequence[str]) -> None:
    """Refuse what no node can be made of.

    Raises:
        ValueError: there is no such role or consensus, or an ablation concerns no part of it.
    """
    role_of(role)
    if role == "paxos":
        ablate(PaxosParts(), ablations)
    elif role == "data":
        data_parts(consensus, ablations)
    elif role == "gossip":
        ablate(GossipParts(), ablations)
    elif role == "leaderless":
        ablate(LeaderlessParts(), ablations)
    else:
        reference_parts(consensus, ablations)


def reference_core(
    node: str,
    nodes: Sequence[str],
    *,
    config: ClusterConfig,
    rng: SeededRng,
    consensus: str,
    ablations: Sequence[str],
    clock: Clock,
    peers: Sequence[str],
) -> Core:
    """The core of role ``core``: a :class:`cluster.core.replica.Replica`."""
    parts = reference_parts(consensus, ablations)
    return Replica(node, tuple(nodes), config=config, rng=rng, clock=clock, parts=parts)


def reference_view(core: Replica) -> View:
    """The values for the invariants, without building a status for every event."""
    consensus = core.consensus
    node = consensus.node
    return View(
        consensus.variant.role,
        node.clock.generation,
        node.mark.index,
        core.state.applied,
        node.log.last_index,
        node.snapshots.index,
    )


def reference_storage(
    disk: SimDisk, *, config: ClusterConfig, consensus: str, ablations: Sequence[str]
) -> StorageLike:
    """The storage of every role."""
    return reference_parts(consensus, ablations).storage(disk, config)


def storage_of(parts: PaxosParts | GossipParts | LeaderlessParts) -> StorageFactory:
    """The storage of a role without consensus variants.

    Args:
        parts: the classes of its nodes.
    """

    def make(
        disk: SimDisk, *, config: ClusterConfig, consensus: str, ablations: Sequence[str]
    ) -> StorageLike:
        return ablate(parts, ablations).storage(disk, config)

    return make


def watch_log(
    fail: Fail, view_of: Callable[[Any], View], consensus: str, founders: Sequence[str]
) -> Invariants:
    """The invariants of nodes with a replicated log."""
    return Invariants(fail, view_of, consensus=consensus)


def paxos_core(
    node: str,
    nodes: Sequence[str],
    *,
    config: ClusterConfig,
    rng: SeededRng,
    consensus: str,
    ablations: Sequence[str],
    clock: Clock,
    peers: Sequence[str],
) -> Core:
    """The core of role ``paxos``, which has no consensus variants."""
    parts = ablate(PaxosParts(), ablations)
    return PaxosRegisters(node, tuple(nodes), config=config, rng=rng, parts=parts)


def watch_registers(
    fail: Fail, view_of: Callable[[Any], View], consensus: str, founders: Sequence[str]
) -> PaxosInvariants:
    """The invariants of nodes of role ``paxos``."""
    return PaxosInvariants(fail, members=len(founders))


def data_core(
    node: str,
    nodes: Sequence[str],
    *,
    config: ClusterConfig,
    rng: SeededRng,
    consensus: str,
    ablations: Sequence[str],
    clock: Clock,
    peers: Sequence[str],
) -> Core:
    """The core of role ``data``: a :class:`cluster.data.node.DataNode`."""
    parts = data_parts(consensus, ablations)
    return DataNode(node, nodes, config=config, rng=rng, clock=clock, peers=peers, parts=parts)


def data_storage(
    disk: SimDisk, *, config: ClusterConfig, consensus: str, ablations: Sequence[str]
) -> StorageLike:
    """The storage of role ``data``."""
    parts = data_parts(consensus, ablations)
    return parts.storage(disk, config, make=parts.group.storage)


def watch_groups(
    fail: Fail, view_of: Callable[[Any], View], consensus: str, founders: Sequence[str]
) -> GroupInvariants:
    """The invariants of nodes of role ``data``."""
    return GroupInvariants(fail, reference_view, consensus=consensus)


def gossip_core(
    node: str,
    nodes: Sequence[str],
    *,
    config: ClusterConfig,
    rng: SeededRng,
    consensus: str,
    ablations: Sequence[str],
    clock: Clock,
    peers: Sequence[str],
) -> Core:
    """The core of role ``gossip``; a node that joins knows no nodes."""
    parts = ablate(GossipParts(), ablations)
    return GossipNode(node, tuple(nodes), config=config, rng=rng, parts=parts)


def watch_group(
    fail: Fail, view_of: Callable[[Any], View], consensus: str, founders: Sequence[str]
) -> GossipInvariants:
    """The invariants of nodes of role ``gossip``."""
    return GossipInvariants(fail)


def leaderless_core(
    node: str,
    nodes: Sequence[str],
    *,
    config: ClusterConfig,
    rng: SeededRng,
    consensus: str,
    ablations: Sequence[str],
    clock: Clock,
    peers: Sequence[str],
) -> Core:
    """The core of role ``leaderless``, which has no consensus."""
    parts = ablate(LeaderlessParts(), ablations)
    return LeaderlessNode(node, tuple(nodes), config=config, rng=rng, clock=clock, parts=parts)


def watch_states(
    fail: Fail, view_of: Callable[[Any], View], consensus: str, founders: Sequence[str]
) -> LeaderlessInvariants:
    """The invariants of nodes of role ``leaderless``."""
    return LeaderlessInvariants(fail)


def _no_variant(consensus: str, ablations: Sequence[str]) -> None:
    """A role without consensus variants."""


ROLES = {
    "core": Role(reference_core, reference_storage, reference_view, watch_log, reference_consensus),
    "paxos": Role(
        paxos_core, storage_of(PaxosParts()), view_of_status, watch_registers, _no_variant
    ),
    "data": Role(data_core, data_storage, group_view(reference_view), watch_groups, data_consensus),
    "gossip": Role(
        gossip_core, storage_of(GossipParts()), view_of_status, watch_group, _no_variant
    ),
    "leaderless": Role(
        leaderless_core, storage_of(LeaderlessParts()), view_of_status, watch_states, _no_variant
    ),
}


def role_of(name: str) -> Role:
    """The parts of the nodes of this role.

    Raises:
        ValueError: there is no such role.
    """
    if name not in ROLES:
        raise ValueError(f"there is no role {name!r}: {', '.join(ROLES)}")
    return ROLES[name]
