"""What the write-ahead log costs: processor time per record, and durable writes per second.

    python bench/wal.py [--dir DIR] [--seconds 2]

The first lines write to a disk that does nothing, so they are the encoding alone; the others write
to real files, synced after each batch. The bare line is the machine's: one write of the same size
with RWF_DSYNC, or fdatasync, into a preallocated file, and nothing else. The ratio is the share of
the machine's own speed that is left.

The last lines are the price of the superblock: the same writes with and without it, in turn, in
short rounds since the speed of a disk drifts; the medians are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster.config import ClusterConfig
from cluster.log.storage import Storage
from cluster.log.superblock import Superblocks
from cluster.ports import Append, Disk
from cluster.runtime.disk import FileDisk
from cluster.wire import Entry

VALUE = b"x" * 160
#: rounds with and without the superblock
ROUNDS = 15


class NoDisk:
    """A disk that keeps nothing."""

    def names(self) -> list[str]:
        return []

    def read(self, name: str) -> bytes:
        return b""

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        return

    def append(self, name: str, data: bytes) -> None:
        return

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        return

    def truncate(self, name: str, size_bytes: int) -> None:
        return

    def sync(self, name: str) -> None:
        return

    def sync_dir(self) -> None:
        return

    def rename(self, old: str, new: str) -> None:
        return

    def remove(self, name: str) -> None:
        return


class NoSuperblocks(Superblocks):
    """Nothing is promised, so nothing is written but the log."""

    def promise(self, **_position: Any) -> None:
        """Does nothing."""


def writes(disk: Disk, *, batch: int, seconds: float, promised: bool = True) -> tuple[float, float]:
    """Durable batches per second, and their size in bytes."""
    storage = Storage(disk, ClusterConfig())
    if not promised:
        storage._superblocks = NoSuperblocks(disk)
    storage.recover()
    index = count = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        entries = tuple(Entry(index + i, 1, "command", VALUE) for i in range(1, batch + 1))
        index += batch
        count += 1
        storage.write(Append(count, None, entries))
        storage.sync()
    took = time.perf_counter() - began
    return count / took, storage.counters().bytes / count


def bare(path: Path, *, size: int, seconds: float) -> float:
    """Writes per second of so many bytes, each durable, with nothing around them."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.posix_fallocate(fd, 0, 1 << 28)
    data, offset, count = b"x" * size, 0, 0
    flags = getattr(os, "RWF_DSYNC", 0)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        os.pwritev(fd, [data], offset, flags)
        if not flags:
            os.fdatasync(fd)
        offset = (offset + size) % ((1 << 28) - size)
        count += 1
    os.close(fd)
    return count / (time.perf_counter() - began)


def price(root: Path, *, batch: int, seconds: float) -> tuple[float, float]:
    """Median microseconds of a durable batch with the superblock, and without it."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * ROUNDS):
        promised = number % 2 == 0
        disk = FileDisk(root / f"{batch}-{number}")
        rate, _ = writes(disk, batch=batch, seconds=seconds / ROUNDS, promised=promised)
        disk.close()
        took[promised].append(1e6 / rate)
    return statistics.median(took[True]), statistics.median(took[False])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dir", default=None, help="where to write; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    print(f"entries of {len(VALUE)} bytes")
    for batch in (1, 16, 256):
        rate, size = writes(NoDisk(), batch=batch, seconds=given.seconds / 4)
        print(f"encode  batch {batch:4}: {1e6 / rate / batch:6.2f} us/entry, {size:7.0f} B/batch")
    with tempfile.TemporaryDirectory(dir=given.dir, prefix="bench-wal-") as name:
        for batch in (1, 16, 256):
            root = Path(name, str(batch))
            disk = FileDisk(root)
            rate, size = writes(disk, batch=batch, seconds=given.seconds)
            disk.close()
            limit = bare(Path(name, "bare"), size=int(size), seconds=given.seconds)
            print(
                f"durable batch {batch:4}: {rate:6.0f}/s, bare {limit:6.0f}/s, "
                f"ratio {rate / limit:4.2f}, {rate * batch:9.0f} entries/s"
            )
        for batch in (1, 16, 256):
            own, plain = price(Path(name, "price"), batch=batch, seconds=3 * given.seconds)
            print(
                f"superblock batch {batch:4}: {own:7.1f} us/batch, without {plain:7.1f}, "
                f"{100 * (own - plain) / plain:+5.1f} %"
            )


if __name__ == "__main__":
    main()
