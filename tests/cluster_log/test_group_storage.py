"""The storage of many groups against one model per group, under crashes at every operation.

Goal: what was acknowledged in any group is there after any crash, in the order written, and the
groups do not touch each other's files. Method: two groups follow the scripts of the single
storage's tests, their steps interleaved, on one disk that crashes at a chosen operation and loses
what it may.
"""

from __future__ import annotations

import random
from contextlib import suppress

import msgspec
import pytest
from crash_disk import Crash, CrashDisk
from hypothesis import given, settings
from hypothesis import strategies as st
from log_model import Model, Script, Step, steps

from cluster.config import ClusterConfig
from cluster.log.group_files import GroupDisk, group_of, salt_of, within_group
from cluster.log.group_storage import GroupStorage
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Append, Disk, DiskError, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot

GROUPS = ("core", "g-n1")
NOTHING = Recovered(HardState(), None, [])

PLAN = [
    *(Step("vote"), Step("append", 2, 30), Step("sync"), Step("append", 3, 200)),
    *(Step("append", 1, 0), Step("sync"), Step("cut", 4, 41), Step("append", 4, 90)),
    *(Step("vote"), Step("sync"), Step("snapshot", 1, 2), Step("append", 2, 10), Step("sync")),
    *(Step("reset", 3), Step("append", 2, 60), Step("sync")),
]


class Groups:
    """Two groups' models and scripts, and the one sequence of writes."""

    def __init__(self) -> None:
        self.models = {group: Model() for group in GROUPS}
        self.scripts = {group: Script() for group in GROUPS}
        self.writes = 0

    def recover(self, disk: CrashDisk, config: ClusterConfig) -> GroupStorage:
        storage = GroupStorage(disk, config)
        recovered = storage.recover()
        assert recovered.damage is None, f"a crash was taken for damage: {recovered.damage}"
        for group, model in self.models.items():
            model.restart(recovered.groups.get(group, NOTHING))
        return storage

    def run(self, storage: GroupStorage, plan: list[tuple[str, Step]]) -> None:
        for group, step in plan:
            if step.kind == "sync":
                storage.sync()
                for model in self.models.values():
                    model.acknowledge()
                continue
            effect = self.scripts[group].effect(step, self.models[group].now)
            if effect is not None:
                self.models[group].apply(effect)
                self.writes += 1
                storage.write(msgspec.structs.replace(effect, io_id=self.writes, group=group))


def interleaved() -> list[tuple[str, Step]]:
    """Both groups make all steps of the plan, the second one a few steps behind."""
    pairs = [(GROUPS[0], step) for step in PLAN]
    for at, step in enumerate(PLAN):
        pairs.insert(min(len(pairs), 2 * at + 3), (GROUPS[1], step))
    return pairs


@pytest.mark.parametrize("segment_bytes", [256, 4096])
def test_a_crash_at_every_operation_of_two_groups(segment_bytes: int) -> None:
    config = ClusterConfig(segment_bytes=segment_bytes)
    clean, groups = CrashDisk(), Groups()
    groups.run(groups.recover(clean, config), interleaved())
    assert clean.operations > 60
    for operation in range(clean.operations):
        for seed in range(3):
            disk, groups = CrashDisk(), Groups()
            storage = groups.recover(disk, config)
            disk.budget = operation
            with suppress(Crash):
                groups.run(storage, interleaved())
            disk.crash(random.Random(seed))
            groups.recover(disk, config)


@settings(max_examples=60, deadline=None)
@given(
    plans=st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from(GROUPS), st.integers(0, 24)), max_size=25),
            steps,
            st.integers(0, 80),
        ),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 2**32),
)
def test_recovered_is_acknowledged_and_maybe_more_in_each_group(
    plans: list[tuple[list[tuple[str, int]], list[Step], int]], seed: int
) -> None:
    source = random.Random(seed)
    disk, groups = CrashDisk(), Groups()
    config = ClusterConfig(segment_bytes=256)
    for order, drawn, crash_after in plans:
        storage = groups.recover(disk, config)
        disk.budget = crash_after
        plan = [(group, drawn[at % len(drawn)]) for group, at in order if drawn]
        with suppress(Crash):
            groups.run(storage, plan)
        disk.crash(source)
    groups.recover(disk, config)


