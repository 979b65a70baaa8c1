"""One life of a simulated node: the process, from its start to its end.

A life has a core, a gate (:mod:`cluster.host.effect_gate`, the runtime's own), a timer
(:mod:`~cluster.simulation.node_timer`), a storage thread
(:mod:`~cluster.simulation.storage_thread`) and a watch over the room on its disk; they end with it.

A paused process is a SIGSTOPped one: frames wait in its socket buffers in order of arrival, a sync
under way still completes in the kernel, timers run late. When it resumes it sees all of it at once,
frames first or the timer first, as the event loop of the day happens to look.

The interface of the world to a life is :class:`LifeWorld`. Used by :mod:`cluster.simulation.node`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from cluster.config import ClusterConfig
from cluster.consensus.membership import name_of
from cluster.host.effect_gate import EffectGate, GateBroken
from cluster.host.room import NOBODY, Room
from cluster.ports import (
    Append,
    Core,
    DiskError,
    Effect,
    InSteps,
    Note,
    Recovered,
    Reply,
    SaveSnapshot,
    Send,
)
from cluster.simulation.clock import SimClock
from cluster.simulation.disk import SimDisk
from cluster.simulation.heap import EventHeap
from cluster.simulation.network import Network
from cluster.simulation.node_timer import NodeTimer
from cluster.simulation.room_watch import RoomWatch
from cluster.simulation.storage_thread import StorageLike, StorageThread
from cluster.simulation.trace import Trace
from cluster.simulation.watch import Watch
from cluster.wire import Response

#: Frames a paused node's socket buffers hold. Beyond it TCP would push back until the sender gives
#: the connection up; here the frame is dropped.
INBOX_FRAMES_MAX = 50_000

_SECOND = 1_000_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Addressed(NamedTuple):
    """A message between members of which one lives where another lived before it."""

    source: str
    to: str
    message: Any


class Machine(Protocol):
    """The machine a process runs on: what outlives it."""

    @property
    def name(self) -> str: ...
    @property
    def member(self) -> str: ...
    @property
    def disk(self) -> SimDisk: ...
    @property
    def clock(self) -> SimClock: ...


class LifeWorld(Protocol):
    """The interface of a world to a node's life."""

    @property
    def now_ns(self) -> int: ...
    @property
    def nodes(self) -> Sequence[str]: ...
    @property
    def config(self) -> ClusterConfig: ...
    @property
    def heap(self) -> EventHeap: ...
    @property
    def trace(self) -> Trace: ...
    @property
    def network(self) -> Network: ...
    @property
    def invariants(self) -> Watch | None: ...
    @property
    def auto_ticks(self) -> bool: ...

    def noted(self, node: str, note: Note) -> None:
        """A core had something to tell."""


