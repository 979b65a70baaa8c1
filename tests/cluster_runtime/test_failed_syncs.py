"""A sync that fails is never taken for one that did not, and a sync that is due is asked for.

The kernel itself refuses here: the file below is exchanged for one which can be written and not
made durable (a file of ``/proc`` knows no ``RWF_DSYNC``, ``/dev/null`` no ``fdatasync``), and the
directory for a handle that renames and cannot be synced (``O_PATH``).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from processes import WITHIN_S, eventually

from cluster.config import ClusterConfig
from cluster.log.storage import Storage
from cluster.ports import Append, DiskError
from cluster.runtime import disk as disk_module
from cluster.runtime.data_directory import claim, format_for
from cluster.runtime.disk import FileDisk
from cluster.runtime.peer_directories import PeerDirectories
from cluster.runtime.storage_thread import StorageThread
from cluster.wire import Entry, HardState

ENTRY = Entry(1, 1, "command", b"x" * 300)


def exchange(fd: int, path: str | Path, flags: int) -> None:
    """Let a descriptor mean another file from now on."""
    other = os.open(path, flags)
    os.dup2(other, fd)
    os.close(other)


def written_file(root: Path, pending: bytes) -> FileDisk:
    disk = FileDisk(root)
    disk.create("f", preallocate_bytes=4096)
    disk.append("f", pending)
    return disk


@pytest.mark.skipif(not disk_module._DSYNC, reason="this system writes and syncs in two calls")
def test_a_write_asks_to_be_durable(tmp_path: Path) -> None:
    setting = Path("/proc/self/coredump_filter")
    as_it_is = f"0x{setting.read_text().strip()}".encode()
    disk = written_file(tmp_path, as_it_is)
    exchange(disk._files["f"].fd, setting, os.O_RDWR)
    assert os.pwrite(disk._files["f"].fd, as_it_is, 0) == len(as_it_is), "it can be written"
    with pytest.raises(DiskError, match="sync 'f' failed"):
        disk.sync("f")


def test_a_write_in_two_calls_syncs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_module, "_DSYNC", 0)
    disk = written_file(tmp_path, b"data")
    exchange(disk._files["f"].fd, "/dev/null", os.O_RDWR)
    with pytest.raises(DiskError, match="sync 'f' failed with EINVAL"):
        disk.sync("f")


def test_a_sync_of_nothing_new_is_a_sync(tmp_path: Path) -> None:
    """What recovery read may exist in memory only."""
    disk = written_file(tmp_path, b"data")
    disk.sync("f")
    exchange(disk._files["f"].fd, "/dev/null", os.O_RDWR)
    with pytest.raises(DiskError, match="sync 'f' failed with EINVAL"):
        disk.sync("f")


def test_a_directory_that_cannot_be_synced_is_an_error(tmp_path: Path) -> None:
    disk = written_file(tmp_path, b"data")
    disk.sync("f")
    exchange(disk._directory, tmp_path, os.O_PATH)
    with pytest.raises(DiskError, match=r"sync_dir '.' failed with EBADF"):
        disk.sync_dir()


def recovered(root: Path, disk: FileDisk) -> Storage:
    storage = Storage(disk, ClusterConfig(segment_bytes=1000))
    storage.recover()
    return storage


def test_storage_is_dead_after_a_file_that_could_not_be_synced(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    storage = recovered(tmp_path, disk)
    name = max(disk.names())
    storage.write(Append(1, HardState(1, "n1")))
    exchange(disk._files[name].fd, "/dev/zero", os.O_RDONLY)
    with pytest.raises(DiskError, match="sync"):
        storage.sync()
    with pytest.raises(DiskError, match="sync"):
        storage.sync()
    assert storage.failure is not None


def test_storage_is_dead_after_a_directory_that_could_not_be_synced(tmp_path: Path) -> None:
    """A segment is begun, and its name may be gone tomorrow: nothing in it may be acknowledged."""
    disk = FileDisk(tmp_path)
    storage = recovered(tmp_path, disk)
    exchange(disk._directory, tmp_path, os.O_PATH)
    with pytest.raises(DiskError, match="sync_dir"):
        for index in range(1, 6):
            entry = Entry(index, 1, "command", b"x" * 300)
            storage.write(Append(index, None, (entry,)))
            storage.sync()
    assert storage.failure is not None


def test_what_the_storage_thread_reports_is_there_after_a_kill(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    persisted: list[int] = []
    thread = StorageThread(
        recovered(tmp_path, disk), persisted=persisted.append, failed=persisted.append
    )
    thread.start()
    thread.put(Append(1, HardState(3, "n2"), (ENTRY,)))
    eventually("it is durable", lambda: persisted == [1])
    disk.close()  # as a kill: what was not synced is gone
    found = Storage(FileDisk(tmp_path), ClusterConfig(segment_bytes=1000)).recover()
    assert (found.hard_state, found.entries) == (HardState(3, "n2"), [ENTRY])


@pytest.mark.parametrize("below", ["file", "directory"])
def test_the_storage_thread_reports_it_once_and_nothing_as_durable(
    tmp_path: Path, below: str
) -> None:
    disk = FileDisk(tmp_path)
    storage = recovered(tmp_path, disk)
    name = max(disk.names())
    persisted: list[int] = []
    failed: list[Exception] = []
    thread = StorageThread(storage, persisted=persisted.append, failed=failed.append)
    if below == "file":
        exchange(disk._files[name].fd, "/dev/zero", os.O_RDONLY)
    else:
        exchange(disk._directory, tmp_path, os.O_PATH)
    for index in range(1, 5):
        thread.put(Append(index, HardState(index, "n1"), (Entry(index, 1, "command", b"x" * 300),)))
    thread.start()
    eventually("it failed", lambda: failed)
    assert thread.stop(timeout_s=WITHIN_S)
    thread.put(Append(9))
    assert len(failed) == 1 and isinstance(failed[0], DiskError)
    assert all(io_id < 4 for io_id in persisted)
    assert below == "directory" or persisted == []


def test_a_directory_is_not_claimed_or_emptied_without_its_sync(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    exchange(disk._directory, tmp_path, os.O_PATH)
    with pytest.raises(DiskError, match="sync_dir"):
        claim(disk, cluster="c", node="n1")
    disk.close()
    disk = FileDisk(tmp_path)
    exchange(disk._directory, tmp_path, os.O_PATH)
    with pytest.raises(DiskError, match="sync_dir"):
        format_for(disk, cluster="c", member="n1~2")


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_peer_is_let_in_only_once_it_is_remembered_for_good(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one place that syncs by hand: the kernel's answer is replaced, for one kind of file."""
    asked: list[str] = []
    fsync = os.fsync

    def failing(fd: int) -> None:
        kind = "directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"
        asked.append(kind)
        if kind == what:
            raise OSError(5, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    known = PeerDirectories(tmp_path)
    assert "cannot be remembered" in known.problem("n2", "d1")
    assert what in asked
    monkeypatch.undo()
    assert known.problem("n2", "d1") == ""
    assert "another data directory" in PeerDirectories(tmp_path).problem("n2", "d2")
