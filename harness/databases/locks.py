"""Shared parts of lock clients: a session kept alive, and writes under a token.

A lock that outlives its holder's death must expire, so its holder has a session that is renewed.
:class:`KeepAlive` does that in the background, as the recipes of etcd and Consul do, over a
connection of its own: a request that waits for the lock must not keep the renewals waiting. It goes
on after a failed renewal, and says nothing when the session has ended. So a holder may believe that
it has a lock which another client has acquired meanwhile: the tests are to show that. Fencing
protects against it: :func:`fenced_write` writes under the token that came with the lock, and the
resource refuses an old one.

Source: Kleppmann, How to do distributed locking, 2016; the Lease pattern. For the databases here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from harness.databases.base import Invocation, Outcome
from harness.environments.base import Node
from harness.environments.http import HttpClient, HttpStatus
from workloads.lock import FencedResource


class KeepAlive:
    """Renews one session in the background, three times in its life.

    Args:
        port: where the node listens.
        ttl_s: how long the session lives without a renewal.
        timeout_s: how long a renewal may take.
    """

    def __init__(self, port: int, *, ttl_s: float, timeout_s: float) -> None:
        self._port = port
        self._every_s = ttl_s / 3
        self._timeout_s = timeout_s
        self._http: HttpClient | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, node: Node) -> None:
        """Renew at this node from now on."""
        await self.close()
        self._http = await node.http(self._port, timeout_s=self._timeout_s)

    def start(self, renew: Callable[[HttpClient], Awaitable[Any]]) -> None:
        """Renew a session from now on, and no other any more.

        Args:
            renew: the request that renews it.
        """
        self.stop()
        assert self._http is not None, "open() comes before start()"
        self._task = asyncio.create_task(self._renewing(self._http, renew))

    async def _renewing(
        self, http: HttpClient, renew: Callable[[HttpClient], Awaitable[Any]]
    ) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            with contextlib.suppress(OSError, HttpStatus):
                await renew(http)

    def stop(self) -> None:
        """Renew nothing any more: unless it is ended before, the session ends by itself."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Stop, and hang up."""
        self.stop()
        if self._http is not None:
            await self._http.close()


def fenced_write(resource: FencedResource, op: Invocation) -> Outcome:
    """Write ``op``'s value to its key's resource, under the token in it.

    Args:
        resource: what the lock guards; outside the lock's system.
        op: its value is ``{"token": n, "value": v}``; without a token the write is not fenced.
    """
    accepted = resource.write(op.key, op.value.get("token"), op.value["value"])
    return op.ok() if accepted else op.fail("the resource has seen a newer token")
