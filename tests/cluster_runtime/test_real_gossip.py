"""Role ``gossip`` in processes of its own: a leader that dies, and one that comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster

from cluster.client.asyncio_client import AsyncioClient, Outcome
from cluster.runtime.options import OptionError, parse_options
from cluster.wire import Command

GOOD = ["--id", "n1", "--listen", "127.0.0.1:1", "--peers", "n1=127.0.0.1:1", "--data", "d"]


def do(cluster: Cluster, op: str, *args: Any, node: str = "") -> Outcome:
    async def run() -> Outcome:
        async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S) as client:
            return await client.call(Command(op, "", args), node=node)

    return asyncio.run(run())


def until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.1)


@pytest.mark.real
def test_the_next_oldest_leads_when_the_leader_is_killed(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--role", "gossip") as cluster:
        everybody = ["n1", "n2", "n3"]

        def status(name: str) -> dict[str, Any]:
            return cluster.get(name, "/status")

        def agree() -> bool:
            """Whether all nodes are in one view: on a busy machine one may start late."""
            views = [status(name)["view_members"] for name in everybody]
            return sorted(views[0]) == everybody and views[1:] == views[:-1]

        until(agree)
        assert "splitbrain_gossip_suspects " in cluster.get("n1", "/metrics")
        first = do(cluster, "act", "a", node="n3")
        assert first.status == "ok", first.error
        killed, *others = status("n3")["view_members"]
        assert first.value["leader"] == killed
        before = status(killed)["incarnation"]
        cluster.kill(killed)
        until(lambda: status(others[0])["role"] == "leader")
        second = do(cluster, "act", "b", node=others[0])
        assert second.value["leader"] == others[0] and second.value["token"] > first.value["token"]
        cluster.start(killed)
        until(agree)
        assert status(killed)["incarnation"] > before
        assert do(cluster, "leader-view", node=killed).value["members"] == [*others, killed]
        refused = do(cluster, "put", 1)
        assert refused.status == "fail" and "has no operation 'put'" in refused.error


@pytest.mark.parametrize(
    "more, message",
    [
        (["--role", "gossp"], "--role 'gossp' is not known; did you mean 'gossip'"),
        (["--role", "gossip", "--join"], "members of --role gossip do not change"),
        (["--role", "gossip", "--consensus", "zab"], "--role gossip has no log to agree on"),
    ],
)
def test_what_does_not_go_with_the_role_is_refused(more: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_options([*GOOD, *more])
    assert parse_options([*GOOD, "--role", "gossip"]).role == "gossip"
