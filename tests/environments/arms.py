"""The environments under test: each arm makes an environment whose nodes talk to each other.

What is waited for is waited for long, and no longer than until it is there: a busy machine is slow
and not wrong.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from harness.environments.base import LinkFault
from harness.environments.local import local

ECHO = str(Path(__file__).with_name("echo_store.py"))
NODES = ["n1", "n2", "n3"]
MS = 1_000_000
CUT = LinkFault(cut=True)
#: how long anything may take on a machine that has much else to do
PATIENCE_S = 90.0


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy result of a condition."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := await condition()):
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {PATIENCE_S:g} s; the last answer was {found!r}")
        await asyncio.sleep(0.02)
    return found


async def throttled(env: Any, node: str, share: float) -> None:
    """Give a node so little processor time, and wait until the kernel has held it back for it."""

    async def count() -> int:
        told = await env.set_pressure(node, {"cpu_share": share})
        return int(told["counters"].get("throttled", 0))

    before = await count()

    async def more() -> bool:
        return await count() > before

    await until(more)


def within(arm: Any, body: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    """Run a test's body in a started environment, and tear it down.

    Args:
        arm: makes the environment.
        body: is given the environment.
        options: for the arm's ``start``.
    """

    async def main() -> None:
        try:
            await arm.start(**options)
            await body(arm.env)
        finally:
            await arm.env.teardown()

    arm.run(main())


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
        await node.http_ok(8001, "/health", within_s=PATIENCE_S)

    async def ask(
        self, name: str, path: str, body: Any = None, timeout_s: float = PATIENCE_S
    ) -> Any:
        client = await self.env.node(name).http(8001, timeout_s=timeout_s)
        try:
            return await (client.get(path) if body is None else client.post(path, body))
        finally:
            await client.close()

    async def send(self, source: str, target: str, count: int = 10) -> None:
        sent = await self.ask(source, "/send", {"to": target, "count": count})
        assert sent == {"sent": count}

    async def seen(self, name: str, *, count: int = 0) -> dict[str, Any]:
        """What the node got since it was last asked, waiting until it is at least ``count``."""
        found: dict[str, Any] = {}

        async def enough() -> bool:
            found.update(await self.ask(name, "/seen"))
            return sum(map(len, found.values())) >= count

        await until(enough)
        await self.ask(name, "/clear", {})
        return found

    async def decided(self, source: str, target: str, count: int) -> dict[str, int]:
        """Wait until a link has decided on so many messages; its counters."""

        async def enough() -> dict[str, int]:
            found = (await self.env.link_counters()).get((source, target), {})
            decisions = ("passed", "dropped", "corrupted", "held")
            return found if sum(found.get(name, 0) for name in decisions) >= count else {}

        found: dict[str, int] = await until(enough)
        return found

    async def traffic(self) -> None:
        """Messages on every link, which has decided on them afterwards; some may be lost."""
        before = await self.env.link_counters()
        for (a, b), sent in (await self.send_everywhere()).items():
            already = before.get((a, b), {})
            decided = sum(already.get(name, 0) for name in ("passed", "dropped", "held"))
            await self.decided(a, b, decided + sent)

    async def send_everywhere(self) -> dict[tuple[str, str], int]:
        """Messages on every link whose nodes run; how many were sent on each."""
        names = [name for name in NODES if await self.env.alive(name)]
        links = [(a, b) for a in names for b in NODES if a != b]
        return {
            (a, b): (await self.ask(a, "/send", {"to": b, "count": 5}))["sent"] for a, b in links
        }

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
            await self.env.node(name).http_ok(8001, "/health", within_s=PATIENCE_S)
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
