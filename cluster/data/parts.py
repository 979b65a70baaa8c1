"""What a node of role ``data`` is made of: the classes, by the part each plays, and what the parts
that decide something get from their node.

A data node hosts groups and has a client for them. What the groups' data means is decided by three
parts above: the *placement* knows which group owns which partition, the *controller* changes that,
the *coordinator* carries out transactions. Each is a synchronous state machine like the cores:
inputs in, effects (replies and notes) out; it asks groups through :class:`Services` and hears the
outcomes later, in :meth:`Part.on_answer`.

A data node imports no counter-example. Entry points, the simulation and tests choose the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from cluster.clocks.hybrid_clock import HybridClock
from cluster.config import ClusterConfig
from cluster.core.parts import ReplicaParts
from cluster.data.clock_fence import ClockFence
from cluster.data.clock_log import ClockLog
from cluster.data.front import Front
from cluster.data.group_client import Ask, GroupClient
from cluster.data.replicated_groups import ReplicatedGroups
from cluster.data.stamps import Stamps
from cluster.log.group_storage import GroupStorage
from cluster.ports import Clock, Effect, NodeId, Rng
from cluster.wire import Request


class Part(Protocol):
    """A part of a data node that decides something.

    ``now_ns`` is the node's monotonic clock. Effects are ``Reply`` and ``Note`` only.
    """

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest; ``NEVER_NS`` for never."""

    def start(self, now_ns: int) -> list[Effect]:
        """The node starts: its groups are there, and may be asked."""

    def tick(self, now_ns: int) -> list[Effect]:
        """Time has passed."""

    def on_answer(
        self, now_ns: int, token: int, status: str, value: Any, error: str
    ) -> list[Effect]:
        """A token of this part's :attr:`Services.ask` has its outcome: ``ok``, ``fail`` or
        ``unknown``."""

    def status(self) -> dict[str, Any]:
        """JSON-ready facts for the node's status, under the part's name."""


class ClientPart(Part, Protocol):
    """A part that clients speak to: the coordinator, and the placement."""

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's command that is for this part arrived."""

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""


class Services(Protocol):
    """What a part gets from its node: to ask groups, and to look at those that are here."""

    @property
    def ask(self) -> Ask:
        """Ask a group; :meth:`cluster.data.group_client.GroupClient.ask` has the arguments. The
        outcome comes to this part's ``on_answer``, after the call that asked has returned."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that this node is in, sorted."""

    def members(self, group: str) -> tuple[NodeId, ...]:
        """The members of a group; empty if it is not known."""

    def leader(self, group: str) -> NodeId:
        """Who leads a group, as far as this node knows; "" for unknown."""

    def leads(self, group: str) -> bool:
        """Whether this node leads a group, as far as it knows."""

    def machine(self, group: str) -> Any:
        """The state machine of a group that is here, to be looked at and never changed; None if the
        group is not here."""

    def open_group(self, group: str, members: Sequence[NodeId]) -> None:
        """There is a group with these members: from now on it may be asked, and if this node is one
        of them it is hosted here, once the present event is done. Idempotent; groups of the
        founding are known anyway."""


class PartSetting(msgspec.Struct, frozen=True, kw_only=True):
    """What a part is made with.

    Args:
        node: this node.
        founders: the nodes the cluster was founded with, sorted; none at a node that joins it.
        config: timings and limits.
        rng: randomness, of this part alone.
        clock: the node's clocks.
        stamps: its hybrid clock, as :attr:`DataParts.stamps` made it.
        services: the way to the groups.
        placement: the placement part, for the others; None for itself, or if there is none.
    """

    node: NodeId
    founders: tuple[NodeId, ...]
    config: ClusterConfig
    rng: Rng
    clock: Clock
    stamps: Stamps
    services: Services
    placement: Any = None


MakePart: TypeAlias = Callable[[PartSetting], Part]
MakeClientPart: TypeAlias = Callable[[PartSetting], ClientPart]


class DataParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a data node, and of the storage its host gives it.

    Args:
        core: of the replica of group ``core``.
        group: of the replicas of the other groups.
        groups, client, front, storage: of the node.
        hybrid_clock, fence, stamps, clock_log: of its hybrid clock.
        placement, controller, coordinator: make the parts above; None for a node without.
    """

    core: ReplicaParts = ReplicaParts()
    group: ReplicaParts = ReplicaParts()
    groups: type[ReplicatedGroups] = ReplicatedGroups
    client: type[GroupClient] = GroupClient
    front: type[Front] = Front
    storage: type[GroupStorage] = GroupStorage
    hybrid_clock: type[HybridClock] = HybridClock
    fence: type[ClockFence] = ClockFence
    stamps: type[Stamps] = Stamps
    clock_log: type[ClockLog] = ClockLog
    placement: MakeClientPart | None = None
    controller: MakePart | None = None
    coordinator: MakeClientPart | None = None
