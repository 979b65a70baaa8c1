"""Connections of clients to nodes: TCP's part, on the simulated network.

A client dials, and the connection is established, refused, or lost by the network without an
answer. A connection belongs to one life of a node: when the process dies the kernel resets it, and
a frame that a later life gets on it is answered with a reset. A paused process accepts connections,
since its kernel answers. An answer to a client that has hung up is dropped.

Frames on a client's link are (connection, content), where the content is a request, a response, the
handshake, a reset, or from a client that hangs up the life of the node it spoke to.

Used by :mod:`cluster.simulation.world`, which routes frames here; clients reach it as
``world.connections``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from cluster.simulation.names import no_such_node
from cluster.simulation.network import Network
from cluster.simulation.node import SimNode
from cluster.simulation.trace import Trace
from cluster.wire import Request, Response

_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode

if TYPE_CHECKING:
    Frame = tuple[int, Any]

#: Frames on a client's link beside requests and responses: the handshake, and a reset.
DIAL, CLOSED = "dial", "closed"


class ClientEndpoint(Protocol):
    """The client's end of its connections."""

    def on_open(self, connection: int) -> None:
        """The connection stands."""

    def on_response(self, connection: int, response: Response) -> None:
        """The node answered."""

    def on_close(self, connection: int) -> None:
        """The connection broke, or could not be made."""


class _Connection:
    """A connection of a client to one life of a node."""

    __slots__ = ("client", "incarnation", "node", "opened")

    def __init__(self, client: str, node: str, incarnation: int) -> None:
        self.client = client
        self.node = node
        self.incarnation = incarnation
        self.opened = False


class Connections:
    """All clients of a world and their connections.

    Args:
        nodes: the world's nodes by name.
        network: carries the frames.
        trace: records the answers that arrive.
        now_ns: virtual time.
    """

    def __init__(
        self,
        nodes: Mapping[str, SimNode],
        network: Network,
        trace: Trace,
        now_ns: Callable[[], int],
    ) -> None:
        self._nodes = nodes
        self._network = network
        self._trace = trace
        self._now_ns = now_ns
        self._clients: dict[str, ClientEndpoint] = {}
        self._open: dict[int, _Connection] = {}
        self._next = 1

    # -- for clients

    def attach(self, name: str, endpoint: ClientEndpoint) -> None:
        """Give a client a place in the network.

        Raises:
            ValueError: the name is a node's or another client's.
        """
        if name in self._nodes or name in self._clients:
            raise ValueError(f"the name {name!r} is taken by a node or another client")
        self._clients[name] = endpoint

    def connect(self, client: str, node: str) -> int:
        """Dial a node. ``on_open`` or ``on_close`` follows, or nothing if the network loses it.

        Returns:
            The connection, a number never used again.

        Raises:
            ValueError: there is no such node.
        """
        if node not in self._nodes:
            raise no_such_node(node, self._nodes)
        connection = self._next
        self._next += 1
        self._open[connection] = _Connection(client, node, 0)
        self._network.link(client, node).stream = self._network.link(node, client).stream = True
        self._network.send(client, node, (connection, DIAL))
        return connection

    def is_open(self, connection: int) -> bool:
        """Whether the client has seen this connection opened, and not closed."""
        found = self._open.get(connection)
        return found is not None and found.opened

    def send(self, connection: int, request: Request) -> None:
        """Send a client's request; nothing happens if the connection is gone."""
        found = self._open.get(connection)
        if found is not None:
            self._network.send(found.client, found.node, (connection, _detached(request)))

    def close(self, connection: int) -> None:
        """Close a connection from the client's end. Harmless if it is gone."""
        found = self._open.pop(connection, None)
        if found is not None:
            self._network.send(found.client, found.node, (connection, found.incarnation))

    # -- for nodes and the world

    def reply(self, node: SimNode, connection: int, response: Response) -> None:
        """A core answers on a connection; nothing happens if it is gone."""
        found = self._open.get(connection)
        if found is not None and found.incarnation == node.incarnation:
            self._network.send(node.name, found.client, (connection, response))

    def deliver_to_node(self, client: str, node: SimNode, frame: Frame) -> None:
        """A client's frame arrives at a node's machine."""
        connection, content = frame
        if type(content) is int:  # the client hung up on that life of the node
            if node.up and content == node.incarnation:
                node.disconnected(connection)
            return
        found = self._open.get(connection)
        if found is None:
            return
        if not node.up or found.incarnation not in (0, node.incarnation):
            self._network.send(node.name, client, (connection, CLOSED))
        elif content is DIAL:  # a paused process is dialled too: its kernel answers
            found.incarnation = node.incarnation
            self._network.send(node.name, client, (connection, DIAL))
        else:
            node.client(connection, client, content)

    def deliver_to_client(self, node: str, client: str, frame: Frame) -> None:
        """A node's frame arrives at a client."""
        connection, content = frame
        found = self._open.get(connection)
        if found is None:
            return
        endpoint = self._clients[client]
        if content is DIAL:
            if not found.opened:
                found.opened = True
                endpoint.on_open(connection)
        elif content is CLOSED:
            del self._open[connection]
            endpoint.on_close(connection)
        else:
            self._trace.add(self._now_ns(), "reply", client, node, content)
            endpoint.on_response(connection, content)

    def reset(self, node: str) -> None:
        """The kernel of a machine whose process is gone resets its connections."""
        for connection, found in list(self._open.items()):
            if found.node == node:
                self._network.send(node, found.client, (connection, CLOSED))


def _detached(request: Request) -> Request:
    """The request as the wire would carry it: no argument shared with the client."""
    for argument in request.command.args:
        if isinstance(argument, (list, dict, tuple)):
            return _decode_request(_encode(request))
    return request
