"""Recipes: what programs build from leases, transactions and watches.

    async with Lock(client, "nightly-job", ttl_s=10) as lock:      # waits until it is free
        resource.write(value, token=lock.token)                    # the resource refuses old tokens

    election = Election(client, "scheduler", "host-7")
    await election.campaign()                                      # returns when this one leads
    async for change in events(client, "config/", after=0): ...

A lock and a leadership are a key attached to a lease. The holder renews the lease three times in
its life, and counts its validity from the moment it *sent* the last renewal that was answered, so
its view ends before the cluster's. A holder that is stopped for longer than its lease lives still
believes that it holds the lock until it looks at :attr:`Held.valid`; that is what the token is for
(a fencing token: see ``cluster.core.lease``).

Source: Joshi, "Lease" and "State Watch"; etcd's concurrency recipes. For programs that use
:class:`cluster.client.asyncio_client.AsyncioClient`. Where time is another (a simulation), the
caller gives a recipe its :class:`Surroundings`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from cluster.client.session import Complete
from cluster.core.lease import LeaseHolder
from cluster.core.state_watch import Watcher
from cluster.wire import Command

LOCKS, ELECTIONS = "lock/", "election/"
#: One watch is asked for at most so long before it is asked again.
WATCH_S = 3600.0
#: A caller that is cancelled while it waits is kept so long, for its lease to be revoked.
ABANDON_S = 2.0


class RecipeError(Exception):
    """A step was refused, or its outcome is unknown; the message says which and why.

    Args:
        message: the sentence.
        done: the step's outcome.
    """

    def __init__(self, message: str, done: Complete) -> None:
        super().__init__(message)
        self.done = done


class Client(Protocol):
    """The interface of a client to recipes."""

    async def call(self, command: Command, *, timeout_s: float | None = None) -> Complete:
        """Do one command."""


class Background(Protocol):
    """Something under way beside the program."""

    def cancel(self) -> Any:
        """End it where it waits."""


def lease_name() -> str:
    """A name for a lease that no other lease has.

    A client that names its lease itself can end it before it has heard that it was granted.
    """
    return f"held-{random.SystemRandom().getrandbits(64):016x}"


class Surroundings(Protocol):
    """Where a holder lives: its monotonic clock, what runs beside it, the names of its leases."""

    def lease_name(self) -> str:
        """A name that no other lease has; "" to let the core choose one. Then a lease that is being
        granted when its holder is cancelled ends by itself."""

    def now_s(self) -> float:
        """Seconds of a clock that never goes back."""

    async def sleep(self, duration_s: float) -> None:
        """Let time pass."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Background:
        """Start a coroutine beside the others."""


