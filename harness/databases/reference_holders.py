"""The reference cluster's clients that hold something: locks and leaderships, by the recipes.

They use :mod:`cluster.client.recipes` as a program would: the holder renews its lease in the
background three times in its life, and looks at its own clock before it acts. Acting is a write to
a resource outside the cluster, and takes the time ``work_s`` that the operation says. Between the
look and the write the client may be stopped, as any program may: by its garbage collector, its
machine, its hypervisor. It goes on where it stopped and does not know that time has passed. That is
what a fencing token is for.

**Clients that stop.** A client is no process of its own: it lives in the harness. So its stops are
made here. The nemesis ``pause`` stops a node's process; of a machine that is stopped whole the
clients stop too, and those of a node are taken to live on its machine (:class:`StandingStill`).
While it stands still, a client sends no renewal and begins nothing; an answer that arrives is
noticed when it goes on; its clock runs on. What it had sent before may still be sent again by its
session, at most one renewal.

Made by :class:`harness.databases.reference.ReferenceClient`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.databases.base import Invocation, Outcome
from harness.databases.locks import fenced_write
from harness.databases.reference_clients import Objects, Session, Settings
from harness.environments.base import Node, SimulatedNode

if TYPE_CHECKING:
    from cluster.client.recipes import Background, Held
    from cluster.client.session import Complete

#: How long a client waits for a lock or a leadership before it says that it was not free, and how
#: long one step of it may take, as shares of the time that an operation has.
WAIT_SHARE, STEP_SHARE = 0.4, 0.25
#: How often a client that stands still looks whether it may go on.
LOOK_S = 0.01


class StandingStill:
    """Which nodes' clients stand still, and how many times each was stopped."""

    def __init__(self) -> None:
        self._stopped: dict[str, None] = {}
        self.clients: dict[str, int] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._stopped

    def came(self, node: str) -> None:
        """A client of this node was opened."""
        self.clients[node] = self.clients.get(node, 0) + 1

    def left(self, node: str) -> None:
        """A client of this node was closed."""
        self.clients[node] -= 1

    def stop(self, node: str) -> int:
        """The clients of a node stand still from now on; how many there are."""
        self._stopped[node] = None
        return self.clients.get(node, 0)

    def go_on(self, node: str) -> None:
        """They go on."""
        self._stopped.pop(node, None)


class ClientLife:
    """A client's clock and tasks, which stand still when it does: the recipes' surroundings.

    Args:
        node: the client's node, on whose machine it lives.
        still: which nodes' clients stand still.
    """

    def __init__(self, node: Node, still: StandingStill) -> None:
        self._node = node
        self._still = still

    def lease_name(self) -> str:
        """One drawn at random; in simulation the core chooses, so that a seed is a run."""
        from cluster.client.recipes import lease_name

        return "" if isinstance(self._node, SimulatedNode) else lease_name()

    def now_s(self) -> float:
        """The run's clock: it runs on while the client stands still."""
        return self._node.now_ns() / 1e9

    async def sleep(self, duration_s: float) -> None:
        """Let time pass; a client that was stopped meanwhile wakes later."""
        await self._pass(duration_s)
        await self.running()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Background:
        """Start a coroutine beside the others."""
        if isinstance(self._node, SimulatedNode):
            task: Background = self._node.cluster_spawn(coroutine)
            return task
        return asyncio.create_task(coroutine)

    async def running(self) -> None:
        """Return when the client does not stand still."""
        while self._node.name in self._still:
            await self._pass(LOOK_S)

    async def _pass(self, duration_s: float) -> None:
        if isinstance(self._node, SimulatedNode):
            await self._node.cluster_sleep(round(duration_s * 1e9))
        else:
            await asyncio.sleep(duration_s)


