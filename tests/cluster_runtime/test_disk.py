"""The real disk: what is not synced is gone with the process, and faults bite and are counted."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import ClusterConfig
from cluster.log.storage import Storage
from cluster.ports import Append, DiskError
from cluster.runtime.data_directory import WrongDirectory, claim, format_for
from cluster.runtime.disk import DirectoryInUse, FileDisk
from cluster.runtime.disk_faults import DiskFaultSettings, parse_disk_faults
from cluster.runtime.peer_directories import PeerDirectories, keeps_founders
from cluster.runtime.sealed_file import DamagedFile
from cluster.wire import Entry, HardState


def reopened(disk: FileDisk, root: Path) -> FileDisk:
    """As after a SIGKILL: nothing of the process is left."""
    disk.close()
    return FileDisk(root)


def test_unsynced_bytes_are_lost(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    disk.create("f", preallocate_bytes=4096)
    disk.append("f", b"kept")
    disk.sync("f")
    disk.sync_dir()
    disk.append("f", b"lost")
    assert disk.read("f") == b"keptlost"
    disk = reopened(disk, tmp_path)
    assert disk.read("f") == b"kept".ljust(4096, b"\0")
    disk.truncate("f", 4)
    disk.append("f", b"!")
    disk.sync("f")
    assert disk.read("f") == b"kept!"


@pytest.mark.parametrize(("make", "why"), [
    (Path.mkdir, "EISDIR: it is a directory"),
    (os.mkfifo, "EINVAL"),
    (lambda place: place.symlink_to("nowhere"), "EINVAL"),
])  # fmt: skip
def test_what_is_no_file_is_named_when_it_is_used_as_one(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    """Otherwise a segment that is a directory is missed, or its place is found taken too late."""
    make(tmp_path / "wal-1")
    disk = FileDisk(tmp_path)
    disk.create("f")
    assert disk.names() == ["f", "wal-1"]
    for operation in (disk.read, disk.create, disk.sync, disk.remove):
        with pytest.raises(DiskError, match=f"{operation.__name__} 'wal-1' failed with {why}"):
            operation("wal-1")
    with pytest.raises(DiskError, match=f"rename 'wal-1' failed with {why}"):
        disk.rename("f", "wal-1")


def test_a_directory_that_takes_a_files_place_is_named(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    disk.create("wal-1")
    (tmp_path / "wal-1").mkdir()
    with pytest.raises(DiskError, match="sync_dir 'wal-1' failed with EISDIR: it is a directory"):
        disk.sync_dir()


def test_what_is_overwritten_is_there_at_once_and_a_kill_does_not_take_it(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    disk.create("f", preallocate_bytes=8)
    disk.append("f", b"0123")
    disk.sync("f")
    disk.sync_dir()
    disk.overwrite("f", 1, b"ab")
    disk.overwrite("f", 4, b"")
    assert disk.read("f") == b"0ab3"
    assert (tmp_path / "f").read_bytes() == b"0ab3" + bytes(4)
    disk.append("f", b"4567")
    for offset, data in ((3, b"xy"), (-1, b"x"), (5, b"")):  # what is not synced is no content yet
        with pytest.raises(DiskError, match="EINVAL"):
            disk.overwrite("f", offset, data)
    disk.sync("f")
    disk.overwrite("f", 3, b"wxyz")
    disk = reopened(disk, tmp_path)
    assert disk.read("f") == b"0abwxyz7"
    disk.overwrite("f", 0, b"-")
    disk.truncate("f", 4)
    disk.sync("f")
    disk.overwrite("f", 3, b"!")
    assert disk.read("f") == b"-ab!"
    disk.remove("f")
    disk.sync_dir()
    assert os.listdir(tmp_path) == [".lock"]


def test_names_are_lost_without_a_directory_sync(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    disk.create("f")
    disk.append("f", b"x")
    disk.sync("f")
    assert disk.names() == ["f"]
    disk = reopened(disk, tmp_path)
    assert disk.names() == []
    assert [n for n in os.listdir(tmp_path) if not n.startswith(".lock")] == []
    disk.create("a")
    disk.append("a", b"1")
    disk.sync("a")
    disk.sync_dir()
    disk.rename("a", "b")
    disk.create("c")
    disk.remove("b")
    assert disk.names() == ["c"]
    disk = reopened(disk, tmp_path)
    assert disk.names() == ["a"]
    disk.rename("a", "b")
    disk.sync_dir()
    disk = reopened(disk, tmp_path)
    assert (disk.names(), disk.read("b")) == (["b"], b"1")
    disk.remove("b")
    disk.sync_dir()
    assert reopened(disk, tmp_path).names() == []


def test_a_rename_replaces(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    for name in ("a", "b"):
        disk.create(name)
        disk.append(name, name.encode())
        disk.sync(name)
    disk.sync_dir()
    disk.rename("a", "b")
    disk.sync_dir()
    disk = reopened(disk, tmp_path)
    assert (disk.names(), disk.read("b")) == (["b"], b"a")


def test_a_truncation_is_lost_or_done_with_the_sync(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    disk.create("f", preallocate_bytes=64)
    disk.append("f", b"0123456789")
    disk.sync("f")
    disk.sync_dir()
    disk.truncate("f", 4)
    disk.append("f", b"ab")
    assert disk.read("f") == b"0123ab"
    disk = reopened(disk, tmp_path)
    assert disk.read("f").rstrip(b"\0") == b"0123456789"
    disk.truncate("f", 4)
    disk.append("f", b"ab")
    disk.sync("f")
    disk = reopened(disk, tmp_path)
    assert disk.read("f") == b"0123ab".ljust(64, b"\0")
    disk.append("f", b"cd")
    disk.truncate("f", 65)
    assert len(disk.read("f")) == 65


def test_one_process_per_directory(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    with pytest.raises(DirectoryInUse, match="in use by another process"):
        FileDisk(tmp_path)
    disk.close()
    FileDisk(tmp_path).close()


def test_misuse_is_a_disk_error(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    disk.create("f")
    with pytest.raises(DiskError, match="EEXIST"):
        disk.create("f")
    for call in (disk.read, disk.sync, disk.remove):
        with pytest.raises(DiskError, match="ENOENT"):
            call("g")


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=12), synced=st.data())
def test_storage_on_the_real_disk_keeps_exactly_what_was_synced(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], synced: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("disk")
    disk, config = FileDisk(root), ClusterConfig(segment_bytes=1500)
    storage = Storage(disk, config)
    storage.recover()
    durable = 0
    for index, size in enumerate(sizes, 1):
        storage.write(
            Append(index, HardState(index, ""), (Entry(index, 1, "command", b"x" * size),))
        )
        if synced.draw(st.booleans()):
            storage.sync()
            durable = index
    disk = reopened(disk, root)
    recovered = Storage(disk, config).recover()
    disk.close()
    assert [e.index for e in recovered.entries] == list(range(1, len(recovered.entries) + 1))
    assert durable <= len(recovered.entries) <= len(sizes)
    assert [len(e.data) for e in recovered.entries] == sizes[: len(recovered.entries)]


@pytest.mark.parametrize(
    ("fault", "code", "count"),
    [
        (DiskFaultSettings(error="EIO"), "EIO", "errors"),
        (DiskFaultSettings(full=True), "ENOSPC", "full"),
    ],
)
def test_faults_fail_writes(
    tmp_path: Path, fault: DiskFaultSettings, code: str, count: str
) -> None:
    disk = FileDisk(tmp_path)
    disk.create("f")
    disk.append("f", b"x")
    disk.faults.settings = fault
    with pytest.raises(DiskError, match=code):
        disk.sync("f")
    assert disk.faults.counts[count] == 1
    disk.faults.settings = DiskFaultSettings()
    disk.sync("f")


def test_a_torn_write_leaks_a_prefix(tmp_path: Path) -> None:
    leaked = 0
    for number in range(30):
        root = tmp_path / str(number)
        disk = FileDisk(root)
        disk.create("f", preallocate_bytes=8192)
        disk.append("f", b"a" * 100)
        disk.sync("f")
        disk.sync_dir()
        disk.faults.settings = DiskFaultSettings(torn=True)
        disk.append("f", b"b" * 5000)
        disk = reopened(disk, root)
        content = disk.read("f").rstrip(b"\0")
        disk.close()
        assert content == b"a" * 100 + b"b" * (len(content) - 100)
        leaked += len(content) > 100
    assert leaked > 10


def test_a_flipped_bit_is_one_bit_and_not_at_the_end(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    name = "wal-0000000000000001-0000000000000001.log"
    before = random.Random(1).randbytes(20_000) + b"\1"
    disk.create(name, preallocate_bytes=40_000)
    disk.append(name, before)
    disk.sync(name)
    disk.sync_dir()
    place = disk.flip_bit()
    assert place is not None
    after = disk.read(name)
    changed = [i for i, (a, b) in enumerate(zip(before, after)) if a != b]
    assert changed == [int(place.rpartition(":")[2])]
    assert (before[changed[0]] ^ after[changed[0]]).bit_count() == 1
    assert changed[0] < len(before) - 4096
    assert disk.faults.counts["flipped"] == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"latency": 1}, "latency_ns"),
        ({"latency_ns": -1}, "from 0 to"),
        ({"latency_ns": "1"}, "latency_ns"),
        ({"error": "EOOPS"}, "no errno name"),
    ],
)
def test_wrong_faults_are_named(document: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_disk_faults(document)


def test_a_directory_has_one_owner_and_counts_its_starts(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    for starts in (1, 2, 3):
        assert claim(disk, cluster="c", node="n1").starts == starts
        disk = reopened(disk, tmp_path)
    for cluster, node in (("c", "n2"), ("d", "n1")):
        with pytest.raises(WrongDirectory, match="belongs to node 'n1' of cluster 'c'"):
            claim(disk, cluster=cluster, node=node)
    disk.remove("identity")
    disk.create("wal-0000000000000001-0000000000000001.log")
    with pytest.raises(WrongDirectory, match="no identity file"):
        claim(disk, cluster="c", node="n1")


def test_a_directory_belongs_to_one_consensus(tmp_path: Path) -> None:
    """Another variant would take the log's votes and entries for what they are not."""
    disk = FileDisk(tmp_path)
    claim(disk, cluster="c", node="n1")  # as an earlier version wrote it: it does not say
    for _ in range(2):
        disk = reopened(disk, tmp_path)
        assert claim(disk, cluster="c", node="n1", consensus="raft").consensus == "raft"
    with pytest.raises(WrongDirectory, match="is of a node of consensus 'raft', not 'zab'"):
        claim(disk, cluster="c", node="n1", consensus="zab")
    format_for(disk, cluster="c", member="n1~2")
    assert claim(disk, cluster="c", node="n1", consensus="zab").node == "n1~2"


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_an_identity_with_any_bit_flipped_is_refused(tmp_path: Path) -> None:
    """``n1`` is one bit from ``n3``: with two voters of one name, a node would elect itself."""
    disk = FileDisk(tmp_path)
    claim(disk, cluster="c", node="n3", founders=("n1", "n2", "n3"), directory="d")
    reopened(disk, tmp_path).close()
    file = tmp_path / "identity"
    sound = file.read_bytes()
    for bit in range(8 * len(sound)):
        file.write_bytes(flipped(sound, bit))
        disk = FileDisk(tmp_path)
        with pytest.raises(WrongDirectory, match="identity is damaged at byte 0"):
            claim(disk, cluster="c", node="n3")
        disk.close()
    for data in (b"", sound[:20], sound[:-3], bytes(len(sound))):
        file.write_bytes(data)
        disk = FileDisk(tmp_path)
        with pytest.raises(WrongDirectory, match="identity is damaged at byte 0"):
            claim(disk, cluster="c", node="n3")
        disk.close()
    file.write_bytes(sound.splitlines()[0])  # as an earlier version wrote it
    assert claim(FileDisk(tmp_path), cluster="c", node="n3").founders == ("n1", "n2", "n3")


