"""Role ``data`` in processes of its own: started, asked, killed, damaged and started again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import COMMAND_BYTES_MAX, AsyncioClient, Outcome
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


def partition(cluster: Cluster, node: str) -> dict[str, Any]:
    (row,) = do(cluster, "partitions", "", node=node).value["partitions"]
    assert isinstance(row, dict)
    return row


def controllers(cluster: Cluster, *, among: Sequence[str] = NODES) -> list[str]:
    status = {node: cluster.get(node, "/status") or {} for node in among}
    return [node for node in among if (status[node].get("controller") or {}).get("token")]


def begun_move(cluster: Cluster, group: str) -> subprocess.Popen[str]:
    nodes = ",".join(f"{node}={address}" for node, address in cluster.addresses.items())
    argv = [sys.executable, "-m", "cluster.client", "--nodes", nodes, "--timeout", str(WITHIN_S),
            "partition", "move", "p00000", group]  # fmt: skip
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_all(cluster: Cluster, values: dict[str, str], node: str) -> None:
    for key, value in values.items():
        ran = do(cluster, "txn-run", "", [["r", key, None]], node=node)
        assert ran.status == "ok", ran.error
        assert ran.value[0][2] == value, f"{key} is not what was written"


@pytest.mark.real
def test_a_partition_of_many_parts_moves_and_goes_on_under_the_next_controller(
    tmp_path: Path,
) -> None:
    """A value as large as a request may be, others beside it; the controller dies in a move."""
    largest = COMMAND_BYTES_MAX - 64
    values = {f"k{n}": chr(97 + n) * (largest if n == 0 else 300_000) for n in range(4)}
    with Cluster(tmp_path, *SMALL, "--partitions", "1", nodes=NODES) as cluster:
        eventually("it is owned", lambda: partition(cluster, "n1")["state"] == "owned")
        for key, value in values.items():
            ran = do(cluster, "txn-run", "", [["w", key, value]], node="n2")
            assert ran.status == "ok", ran.error
        there = (
            ["g-n4", "g-n5"] if partition(cluster, "n1")["group"] != "g-n4" else ["g-n5", "g-n3"]
        )
        said, _ = begun_move(cluster, there[0]).communicate(timeout=WITHIN_S)
        assert json.loads(said)["status"] == "ok", said
        assert (partition(cluster, "n1")["group"], partition(cluster, "n1")["epoch"]) == (
            there[0],
            2,
        )
        read_all(cluster, values, "n3")

        (controller,) = eventually("a controller", lambda: controllers(cluster))
        other = next(node for node in NODES if node != controller)
        move = begun_move(cluster, there[1])
        eventually("it moves", lambda: partition(cluster, other)["epoch"] > 2
                   or partition(cluster, other)["state"] == "moving")  # fmt: skip
        cluster.kill(controller)
        move.communicate(timeout=WITHIN_S)

        def moved() -> bool:
            row = partition(cluster, other)
            return (row["group"], row["state"]) == (there[1], "owned")

        eventually("the next controller has moved it", moved)
        assert partition(cluster, other)["epoch"] == 3
        read_all(cluster, values, other)


def test_options_of_the_role() -> None:
    more = ["--role", "data", "--consensus", "zab", "--clock-bound-ms", "20"]
    options = parse_options([*GOOD, *more])
    assert (options.role, options.consensus) == ("data", "zab")
    assert options.config.clock_offset_bound_ns == 20_000_000
    with pytest.raises(OptionError, match="--clock-bound-ms 0 is not above 0"):
        parse_options([*GOOD, "--role", "data", "--clock-bound-ms", "0"])
