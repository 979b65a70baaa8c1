"""A full disk stops nobody: reads are served, writes are refused, and go on when there is room."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import AsyncioClient, Outcome
from cluster.config import ClusterConfig
from cluster.host.room import HAND_OVER_S
from cluster.log.storage import Storage
from cluster.ports import Append, DiskError, SaveSnapshot
from cluster.runtime.disk import FileDisk
from cluster.runtime.disk_faults import DiskFaultSettings
from cluster.runtime.storage_thread import StorageThread
from cluster.wire import (
    Command,
    Entry,
    HardState,
    Snapshot,
)

FULL = DiskFaultSettings(full=True)
ENTRY = Entry(1, 1, "command", b"x" * 400)


def do(cluster: Cluster, op: str, *args: Any, timeout_s: float = WITHIN_S) -> Outcome:
    async def call() -> Outcome:
        async with AsyncioClient(cluster.addresses, timeout_s=timeout_s) as client:
            return await client.call(Command(op, "x", args))

    return asyncio.run(call())


def read_and_refused(cluster: Cluster) -> None:
    """Every node is up, a linearizable read is answered, a write certainly did not happen."""
    assert eventually("a read is served", lambda: do(cluster, "get", timeout_s=3).status == "ok")
    for _ in range(2):
        refused = do(cluster, "put", 2, timeout_s=1.5)
        assert (refused.status, "is full" in refused.error) == ("fail", True), refused
        time.sleep(2 * HAND_OVER_S)
    assert do(cluster, "get").value == 1
    for node in cluster.nodes:
        assert cluster.processes[node].poll() is None
        assert cluster.get(node, "/status")["disk_full"] is True


@pytest.mark.real
def test_all_disks_full_keep_reads_served_and_a_new_leader_serves_them_too(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--enable-chaos") as cluster:
        cluster.leader()
        assert do(cluster, "put", 1).status == "ok"
        for node in cluster.nodes:
            cluster.post(node, "/chaos/disk", {"full": True})
        eventually("all know", lambda: all(map(is_full(cluster), cluster.nodes)))
        read_and_refused(cluster)
        assert sum(cluster.get(n, "/chaos")["disk"]["counts"]["full"] for n in cluster.nodes) > 0
        for node in cluster.nodes:
            cluster.post(node, "/chaos/disk", {})
        assert do(cluster, "put", 3).status == "ok"
        assert do(cluster, "get").value == 3


def is_full(cluster: Cluster) -> Callable[[str], bool]:
    return lambda node: bool(cluster.get(node, "/status")["disk_full"])


def snapshots(cluster: Cluster, node: str) -> int:
    return int(cluster.get(node, "/status")["storage"]["snapshots"])


@pytest.mark.real
def test_a_leader_whose_disk_is_full_lets_one_lead_that_has_room(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--enable-chaos") as cluster:
        leader = cluster.leader()
        cluster.post(leader, "/chaos/disk", {"full": True})
        assert do(cluster, "put", 1).status == "ok"
        rest = [node for node in cluster.nodes if node != leader]
        assert cluster.leader(among=rest) in rest
        assert cluster.processes[leader].poll() is None


@pytest.fixture
def small_disks(tmp_path: Path) -> Iterator[list[Path]]:
    """A file system of 8 MB for each of three nodes."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system needs root, to be mounted")
    places = [tmp_path / node for node in ("n1", "n2", "n3")]
    mounted = []
    try:
        for place in places:
            place.mkdir()
            argv = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
            if subprocess.run(argv, capture_output=True).returncode:
                pytest.skip("no file system can be mounted here")
            mounted.append(place)
        yield places
    finally:
        for place in mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.real
def test_real_disks_that_others_fill_and_empty(tmp_path: Path, small_disks: list[Path]) -> None:
    with Cluster(tmp_path, "--segment-bytes", "262144", "--snapshot-entries", "50") as cluster:
        cluster.leader()
        assert do(cluster, "put", 1).status == "ok"
        for place in small_disks:
            with (place / "ballast").open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
        eventually("all know", lambda: all(map(is_full(cluster), cluster.nodes)))
        read_and_refused(cluster)
        for place in small_disks:
            (place / "ballast").unlink()
        for number in range(150):
            assert do(cluster, "put", str(number) + "v" * 5000).status == "ok"
        # A quorum answered the writes. The third node may have found its disk empty a moment later.
        for node in cluster.nodes:
            eventually(f"{node} wrote a snapshot", partial(snapshots, cluster, node))


