"""From Jepsen-like operation maps to a history: what EDN, JSON and log text have in common.

A row is a dict with ``type``, ``process``, ``f``, ``value`` and perhaps ``time``, ``error``,
``key`` and ``node``, as jepsen.history and elle-cli have them. The fields that real files lack are
supplied where that is sound, and said in the history's notes:

- an operation whose value is a list of micro-operations and which has no ``f`` is a ``txn``;
- rows without any ``process`` at all must alternate invocation and completion; each operation then
  gets a process of its own, so that no session order is made up, and the header says
  ``"sessions": False``;
- transactions that are all completions get their invocations; when those were is not known, so
  that the header says ``"realtime": False``;
- the nemesis's rows are faults, not operations;
- the first row with ``:final? true``, as Maelstrom has them, says when final reads began: the
  header's ``final_ns``;
- ``[k v]`` values are taken apart into key and value where the test is of independent keys, and a
  compare-and-set's ``[k old new]`` beside them.

For the importers beside this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from checkers.history.columns import Columns, Ints, Place, short
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.op import FAIL, INFO, INVOKE, TYPE_CODES, Fault

_MICRO_NAMES = {"read": "r", "write": "w", "append": "append", "r": "r", "w": "w"}
#: Functions, of operations or micro-operations, whose value is an answer and not an argument.
_READS = frozenset(("r", "rp", "read", "get", "dequeue", "pop", "generate", "poll", "drain"))
_OUTCOMES = frozenset(("ok", "fail", "info"))
_ABSENT = object()
_TYPES = "invoke, ok, fail, info"

Row = dict[str, object]

COMPLETIONS_ONLY = (
    "The file has completions only: when operations were invoked is not known, so nothing is "
    "checked by real time."
)


def event_places(skipped: Sequence[int], row_place: Place) -> Place:
    """Names an event by the place of its row, where some rows are no events."""

    def place(event: int) -> str:
        row = event
        for other in skipped:
            if other > row:
                break
            row += 1
        return row_place(row)

    return place


class Rows:
    """Collects rows block by block; :meth:`history` makes the history of them.

    Args:
        place: names a row, counted from 0, for an error.
        header: the history's header.
        independent: whether ``[k v]`` values are keys and values; None to find out.
    """

    def __init__(
        self,
        place: Place,
        *,
        header: dict[str, object] | None = None,
        independent: bool | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._row_place = place
        self._header = dict(header or {})
        self._independent = independent
        self.count = 0  # rows seen
        self._skipped: list[int] = []  # rows that are no events
        self._event_place = event_places(self._skipped, place)
        self._columns = Columns(self._event_place)
        self._open: dict[Hashable, tuple[str, object, object]] = {}  # process -> f, value, key
        self._nemesis: list[Row] = []
        self._named: bool | None = None  # False once it is clear that rows have no processes
        self._next_process = 0
        self._opened = False  # whether there was an invocation

    def extend(self, rows: Sequence[object]) -> None:
        """Take the next rows.

        Raises:
            HistoryError: a row is no operation.
        """
        types: list[str] = []
        processes: list[object] = []
        functions: list[object] = []
        keys: list[object] = []
        times: list[int] = []
        values: list[object] = []
        nodes: list[object] = []
        errors: list[object] = []
        opened = self._open
        for number, row in enumerate(map(_as_map, rows), self.count):
            if type(row) is not dict:
                raise self._refuse(number, f"{short(row)} is no operation: a map was expected")
            kind = row.get("type")
            if type(kind) is not str:
                raise self._refuse(number, f"type {short(kind)} is none of {_TYPES}")
            process = row.get("process", _ABSENT)
            if process == "nemesis":
                self._nemesis.append(row)
                self._skipped.append(number)
                continue
            if kind not in _OUTCOMES and kind != "invoke":
                raise self._refuse(number, f"type {short(kind)} is none of {_TYPES}")
            if type(process) is not int or self._named is False:
                first = not types and not self._columns.count
                process = self._process(process, kind, number, first)
            f, value = row.get("f"), row.get("value", _ABSENT)
            if f is not None and type(f) is not str:
                raise self._refuse(number, f"f is {short(f)}; it must be the operation's name")
            key = row.get("key")
            if kind == "invoke":
                self._opened = True
                value = None if value is _ABSENT else value
                f = f or self._function(value, number)
                opened[process] = (f, value, key)
            else:
                begun = opened.pop(process, None)
                if begun is not None:
                    f = f or begun[0]
                    value = begun[1] if value is _ABSENT else value
                    key = begun[2] if key is None else key
                else:
                    value = None if value is _ABSENT else value
                    f = f or self._function(value, number)
            if f == "txn":
                value = _transaction(value)
            types.append(kind)
            processes.append(process)
            functions.append(f)
            keys.append(key)
            times.append(self._time(row, number))
            values.append(value)
            nodes.append(row.get("node"))
            errors.append(row.get("error", row.get("exception")))
        self.count += len(rows)
        self._columns.extend(types=types, processes=processes, functions=functions, keys=keys,
                             times_ns=times, values=values, nodes=nodes, errors=errors)  # fmt: skip

    def extend_columns(
        self,
        *,
        types: Sequence[str] | npt.NDArray[np.int8],
        processes: Sequence[int],
        functions: Sequence[str],
        values: list[object],
        times_ns: Sequence[int] | Ints | None,
        keys: Sequence[object] | None,
        nodes: Sequence[object] | None = None,
        errors: Sequence[object] | None = None,
    ) -> None:
        """Take the next rows, all of them complete, as columns; the quick way.

        Raises:
            HistoryError: they have processes where earlier ones have none.
        """
        if self._named is False:
            raise self._refuse(self.count, "the operation has a process, but others have none")
        count = len(types)
        if not self._opened:
            begins = INVOKE if isinstance(types, np.ndarray) else "invoke"
            self._opened = begins in types
        keys = [None] * count if keys is None else keys
        if "txn" in functions:
            values = [
                _transaction(value) if f == "txn" else value for f, value in zip(functions, values)
            ]
        # The last event of each process: its open invocation, if that is the last.
        self._open.update(zip(processes, zip(functions, values, keys)))
        self._columns.extend(
            types=types,
            processes=processes,
            functions=functions,
            keys=keys,
            times_ns=[-1] * count if times_ns is None else times_ns,
            values=values,
            nodes=nodes,
            errors=errors,
        )
        self.count += count

    def _refuse(self, number: int, message: str) -> HistoryError:
        return HistoryError(message, place=self._row_place(number))

    def _process(self, process: object, kind: str, number: int, first: bool) -> object:
        """The process of a row which has none, or whose process is no number."""
        if process is _ABSENT or process is None:
            if self._named is None and not first:
                raise self._refuse(number, "the operation has no process, but others have one")
            self._named = False
            if kind != "invoke" and not self._opened:
                self._next_process += 1  # so far all are completions
            elif kind == "invoke":
                if self._next_process and self._next_process - 1 in self._open:
                    raise self._refuse(
                        number,
                        "operations have no process and overlap, so completions cannot be matched; "
                        "add :process",
                    )
                self._next_process += 1
            return max(self._next_process - 1, 0)
        if self._named is False:
            raise self._refuse(number, "the operation has a process, but others have none")
        if type(process) not in (int, str):
            raise self._refuse(number, f"process {short(process)} is no number or name")
        return process

    def _function(self, value: object, number: int) -> str:
        if isinstance(value, list) and value and all(_is_micro(item) for item in value):
            return "txn"
        raise self._refuse(number, "the operation has no f, and its value is no transaction")

    def _time(self, row: Row, number: int) -> int:
        """Nanoseconds; -1 for what is no number, as times are wanted for reports only."""
        time = self._nanoseconds(row.get("time", -1), number)
        if row.get("final?") is True:
            self._header.setdefault("final_ns", time)
        return time

    def _nanoseconds(self, time: object, number: int) -> int:
        if type(time) is not int:
            if not isinstance(time, (int, float)) or isinstance(time, bool):
                return -1
            if not math.isfinite(time):
                raise self._refuse(number, f"time {time!r} is no count of nanoseconds")
        return int(time)

    def history(self) -> History:
        """The history of all rows.

        Raises:
            HistoryError: as :meth:`History.from_events`.
        """
        if self._named is False:
            self._header = {**self._header, "sessions": False}
            self.notes.append(
                "No operation names its process: each has one of its own, and there is no session "
                "order."
            )
        faults = nemesis_faults(self._nemesis)
        if self._nemesis:
            self.notes.append(f"{len(self._nemesis)} nemesis rows became {len(faults)} faults.")
        place, header, columns = self._event_place, self._header, self._columns
        if columns.count and not self._opened and columns.functions == ["txn"]:
            columns, place = columns.with_invocations(_asked), _of_pairs(place)
            header = {**header, "realtime": False}
            self.notes.append(COMPLETIONS_ONLY)
        history = History(**columns.finish(), faults=faults, header=header, notes=self.notes,
                          place=place)  # fmt: skip
        if self._independent or (self._independent is None and is_independent(history)):
            history = split_keys(history, place)
        return history


def _of_pairs(place: Place) -> Place:
    """Names events of which two, an invocation and its completion, are of one row."""
    return lambda event: place(event // 2)


def _asked(f: str, value: object) -> object:
    """The input of an operation, as far as its completion shows it."""
    if f == "txn" and isinstance(value, list) and all(_is_micro(micro) for micro in value):
        return [[*micro[:-1], None] if micro[0] in _READS else micro for micro in value]
    return None if f in _READS else value


def _as_map(row: object) -> object:
    """A row; a map if it is in Knossos' notation, ``[process type f value]``, perhaps an error."""
    if type(row) is not list or not 3 <= len(row) <= 5:
        return row
    if not isinstance(row[1], str) or row[1] not in TYPE_CODES:
        return row
    return dict(zip(("process", "type", "f", "value", "error"), row))


