"""The history as columns, with op views made on demand.

A run of a million operations is two million events; a Python object for each costs seconds and
gigabytes, and most checkers need three columns of it. So a :class:`History` is numpy columns over
events (type, process, f, key, time, pair) plus one Python list of values, and :class:`Op` objects
are made only for what somebody looks at.

Keys, function names, processes and nodes are interned: a column holds codes, a table beside it
holds what they stand for. Codes are given in order of first appearance, so equal inputs give equal
columns.

Invariants: ``pair[i] == j`` iff ``pair[j] == i``; an invocation without a completion has pair -1;
a process has at most one open invocation; a completion has the ``f`` and key of its invocation.
:func:`from_events` refuses anything else with a :class:`HistoryError` naming the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from checkers.history.errors import HistoryError
from checkers.history.op import INVOKE, TYPE_CODES, TYPE_NAMES, Event, Fault, Op

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]


def freeze(value: Any) -> Any:
    """A hashable twin of a JSON-like value: lists become tuples, dicts sorted tuples of pairs."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    if isinstance(value, dict):
        pairs = [(freeze(k), freeze(v)) for k, v in value.items()]
        return ("dict", *sorted(pairs, key=repr))
    if isinstance(value, (set, frozenset)):
        return ("set", *sorted((freeze(item) for item in value), key=repr))
    return value


class Interner:
    """Codes for values in order of first appearance; equal values of different types differ."""

    def __init__(self) -> None:
        self.codes: dict[Any, int] = {}
        self.table: list[Any] = []

    def code(self, value: Any) -> int:
        """The code of ``value``, a new one if it was not seen before."""
        token = (value.__class__, freeze(value))
        found = self.codes.get(token)
        if found is None:
            found = self.codes[token] = len(self.table)
            self.table.append(value)
        return found


