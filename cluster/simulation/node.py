"""A simulated node: hosts a real core over real storage on a simulated disk, as the runtime does.

Effects pass the runtime's own gate (:mod:`cluster.host.effect_gate`). A life of a node has a gate,
a timer (:mod:`~cluster.simulation.node_timer`) and a storage thread
(:mod:`~cluster.simulation.storage_thread`) of its own, which end with it. On a full disk writes
wait and no entries are taken, by the runtime's own rule (:mod:`cluster.host.room`).

A paused node is a SIGSTOPped process: frames wait in its socket buffers in order of arrival, a sync
under way still completes in the kernel, timers run late. When it resumes it sees all of it at once,
frames first or the timer first, as the event loop of the day happens to look.

What a node needs of its world is :class:`NodeWorld`. Only :mod:`cluster.simulation.world` makes
nodes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from cluster.config import ClusterConfig
from cluster.consensus.membership import name_of
from cluster.host.effect_gate import EffectGate, GateBroken
from cluster.host.room import NOBODY, Room
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import (
    Append,
    Core,
    DiskError,
    Effect,
    Note,
    Recovered,
    Reply,
    SaveSnapshot,
    Send,
)
from cluster.simulation.clock import SimClock
from cluster.simulation.damage_watch import DamageWatch
from cluster.simulation.disk import POWER_LOST, SimDisk
from cluster.simulation.heap import EventHeap
from cluster.simulation.network import Network
from cluster.simulation.node_timer import NodeTimer
from cluster.simulation.room_watch import RoomWatch
from cluster.simulation.storage_thread import StorageLike, StorageThread
from cluster.simulation.trace import Trace
from cluster.simulation.watch import Watch
from cluster.wire import Request, Response

#: Frames a paused node's socket buffers hold. Beyond it TCP would push back until the sender gives
#: the connection up; here the frame is dropped.
INBOX_FRAMES_MAX = 50_000

_SECOND = 1_000_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_request = msgspec.msgpack.Decoder(Request).decode


class Addressed(NamedTuple):
    """A message between members of which one lives where another lived before it."""

    source: str
    to: str
    message: Any


class Answers(Protocol):
    """Where a node's answers to clients go."""

    def reply(self, node: SimNode, connection: int, response: Response) -> None:
        """Answer on a connection; nothing happens if it is gone."""


class NodeWorld(Protocol):
    """What a node needs of the world it lives in."""

    @property
    def now_ns(self) -> int: ...
    @property
    def nodes(self) -> Sequence[str]: ...
    @property
    def founders(self) -> Sequence[str]: ...
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
    def damage_watch(self) -> DamageWatch: ...
    @property
    def auto_ticks(self) -> bool: ...
    @property
    def connections(self) -> Answers: ...

    def rng(self, *purpose: object) -> random.Random:
        """The seeded stream for a purpose."""

    def make_core(self, node: SimNode) -> Core:
        """A fresh core for a node that starts."""

    def make_storage(self, node: SimNode) -> StorageLike:
        """A fresh storage over the node's disk."""

    def recovered(self, node: SimNode, recovered: Recovered) -> None:
        """A node starts from what its storage found."""

    def noted(self, node: str, note: Note) -> None:
        """A core had something to tell."""

    def disk_failed(self, node: SimNode, error: DiskError) -> None:
        """A write failed, which ends the node."""

    def core_raised(self, node: SimNode, error: Exception) -> None:
        """A core raised, which ends the node."""