class AsyncioSurroundings:
    """Those of a program on asyncio."""

    def lease_name(self) -> str:
        """One drawn at random."""
        return lease_name()

    def now_s(self) -> float:
        """The machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, duration_s: float) -> None:
        """Let others go on meanwhile."""
        await asyncio.sleep(duration_s)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Background:
        """A task of the running loop."""
        return asyncio.create_task(coroutine)


class Held:
    """A key attached to a lease that is kept alive.

    Args:
        client: a client of the cluster.
        key: the key.
        value: what it says, ``None`` for True.
        ttl_s: how long the cluster keeps it without a renewal.
        around: the holder's clock and tasks; None for those of asyncio.
    """

    def __init__(
        self,
        client: Client,
        key: str,
        *,
        value: Any = True,
        ttl_s: float = 10.0,
        around: Surroundings | None = None,
    ) -> None:
        self._client = client
        self._key = key
        self._value = value
        self._ttl_s = ttl_s
        self._around: Surroundings = around if around is not None else AsyncioSurroundings()
        self._lease = ""
        self._view = LeaseHolder()
        self._renewing: Background | None = None
        #: the revision at which it was taken: larger than that of every earlier holder; 0 before
        self.token = 0
        #: whether :meth:`take` was cancelled, and a lease may be left that ends by itself
        self.may_linger = False

    @property
    def valid(self) -> bool:
        """Whether this holder may still count on it, by its own clock."""
        return bool(self.token) and self._view.may_act(self._now_ns())

    async def take(self, *, timeout_s: float | None = None) -> bool:
        """Wait until it is free, and take it.

        Cancelled meanwhile, it leaves no lease: not even one that is being granted, since the
        cluster carries out what a session asks for in order. If the cluster does not say so within
        ``ABANDON_S``, :attr:`may_linger` is True.

        Args:
            timeout_s: how long to wait; None for ever, 0 not at all.

        Returns:
            Whether it was taken.

        Raises:
            RecipeError: the cluster refused, or an outcome is unknown.
        """
        until_s = None if timeout_s is None else self._around.now_s() + timeout_s
        try:
            await self._grant()
            while True:
                made = await self._done("txn", "", *self._creation())
                if made.value["succeeded"]:
                    self.token = made.revision
                    return True
                left_s = self._ttl_s / 3
                if until_s is not None:
                    left_s = min(left_s, until_s - self._around.now_s())
                if left_s <= 0:
                    await self.give_up()
                    return False
                await self._client.call(
                    Command("watch", self._key, ({"after": made.revision},)), timeout_s=left_s
                )
        except asyncio.CancelledError:
            self.may_linger = not await self._abandon()
            raise
        except BaseException:  # the lease must end
            self.stop()
            raise

    async def _abandon(self) -> bool:
        """Revoke the lease on the way out, if that is done in a moment: else it ends by itself.

        Returns:
            Whether no lease is left, and none can be granted any more.
        """
        self.stop()
        lease, self._lease = self._lease, ""
        if not lease:
            return False
        limit_s = min(self._ttl_s, ABANDON_S)
        done = await self._client.call(Command("lease-revoke", lease), timeout_s=limit_s)
        return done.answered

    def _creation(self) -> tuple[list[Any], list[Any], list[Any]]:
        absent = [[self._key, "version", "==", 0]]
        return absent, [["put", self._key, self._value, self._lease]], []

    async def give_up(self) -> bool:
        """End the lease, and with it the key.

        Returns:
            False if the lease was over before.

        Raises:
            RecipeError: the outcome is unknown; the lease ends by itself.
        """
        self.stop()
        lease, self._lease, self.token = self._lease, "", 0
        if not lease:
            return False
        done = await self._client.call(Command("lease-revoke", lease))
        if done.status == "unknown":
            raise RecipeError(f"whether {self._key} was given up is unknown: {done.error}", done)
        return done.status == "ok"

    def _now_ns(self) -> int:
        return int(self._around.now_s() * 1e9)

    async def _grant(self) -> None:
        asked_ns, ttl_ns = self._now_ns(), int(self._ttl_s * 1e9)
        name = self._around.lease_name()
        try:
            done = await self._done("lease-grant", name, ttl_ns)
        except asyncio.CancelledError:
            self._lease = name  # it may be granted yet: it is revoked on the way out
            raise
        self._lease = done.value["lease"]
        self._view.granted(asked_ns, self._now_ns(), ttl_ns)
        self._renewing = self._around.spawn(self._renew())

    async def _renew(self) -> None:
        """Renew the lease three times in its life, until it is refused."""
        while True:
            await self._around.sleep(self._ttl_s / 3)
            asked_ns = self._now_ns()
            done = await self._client.call(
                Command("lease-renew", self._lease), timeout_s=self._ttl_s
            )
            if done.status == "fail":
                return
            if done.status == "ok":
                self._view.granted(asked_ns, self._now_ns(), int(self._ttl_s * 1e9))

    def stop(self) -> None:
        """Renew it no more: unless it is given up, it ends by itself."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    async def _done(self, op: str, key: str, *args: Any) -> Complete:
        done = await self._client.call(Command(op, key, args))
        if done.status != "ok":
            raise RecipeError(f"{op} for {self._key}: {done.status}: {done.error}", done)
        return done


class Lock(Held):
    """A lock by name.

    Args:
        client: a client of the cluster, which several locks may share.
        name: the lock's.
        ttl_s: how long a dead holder blocks the others, about.
        around: as for :class:`Held`.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        ttl_s: float = 10.0,
        around: Surroundings | None = None,
    ) -> None:
        super().__init__(client, LOCKS + name, ttl_s=ttl_s, around=around)

    async def __aenter__(self) -> Lock:
        """Wait for the lock."""
        await self.take()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release it."""
        await self.give_up()


class Election(Held):
    """Leadership by name, as one candidate sees it.

    Args:
        client: a client of the cluster.
        name: the election's.
        candidate: what others read as the leader.
        ttl_s: how long a dead leader stays, about.
        around: as for :class:`Held`.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        candidate: str,
        *,
        ttl_s: float = 10.0,
        around: Surroundings | None = None,
    ) -> None:
        super().__init__(client, ELECTIONS + name, value=candidate, ttl_s=ttl_s, around=around)

    async def campaign(self, *, timeout_s: float | None = None) -> bool:
        """Wait until this candidate leads; as :meth:`Held.take`."""
        return await self.take(timeout_s=timeout_s)

    async def resign(self) -> None:
        """Lead no more."""
        await self.give_up()

    async def leader(self) -> str | None:
        """The leader; None if there is none."""
        done = await self._done("get", self._key)
        return None if done.value is None else str(done.value)


async def events(client: Client, prefix: str, *, after: int) -> AsyncIterator[dict[str, Any]]:
    """Every change to the keys with a prefix, in order, for ever.

    Args:
        client: a client that is used for nothing else meanwhile.
        prefix: of the keys.
        after: the revision to begin after; that of the last event, to go on.

    Raises:
        RecipeError: ``compacted``: changes after that revision are gone; read the keys again.
    """
    watcher = Watcher(after)
    while True:
        watch = Command("watch", prefix, (watcher.options(),))
        done = await client.call(watch, timeout_s=WATCH_S)
        if done.status != "ok":
            more = ""
            if done.error.startswith("compacted"):
                more = ": what changed before is gone; read the keys, and watch after that revision"
            failed = f"the watch of {prefix!r} after {watcher.after}: {done.error}{more}"
            raise RecipeError(failed, done)
        for event in done.value["events"]:
            yield event
        watcher.told(done.value["revision"])
