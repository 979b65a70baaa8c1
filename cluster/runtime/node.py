"""A node's process: disk, storage thread, sockets, admin endpoint, and the core between them.

Start: take the port, open and claim the data directory, recover, start the core, serve. Whatever
prevents it is a :class:`CannotStart` with one sentence. End: a signal stops it cleanly; a disk
error stops it at once with another exit code, as does a bug in the core, and neither lets anything
leave. A full disk stops nothing (``room``).

Called by ``cluster.__main__``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from cluster.consensus.leader_and_followers import LEADER
from cluster.core.replica import Replica, ReplicaParts
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Append, Core, DiskError, Note, Recovered, SaveSnapshot
from cluster.runtime import data_directory, tls
from cluster.runtime.acceptor import Acceptor
from cluster.runtime.admin import Admin, Chaos
from cluster.runtime.clock import SkewedClock
from cluster.runtime.connections import Connection
from cluster.runtime.disk import DirectoryInUse, FileDisk
from cluster.runtime.doors import Doors
from cluster.runtime.events import EventLog
from cluster.runtime.host import CoreHost
from cluster.runtime.http import HttpConnection
from cluster.runtime.links import PeerLink
from cluster.runtime.metrics import Histogram, metrics_text
from cluster.runtime.options import Address, NodeOptions
from cluster.runtime.parent import NoSuchParent, end_with
from cluster.runtime.peer_directories import PeerDirectories
from cluster.runtime.peers import Peers
from cluster.runtime.refusals import Refusals
from cluster.runtime.room import NOBODY, Room
from cluster.runtime.storage_thread import StorageThread
from cluster.wire import Heartbeat, Hello, Message, Request, Response

T = TypeVar("T")

EXIT_STOPPED = 0
EXIT_CANNOT_START = 3
EXIT_DISK_FAILED = 4
EXIT_BUG = 5

#: How long a clean stop waits for the disk.
STOP_TIMEOUT_S = 5.0
#: How long a stop may take in all before the process ends whatever is still under way.
STOP_LIMIT_S = 15.0
#: How often the disk is looked at when nobody asks.
WATCH_ROOM_S = 0.25
#: The storage thread needs the interpreter back soon after a sync; the default of 5 ms is longer
#: than the sync itself.
SWITCH_INTERVAL_S = 0.0005
LISTEN_BACKLOG = 1024


class CannotStart(Exception):
    """Why the node does not start: one sentence."""


class SystemRng:
    """The Rng port from the operating system's entropy: real nodes must not agree."""

    def __init__(self) -> None:
        self._source = random.SystemRandom()

    def between(self, low: int, high: int) -> int:
        """A uniform integer in [low, high]."""
        return self._source.randint(low, high)


