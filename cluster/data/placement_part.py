"""Placement part: what a data node knows of the map, its registration, and operators' requests.

A data node hosts it as its placement (:class:`cluster.data.parts.Part`): inputs in, effects out,
sans-IO. The other parts look at the map through it: :meth:`PlacementPart.route`,
:meth:`PlacementPart.route_range`, :meth:`PlacementPart.refuse`. Groups that the map tells of are
opened at this node, which hosts them if it is a member.

The classes are chosen in :class:`MakePlacement`; nothing here imports a counter-example.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.data.partition_requests import PartitionRequests
from cluster.data.parts import PartSetting
from cluster.data.placement import Placement, PlacementParts, Route
from cluster.data.placement_watch import PlacementWatch
from cluster.data.registration import Registration
from cluster.data.replicated_groups import CORE, founding_groups
from cluster.ports import Effect
from cluster.wire import Request


class PlacementPart:
    """The map of one node, and the node's key in the core.

    Args:
        setting: what the node gives its parts.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        setting: PartSetting,
        *,
        parts: PlacementParts = PlacementParts(),  # noqa: B008 (frozen)
    ) -> None:
        node, ask = setting.node, setting.services.ask
        life = f"{setting.rng.between(1, (1 << 48) - 1):x}"
        groups = founding_groups(setting.founders)
        #: the founders' data groups and their members; empty at a node that joins
        self.founding = {name: each for name, each in groups.items() if name != CORE}
        self._services = setting.services
        self.placement = Placement(node, self.founding, parts=parts)
        self.watch = PlacementWatch(self.placement, ask)
        ttl_ns = setting.config.node_ttl_ns
        self.registration = Registration(node, life, self.placement, ask, ttl_ns=ttl_ns)
        self.requests = PartitionRequests(
            node, life, self.placement, self.registration, ask, setting.services.leader
        )
        self._parts = (self.watch, self.registration, self.requests)
        self._opened: set[str] = set(self.founding)

    # -- for the other parts -----------------------------------------------------------------------

    def route(self, key: str) -> Route | None:
        """Where a key is; None if that is not known at present."""
        return self.placement.route(key)

    def route_range(self, low: str, high: str | None) -> list[tuple[Route, str, str | None]] | None:
        """Where the keys from ``low`` to ``high`` are; None if one place is not known."""
        return self.placement.route_range(low, high)

    def refuse(self, partition: str, epoch: int) -> None:
        """A group refused a route as ``stale-epoch``."""
        self.watch.refuse(partition, epoch)

    # -- inputs ------------------------------------------------------------------------------------

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return min(part.deadline_ns for part in self._parts)

    def start(self, now_ns: int) -> list[Effect]:
        """The node starts: its groups are there, and may be asked."""
        return self.tick(now_ns)

    def tick(self, now_ns: int) -> list[Effect]:
        """Time has passed."""
        for part in self._parts:
            part.tick(now_ns)
        return [*self.requests.take()]

    def on_answer(
        self, now_ns: int, token: int, status: str, value: Any, error: str
    ) -> list[Effect]:
        """A question to a group has its outcome."""
        for part in self._parts:
            if part.on_answer(now_ns, token, status, value, error):
                break
        self._open_groups()
        return self.tick(now_ns)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's command about partitions arrived."""
        self.requests.on_client(now_ns, connection, request)
        return [*self.requests.take()]

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone."""
        self.requests.on_disconnect(connection)
        return []

    def _open_groups(self) -> None:
        """The groups that the map tells of, each once."""
        for name, members in self.placement.groups.items():
            if name not in self._opened:
                self._opened.add(name)
                self._services.open_group(name, members)

    def status(self) -> dict[str, Any]:
        """JSON-ready facts for the node's status."""
        layout = self.placement.layout
        return {
            "revision": self.placement.revision,
            "scheme": layout.scheme if layout is not None else None,
            "partitions": len(self.placement.partitions),
            "nodes": sorted(self.placement.nodes),
            "registered": self.registration.registered,
            "lease": self.registration.lease,
        }


class MakePlacement(msgspec.Struct, frozen=True, kw_only=True):
    """Makes the placement part of a node; what :class:`cluster.data.parts.DataParts` is given.

    Args:
        routing: the classes that route keys; each may be replaced by a subclass.
    """

    routing: PlacementParts = PlacementParts()

    def __call__(self, setting: PartSetting) -> PlacementPart:
        """The part of one life of a node."""
        return PlacementPart(setting, parts=self.routing)
