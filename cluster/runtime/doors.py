"""The doors of a node: who is let in, how many, and what each may make this node hold.

Problem: every connection has a cost before its sender is known: a descriptor, a half frame in
memory, a turn of the event loop. Without bounds a few hundred lines of a script stop
a node, and one script per node a cluster.

Solution: everything that waits has a number and a time.

- A *stranger* is a connection that said no hello yet. It may send one small frame, has
  ``HELLO_TIMEOUT_S`` for it, and when there are too many the oldest goes: one that is ours says
  hello within milliseconds, so a flood of others does not keep it out.
- A *client* is let in by its hello: the cluster's name and, if the node has one, the token. When
  there are more than descriptors for, the one that was silent longest goes.
- A *peer* is let in by its hello too, and is one connection: the newest epoch counts (the receiving
  half of Single-Socket Channel). With TLS its certificate names it.
- Half frames of clients and strangers share ``HALF_FRAME_BYTES_MAX``; when it is used up, the
  connection that holds most of it is closed. A frame that is half there for ``HALF_FRAME_GRACE_S``
  must go on at ``HALF_FRAME_BYTES_PER_S``, or its connection is closed as well.

The token keeps out other users of the machine, and connections made by mistake. It is a shared
secret that travels in the clear: an attacker who reads the network, or runs as the same user and
may read this process's memory, has it. Certificates protect against both.

Used by ``node``; runs in the event loop.
"""

from __future__ import annotations

import asyncio
import hmac
import resource
import time
from typing import Protocol

from cluster.channel.single_socket_channel import IncomingChannel
from cluster.consensus.membership import name_of
from cluster.runtime.connections import Connection
from cluster.runtime.refusals import Refusals
from cluster.wire import FRAME_BYTES_MAX, REQUEST_BYTES_MAX, Hello, Message, Request

STRANGERS_MAX = 256
PEERS_MAX = 256
#: Senders whose last epoch is remembered, those longest silent being forgotten first.
CHANNELS_MAX = 1024
#: Descriptors for everything that is no client: strangers, peers and links to them, admin, files.
DESCRIPTORS_RESERVED = 1024
DESCRIPTORS_WANTED = 16 * 1024
HALF_FRAME_BYTES_MAX = 64 * 1024 * 1024
HALF_FRAME_GRACE_S = 5.0
HALF_FRAME_BYTES_PER_S = 1024
SWEEP_EVERY_S = 1.0


class Inside(Protocol):
    """The interface of the node behind the doors."""

    @property
    def cluster(self) -> str:
        """The cluster's name."""

    def refusal(self, hello: Hello) -> str:
        """Why a peer that says hello is not let in; "" if it is."""

    def peer_message(self, source: str, message: Message) -> None:
        """A peer's message."""

    def client_request(self, token: int, request: Request) -> None:
        """A client's request."""

    def client_gone(self, token: int) -> None:
        """A client's connection ended."""


