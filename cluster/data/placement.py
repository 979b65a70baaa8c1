"""Placement: the versioned map of partitions to groups, as one node knows it.

Problem. A node that takes a client's request must know which group has the key. Asking the core for
each request would make the core the bottleneck; a copy of the map is fast, and may be old.

Solution. The map is in the core (:mod:`cluster.data.partition_record`), and changes there one
revision at a time. A node reads it once and is told of every change since by State Watch
(:mod:`cluster.data.placement_watch`). A key is routed to a group together with the epoch of its
partition. The group refuses an epoch that is not its own (:mod:`cluster.data.ownership`), so an old
map costs a round trip and never correctness. A route that a group has refused is not used again:
the node reads the map anew, and waits for a newer epoch.

Invariants. The map of a node is the core's map as of one revision, and revisions only grow. Once
the layout is there, slots and ranges tile the whole key space at every revision, so each key has
one partition. The epoch of a partition only grows. A refused route is not given out again.

What breaks without it. A48, in :mod:`cluster.data.ownership`: a group that serves what a cached map
says it has, and not what its log says. A36a, in :mod:`cluster.data.fixed_partitions`.

Source: Joshi, "Consistent Core", "Fixed Partitions", "State Watch"; the metadata of Kafka's
brokers. Used by the coordinator of transactions, by the controller and by ``cluster.data.node``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cluster.data.fixed_partitions import FixedPartitions
from cluster.data.key_range_partitions import KeyRange, KeyRangePartitions
from cluster.data.ownership import SLOTS
from cluster.data.partition_record import (
    CONTROLLER,
    GROUPS,
    LAYOUT,
    NEW,
    NODES,
    PARTITIONS,
    REQUESTS,
    Layout,
    Partition,
    decoded,
)


class Route(NamedTuple):
    """Where the keys of a partition are.

    Args:
        partition: its id.
        epoch: the epoch that a request must name.
        group: the group to ask.
    """

    partition: str
    epoch: int
    group: str


class Claim(NamedTuple):
    """A key of the core that lives as long as a node does: its own, a controller's, a request.

    Args:
        value: what it says.
        created: revision at which it was created; of the controller, the fencing token.
        modified: revision of the last change.
    """

    value: Any
    created: int
    modified: int


class PlacementParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes that route keys; each may be replaced by a subclass."""

    fixed: type[FixedPartitions] = FixedPartitions
    ranges: type[KeyRangePartitions] = KeyRangePartitions


