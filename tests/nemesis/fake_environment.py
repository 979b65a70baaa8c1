"""An environment which only remembers what it was told: for decisions, not for effects."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from harness.environments.base import LinkFault
from harness.nemesis.base import Context

NODES = ["n1", "n2", "n3", "n4", "n5"]


class Memory:
    """Links, processes and clocks as plain state; traffic is made by ``talk``."""

    name = "memory"
    abilities = frozenset(
        {"links", "packets", "kill", "pause", "clock", "disk", "files", "membership"}
    )

    def __init__(self) -> None:
        self.nodes = NODES
        self.links: dict[tuple[str, str], LinkFault] = {}
        self.counters: dict[tuple[str, str], dict[str, int]] = {}
        self.dead: set[str] = set()
        self.stopped: set[str] = set()
        self.clocks: dict[str, tuple[int, float]] = {}
        self.stuck_clocks = False
        self.cannot_start: set[str] = set()
        self.now = 0

    def node(self, name: str) -> str:
        return name

    def talk(self, *pairs: tuple[str, str]) -> None:
        for pair in pairs:
            fault = self.links.get(pair, LinkFault())
            kind = "dropped" if fault.cut else "delayed" if fault.delay_ns else "passed"
            counts = self.counters.setdefault(pair, {"passed": 0, "dropped": 0, "delayed": 0})
            counts[kind] += 1

    async def sleep(self, duration_ns: int) -> None:
        self.now += duration_ns

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        self.links = dict(faults)

    async def link_counters(self) -> dict[tuple[str, str], dict[str, int]]:
        return {pair: dict(counts) for pair, counts in self.counters.items()}

    async def kill(self, node: str) -> dict[str, Any]:
        self.dead.add(node)
        return {}

    async def start(self, node: str) -> dict[str, Any]:
        if node in self.cannot_start:
            raise OSError("no")
        self.dead.discard(node)
        return {}

    async def alive(self, node: str) -> bool:
        return node not in self.dead

    async def pause(self, node: str) -> dict[str, Any]:
        if node in self.dead:
            return {"state": "gone"}
        self.stopped.add(node)
        return {"state": "T"}

    async def resume(self, node: str) -> dict[str, Any]:
        self.stopped.discard(node)
        return {"state": "S"}

    async def set_clock(
        self, node: str, *, offset_ns: int = 0, rate: float = 1.0
    ) -> dict[str, Any]:
        if not self.stuck_clocks:
            self.clocks[node] = (offset_ns, rate)
        read_ns, rate = self.clocks.get(node, (0, 1.0))
        return {"offset_ns": read_ns, "rate": rate}


class Leaders:
    """A database which says who leads."""

    def __init__(self, *leaders: str) -> None:
        self.leaders = list(leaders)

    async def primaries(self, nodes: list[Any]) -> list[str]:
        return self.leaders


def context(env: Memory, db: Any = None) -> Context:
    return Context(env=env, db=db, rng=Random(1), nodes=NODES)  # type: ignore[arg-type]
