"""The key-value state machine: what the replicated log is about.

Deterministic and alone: a command and its log index are all that :meth:`KeyValue.apply` looks at,
no clock, no randomness, no iteration order, so equal logs make equal states. A command that cannot
be carried out is answered ``fail`` with a sentence; nothing a client sends makes it raise.

Results, all JSON-like:

    get key                the value, or None if the key is absent
    stat key               {"value", "version", "created", "modified"}, or None
    put key value          the key's new version
    cas key old new        the key's new version; fail if the value is not ``old`` (None = absent)
    append key item        the new length; an absent key counts as []; fail if it is not a list
    incr key amount        the new value; an absent key counts as 0; fail if it is not an integer
    delete key             True if the key was there, False if not

A key's version counts its changes from 1, and begins anew after a delete; ``created`` and
``modified`` are log indexes. Values are None-free JSON: None means "absent", so it cannot be put.
Comparison is by value *and* type: 1, 1.0 and true differ.

What breaks without it (A25): a command that reads a local clock or a set's order diverges silently.
The state hash exists to notice: equal on all nodes at an equal applied index.

Used by ``cluster.core.replica`` only, from one place at a time (Singular Update Queue).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from cluster.wire import Command

#: (status, value, error): ``ok`` with a value, or ``fail`` with a sentence.
Answer: TypeAlias = tuple[str, Any, str]

#: Longest key, in characters.
KEY_LENGTH_MAX = 4096
#: Deepest nesting of a value.
VALUE_DEPTH_MAX = 64
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1

READS = frozenset({"get", "stat"})
_ARGUMENTS = {
    "get": (),
    "stat": (),
    "put": ("value",),
    "cas": ("old", "new"),
    "append": ("item",),
    "incr": ("amount",),
    "delete": (),
}
_canonical = msgspec.msgpack.Encoder(order="deterministic").encode


def fail(error: str) -> Answer:
    """A definite refusal: it did not happen, and why."""
    return ("fail", None, error)


def ok(value: Any) -> Answer:
    """It happened, with this result."""
    return ("ok", value, "")


class DigestSum:
    """A hash of a table that costs only its changed rows: the sum of the rows' digests."""

    __slots__ = ("_digests", "_dirty", "_sum")

    def __init__(self) -> None:
        self._digests: dict[str, int] = {}
        self._dirty: dict[str, None] = {}
        self._sum = 0

    def touch(self, name: str) -> None:
        """A row was added, changed or removed."""
        self._dirty[name] = None

    def value(self, row: Callable[[str], Any]) -> int:
        """The hash now.

        Args:
            row: what a name holds, encodable; None if the row is gone.
        """
        for name in self._dirty:
            held = row(name)
            digest = 0
            if held is not None:
                blob = _canonical((name, held))
                digest = int.from_bytes(hashlib.blake2b(blob, digest_size=16).digest(), "big")
            self._sum = (self._sum - self._digests.pop(name, 0) + digest) % (1 << 128)
            if digest:
                self._digests[name] = digest
        self._dirty.clear()
        return self._sum


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _value_problem(value: Any, depth: int = 0) -> str:
    """Why a value cannot be stored; "" if it can."""
    kind = type(value)
    if kind in (bool, float, str):
        return ""
    if kind is int:
        return "" if _INT_MIN <= value <= _INT_MAX else f"{value} does not fit in 64 bits"
    if depth >= VALUE_DEPTH_MAX:
        return f"the value is nested deeper than {VALUE_DEPTH_MAX}"
    if kind in (list, tuple):
        items = value
    elif kind is dict:
        if not all(type(name) is str for name in value):
            return f"the value {_short(value)} has a name that is not a string"
        items = list(value.values())
    elif value is None and depth:
        return ""
    elif value is None:
        return "None means that a key is absent, so it cannot be stored; use delete"
    else:
        return f"the value {_short(value)} is a {kind.__name__}, not JSON-like"
    for item in items:
        wrong = _value_problem(item, depth + 1)
        if wrong:
            return wrong
    return ""


def _equal(left: Any, right: Any) -> bool:
    if type(left) in (int, str, bool, float) or left is None:
        return type(left) is type(right) and bool(left == right)
    return _canonical(left) == _canonical(right)


