"""Several faults of one kind at a time, added up.

Abilities set a state: ``set_links`` sets the faults of the whole network. Two nemeses that each set
it would undo each other. So each fault is a layer, and the state set is the sum of all layers: a
link cut by either is cut, delays and clock offsets add, probabilities combine as independent
chances. Removing a layer leaves the others. Layers belong to one environment object.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from harness.environments.base import LinkFault

Links = Mapping[tuple[str, str], LinkFault]


def _either(one: float, other: float) -> float:
    return 1.0 - (1.0 - one) * (1.0 - other) if one and other else one + other


def combine(one: LinkFault, other: LinkFault) -> LinkFault:
    """Both faults on one link."""
    rates = [rate for rate in (one.rate_bytes_per_s, other.rate_bytes_per_s) if rate]
    return LinkFault(
        cut=one.cut or other.cut,
        delay_ns=one.delay_ns + other.delay_ns,
        jitter_ns=one.jitter_ns + other.jitter_ns,
        loss=_either(one.loss, other.loss),
        duplicate=_either(one.duplicate, other.duplicate),
        reorder=_either(one.reorder, other.reorder),
        corrupt=_either(one.corrupt, other.corrupt),
        rate_bytes_per_s=min(rates, default=0),
    )


def _add(total: dict[str, Any], faults: Mapping[str, Any]) -> None:
    """Add faults of a disk to others: times add up, of two errors the later is seen."""
    for name, value in faults.items():
        total[name] = total.get(name, 0) + value if name.endswith("_ns") else value


class Layers:
    """Every fault in force in one environment, by the id of its plan."""

    def __init__(self) -> None:
        self._links: dict[int, Links] = {}
        self._clocks: dict[int, dict[str, tuple[int, float]]] = {}
        self._paused: dict[int, list[str]] = {}
        self._disks: dict[int, dict[str, Mapping[str, Any]]] = {}
        self._pressures: dict[int, dict[str, Mapping[str, Any]]] = {}

    async def set_links(self, env: Any, fault_id: int, links: Links | None) -> None:
        """Set (or with None remove) this fault's links, and tell the environment."""
        self._links.pop(fault_id, None)
        if links is not None:
            self._links[fault_id] = links
        total: dict[tuple[str, str], LinkFault] = {}
        for layer in self._links.values():
            for ends, fault in layer.items():
                total[ends] = combine(total[ends], fault) if ends in total else fault
        await env.set_links(total)

    async def set_clock(
        self, env: Any, fault_id: int, node: str, clock: tuple[int, float] | None
    ) -> dict[str, Any]:
        """Set (or remove) this fault's offset and rate of a node's clock; the evidence.

        ``wanted_offset_ns`` in it is the sum over all layers, to compare ``offset_ns`` with.
        """
        layer = self._clocks.setdefault(fault_id, {})
        layer.pop(node, None)
        if clock is not None:
            layer[node] = clock
        offset_ns, rate = 0, 1.0
        for each in self._clocks.values():
            if node in each:
                offset_ns += each[node][0]
                rate *= each[node][1]
        evidence = dict(await env.set_clock(node, offset_ns=offset_ns, rate=rate))
        return {**evidence, "wanted_offset_ns": offset_ns}

    async def set_disk(
        self, env: Any, fault_id: int, node: str, faults: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Set (or remove) this fault's layer of a node's disk; returns the evidence.

        A flipped bit is an event and no state: it is asked for once.
        """
        layer = self._disks.setdefault(fault_id, {})
        layer.pop(node, None)
        if faults is not None:
            layer[node] = {name: value for name, value in faults.items() if name != "flip"}
        total: dict[str, Any] = {}
        for each in self._disks.values():
            _add(total, each.get(node, {}))
        if faults and faults.get("flip"):
            total["flip"] = True
        return dict(await env.set_disk(node, total))

    async def set_pressure(
        self, env: Any, fault_id: int, node: str, limits: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Set (or remove) this fault's limits of a node; of two the tighter holds."""
        layer = self._pressures.setdefault(fault_id, {})
        layer.pop(node, None)
        if limits is not None:
            layer[node] = limits
        total: dict[str, Any] = {}
        for each in self._pressures.values():
            for name, value in each.get(node, {}).items():
                total[name] = min(value, total.get(name, value))
        return dict(await env.set_pressure(node, total))

    def hold_paused(self, fault_id: int, nodes: list[str]) -> None:
        """This fault wants these nodes stopped."""
        self._paused[fault_id] = nodes

    def release_paused(self, fault_id: int) -> list[str]:
        """This fault wants nothing stopped any more: the nodes no other fault wants stopped."""
        mine = self._paused.pop(fault_id, [])
        still = {node for nodes in self._paused.values() for node in nodes}
        return [node for node in mine if node not in still]


_LAYERS: weakref.WeakKeyDictionary[Any, Layers] = weakref.WeakKeyDictionary()


def of(env: Any) -> Layers:
    """The layers of an environment."""
    if env not in _LAYERS:
        _LAYERS[env] = Layers()
    return _LAYERS[env]
