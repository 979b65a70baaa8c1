"""Partitions of the reference cluster's role ``data``: how keys are divided, and how that changes.

:class:`Dividing` is what the database's options say; :class:`ReferencePartitions` is the ability
that the nemeses ``partition-move``, ``partition-split`` and ``partition-merge`` ask for: the map as
a node knows it, and requests that change it, made as an operator makes them
(``cluster.data.partition_requests``).

Used by :class:`harness.databases.reference.Reference`, which inherits the ability.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from harness.databases.reference_data import ISOLATION, SCHEMES, cut_points
from harness.environments.base import Node, SimulatedNode
from harness.errors import SetupError, UsageError, nearest

#: How often a node that does not know the map yet is looked at.
LOOK_EVERY_S = 0.05
PARTITIONS, CLOCK_BOUND_MS = 8, 250.0
PARTITIONS_MAX = 64


class Dividing(msgspec.Struct, frozen=True, kw_only=True):
    """How role ``data`` divides its keys, and what its transactions promise.

    Args:
        role: of the nodes; of another than ``data`` nothing else means anything.
        isolation: level of every transaction.
        scheme: ``fixed`` (by a hash) or ``range``.
        partitions: how many there are at first.
        clock_bound_ms: by how much two clocks may differ.
    """

    role: str
    isolation: str = ISOLATION[0]
    scheme: str = SCHEMES[0]
    partitions: int = PARTITIONS
    clock_bound_ms: float = CLOCK_BOUND_MS

    @classmethod
    def checked(
        cls,
        role: str,
        isolation: str,
        scheme: str,
        *,
        partitions: int | None,
        clock_bound_ms: float | None,
    ) -> Dividing:
        """The options; what is empty or None was not given.

        Raises:
            UsageError: one is given for another role, or is not known.
        """
        given = {
            "isolation": isolation,
            "scheme": scheme,
            "partitions": partitions,
            "clock_bound_ms": clock_bound_ms,
        }
        options = {name: value for name, value in given.items() if value not in ("", None)}
        if options and role != "data":
            name, value = next(iter(options.items()))
            raise UsageError(f"{name} is {value!r}, and only role data has it; leave it out")
        for name, known in (("isolation", ISOLATION), ("scheme", SCHEMES)):
            if name in options and options[name] not in known:
                raise nearest(name, str(options[name]), known)
        if partitions is not None and not 1 <= partitions <= PARTITIONS_MAX:
            raise UsageError(f"partitions is {partitions}; from 1 to {PARTITIONS_MAX} can be had")
        if clock_bound_ms is not None and not 0 < clock_bound_ms < float("inf"):
            raise UsageError(f"clock_bound_ms is {clock_bound_ms:g}; it should be above 0")
        return cls(role=role, **options)  # type: ignore[arg-type]

    @property
    def splits(self) -> tuple[str, ...]:
        """Where ranges are cut at first."""
        return cut_points(self.partitions)

    @property
    def arguments(self) -> list[str]:
        """A node's arguments."""
        if self.role != "data":
            return []
        how = ["--partition-splits", ",".join(self.splits)]
        if self.scheme == SCHEMES[0]:
            how = ["--partitions", str(self.partitions)]
        return [*how, "--clock-bound-ms", f"{self.clock_bound_ms:g}"]

    @property
    def settings(self) -> dict[str, Any]:
        """The same, as settings of a simulated node."""
        if self.role != "data":
            return {}
        how: dict[str, Any] = {"partition_scheme": "ranges", "partition_splits": self.splits}
        if self.scheme == SCHEMES[0]:
            how = {"partition_slots": self.partitions}
        return {**how, "clock_offset_bound_ns": int(self.clock_bound_ms * 1e6)}

    def cannot(self, role: str, nemesis: str) -> str:
        """Why partitions cannot be changed so; "" if they can."""
        if role != "data":
            return f"role {role} has no partitions; use --db-option role=data"
        if nemesis != "partition-move" and self.scheme == SCHEMES[0]:
            return "fixed partitions are neither split nor merged; use --db-option scheme=range"
        return ""


class ReferencePartitions:
    """Knows the partitions, and has them moved, split and merged."""

    _operators = 0
    #: the keys that clients used lately, the newest last
    keys_seen: dict[str, None]

    async def status(self, node: Node) -> dict[str, Any] | None:
        """The node's own view of things: another half asks."""
        return None

    def operator(self, node: Node, name: str) -> Any:
        """A client session for requests about the cluster: another half makes it."""

    async def map_known(self, node: Node, *, within_s: float) -> None:
        """Wait until a node knows where every key is.

        Raises:
            SetupError: it does not in time.
        """
        limit_ns = node.now_ns() + round(within_s * 1e9)
        while not ((await self.status(node) or {}).get("placement") or {}).get("scheme"):
            if node.now_ns() >= limit_ns:
                raise SetupError(f"{node.name} does not know the partitions after {within_s:g} s")
            if isinstance(node, SimulatedNode):
                await node.cluster_sleep(round(LOOK_EVERY_S * 1e9))
            else:
                await asyncio.sleep(LOOK_EVERY_S)

    async def partitions(self, nodes: Sequence[Node]) -> list[dict[str, Any]]:
        """The map of the first node that answers: each partition with ``id``, ``low``, ``high``,
        ``group``, ``epoch`` and ``state``; empty if none can say.

        A node without a status is passed over: other faults wait while a request times out."""
        for node in nodes:
            if await self.status(node) is None:
                continue
            done = await self._asked(node, "partitions", "")
            if done.status == "ok" and done.value["partitions"]:
                rows: list[dict[str, Any]] = done.value["partitions"]
                return rows
        return []

    async def change_partition(self, node: Node, op: str, key: str, *to: str) -> str:
        """Ask a node for a change.

        Args:
            node: which is asked.
            op: ``partition-move``, ``partition-split`` or ``partition-merge``.
            key: the partition's id, or a key.
            to: for a move, the group.

        Returns:
            "" if the map has it now.

        Raises:
            SetupError: it is not known whether it will be done.
        """
        done = await self._asked(node, op, key, *to)
        if done.status == "ok":
            return ""
        if done.status == "fail":
            return str(done.error)
        raise SetupError(f"{op} {key}: {done.status}: {done.error}")

    async def _asked(self, node: Node, op: str, key: str, *args: str) -> Any:
        from cluster.wire import Command

        self._operators += 1
        session = self.operator(node, f"operator-p{self._operators}")
        try:
            return await session.call(Command(op, key, args), mode="linearizable", node=node.name)
        finally:
            closing = session.close()
            if closing is not None:
                await closing
