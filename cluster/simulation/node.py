"""A simulated node: hosts a real core over real storage on a simulated disk, as the runtime does.

Effects pass the runtime's own gate (:mod:`cluster.host.effect_gate`), a new one in each life. The
storage thread takes all writes that are queued there, writes them, syncs once (group commit), and
reports the last id; what came meanwhile waits for the next round. A crash between write and sync
loses what the disk loses. On a full disk writes wait and no entries are taken, by the runtime's own
rule (:mod:`cluster.host.room`).

A paused node is a SIGSTOPped process: frames wait in its socket buffers in order of arrival, a sync
under way still completes in the kernel, timers run late. When it resumes it sees all of it at once,
frames first or the timer first, as the event loop of the day happens to look.

Only :mod:`cluster.simulation.world` makes these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from cluster.consensus.damage_repair import why_not_repairable
from cluster.consensus.membership import name_of
from cluster.core.parts import CONSENSUS
from cluster.host.effect_gate import EffectGate, GateBroken, Write
from cluster.host.room import NOBODY, TRY_AGAIN_S, WATCH_S, Room
from cluster.log.storage import WhyNot
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
from cluster.simulation.disk import SimDisk
from cluster.simulation.invariants import Invariants
from cluster.wire import Request, Response

if TYPE_CHECKING:
    from cluster.simulation.world import World

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


class StorageLike(Protocol):
    """What a node needs of its storage: :class:`cluster.log.storage.Storage` is one."""

    def recover(self, *, why_not: WhyNot) -> Recovered:
        """Read what is durable; raises if it is damaged and cannot be repaired."""

    def write(self, effect: Write) -> None:
        """Put the effect's bytes into unsynced buffers; may raise DiskError."""

    def sync(self) -> None:
        """Make everything written durable; may raise DiskError."""

    def rest(self) -> None:
        """There is nothing to write now; may raise DiskError."""


