"""The storage thread: one FIFO queue of writes, and one sync for everything queued (group commit).

Problem: a sync takes as long as a hundred messages, and the event loop must not wait for it, or
heartbeats stop when the disk is slow. Solution: one thread owns the storage. It takes everything
queued, writes it, syncs once, and reports the last id; what came meanwhile goes into the next
round.

A full disk is waited for: a write for which there is no room was not begun (``DiskError.no_room``),
so it is tried again, in its place, until there is room or the node is asked to stop.

Invariants: writes become durable in the order queued (two threads would break that, and with it the
log); after the first error the thread ends and nothing more is ever reported durable.

Used by ``node``. The callbacks run in the storage thread: they must only hand over to the loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from cluster.host.effect_gate import Write
from cluster.host.room import TRY_AGAIN_S
from cluster.log.storage import DurableStorage
from cluster.ports import DiskError, SaveSnapshot
from cluster.runtime.metrics import Histogram

#: How long nothing is written before the storage may rest. Much longer than a busy node needs for a
#: batch: a rest is two syncs, and a write that comes meanwhile waits for them.
REST_AFTER_S = 0.05


class StorageThread:
    """Runs a recovered storage.

    Args:
        storage: the storage; from now on only this thread may touch it.
        persisted: called with the last id that is durable.
        failed: called once with the error that ended the storage.
    """

    def __init__(
        self,
        storage: DurableStorage,
        *,
        persisted: Callable[[int], object],
        failed: Callable[[Exception], object],
    ) -> None:
        self.sync_seconds = Histogram()
        self.snapshot_seconds = Histogram()
        self.writes_per_sync = Histogram.of_counts()
        self._storage = storage
        self._persisted = persisted
        self._failed = failed
        self._stopping = threading.Event()
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, write: Write) -> None:
        """Queue a write; ``persisted`` will be called with its id or a later one."""
        self._queue.put(write)

    def stop(self, *, timeout_s: float) -> bool:
        """Finish what is queued and end; False if the disk takes longer than that."""
        if not self._thread.is_alive():
            return True
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (batch := self._take())[0] is not None:
                self._commit([write for write in batch if write is not None])
                if batch[-1] is None:
                    return
        except DiskError as error:
            if not error.no_room:  # else it was asked to stop while it waited
                self._failed(error)
        except Exception as error:  # a bug: the node must stop all the same
            self._failed(error)

    def _take(self) -> list[Write | None]:
        """Wait for a write, then take all there are, up to a stop."""
        batch: list[Write | None] = []
        try:
            batch.append(self._queue.get(timeout=REST_AFTER_S))
        except Empty:
            self._storage.rest()
            batch.append(self._queue.get())
        while batch[-1] is not None:
            try:
                batch.append(self._queue.get_nowait())
            except Empty:
                break
        return batch

    def _commit(self, batch: list[Write]) -> None:
        has_snapshot = False
        for position, write in enumerate(batch):
            has_snapshot |= type(write) is SaveSnapshot
            self._once_there_is_room(self._write_one, batch, position)
        began = time.perf_counter()
        self._once_there_is_room(self._storage.sync)
        took = time.perf_counter() - began
        self._persisted(batch[-1].io_id)
        (self.snapshot_seconds if has_snapshot else self.sync_seconds).observe(took)
        self.writes_per_sync.observe(len(batch))

    def _write_one(self, batch: list[Write], position: int) -> None:
        try:
            self._storage.write(batch[position])
        except DiskError as error:
            if error.no_room and position:  # those before it need not wait for it
                self._storage.sync()
                self._persisted(batch[position - 1].io_id)
            raise

    def _once_there_is_room(self, action: Callable[..., None], *arguments: Any) -> None:
        while True:
            try:
                return action(*arguments)
            except DiskError as error:
                if not error.no_room or self._stopping.wait(TRY_AGAIN_S):
                    raise
