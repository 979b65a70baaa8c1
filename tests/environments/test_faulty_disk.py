"""The file system in user space: faithful while nothing is asked of it, and faulty as asked.

Faithful is what a plain directory does: random programs of file operations are run on both, and
must come to the same results and the same tree.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.environments.disk import disks, volumes
from harness.environments.disk.faulty_disk import control
from harness.environments.disk.faulty_disk.faults import Faults, check
from harness.errors import SetupError

pytestmark = pytest.mark.real


class Mounted:
    """A disk under test."""

    def __init__(self, place: Path) -> None:
        if lacking := disks.missing():
            pytest.skip(lacking)
        self.path = place / "disk"
        self.path.mkdir()
        self.log = place / "disk.log"
        name = f"test/{os.getpid()}/{time.time_ns()}"
        words: dict[str, Any] = {"name": name, "log": self.log, "seed": 3, "here": "n1"}
        self.disk = disks.LocalDisk(self.path, variables={}, **words)
        asyncio.run(self.disk.start())

    def set(self, **faults: Any) -> dict[str, int]:
        """Have these faults; the counts."""
        found: dict[str, int] = asyncio.run(self.disk.set(faults))["counts"]
        return found


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    made = Mounted(tmp_path)
    yield made
    asyncio.run(made.disk.stop())
    assert not volumes.mounted(str(made.path))
    assert made.log.read_text() == ""


def some_operation(rng: random.Random, root: Path) -> Any:
    """Do something to one of a few files; what it came to."""
    name = root / rng.choice(("a", "b", "d/a", "d/b", "d", "d/e"))
    other = root / rng.choice(("a", "c", "d/c", "d/a"))
    data, at, size = rng.randbytes(rng.randrange(1, 9000)), rng.randrange(20_000), rng.random()
    try:
        match rng.randrange(13):
            case 0 | 1 | 2:
                with open(name, "r+b" if name.exists() else "xb") as file:
                    file.seek(at)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            case 3:
                with open(name, "ab") as file:
                    return file.write(data)
            case 4:
                return name.read_bytes()
            case 5:
                name.mkdir(mode=0o750)
            case 6:
                name.unlink()
            case 7:
                name.rmdir()
            case 8:
                name.rename(other)
            case 9:
                os.truncate(name, int(size * 30_000))
            case 10:
                other.hardlink_to(name)
            case 11:
                name.symlink_to("a")
            case 12:
                os.chmod(name, 0o640)
                os.utime(name, ns=(at, at * 7))
    except OSError as error:
        return error.errno
    return None


def shown(root: Path) -> dict[str, Any]:
    """A tree's names, kinds, modes, sizes and contents."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        entry = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        size = entry.st_size if path.is_file() else 0
        found[str(path.relative_to(root))] = (entry.st_mode, entry.st_nlink, size, content)
    return found


