"""The classes of a node of role ``leaderless``, and what is made of them at each start.

Entry points, the simulation and tests choose other classes here, with one decision removed. An
actor, the name under which a node's writes are counted, belongs to one life of the node: without
that (A35c), a node that begins anew uses the names of its old writes again. It does not outlast
the keys it wrote, either: a node that gave keys away goes on under another, or else it would count
its next write of such a key from one again (A35e).

Used by ``cluster.leaderless.node`` and by its hosts.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cluster.clocks.hybrid_clock import HybridClock
from cluster.clocks.lamport_clock import LamportClock
from cluster.clocks.version_vector import Dot, DottedVersions, KeyState
from cluster.config import ClusterConfig
from cluster.consensus.paxos import Acceptor, Attempt
from cluster.gossip.emergent_leader import EmergentLeader
from cluster.gossip.group_membership import GroupParts
from cluster.leaderless.anti_entropy import AntiEntropy
from cluster.leaderless.commands import DottedRules, LastWriterRules, Rules
from cluster.leaderless.handover import Fetching
from cluster.leaderless.hinted_handoff import HintedHandoff
from cluster.leaderless.last_writer_wins import LastWriterWins
from cluster.leaderless.read_repair import ReadRepair
from cluster.leaderless.ring import Ring, RingFence
from cluster.leaderless.ring_changes import RingChanges
from cluster.leaderless.stamps import HybridStamps, LamportStamps, NoStamps, Stamps, WallStamps
from cluster.leaderless.tombstones import Tombstones
from cluster.log.storage import Storage
from cluster.ports import NodeId


class ActorIds:
    """The names under which a node's writes are counted."""

    def after_forgetting(self, actor: str, following: str) -> str:
        """Decision: the actor after keys were forgotten: another one, of the same node.

        Args:
            actor: the one until now.
            following: a new one.
        """
        return following

    def actor(self, node: NodeId, life: int) -> str:
        """Decision: the actor of one life of a node, which no other life has."""
        return f"{node}.{life:x}"


class LeaderlessParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a node of role ``leaderless``, and of the storage its host gives it."""

    versions: type[DottedVersions] = DottedVersions
    last_writer: type[LastWriterWins] = LastWriterWins
    lamport: type[LamportClock] = LamportClock
    hybrid: type[HybridClock] = HybridClock
    actors: type[ActorIds] = ActorIds
    repair: type[ReadRepair] = ReadRepair
    group: GroupParts = GroupParts()
    handoff: type[HintedHandoff] = HintedHandoff
    anti_entropy: type[AntiEntropy] = AntiEntropy
    tombstones: type[Tombstones] = Tombstones
    ring: type[Ring] = Ring
    changes: type[RingChanges] = RingChanges
    fetching: type[Fetching] = Fetching
    fence: type[RingFence] = RingFence
    leader: type[EmergentLeader] = EmergentLeader
    attempt: type[Attempt] = Attempt
    acceptor: type[Acceptor] = Acceptor
    storage: type[Storage] = Storage


def make_stamps(
    parts: LeaderlessParts, config: ClusterConfig, bound: int, wall_ns: Callable[[], int]
) -> Stamps:
    """The clock that orders versions.

    Args:
        parts: the classes.
        config: for ``versions``.
        bound: the last durable bound of the clock.
        wall_ns: the node's wall clock.
    """
    match config.versions:
        case "lww-lamport":
            return LamportStamps(parts.lamport(bound))
        case "lww-hybrid":
            offset_ns = config.clock_offset_bound_ns
            clock = parts.hybrid(max_offset_ns=offset_ns, durable_ns=bound)
            return HybridStamps(clock, wall_ns)
        case "lww-wall":
            return WallStamps(wall_ns)
    assert config.versions == "dotted", f"versions cannot be ordered by {config.versions!r}"
    return NoStamps()


def make_rules(
    parts: LeaderlessParts, node: NodeId, stamps: Stamps, next_dot: Callable[[KeyState], Dot]
) -> Rules:
    """The rules by which states change: by stamps, if there are any.

    Args:
        parts: the classes.
        node: this node, which tells equal stamps apart.
        stamps: the clock.
        next_dot: the dot of this node's next write of a key in some state.
    """
    if isinstance(stamps, NoStamps) and not isinstance(stamps, WallStamps):
        return DottedRules(parts.versions(), next_dot)
    return LastWriterRules(parts.last_writer(), node, stamps)
