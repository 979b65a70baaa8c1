"""A node's process: disk, storage thread, sockets, admin endpoint, and the core between them.

Start: take the port, open and claim the data directory, recover, start the core, serve. Whatever
prevents it is a :class:`cluster.runtime.opening.CannotStart` with one sentence. End: a signal stops
it cleanly; a disk error stops it at once with another exit code, as does a bug in the core, and
neither lets anything leave. A full disk stops nothing (``room``).

    peers, clients -> doors -> inlet -> host (effect gate, core) -> outlet -> links, clients, log
                                          |  ^
                                 storage thread -> disk

Called by ``cluster.__main__``.
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

from cluster.channel.single_socket_channel import ChannelParts
from cluster.config import ClusterConfig
from cluster.consensus.membership import name_of
from cluster.core.paxos_register import PaxosParts, PaxosRegisters
from cluster.core.replica import Replica, ReplicaParts
from cluster.data.node import DataNode, DataParts
from cluster.gossip.node import GossipNode, GossipParts
from cluster.host.room import Room
from cluster.leaderless.node import LeaderlessNode
from cluster.leaderless.parts import LeaderlessParts
from cluster.log.storage import DurableStorage
from cluster.ports import Core, Disk, DiskError
from cluster.runtime.acceptor import Acceptor
from cluster.runtime.admin import Admin, Chaos
from cluster.runtime.clock import SkewedClock
from cluster.runtime.connections import Connection
from cluster.runtime.doors import Doors
from cluster.runtime.events import EventLog
from cluster.runtime.host import CoreHost
from cluster.runtime.http import HttpConnection
from cluster.runtime.inlet import Inlet
from cluster.runtime.observation import Observation, Parts
from cluster.runtime.opening import CannotStart, Opened, bound_socket, open_data, tls_contexts
from cluster.runtime.options import Address, NodeOptions
from cluster.runtime.outlet import Outlet
from cluster.runtime.parent import NoSuchParent, end_with
from cluster.runtime.peers import Peers
from cluster.runtime.refusals import Refusals
from cluster.runtime.stopping import EXIT_DISK_FAILED, EXIT_STOPPED, Stopping
from cluster.runtime.storage_thread import StorageThread

T = TypeVar("T")

#: How long a clean stop waits for the disk.
STOP_TIMEOUT_S = 5.0
#: The storage thread needs the interpreter before a sync and after it, and the event loop is busy.
#: The default of 5 ms is longer than the sync itself; much less takes it from the event loop in the
#: middle of what the sync is for.
SWITCH_INTERVAL_S = 0.0005
#: Objects made before the garbage collector looks at the young, the middle and the old ones. What
#: the log and the state hold is in no cycle, and lasts: with the default thresholds the collector
#: would go through all of it again and again, and no request is served meanwhile.
GC_THRESHOLDS = 10_000, 10, 50


class SystemRng:
    """The Rng port, seeded from the operating system's entropy: real nodes must not agree.

    A follower draws at each message of its leader, so a draw is no call of the system.
    """

    def __init__(self) -> None:
        self._bits = random.Random().getrandbits

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], uniform to within (high - low) / 2**128."""
        return low + ((high - low + 1) * self._bits(128) >> 128)


#: The classes of a node, by its role.
NodeParts: TypeAlias = ReplicaParts | PaxosParts | DataParts | GossipParts | LeaderlessParts


def make_core(
    options: NodeOptions, founders: tuple[str, ...], parts: NodeParts, clock: SkewedClock
) -> Core:
    """The core of the node's role."""
    rng, config, node = SystemRng(), options.config, options.id
    if isinstance(parts, GossipParts):
        return GossipNode(node, founders, rng=rng, config=config, parts=parts)
    if isinstance(parts, LeaderlessParts):
        seeds = () if founders else [peer for peer in options.peers if peer != name_of(node)]
        return LeaderlessNode(
            node, founders, rng=rng, clock=clock, config=config, seeds=seeds, parts=parts
        )
    if isinstance(parts, PaxosParts):
        return PaxosRegisters(options.id, founders, rng=rng, config=config, parts=parts)
    if isinstance(parts, DataParts):
        peers = tuple(options.peers)
        return DataNode(
            options.id, founders, rng=rng, clock=clock, config=config, peers=peers, parts=parts
        )
    return Replica(options.id, founders, rng=rng, clock=clock, config=config, parts=parts)