class StoppableSession:
    """A session of a client that may stand still.

    Args:
        session: the session.
        life: the client's.
        step_s: deadline of commands that are given none.
    """

    def __init__(self, session: Session, life: ClientLife, step_s: float) -> None:
        self._session = session
        self._life = life
        self._step_s = step_s

    async def call(
        self,
        command: Any,
        *,
        mode: str = "linearizable",
        timeout_s: float | None = None,
        node: str = "",
        staleness_s: float = 0.0,
    ) -> Complete:
        """Do one command, when the client runs; its answer is noticed when the client runs."""
        await self._life.running()
        limit_s = self._step_s if timeout_s is None else timeout_s
        done = await self._session.call(
            command, mode=mode, timeout_s=limit_s, node=node, staleness_s=staleness_s
        )
        await self._life.running()
        return done


class Holder(Objects):
    """Holds one thing at a time.

    Args:
        db: the database's options.
        session: how to speak to the cluster.
        life: the client's clock and tasks.
    """

    def __init__(self, db: Settings, session: Session, life: ClientLife) -> None:
        step_s = STEP_SHARE * db.op_timeout_s
        super().__init__(db, StoppableSession(session, life, step_s))
        self._life = life
        self._held: Held | None = None

    async def _take(self, op: Invocation, held: Held) -> Outcome:
        from cluster.client.recipes import RecipeError

        self.close()
        try:
            taken = await held.take(timeout_s=WAIT_SHARE * self._db.op_timeout_s)
        except RecipeError as error:
            return await self._not_taken(op, held, str(error))
        if not taken:
            return op.fail(f"the {self._what} was not free in time")
        self._held = held
        return op.ok({"token": held.token})

    #: what is held, in a word
    _what = "lock"

    async def _not_taken(self, op: Invocation, held: Held, why: str) -> Outcome:
        """A step was refused, or has no known outcome. Without its lease, nothing is held."""
        from cluster.client.recipes import RecipeError

        try:
            await held.give_up()
        except RecipeError as error:
            return op.info(str(error))
        return op.fail(f"the {self._what} was not got: {why}")

    async def _leave(self, op: Invocation) -> Outcome:
        from cluster.client.recipes import RecipeError

        held, self._held = self._held, None
        if held is None:
            return op.fail(f"this client holds no {self._what}")
        try:
            ended = await held.give_up()
        except RecipeError as error:
            return op.info(str(error))
        return op.ok() if ended else op.fail(f"the {self._what} had ended before")

    async def _act(self, op: Invocation) -> Outcome:
        """Look at the clock, work, write to the resource."""
        if self._held is None or not self._held.valid:
            return op.fail("the lease is over by its holder's clock")
        await self._life.sleep(op.value.get("work_s", 0.0))
        return fenced_write(self._db.resource, op)

    def close(self) -> None:
        """Renew nothing any more: what is held ends by itself."""
        held, self._held = self._held, None
        if held is not None:
            with suppress(RuntimeError):  # the event loop may be gone
                held.stop()


class LockClient(Holder):
    """Locks."""

    operations = frozenset({"acquire", "release", "write"})

    async def _acquire(self, op: Invocation) -> Outcome:
        from cluster.client.recipes import Lock

        ttl_s = self._db.lease_ttl_s
        return await self._take(
            op, Lock(self._session, str(op.key), ttl_s=ttl_s, around=self._life)
        )

    async def _release(self, op: Invocation) -> Outcome:
        return await self._leave(op)

    async def _write(self, op: Invocation) -> Outcome:
        return await self._act(op)


class ElectionClient(Holder):
    """Leadership: a candidate campaigns, acts as the leader, and resigns."""

    operations = frozenset({"campaign", "act", "resign"})
    _what = "leadership"

    async def _campaign(self, op: Invocation) -> Outcome:
        from cluster.client.recipes import Election

        ttl_s, name = self._db.lease_ttl_s, f"candidate-{op.process}"
        election = Election(self._session, str(op.key), name, ttl_s=ttl_s, around=self._life)
        return await self._take(op, election)

    async def _resign(self, op: Invocation) -> Outcome:
        return await self._leave(op)


#: kind of objects -> its client
HOLDERS: dict[str, Callable[[Settings, Session, ClientLife], Holder]] = {
    "lock": LockClient,
    "election": ElectionClient,
}
HOLDER_OPERATIONS = {"lock": LockClient.operations, "election": ElectionClient.operations}
