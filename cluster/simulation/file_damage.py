"""Damage to the files of a node that is down: what a disk, a file system or a hand can do to them.

Problem. A crash loses what was not synced; that a log survives. Disks lose more: sectors go bad or
read as zeros, a file is cut or emptied by a file system's repair, an operator deletes a file or
copies an old one back. A store is tested against these only if they are done to every kind of file,
at every kind of place.

Solution. :func:`draw_damage` chooses one from a seed, given the files' bytes, and says what to
write. It knows records, so that a cut falls at a record's end as often as within one. It touches
nothing itself: the simulated disk, a real directory and tests use the same damage.

Source of the kinds: Ganesan and others, "Redundancy Does Not Imply Fault Tolerance" (FAST 2017);
Alagappan and others (FAST 2018). Used by the simulated world, by nemeses and by tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from cluster.log.group_files import within_group
from cluster.log.segmented_log import segment_of
from cluster.log.superblock import NAMES as SUPERBLOCKS
from cluster.log.write_ahead_log import SECTOR_BYTES, scan

Files: TypeAlias = Mapping[str, bytes]


class FileDamage(NamedTuple):
    """One damage.

    Args:
        kind: one of ``KINDS``.
        file: the file it was done to (of two, the first).
        at: the first byte that is not what it was.
        changed: new content by file; None for a file that is gone.
    """

    kind: str
    file: str
    at: int
    changed: dict[str, bytes | None]


def is_data(name: str) -> bool:
    """Whether a file holds what a node promised."""
    own = within_group(name)
    return segment_of(own) is not None or own.startswith("snapshot-") or own in SUPERBLOCKS


def draw_damage(
    kind: str,
    files: Files,
    source: random.Random,
    *,
    older: Files | None = None,
    within: bytes = b"",
) -> FileDamage | None:
    """A damage of a kind; None if nothing there can be damaged so.

    Args:
        kind: one of ``KINDS``.
        files: the node's files; zeros after the last other byte of a segment are its empty room.
        source: chooses file and place.
        older: files as they once were, for ``older-copy``.
        within: bytes that a file holds, of which one is to be hit, for ``flip``; empty for any.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no damage {kind!r}: {', '.join(KINDS)}")
    held = {name: files[name] for name in sorted(files) if is_data(name)}
    if kind == "older-copy":
        return _older_copy(held, source, older or {})
    if kind == "flip" and within:
        return _flip_within(held, source, within)
    return _KINDS[kind](held, source)


def _content(data: bytes | bytearray) -> bytes | bytearray:
    return data.rstrip(b"\0")


def _segments(files: Files) -> list[str]:
    return [name for name in files if segment_of(within_group(name)) is not None]


def _any_file(files: Files, source: random.Random) -> str | None:
    names = [name for name in files if _content(files[name])]
    return source.choice(names) if names else None


def _flip(files: Files, source: random.Random) -> FileDamage | None:
    name = _any_file(files, source)
    if name is None:
        return None
    at = source.randrange(len(_content(files[name])))
    return _flipped(files, name, at, 1 << source.randrange(8))


def _flip_within(files: Files, source: random.Random, wanted: bytes) -> FileDamage | None:
    found = {name: data.find(wanted) for name, data in files.items() if wanted in data}
    if not found:
        return None
    name = source.choice(list(found))
    return _flipped(files, name, found[name] + source.randrange(len(wanted)), 1)


def _flipped(files: Files, name: str, at: int, bits: int) -> FileDamage:
    data = bytearray(files[name])
    data[at] ^= bits
    return FileDamage("flip", name, at, {name: bytes(data)})


def _zero_sector(files: Files, source: random.Random) -> FileDamage | None:
    name = _any_file(files, source)
    if name is None:
        return None
    data = bytearray(files[name])
    at = source.randrange(len(_content(data)))
    at -= at % SECTOR_BYTES
    end = min(len(data), at + SECTOR_BYTES)
    data[at:end] = bytes(end - at)
    return FileDamage("zero-sector", name, at, {name: bytes(data)})


def _cut_at_record(files: Files, source: random.Random) -> FileDamage | None:
    """The end of some record, the header's too: what is left is whole."""
    places: list[tuple[str, int]] = []
    for name in _segments(files):
        segment = segment_of(within_group(name))
        assert segment is not None
        records = scan(files[name], segment.sequence).records
        places += [(name, record.end) for record in records[:-1]]
    if not places:
        return None
    name, at = source.choice(places)
    return FileDamage("cut-at-record", name, at, {name: files[name][:at]})


def _cut(files: Files, source: random.Random) -> FileDamage | None:
    name = _any_file(files, source)
    if name is None:
        return None
    at = source.randrange(len(_content(files[name])))
    return FileDamage("cut", name, at, {name: files[name][:at]})


def _lost_tail(files: Files, source: random.Random) -> FileDamage | None:
    """The end of the log: the newest segment deleted, emptied, or cut at or within a record."""
    names = _segments(files)
    if not names:
        return None
    last = {names[-1]: files[names[-1]]}
    how: Callable[[Files, random.Random], FileDamage | None]
    how = source.choice((_delete, _empty, _cut, _cut_at_record))
    found = how(last, source) or _delete(last, source)
    return found._replace(kind="lost-tail") if found is not None else None


def _delete(files: Files, source: random.Random) -> FileDamage | None:
    name = _any_file(files, source)
    return None if name is None else FileDamage("delete", name, 0, {name: None})


def _empty(files: Files, source: random.Random) -> FileDamage | None:
    name = _any_file(files, source)
    return None if name is None else FileDamage("empty", name, 0, {name: b""})


def _swap(files: Files, source: random.Random) -> FileDamage | None:
    names = _segments(files)
    if len(names) < 2:
        return None
    one, other = source.sample(names, 2)
    return FileDamage("swap", one, 0, {one: files[other], other: files[one]})


def _older_copy(files: Files, source: random.Random, older: Files) -> FileDamage | None:
    names = [name for name in files if name in older and older[name] != files[name]]
    if not names:
        return None
    name = source.choice(names)
    now, then = files[name], older[name]
    at = next((i for i, (a, b) in enumerate(zip(now, then, strict=False)) if a != b), len(then))
    return FileDamage("older-copy", name, at, {name: then})


_KINDS: dict[str, Callable[[Files, random.Random], FileDamage | None]] = {
    "flip": _flip,
    "zero-sector": _zero_sector,
    "cut": _cut,
    "cut-at-record": _cut_at_record,
    "lost-tail": _lost_tail,
    "delete": _delete,
    "empty": _empty,
    "swap": _swap,
}
KINDS = (*_KINDS, "older-copy")
