"""The simulated disk: what was not synced may be gone after a crash, in every way a disk has.

Bytes appended live in the page cache until :meth:`SimDisk.sync`; names created, renamed or removed
live there until :meth:`SimDisk.sync_dir`. A crash loses what was not synced: all of it, or, torn,
all but a prefix cut at a 512-byte sector, whose last sector may hold garbage; of the changes of
names all are lost, or, torn, those after some point, or any of them. These are the failures
described by Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), for an append-only
file and an atomic rename.

Other faults: an operation fails with EIO (once it has failed, the unsynced bytes are gone even if a
retry succeeds, which is how fsync behaves on Linux: Rebello et al., ATC 2020), the disk is full,
the disk is slow, a durable bit flips. A single operation fails, or the machine loses power before
it, after some that went well: what was to be done between two operations is done in part.

The :class:`FaultAtlas` knows which nodes' disks were damaged beyond what a node can recover from by
itself, and refuses an injection after which no majority of good copies would be left: a system
cannot be blamed for losing what was destroyed everywhere.

Implements :class:`cluster.ports.Disk`; used by the simulated nodes and by tests of the storage.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cluster.ports import DiskError
from cluster.simulation.sound_voters import spare_disks

US = 1_000
SECTOR_BYTES = 512

#: Bytes at the end of a file a bit flip spares. A flipped bit in the last record of a log looks
#: like a torn write, so no storage can refuse it: it is amnesia, which is another fault.
FLIP_SPARES_BYTES = 4096

_KNOWN_FAULTS = {"latency_ns", "jitter_ns", "error", "full", "torn", "flip", "power", "after"}

#: The code of the error that stands for a loss of power: the machine is gone, not just the disk.
POWER_LOST = "POWER"


class DiskProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The behaviour of a disk without injected faults.

    Args:
        sync_min_ns, sync_max_ns: bounds of the uniform latency of a sync.
        slow_probability: chance that a sync takes up to ``slow_ns`` longer.
        slow_ns: how much longer at most.
    """

    sync_min_ns: int = 200 * US
    sync_max_ns: int = 1_500 * US
    slow_probability: float = 0.0
    slow_ns: int = 0