class SimNode:
    """One node. ``up`` says whether its process runs, ``why_down`` why not."""

    __slots__ = (
        "_gate", "_inbox", "_room", "_syncing", "_timer_at_ns", "_timer_event_ns", "_unwritten",
        "_watching", "_world", "clock", "core", "corrupt", "disk", "incarnation", "joins", "member",
        "name", "paused", "storage", "up", "why_down",
    )  # fmt: skip

    def __init__(
        self, world: World, name: str, *, disk: SimDisk, clock: SimClock, joins: bool = False
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
        self.storage: StorageLike | None = None
        self.up = False
        self.paused = False
        self.why_down = "not started"
        #: whether its last start was refused because of what the log holds
        self.corrupt = False
        self.incarnation = 0
        self._gate = EffectGate(leave=self._leave, note=self._noted)
        self._reset()

    def _reset(self) -> None:
        self._gate.close()
        self._gate = EffectGate(leave=self._leave, note=self._noted)
        self._syncing = False
        #: writes taken from the gate for which there was no room yet
        self._unwritten: list[Write] = []
        self._room: Room | None = None
        self._watching = False
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._timer_at_ns = -1
        self._timer_event_ns = -1

    # -- life

    def start(self) -> None:
        """Start the process: recover, then run. A refusal to start leaves the node down."""
        world = self._world
        self.incarnation += 1
        self._reset()
        try:
            self.storage = world.make_storage(self)
            recovered = self.storage.recover(why_not=_why_not(self, world))
        except Exception as error:
            if not isinstance(error, (DiskError, CorruptLog)):
                raise
            self.corrupt = isinstance(error, CorruptLog)
            self._down(f"refused to start: {error}")
            return
        self.corrupt = False
        self.core = world.make_core(self)
        self._room = Room(
            self.disk,
            self.core,
            node=self.member,
            segment_bytes=world.config.segment_bytes,
            changed=self._room_changed,
            now_s=lambda: world.now_ns / _SECOND,
        )
        self.up, self.paused, self.why_down = True, False, ""
        _judge_start(self, world, recovered)
        world.trace.add(world.now_ns, "start", self.name, "", {"entries": len(recovered.entries)})
        self._run(self.core.start, recovered)
        self.disk_changed()

    def stop(self, why: str) -> None:
        """The process is gone; what it had not written is lost."""
        self.incarnation += 1
        self._reset()
        self._down(why)

    def _down(self, why: str) -> None:
        self.up, self.paused, self.core, self.storage = False, False, None, None
        self.why_down = why
        self._world.trace.add(self._world.now_ns, "down", self.name, "", why)

    def wipe(self, member: str) -> None:
        """An empty disk, and a new id: the next start is that of a node that joins.

        Raises:
            ValueError: the node runs.
        """
        if self.up:
            raise ValueError(f"{self.name} runs: crash it before its disk is wiped")
        self.member, self.joins = member, True
        self.disk = SimDisk(self.disk.profile, self._world.rng(self.name, "disk", member))
        self._world.trace.add(self._world.now_ns, "wipe", self.name, member)

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True

    def resume(self, *, timer_first: bool) -> None:
        """SIGCONT: everything that waited happens now."""
        self.paused = False
        waited, self._inbox = self._inbox, []
        late = 0 <= self._timer_at_ns <= self._world.now_ns
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
        if self._room is not None and self._room.drops(message):
            return
        self._run(self.core.on_message, source, message)  # type: ignore[union-attr]

    def client(self, connection: int, client: str, request: Any) -> None:
        """A client's request arrived."""
        if self.paused:
            self._defer(self.client, connection, client, request)
            return
        world = self._world
        world.trace.add(world.now_ns, "client", self.name, client, request)
        refusal = self._room.refusal(request) if self._room is not None else None
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
        if self.up and self._timer_at_ns >= 0:
            self._timer_event_ns = at_ns = max(self._timer_at_ns, self._world.now_ns)
            self._world.heap.push(at_ns, self._timer_event, self.incarnation, at_ns)

    def timer_ns(self) -> int:
        """Virtual time of the next tick, or -1 if none was asked for."""
        return self._timer_at_ns

    def clock_changed(self, monotonic_due_ns: int) -> None:
        """The clock was set: the timer, due at this reading of it, moves in virtual time."""
        if self._timer_at_ns >= 0:
            self._set_timer(monotonic_due_ns)

    def disk_changed(self) -> None:
        """The disk's faults were set: while there is no room, somebody must look now and then."""
        if self.up and self.disk.full and not self._watching:
            self._watching = True
            self._watch_room(self.incarnation)

    def _watch_room(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self._room is None:
            return
        if not self.paused:
            request = self._room.hand_over()
            if request is not None:
                self._run(self.core.on_client, NOBODY, request)  # type: ignore[union-attr]
        self._watching = self.up and (self.disk.full or self._room.full)
        if self._watching:
            self._after(WATCH_S, self._watch_room, incarnation)

    def _room_changed(self, full: bool) -> None:
        self._noted(Note("disk-full" if full else "disk-has-room", {}))

    def _after(self, delay_s: float, function: Callable[..., None], *arguments: Any) -> None:
        at_ns = self._world.now_ns + int(delay_s * _SECOND)
        self._world.heap.push(at_ns, function, *arguments)

    def _tick(self) -> None:
        self._timer_at_ns = -1
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
            self._set_timer(timer_ns)
        self._start_sync()

    def _watch_writes(self, effects: list[Effect], invariants: Invariants) -> None:
        for effect in effects:
            kind = type(effect)
            if kind is Append:
                invariants.appending(self.member, effect)  # type: ignore[arg-type]
            elif kind is SaveSnapshot:
                invariants.snapshotting(self.member, effect)  # type: ignore[arg-type]

    def _noted(self, note: Note) -> None:
        _tell(self, self._world, note)

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

    def _set_timer(self, at_ns: int) -> None:
        world = self._world
        self._timer_at_ns = due = self.clock.virtual_ns(at_ns, world.now_ns)
        if self._timer_event_ns < 0 or due < self._timer_event_ns:
            self._timer_event_ns = due
            world.heap.push(due, self._timer_event, self.incarnation, due)

    def _timer_event(self, incarnation: int, due: int) -> None:
        # Most calls only move the timer later: then the event on the heap is not replaced but
        # looks again when it comes.
        if incarnation != self.incarnation or due != self._timer_event_ns:
            return
        self._timer_event_ns = -1
        if not self.up or self._timer_at_ns < 0:
            return
        if self._timer_at_ns > self._world.now_ns:
            self._timer_event_ns = self._timer_at_ns
            self._world.heap.push(
                self._timer_at_ns, self._timer_event, incarnation, self._timer_at_ns
            )
        elif self._world.auto_ticks and not self.paused:
            self._tick()

    # -- storage

    def _start_sync(self) -> None:
        if self._syncing or self.storage is None or self.paused:
            return
        batch = self._gate.take()
        if self._unwritten:
            batch = self._unwritten + batch
        if not batch:
            return
        self._syncing, self._unwritten = True, []
        written = 0
        try:
            for effect in batch:
                self.storage.write(effect)
                written += 1
        except DiskError as error:
            if not error.no_room:
                self._world.disk_failed(self, error)
                return
            self._unwritten = batch[written:]
        if written:  # those before one that waits need not wait for it
            at_ns = self._world.now_ns + self.disk.sync_latency_ns()
            io_id = batch[written - 1].io_id
            self._world.heap.push(at_ns, self._synced, self.incarnation, io_id)
        else:
            self._after(TRY_AGAIN_S, self._try_again, self.incarnation)

    def _try_again(self, incarnation: int) -> None:
        if incarnation == self.incarnation:
            self._syncing = False
            self._start_sync()

    def _synced(self, incarnation: int, io_id: int) -> None:
        if incarnation != self.incarnation or self.storage is None:
            return
        try:
            self.storage.sync()
        except DiskError as error:
            if error.no_room:
                self._after(TRY_AGAIN_S, self._synced, incarnation, io_id)
            else:
                self._world.disk_failed(self, error)
            return
        if self._world.invariants is not None:
            self._world.invariants.persisted(self.member, io_id)
        self._persisted(io_id)

    def _persisted(self, io_id: int) -> None:
        if self.paused:
            self._defer(self._persisted, io_id)
            return
        world = self._world
        self._syncing = False
        world.trace.add(world.now_ns, "persisted", self.name, "", io_id)
        self._gate.persisted(io_id)
        self._start_sync()
        _rest_later(self, world)
        if self.up:
            self._run(self.core.on_persisted, io_id)  # type: ignore[union-attr]


def _why_not(node: SimNode, world: World) -> WhyNot:
    """Why peers could not repair the node, if its disk is damaged."""
    founders = () if node.joins else world.founders
    return why_not_repairable(CONSENSUS.get(world.consensus), node.member, founders)


def _judge_start(node: SimNode, world: World, recovered: Recovered) -> None:
    """What a node found must be what it had promised, or it must say that it is damaged."""
    if recovered.damage is None:
        world.atlas.replace(node.name)  # all of it was read, and is as it was promised
    elif not world.is_excused(node.name):
        said = f"{node.name} finds damage that nothing did: {recovered.damage}"
        world.violation("sound-log", said, (node.name,))
    if world.invariants is not None:
        world.invariants.started(node.member, recovered, excused=bool(world.ablations))


def _tell(node: SimNode, world: World, note: Note) -> None:
    if note.event == "repaired":
        world.atlas.replace(node.name)
    world.noted(node.name, note)


def _rest_later(node: SimNode, world: World) -> None:
    """When nothing was written for one sync, the storage makes durable what it promised."""
    at_ns = world.now_ns + node.disk.profile.sync_max_ns
    world.heap.push(at_ns, _rest, node, world, (node.incarnation, node.disk.counts["syncs"]))


def _rest(node: SimNode, world: World, when: tuple[int, int]) -> None:
    if when != (node.incarnation, node.disk.counts["syncs"]) or node.storage is None:
        return
    try:
        node.storage.rest()
    except DiskError as error:
        world.disk_failed(node, error)


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
