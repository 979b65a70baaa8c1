"""Damage to what was acknowledged is refused, and an unacknowledged tail is cut: every byte.

Goal: no flipped bit and no lost sector ever changes or silently drops acknowledged entries, except
where ``write_ahead_log`` says that nobody could tell. Method: build a log of several segments, then
damage every byte of it in turn and recover.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from crash_disk import SECTOR, CrashDisk

from cluster.config import ClusterConfig
from cluster.log.segmented_log import Segment, SegmentHeader, segment_of
from cluster.log.storage import Storage
from cluster.log.superblock import NAMES as SUPERBLOCKS
from cluster.log.superblock import Superblock, Superblocks
from cluster.log.write_ahead_log import (
    ENTRIES,
    HARD_STATE,
    HEADER_BYTES,
    SEGMENT,
    CorruptLog,
    encode_record,
    require_torn_tail,
    scan,
)
from cluster.ports import Append, Recovered, SaveSnapshot
from cluster.wire import Entry, HardState, Snapshot

CONFIG = ClusterConfig(segment_bytes=900)


def build(writes: int, *, size: int = 90) -> CrashDisk:
    disk = CrashDisk()
    storage = Storage(disk, CONFIG)
    storage.recover()
    for index in range(1, writes + 1):
        hard_state = HardState(index, "n1") if index % 4 == 1 else None
        entry = Entry(index, 1 + (index - 1) // 4 * 4, "command", bytes([64 + index]) * size)
        storage.write(Append(index, hard_state, (entry,)))
        storage.sync()
    return disk


def contents(disk: CrashDisk) -> dict[str, bytes]:
    """The log and the snapshots; the superblock would know better (see ``test_superblock``)."""
    return {
        name: bytes(file.content) for name, file in disk.live.items() if name not in SUPERBLOCKS
    }


def holding(files: dict[str, bytes], room: int = CONFIG.segment_bytes) -> CrashDisk:
    disk = CrashDisk()
    for name, content in files.items():
        disk.create(name, preallocate_bytes=room if segment_of(name) else 0)
        disk.append(name, content)
    return disk


def recovered(files: dict[str, bytes]) -> Recovered:
    """What the log alone tells: the superblock promises nothing. Damage is raised."""
    disk = holding(files)
    Superblocks(disk).open(Superblock())
    found = Storage(disk, CONFIG).recover()
    if found.damage is not None:
        raise CorruptLog(found.damage.file, found.damage.offset, found.damage.reason)
    return found


def test_every_flipped_bit_is_refused_or_in_the_last_sector() -> None:
    files = contents(build(17))
    whole = recovered(files).entries
    last = max(files)
    undecidable_from = len(files[last]) - SECTOR
    assert len(files) > 2
    for name, content in files.items():
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= 1 << (place % 8)
            try:
                got = recovered({**files, name: bytes(damaged)}).entries
            except CorruptLog as error:
                assert error.segment == name or name == last or error.offset == 0
                continue
            assert got == whole[: len(got)]
            assert name == last and place >= undecidable_from - 150, (name, place)


def test_a_record_known_to_be_durable_is_refused_however_it_is_damaged() -> None:
    """Everything but the last synced batch: later records state that it was durable."""
    files = contents(build(5))
    (name,) = files
    records = scan(files[name], 1).records
    known = [r for r in records[1:] if r.end <= records[-1].durable]
    assert len(known) >= 4
    for record in known:
        for damage in (b"\0" * 40, b"\xff" * 40, files[name][:40]):
            content = bytearray(files[name])
            content[record.offset : record.offset + 40] = damage
            with pytest.raises(CorruptLog, match="proves that it was durable") as caught:
                recovered({name: bytes(content)})
            assert caught.value.segment == name
            assert caught.value.offset == record.offset


def test_the_last_batch_torn_at_every_sector_is_cut() -> None:
    disk = build(2)
    storage = Storage(disk, ClusterConfig(segment_bytes=9000))
    storage.recover()
    before = contents(disk)
    storage.write(Append(9, None, (Entry(3, 1, "command", b"q" * 3000),)))
    storage.write(Append(10, None, (Entry(4, 1, "command", b"q" * 90),)))
    name = max(disk.live)
    content = bytes(disk.live[name].content)
    start = len(before[name])
    for sector in range(start // SECTOR, len(content) // SECTOR + 1):
        low, high = max(start, sector * SECTOR), min(len(content), (sector + 1) * SECTOR)
        damaged = content[:low] + bytes(high - low) + content[high:]
        got = recovered({**before, name: damaged}).entries
        assert [e.index for e in got] in ([1, 2], [1, 2, 3]), sector


def test_damage_that_no_torn_write_explains_is_refused_in_the_last_batch_too() -> None:
    disk = build(1)
    storage = Storage(disk, ClusterConfig(segment_bytes=9000))
    storage.recover()
    storage.write(Append(9, None, (Entry(2, 1, "command", b"q" * 3000),)))
    storage.write(Append(10, None, (Entry(3, 1, "command", b"q" * 600),)))
    name = max(disk.live)
    content = bytearray(disk.live[name].content)
    content[-1500] ^= 4
    with pytest.raises(CorruptLog, match="no torn write explains it"):
        recovered({name: bytes(content)})


@pytest.mark.parametrize("position", [0, 1])
def test_a_missing_segment_is_refused(position: int) -> None:
    files = contents(build(17))
    del files[sorted(files)[position]]
    with pytest.raises(CorruptLog, match=r"missing|no snapshot reaches it"):
        recovered(files)


def test_a_segment_in_the_place_of_another_is_refused() -> None:
    files = contents(build(17))
    first, second, *_ = sorted(files)
    files[second] = files[first]
    with pytest.raises(CorruptLog, match="no valid record header"):
        recovered(files)


def twin(writes: int, *, differs: int) -> dict[str, bytes]:
    """The same log but for the bytes of one entry, which are others of the same length."""
    disk = CrashDisk()
    storage = Storage(disk, CONFIG)
    storage.recover()
    for index in range(1, writes + 1):
        hard_state = HardState(index, "n1") if index % 4 == 1 else None
        letter = 64 + index if index != differs else 33
        entry = Entry(index, 1 + (index - 1) // 4 * 4, "command", bytes([letter]) * 90)
        storage.write(Append(index, hard_state, (entry,)))
        storage.sync()
    return contents(disk)


def test_a_segment_of_another_log_in_the_middle_is_refused() -> None:
    """Whole, of the right number, base and length: only the chain of CRCs tells it."""
    files = contents(build(17))
    names = sorted(files)
    assert len(names) >= 4
    for position, name in enumerate(names[:-1]):
        inside = [e.index for e in recovered_alone(files, names[: position + 1])]
        other = twin(17, differs=inside[-1])
        assert other.keys() == files.keys() and len(other[name]) == len(files[name])
        assert other[name] != files[name]
        with pytest.raises(CorruptLog, match="the next segment states"):
            recovered({**files, name: other[name]})


def recovered_alone(files: dict[str, bytes], names: list[str]) -> list[Entry]:
    return list(recovered({name: files[name] for name in names}).entries)


def test_a_record_of_another_log_within_a_segment_is_refused() -> None:
    """Whole, in its place and with its CRCs right: only the chain to the next record tells it."""
    files = contents(build(17))
    exchanged = 0
    for name, content in sorted(files.items())[:-1]:
        records = scan(content, segment_of(name).sequence).records  # type: ignore[union-attr]
        for record, after in pairwise(records):
            if record.kind != ENTRIES:
                continue
            there = twin(17, differs=record.index)[name][record.offset : record.end]
            assert there != content[record.offset : record.end]
            damaged = content[: record.offset] + there + content[record.end :]
            with pytest.raises(CorruptLog, match="CRC chain") as caught:
                recovered({**files, name: damaged})
            assert (caught.value.segment, caught.value.offset) == (name, after.offset)
            exchanged += 1
    assert exchanged > 8


def test_a_vote_missing_at_the_end_of_a_segment_is_refused() -> None:
    """Entries have no gap, and the vote of a generation is gone: where it ended tells it."""
    disk = CrashDisk()
    storage = Storage(disk, CONFIG)
    storage.recover()
    storage.write(Append(1, None, (Entry(1, 1, "command", b"a" * 500),)))
    storage.write(Append(2, HardState(7, "n2")))
    storage.write(Append(3, None, (Entry(2, 1, "command", b"b" * 500),)))
    storage.sync()
    files = contents(disk)
    first, _ = sorted(files)
    vote = scan(files[first], 1).records[-1]
    assert vote.kind == HARD_STATE
    with pytest.raises(CorruptLog, match="the next segment states that they end at"):
        recovered({**files, first: files[first][: vote.offset]})
    # The same length, and not what the next segment was chained to.
    forged, _ = encode_record(
        HARD_STATE,
        vote.payload.replace(b"n2", b"n3"),
        index=vote.index,
        durable=vote.durable,
        previous=vote.previous,
        sequence=1,
        offset=vote.offset,
    )
    with pytest.raises(CorruptLog, match="the next segment states that they end at"):
        recovered({**files, first: files[first][: vote.offset] + forged})


def test_a_missing_segment_whose_entries_were_all_written_again_is_refused() -> None:
    """No index is missing without it: only the numbers of the segments tell it."""
    disk = CrashDisk()
    storage = Storage(disk, CONFIG)
    storage.recover()
    for index in (1, 2, 3):
        entry = Entry(index, 1, "command", b"a" * 500)
        storage.write(Append(index, None, (entry,)))
        storage.sync()
    storage.write(Append(4, HardState(9, "n3"), (Entry(2, 9, "command", b"b" * 500),)))
    storage.sync()
    files = contents(disk)
    names = sorted(files)
    assert len(names) >= 4
    lost = names[1:-1]
    for name in lost:
        with pytest.raises(CorruptLog, match=r"segment \d+ before it is missing"):
            recovered({each: content for each, content in files.items() if each != name})
    with pytest.raises(CorruptLog, match=r"segment \d+ before it is missing"):
        recovered({each: content for each, content in files.items() if each not in lost})


def test_two_segments_exchanged_are_refused() -> None:
    files = contents(build(17))
    _, second, third, *_ = sorted(files)
    with pytest.raises(CorruptLog):
        recovered({**files, second: files[third], third: files[second]})


def test_a_value_that_contains_a_record_is_not_taken_for_one() -> None:
    """A client cannot forge the evidence: header CRCs are seeded with their place."""
    fake, _ = encode_record(
        ENTRIES, b"x" * 20, index=3, durable=800, previous=0, sequence=1, offset=0
    )
    disk = CrashDisk()
    storage = Storage(disk, ClusterConfig(segment_bytes=9000))
    storage.recover()
    durable = len(disk.live[max(disk.names())].content)
    storage.write(Append(1, None, (Entry(1, 1, "command", fake * 40),)))
    name = max(disk.names())
    torn = bytes(disk.live[name].content)[: durable + 1000]
    assert recovered({name: torn}).entries == []


def test_a_damaged_snapshot_is_refused_at_every_byte() -> None:
    disk = build(9)
    storage = Storage(disk, CONFIG)
    storage.recover()
    storage.write(SaveSnapshot(20, Snapshot(8, 5, ("n1",), b"state" * 9), 9))
    storage.sync()
    files = contents(disk)
    name = min(files)
    assert name.startswith("snapshot-")
    for place in range(len(files[name])):
        damaged = bytearray(files[name])
        damaged[place] ^= 16
        with pytest.raises(CorruptLog):
            recovered({**files, name: bytes(damaged)})
    for size in range(len(files[name])):
        with pytest.raises(CorruptLog):
            recovered({**files, name: files[name][:size]})


def test_a_lost_snapshot_is_noticed() -> None:
    disk = build(17)
    storage = Storage(disk, CONFIG)
    storage.recover()
    storage.write(SaveSnapshot(20, Snapshot(15, 13, ("n1",), b"state"), 16))
    storage.sync()
    files = contents(disk)
    del files[min(files)]
    with pytest.raises(CorruptLog, match="no snapshot reaches it"):
        recovered(files)


def test_what_scan_accepts_is_what_was_encoded() -> None:
    data, crc = encode_record(ENTRIES, b"pay", index=7, durable=0, previous=5, sequence=2, offset=0)
    found = scan(data + bytes(600), 2)
    (record,) = found.records
    assert (record.kind, record.index, record.payload, record.crc) == (ENTRIES, 7, b"pay", crc)
    assert found.end == len(data) == HEADER_BYTES + 3 + 5
    assert not require_torn_tail("wal", data + bytes(600), 2, found)
    assert scan(data, 3).records == []


def with_header(files: dict[str, bytes], name: str, **changes: object) -> dict[str, bytes]:
    """The segment alone with another header, all CRCs right: only what it states is wrong."""
    segment = segment_of(name)
    assert segment is not None
    header = scan(files[name], segment.sequence).records[0]
    stated = msgspec.msgpack.decode(header.payload, type=SegmentHeader)
    forged, _ = encode_record(
        SEGMENT,
        msgspec.msgpack.encode(msgspec.structs.replace(stated, **changes)),
        index=header.index,
        durable=header.durable,
        previous=header.previous,
        sequence=segment.sequence,
        offset=0,
    )
    return {**{each: files[each] for each in files if each < name}, name: forged}


def test_a_segment_that_states_another_end_of_the_one_before_is_refused() -> None:
    """The chain of CRCs holds, and bytes are missing all the same, or there are too many."""
    files = contents(build(17))
    first, second, *_ = sorted(files)
    end = scan(files[first], 1).end
    assert recovered(with_header(files, second)).entries
    for wrong in (end - 1, end + 1, 0):
        with pytest.raises(CorruptLog, match=f"states that they end at {wrong}") as caught:
            recovered(with_header(files, second, previous_end=wrong))
        assert (caught.value.segment, caught.value.offset) == (first, end)


def test_a_segment_whose_name_has_another_base_is_refused() -> None:
    """As after a rename by hand: the entries in it would be looked for at the wrong place."""
    files = contents(build(17))
    names = sorted(files)
    for name in (names[0], names[1], names[-1]):
        segment = segment_of(name)
        assert segment is not None
        for base in (segment.base - 1, segment.base + 1):
            wrong = Segment(segment.sequence, base, base).name
            renamed = {(wrong if each == name else each): files[each] for each in files}
            with pytest.raises(CorruptLog, match=f"header states base index {segment.base}"):
                recovered(renamed)