class SimNode:
    """One node. ``up`` says whether its process runs, ``why_down`` why not."""

    __slots__ = (
        "_gate", "_inbox", "_thread", "_timer", "_watch", "_world", "clock", "core", "corrupt",
        "disk", "incarnation", "joins", "member", "name", "paused", "up", "why_down",
    )  # fmt: skip

    def __init__(
        self, world: NodeWorld, name: str, *, disk: SimDisk, clock: SimClock, joins: bool = False
    ) -> None:
        self._world = world
        self.name = name
        #: who this node is in the cluster: another one with each disk
        self.member = name
        #: whether it starts knowing nobody, as a node does that joins a cluster
        self.joins = joins
        self.disk = disk
        self.clock = clock
        self.core: Core | None = None
        self.up = False
        self.paused = False
        self.why_down = "not started"
        #: whether its last start was refused because of what the log holds
        self.corrupt = False
        self.incarnation = 0
        self._begin_life()

    def _begin_life(self) -> None:
        """The parts of one life, new."""
        self._gate = EffectGate(leave=self._leave, note=self._noted)
        self._timer = NodeTimer(self._world.heap, self.clock, self._tick, self._timer_may_run)
        self._thread: StorageThread | None = None
        self._watch: RoomWatch | None = None
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def _reset(self) -> None:
        self._gate.close()
        self._timer.close()
        for part in (self._thread, self._watch):
            if part is not None:
                part.close()
        self._begin_life()

    # -- life

    def start(self) -> None:
        """Start the process: recover, then run. A refusal to start leaves the node down."""
        world = self._world
        self.incarnation += 1
        self._reset()
        try:
            storage = world.make_storage(self)
            why_not = world.damage_watch.why_not(self.member, joins=self.joins)
            recovered = storage.recover(why_not=why_not)
        except (DiskError, CorruptLog) as error:
            self.corrupt = isinstance(error, CorruptLog)
            self._down(f"refused to start: {error}")
            if isinstance(error, DiskError) and error.code == POWER_LOST:
                self.disk.crash(lose_unsynced=True, torn=self.disk.torn)
            return
        self.corrupt = False
        self.core = world.make_core(self)
        self._thread = self._make_thread(storage)
        self._watch = self._make_watch(self.core)
        self.up, self.paused, self.why_down = True, False, ""
        world.recovered(self, recovered)
        world.trace.add(world.now_ns, "start", self.name, "", {"entries": len(recovered.entries)})
        self._run(self.core.start, recovered)
        self.disk_changed()

    def _make_thread(self, storage: StorageLike) -> StorageThread:
        return StorageThread(
            self._world.heap,
            self.disk,
            storage,
            take=lambda: self._gate.take(),
            paused=lambda: self.paused,
            synced=self._synced,
            failed=lambda error: self._world.disk_failed(self, error),
        )

    def _make_watch(self, core: Core) -> RoomWatch:
        room = Room(
            self.disk,
            core,
            node=self.member,
            segment_bytes=self._world.config.segment_bytes,
            changed=self._room_changed,
            now_s=lambda: self._world.now_ns / _SECOND,
        )
        return RoomWatch(
            self._world.heap,
            self.disk,
            room,
            paused=lambda: self.paused,
            ask=lambda request: self._run(core.on_client, NOBODY, request),
        )

    def stop(self, why: str) -> None:
        """The process is gone; what it had not written is lost."""
        self.incarnation += 1
        self._reset()
        self._down(why)

    def _down(self, why: str) -> None:
        self.up, self.paused, self.core = False, False, None
        self.why_down = why
        self._world.trace.add(self._world.now_ns, "down", self.name, "", why)

    def wipe(self, member: str) -> None:
        """An empty disk, and a new id, with which it joins; or a founder's own, without a memory.

        Raises:
            ValueError: the node runs.
        """
        if self.up:
            raise ValueError(f"{self.name} runs: crash it before its disk is wiped")
        self.member, self.joins = member, member not in self._world.founders
        self.disk = SimDisk(self.disk.profile, self._world.rng(self.name, "disk", member))
        self._world.trace.add(self._world.now_ns, "wipe", self.name, member)

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True

    def resume(self, *, timer_first: bool) -> None:
        """SIGCONT: everything that waited happens now."""
        self.paused = False
        waited, self._inbox = self._inbox, []
        late = self._timer.late
        if late and timer_first:
            self._tick()
        for function, arguments in waited:
            if self.up and not self.paused:
                function(*arguments)
        if late and not timer_first and self.up:
            self._tick()
        self._start_sync()

    # -- events

    def receive(self, source: str, frame: Any) -> None:
        """A frame of a node arrived; one that is for who lived here before is dropped."""
        to = self.name
        if type(frame) is Addressed:
            source, to, frame = frame
        if to == self.member:
            self.message(source, frame)

    def message(self, source: str, message: Any) -> None:
        """A peer's message arrived."""
        if self.paused:
            self._defer(self.message, source, message)
            return
        world = self._world
        world.trace.add(world.now_ns, "deliver", self.name, source, message)
        if self._watch is not None and self._watch.room.drops(message):
            return
        self._run(self.core.on_message, source, message)  # type: ignore[union-attr]

    def client(self, connection: int, client: str, request: Any) -> None:
        """A client's request arrived."""
        if self.paused:
            self._defer(self.client, connection, client, request)
            return
        world = self._world
        world.trace.add(world.now_ns, "client", self.name, client, request)
        refusal = self._watch.room.refusal(request) if self._watch is not None else None
        if refusal is not None:
            world.connections.reply(self, connection, refusal)
            return
        self._run(self.core.on_client, connection, request)  # type: ignore[union-attr]

    def disconnected(self, connection: int) -> None:
        """A client's connection ended."""
        if self.paused:
            self._defer(self.disconnected, connection)
            return
        self._run(self.core.on_disconnect, connection)  # type: ignore[union-attr]

    def tick_now(self) -> bool:
        """Let the timer run now, due or not; False if the process does not run."""
        if not self.up or self.paused:
            return False
        self._tick()
        return True

    def rearm(self) -> None:
        """Timers run by themselves again: look at this one."""
        if self.up:
            self._timer.rearm()

    def change_clock(self, change: Callable[[], None]) -> None:
        """Change the clock: a timer keeps its reading of it, and so moves in virtual time."""
        due_ns = self._timer.monotonic_ns()
        change()
        if due_ns >= 0:
            self._timer.set(due_ns)

    def disk_changed(self) -> None:
        """The disk's faults were set: while there is no room, somebody must look now and then."""
        if self.up and self._watch is not None:
            self._watch.look()

    def _room_changed(self, full: bool) -> None:
        self._noted(Note("disk-full" if full else "disk-has-room", {}))

    def _timer_may_run(self) -> bool:
        return self._world.auto_ticks and not self.paused

    def _tick(self) -> None:
        self._timer.taken()
        world = self._world
        world.trace.add(world.now_ns, "tick", self.name)
        self._run(self.core.on_tick)  # type: ignore[union-attr]

    def _defer(self, function: Callable[..., None], *arguments: Any) -> None:
        if len(self._inbox) < INBOX_FRAMES_MAX:
            self._inbox.append((function, arguments))

    # -- effects

    def _run(self, call: Callable[..., list[Effect]], *arguments: Any) -> None:
        world = self._world
        try:
            effects = call(self.clock.monotonic_ns(world.now_ns), *arguments)
        except Exception as error:
            world.core_raised(self, error)
            return
        if effects:
            self._carry_out(effects)
        invariants = world.invariants
        if invariants is not None and self.core is not None:
            invariants.after(self.member, self.core)

    def _carry_out(self, effects: list[Effect]) -> None:
        if self._world.invariants is not None:
            self._watch_writes(effects, self._world.invariants)
        try:
            timer_ns = self._gate.carry_out(effects)
        except GateBroken as error:
            self._world.core_raised(self, error)
            return
        if timer_ns >= 0:
            self._timer.set(timer_ns)
        self._start_sync()

    def _watch_writes(self, effects: list[Effect], invariants: Watch) -> None:
        for effect in effects:
            kind = type(effect)
            if kind is Append:
                invariants.appending(self.member, effect)  # type: ignore[arg-type]
            elif kind is SaveSnapshot:
                invariants.snapshotting(self.member, effect)  # type: ignore[arg-type]

    def _noted(self, note: Note) -> None:
        self._world.noted(self.name, note)

    def _leave(self, effect: Send | Reply) -> None:
        world = self._world
        if type(effect) is Send:
            if world.invariants is not None:
                world.invariants.sending(self.member, effect)
            self._send(effect.to, effect.message)
            return
        assert type(effect) is Reply
        world.connections.reply(self, effect.connection, _detached(effect.response))

    def _send(self, to: str, message: Any) -> None:
        """Send to a member, wherever it lives; one that lives nowhere gets nothing."""
        world = self._world
        if to in world.nodes and self.member == self.name:
            world.network.send(self.name, to, message)
        elif name_of(to) in world.nodes:
            world.network.send(self.name, name_of(to), Addressed(self.member, to, message))

    # -- storage

    def _start_sync(self) -> None:
        if self._thread is not None:
            self._thread.begin()

    def _synced(self, io_id: int) -> None:
        if self._world.invariants is not None:
            self._world.invariants.persisted(self.member, io_id)
        self._persisted(io_id)

    def _persisted(self, io_id: int) -> None:
        if self.paused:
            self._defer(self._persisted, io_id)
            return
        assert self._thread is not None, "a node that runs has a storage thread"
        world = self._world
        self._thread.reported()
        world.trace.add(world.now_ns, "persisted", self.name, "", io_id)
        self._gate.persisted(io_id)
        self._start_sync()
        if self.up:
            self._run(self.core.on_persisted, io_id)  # type: ignore[union-attr]


def _detached(response: Response) -> Response:
    """The response as the wire would carry it: no value shared with the state machine."""
    if isinstance(response.value, (list, dict, tuple)):
        return msgspec.structs.replace(response, value=_decode(_encode(response.value)))
    return response


def detached_request(request: Request) -> Request:
    """The request as the wire would carry it: no argument shared with the client."""
    for argument in request.command.args:
        if isinstance(argument, (list, dict, tuple)):
            return _decode_request(_encode(request))
    return request