class NodeLife:
    """A process that runs, perhaps paused, until it is closed.

    Args:
        world: where it runs.
        machine: what it runs on.
        core: its core.
        storage: its storage, recovered.
        raised: called with what the core raised: the process must end.
        disk_failed: called with the error of a write: the process must end.
        reply: takes (connection, response) of an answer to a client.
        in_steps: how the host asks the core to work; see :class:`cluster.ports.InSteps`.
    """

    __slots__ = (
        "_closed", "_gate", "_heap", "_inbox", "_machine", "_raised", "_reply", "_stepping",
        "_thread", "_timer", "_trace", "_watch", "_world", "core", "paused",
    )  # fmt: skip

    def __init__(
        self,
        world: LifeWorld,
        machine: Machine,
        core: Core,
        storage: StorageLike,
        *,
        raised: Callable[[Exception], None],
        disk_failed: Callable[[DiskError], None],
        reply: Callable[[int, Response], None],
        in_steps: bool,
    ) -> None:
        self.core = core
        self._stepping = core if isinstance(core, InSteps) else None
        if self._stepping is not None:
            self._stepping.in_steps = in_steps
        #: whether the process is stopped
        self.paused = False
        self._world, self._machine = world, machine
        self._heap, self._trace = world.heap, world.trace
        self._raised, self._reply = raised, reply
        self._closed = False
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._gate = EffectGate(leave=self._leave, note=self._noted)
        self._timer = NodeTimer(world.heap, machine.clock, self._tick, self._timer_may_run)
        self._thread = StorageThread(
            world.heap,
            machine.disk,
            storage,
            take=self._gate.take,
            paused=lambda: self.paused,
            synced=self._synced,
            failed=disk_failed,
        )
        self._watch = self._make_watch()

    def _make_watch(self) -> RoomWatch:
        world, disk = self._world, self._machine.disk
        room = Room(
            disk,
            self.core,
            node=self._machine.member,
            segment_bytes=world.config.segment_bytes,
            changed=lambda full: self._noted(Note("disk-full" if full else "disk-has-room", {})),
            now_s=lambda: world.now_ns / _SECOND,
        )
        return RoomWatch(
            world.heap,
            disk,
            room,
            paused=lambda: self.paused,
            ask=lambda request: self._run(self.core.on_client, NOBODY, request),
        )

    # -- the process

    def start(self, recovered: Recovered) -> None:
        """Run, from what storage found."""
        self._run(self.core.start, recovered)
        if not self._closed:
            self._watch.look()

    def close(self) -> None:
        """The process is gone; what it had not written is lost."""
        self._closed = True
        self._gate.close()
        self._timer.close()
        self._thread.close()
        self._watch.close()

    def resume(self, *, timer_first: bool) -> None:
        """SIGCONT: everything that waited happens now."""
        self.paused = False
        waited, self._inbox = self._inbox, []
        late = self._timer.late
        if late and timer_first:
            self._tick()
        for function, arguments in waited:
            if not self._closed and not self.paused:
                function(*arguments)
        if late and not timer_first and not self._closed:
            self._tick()
        if not self._closed:
            self._thread.begin()

    @property
    def waits_for_room(self) -> bool:
        """Whether a write waits for room on the disk."""
        return self._thread.waiting > 0

    # -- events

    def message(self, source: str, message: Any) -> None:
        """A peer's message arrived."""
        if self.paused:
            self._defer(self.message, source, message)
            return
        self._trace.add(self._heap.now_ns, "deliver", self._machine.name, source, message)
        if not self._watch.room.drops(message):
            self._run(self.core.on_message, source, message)

    def client(self, connection: int, client: str, request: Any) -> None:
        """A client's request arrived."""
        if self.paused:
            self._defer(self.client, connection, client, request)
            return
        self._trace.add(self._heap.now_ns, "client", self._machine.name, client, request)
        refusal = self._watch.room.refusal(request)
        if refusal is not None:
            self._reply(connection, refusal)
            return
        self._run(self.core.on_client, connection, request)

    def disconnected(self, connection: int) -> None:
        """A client's connection ended."""
        if self.paused:
            self._defer(self.disconnected, connection)
            return
        self._run(self.core.on_disconnect, connection)

    def tick_now(self) -> bool:
        """Let the timer run now, due or not; False if the process is paused."""
        if not self.paused:
            self._tick()
        return not self.paused

    def rearm(self) -> None:
        """Timers run by themselves again: look at this one."""
        self._timer.rearm()

    def change_clock(self, change: Callable[[], None]) -> None:
        """Change the clock: a timer keeps its reading of it, and so moves in virtual time."""
        due_ns = self._timer.monotonic_ns()
        change()
        if due_ns >= 0:
            self._timer.set(due_ns)

    def disk_changed(self) -> None:
        """The disk's faults were set: while there is no room, the process looks now and then."""
        self._watch.look()

    def _timer_may_run(self) -> bool:
        return self._world.auto_ticks and not self.paused

    def _tick(self) -> None:
        self._timer.taken()
        self._trace.add(self._heap.now_ns, "tick", self._machine.name)
        self._run(self.core.on_tick)

    def _defer(self, function: Callable[..., None], *arguments: Any) -> None:
        if len(self._inbox) < INBOX_FRAMES_MAX:
            self._inbox.append((function, arguments))

    # -- effects

    def _run(self, call: Callable[..., list[Effect]], *arguments: Any) -> None:
        self._step(call, *arguments)
        core = self._stepping
        if core is not None and core.unfinished is not None and not self._closed:
            self._step(core.more)
        invariants = self._world.invariants
        if invariants is not None and not self._closed:
            invariants.after(self._machine.member, self.core)

    def _step(self, call: Callable[..., list[Effect]], *arguments: Any) -> None:
        machine = self._machine
        try:
            effects = call(machine.clock.monotonic_ns(self._heap.now_ns), *arguments)
        except Exception as error:  # any exception of a core is a bug of it, and ends the process
            self._raised(error)
            return
        if effects:
            self._carry_out(effects)

    def _carry_out(self, effects: list[Effect]) -> None:
        invariants = self._world.invariants
        if invariants is not None:
            self._watch_writes(effects, invariants)
        try:
            timer_ns = self._gate.carry_out(effects)
        except GateBroken as error:
            self._raised(error)
            return
        if self._closed:
            return
        if timer_ns >= 0:
            self._timer.set(timer_ns)
        if self._gate.has_writes:
            self._thread.begin()

    def _watch_writes(self, effects: list[Effect], invariants: Watch) -> None:
        member = self._machine.member
        for effect in effects:
            kind = type(effect)
            if kind is Append:
                invariants.appending(member, effect)  # type: ignore[arg-type]
            elif kind is SaveSnapshot:
                invariants.snapshotting(member, effect)  # type: ignore[arg-type]

    def _noted(self, note: Note) -> None:
        self._world.noted(self._machine.name, note)

    def _leave(self, effect: Send | Reply) -> None:
        if type(effect) is Send:
            invariants = self._world.invariants
            if invariants is not None:
                invariants.sending(self._machine.member, effect)
            self._send(effect.to, effect.message)
            return
        assert type(effect) is Reply
        self._reply(effect.connection, _detached(effect.response))

    def _send(self, to: str, message: Any) -> None:
        """Send to a member, wherever it lives; one that lives nowhere gets nothing."""
        world, name, member = self._world, self._machine.name, self._machine.member
        if to in world.nodes and member == name:
            world.network.send(name, to, message)
        elif name_of(to) in world.nodes:
            world.network.send(name, name_of(to), Addressed(member, to, message))

    # -- storage

    def _synced(self, io_id: int) -> None:
        if self._world.invariants is not None:
            self._world.invariants.persisted(self._machine.member, io_id)
        self._persisted(io_id)

    def _persisted(self, io_id: int) -> None:
        if self.paused:
            self._defer(self._persisted, io_id)
            return
        self._thread.reported()
        self._trace.add(self._heap.now_ns, "persisted", self._machine.name, "", io_id)
        self._gate.persisted(io_id)
        if not self._closed:
            self._thread.begin()
            self._run(self.core.on_persisted, io_id)


def _detached(response: Response) -> Response:
    """The response as the wire would carry it: no value shared with the state machine."""
    if isinstance(response.value, (list, dict, tuple)):
        return msgspec.structs.replace(response, value=_decode(_encode(response.value)))
    return response
