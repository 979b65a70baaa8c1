"""Columns from lists: interning, pairing and validation, vectorised.

Every loader ends here. It hands over one Python list per field, in the order the events happened,
and gets a :class:`~checkers.history.history.History`, or a :class:`HistoryError` naming the first
event that cannot be.

Pairing: order the events by process, stably. Within one process invocations and completions must
then alternate, beginning with an invocation, so the whole check is a comparison of neighbours; no
event is looked at in Python unless something is wrong. What breaks without it: a completion without
an invocation, or two open operations of one process, would silently move an operation's interval,
and with it every real-time argument that a checker makes.

For loaders in this package and :meth:`History.from_events`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from checkers.history.errors import HistoryError
from checkers.history.op import INVOKE, TYPE_CODES, TYPE_NAMES

Ints = npt.NDArray[np.int64]
Place = Callable[[int], str]
T = TypeVar("T")
Scalar = TypeVar("Scalar", bound=np.generic)

#: Types whose equal values are equal objects for a reader: they may share one dict as they are.
_PLAIN = frozenset((int, str, type(None)))


def freeze(value: object) -> object:
    """A hashable twin of a JSON-like value: lists become tuples, dicts sorted tuples of pairs."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    if isinstance(value, dict):
        pairs = [(freeze(k), freeze(v)) for k, v in value.items()]
        return ("dict", *sorted(pairs, key=repr))
    if isinstance(value, (set, frozenset)):
        return ("set", *sorted((freeze(item) for item in value), key=repr))
    return value