# -- one group at a time


def append(io_id: int, group: str, index: int, data: bytes = b"x" * 20) -> Append:
    entries = (Entry(index, 1, "command", data),)
    return Append(io_id, HardState(1, "n1") if index == 1 else None, entries, group=group)


def filled(disk: Disk, *, writes: int = 3, config: ClusterConfig | None = None) -> GroupStorage:
    """Two groups with some entries each, synced."""
    storage = GroupStorage(disk, config or ClusterConfig(segment_bytes=4096))
    storage.recover()
    io_id = 0
    for index in range(1, writes + 1):
        for group in GROUPS:
            io_id += 1
            storage.write(append(io_id, group, index))
    storage.sync()
    storage.rest()
    return storage


def reopened(disk: CrashDisk) -> Recovered:
    disk.kill()
    return GroupStorage(disk, ClusterConfig(segment_bytes=4096)).recover()


def test_groups_are_found_by_their_files_and_begin_when_they_are_written_to() -> None:
    disk = CrashDisk()
    disk.create("identity")
    disk.sync_dir()
    assert reopened(disk).groups == {}
    storage = filled(disk)
    assert storage.groups == GROUPS
    assert {group_of(name) for name in disk.names()} == {"", *GROUPS}
    storage.write(append(7, "g-n2", 1))
    storage.sync()
    found = reopened(disk).groups
    assert sorted(found) == ["core", "g-n1", "g-n2"]
    assert [len(each.entries) for each in found.values()] == [3, 3, 1]
    assert found["g-n2"].hard_state == HardState(1, "n1")


def test_one_sync_covers_every_group_that_was_written_to_and_no_other() -> None:
    disk = CrashDisk()
    storage = filled(disk)
    before = storage.counters()
    storage.write(append(7, "core", 4))
    storage.sync()
    assert storage.counters().syncs == before.syncs + 1, "the other group had nothing to sync"
    storage.write(append(8, "core", 5))
    storage.write(append(9, "g-n1", 4))
    storage.sync()
    assert storage.counters().syncs == before.syncs + 3
    disk.crash(random.Random(1))
    found = GroupStorage(disk, ClusterConfig(segment_bytes=4096)).recover().groups
    assert (len(found["core"].entries), len(found["g-n1"].entries)) == (5, 4)


class ForgetsOne(GroupStorage):
    """Syncs the first group only."""

    def to_sync(self, unsynced):  # type: ignore[no-untyped-def]
        return unsynced[:1]


def test_a_sync_that_leaves_a_group_out_loses_what_was_acknowledged() -> None:
    """The method of the tests above would see it."""
    lost = 0
    for seed in range(20):
        disk = CrashDisk()
        storage = ForgetsOne(disk, ClusterConfig(segment_bytes=4096))
        storage.recover()
        storage.write(append(1, "core", 1))
        storage.write(append(2, "g-n1", 1))
        storage.sync()
        disk.crash(random.Random(seed))
        found = GroupStorage(disk, ClusterConfig(segment_bytes=4096)).recover().groups
        assert len(found["core"].entries) == 1
        lost += not found.get("g-n1", NOTHING).entries
    assert lost > 5


# -- damage


def content(disk: CrashDisk, name: str) -> bytes:
    return bytes(disk.live[name].content)


def put(disk: CrashDisk, name: str, data: bytes) -> None:
    file = disk.live[name]
    file.content, file.durable = bytearray(data), data


def segment(disk: CrashDisk, group: str) -> str:
    return next(name for name in disk.names() if name.startswith(f"{group}@wal-"))


