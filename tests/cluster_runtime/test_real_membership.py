"""Changes of members with real processes: joining, leaving, wiped nodes, the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster, eventually

pytestmark = pytest.mark.real


#: A machine that stood still for longer than a client waits is asked again so often.
TRIES = 3


def client(cluster: Cluster, *words: str, code: int | None = 0) -> Any:
    """One command of the client; its answer. Without a code, any exit code will do.

    All commands here may be repeated: one whose outcome is unknown (exit code 2), where success is
    wanted, is asked again.
    """
    nodes = ",".join(f"{n}={a}" for n, a in cluster.addresses.items())
    patience = [] if "--timeout" in words else ["--timeout", "60"]  # a busy machine elects late
    argv = [sys.executable, "-m", "cluster.client", "--nodes", nodes, *patience, *words]
    for _ in range(TRIES):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN_S)
        if code != 0 or done.returncode != 2:
            break
    logs = {node: cluster.log(node)[-2000:] for node in cluster.processes}
    assert code in (None, done.returncode), (done.returncode, done.stdout, done.stderr, logs)
    return json.loads(done.stdout)


def promote(cluster: Cluster, member: str) -> None:
    def probe() -> bool:
        nodes = ",".join(f"{n}={a}" for n, a in cluster.addresses.items())
        argv = [sys.executable, "-m", "cluster.client", "--nodes", nodes, "member", "promote"]
        return subprocess.run([*argv, member], capture_output=True).returncode == 0

    eventually(f"{member} is promoted", probe)


def voters(cluster: Cluster) -> list[str]:
    return list(client(cluster, "member", "list")["value"]["voters"])


def test_a_node_nobody_was_told_of_joins_and_another_leaves(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1", "n2", "n3", "n4")) as cluster:
        for node in cluster.nodes:
            cluster.kill(node)
        founders = ("n1", "n2", "n3")
        for node in cluster.nodes:
            shutil.rmtree(tmp_path / node)
        everybody = dict(cluster.addresses)
        cluster.addresses = {n: everybody[n] for n in founders}
        for node in founders:
            cluster.start(node)
        client(cluster, "put", "x", "1")
        cluster.addresses = everybody
        cluster.start("n4", "--join")
        assert cluster.get("n4", "/status")["role"] == "learner"
        cluster.addresses = {n: everybody[n] for n in founders}
        added = client(cluster, "member", "add", "n4", everybody["n4"])
        assert added["value"]["learners"] == ["n4"]
        promote(cluster, "n4")
        assert voters(cluster) == ["n1", "n2", "n3", "n4"]
        assert client(cluster, "transfer", "n2")["value"] == "n2"
        assert client(cluster, "member", "remove", "n2")["status"] == "ok"
        assert voters(cluster) == ["n1", "n3", "n4"]
        cluster.addresses = everybody
        assert client(cluster, "get", "x", "--mode", "stale", "--node", "n4")["value"] == 1
        cluster.kill("n1")
        cluster.kill("n4")
        cluster.start("n4")  # its directory and its log know who takes part
        client(cluster, "put", "x", "2")
        status = cluster.get("n4", "/status")
        assert status["members"] == ["n1", "n3", "n4"] and status["learners"] == []
        assert "n2" in client(cluster, "member", "add", "n2", code=1)["error"]


def test_a_wiped_node_is_refused_and_comes_back_under_a_new_id(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        leader = cluster.leader()
        client(cluster, "put", "x", "1")
        node, other = (n for n in cluster.nodes if n != leader)
        cluster.kill(node)
        shutil.rmtree(tmp_path / node)
        cluster.start(node)
        eventually(
            "it is refused",
            lambda: any(
                e["event"] == "connection-refused"
                and e["from"].startswith("127.0.0.1:")
                and "another data directory" in e["reason"]
                for e in cluster.events(leader)
            ),
        )
        cluster.kill(other)  # the wiped one and the leader are no majority
        refused = client(cluster, "--timeout", "1.5", "put", "x", "2", code=None)
        assert refused["status"] in ("unknown", "fail")  # fail: it had stepped down already
        cluster.start(other)
        client(cluster, "put", "x", "3")
        left = client(cluster, "member", "leave", "--node", node)
        assert left["value"]["voters"] == sorted([leader, other])
        cluster.kill(node)
        argv = [sys.executable, "-m", "cluster", "format", "--id", f"{node}~2"]
        argv += ["--data", str(tmp_path / node)]
        refused = subprocess.run(argv, capture_output=True, text=True)
        assert refused.returncode == 3 and "--replace" in refused.stderr
        assert subprocess.run([*argv, "--replace"], capture_output=True).returncode == 0
        cluster.start(node)
        client(cluster, "member", "add", f"{node}~2")
        promote(cluster, f"{node}~2")
        assert voters(cluster) == sorted([leader, other, f"{node}~2"])
        cluster.kill(other)
        client(cluster, "put", "x", "4")
        assert cluster.get(node, "/status")["node"] == f"{node}~2"
        assert "is that of" in _refused_format(argv)


def _refused_format(argv: list[str]) -> str:
    """Formatting again under the same id would be the mistake itself; and the node holds it."""
    done = subprocess.run([*argv, "--replace"], capture_output=True, text=True)
    assert done.returncode == 3
    return done.stderr if "in use" not in done.stderr else "it is that of a running node"


@pytest.mark.parametrize(
    "words, said",
    [
        (("format", "--id", "n~x", "--data", "d"), "neither a node's name nor NAME~N"),
        (("format", "--data", "d"), "--id"),
    ],
)
def test_a_wrong_format_is_refused_with_a_sentence(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 3 and said in done.stderr and done.stderr.count("\n") == 1