class _File:
    """Content as the process sees it, and what of it would survive a crash.

    ``content[:kept]`` is durable; the durable file is that followed by ``tail``, the part a
    truncation removed but whose removal is not yet durable, and with ``replaced`` undone: bytes
    that were overwritten and not synced since, oldest first.
    """

    __slots__ = ("content", "kept", "replaced", "room_bytes", "tail")

    def __init__(self, room_bytes: int = 0) -> None:
        self.replaced: list[tuple[int, bytes]] = []
        self.content = bytearray()
        self.kept = 0
        self.tail = b""
        self.room_bytes = room_bytes

    def truncate(self, size: int) -> None:
        if size < self.kept:
            self.tail = bytes(self.content[size : self.kept]) + self.tail
            self.kept = size
        del self.content[size:]

    def sync(self) -> None:
        self.kept, self.tail = len(self.content), b""
        self.replaced.clear()

    def overwrite(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        self.replaced.append((offset, bytes(self.content[offset:end])))
        self.content[offset:end] = data

    @property
    def dirty(self) -> bool:
        return bool(self.tail) or self.kept != len(self.content)

    def undo(self, source: random.Random | None) -> int:
        """Take back overwrites that are not durable: all, or, torn, those after some moment."""
        kept = source.randint(0, len(self.replaced)) if source is not None else 0
        lost = 0
        while len(self.replaced) > kept:
            offset, before = self.replaced.pop()
            self.content[offset : offset + len(before)] = before
            lost += len(before)
        self.replaced.clear()
        return lost

    def lose(self) -> int:
        """Back to what is durable; returns the bytes lost."""
        lost = len(self.content) - self.kept
        del self.content[self.kept :]
        self.content += self.tail
        self.sync()
        return lost

    def tear(self, source: random.Random) -> int:
        """Keep a prefix of the unsynced bytes that ends at a sector; returns the bytes lost."""
        if self.tail or source.random() < 0.25:  # a truncation not durable: all or nothing
            if self.tail and source.random() < 0.5:
                self.sync()
                return 0
            return self.lose()
        unsynced = len(self.content) - self.kept
        if unsynced <= 0:
            return 0
        end = self.kept + source.randint(0, unsynced)
        if source.random() < 0.7:
            end = max(self.kept, end - end % SECTOR_BYTES)
        lost = len(self.content) - end
        del self.content[end:]
        if lost and end > self.kept and source.random() < 0.3:
            garbled = min(end - self.kept, SECTOR_BYTES)
            self.content[end - garbled : end] = source.randbytes(garbled)
        elif end - self.kept > 2 * SECTOR_BYTES and source.random() < 0.3:
            self._leave_hole(end, source)
        self.sync()
        return lost

    def _leave_hole(self, end: int, source: random.Random) -> None:
        # Sectors reach the platter in any order: one of the unsynced ones did not, later ones did.
        first = -(-self.kept // SECTOR_BYTES) * SECTOR_BYTES
        hole = source.randrange(first, max(first + 1, end - SECTOR_BYTES), SECTOR_BYTES)
        self.content[hole : hole + SECTOR_BYTES] = bytes(SECTOR_BYTES)


class SimDisk:
    """One node's disk, in memory.

    Args:
        profile: latencies without faults.
        source: randomness of latencies and damage.
        capacity_bytes: content beyond this is ENOSPC.
    """

    def __init__(
        self,
        profile: DiskProfile,
        source: random.Random,
        *,
        capacity_bytes: int = 1 << 40,
    ) -> None:
        self.profile = profile
        self.capacity_bytes = capacity_bytes
        #: how often each file was synced
        self.synced: dict[str, int] = {}
        self.counts: dict[str, int] = {
            "syncs": 0, "errors": 0, "full": 0, "torn": 0, "flipped": 0,
            "bytes_lost": 0, "names_lost": 0, "slowed": 0,
        }  # fmt: skip
        self._random = source
        #: the faults in force, by name
        self.faults: dict[str, Any] = {}
        self._files: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        #: changes of names since the last sync of the directory: (old or "", new or "", file)
        #: whether the last crash took back what was written over something older
        self.undone = False
        self._name_changes: list[tuple[str, str, _File]] = []
        self._operations_left = 0
        self._used_bytes = 0

    # -- the port

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        """The whole file as this process sees it."""
        self._may_fail("read", name)
        return bytes(self._file("read", name).content)

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        """Create an empty file."""
        self._may_fail("create", name, growing=True)
        if name in self._files:
            raise DiskError("EEXIST", "create", name)
        self._files[name] = file = _File(preallocate_bytes)
        self._name_changes.append(("", name, file))

    def append(self, name: str, data: bytes) -> None:
        """Add bytes at the end of the content."""
        file = self._file("append", name)
        grows = len(file.content) + len(data) > file.room_bytes
        self._may_fail("append", name, growing=grows)
        if self._used_bytes + len(data) > self.capacity_bytes:
            self.felt_full()
            raise DiskError("ENOSPC", "append", name)
        file.content += data
        self._used_bytes += len(data)

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Replace bytes within the content; only a loss of power takes them, until the sync."""
        self._may_fail("overwrite", name)
        file = self._file("overwrite", name)
        if not 0 <= offset <= len(file.content) - len(data):
            raise DiskError("EINVAL", "overwrite", name)
        file.overwrite(offset, data)

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cut the content to this many bytes."""
        self._may_fail("truncate", name)
        file = self._file("truncate", name)
        if not 0 <= size_bytes <= len(file.content):
            raise DiskError("EINVAL", "truncate", name)
        self._used_bytes -= len(file.content) - size_bytes
        file.truncate(size_bytes)

    def sync(self, name: str) -> None:
        """Make the file's content durable; when it fails, the unsynced bytes are gone."""
        self.counts["syncs"] += 1
        self.synced[name] = self.synced.get(name, 0) + 1
        file = self._file("sync", name)
        try:
            self._may_fail("sync", name)
        except DiskError:
            self.counts["bytes_lost"] += file.undo(None) + file.lose()
            raise
        file.sync()

    def sync_dir(self) -> None:
        """Make creations, renames and removals durable."""
        self._may_fail("sync_dir", ".")
        self._durable_names = dict(self._files)
        self._name_changes.clear()

    def rename(self, old: str, new: str) -> None:
        """Rename atomically, replacing ``new`` if it exists."""
        self._may_fail("rename", old)
        self._files[new] = file = self._file("rename", old)
        del self._files[old]
        self._name_changes.append((old, new, file))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._may_fail("remove", name)
        file = self._file("remove", name)
        self._used_bytes -= len(file.content)
        del self._files[name]
        self._name_changes.append((name, "", file))

    def has_room(self, size_bytes: int) -> bool:
        """Whether a file of this size could be created now."""
        return not self.full and self._used_bytes + size_bytes <= self.capacity_bytes

    # -- faults

    @property
    def full(self) -> bool:
        """Whether a fault keeps files from being created and from growing."""
        return bool(self.faults.get("full"))

    def felt_full(self) -> None:
        """Something was refused for want of room: evidence that the fault bit."""
        self.counts["full"] += 1

    def set(self, faults: Mapping[str, Any]) -> dict[str, int]:
        """Make the disk so; an empty mapping heals. Returns the counts so far, as evidence.

        Args:
            faults: ``latency_ns`` and ``jitter_ns`` added to every sync; ``error``, an errno name
                with which every operation that writes fails; ``full``: no file can be created or
                grow beyond its room (ENOSPC);
                ``torn``: a crash tears instead of losing all; ``flip``: flip one durable bit now;
                ``power``: the machine is lost (POWER_LOST); ``after``: a number: that many
                operations that write go well, and the next one alone meets the error or the loss.

        Raises:
            ValueError: a fault is not one of these.
        """
        for name in faults:
            if name not in _KNOWN_FAULTS:
                raise ValueError(
                    f"a disk has no fault {name!r}; it has {', '.join(sorted(_KNOWN_FAULTS))}"
                )
        self.faults = {name: value for name, value in faults.items() if value}
        self._operations_left = self.faults.get("after", 0)
        if self.faults.pop("flip", False):
            self.flip()
        return dict(self.counts)

    @property
    def torn(self) -> bool:
        """Whether a crash now tears instead of losing all that is unsynced."""
        return bool(self.faults.get("torn"))

    def flip(self) -> str | None:
        """Flip one durable bit, never near a file's end; returns ``file:byte``, None if no file is
        long enough."""
        candidates = [
            (name, file)
            for name, file in sorted(self._files.items())
            if file.kept > FLIP_SPARES_BYTES
        ]
        if not candidates:
            return None
        name, file = candidates[self._random.randrange(len(candidates))]
        position = self._random.randrange(file.kept - FLIP_SPARES_BYTES)
        file.content[position] ^= 1 << self._random.randrange(8)
        self.counts["flipped"] += 1
        return f"{name}:{position}"

    def files(self) -> dict[str, bytes]:
        """The content of every file, for who means to damage it while its node is down."""
        return {name: bytes(file.content) for name, file in sorted(self._files.items())}

    def put(self, changed: Mapping[str, bytes | None]) -> None:
        """Let files be something else, durably; None for one that is gone. The node must be down.

        A file that was cut keeps its room.
        """
        for name, content in changed.items():
            if content is None:
                self._files.pop(name, None)
                continue
            file = self._files.setdefault(name, _File())
            file.content = bytearray(content)
            file.sync()
        self._durable_names = dict(self._files)
        self._used_bytes = sum(len(file.content) for file in self._files.values())

    def sync_latency_ns(self) -> int:
        """How long the sync that begins now takes."""
        profile = self.profile
        latency = self._random.randint(profile.sync_min_ns, profile.sync_max_ns)
        if profile.slow_probability and self._random.random() < profile.slow_probability:
            latency += int(self._random.random() * profile.slow_ns)
        if self.faults:
            extra = self.faults.get("latency_ns", 0)
            extra += int(self._random.random() * self.faults.get("jitter_ns", 0))
            if extra:
                self.counts["slowed"] += 1
                latency += extra
        return latency

    def crash(self, *, lose_unsynced: bool, torn: bool, power: bool = True) -> dict[str, int]:
        """The machine lost power (or, keeping the page cache, only the process died).

        Args:
            lose_unsynced: False keeps everything: what a plain ``kill -9`` does.
            torn: keep some of the unsynced bytes, cut at sectors.
            power: False if the process alone died: what it appended and did not sync is lost all
                the same, since the runtime keeps it in the process; what it overwrote is not.

        Returns:
            ``bytes_lost`` and ``names_lost`` of this crash.
        """
        if not lose_unsynced:
            return {"bytes_lost": 0, "names_lost": 0}
        names_lost = self._lose_names(torn)
        self.undone = power and any(file.replaced for file in self._files.values())
        bytes_lost = 0
        for _, file in sorted(self._files.items()):
            if file.replaced and power:
                file.undo(self._random if torn else None)
            if file.dirty:
                bytes_lost += file.tear(self._random) if torn else file.lose()
        self.counts["bytes_lost"] += bytes_lost
        self.counts["names_lost"] += names_lost
        self.counts["torn"] += torn
        self._used_bytes = sum(len(file.content) for file in self._files.values())
        return {"bytes_lost": bytes_lost, "names_lost": names_lost}

    def _lose_names(self, torn: bool) -> int:
        changes = self._name_changes
        if not changes:
            return 0
        now, then = self._files, dict(self._durable_names)
        if torn:
            for old, new, file in _names_kept(changes, self._random):
                _change_names(then, old, new, file)
        changed = sum(now.get(name) is not then.get(name) for name in sorted({**now, **then}))
        self._files, self._durable_names = then, dict(then)
        changes.clear()
        return changed

    # -- inside

    def _file(self, operation: str, name: str) -> _File:
        try:
            return self._files[name]
        except KeyError:
            raise DiskError("ENOENT", operation, name) from None

    def _may_fail(self, operation: str, name: str, *, growing: bool = False) -> None:
        if not self.faults:
            return
        if operation != "read" and "after" in self.faults:
            self._count_down(operation, name)
            return
        if growing and self.full:
            self.felt_full()
            raise DiskError("ENOSPC", operation, name)
        code = self.faults.get("error")
        if code and operation != "read":
            self.counts["errors"] += 1
            raise DiskError(str(code), operation, name)

    def _count_down(self, operation: str, name: str) -> None:
        """Let an operation pass, or be the one that meets the fault, which is then over."""
        self._operations_left -= 1
        if self._operations_left >= 0:
            return
        faults = self.faults
        self.faults = {"torn": True} if faults.get("torn") else {}
        self.counts["errors"] += 1
        code = POWER_LOST if faults.get("power") else str(faults["error"])
        raise DiskError(code, operation, name)


def _names_kept(
    changes: list[tuple[str, str, _File]], source: random.Random
) -> list[tuple[str, str, _File]]:
    """Which changes of names a torn crash keeps: a journal flushed in time keeps all; without one,
    those up to some point, or any of them, for the disk has an order of its own."""
    chance = source.random
    if chance() < 0.5:
        return changes
    if len(changes) < 2 or chance() < 0.4:
        return []
    if chance() < 0.5:
        return changes[: source.randrange(1, len(changes))]
    return [change for change in changes if chance() < 0.5]


def _change_names(names: dict[str, _File], old: str, new: str, file: _File) -> None:
    """Make one change of names, if what it needs is there."""
    if old and names.pop(old, None) is not file:
        return
    if new:
        names[new] = file


class FaultAtlas:
    """Which disks are damaged beyond their node's own recovery.

    Args:
        nodes: all nodes.
        copies: how many of them have a copy of the same; 0 for all.
    """

    def __init__(self, nodes: Sequence[str], *, copies: int = 0) -> None:
        self._spare = spare_disks(len(nodes), copies)
        self.damaged: list[str] = []
        #: nodes whose disk was damaged since they last read it
        self._unread: set[str] = set()
        #: (node, group) where a node never took part, in a variant that needs a majority of those
        #: that did; the group is "" where there is only one log
        self.blank: set[tuple[str, str]] = set()
        #: nodes that were asked to leave and are not back: they may be voters no more
        self.leaving: dict[str, None] = {}

    def allows(self, node: str) -> bool:
        """Whether damaging this node's disk leaves a majority of good ones."""
        without = {*self.damaged, *(blank for blank, _ in self.blank)} - {node}
        return node in self.damaged or len(without) < self._spare

    def replace(self, node: str) -> None:
        """This node has a new disk."""
        self._unread.discard(node)
        if node in self.damaged:
            self.damaged.remove(node)

    def read(self, node: str) -> None:
        """The node starts: it has found what there is of damage."""
        self._unread.discard(node)

    def repaired(self, node: str) -> None:
        """The node was repaired from the damage that it found when it started."""
        if node not in self._unread:
            self.replace(node)

    def damage(self, node: str) -> None:
        """This node's disk was damaged."""
        self._unread.add(node)
        if node not in self.damaged:
            self.damaged.append(node)
