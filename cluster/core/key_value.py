"""The keys of the core: operations on one key, and reads of many, over Versioned Value.

Results, all JSON-like:

    get key [revision]       the value, or None if the key is absent
    stat key [revision]      {"value", "version", "created", "modified", "lease"}, or None
    range start {options}    {"items": [{"key", "value", ...as stat}], "count", "more", "revision"}
    put key value [lease]    the key's new version
    cas key old new          the key's new version; fail if the value is not ``old`` (None = absent)
    append key item          the new length; an absent key counts as []; fail if it is not a list
    incr key amount          the new value; an absent key counts as 0; fail if it is not an integer
    delete key               True if the key was there, False if not
    compact "" revision      the oldest revision left

A key's version counts its changes from 1, and begins anew after a delete; ``created`` and
``modified`` are revisions, and a revision is the log index of a change. Values are None-free JSON:
None means "absent", so it cannot be put. Comparison is by value *and* type.

A range has these options: ``end`` (where to stop; without it, a range reads the keys that begin
with ``start``), ``limit``, ``revision``, ``keys_only``, ``count_only``. A key with a lease is
deleted when the lease ends.

A read at a revision below the compacted one fails with ``compacted``, and one at a revision that is
not reached with ``future-revision``; so does a compaction up to one. Compaction is a command of
the log or, every so many revisions, done by itself; the state's hash is about the newest versions
only, and so does not depend on it.

Used by ``cluster.core.state_machine``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.core.answers import (
    INT_MAX,
    INT_MIN,
    KEY_LENGTH_MAX,
    Answer,
    DigestSum,
    equal,
    fail,
    key_problem,
    ok,
    short,
    value_problem,
)
from cluster.data.versioned_value import (
    Compacted,
    FutureRevision,
    NotReadable,
    Version,
    VersionedValues,
)
from cluster.wire import Command

#: Most items one range answers with.
RANGE_ITEMS_MAX = 10_000
RANGE_ITEMS = 1_000
#: What a read finds where there is no key.
_ABSENT: Answer = ok(None)
#: How many revisions the history grows beyond its bound before they are compacted.
COMPACTED_AT_ONCE = 512

#: operation -> its arguments after the key, and how many may be left out at the end
_ARGUMENTS: dict[str, tuple[tuple[str, ...], int]] = {
    "get": (("revision",), 1),
    "stat": (("revision",), 1),
    "range": (("options",), 1),
    "put": (("value", "lease"), 1),
    "cas": (("old", "new"), 0),
    "append": (("item",), 0),
    "incr": (("amount",), 0),
    "delete": ((), 0),
    "compact": (("revision",), 0),
}
_OPTIONS = {
    "end": str, "limit": int, "revision": int, "keys_only": bool, "count_only": bool,
}  # fmt: skip


class KeyValue:
    """Keys with values and versions.

    Args:
        values: the versions; a class of its own so that an ablation can replace it.
        history: how many revisions stay readable without a compaction being asked for.
    """

    __slots__ = ("_by_lease", "_digest", "_history", "_history_most", "_values_type", "values")

    reads = frozenset({"get", "stat", "range"})
    writes = frozenset(_ARGUMENTS) - reads
    internal: frozenset[str] = frozenset()

    def __init__(
        self, values: type[VersionedValues] = VersionedValues, *, history: int = 10_000
    ) -> None:
        self._values_type = values
        self._history = history
        self._history_most = history + min(history, COMPACTED_AT_ONCE)
        self.values = values()
        #: lease -> its keys, as an ordered set
        self._by_lease: dict[str, dict[str, None]] = {}
        self._digest = DigestSum()

    def __len__(self) -> int:
        return len(self.values)

    # -- what can be asked -------------------------------------------------------------------------

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out, whatever the state; "" if it may be."""
        op, key, args = command.op, command.key, command.args
        if type(key) is not str or len(key) > KEY_LENGTH_MAX:
            return key_problem(key)
        fewest, most, problem = _SHAPES[op]
        if not fewest <= len(args) <= most:
            return _count_problem(op, args)
        return problem(op, args) if args else ""

    def stamp(self, index: int) -> int:
        """Decision: the revision of a change: its log index, equal on all nodes."""
        return index

    # -- writes ------------------------------------------------------------------------------------

    def apply(self, index: int, command: Command) -> Answer:
        """Carry out a write that has no problem, as of a log index."""
        key, args = command.key, command.args
        match command.op:
            case "put":
                return self._put(index, key, *args)
            case "cas":
                return self._cas(index, key, *args)
            case "append":
                return self._append(index, key, args[0])
            case "incr":
                return self._incr(index, key, args[0])
            case "delete":
                return ok(self.delete(index, key))
            case _:
                return self._compact(index, args[0])

    def _put(self, index: int, key: str, value: Any, lease: str = "") -> Answer:
        old = self.values.latest(key)
        if old is not None and old.lease and old.lease != lease:
            self._detach(key, old.lease)
        if lease:
            self._by_lease.setdefault(lease, {})[key] = None
        self._digest.touch(key)
        if type(value) is tuple or type(value) is list:
            value = list(value)
        return ok(self.values.put(self.stamp(index), key, value, lease).number)

    def _cas(self, index: int, key: str, old: Any, new: Any) -> Answer:
        found = self.values.latest(key)
        present = None if found is None else found.value
        if not equal(present, old):
            return fail(f"the value is {short(present)}, not {short(old)}")
        return self._put(index, key, new, "" if found is None else found.lease)

    def _append(self, index: int, key: str, item: Any) -> Answer:
        found = self.values.latest(key)
        if found is None:
            self._put(index, key, [item])
            return ok(1)
        if found.length < 0:
            return fail(f"the value {short(found.data)} is not a list")
        self._digest.touch(key)
        return ok(self.values.append(self.stamp(index), key, item).length)

    def _incr(self, index: int, key: str, amount: int) -> Answer:
        found = self.values.latest(key)
        present = 0 if found is None else found.value
        if type(present) is not int:
            return fail(f"the value {short(present)} is not an integer")
        total = present + amount
        if not INT_MIN <= total <= INT_MAX:
            return fail(f"{total} does not fit in 64 bits")
        self._put(index, key, total, "" if found is None else found.lease)
        return ok(total)

    def delete(self, index: int, key: str) -> bool:
        """Delete a key; whether it was there."""
        old = self.values.latest(key)
        if old is None:
            return False
        if old.lease:
            self._detach(key, old.lease)
        self._digest.touch(key)
        return self.values.remove(self.stamp(index), key)

    def end_lease(self, index: int, lease: str) -> int:
        """A lease ended: delete its keys, all at one revision; how many there were."""
        self.values.begin()
        for key in self.attached(lease):
            self.delete(index, key)
        return len(self.values.commit())

    def _detach(self, key: str, lease: str) -> None:
        keys = self._by_lease.get(lease, {})
        keys.pop(key, None)
        if not keys:
            self._by_lease.pop(lease, None)

    def attached(self, lease: str) -> list[str]:
        """The keys that end with a lease, sorted: equal on all nodes."""
        return sorted(self._by_lease.get(lease, ()))

    def undo(self) -> None:
        """Take back what a transaction did since ``values.begin()``."""
        for key in self.values.touched:
            found = self.values.latest(key)
            if found is not None and found.lease:
                self._detach(key, found.lease)
        for key in self.values.undo():
            self._digest.touch(key)
            found = self.values.latest(key)
            if found is not None and found.lease:
                self._by_lease.setdefault(found.lease, {})[key] = None

    # -- compaction --------------------------------------------------------------------------------

    def _compact(self, index: int, revision: int) -> Answer:
        if revision > index:
            return fail(str(FutureRevision(revision, index)))
        if revision <= self.values.floor:
            return fail(str(Compacted(revision, self.values.floor)))
        self.values.compact(revision)
        return ok(self.values.floor)

    def forget_history(self, index: int) -> None:
        """Compact by itself, now and then, so that history stays bounded: in small steps, since no
        request is served meanwhile."""
        if index - self.values.floor > self._history_most:
            self.values.compact(index - self._history)

    # -- reads -------------------------------------------------------------------------------------

    def read(self, command: Command) -> Answer:
        """Answer a read that has no problem from the present state."""
        op, args = command.op, command.args
        try:
            if op == "range":
                return self._range(command.key, *args)
            found = self._find(command.key, *args) if args else self.values.latest(command.key)
        except NotReadable as error:
            return fail(str(error))
        if found is None:
            return _ABSENT
        return ("ok", found.value if op == "get" else _stat(found), "")

    def _find(self, key: str, revision: int = 0) -> Version | None:
        if not revision:
            return self.values.latest(key)
        return self.values.at(key, revision)

    def _range(self, start: str, options: dict[str, Any] | None = None) -> Answer:
        asked = options or {}
        end = asked["end"] if "end" in asked else after_prefix(start)
        revision, limit = asked.get("revision", 0), asked.get("limit", RANGE_ITEMS)
        items: list[dict[str, Any]] = []
        count = 0
        if revision:
            self.values.require_readable(revision)
        for key in self.values.keys(start, end):
            found = self._find(key, revision)
            if found is None:
                continue
            count += 1
            if count <= limit and not asked.get("count_only"):
                items.append(
                    {"key": key} if asked.get("keys_only") else {"key": key, **_stat(found)}
                )
        return ok(
            {
                "items": items,
                "count": count,
                "more": count > limit,
                "revision": revision or self.values.newest,
            }
        )

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """The whole state, for a snapshot: JSON-like, shared with the live state."""
        return self.values.encode()

    def restore(self, state: Any) -> None:
        """Replace the state by one that :meth:`encode` gave, decoded afresh."""
        self.values = self._values_type()
        self.values.restore(state)
        self._digest = DigestSum()
        self._index_leases()

    def _index_leases(self) -> None:
        self._by_lease = {}
        for key in self.values.keys("", None):
            found = self.values.latest(key)
            if found is not None and found.lease:
                self._by_lease.setdefault(found.lease, {})[key] = None

    def digest(self) -> int:
        """Hash of the newest versions, equal for equal states."""
        return self._digest.value(self._row, self.values.keys("", None))

    def _row(self, key: str) -> Any:
        found = self.values.latest(key)
        return None if found is None else [found.value, found.number, found.created, *found[:1]]


