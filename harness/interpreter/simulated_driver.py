"""Virtual time: the interpreter's coroutines stepped over the simulation's event heap.

A trampoline, not an event loop: coroutines are stepped with ``send`` and may wait on
:class:`SimFuture` only. Ready tasks go on in the order in which they became ready; when none is,
the world does its next event, and time jumps to it. There is no thread, no socket and no clock, so
equal seeds give equal runs to the byte.

A client, database or nemesis that waits on anything else (asyncio's sleep, a socket) cannot run
here, and the error says so in a sentence.
"""

from __future__ import annotations

import signal
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sized
from typing import Any, Protocol, TypeAlias, TypeVar

from harness.errors import HarnessError, UserCodeError

T = TypeVar("T")

#: Goes on with a task: the number of the wait this answers, and an exception to raise there.
TaskStep: TypeAlias = "Callable[[int, BaseException | None], None]"

#: Virtual time that passes between two operations of a worker which never wait.
BREATH_NS = 1_000


#: Events of the world between two looks at what interrupts the run, at most.
EVENTS_AT_ONCE = 64
#: Virtual time between two flushes of the history: some milliseconds of real time.
FLUSH_NS = 250_000_000
#: Errors of a broken world that a run may meet while it tidies up.
BREAKS_MAX = 100_000


class Cancellable(Protocol):
    """A timer of the world."""

    def cancel(self) -> None:
        """Never call it."""