def _is_micro(item: object) -> bool:
    return isinstance(item, list) and len(item) in (2, 3) and isinstance(item[0], str)


def _transaction(value: object) -> object:
    """Micro-operations with the short names."""
    if not isinstance(value, list):
        return value
    for item in value:
        if isinstance(item, list) and item and item[0] in ("read", "write"):
            item[0] = _MICRO_NAMES[item[0]]
    return value


# Independent keys ---------------------------------------------------------------------------------


def is_independent(history: History) -> bool:
    """Whether every value is a ``[k v]`` tuple of a test of independent keys.

    Jepsen prints such a tuple as a vector of two, which a compare-and-set's ``[old new]`` is too.
    So it must hold of every value that it is a pair whose first element is a scalar, that a
    completion has its invocation's, and that some invocation is ``[k nil]``, as a read's is and
    nothing else's. A compare-and-set may also be ``[k old new]``, which is such a proof, too; a
    completion that did not succeed may have no value.
    """
    if len(history) == 0 or history.keys or history.functions == ["txn"]:
        return False
    proved = False
    values, pairs = history.values, history.pair.tolist()
    kinds = history.type.tolist()
    swap = history.functions.index("cas") if "cas" in history.functions else -1
    for value, pair, kind, f in zip(values, pairs, kinds, history.f.tolist()):
        if value is None and kind in (FAIL, INFO):
            continue
        flat = f == swap and type(value) is list and len(value) == 3
        if type(value) is not list or not (len(value) == 2 or flat):
            return False
        if isinstance(value[0], (list, dict)):
            return False
        if kind == INVOKE:
            proved = proved or flat or value[1] is None
        elif value[0] != values[pair][0] or type(value[0]) is not type(values[pair][0]):
            return False
    return proved