def test_it_does_what_a_directory_does(mounted: Mounted, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    done = 0
    for seed in range(1500):
        ours = some_operation(random.Random(seed), mounted.path)
        assert ours == some_operation(random.Random(seed), plain), seed
        done += ours is None
    assert done > 200
    assert shown(mounted.path) == shown(plain)
    asyncio.run(mounted.disk.stop())
    # What was written is in the directory itself when the disk is gone.
    assert shown(mounted.path) == shown(plain)


def test_maps_locks_and_deleted_files_work(mounted: Mounted) -> None:
    path = mounted.path / "file"
    path.write_bytes(bytes(20_000))
    with open(path, "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as mapped:
            mapped[5_000:5_005] = b"hello"
            mapped.flush()
            os.pwrite(file.fileno(), b"world", 9_000)
            assert mapped[9_000:9_005] == b"world"
        os.lockf(file.fileno(), os.F_LOCK, 0)
        path.unlink()
        assert os.pread(file.fileno(), 5, 5_000) == b"hello"
        os.ftruncate(file.fileno(), 100)
        assert os.fstat(file.fileno()).st_size == 100
    assert os.listdir(mounted.path) == []


def test_many_names_are_listed_and_threads_do_not_wait_for_each_other(mounted: Mounted) -> None:
    for number in range(700):
        (mounted.path / f"{number:04}").touch()
    assert len(os.listdir(mounted.path)) == 700
    mounted.set(latency_ns=300_000_000)

    def sync(number: int) -> None:
        with open(mounted.path / f"{number:04}", "wb") as file:
            os.fsync(file.fileno())

    threads = [threading.Thread(target=sync, args=(number,)) for number in range(10)]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s, delayed = time.monotonic() - began_s, mounted.set()["delayed"]
    assert delayed >= 10
    assert 0.3 <= took_s < 0.3 * delayed, "one after the other would have taken as long"


def test_errors_and_no_room(mounted: Mounted) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"before")
    mounted.set(error="EIO")
    with pytest.raises(OSError) as found:
        path.write_bytes(b"during")
    assert found.value.errno == errno.EIO
    assert mounted.set(full=True)["errors"] == 1
    assert os.statvfs(mounted.path).f_bavail == 0
    with pytest.raises(OSError) as found:
        (mounted.path / "more").write_bytes(b"x")
    assert found.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"before"
    path.unlink()
    assert mounted.set()["refused"] == 1
    (mounted.path / "more").write_bytes(b"x")
    assert os.statvfs(mounted.path).f_bavail > 0


def test_a_torn_write_keeps_whole_sectors_of_its_beginning(mounted: Mounted) -> None:
    mounted.set(torn=True)
    kept = set()
    for number in range(12):
        path = mounted.path / f"{number}"
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        with pytest.raises(OSError):
            os.write(fd, b"x" * 5000)
        assert os.write(fd, b"y" * 512) == 512
        os.close(fd)
        size = path.stat().st_size
        assert size % 512 == 0 and size < 5000
        kept.add(size)
    assert len(kept) > 3
    assert mounted.set()["torn"] == 12


def test_a_flipped_bit_is_seen_by_who_reads_again(mounted: Mounted) -> None:
    path = mounted.path / "file"
    path.write_bytes(bytes(10_000))
    with open(path, "rb") as file:
        assert os.pread(file.fileno(), 10_000, 0) == bytes(10_000)
        assert mounted.set(flip=True)["flips"] == 1
        now = os.pread(file.fileno(), 10_000, 0)
    assert sum(byte.bit_count() for byte in now) == 1


def test_bits_are_flipped_where_something_is(mounted: Mounted) -> None:
    with open(mounted.path / "log", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 24)
        file.write(b"x" * 4096)
    for count in range(1, 6):
        assert mounted.set(flip=True)["flips"] == count
    content = (mounted.path / "log").read_bytes()
    assert content[:4096] != b"x" * 4096 and not any(content[4096:])


def test_what_is_asked_wrong_is_said_and_others_are_not_answered(mounted: Mounted) -> None:
    for faults, said in (({"slow": 1}, "no fault 'slow'"), ({"error": "EX"}, "error is 'EX'")):
        with pytest.raises(SetupError, match=said):
            mounted.set(**faults)
    assert check({"latency_ns": 0, "flip": True, "torn": True}) == {"torn": True}
    with pytest.raises(OSError):
        control.ask("test/nobody", {"faults": {}})


def test_counts_go_on_and_faults_are_kept_when_it_is_mounted_again(mounted: Mounted) -> None:
    mounted.set(error="EIO")
    with pytest.raises(OSError):
        (mounted.path / "a").touch()
    assert mounted.set()["errors"] == 1
    asyncio.run(mounted.disk.stop())
    assert not asyncio.run(mounted.disk.serves())
    with pytest.raises(SetupError, match="does not answer"):
        mounted.set()
    asyncio.run(mounted.disk.start())
    assert mounted.set()["errors"] == 1


def test_a_killed_server_leaves_a_mount_that_heal_removes(mounted: Mounted) -> None:
    (mounted.path / "a").write_text("kept")
    os.kill(mounted.disk.pid, 9)
    deadline_s = time.monotonic() + 90
    with pytest.raises(OSError):
        while time.monotonic() < deadline_s:
            (mounted.path / "a").read_text()
            time.sleep(0.02)
    path = str(mounted.path)
    assert volumes.remove({"mounts": [path]}) == ([f"mount {path}"], [])
    assert (mounted.path / "a").read_text() == "kept"


def test_the_packed_program_runs_alone(tmp_path: Path) -> None:
    program = tmp_path / "disk.zip"
    program.write_bytes(disks.packed())
    words = [sys.executable, "-I", str(program), str(tmp_path / "no-such"), "--name", "x"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90)
    assert done.returncode == 3 and done.stderr.startswith("faulty_disk: ")


def test_faults_are_chosen_by_kind() -> None:
    faults = Faults()
    faults.set({"full": True})
    for kind in ("read", "sync", "change"):
        faults.before(kind)
    for kind in ("write", "grow"):
        with pytest.raises(OSError):
            faults.before(kind)
    assert faults.counts()["refused"] == 2
