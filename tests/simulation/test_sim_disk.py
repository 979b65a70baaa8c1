"""The simulated disk keeps exactly what was synced, and loses the rest in every way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.ports import DiskError
from cluster.simulation.disk import SECTOR_BYTES, DiskProfile, FaultAtlas, SimDisk
from cluster.simulation.randomness import derive


def disk(seed: int = 0, **options: int) -> SimDisk:
    return SimDisk(DiskProfile(), derive(seed, "disk"), **options)


def test_a_name_is_durable_only_with_its_directory() -> None:
    it = disk()
    it.create("a")
    it.append("a", b"x")
    it.sync("a")
    assert it.crash(lose_unsynced=True, torn=False)["names_lost"] == 1
    assert it.names() == []


def test_a_rename_and_a_removal_come_back_undone() -> None:
    it = disk()
    for name in ("old", "gone"):
        it.create(name)
        it.append(name, name.encode())
        it.sync(name)
    it.sync_dir()
    it.rename("old", "new")
    it.remove("gone")
    assert it.names() == ["new"]
    it.crash(lose_unsynced=True, torn=False)
    assert it.names() == ["gone", "old"]
    assert it.read("gone") == b"gone"


def test_killing_the_process_alone_loses_nothing() -> None:
    it = disk()
    it.create("a")
    it.append("a", b"x")
    it.crash(lose_unsynced=False, torn=False)
    assert it.read("a") == b"x"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=1500)),
        st.tuples(st.just("truncate"), st.floats(0, 1)),
        st.tuples(st.just("sync"), st.none()),
        st.tuples(st.just("crash"), st.none()),
    ),
    max_size=25,
)


@given(steps)
def test_a_file_against_its_slow_twin(script: list[tuple[str, object]]) -> None:
    """The twin copies the whole content at every sync."""
    it = disk()
    it.create("a")
    it.sync_dir()
    content, durable = b"", b""
    for action, argument in script:
        if action == "append":
            it.append("a", argument)
            content += argument
        elif action == "truncate":
            size = int(len(content) * argument)
            it.truncate("a", size)
            content = content[:size]
        elif action == "sync":
            it.sync("a")
            durable = content
        else:
            it.crash(lose_unsynced=True, torn=False)
            content = durable
        assert it.read("a") == content


@given(st.integers(0, 10_000), st.binary(max_size=3000), st.binary(min_size=1, max_size=6000))
def test_a_torn_write_keeps_what_was_durable(seed: int, kept: bytes, unsynced: bytes) -> None:
    it = disk(seed)
    it.create("a")
    it.sync_dir()
    it.append("a", kept)
    it.sync("a")
    it.append("a", unsynced)
    it.crash(lose_unsynced=True, torn=True)
    found = it.read("a")
    assert found.startswith(kept)
    assert len(found) <= len(kept) + len(unsynced)


def test_tears_are_of_every_kind() -> None:
    kinds = set()
    data = bytes(range(1, 256)) * 20
    for seed in range(200):
        it = disk(seed)
        it.create("a")
        it.sync_dir()
        it.append("a", data)
        it.crash(lose_unsynced=True, torn=True)
        found = it.read("a")
        if not found:
            kinds.add("all lost")
        elif found == data[: len(found)]:
            kinds.add("at a sector" if len(found) % SECTOR_BYTES == 0 else "within a sector")
        else:
            kinds.add("a hole" if bytes(SECTOR_BYTES) in found else "garbage")
    assert kinds == {"all lost", "at a sector", "within a sector", "a hole", "garbage"}


def test_a_failed_sync_loses_the_bytes_even_if_tried_again() -> None:
    it = disk()
    it.create("a")
    it.sync_dir()
    it.append("a", b"lost")
    it.set({"error": "EIO"})
    with pytest.raises(DiskError, match="sync 'a' failed with EIO"):
        it.sync("a")
    it.set({})
    it.sync("a")
    assert it.read("a") == b""


def test_full_and_small_disks_refuse_to_grow() -> None:
    it = disk(capacity_bytes=10)
    it.create("a")
    it.append("a", b"123456789")
    with pytest.raises(DiskError, match="ENOSPC"):
        it.append("a", b"ab")
    assert it.has_room(1) and not it.has_room(2)
    it.set({"full": True})
    with pytest.raises(DiskError, match="ENOSPC") as caught:
        it.create("b")
    assert caught.value.no_room and not it.has_room(1)
    with pytest.raises(DiskError, match="ENOSPC"):
        it.append("a", b"x")
    assert it.set({})["full"] == 3


def test_a_full_disk_leaves_a_file_the_room_it_was_given() -> None:
    it = disk()
    it.create("a", preallocate_bytes=4)
    it.set({"full": True})
    it.append("a", b"1234")
    with pytest.raises(DiskError, match="append 'a' failed with ENOSPC") as caught:
        it.append("a", b"5")
    assert not caught.value.no_room and it.read("a") == b"1234"


def test_a_flip_is_one_bit_and_never_near_the_end() -> None:
    for seed in range(50):
        it = disk(seed)
        it.create("a")
        assert it.flip() is None
        it.append("a", bytes(10_000))
        it.sync("a")
        where = it.flip()
        assert where is not None
        flipped = [(at, byte) for at, byte in enumerate(it.read("a")) if byte]
        assert len(flipped) == 1
        assert bin(flipped[0][1]).count("1") == 1
        assert where == f"a:{flipped[0][0]}"
        assert flipped[0][0] < 10_000 - 4096


def test_a_disk_that_is_damaged_again_while_it_is_repaired_is_damaged() -> None:
    """Seed 33 of role ``data``: the second damage was taken for one that nothing did."""
    atlas = FaultAtlas(("n1", "n2", "n3"))
    atlas.damage("n1")
    atlas.read("n1")
    atlas.damage("n1")
    atlas.repaired("n1")
    assert atlas.damaged == ["n1"]
    atlas.read("n1")
    atlas.repaired("n1")
    assert atlas.damaged == []
