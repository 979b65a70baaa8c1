"""Storage against a model, under crashes at every operation and every torn write.

Goal: what was acknowledged is there after any crash, in the order written, and nothing that was
never written is. Method: random scripts over tiny segments on a disk that crashes at a chosen
operation (recovery included) and loses what it may; a fixed script is crashed everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from crash_disk import Crash, CrashDisk
from hypothesis import given, settings
from hypothesis import strategies as st
from log_model import Model, Script, Step, steps

from cluster.config import ClusterConfig
from cluster.log.storage import Storage
from cluster.ports import DiskError


def run(storage: Storage, model: Model, script: Script, plan: list[Step]) -> None:
    for step in plan:
        if step.kind == "sync":
            storage.sync()
            model.acknowledge()
            continue
        effect = script.effect(step, model.now)
        if effect is not None:
            model.apply(effect)
            storage.write(effect)


def recover(disk: CrashDisk, config: ClusterConfig, model: Model) -> Storage:
    storage = Storage(disk, config)
    recovered = storage.recover()
    assert recovered.damage is None, f"a crash was taken for damage: {recovered.damage}"
    model.restart(recovered)
    return storage


@settings(max_examples=400, deadline=None)
@given(
    plans=st.lists(
        st.tuples(steps, st.integers(0, 60), st.integers(0, 12)), min_size=1, max_size=4
    ),
    segment_bytes=st.sampled_from([150, 256, 600, 4096]),
    seed=st.integers(0, 2**32),
)
def test_recovered_is_acknowledged_and_maybe_more(
    plans: list[tuple[list[Step], int, int]], segment_bytes: int, seed: int
) -> None:
    source = random.Random(seed)
    disk, model, script = CrashDisk(), Model(), Script()
    config = ClusterConfig(segment_bytes=segment_bytes)
    for plan, crash_after, crash_in_recovery in plans:
        try:
            disk.budget = crash_in_recovery
            storage = Storage(disk, config)
            recovered = storage.recover()
            disk.budget = None
            model.restart(recovered)
        except Crash:
            disk.crash(source)
            storage = recover(disk, config, model)
        disk.budget = crash_after
        with suppress(Crash):
            run(storage, model, script, plan)
        disk.crash(source)
    recover(disk, config, model)


FIXED = [
    *(Step("vote"), Step("append", 2, 30), Step("sync"), Step("append", 3, 200)),
    *(Step("append", 1, 0), Step("sync"), Step("cut", 4, 41), Step("sync"), Step("append", 4, 90)),
    *(Step("vote"), Step("sync"), Step("snapshot", 1, 2), Step("append", 2, 10), Step("sync")),
    *(Step("cut", 1, 7), Step("sync"), Step("reset", 3), Step("append", 2, 60), Step("sync")),
    *(Step("append", 1, 700), Step("sync")),
]


@pytest.mark.parametrize("segment_bytes", [200, 700, 4096])
def test_a_crash_at_every_operation(segment_bytes: int) -> None:
    config = ClusterConfig(segment_bytes=segment_bytes)
    clean = CrashDisk()
    run(recover(clean, config, Model()), Model(), Script(), FIXED)
    for operation in range(clean.operations):
        for seed in range(12):
            disk, model = CrashDisk(), Model()
            storage = recover(disk, config, model)
            disk.budget = operation
            with suppress(Crash):
                run(storage, model, Script(), FIXED)
            disk.crash(random.Random(seed))
            recover(disk, config, model)


@pytest.mark.parametrize("segment_bytes", [200, 4096])
def test_what_recovery_found_survives_the_next_crash(segment_bytes: int) -> None:
    """The process died and the machine did not: what is read may exist in memory only.

    The node acts on it as soon as it has started, so it is durable by then.
    """
    config = ClusterConfig(segment_bytes=segment_bytes)
    clean = CrashDisk()
    run(recover(clean, config, Model()), Model(), Script(), FIXED)
    for operation in range(clean.operations):
        for seed in range(4):
            disk = CrashDisk()
            storage = Storage(disk, config)
            with suppress(Crash):
                storage.recover()
                disk.budget = operation
                run(storage, Model(), Script(), FIXED)
            disk.budget = None
            found = Storage(disk, config).recover()
            disk.crash(random.Random(seed))
            again = Storage(disk, config).recover()
            assert (again.hard_state, again.entries) == (found.hard_state, found.entries)
            assert again.snapshot == found.snapshot


def test_a_write_torn_at_every_byte() -> None:
    config = ClusterConfig(segment_bytes=8192)
    for seed_cut in range(1, 1400):
        disk, model, script = CrashDisk(), Model(), Script()
        storage = recover(disk, config, model)
        run(storage, model, script, [Step("append", 2, 30), Step("sync")])
        run(storage, model, script, [Step("vote"), Step("append", 3, 200), Step("append", 2, 280)])
        file = disk.live[max(disk.names())]
        del file.content[len(file.durable) + seed_cut :]
        file.durable = bytes(file.content)
        disk.crash(random.Random(0))
        recover(disk, config, model)


@settings(max_examples=150, deadline=None)
@given(
    plan=steps,
    fail_after=st.integers(0, 60),
    code=st.sampled_from(["EIO", "ENOSPC"]),
    seed=st.integers(0, 2**32),
)
def test_a_disk_error_is_final(plan: list[Step], fail_after: int, code: str, seed: int) -> None:
    config = ClusterConfig(segment_bytes=300)
    disk, model, script = CrashDisk(), Model(), Script()
    storage = recover(disk, config, model)
    disk.budget, disk.error = fail_after, code
    try:
        run(storage, model, script, [*plan, Step("append", 1, 1), Step("sync")])
    except DiskError as error:
        if error.no_room:
            assert storage.failure is None
            return
        assert storage.failure is error
        disk.budget = disk.error = None  # the disk is well again, and must not be trusted
        with pytest.raises(DiskError, match=code):
            storage.sync()
        with pytest.raises(DiskError, match=code):
            run(storage, Model(), Script(), [Step("append", 1, 1)])
    disk.crash(random.Random(seed))
    recover(disk, config, model)


@settings(max_examples=300, deadline=None)
@given(
    plan=steps,
    full_after=st.lists(st.integers(0, 25), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)
def test_no_room_for_a_file_is_waited_for_and_nothing_is_lost(
    plan: list[Step], full_after: list[int], seed: int
) -> None:
    """Full at several moments, and at creations only: each call is tried again, as a node does."""
    config = ClusterConfig(segment_bytes=300)
    disk, model, script = FillingDisk(full_after), Model(), Script()
    storage = recover(disk, config, model)
    disk.filling = True
    for step in [*plan, Step("append", 1, 1), Step("sync")]:
        if step.kind == "sync":
            until_room(storage.sync)
            model.acknowledge()
            continue
        effect = script.effect(step, model.now)
        if effect is not None:
            left_out = storage.counters().snapshots_left_out
            until_room(storage.write, effect)
            until_room(storage.sync)
            if storage.counters().snapshots_left_out == left_out:
                model.apply(effect)
            model.acknowledge()
    disk.filling = False
    disk.crash(random.Random(seed))
    recover(disk, config, model)


def until_room(action: Callable[..., None], *arguments: Any) -> None:
    while True:
        try:
            return action(*arguments)
        except DiskError as error:
            assert error.no_room


class FillingDisk(CrashDisk):
    """Full at some creations: after so many that succeeded, one fails."""

    def __init__(self, full_after: list[int]) -> None:
        super().__init__()
        self.filling = False
        self._left = list(full_after)

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        if self.filling and self._left:
            if self._left[0] <= 0:
                del self._left[0]
                raise DiskError("ENOSPC", "create", name)
            self._left[0] -= 1
        super().create(name, preallocate_bytes=preallocate_bytes)


def test_entries_that_leave_a_gap_are_refused() -> None:
    storage = Storage(CrashDisk(), ClusterConfig())
    storage.recover()
    effect = Script().effect(Step("append", 2, 1), Model().now)
    assert effect is not None
    storage.write(effect)
    gap = Script()._entries(9, 1, 1)
    with pytest.raises(ValueError, match="do not continue a log that ends at 2"):
        storage.write(type(effect)(2, None, gap))
