"""The superblock: what was promised is known whatever became of the log's end.

Goal: each copy alone suffices; a torn sector costs nothing; a log shorter or other than promised is
known as damaged, durably, with what can be kept; a log of an earlier version is taken as it is.
"""

from __future__ import annotations

import msgspec
import pytest
from crash_disk import CrashDisk

from cluster.config import ClusterConfig
from cluster.log.segmented_log import SegmentHeader, segment_of
from cluster.log.setting_aside import ASIDE
from cluster.log.storage import Storage
from cluster.log.superblock import (
    FILE_BYTES,
    NAMES,
    SLOT_BYTES,
    SYNC_EVERY,
    Superblock,
    Superblocks,
    decode_slot,
    encode_slot,
    newer,
)
from cluster.log.write_ahead_log import SEGMENT, CorruptLog, encode_record, scan
from cluster.ports import Append, Damage, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot

CONFIG = ClusterConfig(segment_bytes=900)


def build(writes: int, *, config: ClusterConfig = CONFIG) -> CrashDisk:
    disk = CrashDisk()
    storage = Storage(disk, config)
    storage.recover()
    for index in range(1, writes + 1):
        hard_state = HardState(index, "n1") if index % 4 == 1 else None
        entry = Entry(index, 1 + (index - 1) // 4 * 4, "command", bytes([64 + index]) * 90)
        storage.write(Append(index, hard_state, (entry,)))
        storage.sync()
    disk.kill()
    return disk


def put(disk: CrashDisk, name: str, content: bytes | None) -> None:
    if content is None:
        del disk.live[name]
    else:
        disk.live[name].content = bytearray(content)
        disk.live[name].durable = content
    disk.durable = dict(disk.live)


def last_segment(disk: CrashDisk) -> str:
    return max(name for name in disk.live if segment_of(name))


def damage_of(disk: CrashDisk) -> Damage:
    found = Storage(disk, CONFIG).recover().damage
    assert found is not None
    return found


def test_what_is_promised_is_the_last_synced_position() -> None:
    disk = build(7)
    promised = Superblocks(disk).read()
    assert promised is not None
    name = last_segment(disk)
    records = scan(bytes(disk.live[name].content), promised.last_segment).records
    assert segment_of(name).sequence == promised.last_segment  # type: ignore[union-attr]
    assert (promised.end, promised.crc) == (records[-1].end, records[-1].crc)
    assert (promised.index, promised.generation) == (7, 5)
    assert promised.hard_state == HardState(5, "n1")


def test_one_copy_damaged_in_any_way_costs_nothing() -> None:
    for name in NAMES:
        for content in (None, b"", b"\xff" * FILE_BYTES, bytes(FILE_BYTES), b"\xa5SB1"):
            disk = build(7)
            put(disk, name, content)
            found = Storage(disk, CONFIG).recover()
            assert found.damage is None and found.entries[-1].index == 7
            whole = Superblocks(disk)
            assert whole.read() is not None
            assert len(disk.read(name)) == FILE_BYTES  # and it is made whole again
            put(disk, NAMES[1 - NAMES.index(name)], None)
            assert Storage(disk, CONFIG).recover().damage is None


def test_a_torn_slot_falls_back_on_the_one_before() -> None:
    disk = build(3)
    newest = Superblocks(disk).read()
    assert newest is not None
    offset = newest.sequence % 2 * SLOT_BYTES
    for name in NAMES:
        content = bytearray(disk.live[name].content)
        content[offset + 20] ^= 1
        put(disk, name, bytes(content))
    before = Superblocks(disk).read()
    assert before is not None and before.sequence == newest.sequence - 1
    assert Storage(disk, CONFIG).recover().damage is None


def test_every_end_of_the_log_that_is_lost_is_missed() -> None:
    """Cut at each byte of the last segment, its room too: nothing is lost without a word."""
    whole = build(10)
    name = last_segment(whole)
    content = bytes(whole.live[name].content)
    for size in range(len(content)):
        disk = build(10)
        put(disk, name, content[:size])
        found = damage_of(disk)
        assert found.file == name and found.offset <= size
        assert (found.index, found.generation) == (10, 9)
    for lost in (None, b""):
        disk = build(10)
        put(disk, name, lost)
        found = damage_of(disk)
        assert name.startswith(found.file) and found.offset == 0


def test_the_vote_is_known_when_the_log_is_gone() -> None:
    disk = build(9)
    for name in list(disk.live):
        if segment_of(name):
            put(disk, name, None)
    found = Storage(disk, CONFIG).recover()
    assert found.damage is not None and found.entries == []
    assert found.hard_state == HardState(9, "n1")


def test_an_older_copy_of_the_last_segment_is_missed() -> None:
    older = build(9)
    name = last_segment(older)
    disk = build(10)
    assert last_segment(disk) == name
    put(disk, name, bytes(older.live[name].content))
    assert "were promised" in damage_of(disk).reason


def test_a_segment_of_another_log_in_the_last_place_is_missed() -> None:
    """Whole to its end and chained to the one before; only the promised record tells it."""
    disk, other = build(3), build(3)
    name = last_segment(disk)
    records = scan(bytes(other.live[name].content), 1).records
    forged, _ = encode_record(
        records[-1].kind,
        records[-1].payload.replace(b"CCC", b"ccc"),
        index=records[-1].index,
        durable=records[-1].durable,
        previous=records[-1].previous,
        sequence=1,
        offset=records[-1].offset,
    )
    content = bytes(disk.live[name].content)
    put(disk, name, content[: records[-1].offset] + forged)
    assert damage_of(disk).reason == "the record that ends here is not the one that was promised"


def test_damage_is_known_until_it_is_repaired_and_then_forgotten() -> None:
    disk = build(10)
    name = last_segment(disk)
    put(disk, name, None)
    first = damage_of(disk)
    for _ in range(3):
        disk.kill()
        assert damage_of(disk) == first
    storage = Storage(disk, CONFIG)
    recovered = storage.recover()
    last = recovered.entries[-1].index
    entries = tuple(Entry(i, 9, "command", b"again") for i in range(last + 1, 11))
    storage.write(Append(1, None, entries, repaired=True))
    storage.sync()
    disk.kill()
    sound = Storage(disk, CONFIG).recover()
    assert sound.damage is None and sound.entries[-1].index == 10
    assert not [each for each in disk.names() if each.startswith(ASIDE)]


def test_what_cannot_be_used_is_kept_until_the_repair() -> None:
    disk = build(17)
    names = sorted(name for name in disk.live if segment_of(name))
    assert len(names) > 2
    content = bytearray(disk.live[names[1]].content)
    content[200] ^= 1
    put(disk, names[1], bytes(content))
    recovered = Storage(disk, CONFIG).recover()
    assert recovered.damage is not None and recovered.damage.file == names[1]
    assert recovered.entries[-1].index < 17
    kept = {name: bytes(disk.live[ASIDE + name].content) for name in names[1:]}
    assert kept[names[1]] == bytes(content)


def test_damage_at_every_operation_of_setting_it_aside_survives_a_crash() -> None:
    """The node dies while it writes down that it is damaged: the next start knows it too."""
    for budget in range(40):
        disk = build(10)
        put(disk, sorted(name for name in disk.live if segment_of(name))[1], b"")
        disk.budget = budget
        try:
            Storage(disk, CONFIG).recover()
        except Exception as error:
            assert type(error).__name__ == "Crash"
        disk.kill()
        found = Storage(disk, CONFIG).recover()
        assert found.damage is not None, budget
        assert (found.damage.index, found.hard_state) == (10, HardState(9, "n1")), budget


def test_a_lost_snapshot_is_damage_and_the_log_above_it_cannot_be_used() -> None:
    disk = build(10)
    storage = Storage(disk, CONFIG)
    storage.recover()
    storage.write(SaveSnapshot(20, Snapshot(8, 5, ("n1",), b"state"), 9))
    storage.sync()
    disk.kill()
    name = next(each for each in disk.live if each.startswith("snapshot-"))
    put(disk, name, None)
    found = Storage(disk, CONFIG).recover()
    assert found.damage is not None and "is missing" in found.damage.reason
    assert found.snapshot is None and found.entries == []


def test_a_log_that_no_snapshot_reaches_tells_what_it_held_beyond_the_promise() -> None:
    """Power is lost before the superblock is synced, and the snapshot is damaged as well."""
    disk = build(10)
    storage = Storage(disk, CONFIG)
    storage.recover()
    storage.write(SaveSnapshot(20, Snapshot(8, 5, ("n1",), b"state"), 9))
    storage.sync()
    promised = {name: bytes(disk.live[name].content) for name in NAMES}
    storage.write(Append(21, None, (Entry(11, 9, "command", b"late"),)))
    storage.sync()
    disk.kill()
    for name, content in promised.items():
        put(disk, name, content)
    put(disk, next(each for each in disk.live if each.startswith("snapshot-")), None)
    found = damage_of(disk)
    assert (found.index, found.generation, found.slot) == (11, 9, 11)


def test_the_highest_slot_is_remembered_beside_the_latest_entry() -> None:
    """Damaged twice: the second time a later generation had reached less far."""
    disk = build(10)
    for name in list(disk.live):
        if segment_of(name):
            put(disk, name, None)
    storage = Storage(disk, CONFIG)
    assert storage.recover().damage is not None
    storage.write(Append(1, None, (Entry(1, 12, "command", b"again"),)))
    storage.sync()
    disk.kill()
    put(disk, last_segment(disk), None)
    found = damage_of(disk)
    assert (found.index, found.generation, found.slot) == (1, 12, 10)


def test_both_copies_lost_is_refused_and_nothing_is_changed() -> None:
    disk = build(5)
    for name in NAMES:
        put(disk, name, b"")
    before = sorted(disk.live)
    with pytest.raises(CorruptLog, match=r"superblock-0 at byte 0: no copy can be read"):
        Storage(disk, CONFIG).recover()
    assert sorted(disk.live) == before


def test_damage_that_peers_cannot_repair_is_refused_and_nothing_is_changed() -> None:
    disk = build(5)
    name = last_segment(disk)
    content = bytes(disk.live[name].content)
    put(disk, name, content[:-9])
    before = {each: bytes(file.content) for each, file in disk.live.items()}
    for _ in range(2):
        with pytest.raises(CorruptLog, match="promised; there is nobody to ask") as caught:
            Storage(disk, CONFIG).recover(
                why_not=lambda snapshot, entries: "there is nobody to ask"
            )
        assert caught.value.segment == name
        assert {each: bytes(file.content) for each, file in disk.live.items()} == before


def test_a_log_of_a_version_without_superblock_is_taken_as_it_is() -> None:
    disk = build(3)
    name = last_segment(disk)
    content = bytes(disk.live[name].content)
    (header, *_) = scan(content, 1).records
    stated = msgspec.msgpack.decode(header.payload, type=SegmentHeader)
    old = msgspec.msgpack.encode(
        (stated.base, stated.previous_end, stated.reset, stated.hard_state)
    )
    record, crc = encode_record(SEGMENT, old, index=1, durable=0, previous=0, sequence=1, offset=0)
    entry = msgspec.msgpack.encode((Entry(1, 1, "command", b"old"),))
    second, _ = encode_record(
        3, entry, index=1, durable=0, previous=crc, sequence=1, offset=len(record)
    )
    for each in list(disk.live):
        if each != name:
            put(disk, each, None)
    put(disk, name, record + second)
    found = Storage(disk, CONFIG).recover()
    assert found.damage is None and [e.data for e in found.entries] == [b"old"]
    assert Superblocks(disk).read() is not None


def test_it_is_synced_with_each_vote_when_idle_and_after_so_many_commits() -> None:
    disk = CrashDisk()
    storage = Storage(disk, ClusterConfig())
    storage.recover()
    before = storage.counters().superblock_syncs
    for index in range(1, 2 * SYNC_EVERY + 1):
        storage.write(Append(index, None, (Entry(index, 0, "command", b"x"),)))
        storage.sync()
    assert storage.counters().superblock_syncs - before == 2
    storage.rest()
    storage.rest()
    assert storage.counters().superblock_syncs - before == 2  # nothing new since
    storage.write(Append(999, HardState(1, "n2")))
    storage.sync()
    assert storage.counters().superblock_syncs - before == 3
    promised = decode_slot(disk.live[NAMES[0]].durable[:SLOT_BYTES])
    other = decode_slot(disk.live[NAMES[0]].durable[SLOT_BYTES:])
    assert promised is not None and other is not None
    assert HardState(1, "n2") in (promised.hard_state, other.hard_state)


def test_what_is_known_to_be_chosen_is_no_promise_and_costs_no_sync() -> None:
    """Multi-Paxos writes it with every entry; a sync for each would cost it half of its speed."""
    disk = CrashDisk()
    storage = Storage(disk, ClusterConfig())
    storage.recover()
    storage.write(Append(1, HardState(3, "n1")))
    storage.sync()
    before = storage.counters().superblock_syncs
    for index in range(1, 11):
        hard_state = HardState(3, "n1", chosen=index - 1)
        storage.write(Append(1 + index, hard_state, (Entry(index, 3, "command", b"x"),)))
        storage.sync()
    assert storage.counters().superblock_syncs == before
    disk.kill()
    assert Storage(disk, ClusterConfig()).recover().hard_state == HardState(3, "n1", chosen=9)


@pytest.mark.parametrize(
    "changed", [HardState(4, "n1"), HardState(3, "n2"), HardState(3, "n1", adopted=3)]
)
def test_each_part_of_a_promise_is_synced_at_once(changed: HardState) -> None:
    storage = Storage(CrashDisk(), ClusterConfig())
    storage.recover()
    storage.write(Append(1, HardState(3, "n1")))
    storage.sync()
    before = storage.counters().superblock_syncs
    storage.write(Append(2, changed))
    storage.sync()
    assert storage.counters().superblock_syncs == before + 1


def test_a_slot_with_any_bit_flipped_is_no_slot() -> None:
    data = encode_slot(Superblock(3, 1, 2, 900, 77, 5, 4, 0, HardState(4, "n3")))
    assert decode_slot(data.ljust(SLOT_BYTES, b"\0")) is not None
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            assert decode_slot(bytes(damaged)) is None


def test_the_newer_hard_state_wins() -> None:
    assert newer(HardState(3, ""), HardState(2, "n1")) == HardState(3, "")
    assert newer(HardState(3, ""), HardState(3, "n1")) == HardState(3, "n1")
    assert newer(HardState(3, "n1", 2), HardState(3, "n1", 1)) == HardState(3, "n1", 2)


@pytest.mark.parametrize("cut_from", [2, 5, 7, 8])
def test_a_cut_is_promised_like_entries_and_its_loss_is_damage(cut_from: int) -> None:
    """Segments hold about four of these entries: the cut is below, in, and at the newest one."""
    disk = build(7)
    storage = Storage(disk, CONFIG)
    storage.recover()
    before = {name: bytes(file.content) for name, file in disk.live.items() if segment_of(name)}
    storage.write(Append(1, None, (), cut_from))
    storage.sync()
    disk.kill()
    after = {name: bytes(file.content) for name, file in disk.live.items()}
    promised = Superblocks(disk).read()
    assert promised is not None and promised.index == cut_from - 1

    sound = Storage(disk, CONFIG).recover()
    assert sound.damage is None
    assert [entry.index for entry in sound.entries] == list(range(1, cut_from))

    disk.kill()
    for name, content in after.items():  # the log alone is as it was before the cut
        put(disk, name, before.get(name) if segment_of(name) else content)
    found = Storage(disk, CONFIG).recover()
    assert found.damage is not None and found.damage.reason
    assert found.damage.index >= cut_from - 1


@pytest.mark.parametrize("cut_from", [3, 7])
def test_entries_after_a_cut_continue_it(cut_from: int) -> None:
    disk = build(7)
    storage = Storage(disk, CONFIG)
    storage.recover()
    entry = Entry(cut_from, 9, "command", b"after")
    storage.write(Append(1, HardState(9, "n2"), (entry,), cut_from))
    storage.sync()
    disk.kill()
    promised = Superblocks(disk).read()
    assert promised is not None and (promised.index, promised.generation) == (cut_from, 9)
    found = Storage(disk, CONFIG).recover()
    assert found.damage is None and found.hard_state == HardState(9, "n2")
    assert found.entries[-1] == entry and len(found.entries) == cut_from
