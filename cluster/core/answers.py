"""Answers of the state machine, and what its services have in common.

A command is answered ``ok`` with a value or ``fail`` with a sentence; nothing a client sends makes
a service raise. For the modules of ``cluster.core`` and what builds on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import msgspec

from cluster.wire import Command

#: (status, value, error): ``ok`` with a value, or ``fail`` with a sentence.
Answer: TypeAlias = tuple[str, Any, str]

#: Longest key, in characters.
KEY_LENGTH_MAX = 4096
#: So many changed rows are always noted for the next hash.
DIRTY_ROWS = 1_000
#: Deepest nesting of a value.
VALUE_DEPTH_MAX = 64

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1

_canonical = msgspec.msgpack.Encoder(order="deterministic").encode


def fail(error: str) -> Answer:
    """A definite refusal: it did not happen, and why."""
    return ("fail", None, error)


def ok(value: Any) -> Answer:
    """It happened, with this result."""
    return ("ok", value, "")


class Service(Protocol):
    """One part of the state machine: some operations, and the state they are about."""

    #: operations that go through the log
    writes: frozenset[str]
    #: operations answered from the state
    reads: frozenset[str]
    #: operations of the log that a leader proposes by itself, and no client may ask for
    internal: frozenset[str]

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out, whatever the state; "" if it may be."""

    def apply(self, index: int, command: Command) -> Answer:
        """Carry out a write that has no problem, as of a log index."""

    def read(self, command: Command) -> Answer:
        """Answer a read that has no problem from the present state."""

    def encode(self) -> Any:
        """The whole state, for a snapshot: JSON-like, perhaps shared with the live state."""

    def restore(self, state: Any) -> None:
        """Replace the state by one that :meth:`encode` gave, decoded afresh."""

    def digest(self) -> int:
        """Hash of the state, equal for equal states."""


class DigestSum:
    """A hash of a table that costs only its changed rows: the sum of the rows' digests.

    Which rows changed is noted from the first hash on, while they are no more than the rows that
    have a digest, or few. So a table that nobody hashes keeps no second list of its rows.
    """

    __slots__ = ("_digests", "_dirty", "_sum")

    def __init__(self) -> None:
        self._digests: dict[str, int] = {}
        #: the rows changed since the last hash; None if any may have
        self._dirty: dict[str, None] | None = None
        self._sum = 0

    def touch(self, name: str) -> None:
        """A row was added, changed or removed."""
        dirty = self._dirty
        if dirty is not None:
            dirty[name] = None
            if len(dirty) > DIRTY_ROWS and len(dirty) > len(self._digests):
                self._dirty = None

    def value(self, row: Callable[[str], Any], names: Iterable[str]) -> int:
        """The hash now.

        Args:
            row: what a name holds, encodable; None if the row is gone.
            names: of all rows.
        """
        dirty = self._dirty
        if dirty is None:
            self._digests.clear()
            self._sum = 0
        for name in names if dirty is None else dirty:
            self._hash(name, row(name))
        self._dirty = {}
        return self._sum

    def _hash(self, name: str, held: Any) -> None:
        digest = 0
        if held is not None:
            blob = _canonical((name, held))
            digest = int.from_bytes(hashlib.blake2b(blob, digest_size=16).digest(), "big")
        self._sum = (self._sum - self._digests.pop(name, 0) + digest) % (1 << 128)
        if digest:
            self._digests[name] = digest


def short(value: Any) -> str:
    """A value in an error, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def key_problem(key: Any) -> str:
    """Why something is no key; "" if it is one."""
    if type(key) is not str or len(key) > KEY_LENGTH_MAX:
        return f"the key {short(key)} is not a string of at most {KEY_LENGTH_MAX} characters"
    return ""


def value_problem(value: Any, depth: int = 0) -> str:
    """Why a value cannot be stored; "" if it can."""
    kind = type(value)
    if kind is str or kind is float or kind is bool:
        return ""
    if kind is int:
        return "" if INT_MIN <= value <= INT_MAX else f"{value} does not fit in 64 bits"
    if depth >= VALUE_DEPTH_MAX:
        return f"the value is nested deeper than {VALUE_DEPTH_MAX}"
    if kind in (list, tuple):
        items = value
    elif kind is dict:
        if not all(type(name) is str for name in value):
            return f"the value {short(value)} has a name that is not a string"
        items = list(value.values())
    elif value is None and depth:
        return ""
    elif value is None:
        return "None means that a key is absent, so it cannot be stored; use delete"
    else:
        return f"the value {short(value)} is a {kind.__name__}, not JSON-like"
    for item in items:
        wrong = value_problem(item, depth + 1)
        if wrong:
            return wrong
    return ""


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same, types included: 1, 1.0 and true differ."""
    if type(left) in (int, str, bool, float) or left is None:
        return type(left) is type(right) and bool(left == right)
    return _canonical(left) == _canonical(right)