def clients_max() -> int:
    """How many clients there are descriptors for; raises the process's soft limit if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted // 4, wanted - DESCRIPTORS_RESERVED)


class _Half:
    """A half frame: since when it is there, and what it counts in the pot all share."""

    __slots__ = ("counted_bytes", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.counted_bytes = 0


class Doors:
    """Every accepted connection of one node.

    Args:
        inside: the node.
        clients: the clients that are here, by number, kept by the doors and read by others.
        token: what hellos must carry; "" if nothing.
        refusals: where refusals are written.
        channel: the class of the receiving ends of channels.
    """

    def __init__(
        self,
        inside: Inside,
        *,
        clients: dict[int, Connection],
        token: str,
        refusals: Refusals,
        channel: type[IncomingChannel] = IncomingChannel,
    ) -> None:
        self.peers: dict[str, Connection] = {}
        self.clients = clients
        self._channel = channel
        self._channels: dict[str, IncomingChannel] = {}
        self._strangers: dict[Connection, None] = {}
        self._halves: dict[Connection, _Half] = {}
        self._held_bytes = 0
        self._inside = inside
        #: a peer's message and a client's request, of which there are many: nothing is added here
        self.peer_message, self.client_request = inside.peer_message, inside.client_request
        self._token = token.encode()
        self._refusals = refusals
        self._clients_max = clients_max()
        self._next_token = 1
        self._sweeping: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Look after those inside, from now on and every second."""
        now_s = time.monotonic()
        for connection, half in list(self._halves.items()):
            late_s = now_s - half.since_s - HALF_FRAME_GRACE_S
            if late_s > 0 and connection.held_bytes < late_s * HALF_FRAME_BYTES_PER_S:
                connection.refuse("it is too slow with a frame")
        self._refusals.tell()
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self.open)

    def close(self) -> None:
        """Close every connection."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in [*self._strangers, *self.peers.values(), *self.clients.values()]:
            connection.close()

    # -- what connections say ----------------------------------------------------------------------

    def accepted(self, connection: Connection) -> None:
        """A connection was accepted."""
        self._strangers[connection] = None
        if len(self._strangers) > STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.refuse(f"more than {STRANGERS_MAX} connections said no hello")

    def greet(self, connection: Connection, hello: Hello) -> str:
        """A hello arrived: why it is refused, or "" and it is a client or peer from now on."""
        if not hello.sender:
            return "its hello has no name"
        if hello.cluster != self._inside.cluster:
            return f"it belongs to cluster {hello.cluster[:80]!r}"
        if self._token and not hmac.compare_digest(hello.token.encode(), self._token):
            return "its token is another cluster's" if hello.token else "it has no token"
        reason = self._greet_peer(connection, hello) if hello.peer else ""
        if reason:
            return reason
        del self._strangers[connection]
        token = 0
        if not hello.peer:
            token, self._next_token = self._next_token, self._next_token + 1
        limit = FRAME_BYTES_MAX if hello.peer else REQUEST_BYTES_MAX
        connection.let_in(hello.sender, token=token, frame_bytes_max=limit)
        if hello.peer:
            self._replace_peer(connection)
        else:
            self._seat_client(connection)
        return ""

    def holds(self, connection: Connection, *, fresh: bool) -> None:
        """A half frame began (``fresh``), grew or ended."""
        held = connection.held_bytes
        half = self._halves.get(connection)
        if not held:
            self._forget_half(connection)
            return
        if half is None:
            half = self._halves[connection] = _Half(time.monotonic())
        elif fresh:
            half.since_s = time.monotonic()
        if connection.token or not connection.sender:
            self._held_bytes += held - half.counted_bytes
            half.counted_bytes = held
            if self._held_bytes > HALF_FRAME_BYTES_MAX:
                self._drop_the_biggest()

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._strangers.pop(connection, None)
        self._forget_half(connection)
        if self.peers.get(connection.sender) is connection:
            del self.peers[connection.sender]
        if connection.token and self.clients.pop(connection.token, None) is not None:
            self._inside.client_gone(connection.token)

    def refused(self, address: str, reason: str) -> None:
        """A connection was closed for a reason."""
        self._refusals.add("connection-refused", {"from": address, "reason": reason})

    # -- inside ------------------------------------------------------------------------------------

    def _greet_peer(self, connection: Connection, hello: Hello) -> str:
        node = name_of(hello.sender)
        if not connection.certified(node):
            return f"its certificate does not name node {node!r}"
        present = self.peers.get(hello.sender)
        if present is None and len(self.peers) >= PEERS_MAX:
            return f"{PEERS_MAX} peers are connected already"
        reason = self._inside.refusal(hello)
        if reason:
            return reason
        # Epochs grow with the starts of a directory, and begin anew with another one.
        origin = f"{hello.sender} {hello.directory}"
        channel = self._channels.pop(origin, None) or self._channel()
        self._channels[origin] = channel
        if len(self._channels) > CHANNELS_MAX:
            del self._channels[next(iter(self._channels))]
        if not channel.takes(hello.epoch):
            return f"its epoch {hello.epoch} is older than {channel.epoch}, which was here before"
        return ""

    def _replace_peer(self, connection: Connection) -> None:
        """Of two connections of one peer the newest counts."""
        present = self.peers.pop(connection.sender, None)
        self.peers[connection.sender] = connection
        if present is not None:
            present.close()

    def _seat_client(self, connection: Connection) -> None:
        self.clients[connection.token] = connection
        if len(self.clients) > self._clients_max:
            silent = min(self.clients.values(), key=lambda client: client.heard_s)
            silent.refuse(f"{self._clients_max} clients are connected, and it was silent longest")

    def _drop_the_biggest(self) -> None:
        biggest = max(self._halves, key=lambda each: self._halves[each].counted_bytes)
        self._forget_half(biggest)
        biggest.refuse("too much of frames that are half there is held, and most of it is its")

    def _forget_half(self, connection: Connection) -> None:
        half = self._halves.pop(connection, None)
        if half is not None:
            self._held_bytes -= half.counted_bytes