def _count_problem(op: str, args: tuple[Any, ...]) -> str:
    names, optional = _ARGUMENTS[op]
    needed = len(names) - optional
    wanted = ", ".join([*names[:needed], *(f"[{name}]" for name in names[needed:])])
    return f"{op} takes {wanted or 'no arguments'}, and was given {len(args)} arguments"


def _put_problem(op: str, args: tuple[Any, ...]) -> str:
    if len(args) == 2 and type(args[1]) is not str:
        return f"the lease {short(args[1])} is not a string"
    return value_problem(args[0])


def _cas_problem(op: str, args: tuple[Any, ...]) -> str:
    old, new = args
    return ("" if old is None else value_problem(old)) or value_problem(new)


def _append_problem(op: str, args: tuple[Any, ...]) -> str:
    return value_problem(args[0])


def _incr_problem(op: str, args: tuple[Any, ...]) -> str:
    amount = args[0]
    if type(amount) is not int or not INT_MIN <= amount <= INT_MAX:
        return f"incr takes an integer, not {short(amount)}"
    return ""


def _stat(found: Version) -> dict[str, Any]:
    return {
        "value": found.value,
        "version": found.number,
        "created": found.created,
        "modified": found.revision,
        "lease": found.lease,
    }


def after_prefix(prefix: str) -> str | None:
    """The first string that does not begin with a prefix, of those above it; None if none is."""
    for place in range(len(prefix) - 1, -1, -1):
        if ord(prefix[place]) < 0x10FFFF:
            return prefix[:place] + chr(ord(prefix[place]) + 1)
    return None


