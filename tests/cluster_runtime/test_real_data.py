"""Role ``data`` in processes of its own: started, asked, killed, damaged and started again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import AsyncioClient, Outcome
from cluster.runtime.options import OptionError, parse_options
from cluster.wire import Command
from harness.environments.damaged_files import damage_directory

NODES = ("n1", "n2", "n3", "n4", "n5")
SMALL = ("--role", "data", "--segment-bytes", "65536", "--clock-bound-ms", "50")
GOOD = ["--id", "n1", "--listen", "127.0.0.1:1", "--peers", "n1=127.0.0.1:1", "--data", "d"]


def do(cluster: Cluster, op: str, key: str, *args: Any, node: str = "") -> Outcome:
    async def run() -> Outcome:
        async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S) as client:
            return await client.call(Command(op, key, args), node=node)

    return asyncio.run(run())


def rows(cluster: Cluster, node: str) -> dict[str, dict[str, Any]]:
    status = cluster.get(node, "/status") or {"groups": []}
    return {row["group"]: row for row in status["groups"]}


def all_led(cluster: Cluster) -> bool:
    led: set[str] = set()
    for node in NODES:
        led.update((cluster.get(node, "/status") or {"leads": []})["leads"])
    return led == {"core", *(f"g-{node}" for node in NODES)}


@pytest.mark.real
def test_groups_are_led_the_core_serves_and_all_remember(tmp_path: Path) -> None:
    with Cluster(tmp_path, *SMALL, nodes=NODES) as cluster:
        eventually("every group is led", lambda: all_led(cluster))
        assert do(cluster, "put", "x", 1, node="n5").status == "ok", "n5 is not in the core"
        assert do(cluster, "cas", "x", 1, 2, node="n2").status == "ok"
        ran = do(cluster, "txn-run", "", [["append", "l", 1], ["append", "m", 2]], node="n4")
        assert ran.status == "ok", ran.error
        assert sorted(rows(cluster, "n4")) == ["g-n2", "g-n3", "g-n4"]
        metrics = cluster.get("n4", "/metrics")
        assert 'splitbrain_group_is_leader{group="g-n3"}' in metrics
        sample = dict(line.split(" ") for line in metrics.splitlines() if line[0] != "#")
        assert float(sample["splitbrain_intents"]) >= 0
        assert 0 <= float(sample["splitbrain_hlc_drift_seconds"]) <= 0.05, "the clock bound"
        assert sample["splitbrain_hlc_refused_total"] == "0"
        assert sample["splitbrain_watch_slow_total"] == sample["splitbrain_watch_count"] == "0"
        assert sample["splitbrain_lease_count"] == "0", "n4 is not in the core"

        nodes = ",".join(f"{node}={address}" for node, address in cluster.addresses.items())
        argv = [sys.executable, "-m", "cluster.client", "--nodes", nodes, "get", "x"]
        said = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN_S)
        assert json.loads(said.stdout)["value"] == 2, said.stderr
        snapshot = [*argv[:-2], "--timeout", "60", "snapshot"]  # of what clients put into the core
        for word in ("save", "restore"):
            more = [*snapshot, word, str(tmp_path / "keys")]
            said = subprocess.run(more, capture_output=True, text=True, timeout=WITHIN_S)
            assert said.returncode == 0 and json.loads(said.stdout)["keys"] == 1, said
            assert ("nothing of what transactions wrote" in said.stderr) is (word == "save")

        for node in NODES:
            cluster.kill(node)
        found = damage_directory(tmp_path / "n5", "lost-tail", 1)
        group = str(found["file"]).partition("@")[0]
        for node in NODES:
            cluster.start(node)
        eventually("every group is led again", lambda: all_led(cluster))
        assert do(cluster, "get", "x", node="n4").value == 2
        ran = do(cluster, "txn-run", "", [["r", "l", None], ["r", "m", None]], node="n2")
        assert ran.value == [["r", "l", [1]], ["r", "m", [2]]], ran.error
        eventually("it is repaired", lambda: not cluster.get("n5", "/status")["recovering"])
        told = [e for e in cluster.events("n5") if e["event"] in ("recovering", "repaired")]
        assert {event["group"] for event in told} == {group}, told
        cluster.kill("n1")
        assert "is of a node of role 'data', not 'core'" in cluster.refusal("n1", "--role", "core")


def test_options_of_the_role() -> None:
    more = ["--role", "data", "--consensus", "zab", "--clock-bound-ms", "20"]
    options = parse_options([*GOOD, *more])
    assert (options.role, options.consensus) == ("data", "zab")
    assert options.config.clock_offset_bound_ns == 20_000_000
    with pytest.raises(OptionError, match="--clock-bound-ms 0 is not above 0"):
        parse_options([*GOOD, "--role", "data", "--clock-bound-ms", "0"])
