"""The history as columns, with op views made on demand.

A run of a million operations is two million events; a Python object for each costs seconds and
gigabytes, and most checkers need three columns of it. So a :class:`History` is numpy columns over
events (type, process, f, key, time, pair) plus one Python list of values, and :class:`Op` objects
are made only for what is looked at.

Keys, function names, processes and nodes are interned: a column holds codes, a table beside it
holds what they stand for. Codes are given in order of first appearance, so equal inputs give equal
columns.

Invariants: ``pair[i] == j`` iff ``pair[j] == i``; an invocation without a completion has pair -1;
a process has at most one open invocation; a completion has the ``f`` and key of its invocation.
:func:`from_events` refuses anything else with a :class:`HistoryError` naming the event.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from checkers.history.columns import Coded, Columns, Interner, Ints, Place, freeze, pair_up
from checkers.history.event_columns import data_frame, sliced
from checkers.history.op import INVOKE, TYPE_CODES, TYPE_NAMES, Event, Fault, Op

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["History", "Interner", "Ints", "freeze"]


def _event_place(index: int) -> str:
    return f"event {index}"


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
        place: where an event stands in the file it was read from, ``line 12``; its number if there
            is no file.
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
        values: Sequence[Any],
        node: Ints | None = None,
        processes: Sequence[Any] = (),
        functions: Sequence[str] = (),
        keys: Sequence[Any] = (),
        nodes: Sequence[str] = (),
        errors: dict[int, Any] | None = None,
        faults: Sequence[Fault] = (),
        header: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
        place: Place = _event_place,
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
        self.place = place

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
            HistoryError: a completion without an invocation, two open invocations of one process, a
                completion whose ``f`` or key differs from its invocation, an unknown type.
        """
        rows = list(events)
        return cls.from_columns(
            types=[event.type for event in rows],
            processes=[event.process for event in rows],
            functions=[event.f for event in rows],
            keys=[event.key for event in rows],
            times_ns=[event.time_ns for event in rows],
            values=[event.value for event in rows],
            nodes=[event.node for event in rows],
            errors=[event.error for event in rows],
            faults=faults,
            header=header,
            notes=notes,
        )

    @classmethod
    def from_columns(
        cls,
        *,
        types: Sequence[str],
        processes: Sequence[object],
        functions: Sequence[str],
        keys: Sequence[object],
        times_ns: Sequence[int],
        values: Sequence[object],
        nodes: Sequence[str | None] | None = None,
        errors: Sequence[object] | None = None,
        faults: Sequence[Fault] = (),
        header: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
        place: Place = _event_place,
    ) -> History:
        """Build a history from one list per field, pairing and validating; what loaders use.

        Args:
            types: ``invoke``, ``ok``, ``fail`` or ``info``, one per event in order; the other
                lists are as long.
            processes: who did it.
            functions: the operation's name.
            keys: the object it is on, or None.
            times_ns: nanoseconds since the start, -1 where unknown.
            values: argument or result.
            nodes: the node asked, or None.
            errors: the error of each event, or None.
            faults: the run's faults.
            header: the file's header.
            notes: what the loader already repaired.
            place: names an event for an error: ``line 12``.

        Raises:
            HistoryError: as :meth:`from_events`.
        """
        columns = Columns(place)
        columns.extend(
            types=types,
            processes=processes,
            functions=functions,
            keys=keys,
            times_ns=times_ns,
            values=values,
            nodes=nodes,
            errors=errors,
        )
        return cls(**columns.finish(), faults=faults, header=header, notes=notes, place=place)

    @cached_property
    def invocations(self) -> Ints:
        """Indices of all invocations, ascending."""
        return np.flatnonzero(self.type == INVOKE).astype(np.int64)

    @property
    def op_count(self) -> int:
        """Number of operations invoked."""
        return len(self.invocations)

    def count(self, type: str) -> int:
        """How many events are of this type: ``invoke``, ``ok``, ``fail`` or ``info``."""
        return int(np.count_nonzero(self.type == TYPE_CODES[type]))

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
        if not isinstance(invokes, np.ndarray):
            invokes = np.fromiter(invokes, dtype=np.int64)
        chosen = np.unique(invokes)
        done = self.pair[chosen]
        return self._slice(np.sort(np.concatenate([chosen, done[done >= 0]])))

    def _slice(self, indices: Ints) -> History:
        """The sub-history of these ascending event indices, which keep whole operations."""
        origin = indices.tolist()
        return History(
            **sliced(self, indices),
            faults=self.faults,
            header=dict(self.header, origin=origin),
            notes=self.notes,
            place=lambda event: self.place(origin[event]),
        )

    def by_key(self) -> dict[Hashable, History]:
        """One sub-history per key (locality: each may be checked alone), in order of appearance."""
        invokes = self.invocations
        codes = self.key[invokes]
        order = np.argsort(codes, kind="stable")
        cuts = np.flatnonzero(np.diff(codes[order])) + 1
        groups = [group for group in np.split(invokes[order], cuts) if len(group)]
        groups.sort(key=lambda group: int(group[0]))
        parts: dict[Hashable, History] = {}
        for group in groups:
            code = int(self.key[group[0]])
            key = freeze(None if code < 0 else self.keys[code])
            while key in parts:  # 1, 1.0 and True are equal in Python but not as keys
                key = (type(key).__name__, key)
            parts[key] = self.select(group)
        return parts

    def with_keys(
        self,
        keys: Sequence[object],
        values: list[object],
        *,
        notes: Sequence[str] | None = None,
        place: Place = _event_place,
    ) -> History:
        """The same history with other keys and values, one per event; validated anew.

        Raises:
            HistoryError: a completion's key is not its invocation's.
        """
        column = Coded()
        column.extend(keys)
        pair, key = pair_up(
            self.type,
            self.process,
            self.f,
            column.column(),
            processes=self.processes,
            functions=self.functions,
            keys=column.table,
            place=place,
        )
        changed = copy.copy(self)
        changed.__dict__.pop("invocations", None)
        changed.pair, changed.key, changed.keys, changed.values = pair, key, column.table, values
        changed.notes = list(self.notes if notes is None else notes)
        return changed

    def to_pandas(self) -> pd.DataFrame:
        """One row per event with names instead of codes. Imports pandas."""
        return data_frame(self)
