"""A cluster under attack from this machine: writes go on, and every refusal is one sentence.

Each attack (``attackers.py``) runs against all three nodes at once, on loopback, bounded in count
and in time, while a client writes. What an attacker may cost is time; not the cluster.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attackers import ATTACKS, HELLO
from certificates import Authority
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import COMMAND_BYTES_MAX, AsyncioClient
from cluster.runtime.doors import STRANGERS_MAX
from cluster.runtime.frames import encode_frame, response_decoder
from cluster.runtime.http import CONNECTIONS_MAX, PIECES_MAX
from cluster.runtime.tls import client_context
from cluster.wire import Command, Hello, Request

pytestmark = pytest.mark.real

BEFORE_S, ATTACK_S = 2.0, 4.0


async def write_latencies(client: AsyncioClient, until: Callable[[], bool]) -> list[float]:
    took: list[float] = []
    while not until() or len(took) < 100:
        began = time.perf_counter()
        done = await client.call(Command("put", "x", (len(took),)))
        assert done.status == "ok", done
        took.append(time.perf_counter() - began)
    return took


def p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


async def attacked(
    cluster: Cluster, attack: str, tls: ssl.SSLContext | None
) -> tuple[float, float]:
    """99th percentile of a write's latency before an attack on every node, and under it."""
    async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S, tls=tls) as client:
        began = time.monotonic()
        before = await write_latencies(client, lambda: time.monotonic() > began + BEFORE_S)
        script = str(Path(__file__).with_name("attackers.py"))
        argv = [sys.executable, script, attack, str(ATTACK_S), *cluster.addresses.values()]
        attackers = subprocess.Popen(argv)
        try:
            under = await write_latencies(client, lambda: attackers.poll() is not None)
        finally:
            attackers.kill()
        assert attackers.wait() == 0
        return p99(before), p99(under)


@pytest.mark.parametrize("attack", ATTACKS)
def test_writes_go_on_under_attack(tmp_path: Path, attack: str) -> None:
    authority = Authority(tmp_path) if attack == "half_handshakes" else None
    tls = None
    if authority is not None:
        cert, key = authority.certificate("client")
        tls = client_context(ca=authority.file, cert=cert, key=key)
    with Cluster(tmp_path, per_node=authority.arguments if authority else lambda _: ()) as cluster:
        cluster.leader()
        before, under = asyncio.run(attacked(cluster, attack, tls))
        print(attack, before, under)
        for node in cluster.nodes:
            assert cluster.processes[node].poll() is None
            assert "Traceback" not in cluster.log(node)
            lines = [e for e in cluster.events(node) if "refus" in e["event"]]
            assert len(lines) <= 20 + 2 * (BEFORE_S + ATTACK_S) + 10, "lines are limited in rate"
        # A tenth of what a busy machine may take for one write is no attack's doing.
        assert under <= 10 * max(before, 0.01), (before, under)


def spoken(address: str, *sent: bytes, within_s: float = WITHIN_S) -> str:
    """Say something to a node and listen to the end: its last words."""
    host, _, port = address.rpartition(":")
    heard = b""
    with socket.create_connection((host, int(port)), timeout=within_s) as sock:
        try:
            for each in sent:
                sock.sendall(each)
            while part := sock.recv(4096):
                heard += part
        except ConnectionError:
            pass
    return " ".join(answer.error for answer in response_decoder().feed(heard))


def refusals(cluster: Cluster, node: str) -> list[str]:
    return [e["reason"] for e in cluster.events(node) if e["event"] == "connection-refused"]


def test_each_kind_of_stranger_is_told_why_and_so_is_the_log(tmp_path: Path) -> None:
    put = encode_frame(Request(1, "s", 1, 1, Command("put", "x", (1,))))
    cases = [
        ((b"GET / HTTP/1.1\r\n\r\n",), "bytes, and the most is 4096"),
        ((b"\x16\x03\x01\x02\x00\x01",), "it speaks TLS, and this node was started without"),
        ((put,), "its first frame is no hello"),
        ((HELLO, b"\0\0\0\1\xc1"), "a frame that is no message"),
        ((HELLO, HELLO), "a client may send requests only"),
        ((HELLO, b"\xff\0\0\0"), "bytes, and the most is 8388608"),
        ((encode_frame(Hello("other", "c", peer=False)),), "belongs to cluster 'other'"),
        ((encode_frame(Hello("splitbrain", "", peer=False)),), "has no name"),
        ((b"\0\0",), "it said no hello"),
        ((HELLO, b"\0\0\1\0half"), "it is too slow with a frame"),
    ]
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        for sent, sentence in cases:
            assert sentence in spoken(cluster.addresses["n1"], *sent), sentence
        said = refusals(cluster, "n1")
        assert [sentence in each for (_, sentence), each in zip(cases, said, strict=True)] == [
            True
        ] * len(cases)


