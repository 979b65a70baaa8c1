"""The database's methods, called for every node side by side, and what went wrong in a sentence.

A node's ``ready`` may wait for a process that has ended meanwhile. So the processes are watched
while it waits. A node whose process has ended fails at once; the error has its exit code and the
last lines of its log.

For :mod:`harness.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from harness.databases.base import DB, ClusterSetup
from harness.environments.base import Environment, Node, Watched
from harness.errors import HarnessError, SetupError, UserCodeError
from harness.interpreter.runtime import Runtime

#: a method of a database that is called for one node
Act = Callable[[Node], Awaitable[object]]

#: How often it is looked whether a database that is not ready yet still runs.
LOOK_EVERY_NS = 500_000_000


class EveryNode:
    """Calls the methods of a database.

    Args:
        runtime: tasks and timers.
        env: the environment, set up.
        db: the database.
    """

    def __init__(self, runtime: Runtime, env: Environment, db: DB) -> None:
        self.runtime, self.env, self.db = runtime, env, db
        self._dead: dict[str, Exception] = {}

    async def call(
        self,
        method: str,
        act: Act,
        *,
        within_s: float | None = None,
        but: Sequence[str] = (),
        watched: bool = False,
    ) -> None:
        """Call a method for every node except some, side by side.

        Args:
            method: its name, for errors.
            act: the method.
            within_s: how long it may take; None for as long as it likes.
            but: nodes left out.
            watched: whether a node whose process ends fails at once.

        Raises:
            HarnessError: what the first node raised; errors of user code are named as such.
        """
        errors: list[tuple[str, BaseException]] = []
        self._dead.clear()

        async def one(name: str) -> None:
            try:
                await act(self.env.node(name))
            except Exception as error:  # user code: it is named as such below
                errors.append((name, await self._death(name) or error))

        names = [name for name in self.env.nodes if name not in but]
        tasks = {name: self.runtime.spawn(one(name)) for name in names}
        timers = []
        if within_s is not None:
            at_ns = self.runtime.now_ns() + round(within_s * 1e9)
            timers = [self.runtime.call_at(at_ns, task.cancel) for task in tasks.values()]
        if watched and any(isinstance(self.env.node(name), Watched) for name in names):
            self.runtime.spawn(self._watch(tasks))
        for name, task in tasks.items():
            try:
                await settled(task)
            except Cancelled:
                late = SetupError(f"{name} is not ready after {within_s or 0:g} s")
                errors.append((name, await self._death(name) or late))
            except BaseException:  # an interrupt is for all nodes
                for other in tasks.values():
                    other.cancel()
                raise
        for timer in timers:
            timer.cancel()
        if errors:
            raise self._named(method, *errors[0])

    async def ready(self, *, within_s: float | None = None, but: Sequence[str] = ()) -> None:
        """Wait until the database serves on every node except some.

        Args:
            within_s: how long it may take; None for as long as it likes.
            but: nodes left out.

        Raises:
            HarnessError: a node does not serve, or its process has ended.
        """
        await self.call("ready", self.db.ready, within_s=within_s, but=but, watched=True)

    async def set_up_cluster(self) -> None:
        """Call ``setup_cluster(nodes)``, which a database may have, once.

        Raises:
            HarnessError: what it raised.
        """
        if not isinstance(self.db, ClusterSetup):
            return
        try:
            await self.db.setup_cluster([self.env.node(name) for name in self.env.nodes])
        except Exception as error:  # user code: it is named as such
            for name in self.env.nodes:
                error = await self._death(name) or error
            raise self._named("setup_cluster", "", error) from error

    async def _watch(self, tasks: dict[str, Any]) -> None:
        """End the waiting for nodes whose process has ended."""
        while any(not task.done() for task in tasks.values()):
            await self.env.sleep(LOOK_EVERY_NS)
            for name, task in tasks.items():
                if not task.done() and await self._death(name):
                    task.cancel()

    async def _death(self, name: str) -> Exception | None:
        """How the node's database ended by itself, with its last words; None if it did not."""
        node = self.env.node(name)
        if isinstance(node, Watched) and name not in self._dead:
            try:
                await node.check_running()
            except SetupError as error:
                self._dead[name] = error
        return self._dead.get(name)

    def _named(self, method: str, node: str, error: BaseException) -> BaseException:
        if isinstance(error, HarnessError):
            return error
        where = f" on {node}" if node else ""
        named = UserCodeError(
            f"{type(self.db).__name__}.{method} raised {type(error).__name__}{where}: {error}"
        )
        named.__cause__ = error
        return named


class Cancelled(Exception):
    """A node's task was ended."""


async def settled(task: Any) -> None:
    """Wait for a task.

    Raises:
        Cancelled: the task was cancelled, and not the one that waits.
    """
    from asyncio import CancelledError

    try:
        await task
    except CancelledError as error:
        if task.done() and not _interrupted():
            raise Cancelled from error
        raise


def _interrupted() -> bool:
    """Whether the task that runs was cancelled itself, and with it the one it waited for."""
    from asyncio import current_task

    try:
        task = current_task()
    except RuntimeError:  # in virtual time
        return False
    return task is not None and task.cancelling() > 0
