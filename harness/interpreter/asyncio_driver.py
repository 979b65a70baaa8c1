"""Real time: the interpreter on an asyncio event loop.

One task per worker, one timer for the scheduler, one for flushing, one for timeouts, however many
operations there are. uvloop is used where it is installed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from harness.errors import SetupError
from harness.interpreter.runtime import Runtime
from harness.recorder import FLUSH_NS

T = TypeVar("T")


class AsyncioRuntime:
    """Tasks and timers of the running event loop.

    Args:
        clock: nanoseconds since the run began: the environment's ``now_ns``.
    """

    breathe_every = 32
    flush_ns = FLUSH_NS

    def __init__(self, clock: Callable[[], int]) -> None:
        self.now_ns = clock
        self._loop = asyncio.get_running_loop()
        #: the loop keeps weak references to its tasks only
        self._tasks: set[asyncio.Task[Any]] = set()

    def future(self) -> asyncio.Future[Any]:
        """A fresh future."""
        return self._loop.create_future()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task, and keep it until it ends."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_at(self, time_ns: int, function: Callable[[], Any]) -> asyncio.TimerHandle:
        """Call a function at a time of the run's clock."""
        return self._loop.call_later(max(0, time_ns - self.now_ns()) / 1e9, function)

    async def breathe(self) -> None:
        """Let other tasks go on."""
        await asyncio.sleep(0)

    def absorb_cancel(self) -> None:
        """The current task has dealt with a cancellation."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a fresh event loop, uvloop's where it is installed."""
    factory: Any = None
    if sys.platform != "win32":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def drive(
    main: Callable[[Runtime], Coroutine[Any, Any, None]],
    *,
    clock: Callable[[], int],
    interrupted: Callable[[Callable[[], object]], None],
) -> None:
    """Run a coroutine on a fresh event loop, and tell of interrupts meanwhile.

    Args:
        main: the coroutine, of the loop's tasks and timers.
        clock: nanoseconds since the run began.
        interrupted: called once per signal, with what ends the coroutine at once.

    Raises:
        SetupError: it was ended so.
    """

    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        undo = on_interrupt(lambda: interrupted(task.cancel))
        try:
            await main(AsyncioRuntime(clock))
        finally:
            undo()

    try:
        run(body())
    except asyncio.CancelledError:
        raise SetupError("interrupted before the first operation; there is no verdict") from None


def on_interrupt(function: Callable[[], None]) -> Callable[[], None]:
    """Call a function, once per signal, on SIGINT and SIGTERM; returns what undoes this.

    Outside the main thread signals cannot be handled; then nothing is done.
    """
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    for which in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(which, function)
        except (NotImplementedError, RuntimeError, ValueError):
            continue
        handled.append(which)

    def undo() -> None:
        for which in handled:
            loop.remove_signal_handler(which)

    return undo