class VirtualTime(Protocol):
    """The interface of a world to the trampoline."""

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds."""

    def at(self, delay_ns: int, function: Callable[..., Any], *args: Any) -> Cancellable:
        """Call a function later."""

    def step_until(self, waiting: Sized, most: int) -> bool:
        """Do the next events until there is something in ``waiting``, at most ``most`` of them;
        False if there was none."""


class SimFuture:
    """Something to wait for in virtual time."""

    __slots__ = ("_callbacks", "_done", "_error", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []

    def done(self) -> bool:
        """Whether it is resolved."""
        return self._done

    def set_result(self, value: Any) -> None:
        """Resolve it; the waiting task goes on soon."""
        self._resolve(value, None)

    def set_exception(self, error: BaseException) -> None:
        """Resolve it with an exception, raised where it is awaited."""
        self._resolve(None, error)

    def result(self) -> Any:
        """The value; raises what it was resolved with."""
        if self._error is not None:
            raise self._error
        return self._value

    def on_done(self, callback: Callable[[], None]) -> None:
        """Call back when it is resolved, or at once."""
        if self._done:
            callback()
        else:
            self._callbacks.append(callback)

    def _resolve(self, value: Any, error: BaseException | None) -> None:
        assert not self._done, "a future is resolved once"
        self._done, self._value, self._error = True, value, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def __await__(self) -> Generator[SimFuture, None, Any]:
        if not self._done:
            yield self
        return self.result()


class SimTask(SimFuture):
    """A coroutine being stepped; itself a future of its result."""

    __slots__ = ("_coroutine", "_runtime", "_waits")

    def __init__(self, runtime: SimRuntime, coroutine: Coroutine[Any, Any, Any]) -> None:
        super().__init__()
        self._runtime = runtime
        self._coroutine = coroutine
        self._waits = 0
        runtime.soon(self.step, 0, None)

    def cancel(self) -> None:
        """Raise CancelledError where it waits."""
        self.throw(CancelledError())

    def throw(self, error: BaseException) -> None:
        """Raise an exception where it waits."""
        if not self._done:
            self._waits += 1
            self._runtime.soon(self.step, self._waits, error)

    def step(self, wait: int, error: BaseException | None) -> None:
        """Go on to the next wait or the end; ``wait`` is the wait this answers."""
        if self._done or wait != self._waits:
            return  # cancelled in between
        try:
            yielded = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration as stop:
            self.set_result(stop.value)
            return
        except (Exception, CancelledError) as raised:  # any exception of a task is its result
            self._end_with(raised)
            return
        self._waits += 1
        if isinstance(yielded, SimFuture):
            answers = self._waits
            yielded.on_done(lambda: self._runtime.soon(self.step, answers, None))
        else:
            self._runtime.soon(self.step, self._waits, _foreign(self._coroutine, yielded))

    def _end_with(self, error: BaseException) -> None:
        watched = bool(self._callbacks)
        self.set_exception(error)
        if not watched and not isinstance(error, CancelledError):
            self._runtime.unhandled(error)


def _foreign(coroutine: Any, yielded: Any) -> UserCodeError:
    return UserCodeError(
        f"{getattr(coroutine, '__qualname__', coroutine)} waited on {yielded!r} in the simulation, "
        "where time is virtual: await env.sleep or what the node gives; sockets and asyncio need "
        "--env local"
    )


class SimRuntime:
    """Tasks and timers in a world's virtual time.

    Args:
        world: the world, or anything with its time.
        origin_ns: virtual time at which the run begins.
    """

    breathe_every = 1
    flush_ns = FLUSH_NS

    def __init__(self, world: VirtualTime, *, origin_ns: int = 0) -> None:
        self.world = world
        self.origin_ns = origin_ns
        self._ready: deque[tuple[TaskStep, int, BaseException | None]] = deque()
        self._error: BaseException | None = None
        self._broken: BaseException | None = None
        self._breaks = 0
        self._on_interrupt: Callable[[], None] | None = None
        self._interrupts = 0

    def now_ns(self) -> int:
        """Virtual nanoseconds since the run began."""
        return self.world.now_ns - self.origin_ns

    def future(self) -> SimFuture:
        """A fresh future."""
        return SimFuture()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> SimTask:
        """Start a coroutine beside the others."""
        return SimTask(self, coroutine)

    def call_at(self, time_ns: int, function: Callable[[], Any]) -> Cancellable:
        """Call a function at a virtual time of the run."""
        return self.world.at(max(0, time_ns - self.now_ns()), function)

    async def sleep(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        future = SimFuture()
        self.world.at(max(0, duration_ns), future.set_result, None)
        await future

    async def breathe(self) -> None:
        """Let a little virtual time pass, or a worker that never waits would stop it."""
        await self.sleep(BREATH_NS)

    def absorb_cancel(self) -> None:
        """Nothing to do here."""

    def soon(
        self,
        step: Callable[[int, BaseException | None], None],
        wait: int,
        error: BaseException | None,
    ) -> None:
        """Queue a task's next step."""
        self._ready.append((step, wait, error))

    def unhandled(self, error: BaseException) -> None:
        """A task without a waiter ended with an exception: the run ends with it."""
        self._error = self._error or error

    def on_interrupt(self, function: Callable[[], None]) -> Callable[[], None]:
        """Call a function on SIGINT and SIGTERM, between two events; returns what undoes this."""
        self._on_interrupt = function
        previous: dict[int, Any] = {}

        def count(*_: Any) -> None:
            self._interrupts += 1

        for which in (signal.SIGINT, signal.SIGTERM):
            try:
                previous[which] = signal.signal(which, count)
            except ValueError:  # not the main thread
                continue

        def undo() -> None:
            for number, handler in previous.items():
                signal.signal(number, handler)

        return undo

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Step a coroutine, and all it spawns, to its end.

        What the world raises (a broken invariant) is raised where the coroutine waits, so that it
        can tidy up, and then from here.

        Raises:
            HarnessError: everything waits for something that cannot happen any more.
        """
        task = self.spawn(main)
        task.on_done(lambda: None)  # it has a waiter: this loop
        ready = self._ready
        while not task.done():
            while ready:
                step, wait, error = ready.popleft()
                step(wait, error)
            if self._error is not None:
                self._break(task, self._error)
                self._error = None
            elif self._interrupts:
                self._interrupts -= 1
                if self._on_interrupt is not None:
                    self._on_interrupt()
            elif not task.done():
                self._step_world(task)
        if self._broken is not None:
            raise self._broken
        result: T = task.result()
        return result

    def _step_world(self, task: SimTask) -> None:
        try:
            if self.world.step_until(self._ready, EVENTS_AT_ONCE):
                return
        except Exception as error:  # an exception of the world is raised where the run waits
            self._break(task, error)
            return
        raise HarnessError(
            "the simulation has nothing left to do, but the run has not ended: something waits for "
            "an answer that cannot come"
        )

    def _break(self, task: SimTask, error: BaseException) -> None:
        """Throw the first error into the run; later ones, while it tidies up, are its echoes."""
        self._breaks += 1
        if self._broken is None:
            self._broken = error
            task.throw(error)
        elif self._breaks > BREAKS_MAX:
            raise self._broken
