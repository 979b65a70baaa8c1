"""The host of a core: carries its effects out, in the one order that is safe.

Every input (a message, a request, the timer, a durable write) becomes one call of the core, and the
effects it returns go through an :class:`cluster.host.effect_gate.EffectGate`, which decides what
may leave now and what waits for a write. So the leader's entries travel while its own disk is still
busy, and nothing that promises durability leaves early. Requests that arrive in one turn of the
event loop enter the core as one call, and share a batch; while clients wait, messages that arrive
in that turn enter after them, so that a read which came with the answers to one heartbeat round is
in time for the next. A core that works in steps (:class:`cluster.ports.InSteps`) gives its writes
and messages first where there is much to apply, so that the disk and the peers begin sooner.

Invariants. After a failure of the disk or a bug in the core, nothing enters the core and nothing
leaves any more: the node is about to stop, and silence is safe. The timer never fires before the
core's clock shows its time.

Used by ``node``, which gives it an outlet (sockets, a thread, a log); tests may give it another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from cluster.host.effect_gate import EffectGate, GateBroken, Write
from cluster.ports import Core, Effect, InSteps, Note, Recovered, Reply, Send
from cluster.runtime.clock import SkewedClock
from cluster.runtime.frames import encode_frame
from cluster.runtime.metrics import Histogram
from cluster.wire import Message, Request, Response

#: A turn of the core that takes longer is slow: elections are decided in a few of these.
SLOW_TURN_S = 0.1


class Outside(Protocol):
    """Where effects go."""

    def send(self, to: str, frame: bytes, message: Message) -> None:
        """Send a frame to a peer; ``message`` is what it holds."""

    def answer(self, connection: int, response: Response) -> None:
        """Answer a client; one that is gone is no error."""

    def persist(self, write: Write) -> None:
        """Queue a write."""

    def note(self, note: Note) -> None:
        """Something worth a line in the log."""

    def turn_ended(self) -> None:
        """All effects of one input were carried out: what was gathered may go in one write."""

    def broken(self, error: Exception) -> None:
        """The core raised, or broke an invariant of the gate: a bug. The node must stop."""


class CoreHost:
    """Runs one core.

    Args:
        core: the core.
        clock: its clock.
        outside: where its effects go.
    """

    def __init__(self, core: Core, *, clock: SkewedClock, outside: Outside) -> None:
        self.core = core
        self.clock = clock
        self._outside = outside
        self._gate = EffectGate(leave=self._leave, note=outside.note)
        self._encoded: tuple[Message | None, bytes] = (None, b"")
        #: what has arrived in this turn of the event loop, and enters at its end
        self._requests: list[tuple[int, Request]] = []
        self._messages: list[tuple[str, Message]] = []
        self._unanswered = 0
        #: when the core wants to be called; -1 if it has been
        self._timer_ns = -1
        self._timer: asyncio.TimerHandle | None = None
        #: when the timer fires, which may be earlier
        self._fires_ns = -1
        self._on_clients = getattr(core, "on_clients", None)
        self._stepping = core if isinstance(core, InSteps) else None
        if self._stepping is not None:
            self._stepping.in_steps = True
        self.turn_seconds = Histogram()
        #: turns in which the core took long: it applied much, or something dear
        self.slow_turns = 0

    def start(self, recovered: Recovered) -> None:
        """Start the core from what is durable."""
        self._run(self.core.start, recovered)

    def halt(self) -> None:
        """Let nothing in or out any more."""
        self._gate.close()
        if self._timer is not None:
            self._timer.cancel()

    def message(self, source: str, message: Message) -> None:
        """A peer's message arrived.

        It enters at once, unless several clients wait or an earlier message does.
        """
        if self._messages or self._unanswered > 1:
            if not self._messages and not self._requests:
                asyncio.get_running_loop().call_soon(self._enter)
            self._messages.append((source, message))
            return
        self._run(self.core.on_message, source, message)

    def request(self, connection: int, request: Request) -> None:
        """A client's request arrived; it enters with all others of this turn of the loop.

        A lone request of an idle node enters at once: no other will share its batch.
        """
        requests = self._requests
        requests.append((connection, request))
        if not self._unanswered:
            self._enter()
        elif len(requests) == 1 and not self._messages:
            asyncio.get_running_loop().call_soon(self._enter)

    def disconnected(self, connection: int) -> None:
        """A client is gone, and with it what it asked and was not entered yet."""
        self._requests = [r for r in self._requests if r[0] != connection]
        self._unanswered = 0  # what it still waited for will not be answered: count anew
        self._run(self.core.on_disconnect, connection)

    def persisted(self, io_id: int) -> None:
        """Every write up to ``io_id`` is durable: what waited leaves, then the core hears of it."""
        try:
            self._gate.persisted(io_id)
        except GateBroken as error:
            self._broken(error)
            return
        self._outside.turn_ended()  # a leader waits for what has left, and no peer for the core
        self._run(self.core.on_persisted, io_id)

    def clock_changed(self) -> None:
        """The clock's rate was set: the timer moves."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._arm(self._timer_ns)

    def _enter(self) -> None:
        """Bring what has gathered to the core: requests, then messages in the order received."""
        requests, self._requests = self._requests, []
        messages, self._messages = self._messages, []
        self._unanswered += len(requests)
        if self._on_clients is None:
            for connection, request in requests:
                self._run(self.core.on_client, connection, request)
        elif requests:
            self._run(self._on_clients, requests)
        for source, message in messages:
            self._run(self.core.on_message, source, message)

    def _run(self, call: Callable[..., list[Effect]], *arguments: Any) -> None:
        if self._gate.closed:
            return
        took_s = self._step(call, *arguments)
        core = self._stepping
        if core is not None and core.unfinished is not None and not self._gate.closed:
            took_s += self._step(core.more)
        self.turn_seconds.observe(took_s)
        self.slow_turns += took_s > SLOW_TURN_S

    def _step(self, call: Callable[..., list[Effect]], *arguments: Any) -> float:
        """One call of the core, and what it returned carried out; how long the core took, in s."""
        began = time.perf_counter()
        try:
            effects = call(self.clock.monotonic_ns(), *arguments)
        except Exception as error:  # any exception of a core is a bug of it, and stops the node
            self._broken(error)
            return 0.0
        took_s = time.perf_counter() - began
        if effects:
            self._carry_out(effects)
        return took_s

    def _carry_out(self, effects: list[Effect]) -> None:
        gate = self._gate
        try:
            timer_ns = gate.carry_out(effects)
            writes = gate.take() if gate.taken < gate.issued else ()
        except GateBroken as error:
            self._broken(error)
            return
        self._outside.turn_ended()
        for write in writes:
            self._outside.persist(write)
        if timer_ns >= 0:
            self._arm(timer_ns)

    def _broken(self, error: Exception) -> None:
        self.halt()
        self._outside.broken(error)

    def _leave(self, effect: Send | Reply) -> None:
        if type(effect) is Reply:
            if self._unanswered:
                self._unanswered -= 1
            self._outside.answer(effect.connection, effect.response)
            return
        message: Message = effect.message  # type: ignore[union-attr]
        encoded, frame = self._encoded
        if encoded is not message:
            frame = encode_frame(message)
            self._encoded = (message, frame)
        self._outside.send(effect.to, frame, message)  # type: ignore[union-attr]

    def _arm(self, at_ns: int) -> None:
        """Set the timer. One that fires no later stays, and looks again when it does: made anew at
        each input, one that is due already would never fire on a busy node."""
        self._timer_ns = at_ns
        if self._timer is not None:
            if self._fires_ns <= at_ns:
                return
            self._timer.cancel()
        self._fires_ns = at_ns
        delay_s = self.clock.true_delay_ns(at_ns) / 1e9
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self.clock.monotonic_ns() < self._timer_ns:  # the loop's clock is coarser than ours
            self._arm(self._timer_ns)
            return
        self._timer_ns = -1
        self._run(self.core.on_tick)