def _revision_problem(op: str, args: tuple[Any, ...]) -> str:
    revision = args[0]
    if type(revision) is not int or not 0 <= revision <= INT_MAX:
        return f"{op} takes a revision, not {short(revision)}"
    return ""


def _options_problem(op: str, args: tuple[Any, ...]) -> str:
    options = args[0]
    if type(options) is not dict:
        return f"range takes options by name, not {short(options)}"
    for name, value in options.items():
        kind = _OPTIONS.get(name)
        if kind is None:
            return f"range has no option {short(name)}; it has {', '.join(_OPTIONS)}"
        if type(value) is not kind:
            return f"the option {name} of range is {short(value)}, not {kind.__name__}"
    if not 1 <= options.get("limit", 1) <= RANGE_ITEMS_MAX:
        return f"the limit of a range is {options['limit']}; it should be 1 to {RANGE_ITEMS_MAX}"
    return _revision_problem("range", (options.get("revision", 0),))


#: operation -> what is wrong with its arguments, of which there is at least one
_PROBLEMS: dict[str, Callable[[str, tuple[Any, ...]], str]] = {
    "get": _revision_problem,
    "stat": _revision_problem,
    "range": _options_problem,
    "put": _put_problem,
    "cas": _cas_problem,
    "append": _append_problem,
    "incr": _incr_problem,
    "compact": _revision_problem,
    "delete": _count_problem,
}
#: operation -> its fewest arguments, its most, and what is wrong with them
_SHAPES = {
    op: (len(names) - optional, len(names), _PROBLEMS[op])
    for op, (names, optional) in _ARGUMENTS.items()
}
