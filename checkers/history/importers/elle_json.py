"""Operation maps as JSON, as elle-cli reads them: one array of objects, or one object a line.

The fields are those of Jepsen's EDN without the colons; see `rows`. Of a file that is cut in its
last operation the rest is read, which a note says.
"""

from __future__ import annotations

import array
import json
import os
import re
from collections.abc import Iterator

import msgspec

from checkers.history import files
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.importers.rows import Rows
from checkers.history.jsonl import doubled

#: No honest operation is longer.
LINE_BYTES_MAX = 64 << 20

#: The beginning that shows whether it is an array.
HEAD_BYTES = 1 << 16

#: Fields whose names are counted to see that no operation has one twice.
_FIELDS = ("type", "process", "f", "value")

_FIRST = re.compile(rb'\s*+\[?\s*+\{\s*+"(?:type|index|process|f|value|time|op-index)"\s*:')


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes holds JSON operation maps."""
    return _FIRST.match(head) is not None


def load(path: str, *, independent: bool | None = None) -> History:
    """Load a JSON history.

    Args:
        path: the file.
        independent: as for EDN.

    Raises:
        HistoryError: it is no JSON, or no history.
    """
    if files.head(path, HEAD_BYTES).lstrip()[:1] == b"[":
        rows = Rows(_operation, independent=independent)
        _require_operation(path)
        rows.extend(_array(files.whole(path, b"["), rows.notes))
        return rows.history()
    places = array.array("q")  # lines
    rows = Rows(lambda row: f"line {places[row]}", independent=independent)
    for found, numbers in _blocks(path, rows.notes):
        places.extend(numbers)
        rows.extend(found)
    return rows.history()


def _require_operation(path: str) -> None:
    """Refuse a large file which does not have one whole operation at its beginning.

    Raises:
        HistoryError: none ends where an honest one would.
    """
    if os.path.getsize(path) <= LINE_BYTES_MAX:
        return
    text = files.head(path, LINE_BYTES_MAX).decode("utf-8", "replace")
    try:
        json.JSONDecoder().raw_decode(text, max(text.find("{"), 0))
    except (ValueError, RecursionError):
        raise HistoryError(
            f"no operation ends within {LINE_BYTES_MAX >> 20} MB; this is no history",
            place="line 1",
        ) from None


def _operation(row: int) -> str:
    return f"operation {row + 1} of the array"


def _array(data: bytearray, notes: list[str]) -> list[object]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        whole = _before_cut(data) if _is_cut(error) else b""
        if whole:
            lines = data.count(b"\n") + 1
            notes.append(files.cut_note(f"line {lines}"))
            return _array(bytearray(whole), notes)
        place = re.search(r"\(byte (\d+)\)", str(error))
        at = data.count(b"\n", 0, int(place.group(1))) + 1 if place else 0
        raise HistoryError(
            f"bad JSON: {str(error).split(' (byte')[0]}", place=f"line {at}" if at else ""
        ) from None
    if not isinstance(found, list):
        raise HistoryError("the JSON is no array of operations")
    rows = [row for row in found if isinstance(row, dict)]
    if any(
        data.count(f'"{name}"'.encode()) != sum(name in row for row in rows) for name in _FIELDS
    ):
        _refuse_doubled(data)
    return found


def _is_cut(error: Exception) -> bool:
    """Whether JSON is bad only because it ends too early."""
    return "truncated" in str(error)


def _before_cut(data: bytearray) -> bytes:
    """A cut array up to its last whole operation; nothing if there is none."""
    text = data.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    end = at = text.find("[")
    while at >= 0 and (start := re.compile(r"[\[,]?\s*+(?=\S)").match(text, at)):
        try:
            _, end = decoder.raw_decode(text, start.end())
        except (ValueError, RecursionError):
            break
        at = end
    return f"{text[:end]}]".encode() if at > text.find("[") else b""


def _refuse_doubled(data: bytearray) -> None:
    """Refuse an array in which an operation has a field twice."""

    def keep(pairs: list[tuple[str, object]]) -> object:
        names = [name for name, _ in pairs]
        return {"twice": next((name for name in names if names.count(name) > 1), None)}

    for number, row in enumerate(json.loads(data, object_pairs_hook=keep), 1):
        if isinstance(row, dict) and row["twice"] is not None:
            message = f"the operation has {row['twice']!r} twice"
            raise HistoryError(message, place=_operation(number - 1))


def _blocks(path: str, notes: list[str]) -> Iterator[tuple[list[object], list[int]]]:
    """Objects, one a line, with their lines; blank lines are passed over."""
    number = 0
    for chunk, cut in files.chunks(path, LINE_BYTES_MAX):
        rows: list[object] = []
        numbers: list[int] = []
        lines = chunk.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            number += 1
            if not line.strip():
                continue
            try:
                rows.append(_object(line, number))
            except HistoryError as error:
                if not (cut and number > 1 and _is_cut(error)):
                    raise
                notes.append(files.cut_note(f"line {number}"))
                continue
            numbers.append(number)
        yield rows, numbers


def _object(line: bytes, number: int) -> object:
    if any(line.count(f'"{name}"'.encode()) > 1 for name in _FIELDS):
        name = doubled(line)
        if name is not None:
            raise HistoryError(f"the operation has {name!r} twice", place=f"line {number}")
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error).split(" (byte")[0]
        raise HistoryError(f"bad JSON: {what}", place=f"line {number}") from None