# -- the parts -------------------------------------------------------------------------------------


def test_a_log_without_room_goes_on_where_it_was(tmp_path: Path) -> None:
    disk, config = FileDisk(tmp_path), ClusterConfig(segment_bytes=1000)
    storage = Storage(disk, config)
    storage.recover()
    written = 0
    disk.faults.settings = FULL
    refused = 0
    while written < 12:
        entry = Entry(written + 1, 1, "command", b"x" * 400)
        effect = Append(written + 1, HardState(1, "n1"), (entry,))
        try:
            storage.write(effect)
        except DiskError as error:
            assert error.no_room and storage.failure is None
            refused += 1
            assert not [name for name in os.listdir(tmp_path) if name.startswith(".new-")]
            disk.faults.settings = DiskFaultSettings()
            continue
        storage.sync()
        written += 1
        disk.faults.settings = FULL
    assert refused >= 4
    disk.close()
    recovered = Storage(FileDisk(tmp_path), config).recover()
    assert [entry.index for entry in recovered.entries] == list(range(1, 13))
    assert recovered.hard_state == HardState(1, "n1")


def test_a_record_larger_than_a_segment_has_its_room_first(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    storage = Storage(disk, ClusterConfig(segment_bytes=1000))
    storage.recover()
    storage.write(Append(1, None, (ENTRY,)))
    storage.write(Append(2, None, (Entry(2, 1, "command", b"y" * 50_000),)))
    disk.faults.settings = FULL
    storage.sync()
    assert storage.failure is None


@pytest.mark.parametrize("reset_log", [False, True])
def test_a_snapshot_without_room_is_left_out_or_waited_for(tmp_path: Path, reset_log: bool) -> None:
    disk, config = FileDisk(tmp_path), ClusterConfig(segment_bytes=1000)
    storage = Storage(disk, config)
    storage.recover()
    storage.write(Append(1, None, (ENTRY,)))
    storage.sync()
    index = 9 if reset_log else 1
    save = SaveSnapshot(2, Snapshot(index, 1, ("n1",), b"state"), index + 1, reset_log)
    disk.faults.settings = FULL
    if reset_log:
        with pytest.raises(DiskError, match="ENOSPC"):
            storage.write(save)
        disk.faults.settings = DiskFaultSettings()
    storage.write(save)
    storage.write(Append(3, None, (Entry(index + 1, 1, "command", b"z"),)))
    disk.faults.settings = FULL if reset_log else DiskFaultSettings()
    if reset_log:  # the log that it replaces needs a segment
        with pytest.raises(DiskError, match="ENOSPC"):
            storage.sync()
        disk.faults.settings = DiskFaultSettings()
    storage.sync()
    assert storage.counters().snapshots_left_out == (not reset_log)
    assert storage.counters().snapshots == reset_log
    disk.close()
    recovered = Storage(FileDisk(tmp_path), config).recover()
    assert [entry.index for entry in recovered.entries] == ([10] if reset_log else [1, 2])
    assert (recovered.snapshot is not None) == reset_log


def test_the_storage_thread_waits_for_room_and_stops_while_it_waits(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    storage = Storage(disk, ClusterConfig(segment_bytes=1000))
    storage.recover()
    persisted: list[int] = []
    failed: list[Exception] = []
    thread = StorageThread(storage, persisted=persisted.append, failed=failed.append)
    disk.faults.settings = FULL
    for index in range(1, 6):
        thread.put(Append(index, None, (Entry(index, 1, "command", b"x" * 400),)))
    thread.start()
    eventually("those with room are durable", lambda: persisted == [2])
    disk.faults.settings = DiskFaultSettings()
    eventually("all are", lambda: persisted[-1] == 5)
    disk.faults.settings = FULL
    for index in range(6, 9):
        thread.put(Append(index, None, (Entry(index, 1, "command", b"x" * 400),)))
    eventually("one waits", lambda: persisted[-1] == 6)
    assert thread.stop(timeout_s=WITHIN_S)
    assert failed == []
