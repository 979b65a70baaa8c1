"""A tiny core for tests of the world itself: no consensus, everything visible.

It logs each client command as an entry of its own node, replies when the entry is durable, and
answers every peer's Heartbeat. Its status has the fields the invariants look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.config import ClusterConfig
from cluster.ports import Append, Effect, Note, Recovered, Reply, Send, SetTimer
from cluster.simulation.invariants import View
from cluster.simulation.world import World
from cluster.wire import (
    Command,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Message,
    Request,
    Response,
)


class EchoCore:
    """Echoes what clients say once it is durable; beats to its peers."""

    def __init__(self, node: str, nodes: Sequence[str], config: ClusterConfig) -> None:
        self.node = node
        self.peers = [name for name in nodes if name != node]
        self.config = config
        self.entries: list[Entry] = []
        self.durable = 0
        self.io_id = 0
        self.beats: list[tuple[int, str, int]] = []
        self.answers: list[tuple[int, str, int]] = []
        self.ticks: list[int] = []
        self.gone: list[int] = []
        self.round = 0

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        self.entries = list(recovered.entries)
        self.durable = len(self.entries)
        generation = recovered.hard_state.generation + 1
        self.io_id += 1
        return [
            Append(self.io_id, HardState(generation)),
            SetTimer(now_ns + self.config.heartbeat_ns),
            Note("started", {"entries": len(self.entries)}),
        ]

    def on_message(self, now_ns: int, source: str, message: Message) -> list[Effect]:
        if isinstance(message, Heartbeat):
            self.beats.append((now_ns, source, message.round))
            return [Send(source, HeartbeatReply(1, message.round))]
        assert isinstance(message, HeartbeatReply)
        self.answers.append((now_ns, source, message.round))
        return []

    def on_tick(self, now_ns: int) -> list[Effect]:
        self.ticks.append(now_ns)
        self.round += 1
        beats: list[Effect] = [Send(peer, Heartbeat(1, self.round, 0)) for peer in self.peers]
        return [*beats, SetTimer(now_ns + self.config.heartbeat_ns)]

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        if io_id == self.io_id:
            self.durable = len(self.entries)
        return []

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        self.io_id += 1
        data = str(request.command.args).encode()
        entry = Entry(len(self.entries) + 1, 1, "command", data)
        self.entries.append(entry)
        response = Response(request.id, "ok", list(request.command.args), entry.index)
        return [
            Append(self.io_id, None, (entry,)),
            Reply(connection, response, after=self.io_id),
        ]

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        self.gone.append(connection)
        return []

    def status(self) -> dict[str, Any]:
        return {"role": "follower", "generation": 1}

    def state_hash(self) -> str:
        return ""


def echo(node: str, nodes: Sequence[str], *, config: ClusterConfig, rng: Any, **_: Any) -> EchoCore:
    """A factory for :class:`cluster.simulation.world.World`."""
    return EchoCore(node, nodes, config)


def echo_view(core: EchoCore) -> View:
    """No promises between nodes: every node has a log of its own."""
    return View("follower", 1, 0, 0, len(core.entries), 0)


class Caller:
    """A client that remembers what it was told."""

    def __init__(self, world: World, name: str = "c1") -> None:
        self.world = world
        self.name = name
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.responses: list[Response] = []
        self.waiting: dict[int, list[Request]] = {}
        self.connections: dict[str, int] = {}
        world.connections.attach(name, self)

    def say(self, node: str, number: int) -> None:
        """Ask a node, dialling it first if need be."""
        request = Request(number, self.name, number, 1, Command("put", "x", (number,)))
        connection = self.connections.get(node, 0)
        if not connection:
            connection = self.connections[node] = self.world.connections.connect(self.name, node)
            self.waiting[connection] = []
        if connection in self.opened:
            self.world.connections.send(connection, request)
        else:
            self.waiting[connection].append(request)

    def hang_up(self, node: str) -> None:
        self.world.connections.close(self.connections.pop(node))

    def on_open(self, connection: int) -> None:
        self.opened.append(connection)
        for request in self.waiting.pop(connection):
            self.world.connections.send(connection, request)

    def on_response(self, connection: int, response: Response) -> None:
        self.responses.append(response)

    def on_close(self, connection: int) -> None:
        self.closed.append(connection)
        self.connections = {n: c for n, c in self.connections.items() if c != connection}
