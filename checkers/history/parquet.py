"""Histories as Parquet: for notebooks, data frames and databases, and read back unchanged.

A row is an event: ``time_ns process type f key value node error pair``. Values of several types do
not fit one column, so processes, keys, values and errors are JSON text; what JSON would change (a
map whose keys are numbers, an infinity, a decimal) is EDN text, which is never also JSON. Header,
faults and notes are the file's metadata. Parquet needs ``pyarrow``, the extra
``splitbrain[parquet]``.

A table that was not written here is read if it has the columns ``type``, ``process``, ``f`` and
``value``; text in it is text.

For :func:`checkers.history.load` and scripts; pandas takes the same table by
:meth:`History.to_pandas`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from checkers.history import edn as notation
from checkers.history.columns import Columns, Ints
from checkers.history.errors import HistoryError
from checkers.history.export import edn
from checkers.history.history import History
from checkers.history.op import TYPE_NAMES, Fault

MAGIC = b"PAR1"

#: Columns without which a table is no history, and those it may have.
NEEDED = ("type", "process", "f", "value")
OPTIONAL = ("time_ns", "key", "node", "error")

#: Columns whose cells are JSON or EDN text in files written here.
_TEXT = frozenset(("process", "key", "value", "error"))
_PLAIN = frozenset((int, str, bool, type(None)))
_METADATA = b"history"


class _Beside(msgspec.Struct):
    """The metadata of a file, beside its rows."""

    header: dict[str, object]
    faults: list[Fault]
    notes: list[str]


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is Parquet."""
    return head.startswith(MAGIC)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise HistoryError(
            "Parquet needs pyarrow; install it with `pip install splitbrain[parquet]`"
        ) from None
    return pyarrow


def write_parquet(history: History, path: str | os.PathLike[str]) -> None:
    """Write a history as Parquet, one row per event.

    Args:
        history: what to write.
        path: the file; replaced if it exists.

    Raises:
        HistoryError: pyarrow is not installed, or a value has no notation.
    """
    pyarrow = _pyarrow()
    columns = {
        "time_ns": pyarrow.array(history.time_ns),
        "process": _named(pyarrow, history.process, _texts(history.processes)),
        "type": _named(pyarrow, history.type.astype(np.int64), TYPE_NAMES),
        "f": _named(pyarrow, history.f, history.functions),
        "key": _named(pyarrow, history.key, _texts(history.keys)),
        "value": pyarrow.array(_texts(history.values), pyarrow.string()),
        "node": _named(pyarrow, history.node, history.nodes),
        "error": pyarrow.array(
            _texts(history.errors.get(n) for n in range(len(history))), pyarrow.string()
        ),
        "pair": pyarrow.array(history.pair),
    }
    beside = _Beside(history.header, history.faults, history.notes)
    table = pyarrow.table(columns, metadata={_METADATA: msgspec.json.encode(beside)})
    pyarrow.parquet.write_table(table, os.fspath(path))


def _named(pyarrow: Any, codes: Ints, table: Sequence[Any]) -> Any:
    """A column of few different texts."""
    names = pyarrow.array(list(table), pyarrow.string())
    missing = None if codes.min(initial=0) >= 0 else codes < 0
    indices = pyarrow.array(np.maximum(codes, 0), pyarrow.int32(), mask=missing)
    return pyarrow.DictionaryArray.from_arrays(indices, names)


def _texts(values: Iterable[object]) -> list[str | None]:
    """JSON, or EDN where JSON is not the value; None for none."""
    encode = msgspec.json.Encoder().encode
    return [
        None if value is None else (encode(value).decode() if _is_json(value) else edn(value))
        for value in values
    ]


def _is_json(value: object) -> bool:
    """Whether a value comes back from JSON as it is."""
    if type(value) in _PLAIN:
        return True
    if isinstance(value, float):
        return value - value == 0
    if isinstance(value, list):
        return set(map(type, value)) <= _PLAIN or all(map(_is_json, value))
    if isinstance(value, dict):
        return all(type(key) is str for key in value) and all(map(_is_json, value.values()))
    return False


def load(path: str) -> History:
    """Read a history from Parquet.

    Args:
        path: the file.

    Raises:
        HistoryError: pyarrow is not installed, the file is damaged, or its table is no history; the
            place is the row.
    """
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return _read(file)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        said = str(error).strip().split("\n", 1)[0]
        raise HistoryError(f"the Parquet file cannot be read: {said[:200]}") from None


def _read(file: Any) -> History:
    schema = file.schema_arrow
    missing = [name for name in NEEDED if name not in schema.names]
    if missing:
        raise HistoryError(
            f"the table has no column {', '.join(missing)}; a history has type, process, f and "
            "value, and perhaps time_ns, key, node and error"
        )
    metadata = (schema.metadata or {}).get(_METADATA)
    beside = _Beside({}, [], []) if metadata is None else _beside(metadata)
    names = [*NEEDED, *(name for name in OPTIONAL if name in schema.names)]
    columns = Columns(_row)
    for batch in file.iter_batches(columns=names):
        cells = {name: batch.column(batch.schema.get_field_index(name)).to_pylist()
                 for name in names}  # fmt: skip
        if metadata is not None:
            for name in _TEXT & cells.keys():
                cells[name] = _values(cells[name], columns.count)
        count = batch.num_rows
        blank = [None] * count
        columns.extend(
            types=[str(kind) for kind in cells["type"]],
            processes=cells["process"],
            functions=cells["f"],
            keys=cells.get("key", blank),
            times_ns=[-1 if t is None else t for t in cells.get("time_ns", blank)],
            values=cells["value"],
            nodes=cells.get("node"),
            errors=cells.get("error"),
        )
    return History(
        **columns.finish(),
        faults=beside.faults,
        header=beside.header,
        notes=beside.notes,
        place=_row,
    )


def _row(event: int) -> str:
    return f"row {event + 1}"


def _beside(metadata: bytes) -> _Beside:
    try:
        return msgspec.json.decode(metadata, type=_Beside)
    except msgspec.DecodeError as error:
        raise HistoryError(f"the metadata of the Parquet file is damaged: {error}") from None


def _values(texts: list[str | None], first: int) -> list[object]:
    """The values of a column's texts; all at once where they are JSON."""
    try:
        whole = "[" + ",".join(["null" if text is None else text for text in texts]) + "]"
        found: list[object] = msgspec.json.decode(whole)
        if len(found) == len(texts):
            return found
    except msgspec.DecodeError:
        pass
    return [_one(text, first + number) for number, text in enumerate(texts)]


def _one(text: str | None, event: int) -> object:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        pass
    try:
        (form,) = notation.loads(text)
    except (HistoryError, ValueError):
        raise HistoryError(f"{text[:60]!r} is neither JSON nor EDN", place=_row(event)) from None
    return form
