"""Versioned Value: a change makes a new version, and old versions stay readable for a while.

Problem. A reader that wants several keys as they were at one moment, or every change since a
moment, finds only the newest values if a change overwrites.

Solution. A key holds its versions in the order of revisions; a revision is the log index (or the
timestamp) of the change. A change adds a version, and a deletion adds a tombstone. A read at a
revision takes the newest version at or below it. All changes are also listed in the order of
revisions, for watchers that resume. Versions that no read above the compacted revision can see are
dropped (:meth:`VersionedValues.compact`); a read or a watch below it is refused, not answered with
what happens to be left. A read at a revision above all that is known here (``reached``) is refused,
too: what is visible there may still change.

A list that grows by appends is stored once. Its versions share it, and each knows how long the list
was; so a thousand appends cost a thousand numbers and not a thousand lists.

Invariants. The revisions of a key only grow. A version never changes once a later revision exists.
What is visible at a revision at or above the compacted one stays visible until a later compaction,
so two reads at one revision see one state, on whichever nodes.
The versions of one revision appear together or, after :meth:`VersionedValues.undo`, not at all.

What breaks without it. A34a: with one value per key, a read of several keys during writes sees half
of a change. A34b: a read below the compacted revision misses the versions dropped. A34e: a read at
a revision that is not reached sees the present, and later something else. A08c: a watcher that
resumes below the compacted revision has a gap it does not notice.

Source: Joshi, "Versioned Value"; etcd's multi-version store (revisions, compaction).
Used by the state machine of the core; sans-IO, with no clock of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.data.sorted_keys import SortedKeys

_new = tuple.__new__


class NotReadable(Exception):
    """A revision cannot be read here; the message is a word that programs know, and a sentence."""


class Compacted(NotReadable):
    """A read or a watch asks for a revision whose versions may be gone.

    Args:
        asked: the revision.
        floor: the lowest revision that can be read.
    """

    def __init__(self, asked: int, floor: int) -> None:
        self.asked, self.floor = asked, floor
        super().__init__(
            f"compacted: revision {asked} is compacted; the oldest one left is {floor}"
        )


class FutureRevision(NotReadable):
    """A read asks for a revision that is not reached here: what it will hold is not known yet.

    Args:
        asked: the revision.
        reached: the highest revision that can be read.
    """

    def __init__(self, asked: int, reached: int) -> None:
        self.asked, self.reached = asked, reached
        super().__init__(
            f"future-revision: revision {asked} is not reached yet; the newest one is {reached}"
        )


class Version(NamedTuple):
    """One version of a key; in this order it is a row of a snapshot.

    Args:
        revision: of the change that made it.
        number: counts the key's changes from 1; begins anew after a deletion; 0 of a tombstone.
        created: revision of the version with number 1.
        lease: id of the lease the key ends with; "" for none.
        length: how many items of ``data`` belong to this version; -1 if it is no list.
        data: the value; None if the key was deleted. A list may be longer by now: see ``length``.
    """

    revision: int
    number: int
    created: int
    lease: str = ""
    length: int = -1
    data: Any = None

    @property
    def value(self) -> Any:
        """The value as of this version: a list of its own, if it is a list."""
        return self.data if self.length < 0 else self.data[: self.length]

    @property
    def deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.number == 0


def revision_of(version: Version) -> int:
    """The key versions are sorted by."""
    return version.revision


class VersionedValues:
    """Keys and their versions."""

    __slots__ = (
        "_alive", "_changes", "_keys", "_listed", "_present", "_touched", "floor", "newest",
        "reached",
    )  # fmt: skip

    def __init__(self) -> None:
        self._keys: dict[str, list[Version]] = {}
        #: the keys that ever held a list, whose versions may share one
        self._listed: dict[str, None] = {}
        #: keys that have a version at all
        self._present = SortedKeys()
        #: (revision, key, its versions) of every change above the floor, in order
        self._changes: deque[tuple[int, str, list[Version]]] = deque()
        #: the lowest revision that can be read
        self.floor = 0
        #: revision of the last change
        self.newest = 0
        #: up to this revision no change is missing, and none will come
        self.reached = 0
        #: how many keys are not deleted
        self._alive = 0
        #: keys changed since :meth:`begin`, and whether each was there before; None outside
        self._touched: dict[str, bool] | None = None

    # -- reading -----------------------------------------------------------------------------------

    def latest(self, key: str) -> Version | None:
        """The newest version of a key; None if the key is absent."""
        versions = self._keys.get(key)
        if not versions or versions[-1].number == 0:
            return None
        return versions[-1]

    def at(self, key: str, revision: int) -> Version | None:
        """The version of a key that is visible at a revision; None if the key was absent.

        Raises:
            NotReadable: the revision is below the floor, or not reached.
        """
        self.require_readable(revision)
        found = self.visible(self._keys.get(key, []), revision)
        return None if found is None or found.deleted else found

    def visible(self, versions: list[Version], revision: int) -> Version | None:
        """Decision: which of a key's versions a read at a revision sees: the newest up to it."""
        place = bisect_right(versions, revision, key=revision_of)
        return versions[place - 1] if place else None

    def may_read(self, revision: int) -> bool:
        """Decision: whether the versions visible at a revision are all still there."""
        return revision >= self.floor

    def require_readable(self, revision: int) -> None:
        """Refuse a revision below the floor, and one that is not reached.

        Raises:
            Compacted: it is below the floor.
            FutureRevision: it is not reached.
        """
        if not self.may_read(revision):
            raise Compacted(revision, self.floor)
        if not self.is_reached(revision):
            raise FutureRevision(revision, self.reached)

    def is_reached(self, revision: int) -> bool:
        """Decision: whether all changes up to a revision are here."""
        return revision <= self.reached

    def reach(self, revision: int) -> None:
        """What is changed from now on has this revision or a later one."""
        if revision > self.reached:
            self.reached = revision

    def keys(self, start: str, end: str | None) -> Iterator[str]:
        """Keys that have versions, from ``start`` up to but without ``end``, in order.

        Args:
            start: the first.
            end: where to stop; None for no end.
        """
        yield from self._present.between(start, end)

    def __len__(self) -> int:
        return self._alive

    def changes(self, after: int) -> Iterator[tuple[str, Version]]:
        """Every change above a revision, in the order of revisions.

        Raises:
            Compacted: changes above it may be gone.
        """
        if not self.may_resume(after):
            raise Compacted(after, self.floor)
        for revision, key, versions in self._changes_above(after):
            yield key, versions[bisect_left(versions, revision, key=revision_of)]

    def may_resume(self, after: int) -> bool:
        """Decision: whether all changes above a revision are still there."""
        return after >= self.floor

    def _changes_above(self, after: int) -> Iterator[tuple[int, str, list[Version]]]:
        found = self._changes
        if found and found[-1][0] <= after:
            return iter(())
        first = bisect_right(found, after, key=lambda change: change[0])
        return (found[place] for place in range(first, len(found)))

    # -- changing ----------------------------------------------------------------------------------

    def put(self, revision: int, key: str, value: Any, lease: str = "") -> Version:
        """A new value; the version that holds it. A list becomes the store's own."""
        length = len(value) if type(value) is list else -1
        return self._add(revision, key, value, length, lease)

    def append(self, revision: int, key: str, item: Any) -> Version:
        """The key's list with one item more. The caller has looked that it is a list."""
        old = self.latest(key)
        assert old is not None and old.length >= 0, f"{key!r} is no list"
        shared = old.data
        del shared[old.length :]  # what an undone change had added
        shared.append(item)
        return self._add(revision, key, shared, old.length + 1, old.lease)

    def remove(self, revision: int, key: str) -> bool:
        """Delete a key; whether it was there."""
        if self.latest(key) is None:
            return False
        self._add(revision, key, None, -1, "", tombstone=True)
        return True

    def _add(
        self,
        revision: int,
        key: str,
        data: Any,
        length: int,
        lease: str,
        *,
        tombstone: bool = False,
    ) -> Version:
        assert revision >= self.newest, f"revision {revision} follows {self.newest}"
        versions = self._keys.get(key)
        if versions is None:
            versions = self._keys[key] = []
            self._present.add(key)
        old = versions[-1] if versions else None
        number, created = 0, revision
        if old is not None and old.number:
            number, created = old.number, old.created
        if self._touched is not None:
            self._touched.setdefault(key, number > 0)
        self._alive += (not tombstone) - (number > 0)
        number = 0 if tombstone else number + 1
        if length >= 0:
            self._listed[key] = None
        # what Version(...) does, without its call: this is done for every change
        made = _new(Version, (revision, number, created, lease, length, data))
        self.newest = revision
        if revision > self.reached:
            self.reached = revision
        if old is not None and old.revision == revision:  # changed twice by one transaction
            versions[-1] = made
        else:
            versions.append(made)
            self._changes.append((revision, key, versions))
        return made

    # -- all or nothing ----------------------------------------------------------------------------

    def begin(self) -> None:
        """From now on changes can be undone, until :meth:`commit` or :meth:`undo`."""
        assert self._touched is None, "a transaction is under way"
        self._touched = {}

    @property
    def touched(self) -> list[str]:
        """The keys changed since :meth:`begin`."""
        return list(self._touched or ())

    def commit(self) -> list[str]:
        """Keep the changes since :meth:`begin`, listed by key; the keys changed."""
        changed, self._touched = self._touched, None
        assert changed is not None, "no transaction is under way"
        tail = sorted(self._changes.pop() for _ in changed)
        for revision, key, versions in tail:
            if versions[-1].deleted and not changed[key]:  # made and deleted within it: no change
                versions.pop()
                if not versions:
                    self._forget(key)
            else:
                self._changes.append((revision, key, versions))
        return [key for _, key, _ in tail]

    def undo(self) -> list[str]:
        """Take back the changes since :meth:`begin`; the keys that had changed."""
        undone, self._touched = self._touched, None
        assert undone is not None, "no transaction is under way"
        for key, was_there in undone.items():
            self._changes.pop()
            versions = self._keys[key]
            gone = versions.pop()
            self._alive += was_there - (gone.number > 0)
            if not versions:
                self._forget(key)
        return list(undone)

    def _forget(self, key: str) -> None:
        self._keys.pop(key).clear()  # the changes that made them may not be compacted yet
        self._listed.pop(key, None)
        self._present.remove(key)

    # -- compaction --------------------------------------------------------------------------------

    def compact(self, floor: int) -> None:
        """Drop what no read at or above a revision can see; it becomes the floor.

        A floor at or below the present one changes nothing.
        """
        if floor <= self.floor:
            return
        self.floor = floor
        changes = self._changes
        while changes and changes[0][0] <= floor:
            _, key, versions = changes.popleft()
            if not versions:
                continue
            # Step by step: most keys have one version to drop or none, and a search costs more.
            unseen, last = 0, len(versions) - 1
            while unseen < last and versions[unseen + 1][0] <= floor:
                unseen += 1
            if unseen:
                del versions[:unseen]
            if unseen == last and versions[0].deleted and versions[0].revision <= floor:
                self._forget(key)

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """Everything, for a snapshot: JSON-like; lists are shared with the live state.

        A node does nothing else meanwhile, so versions are rows as they are, but for lists.
        """
        listed = self._listed
        rows = [
            (key, _encoded(versions) if key in listed else versions)
            for key, versions in self._keys.items()
        ]
        return (self.floor, self.newest, rows)

    def restore(self, state: Any) -> None:
        """Replace everything by what :meth:`encode` gave, decoded afresh."""
        self.floor, self.newest, rows = state
        self.reached = max(self.floor, self.newest)
        self._touched = None
        self._keys = {key: _decoded(versions) for key, versions in rows}
        self._listed = {
            key: None
            for key, versions in self._keys.items()
            if any(version.length >= 0 for version in versions)
        }
        self._present = SortedKeys(self._keys)
        self._alive = sum(versions[-1].number > 0 for versions in self._keys.values())
        self._changes = deque(
            sorted(
                (version.revision, key, versions)
                for key, versions in self._keys.items()
                for version in versions
                if version.revision > self.floor
            )
        )


def _encoded(versions: list[Version]) -> list[Any]:
    """Rows of (revision, number, created, lease, length, data); a list is written once.

    ``data`` of a version that shares its list with the one before is None.
    """
    rows: list[Any] = []
    first = 0  # of the versions that share a list
    for place, version in enumerate(versions):
        data = version.data
        shares = place > 0 and version.length >= 0 and data is versions[place - 1].data
        first = first if shares else place
        rows.append([*version[:-1], None if shares else data])
        goes_on = place + 1 < len(versions) and versions[place + 1].data is data
        if version.length >= 0 and not goes_on:
            rows[first][-1] = data[: version.length]
    return rows


def _decoded(rows: list[Any]) -> list[Version]:
    versions: list[Version] = []
    for revision, number, created, lease, length, data in rows:
        if length >= 0 and data is None:
            data = versions[-1].data
        versions.append(Version(revision, number, created, lease, length, data))
    return versions