def short(value: object, *, chars_max: int = 60) -> str:
    """A value for an error message: its repr, cut; never raises."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer with thousands of digits, a bottomless list
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= chars_max else text[: chars_max - 3] + "..."


class Interner:
    """Codes for values in order of first appearance; equal values of different types differ."""

    def __init__(self) -> None:
        self.codes: dict[Hashable, int] = {}
        self.table: list[object] = []

    def code(self, value: object) -> int:
        """The code of ``value``, a new one if it was not seen before."""
        token = (value.__class__, freeze(value))
        found = self.codes.get(token)
        if found is None:
            found = self.codes[token] = len(self.table)
            self.table.append(value)
        return found


class Coded:
    """A column of codes that grows by chunks, with the table of what they stand for.

    Codes are given in order of first appearance; None is -1. Equal values of different types
    differ: 1 and True are two keys.
    """

    def __init__(self) -> None:
        self.table: list[Any] = []
        self._codes: dict[Hashable, int] = {None: -1}
        self._parts: list[Ints] = []

    def extend(self, values: Sequence[object]) -> None:
        """Append a chunk."""
        tokens = values
        if not set(map(type, values)) <= _PLAIN:
            tokens = [_token(value) for value in values]
        codes = self._codes
        for token, value in dict(zip(tokens, values)).items():
            if token not in codes:
                codes[token] = len(self.table)
                self.table.append(value)
        found = map(codes.__getitem__, tokens)
        self._parts.append(np.fromiter(found, dtype=np.int64, count=len(tokens)))

    def column(self) -> Ints:
        """The codes so far."""
        joined: Ints = _joined(self._parts, np.int64)
        return joined

    def repeated(self) -> Coded:
        """The column with every code twice in a row."""
        made = Coded()
        made.table = self.table
        made._parts = [np.repeat(self.column(), 2)]
        return made


def _token(value: object) -> object:
    return value if type(value) in _PLAIN else (type(value), freeze(value))


def _joined(parts: list[npt.NDArray[Scalar]], dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


class Columns:
    """Collects a history's columns chunk by chunk; :meth:`finish` pairs and validates.

    Args:
        place: names an event for an error: ``line 12``.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.count = 0
        self.values: list[object] = []
        self.errors: dict[int, object] = {}
        self._types: list[npt.NDArray[np.int8]] = []
        self._times: list[Ints] = []
        self._process = Coded()
        self._f = Coded()
        self._key = Coded()
        self._node = Coded()

    def extend(
        self,
        *,
        types: Sequence[str] | npt.NDArray[np.int8],
        processes: Sequence[object],
        functions: Sequence[object],
        keys: Sequence[object],
        times_ns: Sequence[object] | Ints,
        values: Sequence[object],
        nodes: Sequence[object] | None = None,
        errors: Sequence[object] | None = None,
    ) -> None:
        """Append a chunk of events, one list per field; types may be codes, times an array.

        Raises:
            HistoryError: an unknown type, or a time that does not fit.
        """
        self._types.append(type_codes(types, self._ahead))
        self._times.append(times(times_ns, self._ahead))
        self._process.extend(processes)
        self._f.extend(functions)
        self._key.extend(keys)
        self._node.extend([None] * len(types) if nodes is None else nodes)
        self.values.extend(values)
        if errors is not None and any(error is not None for error in errors):
            found = enumerate(errors, self.count)
            self.errors.update((i, error) for i, error in found if error is not None)
        self.count += len(types)

    @property
    def functions(self) -> list[object]:
        """The functions there are, in order of first appearance."""
        return self._f.table

    def with_invocations(self, asked: Callable[[str, Any], object]) -> Columns:
        """These events, all of them completions, each right behind an invocation.

        Args:
            asked: ``(f, value of the completion) ->`` the invocation's value.
        """
        made = Columns(lambda event: self.place(event // 2))
        made.count = 2 * self.count
        made.errors = {2 * index + 1: error for index, error in self.errors.items()}
        f = self._f.column()
        require(f, "function (f)", self.place)
        for code, value in zip(f.tolist(), self.values):
            made.values += [asked(self._f.table[code], value), value]
        types = np.repeat(_joined(self._types, np.int8), 2)
        types[::2] = INVOKE
        made._types = [types]
        made._times = [np.repeat(_joined(self._times, np.int64), 2)]
        for name in ("_process", "_f", "_key", "_node"):
            setattr(made, name, getattr(self, name).repeated())
        return made

    def _ahead(self, index: int) -> str:
        return self.place(self.count + index)

    def finish(self) -> dict[str, Any]:
        """The keyword arguments of a :class:`History`.

        Raises:
            HistoryError: see :meth:`History.from_events`.
        """
        type, process, f = _joined(self._types, np.int8), self._process.column(), self._f.column()
        require(process, "process", self.place)
        require(f, "function (f)", self.place)
        tables = {
            "processes": self._process.table,
            "functions": self._f.table,
            "keys": self._key.table,
        }
        pair, key = pair_up(type, process, f, self._key.column(), **tables, place=self.place)
        return {
            "type": type,
            "process": process,
            "f": f,
            "key": key,
            "time_ns": _joined(self._times, np.int64),
            "pair": pair,
            "values": self.values,
            "node": self._node.column(),
            "nodes": self._node.table,
            "errors": self.errors,
            **tables,
        }


def type_codes(types: Sequence[str] | npt.NDArray[np.int8], place: Place) -> npt.NDArray[np.int8]:
    """Codes of event types; an array has them already.

    Raises:
        HistoryError: a type which is none of the four.
    """
    if isinstance(types, np.ndarray):
        return types
    unknown = set(types) - TYPE_CODES.keys()
    if unknown:
        index = next(i for i, name in enumerate(types) if name in unknown)
        raise HistoryError(
            f"type {short(types[index])} is none of invoke, ok, fail, info", place=place(index)
        )
    return np.fromiter(map(TYPE_CODES.__getitem__, types), dtype=np.int8, count=len(types))


def times(column: Sequence[object] | Ints, place: Place) -> Ints:
    """Times as int64 nanoseconds; an array has them already.

    Raises:
        HistoryError: a time that is no integer, or does not fit 64 bits.
    """
    if isinstance(column, np.ndarray):
        return column
    try:
        return np.fromiter(column, dtype=np.int64, count=len(column))
    except (OverflowError, TypeError, ValueError):
        index = next(i for i, value in enumerate(column) if not _fits(value))
        raise HistoryError(
            f"time {short(column[index])} is no count of nanoseconds that fits 64 bits",
            place=place(index),
        ) from None


def _fits(value: object) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63


def require(codes: Ints, what: str, place: Place) -> None:
    """Refuse a column in which some event has no value.

    Raises:
        HistoryError: naming the first such event.
    """
    if codes.min(initial=0) < 0:
        index = int(np.flatnonzero(codes < 0)[0])
        raise HistoryError(f"the event has no {what}", place=place(index))


def by_process(process: Ints) -> Ints:
    """Event indices ordered by process, each process's events in history order."""
    # Sixteen-bit keys sort by radix, in linear time.
    narrow = process.astype(np.uint16) if process.max(initial=0) < 2**16 else process
    return np.argsort(narrow, kind="stable").astype(np.int64)


def pair_up(
    type: npt.NDArray[np.int8],
    process: Ints,
    f: Ints,
    key: Ints,
    *,
    processes: Sequence[object],
    functions: Sequence[str],
    keys: Sequence[object],
    place: Place,
) -> tuple[Ints, Ints]:
    """Pair completions with invocations.

    Returns:
        the pair column, and the key column in which a completion without a key has its
        invocation's.

    Raises:
        HistoryError: see :func:`History.from_events`; the first event that cannot be is named.
    """
    count = len(type)
    pair = np.full(count, -1, dtype=np.int64)
    if count == 0:
        return pair, key
    order = by_process(process)
    opens = type[order] == INVOKE
    follows = np.empty(count, dtype=bool)
    follows[0] = False
    follows[1:] = process[order[1:]] == process[order[:-1]]
    open_before = np.empty(count, dtype=bool)
    open_before[0] = False
    open_before[1:] = opens[:-1] & follows[1:]
    wrong = opens == open_before
    done_at = np.flatnonzero(~opens & open_before)
    done, begun = order[done_at], order[done_at - 1]
    pair[done] = begun
    pair[begun] = done
    key = key.copy()
    key[done] = np.where(key[done] < 0, key[begun], key[done])
    mismatch = (f[done] != f[begun]) | (key[done] != key[begun])
    if wrong.any() or mismatch.any():
        first = min(order[wrong].min(initial=count), done[mismatch].min(initial=count))
        _refuse(int(first), type, process, f, key, pair, processes, functions, keys, place)
    return pair, key


def _refuse(
    index: int,
    type: npt.NDArray[np.int8],
    process: Ints,
    f: Ints,
    key: Ints,
    pair: Ints,
    processes: Sequence[object],
    functions: Sequence[str],
    keys: Sequence[object],
    place: Place,
) -> None:
    """Say what is wrong with the event at ``index``."""
    who, what = processes[process[index]], functions[f[index]]
    earlier = np.flatnonzero(process[:index] == process[index])
    before = int(earlier[-1]) if len(earlier) else -1
    if type[index] == INVOKE:
        raise HistoryError(
            f"process {who} invokes {what!r} while its operation invoked at {place(before)} is "
            "still open; a process does one thing at a time",
            place=place(index),
        )
    if pair[index] < 0:
        raise HistoryError(
            f"process {who} completes {what!r} ({TYPE_NAMES[type[index]]}) but has nothing "
            "invoked; the beginning of the history may be missing",
            place=place(index),
        )
    begun = int(pair[index])
    if f[begun] != f[index]:
        raise HistoryError(
            f"process {who} completes {what!r} but had invoked {functions[f[begun]]!r} at "
            f"{place(begun)}",
            place=place(index),
        )
    had = repr(keys[key[begun]]) if key[begun] >= 0 else "no key"
    raise HistoryError(
        f"process {who} completes {what!r} on key {keys[key[index]]!r} but had invoked it on "
        f"{had} at {place(begun)}",
        place=place(index),
    )


def compact(codes: Ints, table: Sequence[T]) -> tuple[Ints, list[T]]:
    """Codes given anew in order of first appearance, and the table of those that remain."""
    used, first, where = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    order = order[used[order] >= 0]
    fresh = np.full(len(used), -1, dtype=np.int64)
    fresh[order] = np.arange(len(order))
    return fresh[where.reshape(-1)], [table[code] for code in used[order].tolist()]
