"""Role ``leaderless`` in processes of its own: started, asked, killed and started again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import AsyncioClient, Outcome
from cluster.runtime.options import OptionError, parse_options
from cluster.wire import Command

GOOD = ["--id", "n1", "--listen", "127.0.0.1:1", "--peers", "n1=127.0.0.1:1", "--data", "d"]


def do(cluster: Cluster, op: str, key: str, *args: Any, node: str = "") -> Outcome:
    async def run() -> Outcome:
        async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S) as client:
            return await client.call(Command(op, key, args), node=node)

    return asyncio.run(run())


@pytest.mark.real
def test_any_node_takes_writes_and_all_remember_after_a_kill(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--role", "leaderless") as cluster:
        assert do(cluster, "put", "x", 1, node="n1").status == "ok"
        assert do(cluster, "put", "x", 2, node="n2").status == "ok"
        found = do(cluster, "get", "x", node="n3").value
        assert sorted(found["values"]) == [1, 2]
        assert do(cluster, "put", "x", 3, found["context"], node="n3").status == "ok"
        assert do(cluster, "get", "x", node="n1").value["values"] == [3]
        cluster.kill("n3")
        for number in range(3):
            assert do(cluster, "set-add", "s", number, node="n1").status == "ok"
            assert do(cluster, "counter-incr", "c", 2, node="n2").status == "ok"
        for node in ("n1", "n2"):
            cluster.kill(node)
        for node in cluster.nodes:
            cluster.start(node)
        assert do(cluster, "set-read", "s", node="n3").value == [0, 1, 2]
        assert do(cluster, "counter-read", "c", node="n3").value == 6

        def all_equal() -> bool:
            return len({cluster.get(node, "/status")["trees"]["n2"] for node in ("n1", "n3")}) == 1

        eventually("replicas hold the same", all_equal)
        status = cluster.get("n2", "/status")
        assert (status["role"], status["versions"], status["keys"]) == ("peer", "dotted", 3)
        refused = do(cluster, "cas", "x", 1, 2)
        assert refused.status == "fail" and "there is no operation 'cas'" in refused.error
        cluster.kill("n1")
        said = cluster.refusal("n1", "--role", "core")
        assert "is of a node of role 'leaderless', not 'core'" in said


@pytest.mark.real
def test_a_node_joins_by_itself_and_another_leaves_and_comes_back(tmp_path: Path) -> None:
    """The fourth node is started with --join; then n1 leaves, is formatted, and is n1~2."""
    everybody = ("n1", "n2", "n3", "n4")
    cluster = Cluster(tmp_path, "--role", "leaderless", nodes=everybody)
    try:
        _joins_leaves_and_comes_back(cluster, tmp_path)
    finally:
        for node in list(cluster.processes):
            cluster.kill(node)


def _joins_leaves_and_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    addresses = dict(cluster.addresses)
    cluster.addresses = {node: addresses[node] for node in ("n1", "n2", "n3")}
    for node in cluster.addresses:
        cluster.start(node)
    for number in range(20):
        assert do(cluster, "set-add", f"s{number}", number).status == "ok"
    cluster.addresses = addresses
    cluster.start("n4", "--join")

    def members(node: str) -> list[str]:
        status = cluster.get(node, "/status")
        return [] if status["outgoing"] or status["foreign"] else sorted(status["members"])

    eventually("n4 is a member", lambda: members("n4") == list(addresses))
    assert do(cluster, "remove-member", "n1", node="n2").status == "ok"
    eventually(  # n2 may know of the ring before n3
        "n3 knows that n1 has left",
        lambda: do(cluster, "members", "", node="n3").value["retired"] == ["n1"],
    )
    cluster.kill("n1")
    assert do(cluster, "members", "", node="n1").node != "n1", "another is asked at once"
    argv = [sys.executable, "-m", "cluster", "format", "--id", "n1~2", "--replace"]
    subprocess.run([*argv, "--data", str(tmp_path / "n1")], check=True, capture_output=True)
    cluster.start("n1")
    eventually("it is back", lambda: members("n1") == members("n2") == ["n1~2", "n2", "n3", "n4"])
    for number in range(20):
        assert do(cluster, "set-read", f"s{number}", node="n1").value == [number]


@pytest.mark.parametrize(
    "more, message",
    [
        (["--role", "leaderles"], "did you mean 'leaderless'"),
        (["--role", "leaderless", "--versions", "lww"], "--versions 'lww' is not known"),
        (["--role", "leaderless", "--read-quorum", "1"], "need not meet"),
        (["--role", "leaderless", "--write-quorum", "4"], "are of the 3 --replicas"),
        (["--role", "leaderless", "--consensus", "zab"], "has no log to agree on"),
    ],
)
def test_what_does_not_go_with_the_role_is_refused(more: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_options([*GOOD, *more])
    options = parse_options([*GOOD, "--role", "leaderless", "--versions", "lww-hybrid"])
    assert (options.role, options.config.versions) == ("leaderless", "lww-hybrid")
