"""Real processes, sockets, disks and signals: what the simulator cannot vouch for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import AsyncioClient, Outcome
from cluster.runtime.frames import encode_frame, response_decoder
from cluster.runtime.links import QUEUE_BYTES_MAX
from cluster.runtime.tls import client_context
from cluster.wire import Command, Hello
from harness.environments.damaged_files import damage_directory

pytestmark = pytest.mark.real


def with_client(
    cluster: Cluster, body: Callable[[AsyncioClient], Awaitable[Any]], **options: Any
) -> Any:
    async def run() -> Any:
        async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S, **options) as client:
            return await body(client)

    return asyncio.run(run())


def do(cluster: Cluster, op: str, key: str, *args: Any, **how: Any) -> Outcome:
    outcome: Outcome = with_client(cluster, lambda c: c.call(Command(op, key, args), **how))
    return outcome


def test_serves_survives_its_leader_and_restarts_with_its_data(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        leader = cluster.leader()
        assert do(cluster, "put", "x", 1).status == "ok"
        assert do(cluster, "cas", "x", 1, 2).status == "ok"
        refused = do(cluster, "cas", "x", 1, 3)
        assert (refused.status, refused.error != "") == ("fail", True)
        assert cluster.kill(leader) == -signal.SIGKILL
        rest = [n for n in cluster.nodes if n != leader]
        assert cluster.leader(among=rest) != leader
        assert do(cluster, "get", "x").value == 2
        assert do(cluster, "append", "l", "a").status == "ok"
        cluster.start(leader)
        eventually(
            "all agree", lambda: len({str(cluster.get(n, "/hash")) for n in cluster.nodes}) == 1
        )
        for node in cluster.nodes:
            cluster.kill(node)
        for node in cluster.nodes:
            cluster.start(node)
        assert do(cluster, "get", "x").value == 2
        assert do(cluster, "get", "l").value == ["a"]
        assert all(cluster.get(n, "/status")["start"] >= 2 for n in cluster.nodes)


def test_a_follower_far_behind_gets_a_snapshot(tmp_path: Path) -> None:
    small = ("--snapshot-entries", "50", "--snapshot-keep-entries", "5", "--segment-bytes", "4096")
    with Cluster(tmp_path, *small) as cluster:
        leader = cluster.leader()
        behind = next(n for n in cluster.nodes if n != leader)
        cluster.kill(behind)

        async def write(client: AsyncioClient) -> None:
            for number in range(200):
                assert (await client.call(Command("put", f"k{number}", ("v" * 50,)))).status == "ok"

        with_client(cluster, write)

        def compacted() -> bool:
            status = cluster.get(leader, "/status")
            return bool(status["snapshot_index"] and status["storage"]["segments_removed"])

        eventually("its log is compacted", compacted)
        cluster.start(behind)
        eventually(
            "it caught up", lambda: cluster.get(behind, "/hash") == cluster.get(leader, "/hash")
        )
        assert any(e["event"] == "snapshot-installed" for e in cluster.events(behind))
        cluster.kill(behind)
        cluster.start(behind)
        eventually(
            "it recovered", lambda: cluster.get(behind, "/hash") == cluster.get(leader, "/hash")
        )


def test_without_syncing_before_the_ack_a_kill_loses_what_was_acknowledged(tmp_path: Path) -> None:
    ablated = ("--ablate", "A01", "--unsafe-ablation")
    with Cluster(tmp_path, *ablated) as cluster:
        cluster.leader()
        assert do(cluster, "put", "x", 1).status == "ok"
        assert cluster.get("n1", "/status")["ablations"] == ["A01-acknowledgement-before-sync"]
        for node in cluster.nodes:
            cluster.kill(node)
        for node in cluster.nodes:
            cluster.start(node)
        cluster.leader()
        assert do(cluster, "get", "x").value is None


def test_a_stale_read_is_answered_by_the_node_asked(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        leader = cluster.leader()
        put = do(cluster, "put", "x", 7)
        follower = next(n for n in cluster.nodes if n != leader)
        eventually("applied", lambda: cluster.get(follower, "/status")["applied"] >= put.revision)
        outcome = do(cluster, "get", "x", mode="stale", node=follower)
        assert (outcome.status, outcome.value, outcome.node) == ("ok", 7, follower)
        cluster.kill(follower)
        gone = do(cluster, "get", "x", mode="stale", node=follower, timeout_s=0.3)
        assert gone.status == "fail"


def test_a_slow_disk_does_not_stop_heartbeats_and_a_failed_one_stops_the_node(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path, "--enable-chaos") as cluster:

        def leads_with_a_slow_disk() -> str:
            """A leader that still leads after its disk was slow for longer than elections wait."""
            leader = cluster.leader()
            generation = cluster.get(leader, "/status")["generation"]
            now = cluster.post(leader, "/chaos/disk", {"latency_ns": 1_500_000_000})
            assert now["latency_ns"] == 1_500_000_000
            assert do(cluster, "put", "x", 1).status == "ok"  # the followers' disks are a majority
            time.sleep(0.8)
            status = cluster.get(leader, "/status")
            if (status["role"], status["generation"]) == ("leader", generation):
                return leader
            cluster.post(leader, "/chaos/disk", {})
            return ""

        # A busy machine may depose a leader now and then; a slow disk would each time.
        leader = eventually("a leader stays", leads_with_a_slow_disk)
        assert cluster.get(leader, "/chaos")["disk"]["counts"]["slowed"] >= 1
        cluster.post(leader, "/chaos/disk", {"error": "EIO"})
        do(cluster, "put", "x", 2)
        assert cluster.processes[leader].wait(WITHIN_S) == 4
        events = {e["event"]: e for e in cluster.events(leader)}
        assert events["disk-failed"]["code"] == "EIO"
        assert events["stopped"]["code"] == 4
        assert do(cluster, "get", "x").value == 2


def test_a_torn_write_is_cut_at_the_next_start(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--enable-chaos", nodes=("n1",)) as cluster:
        cluster.leader()
        assert do(cluster, "put", "x", 1).status == "ok"
        cluster.post("n1", "/chaos/disk", {"torn": True, "latency_ns": 60_000_000_000})

        async def lose(client: AsyncioClient) -> None:
            await client.call(Command("put", "x", ("y" * 60_000,)), timeout_s=0.3)

        def counts() -> dict[str, int]:
            found: dict[str, int] = cluster.get("n1", "/chaos")["disk"]["counts"]
            return found

        def under_way() -> int:
            with_client(cluster, lose)
            return counts()["slowed"]

        eventually("a write waits for the disk", under_way)
        torn = counts()["torn"]
        cluster.kill("n1")
        cluster.start("n1")
        cluster.leader()
        assert do(cluster, "get", "x").value == 1
        cut = [e["torn_bytes"] for e in cluster.events("n1") if e["event"] == "listening"]
        assert (cut[-1] > 0) == (torn > 0)


def test_clock_faults_are_set_and_read_back(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--enable-chaos", nodes=("n1",)) as cluster:
        now = cluster.post("n1", "/chaos/clock", {"offset_ns": 3_600_000_000_000, "rate": 2.0})
        assert abs(now["wall_ns"] - time.time_ns() - 3_600_000_000_000) < 600_000_000_000
        status = cluster.get("n1", "/status")
        assert (status["wall_offset_ns"], status["clock_rate"]) == (3_600_000_000_000, 2.0)
        code, answer = cluster.request("n1", "POST", "/chaos/clock", {"rate": 0})
        assert code == 400
        assert "rate is 0.0" in answer["error"]
        code, answer = cluster.request("n1", "POST", "/chaos/disk", {"latency": 5})
        assert code == 400
        assert "latency_ns" in answer["error"]


def test_without_the_flag_faults_are_forbidden(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        for method, path in (("GET", "/chaos"), ("POST", "/chaos/clock"), ("POST", "/chaos/disk")):
            code, answer = cluster.request("n1", method, path, {})
            assert code == 403
            assert "--enable-chaos" in answer["error"]
        assert cluster.request("n1", "GET", "/nonsense")[0] == 404
        assert cluster.request("n1", "POST", "/status", {})[0] == 405
        text = cluster.get("n1", "/metrics")
        for name in ("term", "commit_index", "applied_index", "leader_changes_total"):
            assert f"\nsplitbrain_{name} " in text
        assert "splitbrain_wal_fsync_seconds_bucket" in text
        assert cluster.kill("n1", signal.SIGTERM) == 0


def test_refusals_to_start_are_one_sentence(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        cluster.leader()
        assert "in use" in cluster.refusal("n1")
        address = f"--listen=127.0.0.1:{cluster.ports['n1'] + 0}"
        elsewhere = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        assert "in use by another process" in cluster.refusal("n1", *elsewhere)
        assert "in use" in cluster.refusal("n1", address, "--data", str(tmp_path / "other"))
        do(cluster, "put", "x", "v" * 5000)
        do(cluster, "put", "x", 2)
        cluster.kill("n1")
        assert "belongs to node 'n1' of cluster 'splitbrain'" in cluster.refusal(
            "n1", "--cluster", "other"
        )
        (log,) = (tmp_path / "n1").glob("wal-*")
        data = bytearray(log.read_bytes())
        data[300] ^= 1
        log.write_bytes(data)
        sentence = cluster.refusal("n1")
        assert "corrupt log" in sentence
        assert log.name in sentence
        log.unlink()
        log.mkdir()
        sentence = cluster.refusal("n1")
        assert (
            f"cannot be used: read '{log.name}' failed with EISDIR: it is a directory" in sentence
        )
        file = tmp_path / "file"
        file.write_text("")
        assert "cannot be used" in cluster.refusal("n1", "--data", str(file))


def test_a_node_ends_with_the_process_it_was_told_to_watch(tmp_path: Path) -> None:
    watched = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with Cluster(tmp_path, "--parent-pid", str(watched.pid), nodes=("n1",)) as cluster:
        assert cluster.processes["n1"].poll() is None
        watched.kill()
        watched.wait()
        assert cluster.processes["n1"].wait(WITHIN_S) == 0
        assert any(e["event"] == "parent-ended" for e in cluster.events("n1"))
        assert "cannot be watched" in cluster.refusal("n1")


def test_a_stopped_follower_costs_no_memory_and_comes_back(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        leader = cluster.leader()
        follower = next(n for n in cluster.nodes if n != leader)
        generation = cluster.get(leader, "/status")["generation"]
        os.kill(cluster.processes[follower].pid, signal.SIGSTOP)
        try:

            async def write(client: AsyncioClient) -> None:
                for _ in range(60):
                    done = await client.call(Command("put", "big", ("v" * 300_000,)))
                    assert done.status == "ok"

            with_client(cluster, write)
            # A busy machine may have had more leaders than one.
            rest = [n for n in cluster.nodes if n != follower]
            links = [cluster.get(n, "/status")["links"][follower] for n in rest]
            assert all(link["queued_bytes"] <= QUEUE_BYTES_MAX for link in links)
            # One that was elected meanwhile asks a silent follower first, and sends little.
            stayed = cluster.get(leader, "/status")["generation"] == generation
            assert not stayed or any(link["dropped_frames"] > 0 for link in links)
        finally:
            os.kill(cluster.processes[follower].pid, signal.SIGCONT)
        eventually(
            "all agree", lambda: len({str(cluster.get(n, "/hash")) for n in cluster.nodes}) == 1
        )


def test_mutual_tls_serves_those_with_certificates_only(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    with Cluster(tmp_path, per_node=authority.arguments) as cluster:
        cluster.leader()

        def attempt(context: Any, *, timeout_s: float) -> str:
            command = Command("put", "x", (1,))

            async def call(client: AsyncioClient) -> Outcome:
                return await client.call(command, timeout_s=timeout_s)

            outcome: Outcome = with_client(cluster, call, tls=context)
            return outcome.status

        cert, key = authority.certificate("client")
        good = client_context(ca=authority.file, cert=cert, key=key)
        assert attempt(good, timeout_s=WITHIN_S) == "ok"
        assert attempt(None, timeout_s=0.7) == "fail"
        cert, key = stranger.certificate("intruder")
        bad = client_context(ca=authority.file, cert=cert, key=key)
        assert attempt(bad, timeout_s=3) != "ok"
        hello = encode_frame(Hello("splitbrain", "n2", peer=True, epoch=1 << 40))
        address = ("127.0.0.1", cluster.ports["n1"])
        with (
            socket.create_connection(address, timeout=WITHIN_S) as plain,
            good.wrap_socket(plain, server_hostname="n1") as secure,
        ):
            secure.sendall(hello)
            said = b""
            with suppress(ConnectionError, ssl.SSLError):
                while part := secure.recv(4096):
                    said += part
            (words,) = response_decoder().feed(said)
            assert (words.status, "does not name node 'n2'" in words.error) == ("refused", True)
        refused = [e["reason"] for e in cluster.events("n1") if e["event"] == "connection-refused"]
        assert "its certificate does not name node 'n2'" in refused
        eventually("connected", lambda: cluster.get("n2", "/status")["links"]["n1"]["connected"])


def test_the_shell_client(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.leader()
        nodes = ",".join(f"{n}={a}" for n, a in cluster.addresses.items())

        def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
            argv = [sys.executable, "-m", "cluster.client", "--nodes", nodes, "--timeout", "60"]
            return subprocess.run(
                [*argv, *arguments], capture_output=True, text=True, timeout=WITHIN_S
            )

        assert shell("put", "x", '{"a": 1}').returncode == 0
        assert '"value": {"a": 1}' in shell("get", "x").stdout
        assert shell("cas", "x", "2", "3").returncode == 1
        assert shell("incr", "c").returncode == shell("incr", "c", "5").returncode == 0
        assert '"value": 6' in shell("get", "c").stdout
        bad = shell("get", "x", "--node", "n9")
        assert (bad.returncode, bad.stderr.count("\n")) == (254, 1)
        admin = f"127.0.0.1:{cluster.admins['n1']}"
        assert '"generation"' in shell("--admin", admin, "status").stdout


@pytest.mark.parametrize(
    ("kind", "consensus"),
    [
        ("lost-tail", "raft"), ("flip", "raft"), ("cut", "raft"), ("delete", "raft"),
        ("lost-tail", "multi-paxos"), ("lost-tail", "zab"), ("lost-tail", "viewstamped"),
    ],
)  # fmt: skip
def test_a_node_whose_files_are_damaged_comes_back_by_itself(
    tmp_path: Path, kind: str, consensus: str
) -> None:
    with Cluster(tmp_path, "--consensus", consensus) as cluster:
        victim = cluster.leader()
        for number in range(30):
            assert do(cluster, "put", f"k{number}", number).status == "ok"
        for seed in range(2):
            cluster.kill(victim)
            found = damage_directory(tmp_path / victim, kind, seed)
            assert found["changed_bytes"] > 0, found
            cluster.start(victim)
            eventually("it is repaired", lambda: not cluster.get(victim, "/status")["recovering"])
        eventually(
            "all agree", lambda: len({str(cluster.get(n, "/hash")) for n in cluster.nodes}) == 1
        )
        assert do(cluster, "get", "k29").value == 29
        if kind == "lost-tail":
            said = [event["event"] for event in cluster.events(victim)]
            assert said.count("recovering") == said.count("repaired") == 2


def test_a_lone_node_with_a_damaged_log_refuses_with_file_and_offset(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        assert do(cluster, "put", "x", 1).status == "ok"
        cluster.kill("n1")
        found = damage_directory(tmp_path / "n1", "lost-tail", 3)
        said = cluster.refusal("n1")
        assert f"corrupt log: {found['file'][:20]}" in said and " at byte " in said
        assert "n1 has no peers to be repaired from" in said


def test_a_damaged_node_of_role_paxos_restarts_intact_and_refuses_damage(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--role", "paxos") as cluster:
        for number in range(10):
            assert do(cluster, "put", f"k{number}", number).status == "ok"
        cluster.kill("n2")
        cluster.start("n2")
        for number in range(10):
            assert do(cluster, "put", "x", number).status == "ok"
        cluster.kill("n2")
        found = damage_directory(tmp_path / "n2", "lost-tail", 3)
        assert found["changed_bytes"] > 0, found
        said = cluster.refusal("n2")
        assert f"corrupt log: {found['file'][:20]}" in said and " at byte " in said
        assert "a node of this role cannot be repaired from its peers" in said
        assert do(cluster, "get", "k9").value == 9
