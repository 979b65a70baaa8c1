"""A cluster with a token: who does not have it writes nothing, removes nobody, breaks no disk."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster

from cluster.client.asyncio_client import AsyncioClient
from cluster.runtime.admin import is_loopback_name
from cluster.runtime.frames import encode_frame, response_decoder
from cluster.runtime.token import VARIABLE, BadToken, read_token
from cluster.wire import AppendEntries, Command, Hello
from harness.databases.reference import Reference
from harness.environments.local import local

TOKEN = "0123456789abcdef-a-token"
WRONG = "0123456789abcdef-another"


def attempt(addresses: dict[str, str], command: Command, token: str) -> Any:
    async def call() -> Any:
        async with AsyncioClient(addresses, timeout_s=2 if token != TOKEN else WITHIN_S,
                                 token=token) as client:  # fmt: skip
            return await client.call(command)

    return asyncio.run(call())


def last_words(address: str, *frames: Any) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=WITHIN_S) as sock:
        sock.sendall(b"".join(map(encode_frame, frames)))
        heard = b""
        while part := sock.recv(4096):
            heard += part
    return " ".join(answer.error for answer in response_decoder().feed(heard))


@pytest.mark.real
def test_without_the_token_nothing_is_done(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--enable-chaos", token=TOKEN) as cluster:
        leader = cluster.leader()
        assert attempt(cluster.addresses, Command("put", "x", (1,)), TOKEN).status == "ok"
        for token, why in (("", "it has no token"), (WRONG, "its token is another cluster's")):
            for command in (Command("put", "x", (2,)), Command("remove-member", "n3")):
                outcome = attempt(cluster.addresses, command, token)
                assert (outcome.status != "ok", why in outcome.error) == (True, True), outcome
        deposing = AppendEntries(1 << 40, 0, 0, (), 0)
        for token in ("", WRONG):
            hello = Hello("splitbrain", "n2", peer=True, epoch=1 << 60, to="n1", token=token)
            assert "token" in last_words(cluster.addresses["n1"], hello, deposing)
        for headers in ({}, {"Authorization": f"Bearer {WRONG}"}, {"Authorization": TOKEN}):
            for method, path in (("GET", "/status"), ("GET", "/metrics"), ("GET", "/chaos"),
                                 ("POST", "/chaos/disk"), ("POST", "/chaos/clock")):  # fmt: skip
                code, _ = cluster.request(leader, method, path, {"full": True}, headers=headers)
                assert code == 401, (headers, path)
            assert cluster.request(leader, "GET", "/health", headers=headers)[0] == 200
        assert cluster.get(leader, "/chaos")["disk"]["full"] is False
        assert sorted(cluster.get(leader, "/status")["members"]) == ["n1", "n2", "n3"]
        assert attempt(cluster.addresses, Command("get", "x"), TOKEN).value == 1
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        assert TOKEN not in shown.stdout
        assert all(TOKEN not in cluster.log(node) for node in cluster.nodes)


@pytest.mark.real
def test_the_shell_client_takes_it_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    with Cluster(tmp_path, "--token-file", str(file), nodes=("n1",)) as cluster:
        cluster.token = TOKEN
        cluster.leader()

        def shell(*arguments: str, token: str = "") -> tuple[int, str]:
            argv = [sys.executable, "-m", "cluster.client", "--timeout", "2"]
            argv += ["--nodes", f"n1={cluster.addresses['n1']}"]
            argv += ["--admin", f"127.0.0.1:{cluster.admins['n1']}"]
            env = {**os.environ, VARIABLE: token}
            done = subprocess.run([*argv, *arguments], capture_output=True, text=True, env=env)
            return done.returncode, done.stdout + done.stderr

        assert shell("--token-file", str(file), "put", "x", "1")[0] == 0
        assert shell("get", "x", token=TOKEN)[0] == 0
        assert shell("get", "x")[0] == 3
        assert "it has no token" in shell("get", "x")[1]
        assert shell("status", token=TOKEN)[0] == 0
        code, said = shell("status")
        assert (code, "--token-file" in said) == (3, True)
        code, said = shell("--token-file", "/nowhere", "get", "x")
        assert (code, said.count("\n")) == (254, 1)


@pytest.mark.real
def test_a_page_of_another_name_reaches_no_admin_endpoint(tmp_path: Path) -> None:
    """DNS rebinding: the browser connects to this machine, and says whose page it shows."""
    with Cluster(tmp_path, "--enable-chaos", nodes=("n1",)) as cluster:
        others = ("evil.example", "evil.example:80", "127.0.0.1.x")
        for host in (*others, "localhost:1", "127.9.9.9", "[::1]:8001"):
            code = 403 if host in others else 200
            for path in ("/health", "/status", "/chaos"):
                assert cluster.request("n1", "GET", path, headers={"Host": host})[0] == code


@pytest.mark.real
def test_a_body_that_is_no_fault_is_answered(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--enable-chaos", nodes=("n1",)) as cluster:
        place = cluster.admins["n1"]
        for body in ("", "null", "[]", '{"full": 1e999}', '{"full": 2}', '{"a":' * 12_000):
            for path in ("/chaos/disk", "/chaos/clock"):
                connection = HTTPConnection("127.0.0.1", place, timeout=WITHIN_S)
                connection.request("POST", path, body=body)
                answer = connection.getresponse()
                assert answer.status == 400 and b'"error"' in answer.read()
                connection.close()
        assert not [e for e in cluster.events("n1") if e["event"] == "loop-error"]


@pytest.mark.parametrize(
    ("host", "ours"),
    [("", True), ("localhost", True), ("127.0.0.1:80", True), ("[::1]", True),
     ("10.0.0.1", False), ("localhost.evil", False), ("[", False), ("127.0.0.1@evil", False)],
)  # fmt: skip
def test_loopback_names(host: str, ours: bool) -> None:
    assert is_loopback_name(host) is ours


def test_a_token_file_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_token(None) == ""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    for mode, readable in ((0o644, False), (0o640, False), (0o600, True), (0o400, True)):
        file.chmod(mode)
        if readable:
            assert read_token(str(file)) == TOKEN
        else:
            with pytest.raises(BadToken, match="can be read by others"):
                read_token(str(file))
    file.chmod(0o600)
    for text, why in (("", "empty"), ("short", "holds no token"), ("a b" * 9, "without a space")):
        file.write_text(text)
        with pytest.raises(BadToken, match=why):
            read_token(str(file))
    with pytest.raises(BadToken, match="no regular file"):
        os.mkfifo(tmp_path / "pipe", 0o600)
        read_token(str(tmp_path / "pipe"))
    with pytest.raises(BadToken, match="cannot be read"):
        read_token(str(tmp_path / "none"))
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    monkeypatch.setenv(VARIABLE, "x")
    with pytest.raises(BadToken, match=VARIABLE):
        read_token(None)


@pytest.mark.real
def test_a_cluster_of_the_harness_has_a_token_which_no_file_of_the_run_holds(
    tmp_path: Path,
) -> None:
    """Started as a run starts it: others are refused, faults still reach the nodes."""

    async def body() -> tuple[Any, Any, Any]:
        env = local(nodes=("n1", "n2", "n3"), run_dir=tmp_path, seed=5, options={})
        db = Reference()
        try:
            await env.setup()
            nodes = [env.node(name) for name in env.nodes]
            for node in nodes:
                await db.setup(node)
            await asyncio.gather(*(db.start(node) for node in nodes))
            await asyncio.gather(*(db.ready(node) for node in nodes))
            while not await db.primaries(nodes):
                await asyncio.sleep(0.05)
            addresses = {node.name: f"{node.address}:{db.peer_port}" for node in nodes}
            async with AsyncioClient(addresses, timeout_s=2) as stranger:
                refused = await stranger.call(Command("remove-member", "n3"))
            clock = await env.set_clock("n1", offset_ns=3_600_000_000_000)
            own = db.operator(nodes[0], "test")
            written = await own.call(Command("put", "x", (1,)), mode="linearizable")
            await own.close()
        finally:
            await env.teardown()
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert [path for path in files if db.token.encode() in path.read_bytes()] == []
        return refused, clock, written

    refused, clock, written = asyncio.run(body())
    assert (refused.status != "ok", "it has no token" in refused.error) == (True, True)
    assert abs(clock["offset_ns"] - 3_600_000_000_000) < 60_000_000_000
    assert written.status == "ok"