async def run_node(options: NodeOptions, *, parts: NodeParts) -> int:
    """Start a node, serve until something ends it, and return the exit code.

    Args:
        options: how it is started.
        parts: the classes its core and storage are made of.

    Raises:
        CannotStart: it could not start.
    """
    listener = bound_socket(options.listen, option="--listen")
    admin = None
    if options.admin is not None:
        admin = bound_socket(options.admin, option="--admin")
    server_tls, client_tls = tls_contexts(options)
    opened = open_data(options, storage=_storage_of(parts), consensus=_consensus_of(parts))
    clock = SkewedClock()
    core = make_core(opened.options, opened.identity.founders or (), parts, clock)
    channels = parts.channels if isinstance(parts, ReplicaParts) else ChannelParts()
    node = Node(opened, core, clock, tls=client_tls, channels=channels)
    return await node.run(listener, admin, tls=server_tls)


def _storage_of(parts: NodeParts) -> Callable[[Disk, ClusterConfig], DurableStorage]:
    if isinstance(parts, DataParts):
        return partial(parts.storage, make=parts.group.storage)
    return parts.storage


def _consensus_of(parts: NodeParts) -> object:
    """The variant whose nodes may be repaired from their peers; None if the role has none."""
    if isinstance(parts, DataParts):
        return parts.group.consensus
    return parts.consensus if isinstance(parts, ReplicaParts) else None