def test_damage_in_one_group_names_its_file_and_leaves_the_others_sound() -> None:
    disk = CrashDisk()
    filled(disk)
    disk.kill()
    name = segment(disk, "g-n1")
    put(disk, name, content(disk, name)[:-30])
    recovered = reopened(disk)
    assert recovered.groups["core"].damage is None
    assert len(recovered.groups["core"].entries) == 3
    damage = recovered.groups["g-n1"].damage
    assert damage is not None and damage.file == name and damage == recovered.damage
    assert (damage.index, damage.generation) == (3, 1)
    assert recovered.groups["g-n1"].hard_state == HardState(1, "n1")


def test_damage_that_peers_cannot_repair_is_refused_with_file_and_group() -> None:
    disk = CrashDisk()
    filled(disk)
    disk.kill()
    name = segment(disk, "g-n1")
    put(disk, name, content(disk, name)[:-30])
    storage = GroupStorage(disk, ClusterConfig(segment_bytes=4096))
    with pytest.raises(CorruptLog, match=r"g-n1@wal.*nobody has it \(group g-n1\)"):
        storage.recover(why_not=lambda snapshot, entries: "nobody has it")


@pytest.mark.parametrize("kind", ["wal-", "superblock-", "snapshot-"])
def test_a_file_of_one_group_is_never_taken_for_one_of_another(kind: str) -> None:
    """Seed 15 of a campaign with swapped files: n5 came back with a vote for a stranger."""
    disk = CrashDisk()
    storage = filled(disk)
    if kind == "snapshot-":
        for io_id, group in enumerate(GROUPS, 7):
            snapshot = Snapshot(3, 1, ("n1",), group.encode())
            storage.write(SaveSnapshot(io_id, snapshot, 4, group=group))
        storage.sync()
    disk.kill()
    for mine in [name for name in disk.names() if name.startswith(f"core@{kind}")]:
        own = within_group(mine)
        other = next(n for n in disk.names() if n.startswith(f"g-n1@{kind}") and _like(n, own))
        assert content(disk, mine) != content(disk, other)
        first, second = content(disk, mine), content(disk, other)
        put(disk, mine, second)
        put(disk, other, first)
    try:
        recovered = reopened(disk)
    except CorruptLog as error:
        assert error.segment.startswith("core@")
        return
    for group in GROUPS:
        assert recovered.groups[group].damage is not None, f"{group} took a stranger's file"


def _like(name: str, own: str) -> bool:
    return own.startswith("wal-") or within_group(name) == own


# -- errors


def test_a_disk_error_in_one_group_is_the_end_of_all() -> None:
    disk = CrashDisk()
    storage = filled(disk)
    storage.write(append(7, "core", 4))
    disk.budget, disk.error = 0, "EIO"
    with pytest.raises(DiskError, match="EIO"):
        storage.sync()
    disk.budget = disk.error = None
    assert storage.failure is not None
    with pytest.raises(DiskError, match="EIO"):
        storage.write(append(8, "g-n1", 4))


class FullDisk(CrashDisk):
    """No room for new files while ``full``."""

    full = False

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        if self.full:
            raise DiskError("ENOSPC", "create", name)
        super().create(name, preallocate_bytes=preallocate_bytes)


def test_a_new_group_waits_for_room_and_begins_when_there_is_some() -> None:
    disk = FullDisk()
    storage = filled(disk)
    disk.full = True
    for _ in range(2):
        with pytest.raises(DiskError) as raised:
            storage.write(append(7, "g-n2", 1))
        assert raised.value.no_room
    assert storage.failure is None
    storage.write(append(8, "core", 4))
    storage.sync()
    disk.full = False
    storage.write(append(7, "g-n2", 1))
    storage.sync()
    assert len(reopened(disk).groups["g-n2"].entries) == 1


@pytest.mark.parametrize("group", ["", "a@b", "a/b"])
def test_a_name_that_no_file_can_have_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="it must be a name without"):
        GroupDisk(CrashDisk(), group)


def test_names_of_files_tell_their_group() -> None:
    assert (group_of("g-n1@wal-1"), within_group("g-n1@wal-1")) == ("g-n1", "wal-1")
    assert (group_of("identity"), within_group("identity")) == ("", "identity")
    assert salt_of("core") != salt_of("g-n1")
