"""Viewstamped Replication with real processes: a cluster forms, fails over, and recovers a disk."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import AsyncioClient
from cluster.runtime.peer_directories import PeerDirectories
from cluster.wire import Command

pytestmark = pytest.mark.real


def do(cluster: Cluster, op: str, key: str, *args: Any) -> Any:
    async def run() -> Any:
        async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S) as client:
            return await client.call(Command(op, key, args))

    return asyncio.run(run())


def test_a_founder_recovers_from_the_loss_of_its_disk(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--consensus", "viewstamped") as cluster:
        leader = cluster.leader()
        wiped, other = (node for node in cluster.nodes if node != leader)
        cluster.kill(other)
        assert do(cluster, "put", "x", 1).status == "ok"
        cluster.kill(wiped)
        shutil.rmtree(tmp_path / wiped)
        cluster.start(wiped)
        cluster.start(other)

        def recovered() -> bool:
            return bool(cluster.get(wiped, "/status")["role"] in ("follower", "leader"))

        eventually("it takes part again", recovered)
        cluster.kill(other)
        assert do(cluster, "get", "x").value == 1
        assert do(cluster, "put", "x", 2).status == "ok"
        cluster.start(other)
        cluster.kill(cluster.leader())
        assert do(cluster, "get", "x").value == 2


def test_of_two_directories_the_lost_one_is_refused(tmp_path: Path) -> None:
    known = PeerDirectories(tmp_path, recovers=True)
    assert known.problem("n2", "d1") == known.problem("n2", "d1") == ""
    assert known.problem("n2", "d2") == known.problem("n2", "d2") == ""
    again = PeerDirectories(tmp_path, recovers=True)
    for directories in (known, again):
        assert "before: one that it had lost" in directories.problem("n2", "d1")
        assert directories.problem("n2", "d2") == ""
    assert again.problem("n2", "d3") == ""
    assert "another data directory" in PeerDirectories(tmp_path).problem("n2", "d4")