def split_keys(history: History, place: Callable[[int], str]) -> History:
    """The history with ``[k v]`` and ``[k old new]`` values taken apart into keys and values.

    Raises:
        HistoryError: a value is no such pair.
    """
    keys: list[object] = []
    values: list[object] = []
    for index, value in enumerate(history.values):
        kind = history.type[index]
        if value is None and kind in (FAIL, INFO):
            keys.append(None)  # its invocation's
            values.append(None)
            continue
        flat = history.functions[history.f[index]] == "cas"
        if type(value) is not list or not (len(value) == 2 or (flat and len(value) == 3)):
            raise HistoryError(
                f"value {short(value)} is no [key value] pair of an independent test",
                place=place(index),
            )
        keys.append(value[0])
        values.append(value[1] if len(value) == 2 else value[1:])
    notes = [*history.notes, "Values are [key value] pairs of independent tests: taken apart."]
    return history.with_keys(keys, values, notes=notes, place=place)


# The nemesis --------------------------------------------------------------------------------------

#: The names that end a fault, by the name that began it; also, ``stop-x`` ends ``start-x``.
_ENDS = {
    "start": ("stop",),
    "kill": ("start", "restart", "recover"),
    "stop": ("start", "restart", "recover"),
    "pause": ("resume",),
    "isolate": ("recover", "heal"),
    "partition": ("heal", "recover"),
    "bump": ("reset",),
    "strobe": ("reset",),
}


def nemesis_faults(rows: Sequence[Row]) -> list[Fault]:
    """Faults of the nemesis's rows, as far as their names tell what ends what.

    Jepsen's nemesis has two ``:info`` rows for each thing it does. The first of each pair is when
    it began; the value of the second is what came of it. A fault whose end is not found has none.
    """
    faults: list[Fault] = []
    started: dict[str, Row] = {}
    for row in rows:
        f = str(row.get("f"))
        if f not in started:
            started[f] = row
            continue
        began = started.pop(f)
        _nemesis_action(faults, f, began, row)
    for f, row in started.items():
        _nemesis_action(faults, f, row, row)
    return faults


def _nemesis_action(faults: list[Fault], f: str, began: Row, ended: Row) -> None:
    healed = [fault for fault in faults if fault.end_ns < 0 and _is_ended_by(fault.f, f)]
    for fault in healed:
        fault.end_ns = _time(ended)
    if not healed and not f.startswith(("stop-", "heal", "recover", "resume", "reset")):
        value = ended.get("value", began.get("value"))
        faults.append(Fault(len(faults) + 1, f, _time(began), value=value))


def _is_ended_by(begun: str, f: str) -> bool:
    return f in _ENDS.get(begun, ()) or f == "stop-" + begun.removeprefix("start-")


def _time(row: Row) -> int:
    time = row.get("time", -1)
    return int(time) if isinstance(time, (int, float)) else -1
