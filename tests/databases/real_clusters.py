"""A database on three local nodes, and clients that can be asked one thing at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from harness.databases.base import Invocation
from harness.environments.local import local

NODES = ["n1", "n2", "n3"]
#: how long anything may take on a machine that has much else to do
PATIENCE_S = 120.0


def cluster(
    run_dir: Path,
    db: Any,
    body: Callable[[Any], Awaitable[None]],
    *,
    names: Sequence[str] = NODES,
) -> None:
    async def main() -> None:
        env = local(nodes=list(names), run_dir=run_dir, seed=1)
        try:
            await env.setup()
            nodes = [env.node(name) for name in names]
            for step in (db.setup, db.start, db.ready):
                await asyncio.gather(*(step(node) for node in nodes))
            await body(env)
        finally:
            await env.teardown()

    asyncio.run(main())


async def until(condition: Callable[[], Awaitable[Any]], within_s: float = PATIENCE_S) -> Any:
    """The first truthy result of a condition."""
    end_s = time.monotonic() + within_s
    while not (found := await condition()):
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {within_s:g} s; the last answer was {found!r}")
        await asyncio.sleep(0.1)
    return found


async def do(client: Any, f: str, value: Any = None, key: Any = "x") -> tuple[str, Any]:
    done = await client.invoke(Invocation(0, f, key, value))
    return done.type, done.value


async def value_of(
    client: Any, f: str = "read", value: Any = None, key: Any = "x", *, within_s: float = PATIENCE_S
) -> Any:
    """What a read says. One that fails says nothing, as on a machine that has much else to do:
    it is asked again."""

    async def once() -> tuple[Any, ...]:
        how, said = await do(client, f, value, key)
        return (said,) if how == "ok" else ()

    return (await until(once, within_s))[0]


async def sure(
    client: Any,
    f: str,
    value: Any,
    key: Any = "x",
    *,
    within_s: float = PATIENCE_S,
    shown: Callable[[Any], bool] | None = None,
) -> None:
    """Do it until it is done. What must not be done twice names by what a read shows it: then it
    is not asked again."""

    async def once() -> bool:
        if (await do(client, f, value, key))[0] == "ok":
            return True
        return shown is not None and shown(await value_of(client, key=key, within_s=within_s))

    await until(once, within_s)