def problem(command: Command) -> str:
    """Why a command can never be carried out, whatever the state; "" if it may be."""
    op, key, args = command.op, command.key, command.args
    names = _ARGUMENTS.get(op) if type(op) is str else None
    if names is None:
        return f"there is no operation {_short(op)}; known are {', '.join(_ARGUMENTS)}"
    if type(key) is not str or len(key) > KEY_LENGTH_MAX:
        return f"the key {_short(key)} is not a string of at most {KEY_LENGTH_MAX} characters"
    if len(args) != len(names):
        wanted = ", ".join(names) if names else "no arguments"
        return f"{op} takes {wanted}, and was given {len(args)} arguments"
    if op == "incr":
        amount = args[0]
        if type(amount) is not int or not _INT_MIN <= amount <= _INT_MAX:
            return f"incr takes an integer, not {_short(amount)}"
        return ""
    for position, arg in enumerate(args):
        wrong = "" if arg is None and op == "cas" and position == 0 else _value_problem(arg)
        if wrong:
            return wrong
    return ""


class KeyValue:
    """Keys with values and versions."""

    __slots__ = ("_digest", "_items")

    def __init__(self) -> None:
        # key -> [value, version, created, modified]
        self._items: dict[str, list[Any]] = {}
        self._digest = DigestSum()

    def __len__(self) -> int:
        return len(self._items)

    def apply(self, index: int, command: Command) -> Answer:
        """Carry a command out as of a log index."""
        wrong = problem(command)
        if wrong:
            return fail(wrong)
        key, args = command.key, command.args
        match command.op:
            case "put":
                return self._set(index, key, args[0])
            case "cas":
                return self._cas(index, key, *args)
            case "append":
                return self._append(index, key, args[0])
            case "incr":
                return self._incr(index, key, args[0])
            case "delete":
                self._digest.touch(key)
                return ok(self._items.pop(key, None) is not None)
            case _:
                return self.read(command)

    def read(self, command: Command) -> Answer:
        """Answer a ``get`` or ``stat`` from the present state, or say why not."""
        wrong = problem(command)
        if wrong:
            return fail(wrong)
        item = self._items.get(command.key)
        if item is None:
            return ok(None)
        value = item[0]
        if type(value) is list:
            value = value.copy()  # append grows the stored list in place
        if command.op == "get":
            return ok(value)
        _value, version, created, modified = item
        return ok({"value": value, "version": version, "created": created, "modified": modified})

    def stamp(self, index: int) -> int:
        """Decision: what a changed key is stamped with: the log index, equal on all nodes."""
        return index

    def _set(self, index: int, key: str, value: Any) -> Answer:
        self._digest.touch(key)
        item = self._items.get(key)
        if type(value) is tuple or type(value) is list:
            value = list(value)
        if item is None:
            stamp = self.stamp(index)
            self._items[key] = [value, 1, stamp, stamp]
            return ok(1)
        item[0] = value
        item[1] += 1
        item[3] = self.stamp(index)
        return ok(item[1])

    def _cas(self, index: int, key: str, old: Any, new: Any) -> Answer:
        item = self._items.get(key)
        present = item[0] if item else None
        if not _equal(present, old):
            return fail(f"the value is {_short(present)}, not {_short(old)}")
        return self._set(index, key, new)

    def _append(self, index: int, key: str, element: Any) -> Answer:
        item = self._items.get(key)
        if item is None:
            self._set(index, key, [element])
            return ok(1)
        if type(item[0]) is not list:
            return fail(f"the value {_short(item[0])} is not a list")
        self._digest.touch(key)
        item[0].append(element)
        item[1] += 1
        item[3] = self.stamp(index)
        return ok(len(item[0]))

    def _incr(self, index: int, key: str, amount: int) -> Answer:
        item = self._items.get(key)
        present = item[0] if item else 0
        if type(present) is not int:
            return fail(f"the value {_short(present)} is not an integer")
        total = present + amount
        if not _INT_MIN <= total <= _INT_MAX:
            return fail(f"{total} does not fit in 64 bits")
        self._set(index, key, total)
        return ok(total)

    def encode(self) -> Any:
        """The whole state, for a snapshot: JSON-like, shared with the live state."""
        return self._items

    def restore(self, state: Any) -> None:
        """Replace the state by one that :meth:`encode` gave, decoded afresh."""
        self._items = dict(state)
        self._digest = DigestSum()
        for key in self._items:
            self._digest.touch(key)

    def digest(self) -> int:
        """Hash of the state, equal for equal states."""
        return self._digest.value(self._items.get)