class History:
    """A history in columns. Make one with :meth:`from_events` or :func:`checkers.history.load`.

    Args:
        type: int8, one per event: ``INVOKE OK FAIL INFO``.
        process: int64 codes into ``processes``.
        f: int64 codes into ``functions``.
        key: int64 codes into ``keys``; -1 where the event has no key.
        time_ns: int64 nanoseconds since the start, -1 where unknown.
        pair: int64 index of the other half of the operation, or -1.
        values: one Python value per event.
        node: int64 codes into ``nodes``; -1 where unknown.
        processes, functions, keys, nodes: what the codes stand for.
        errors: event index -> error, only where there is one.
        faults: the run's faults, in order of beginning.
        header: the file's header line as a dict; empty for foreign formats.
        notes: what the loader repaired or left out, one sentence each; shown beside the verdict.
    """

    def __init__(
        self,
        *,
        type: npt.NDArray[np.int8],
        process: Ints,
        f: Ints,
        key: Ints,
        time_ns: Ints,
        pair: Ints,
        values: list[Any],
        node: Ints | None = None,
        processes: Sequence[Any] = (),
        functions: Sequence[str] = (),
        keys: Sequence[Any] = (),
        nodes: Sequence[str] = (),
        errors: dict[int, Any] | None = None,
        faults: Sequence[Fault] = (),
        header: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.type = type
        self.process = process
        self.f = f
        self.key = key
        self.time_ns = time_ns
        self.pair = pair
        self.values = values
        self.node = np.full(len(values), -1, dtype=np.int64) if node is None else node
        self.processes = list(processes)
        self.functions = list(functions)
        self.keys = list(keys)
        self.nodes = list(nodes)
        self.errors = errors or {}
        self.faults = list(faults)
        self.header = header or {}
        self.notes = list(notes)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"<History {len(self)} events, {self.op_count} ops, {len(self.keys)} keys>"

    @classmethod
    def from_events(
        cls,
        events: Iterable[Event],
        *,
        faults: Sequence[Fault] = (),
        header: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> History:
        """Build columns from events in order, pairing and validating them.

        Args:
            events: events in the order they happened; their ``index`` is ignored and given anew.
            faults: the run's faults.
            header: the file's header.
            notes: what the loader already repaired.

        Raises:
            HistoryError: a completion nobody invoked, two open invocations of one process, a
                completion whose ``f`` or key differs from its invocation, an unknown type.
        """
        return _Builder().build(events, faults=faults, header=header, notes=notes)

    @cached_property
    def invocations(self) -> Ints:
        """Indices of all invocations, ascending."""
        return np.flatnonzero(self.type == INVOKE).astype(np.int64)

    @property
    def op_count(self) -> int:
        """Number of operations invoked."""
        return len(self.invocations)

    def outcome_of(self, invoke: int) -> str:
        """``ok``, ``fail`` or ``info`` for the op invoked at this index; no completion is info."""
        done = int(self.pair[invoke])
        return "info" if done < 0 else TYPE_NAMES[self.type[done]]

    def event(self, index: int) -> Event:
        """The event at an index, as an object."""
        key = int(self.key[index])
        node = int(self.node[index])
        return Event(
            index=index,
            time_ns=int(self.time_ns[index]),
            process=self.processes[self.process[index]],
            type=TYPE_NAMES[self.type[index]],
            f=self.functions[self.f[index]],
            key=None if key < 0 else self.keys[key],
            value=self.values[index],
            node=None if node < 0 else self.nodes[node],
            error=self.errors.get(index),
        )

    def events(self) -> Iterator[Event]:
        """All events in order, made as they are asked for."""
        return (self.event(index) for index in range(len(self)))

    def op(self, invoke: int) -> Op:
        """The operation invoked at this index.

        Raises:
            IndexError: the event at this index is no invocation.
        """
        if self.type[invoke] != INVOKE:
            raise IndexError(f"event {invoke} is {TYPE_NAMES[self.type[invoke]]}, not an invoke")
        done = int(self.pair[invoke])
        key = int(self.key[invoke])
        node = int(self.node[invoke])
        return Op(
            process=self.processes[self.process[invoke]],
            f=self.functions[self.f[invoke]],
            key=None if key < 0 else self.keys[key],
            input=self.values[invoke],
            output=self.values[done] if done >= 0 else None,
            type="info" if done < 0 else TYPE_NAMES[self.type[done]],
            invoke=invoke,
            complete=done,
            invoke_ns=int(self.time_ns[invoke]),
            complete_ns=int(self.time_ns[done]) if done >= 0 else -1,
            node=None if node < 0 else self.nodes[node],
            error=self.errors.get(done) if done >= 0 else None,
        )

    def ops(self) -> Iterator[Op]:
        """All operations in order of invocation, made as they are asked for."""
        return (self.op(int(index)) for index in self.invocations)

    def outcomes(self) -> npt.NDArray[np.int8]:
        """For each of :attr:`invocations`, its outcome code ``OK FAIL INFO`` (INFO when open)."""
        done = self.pair[self.invocations]
        codes = self.type[np.maximum(done, 0)]
        return np.where(done < 0, TYPE_CODES["info"], codes).astype(np.int8)

    def select(self, invokes: Iterable[int]) -> History:
        """The sub-history of these operations, faults kept; indices are given anew.

        ``header['origin']`` of the result maps each new event index to the old one.
        """
        chosen = sorted({int(i) for i in invokes})
        indices = sorted(chosen + [int(self.pair[i]) for i in chosen if self.pair[i] >= 0])
        header = dict(self.header, origin=indices)
        events = (self.event(index) for index in indices)
        return History.from_events(events, faults=self.faults, header=header, notes=self.notes)

    def by_key(self) -> dict[Any, History]:
        """One sub-history per key (locality: each may be judged alone), in order of appearance."""
        groups: dict[int, list[int]] = {}
        for index in self.invocations:
            groups.setdefault(int(self.key[index]), []).append(int(index))
        return {
            (None if code < 0 else self.keys[code]): self.select(group)
            for code, group in groups.items()
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row per event with names instead of codes. Imports pandas."""
        import pandas as pd

        def names(codes: Ints, table: Sequence[Any]) -> list[Any]:
            return [None if code < 0 else table[code] for code in codes.tolist()]

        return pd.DataFrame(
            {
                "time_ns": self.time_ns,
                "process": names(self.process, self.processes),
                "type": [TYPE_NAMES[code] for code in self.type.tolist()],
                "f": names(self.f, self.functions),
                "key": names(self.key, self.keys),
                "value": self.values,
                "node": names(self.node, self.nodes),
                "error": [self.errors.get(index) for index in range(len(self))],
                "pair": self.pair,
            }
        )


class _Builder:
    """Builds the columns of one history, event by event, refusing what cannot be."""

    def __init__(self) -> None:
        self.processes = Interner()
        self.functions = Interner()
        self.keys = Interner()
        self.nodes = Interner()
        self.type: list[int] = []
        self.process: list[int] = []
        self.f: list[int] = []
        self.key: list[int] = []
        self.time_ns: list[int] = []
        self.pair: list[int] = []
        self.node: list[int] = []
        self.values: list[Any] = []
        self.errors: dict[int, Any] = {}
        self.open: dict[int, int] = {}

    def build(
        self,
        events: Iterable[Event],
        *,
        faults: Sequence[Fault],
        header: dict[str, Any] | None,
        notes: Sequence[str],
    ) -> History:
        for event in events:
            self._add(event)
        return History(
            type=np.array(self.type, dtype=np.int8),
            process=np.array(self.process, dtype=np.int64),
            f=np.array(self.f, dtype=np.int64),
            key=np.array(self.key, dtype=np.int64),
            time_ns=np.array(self.time_ns, dtype=np.int64),
            pair=np.array(self.pair, dtype=np.int64),
            node=np.array(self.node, dtype=np.int64),
            values=self.values,
            processes=self.processes.table,
            functions=self.functions.table,
            keys=self.keys.table,
            nodes=self.nodes.table,
            errors=self.errors,
            faults=faults,
            header=header,
            notes=notes,
        )

    def _add(self, event: Event) -> None:
        index = len(self.values)
        code = TYPE_CODES.get(event.type)
        if code is None:
            raise HistoryError(
                f"type {event.type!r} is none of invoke, ok, fail, info", place=f"event {index}"
            )
        process = self.processes.code(event.process)
        f = self.functions.code(event.f)
        key = -1 if event.key is None else self.keys.code(event.key)
        pair = self._pair(index, code, process, f, key, event)
        if pair >= 0:
            self.pair[pair] = index
            key = self.key[pair]
        self.type.append(code)
        self.process.append(process)
        self.f.append(f)
        self.key.append(key)
        self.time_ns.append(event.time_ns)
        self.pair.append(pair)
        self.node.append(-1 if event.node is None else self.nodes.code(event.node))
        self.values.append(event.value)
        if event.error is not None:
            self.errors[index] = event.error

    def _pair(self, index: int, code: int, process: int, f: int, key: int, event: Event) -> int:
        """The invocation this event completes, or -1 for an invocation; refuse nonsense."""
        place = f"event {index}"
        opened = self.open.get(process)
        if code == INVOKE:
            if opened is not None:
                raise HistoryError(
                    f"process {event.process} invokes {event.f!r} while its operation invoked at "
                    f"event {opened} is still open; a process does one thing at a time",
                    place=place,
                )
            self.open[process] = index
            return -1
        if opened is None:
            raise HistoryError(
                f"process {event.process} completes {event.f!r} ({event.type}) but has nothing "
                "invoked; the beginning of the history may be missing",
                place=place,
            )
        if self.f[opened] != f:
            raise HistoryError(
                f"process {event.process} completes {event.f!r} but had invoked "
                f"{self.functions.table[self.f[opened]]!r} at event {opened}",
                place=place,
            )
        if key >= 0 and self.key[opened] != key:
            raise HistoryError(
                f"process {event.process} completes {event.f!r} on key {event.key!r} but had "
                f"invoked it on another key at event {opened}",
                place=place,
            )
        del self.open[process]
        return opened


