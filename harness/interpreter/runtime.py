"""The runtime of the interpreter: tasks, futures, timers. A small Protocol.

There are two implementations: an asyncio event loop and the trampoline of the simulation. The
interpreter's coroutines wait on these (and on the environment's ``sleep``) only, so the same code
drives real clients and simulated ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol


class Future(Awaitable[Any], Protocol):
    """Something to wait for, resolved once."""

    def done(self) -> bool:
        """Whether it is resolved."""

    def set_result(self, value: Any) -> None:
        """Resolve it; the waiting task goes on soon."""


class Task(Protocol):
    """A coroutine on its way."""

    def done(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> Any:
        """Raise ``asyncio.CancelledError`` where it waits."""


class Handle(Protocol):
    """A timer."""

    def cancel(self) -> None:
        """Never call it."""


class Runtime(Protocol):
    """The world's tasks and timers."""

    #: a worker that did this many operations without waiting lets the others go on
    breathe_every: int
    #: how long a recorded event may stay in a buffer of this process, in the run's own time
    flush_ns: int

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""

    def future(self) -> Future:
        """A fresh future."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Start a coroutine beside the others."""

    def call_at(self, time_ns: int, function: Callable[[], None]) -> Handle:
        """Call a function at a time of :meth:`now_ns`, or soon if that is past."""

    async def breathe(self) -> None:
        """Let others go on; in virtual time, let a little time pass."""

    def absorb_cancel(self) -> None:
        """The current task has dealt with a cancellation and goes on."""