class Placement:
    """The map, as of one revision of the core.

    Args:
        node: this node; it is told for error messages.
        groups: the founders' groups and their members; none at a node that joins.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node: str,
        groups: Mapping[str, tuple[str, ...]],
        *,
        parts: PlacementParts = PlacementParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.node = node
        self._founding = dict(groups)
        self._parts = parts
        #: everything the map says is as of this revision of the core; -1 before it was read
        self.revision = -1
        self.layout: Layout | None = None
        self.partitions: dict[str, Partition] = {}
        #: group -> its members
        self.groups: dict[str, tuple[str, ...]] = dict(groups)
        self.nodes: dict[str, Claim] = {}
        #: nodes that were registered at some moment since this node began to know the map
        self.seen: set[str] = set()
        self.requests: dict[str, Claim] = {}
        self.controller: Claim | None = None
        #: key -> revision of its last change: what a guarded write compares with
        self.modified: dict[str, int] = {}
        #: partition -> the highest epoch that a group refused
        self._refused: dict[str, int] = {}
        self._ranges: KeyRangePartitions | None = None
        self._fixed: FixedPartitions | None = None
        self._by_slot: dict[int, Partition] = {}

    # -- learning ----------------------------------------------------------------------------------

    def replace(self, revision: int, items: Iterable[Mapping[str, Any]]) -> bool:
        """Take the whole map as it was read at a revision.

        Args:
            revision: of the read.
            items: as a range of the core answers them.

        Returns:
            Whether it is newer than what was known.

        Raises:
            ValueError: the core holds a record that this code never wrote.
        """
        if revision < self.revision:
            return False
        before = self.partitions
        self.layout, self.controller = None, None
        self.partitions, self.nodes, self.requests, self.modified = {}, {}, {}, {}
        self.groups = dict(self._founding)
        for item in items:
            self._put(item["key"], item["value"], item["created"], item["modified"])
        for name, partition in self.partitions.items():
            assert partition.epoch >= _epoch(before, name), f"the epoch of {name} went back"
        self._settle(revision)
        return True

    def apply(self, revision: int, events: Sequence[Mapping[str, Any]]) -> None:
        """Take the changes since the known revision, as a watch answers them.

        Raises:
            ValueError: the core holds a record that this code never wrote.
        """
        assert revision >= self.revision, f"the map goes from {self.revision} back to {revision}"
        if not events:
            self.revision = revision
            return
        for event in events:
            at = event["revision"]
            assert self.revision < at <= revision, f"{event['key']} changed at {at}, told late"
            if event["type"] == "delete":
                self._remove(event["key"])
            else:
                created = at if event["version"] == 1 else self._created(event["key"])
                self._put(event["key"], event["value"], created, at)
        self._settle(revision)

    def _created(self, key: str) -> int:
        claim = self.controller if key == CONTROLLER else None
        claim = claim or self.nodes.get(key.removeprefix(NODES))
        claim = claim or self.requests.get(key.removeprefix(REQUESTS))
        return claim.created if claim is not None else 0

    def _put(self, key: str, value: Any, created: int, modified: int) -> None:
        self.modified[key] = modified
        if key == LAYOUT:
            self.layout = msgspec.convert(value, Layout)
        elif key == CONTROLLER:
            self.controller = Claim(value, created, modified)
        elif key.startswith(PARTITIONS):
            after = decoded(key, value)
            assert after.epoch >= _epoch(self.partitions, after.id), f"{after} is at an old epoch"
            self.partitions[after.id] = after
        elif key.startswith(GROUPS):
            name, members = key.removeprefix(GROUPS), tuple(value["members"])
            known = self._founding.get(name, members)
            assert known == members, f"{name} has members {members}, and {known} by the founders"
            self.groups[name] = members
        elif key.startswith(NODES):
            self.nodes[key.removeprefix(NODES)] = Claim(value, created, modified)
            self.seen.add(key.removeprefix(NODES))
        elif key.startswith(REQUESTS):
            self.requests[key.removeprefix(REQUESTS)] = Claim(value, created, modified)

    def _remove(self, key: str) -> None:
        self.modified.pop(key, None)
        assert key != LAYOUT and not key.startswith(GROUPS), f"{key} was deleted from the core"
        if key == CONTROLLER:
            self.controller = None
        elif key.startswith(PARTITIONS):
            del self.partitions[key.removeprefix(PARTITIONS)]
        elif key.startswith(NODES):
            self.nodes.pop(key.removeprefix(NODES), None)
        elif key.startswith(REQUESTS):
            self.requests.pop(key.removeprefix(REQUESTS), None)

    def _settle(self, revision: int) -> None:
        """All of a revision is in: make the routes, and see that they tile the key space."""
        self.revision = revision
        if self.layout is None:
            return
        for partition in self.partitions.values():
            assert partition.scheme == self.layout.scheme, f"{partition} is of another scheme"
        if self.layout.scheme == SLOTS:
            self._settle_slots(self.layout.slots)
        else:
            self._ranges = self._parts.ranges(
                KeyRange(each.id, each.low, each.high, each.epoch)
                for each in self.partitions.values()
            )

    def _settle_slots(self, slots: int) -> None:
        if self._fixed is None:
            self._fixed = self._parts.fixed(slots, node=self.node)
        assert self._fixed.slots == slots, f"the number of slots became {slots}"
        by_slot: dict[int, Partition] = {}
        for partition in self.partitions.values():
            for slot in range(partition.low, partition.high):
                assert slot not in by_slot, f"slot {slot} is of {partition} and {by_slot[slot]}"
                by_slot[slot] = partition
        assert len(by_slot) == slots, f"{len(by_slot)} of {slots} slots have a partition"
        self._by_slot = by_slot

    # -- routing -----------------------------------------------------------------------------------

    @property
    def known(self) -> bool:
        """Whether the map was read at all."""
        return self.revision >= 0

    @property
    def ready(self) -> bool:
        """Whether every key has a partition by now."""
        return self.layout is not None

    def route(self, key: str) -> Route | None:
        """Where a key is; None if that is not known at present, and may be in a while."""
        found = self.partition_of(key)
        return None if found is None else self._routed(found)

    def route_range(self, low: str, high: str | None) -> list[tuple[Route, str, str | None]] | None:
        """Where the keys from ``low`` to ``high`` are: each partition with the bounds to ask for.

        Ranges come in the order of keys and do not overlap. Fixed partitions each hold some of the
        keys, so each is asked for all of them.

        Args:
            low: the first key.
            high: the first key above; None for no end.

        Returns:
            None if one of the places is not known at present.
        """
        if self.layout is None:
            return None
        asked: list[tuple[Partition, str, str | None]]
        if self._ranges is not None:
            parts = self._ranges.within(low, high)
            asked = [(self.partitions[each.partition], first, last) for each, first, last in parts]
        else:
            wanted = self._fixed.modulus(self._group_count()) if self._fixed else 0
            slots = {self._by_slot[slot].id: self._by_slot[slot] for slot in range(wanted)}
            asked = [(partition, low, high) for partition in slots.values()]
        found: list[tuple[Route, str, str | None]] = []
        for partition, first, last in asked:
            route = self._routed(partition)
            if route is None:
                return None
            found.append((route, first, last))
        return found

    def partition_of(self, key: str) -> Partition | None:
        """The partition of a key; None before there is a layout."""
        if self.layout is None:
            return None
        if self._ranges is not None:
            return self.partitions[self._ranges.find(key).partition]
        assert self._fixed is not None
        return self._by_slot[self._fixed.slot_of(key, groups=self._group_count())]

    def owners(self) -> dict[str, Route]:
        """Every partition with its epoch and group."""
        return {
            name: Route(name, each.epoch, each.group)
            for name, each in sorted(self.partitions.items())
        }

    def _group_count(self) -> int:
        return len(self.groups)

    def _routed(self, partition: Partition) -> Route | None:
        if partition.state == NEW or not self.may_use(partition):
            return None
        return Route(partition.id, partition.epoch, partition.group)

    # -- routes that were refused ------------------------------------------------------------------

    def may_use(self, partition: Partition) -> bool:
        """Decision: whether a route is given out: not once a group has refused its epoch."""
        return partition.epoch > self._refused.get(partition.id, 0)

    def refuse(self, partition: str, epoch: int) -> None:
        """A group refused a route as ``stale-epoch``; wait for a newer epoch of the partition."""
        self._refused[partition] = max(epoch, self._refused.get(partition, 0))

    @property
    def waits(self) -> bool:
        """Whether a route that was refused has no newer one yet: the map should be read again."""
        return any(
            epoch >= self.partitions[name].epoch
            for name, epoch in self._refused.items()
            if name in self.partitions
        )


def _epoch(partitions: Mapping[str, Partition], name: str) -> int:
    found = partitions.get(name)
    return found.epoch if found is not None else 0