def test_a_pot_of_half_frames_is_shared_and_who_holds_most_is_hung_up_on(tmp_path: Path) -> None:
    """Nine nearly whole requests of the largest size are more than all may hold together."""
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        host, _, port = cluster.addresses["n1"].rpartition(":")
        held = [socket.create_connection((host, int(port)), timeout=WITHIN_S) for _ in range(9)]
        for sock in held:
            sock.sendall(HELLO + (8 * 1024 * 1024).to_bytes(4, "big") + bytes(7_700_000))
        eventually("one is refused", lambda: refusals(cluster, "n1"))
        assert "most of it is its" in refusals(cluster, "n1")[0]
        for sock in held:
            sock.close()


def test_a_flood_of_strangers_does_not_keep_a_client_out(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        cluster.leader()
        host, _, port = cluster.addresses["n1"].rpartition(":")
        strangers = [
            socket.create_connection((host, int(port)), timeout=WITHIN_S)
            for _ in range(STRANGERS_MAX + 20)
        ]

        async def write() -> Any:
            async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S) as client:
                return await client.call(Command("put", "x", (1,)))

        assert asyncio.run(write()).status == "ok"
        assert eventually("the oldest are gone", lambda: refusals(cluster, "n1"))
        for sock in strangers:
            sock.close()


def test_a_command_too_long_is_a_definite_failure(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        cluster.leader()

        async def write(size: int) -> Any:
            async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S) as client:
                return await client.call(Command("put", "x", ("v" * size,)))

        assert asyncio.run(write(COMMAND_BYTES_MAX - 100)).status == "ok"
        refused = asyncio.run(write(COMMAND_BYTES_MAX))
        assert (refused.status, "was not sent" in refused.error) == ("fail", True)


def test_refused_handshakes_are_one_sentence_on_both_sides(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "other")

    def attempt(addresses: dict[str, str], tls: ssl.SSLContext | None) -> str:
        async def call() -> Any:
            async with AsyncioClient(addresses, timeout_s=1.5, tls=tls) as client:
                return await client.call(Command("put", "x", (1,)))

        outcome = asyncio.run(call())
        assert outcome.status == "fail"
        return str(outcome.error)

    def context(issuer: Authority, trusted: Authority) -> ssl.SSLContext:
        cert, key = issuer.certificate("client")
        return client_context(ca=trusted.file, cert=cert, key=key)

    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(authority.file)
    good = context(authority, authority)
    with Cluster(tmp_path, per_node=authority.arguments, nodes=("n1",)) as cluster:
        renamed = {"n2": cluster.addresses["n1"]}
        at = cluster.addresses
        cases: list[tuple[dict[str, str], ssl.SSLContext | None, str, str]] = [
            (at, None, "it speaks no TLS, and this node demands it", "speaks no TLS"),
            (at, bare, "does not accept the certificate it is shown", "shows no certificate"),
            (at, context(stranger, authority), "does not accept the cert", "authority in --tls-ca"),
            (at, context(authority, stranger), "authority in --tls-ca", "it hung up in the TLS"),
            (renamed, good, "its certificate names another node", "it hung up in the TLS"),
        ]
        for addresses, tls, here, there in cases:
            before = len(refusals(cluster, "n1"))
            assert here in attempt(addresses, tls)
            assert there in refusals(cluster, "n1")[before]
    (tmp_path / "plain").mkdir()
    with Cluster(tmp_path / "plain", nodes=("n1",)) as cluster:
        assert "speaks no TLS" in attempt(cluster.addresses, good)
        assert "it speaks TLS" in refusals(cluster, "n1")[0]


def test_the_admin_endpoint_under_connections_and_pieces(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        place = ("127.0.0.1", cluster.admins["n1"])
        silent = [
            socket.create_connection(place, timeout=WITHIN_S) for _ in range(CONNECTIONS_MAX + 30)
        ]
        assert cluster.get("n1", "/health") == {"health": "ok"}
        assert silent[0].recv(1) == b"", "the oldest went"
        for sock in silent:
            sock.close()
        with socket.create_connection(place, timeout=WITHIN_S) as slow:
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            slow.sendall(b"GET /health HTTP/1.1\r\nX: ")
            said = b""
            for _ in range(20 * PIECES_MAX):
                try:
                    slow.sendall(b"a")
                    slow.settimeout(0.001)
                    said += slow.recv(4096)
                    break
                except TimeoutError:
                    continue
        assert b" 400 " in said and b"pieces" in said
        assert "Traceback" not in cluster.log("n1")