class Node:
    """One node, put together from its parts.

    Args:
        opened: its data directory.
        core: its core.
        clock: its clocks.
        tls: context for dialling peers, or None.
        channels: the classes of the ends of the channels to peers.
    """

    def __init__(
        self, opened: Opened, core: Core, clock: SkewedClock, *, tls: Any, channels: ChannelParts
    ) -> None:
        options = opened.options
        self._options, self._opened = options, opened
        self._serving = False
        self._acceptors: list[Acceptor] = []
        self._log = EventLog(options.id)
        self._stopping = Stopping(self._log)
        self._refusals = Refusals(self._log.write)
        self._thread = self._make_thread()
        self._peers = Peers(
            options,
            opened.identity,
            opened.directories,
            configuration=lambda: getattr(core, "configuration", None),
            tls=tls,
            changed=self._link_changed,
            refused=self._link_refused,
            channel=channels.outgoing,
        )
        self._clients: dict[int, Connection] = {}
        outlet = Outlet(
            self._log,
            link_to=self._peers.link_to,
            clients=self._clients,
            persist=self._thread.put,
            configured=self._configured,
            stop=self._stopping.stop,
        )
        self._outlet = outlet
        self._clock = clock
        self._host = CoreHost(core, clock=self._clock, outside=outlet)
        room = Room(
            opened.disk,
            core,
            node=options.id,
            segment_bytes=options.config.segment_bytes,
            changed=self._room_changed,
            now_s=time.monotonic,
        )
        self._inlet = Inlet(
            options.config.cluster, host=self._host, peers=self._peers, room=room, outlet=outlet
        )
        self._doors = Doors(
            self._inlet,
            clients=self._clients,
            token=options.token,
            refusals=self._refusals,
            channel=channels.incoming,
        )
        self._observation = Observation(
            Parts(
                opened, self._host, self._thread, room, self._peers, outlet, self._inlet,
                self._doors, self._refusals, self._log,
            ),
            serving=lambda: self._serving,
        )  # fmt: skip

    async def run(self, listener: socket.socket, admin: socket.socket | None, *, tls: Any) -> int:
        """Serve until something ends it.

        Args:
            listener: for peers and clients.
            admin: for the admin endpoint, or None.
            tls: context for accepting, or None.

        Returns:
            The exit code.

        Raises:
            CannotStart: it could not start.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._loop_failed)
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopping.stop, EXIT_STOPPED)
            if self._options.parent_pid:
                end_with(self._options.parent_pid, self._parent_ended)
            self._serve(listener, admin, tls)
            return await self._stopping.wait()
        except NoSuchParent as error:
            raise CannotStart(str(error)) from None
        finally:
            await self._close()

    # -- starting ---------------------------------------------------------------------------------

    def _make_thread(self) -> StorageThread:
        loop = asyncio.get_running_loop()

        def hand_over(call: Callable[[T], None], value: T) -> None:
            with suppress(RuntimeError):  # the event loop ended before
                loop.call_soon_threadsafe(call, value)

        return StorageThread(
            self._opened.storage,
            persisted=lambda io_id: hand_over(self._host.persisted, io_id),
            failed=lambda error: hand_over(self._storage_failed, error),
        )

    def _serve(self, listener: socket.socket, admin: socket.socket | None, tls: Any) -> None:
        self._thread.start()
        self._host.start(self._opened.recovered)
        self._accept(listener, lambda: Connection(self._doors), context=tls)
        self._doors.open()
        self._inlet.watch_room()
        self._peers.follow()
        if admin is not None:
            self._serve_admin(admin)
        self._serving = True
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._announce(listener, admin)

    def _serve_admin(self, listener: socket.socket) -> None:
        options = self._options
        chaos = None
        if options.chaos:
            chaos = Chaos(self._observation, clock=self._clock, disk=self._opened.disk)
        loopback = options.admin is not None and options.admin.is_loopback
        admin = Admin(self._observation, chaos=chaos, token=options.token, loopback=loopback)
        others: dict[HttpConnection, None] = {}
        self._accept(listener, lambda: HttpConnection(admin.handle, others), context=None)

    def _accept(
        self, listener: socket.socket, make: Callable[[], asyncio.Protocol], *, context: Any
    ) -> None:
        acceptor = Acceptor(listener, make, context=context, refused=self._doors.refused)
        self._acceptors.append(acceptor)
        acceptor.start()

    def _announce(self, listener: socket.socket, admin: socket.socket | None) -> None:
        options, recovered = self._options, self._opened.recovered
        self._log.write(
            "listening",
            {
                "address": str(Address(*listener.getsockname()[:2])),
                "admin": str(Address(*admin.getsockname()[:2])) if admin is not None else None,
                "cluster": options.config.cluster,
                "start": self._opened.identity.starts,
                "entries": len(recovered.entries),
                "snapshot": recovered.snapshot.index if recovered.snapshot else 0,
                "groups": sorted(recovered.groups),
                "torn_bytes": self._opened.storage.counters().torn_bytes,
                "ablations": list(options.ablations),
                "chaos": options.chaos,
                "tls": options.tls is not None,
                "token": options.token != "",
            },
        )

    # -- stopping ---------------------------------------------------------------------------------

    def _parent_ended(self) -> None:
        self._log.write("parent-ended", {"pid": self._options.parent_pid})
        self._stopping.stop(EXIT_STOPPED)

    def _storage_failed(self, error: Exception) -> None:
        self._host.halt()
        if isinstance(error, DiskError):
            self._log.write("disk-failed", {"code": error.code, "error": str(error)})
            self._stopping.stop(EXIT_DISK_FAILED)
        else:
            self._outlet.broken(error)

    async def _close(self) -> None:
        self._serving = False
        self._host.halt()
        self._inlet.close()
        for acceptor in self._acceptors:
            await acceptor.close()
        await self._peers.close()
        self._doors.close()
        if self._opened.storage.failure is None:
            self._thread.stop(timeout_s=STOP_TIMEOUT_S)
        if self._stopping.code is not None:
            self._log.write("stopped", {"code": self._stopping.code})

    # -- what the parts say -----------------------------------------------------------------------

    def _configured(self) -> None:
        if self._serving:
            self._peers.follow()

    def _room_changed(self, full: bool) -> None:
        self._log.write("disk-full" if full else "disk-has-room", {})

    def _link_changed(self, peer: str, connected: bool) -> None:
        self._log.write("peer-connected" if connected else "peer-lost", {"peer": peer})

    def _link_refused(self, peer: str, reason: str) -> None:
        self._refusals.add("link-refused", {"peer": peer, "reason": reason})

    def _loop_failed(self, _: object, context: Mapping[str, Any]) -> None:
        """Something the event loop caught: a line, like any refusal, and no traceback."""
        error = context.get("exception")
        detail = {"message": context.get("message", ""), "error": repr(error) if error else ""}
        self._refusals.add("loop-error", detail)
