"""A node that is told to stop stops, at whatever moment of its life.

Goal: no cancellation that is swallowed anywhere makes a stop hang. Method: a link is closed at each
turn of the event loop around the end of its dial, where ``asyncio.wait_for`` of Python 3.11 loses
one; and, as a campaign, five hundred processes are sent SIGTERM at random moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from processes import WITHIN_S, Cluster, eventually, free_ports

from cluster.client.asyncio_client import AsyncioClient
from cluster.runtime.ending import ended
from cluster.runtime.links import PeerLink
from cluster.wire import Command, Hello

STOPS = 500
#: Turns of the event loop between the connection being made and the stop.
TURNS = 12


def test_a_task_that_swallows_cancellations_is_ended_all_the_same() -> None:
    async def run() -> int:
        swallowed = 0

        async def stubborn() -> None:
            nonlocal swallowed
            while swallowed < 3:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
                swallowed += 1
            await asyncio.sleep(3600)

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        await asyncio.wait_for(ended(task), 30)
        return swallowed

    assert asyncio.run(run()) == 3


class StoppedLink(PeerLink):
    """A link whose owner closes it some turns of the loop after it was connected."""

    turns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._count_down(self.turns)

    def _count_down(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(self._count_down, turns - 1)
        else:
            self.closing = loop.create_task(self.close())


@pytest.mark.parametrize("turns", range(TURNS))
@pytest.mark.parametrize("stays", [True, False], ids=["peer stays", "peer hangs up"])
def test_a_link_closed_as_its_dial_ends_is_closed(turns: int, stays: bool) -> None:
    async def run() -> None:
        server = await asyncio.start_server(
            lambda reader, writer: stays or writer.close(), "127.0.0.1", 0
        )
        link = StoppedLink(
            "n2",
            *server.sockets[0].getsockname()[:2],
            hello=lambda: Hello("c", "n1", peer=True),
            tls=None,
            changed=lambda peer, connected: None,
            refused=lambda peer, reason: None,
        )
        link.turns = turns
        link.start()
        while not hasattr(link, "closing"):
            await asyncio.sleep(0.001)
        await asyncio.wait_for(link.closing, 30)
        assert link._task is not None and link._task.done()
        server.close()

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(TURNS))
def test_a_client_closed_as_its_dial_ends_is_closed(turns: int) -> None:
    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        client = AsyncioClient({"n1": f"127.0.0.1:{port}"}, timeout_s=30)
        calling = asyncio.create_task(client.call(Command("get", "x")))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(client.close(), 30)
        assert (await asyncio.wait_for(calling, 30)).status == "fail" if turns else True
        calling.cancel()
        listener.close()

    asyncio.run(run())


class Lives:
    """Clusters that are started, used, and told to stop at random moments.

    Args:
        root: where directories go.
        seed: of all that is random here.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)
        self._authority = Authority(root)
        self.stopped = self.before_serving = 0

    def round(self, number: int) -> None:
        """Three nodes, of which some may be missing; each is stopped at its own moment."""
        root = self._root / str(number)
        root.mkdir()
        source, authority = self._random, self._authority
        secure = source.random() < 0.3
        per_node = authority.arguments if secure else lambda node: ()
        cluster = Cluster(root, per_node=per_node)
        if source.random() < 0.2:  # names that must be resolved, and nobody there
            cluster.addresses["n3"] = f"localhost:{free_ports(1)[0]}"
        started = ["n1", "n2", "n3"][: source.choice((1, 2, 3, 3))]
        if len(started) < 3 or cluster.addresses["n3"].startswith("localhost"):
            started = started[:2]
        with cluster_ended(cluster):
            for node in started:
                cluster.start(node, wait=False)
            if source.random() < 0.6:
                for node in started:
                    eventually("it serves", lambda node=node: cluster.get(node, "/health"))
            if not secure and source.random() < 0.5:
                asyncio.run(self._load(cluster, source.uniform(0.2, 1.0)))
            for node in started:
                time.sleep(source.expovariate(3.0) if source.random() < 0.7 else 0)
                os.kill(cluster.processes[node].pid, signal.SIGTERM)
            for node in started:
                self._stopped(cluster, node)

    async def _load(self, cluster: Cluster, seconds: float) -> None:
        async with AsyncioClient(cluster.addresses, timeout_s=seconds, window=8) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                calls: list[Any] = [client.call(Command("put", "x", (1,))) for _ in range(8)]
                await asyncio.gather(*calls)

    def _stopped(self, cluster: Cluster, node: str) -> None:
        code = cluster.processes[node].wait(WITHIN_S)
        events = [event["event"] for event in cluster.events(node)]
        assert "stop-forced" not in events, cluster.log(node)
        assert "Traceback" not in cluster.log(node), cluster.log(node)
        serving = "listening" in events
        assert code == 0 or (code == -signal.SIGTERM and not serving), (code, cluster.log(node))
        self.stopped += 1
        self.before_serving += not serving


@contextlib.contextmanager
def cluster_ended(cluster: Cluster) -> Any:
    try:
        yield
    finally:
        for node in cluster.nodes:
            cluster.kill(node)


@pytest.mark.real
def test_a_few_lives_end_when_told_to(tmp_path: Path) -> None:
    lives = Lives(tmp_path, seed=1)
    for number in range(4):
        lives.round(number)
    assert lives.stopped >= 4


@pytest.mark.real
@pytest.mark.slow
def test_five_hundred_lives_end_when_told_to(tmp_path: Path) -> None:
    lives, number = Lives(tmp_path, seed=random.randrange(1 << 32)), 0
    while lives.stopped < STOPS:
        lives.round(number)
        number += 1
    print(f"{lives.stopped} stops, {lives.before_serving} of them before the node served")


@pytest.mark.real
def test_a_log_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    """The log may be on the very disk that is full."""
    cluster = Cluster(tmp_path, nodes=("n1",))
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "identity").write_bytes(b"no identity")
    with open("/dev/full", "wb") as full:
        assert subprocess.run(cluster.argv("n1"), stderr=full, timeout=WITHIN_S).returncode == 3


@pytest.mark.real
def test_a_mapped_file_that_is_cut_ends_the_node_which_says_where(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        eventually("it leads", lambda: cluster.get("n1", "/status")["role"] == "leader")
        os.truncate(tmp_path / "n1" / "superblock-0", 0)
        asyncio.run(put_once(cluster))
        assert cluster.processes["n1"].wait(WITHIN_S) == -signal.SIGBUS
        assert "Bus error" in cluster.log("n1") and "in overwrite" in cluster.log("n1")
        cluster.start("n1")  # the other copy is whole


async def put_once(cluster: Cluster) -> None:
    async with AsyncioClient(cluster.addresses, timeout_s=0.5) as client:
        await client.call(Command("put", "x", (1,)))
