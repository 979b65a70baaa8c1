"""The in-path proxy: one process which carries every connection between a run's nodes.

The problem: faults of single directed links, without root. The solution: nodes do not dial each
other but this process, which dials on for them and loses, delays or holds what the harness says
(:mod:`harness.environments.network.proxy_flow`). It is its own process, so that neither stopped
nodes nor a busy harness distort the timing of links, and it leaves when its standard input ends.

Listeners are of two kinds. A *link* listener has an address of its own for each directed pair, so
who dials is known. A *shared* listener stands before one node for all peers (a system such as etcd
announces one address to all its peers); it finds out who dials from the owner of the dialling
socket. A dialler that is no node (a client) passes untouched.

An address accepts connections while the node behind it does, and refuses them otherwise, as the
node itself would: a system that probes its own ports before it listens must find them free. While a
link to the node is cut the address accepts in any state of the node, and connections wait: a
partition does not show whether the other side is alive.

Started as ``python -m harness.environments.network.proxy --seed N``; spoken to in JSON lines, one
request a line with an ``id``, by :class:`harness.environments.network.proxy_client.ProxyProcess`:

    {"id":1,"op":"listen","source":"n1"|"","target":"n2","at":["127.9.9.18",7001],
     "to":["127.9.9.2",7001],"frames":true}
    {"id":2,"op":"links","faults":[["n1","n2",{"cut":true}]]}
    {"id":3,"op":"counters"}        {"id":4,"op":"node","node":"n1","session":4711}
    {"id":5,"op":"mirror","block":"127.9.9","nodes":["n1","n2"]}
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from random import Random
from typing import Any, cast

import msgspec

from harness.environments import processes
from harness.environments.base import LinkFault
from harness.environments.network import sockets
from harness.environments.network.addresses import link_address, node_address
from harness.environments.network.proxy_flow import Flow, Link, reset

BUFFER_BYTES_MAX = 1024 * 1024
#: how often the kernel is asked where nodes listen
WATCH_INTERVAL_S = 0.02
#: how often a connection that is surely there is looked for
_LOOKS = 3


class Proxy:
    """All links, all listeners, and which processes belong to which node.

    Args:
        seed: of the links' randomness.
        run_id: the run whose mark nodes' processes carry.
    """

    def __init__(self, seed: int, *, run_id: str = "") -> None:
        self._seed = seed
        self._run_id = run_id
        self._nodes: set[str] = set()
        self._links: dict[tuple[str, str], Link] = {}
        self._sessions: dict[str, list[int]] = {}
        self._doors: dict[tuple[str, int], Door] = {}
        self._refused: dict[tuple[str, int], str] = {}
        self._mirrored: tuple[str, list[str]] | None = None
        self._watching: asyncio.Task[None] | None = None

    def link(self, source: str, target: str) -> Link:
        """The directed link; every end that is no node shares healthy ones."""
        key = (source, target)
        if key not in self._links:
            self._links[key] = Link(Random(f"{self._seed}/{source}/{target}"))
        return self._links[key]

    def set_links(self, faults: list[tuple[str, str, LinkFault]]) -> None:
        """Make the links so, and all others healthy."""
        wanted = {(source, target): fault for source, target, fault in faults}
        for key in wanted:
            self.link(*key)
        for key, link in list(self._links.items()):
            fault = wanted.get(key, LinkFault())
            if fault != link.shaper.fault:
                link.set(fault)

    def faults(self) -> list[list[Any]]:
        """``[source, target, fault]`` of every link which is not healthy."""
        return [
            [*ends, msgspec.to_builtins(link.shaper.fault)]
            for ends, link in sorted(self._links.items())
            if not link.shaper.healthy
        ]

    def counters(self) -> list[list[Any]]:
        """``[source, target, counters]`` of every link between nodes."""
        return [
            [source, target, dict(link.shaper.counters)]
            for (source, target), link in sorted(self._links.items())
            if source and target
        ]

    def add_session(self, node: str, session: int) -> None:
        """The node has processes in this session."""
        known = self._sessions.setdefault(node, [])
        if session not in known:
            known.append(session)

    async def listen(
        self, source: str, target: str, at: tuple[str, int], to: tuple[str, int], frames: bool
    ) -> None:
        """Stand at an address for another; nothing if we do so already.

        Raises:
            OSError: the address is taken.
        """
        self._nodes.add(target)
        if at in self._doors:
            return
        self._doors[at] = Door(self, source, target, at, to, frames)
        await self._doors[at].set(self._wanted(self._doors[at], sockets.listening()))
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def mirror(self, block: str, nodes: list[str]) -> None:
        """From now on, wherever a node listens, stand at its link addresses too."""
        self._mirrored = (block, nodes)
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        """For ever: open and close our doors as the nodes behind them do."""
        while True:
            there = sockets.listening()
            if self._mirrored is not None:
                await self._mirror_ports(*self._mirrored, there)
            for door in list(self._doors.values()):
                try:
                    await door.set(self._wanted(door, there))
                except OSError as error:
                    print(f"cannot stand at {door.at}: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(WATCH_INTERVAL_S)

    def _wanted(self, door: Door, listening: list[tuple[str, int, int]]) -> bool:
        """Whether a door should be open: its node accepts, or a cut hides whether it does."""
        host, port = door.to
        if any(number == port and where in (host, sockets.ANY) for where, number, _ in listening):
            return True
        return any(
            link.cut and door.target in ends and door.source in ("", *ends)
            for ends, link in self._links.items()
        )

    def who_dials(self, dialler: tuple[str, int], at: tuple[str, int]) -> str:
        """The node whose process has the socket of this connection, or "" if none has."""
        # The kernel's table is read in parts, and a row may slip between two of them.
        looks = (sockets.inode_of(dialler, at) for _ in range(_LOOKS))
        inode = next(filter(None, looks), 0)
        if not inode:
            return ""
        first = [(node, pid) for node, found in self._sessions.items() for pid in found]
        for node, pid in first:
            if sockets.holds(pid, inode):
                return node
        of_session = {pid: node for node, pid in first}
        for each in processes.all_stats():
            node = of_session.get(each.session, "")
            if node and each.pid != each.session and sockets.holds(each.pid, inode):
                return node
        return self._marked_holder(inode)

    def _marked_holder(self, inode: int) -> str:
        """The node of a socket, by its mark: a node may dial before we know of it.

        Without this its first connections would pass for a client's, and through every cut.
        """
        for each in processes.of_run(self._run_id) if self._run_id else ():
            if sockets.holds(each.pid, inode):
                node = processes.environment_of(each.pid).get(processes.NODE_VARIABLE, "")
                return node if node in self._nodes else ""
        return ""

    async def _mirror_ports(
        self, block: str, nodes: list[str], listening: list[tuple[str, int, int]]
    ) -> None:
        owners = {node_address(block, i): i for i in range(1, len(nodes) + 1)}
        for host, port, _ in listening:
            if host in owners:
                await self._mirror_port(block, nodes, owners[host], port)

    async def _mirror_port(self, block: str, nodes: list[str], target: int, port: int) -> None:
        for source in range(1, len(nodes) + 1):
            at = (link_address(block, source, target), port)
            if source == target or at in self._doors or at in self._refused:
                continue
            try:
                names = (nodes[source - 1], nodes[target - 1])
                await self.listen(*names, at, (node_address(block, target), port), False)
            except OSError as error:
                self._refused[at] = str(error)
                print(f"cannot mirror {at[0]}:{port}: {error}", file=sys.stderr, flush=True)


class Door:
    """One address at which the proxy stands for a node: bound at once, open while it should be.

    Args:
        proxy: whose it is.
        source: the node that may dial here, or "" for all.
        target: the node behind it.
        at, to: where we stand, and where the node is.
        frames: whether the traffic is length-prefixed frames.

    Raises:
        OSError: the address is taken.
    """

    def __init__(
        self,
        proxy: Proxy,
        source: str,
        target: str,
        at: tuple[str, int],
        to: tuple[str, int],
        frames: bool,
    ) -> None:
        self.source, self.target, self.at, self.to = source, target, at, to
        self._make = lambda: Dialler(proxy, source, target, at, to, frames)
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = self._bound()

    def _bound(self) -> socket.socket:
        """A socket that keeps the address without accepting: the kernel refuses connections."""
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(self.at)
        except OSError:
            held.close()
            raise
        return held

    async def set(self, wanted: bool) -> None:
        """Open or close it.

        Raises:
            OSError: another process took the address meanwhile.
        """
        if wanted and self._server is None:
            held = self._held or self._bound()
            loop = asyncio.get_running_loop()
            self._server, self._held = (
                await loop.create_server(self._make, sock=held, backlog=512),
                None,
            )
        elif not wanted and self._server is not None:
            self._server.close()
            self._server = None
            self._held = self._bound()


class Dialler(asyncio.Protocol):
    """The side which dialled us; makes the other side and the two flows between them."""

    def __init__(
        self,
        proxy: Proxy,
        source: str,
        target: str,
        at: tuple[str, int],
        to: tuple[str, int],
        frames: bool,
    ) -> None:
        self._proxy = proxy
        self._source = source
        self._target = target
        self._at = at
        self._to = to
        self._frames = frames
        self._there: asyncio.Transport | None = None
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, base: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, base)
        transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        self._here = transport
        source = self._source
        if not source:
            peer = transport.get_extra_info("peername")
            source = self._proxy.who_dials((peer[0], peer[1]), self._at)
        # A connection of a client, or of a node with itself, crosses no link between nodes.
        outside = source in ("", self._target)
        ends = ("", "") if outside else (source, self._target)
        self._link = self._proxy.link(*ends)
        self._back_link = self._proxy.link(*reversed(ends))
        self.forward = Flow(
            self._link, frames=self._frames, source=transport, on_end=self._close_if_done
        )
        self.backward: Flow | None = None
        self._try_dial()

    def _may_dial(self) -> bool:
        # A TCP handshake needs both directions; our message links are one direction each.
        return not self._link.cut and (self._frames or not self._back_link.cut)

    def _try_dial(self) -> None:
        if self._dialling is not None or self._here.is_closing():
            self._stop_waiting()
        elif self._may_dial():
            self._stop_waiting()
            self._dialling = asyncio.get_running_loop().create_task(self._dial())
        else:
            self._link.shaper.counters["held"] += not self._frames
            self._link.waiting[self._try_dial] = None
            self._back_link.waiting[self._try_dial] = None

    def _stop_waiting(self) -> None:
        self._link.waiting.pop(self._try_dial, None)
        self._back_link.waiting.pop(self._try_dial, None)

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Target(self), *self._to)
        except OSError:
            # The target's process is gone: what its kernel would answer.
            self.forward.abandon()
            reset(self._here)

    def target_made(self, transport: asyncio.Transport) -> None:
        """The other side is there."""
        transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        self._there = transport
        self.backward = Flow(
            self._back_link, frames=self._frames, source=transport, on_end=self._close_if_done
        )
        if self._here.is_closing():
            self.backward.abandon()
        else:
            self.backward.connected(self._here)
        self.forward.connected(transport)

    def data_received(self, data: bytes) -> None:
        self.forward.feed(data)

    def eof_received(self) -> bool:
        self.forward.end("eof")
        return True

    def pause_writing(self) -> None:
        if self.backward is not None:
            self.backward.sink_full(True)

    def resume_writing(self) -> None:
        if self.backward is not None:
            self.backward.sink_full(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()
        if self._dialling is None:
            self.forward.abandon()
            return
        if self.backward is not None:
            self.backward.abandon()
        self.forward.end("reset" if error is not None else "eof")
        self._close_if_done()

    def target_lost(self, error: Exception | None) -> None:
        """The other side is gone."""
        self.forward.abandon()
        if self.backward is not None:
            self.backward.end("reset" if error is not None else "eof")
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.forward.ended and self.backward is not None and self.backward.ended:
            self._here.close()
            if self._there is not None:
                self._there.close()


class Target(asyncio.Protocol):
    """The side we dialled."""

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler

    def connection_made(self, base: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, base)
        self._dialler.target_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._dialler.backward is not None:
            self._dialler.backward.feed(data)

    def eof_received(self) -> bool:
        if self._dialler.backward is not None:
            self._dialler.backward.end("eof")
        return True

    def pause_writing(self) -> None:
        self._dialler.forward.sink_full(True)

    def resume_writing(self) -> None:
        self._dialler.forward.sink_full(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._dialler.target_lost(error)


class Control:
    """Carries out the requests that come on standard input."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        #: whether to go on after standard input has ended
        self.stays = False

    async def answer(self, line: bytes) -> dict[str, Any]:
        """One request's answer: ``{"id":..., ...}``, with ``error`` if it failed."""
        request = msgspec.json.decode(line)
        try:
            return {"id": request["id"], **await self._do(request)}
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, "")
            return {"id": request["id"], "error": str(error), "code": code}

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["op"]:
            case "listen":
                (host, port), (to_host, to_port) = request["at"], request["to"]
                ends = (request["source"], request["target"])
                at, to = (host, port), (to_host, to_port)
                await self._proxy.listen(*ends, at, to, request["frames"])
            case "links":
                faults = msgspec.convert(request["faults"], list[tuple[str, str, LinkFault]])
                self._proxy.set_links(faults)
            case "links?":
                return {"faults": self._proxy.faults()}
            case "counters":
                return {"counters": self._proxy.counters()}
            case "node":
                self._proxy.add_session(request["node"], request["session"])
            case "stay":
                self.stays = True
            case "mirror":
                self._proxy.mirror(request["block"], request["nodes"])
            case other:
                return {"error": f"unknown request {other!r}", "code": ""}
        return {}


async def serve(seed: int) -> None:
    """Answer requests from standard input until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    control = Control(Proxy(seed, run_id=os.environ.get(processes.RUN_VARIABLE, "")))
    out = sys.stdout.buffer
    while line := await reader.readline():
        answer = await control.answer(line)
        try:
            out.write(msgspec.json.encode(answer) + b"\n")
            out.flush()
        except BrokenPipeError:
            break
    if control.stays:
        await asyncio.Event().wait()


def main() -> None:
    """Run the proxy; SIGINT is left to the harness, which closes our input when it is done."""
    parser = argparse.ArgumentParser(prog="python -m harness.environments.network.proxy")
    parser.add_argument("--seed", type=int, required=True, help="seed of the links' randomness")
    seed: int = parser.parse_args().seed
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.run(serve(seed))
        return
    asyncio.run(serve(seed))


if __name__ == "__main__":
    main()
