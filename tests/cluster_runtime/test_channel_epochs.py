"""Single-Socket Channel on real sockets: which connection of a peer a node listens to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from cluster.runtime import doors as doors_module
from cluster.runtime import links as links_module
from cluster.runtime.connections import Connection
from cluster.runtime.data_directory import claim
from cluster.runtime.disk import FileDisk
from cluster.runtime.doors import Doors
from cluster.runtime.frames import encode_frame, response_decoder
from cluster.runtime.links import BACKOFF_MAX_S, PeerLink
from cluster.runtime.options import parse_options
from cluster.runtime.peer_directories import PeerDirectories
from cluster.runtime.peers import EPOCHS_PER_START, Peers
from cluster.runtime.refusals import Refusals
from cluster.wire import Heartbeat, Hello, Message, Request, Response

WITHIN_S = 20.0


class Inside:
    """A node that takes every peer and remembers what it was told."""

    cluster = "c"

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def refusal(self, hello: Hello) -> str:
        return ""

    def peer_message(self, source: str, message: Message) -> None:
        assert isinstance(message, Heartbeat)
        self.heard.append((source, message.round))

    def client_request(self, token: int, request: Request) -> None:
        raise AssertionError("no client speaks here")

    def client_gone(self, token: int) -> None:
        raise AssertionError("no client speaks here")


class Peer:
    """The far end of one connection."""

    def __init__(self, port: int, epoch: int, sender: str = "n2") -> None:
        self.port, self.hello = port, Hello("c", sender, peer=True, epoch=epoch)

    async def dial(self, *rounds: int) -> Peer:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(encode_frame(self.hello))
        return self.say(*rounds)

    def say(self, *rounds: int) -> Peer:
        for number in rounds:
            self.writer.write(encode_frame(Heartbeat(1, number, 0)))
        return self

    async def last_words(self) -> str:
        """What it is told until the node hangs up."""
        try:
            said = await asyncio.wait_for(self.reader.read(), WITHIN_S)
        except ConnectionError:
            return ""
        return " ".join(answer.error for answer in response_decoder().feed(said))


def at_the_door(scene: Callable[[int, Inside], Awaitable[None]]) -> None:
    async def run() -> None:
        inside = Inside()
        doors = Doors(inside, clients={}, token="", refusals=Refusals(lambda event, detail: None))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(doors), "127.0.0.1", 0)
        await scene(server.sockets[0].getsockname()[1], inside)
        doors.close()
        server.close()

    asyncio.run(run())


async def hears(inside: Inside, *expected: tuple[str, int]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while len(inside.heard) < len(expected):
            await asyncio.sleep(0.005)
    assert inside.heard == list(expected)


def test_a_newer_connection_silences_the_older_one_also_after_it_has_ended() -> None:
    async def scene(port: int, inside: Inside) -> None:
        old = await Peer(port, 1).dial(1)
        await hears(inside, ("n2", 1))
        new = await Peer(port, 2).dial(2)
        await hears(inside, ("n2", 1), ("n2", 2))
        assert await old.say(3).last_words() == ""
        late = await Peer(port, 1).dial(4)
        assert "its epoch 1 is older than 2" in await late.last_words()
        new.say(5).writer.close()
        await hears(inside, ("n2", 1), ("n2", 2), ("n2", 5))
        later = await Peer(port, 1).dial(6)
        assert "its epoch 1 is older than 2" in await later.last_words()
        await Peer(port, 3).dial(7)
        await Peer(port, 1, "n3").dial(8)
        await hears(inside, ("n2", 1), ("n2", 2), ("n2", 5), ("n2", 7), ("n3", 8))

    at_the_door(scene)


def test_no_more_senders_are_remembered_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors_module, "CHANNELS_MAX", 2)

    async def scene(port: int, inside: Inside) -> None:
        heard = [(f"n{number}", number) for number in range(4)]
        for number, (sender, _) in enumerate(heard):
            await Peer(port, 9, sender).dial(number)
            await hears(inside, *heard[: number + 1])
        refused = await Peer(port, 8, "n3").dial(4)
        assert "its epoch 8 is older than 9" in await refused.last_words()
        await Peer(port, 8, "n1").dial(5)
        await hears(inside, *heard, ("n1", 5))

    at_the_door(scene)


def peers_of(node: str, data: Path, *arguments: str) -> Peers:
    """What a node started with these arguments knows of its peers."""
    options = parse_options(
        ["--id", node, "--listen", "127.0.0.1:1", "--peers", "n1=127.0.0.1:1,n2=127.0.0.1:2",
         "--data", str(data), *arguments]
    )  # fmt: skip
    disk = FileDisk(data)
    identity = claim(disk, cluster="c", node=node, directory=node, consensus=options.variant)
    disk.close()
    return Peers(
        options,
        identity,
        PeerDirectories(data),
        configuration=lambda: None,
        tls=None,
        changed=lambda peer, connected: None,
        refused=lambda peer, reason: None,
    )


def test_epochs_grow_over_links_and_starts(tmp_path: Path) -> None:
    epochs = []
    for _ in range(2):
        peers = peers_of("n1", tmp_path)
        for _ in range(2):  # a link, and one made after the member left and came back
            hello = peers._hello_to("n2")
            epochs += [hello().epoch, hello().epoch]
    first = EPOCHS_PER_START
    assert epochs == [*range(first + 1, first + 5), *range(2 * first + 1, 2 * first + 5)]


def test_a_peer_of_another_consensus_is_not_let_in(tmp_path: Path) -> None:
    """The variants share some messages, and mean different things by them."""
    (raft, zab), said = [tmp_path / name for name in ("raft", "zab")], "runs consensus"
    inside = peers_of("n1", raft)
    hello = peers_of("n2", zab, "--consensus", "zab")._hello_to("n1")()
    assert inside.refusal(hello) == "'n2' runs consensus 'zab', and 'n1' runs 'raft'"
    for consensus in ("raft", ""):  # an earlier version does not say
        assert said not in inside.refusal(msgspec.structs.replace(hello, consensus=consensus))
    paxos = peers_of("n2", tmp_path / "paxos", "--role", "paxos")
    assert paxos._hello_to("n1")().consensus == ""


def test_a_node_that_is_refused_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wiped node would else dial its peers forty times a second, and write a line each time."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def counted(delay_s: float) -> None:
        waits.append(delay_s)
        await sleep(0)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_frame(Response(0, "refused", error="it was wiped")))
        writer.close()

    async def run() -> list[tuple[str, str]]:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        told: list[tuple[str, str]] = []
        link = PeerLink(
            "n2",
            *server.sockets[0].getsockname()[:2],
            hello=lambda: Hello("c", "n1", peer=True),
            tls=None,
            changed=lambda peer, connected: None,
            refused=lambda peer, reason: told.append((peer, reason)),
        )
        link.start()
        async with asyncio.timeout(WITHIN_S):
            while len(waits) < 7:
                await sleep(0.001)
        await link.close()
        server.close()
        return told

    monkeypatch.setattr(links_module.asyncio, "sleep", counted)
    assert asyncio.run(run())[:2] == [("n2", "it was wiped")] * 2
    assert waits[0] < 0.1 and waits[6] >= BACKOFF_MAX_S / 2