def test_a_memory_of_peers_with_any_bit_flipped_is_refused(tmp_path: Path) -> None:
    """Else a peer is refused for ever, or a wiped one let in."""
    known = PeerDirectories(tmp_path)
    assert known.problem("n2", "d1") == known.problem("n3", "e1") == ""
    file = tmp_path / ".peers"
    sound = file.read_bytes()
    for data in [b"", sound[:9], *(flipped(sound, bit) for bit in range(8 * len(sound)))]:
        file.write_bytes(data)
        with pytest.raises(DamagedFile, match=r"\.peers is damaged at byte 0: "):
            PeerDirectories(tmp_path)
    file.write_bytes(sound)
    assert "another data directory" in PeerDirectories(tmp_path).problem("n2", "d2")


@pytest.mark.parametrize(
    "role, consensus, way_back",
    [
        ("core", "raft", "must be removed from the cluster and added under a new id"),
        ("leaderless", "raft", "must be removed from the cluster and added under a new id"),
        ("core", "multi-paxos", "cannot come back: the members are the founders for ever"),
        ("data", "zab", "cannot come back: the members are the founders for ever"),
        ("paxos", "raft", "cannot come back: the members are the founders for ever"),
    ],
)
def test_a_wiped_node_is_told_a_way_back_only_where_there_is_one(
    tmp_path: Path, role: str, consensus: str, way_back: str
) -> None:
    known = PeerDirectories(tmp_path, founders_only=keeps_founders(role, consensus))
    assert known.problem("n2", "d1") == ""
    assert known.problem("n2", "d2").endswith(f"it was wiped, and {way_back}")