class Node:
    """One node.

    Args:
        options: how it was started.
        parts: the classes its core and storage are made of.
    """

    def __init__(
        self,
        options: NodeOptions,
        *,
        parts: ReplicaParts = ReplicaParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.options = options
        self._parts = parts
        self.log = EventLog(options.id)
        self.clock = SkewedClock()
        self.serving = False
        self._links: Peers | None = None
        self._refusals = Refusals(self._write_event)
        self._doors = Doors(self, token=options.token, refusals=self._refusals)
        self._unflushed: dict[PeerLink | Connection, None] = {}
        self._exit: asyncio.Future[int] | None = None
        self._acceptors: list[Acceptor] = []
        self._watching: asyncio.TimerHandle | None = None
        self._counters = dict.fromkeys(
            ("requests", "responses", "leader_changes", "heartbeat_send_failures"), 0
        )
        self._proposals = {"ok": 0, "fail": 0, "unknown": 0, "redirect": 0, "retry": 0}
        self._started = time.monotonic()

    async def run(self) -> int:
        """Start, serve until something ends it, and return the exit code.

        Raises:
            CannotStart: it could not start.
        """
        loop = asyncio.get_running_loop()
        self._exit = loop.create_future()
        loop.set_exception_handler(self._loop_failed)
        listener = _bound_socket(self.options.listen, option="--listen")
        admin_listener = _bound_socket(self.options.admin, option="--admin")
        assert listener is not None
        contexts = self._contexts()
        recovered = self._open_storage()
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop, EXIT_STOPPED)
            if self.options.parent_pid:
                end_with(self.options.parent_pid, self._parent_ended)
            await self._serve(listener, admin_listener, contexts, recovered)
            return await self._exit
        except NoSuchParent as error:
            raise CannotStart(str(error)) from None
        finally:
            await self._close()

    # -- starting ---------------------------------------------------------------------------------

    def _contexts(self) -> tuple[Any, Any]:
        files = self.options.tls
        if files is None:
            return None, None
        try:
            return (
                tls.server_context(ca=files.ca, cert=files.cert, key=files.key),
                tls.client_context(ca=files.ca, cert=files.cert, key=files.key),
            )
        except tls.BadCertificate as error:
            raise CannotStart(str(error)) from None

    def _take_identity(self) -> None:
        """Become who the data directory says: its member, founded by its voters."""
        options = self.options
        founders = () if options.join else tuple(options.peers)
        self._identity = data_directory.claim(
            self._disk,
            cluster=options.config.cluster,
            node=options.id,
            founders=founders,
            directory=f"{random.SystemRandom().getrandbits(64):016x}",
        )
        self._directories = PeerDirectories(options.data)
        self.options = msgspec.structs.replace(options, id=self._identity.node)
        self.log = EventLog(self.options.id)
        self._core: Core = Replica(
            self.options.id,
            self._identity.founders or (),
            rng=SystemRng(),
            config=options.config,
            parts=self._parts,
        )
        self._host = CoreHost(self._core, clock=self.clock, outside=self)

    def _open_storage(self) -> Recovered:
        options, config = self.options, self.options.config
        try:
            self._disk = FileDisk(options.data)
            self._take_identity()
            self._storage = self._parts.storage(self._disk, config)
            recovered = self._storage.recover()
        except CorruptLog as error:
            raise CannotStart(f"--data {str(options.data)!r}: {error}") from None
        except (DirectoryInUse, data_directory.WrongDirectory, msgspec.MsgspecError) as error:
            raise CannotStart(f"--data {str(options.data)!r}: {error}") from None
        except (DiskError, OSError) as error:
            raise CannotStart(f"--data {str(options.data)!r} cannot be used: {error}") from None
        segment_bytes = config.segment_bytes
        self._room = Room(self._disk, segment_bytes=segment_bytes, changed=self._room_changed)
        loop = asyncio.get_running_loop()
        self._thread = StorageThread(
            self._storage,
            persisted=lambda io_id: self._from_thread(loop, self._host.persisted, io_id),
            failed=lambda error: self._from_thread(loop, self._storage_failed, error),
        )
        return recovered

    def _from_thread(
        self, loop: asyncio.AbstractEventLoop, call: Callable[[T], None], value: T
    ) -> None:
        """Hand a value from the storage thread to the event loop, if that still runs."""
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(call, value)

    async def _serve(
        self,
        listener: socket.socket,
        admin_listener: socket.socket | None,
        contexts: tuple[Any, Any],
        recovered: Recovered,
    ) -> None:
        server_tls, client_tls = contexts
        self._links = Peers(
            self.options,
            self._identity,
            self._directories,
            configuration=lambda: getattr(self._core, "configuration", None),
            tls=client_tls,
            changed=self._link_changed,
            refused=self._link_refused,
        )
        self._thread.start()
        self._host.start(recovered)
        self._accept(listener, lambda: Connection(self._doors), context=server_tls)
        self._doors.open()
        self._watch_room()
        self._links.follow()
        if admin_listener is not None:
            self._serve_admin(admin_listener)
        self.serving = True
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()
        self._announce(listener, admin_listener, recovered)

    def _watch_room(self) -> None:
        if self._room.look() and self._leads():
            request = self._room.hand_over()
            if request is not None:
                self._host.request(NOBODY, request)
        self._watching = asyncio.get_running_loop().call_later(WATCH_ROOM_S, self._watch_room)

    def _room_changed(self, full: bool) -> None:
        self.log.write("disk-full" if full else "disk-has-room", {})

    def _leads(self) -> bool:
        return bool(self._core.status().get("role") == LEADER)

    def _serve_admin(self, listener: socket.socket) -> None:
        options = self.options
        chaos = Chaos(self, clock=self.clock, disk=self._disk) if options.chaos else None
        loopback = options.admin is not None and options.admin.is_loopback
        admin = Admin(self, chaos=chaos, token=options.token, loopback=loopback)
        others: dict[HttpConnection, None] = {}
        self._accept(listener, lambda: HttpConnection(admin.handle, others), context=None)

    def _accept(
        self, listener: socket.socket, make: Callable[[], asyncio.Protocol], *, context: Any
    ) -> None:
        acceptor = Acceptor(listener, make, context=context, refused=self._doors.refused)
        self._acceptors.append(acceptor)
        acceptor.start()

    def _announce(
        self, listener: socket.socket, admin: socket.socket | None, recovered: Recovered
    ) -> None:
        options = self.options
        self.log.write(
            "listening",
            {
                "address": str(Address(*listener.getsockname()[:2])),
                "admin": str(Address(*admin.getsockname()[:2])) if admin is not None else None,
                "cluster": options.config.cluster,
                "start": self._identity.starts,
                "entries": len(recovered.entries),
                "snapshot": recovered.snapshot.index if recovered.snapshot else 0,
                "torn_bytes": self._storage.counters().torn_bytes,
                "ablations": list(options.ablations),
                "chaos": options.chaos,
                "tls": options.tls is not None,
                "token": options.token != "",
            },
        )

    # -- stopping ---------------------------------------------------------------------------------

    def _stop(self, code: int) -> None:
        if self._exit is None or self._exit.done():
            return
        self._exit.set_result(code)
        # The last resort, also against what ends after this method: a name still being resolved,
        # the loop's own closing, the interpreter's.
        last = threading.Timer(STOP_LIMIT_S, self._end_now, (code,))
        last.daemon = True
        last.start()

    def _end_now(self, code: int) -> None:
        self.log.write("stop-forced", {"code": code, "after_s": STOP_LIMIT_S})
        os._exit(code)

    def _parent_ended(self) -> None:
        self.log.write("parent-ended", {"pid": self.options.parent_pid})
        self._stop(EXIT_STOPPED)

    def _storage_failed(self, error: Exception) -> None:
        self._host.halt()
        if isinstance(error, DiskError):
            self.log.write("disk-failed", {"code": error.code, "error": str(error)})
            self._stop(EXIT_DISK_FAILED)
        else:
            self.broken(error)

    async def _close(self) -> None:
        self.serving = False
        self._host.halt()
        if self._watching is not None:
            self._watching.cancel()
        for acceptor in self._acceptors:
            await acceptor.close()
        if self._links is not None:
            await self._links.close()
        self._doors.close()
        if self._storage.failure is None:
            self._thread.stop(timeout_s=STOP_TIMEOUT_S)
        if self._exit is not None and self._exit.done() and not self._exit.cancelled():
            self.log.write("stopped", {"code": self._exit.result()})

    # -- the core's outside -----------------------------------------------------------------------

    def send(self, to: str, frame: bytes, message: Message) -> None:
        """Send a frame to a peer; one that is not connected gets it later or never."""
        link = self._links.link_to(to) if self._links is not None else None
        if link is None:
            return
        if type(message) is Heartbeat and not link.connected:
            self._counters["heartbeat_send_failures"] += 1
        link.send(frame)
        self._unflushed[link] = None

    def answer(self, connection: int, response: Response) -> None:
        """Answer a client that is still there."""
        client = self._doors.clients.get(connection)
        if client is not None:
            self._counters["responses"] += 1
            status = response.status
            self._proposals[status] = self._proposals.get(status, 0) + 1
            client.answer(response)
            self._unflushed[client] = None

    def turn_ended(self) -> None:
        """Let what was gathered go: peers and clients, one write each."""
        if self._unflushed:
            for connection in self._unflushed:
                connection.flush()
            self._unflushed.clear()

    def persist(self, write: Append | SaveSnapshot) -> None:
        """Queue a write."""
        self._thread.put(write)

    def note(self, note: Note) -> None:
        """A line in the log."""
        if note.event == "leader-elected":
            self._counters["leader_changes"] += 1
        elif note.event == "configuration" and self.serving and self._links is not None:
            self._links.follow()
        self.log.write(note.event, note.detail)

    def broken(self, error: Exception) -> None:
        """The core raised: say where, and stop."""
        where = "".join(traceback.format_exception(error)[-3:])
        self.log.write("bug", {"error": f"{type(error).__name__}: {error}", "where": where})
        self._stop(EXIT_BUG)

    # -- connections ------------------------------------------------------------------------------

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.options.config.cluster

    def refusal(self, hello: Hello) -> str:
        """Why a peer that says hello is not let in; "" if it is."""
        return self._links.refusal(hello) if self._links is not None else "the node does not serve"

    def peer_message(self, source: str, message: Message) -> None:
        """A peer's message; one for which there is no room is as good as lost."""
        if not self._room.drops(message):
            self._host.message(source, message)

    def client_request(self, token: int, request: Request) -> None:
        """A client's request."""
        self._counters["requests"] += 1
        if self._room.refuses_request(request) and self._leads():
            own = self.options.id
            error = f"the disk of {own} is full: it takes no entries"
            self.answer(token, Response(request.id, "retry", leader=own, error=error))
            self.turn_ended()
            return
        self._host.request(token, request)

    def client_gone(self, token: int) -> None:
        """A client's connection ended."""
        self._host.disconnected(token)

    def _link_changed(self, peer: str, connected: bool) -> None:
        self.log.write("peer-connected" if connected else "peer-lost", {"peer": peer})

    def _link_refused(self, peer: str, reason: str) -> None:
        self._refusals.add("link-refused", {"peer": peer, "reason": reason})

    def _loop_failed(self, _: object, context: Mapping[str, Any]) -> None:
        """Something the event loop caught: a line, like any refusal, and no traceback."""
        error = context.get("exception")
        detail = {"message": context.get("message", ""), "error": repr(error) if error else ""}
        self._refusals.add("loop-error", detail)

    def _write_event(self, event: str, detail: Mapping[str, Any]) -> None:
        self.log.write(event, detail)

    # -- what the admin endpoint shows ------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The core's status and the host's own fields."""
        return {
            **self._core.status(),
            "ablations": list(self.options.ablations),
            "chaos": self.options.chaos,
            "wall_offset_ns": self.clock.offset_ns,
            "clock_rate": self.clock.rate,
            "start": self._identity.starts,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "clients": len(self._doors.clients),
            "disk_full": self._room.full,
            "directory": self._identity.directory,
            "links": {peer: _link_state(link) for peer, link in sorted(self._all_links().items())},
            "storage": msgspec.to_builtins(self._storage.counters()),
        }

    def state_hash(self) -> dict[str, Any]:
        """Applied index and hash of the state there."""
        return {"applied": self._core.status()["applied"], "hash": self._core.state_hash()}

    def metrics(self) -> str:
        """Prometheus text."""
        status = self._core.status()
        names = {
            "term": "generation",
            "commit_index": "high_water_mark",
            "applied_index": "applied",
            "last_index": "last_index",
            "proposals_pending": "pending",
            "sessions": "sessions",
        }
        gauges: dict[str, float] = {name: status.get(key, 0) for name, key in names.items()}
        gauges["is_leader"] = status.get("role") == "leader"
        gauges["clients"] = len(self._doors.clients)
        storage = msgspec.to_builtins(self._storage.counters())
        counters: dict[str, float] = {f"storage_{name}": n for name, n in storage.items()}
        counters.update(self._counters, refused=self._refusals.refused)
        counters["proposals_failed"] = self._proposals["fail"] + self._proposals["unknown"]
        counters["dedup_hits"] = status.get("duplicates", 0)
        links = self._all_links().values()
        counters["link_dropped_frames"] = sum(link.dropped_frames for link in links)
        histograms: dict[str, Histogram] = {
            "wal_fsync_seconds": self._thread.sync_seconds,
            "snapshot_seconds": self._thread.snapshot_seconds,
            "wal_writes_per_sync": self._thread.writes_per_sync,
            "core_turn_seconds": self._host.turn_seconds,
        }
        return metrics_text(gauges=gauges, counters=counters, histograms=histograms)

    def _all_links(self) -> dict[str, PeerLink]:
        return self._links.links if self._links is not None else {}

    def clock_changed(self) -> None:
        """The clock was set."""
        self._host.clock_changed()

    def chaos_note(self, kind: str, detail: Mapping[str, Any]) -> None:
        """A fault was set."""
        self.log.write("chaos", {"fault": kind, "now": dict(detail)})


def _link_state(link: PeerLink) -> dict[str, Any]:
    return {
        "connected": link.connected,
        "connections": link.connections,
        "sent_frames": link.sent_frames,
        "sent_bytes": link.sent_bytes,
        "queued_bytes": link.queued_bytes,
        "dropped_frames": link.dropped_frames,
    }


def _bound_socket(address: Address | None, *, option: str) -> socket.socket | None:
    """A socket with the address taken, so that a clash is found before anything is touched."""
    if address is None:
        return None
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        sock = socket.socket(family, kind)
    except OSError as error:
        raise CannotStart(f"{option} {address} cannot be used: {error}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen(LISTEN_BACKLOG)
    except OSError as error:
        sock.close()
        why = error.strerror or str(error)
        raise CannotStart(f"{option} {address} cannot be used: {why.lower()}") from None
    return sock
