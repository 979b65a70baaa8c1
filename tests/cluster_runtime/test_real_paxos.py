"""Role ``paxos`` in processes of its own: started, asked, killed and started again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster

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
def test_any_node_serves_and_all_remember_after_a_kill(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--role", "paxos") as cluster:
        assert do(cluster, "put", "x", 1, node="n1").status == "ok"
        assert do(cluster, "cas", "x", 1, 2, node="n2").status == "ok"
        refused = do(cluster, "cas", "x", 1, 3, node="n3")
        assert (refused.status, refused.error) == ("fail", "the value is 2, not 1")
        status = cluster.get("n2", "/status")
        assert (status["role"], status["leader"], status["members"]) == (
            "peer", "", ["n1", "n2", "n3"],
        )  # fmt: skip
        cluster.kill("n3")
        assert do(cluster, "append", "l", "a", node="n1").status == "ok"
        for node in ("n1", "n2"):
            cluster.kill(node)
        for node in cluster.nodes:
            cluster.start(node)
        assert do(cluster, "get", "x", node="n3").value == 2
        assert do(cluster, "get", "l", node="n3").value == ["a"]
        refused = do(cluster, "remove-member", "n3")
        assert refused.status == "fail" and "stay those of its founding" in refused.error
        cluster.kill("n1")
        said = cluster.refusal("n1", "--role", "core")
        assert "is of a node of role 'paxos', not 'core'" in said


@pytest.mark.parametrize(
    "more, message",
    [
        (["--role", "paxo"], "--role 'paxo' is not known; did you mean 'paxos'"),
        (["--role", "paxos", "--join"], "--join is for --role core"),
    ],
)
def test_what_does_not_go_with_the_role_is_refused(more: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_options([*GOOD, *more])
    assert parse_options([*GOOD, "--role", "paxos"]).role == "paxos"
