"""The environments under test: each arm makes an environment whose nodes talk to each other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from harness.environments.base import LinkFault
from harness.environments.local import local

ECHO = str(Path(__file__).with_name("echo_store.py"))
NODES = ["n1", "n2", "n3"]
MS = 1_000_000
CUT = LinkFault(cut=True)


class Local:
    """Processes; the echo store sends as often as it is told."""

    def __init__(self, run_dir: Path, **options: Any) -> None:
        self.env = local(nodes=NODES, run_dir=run_dir, seed=5, options=options)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(main)

    async def start(self, *, chaos: bool = True, framing: str = "frames") -> None:
        await self.env.setup()
        await asyncio.gather(*(self._start(name, chaos, framing) for name in NODES))

    async def _start(self, name: str, chaos: bool, framing: str) -> None:
        node = self.env.node(name)
        others = [peer for peer in NODES if peer != name]
        if framing == "announced":
            peers = [f"{peer}={node.announced_by(peer, 7001)}" for peer in others]
        else:
            dial = {p: node.peer_address(p, 7001, framing=framing) for p in others}
            peers = [f"{peer}={address}" for peer, address in dial.items()]
        argv = (sys.executable, "-S", ECHO, name, node.address, *peers)
        await node.spawn(*argv, ports=(7001, 8001), chaos_port=8001 if chaos else None)
        await node.http_ok(8001, "/health", within_s=20)

    async def ask(self, name: str, path: str, body: Any = None, timeout_s: float = 10) -> Any:
        client = await self.env.node(name).http(8001, timeout_s=timeout_s)
        try:
            return await (client.get(path) if body is None else client.post(path, body))
        finally:
            await client.close()

    async def send(self, source: str, target: str, count: int = 10) -> None:
        sent = await self.ask(source, "/send", {"to": target, "count": count})
        assert sent == {"sent": count}

    async def seen(self, name: str, *, count: int = 0, within_s: float = 5) -> dict[str, Any]:
        """What the node got since it was last asked, waiting until it is at least ``count``."""
        for _ in range(int(within_s / 0.02)):
            found = await self.ask(name, "/seen")
            if sum(map(len, found.values())) >= count:
                break
            await asyncio.sleep(0.02)
        await self.ask(name, "/clear", {})
        return found

    async def traffic(self) -> None:
        """Messages on every link; some may be lost."""
        for a in NODES:
            for b in NODES:
                if a != b and await self.env.alive(a):
                    await self.ask(a, "/send", {"to": b, "count": 5})
        await asyncio.sleep(0.1)

    async def busy_link(self) -> tuple[str, str]:
        return "n1", "n2"


class Sim:
    """The simulated cluster: its own heartbeats are the traffic."""

    def __init__(self, run_dir: Path) -> None:
        from harness.environments.sim import sim

        self.env = sim(nodes=NODES, run_dir=run_dir, seed=5)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        return self.env.runtime.run(main)

    async def start(self) -> None:
        await self.env.setup()
        for name in NODES:
            await self.env.node(name).http_ok(8001, "/health", within_s=20)
        await self.busy_link()

    async def traffic(self) -> None:
        await self.env.sleep(1_000 * MS)

    async def busy_link(self) -> tuple[str, str]:
        """From the leader to a follower, once there is a leader."""
        for _ in range(100):
            for name in NODES:
                status = await self.env.node(name).cluster_status()
                if status is not None and status["role"] == "leader":
                    return name, next(other for other in NODES if other != name)
            await self.env.sleep(100 * MS)
        raise AssertionError("no leader within ten virtual seconds")


ARMS: dict[str, Callable[[Path], Any]] = {"local": Local, "sim": Sim}
