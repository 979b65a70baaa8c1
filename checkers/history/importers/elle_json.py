"""Operation maps as JSON, as elle-cli reads them: one array of objects, or one object a line.

The fields are those of Jepsen's EDN without the colons; see `rows`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.importers.rows import Rows

#: Larger files are not read: an array must be in memory whole.
FILE_BYTES_MAX = 4 << 30

_FIRST = re.compile(rb'\s*\[?\s*\{\s*"(?:type|index|process|f|value|time|op-index)"\s*:')


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
    with open(path, "rb") as file:
        data = file.read(FILE_BYTES_MAX)
    array = data.lstrip()[:1] == b"["
    found = _array(data) if array else _lines(data)
    rows = Rows(_operation if array else _line, independent=independent)
    rows.extend(found)
    return rows.history()


def _operation(row: int) -> str:
    return f"operation {row + 1} of the array"


def _line(row: int) -> str:
    return f"line {row + 1}"


def _array(data: bytes) -> list[Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = re.search(r"\(byte (\d+)\)", str(error))
        at = data.count(b"\n", 0, int(place.group(1))) + 1 if place else 0
        raise HistoryError(
            f"bad JSON: {str(error).split(' (byte')[0]}", place=f"line {at}" if at else ""
        ) from None
    if not isinstance(found, list):
        raise HistoryError("the JSON is no array of operations")
    return found


def _lines(data: bytes) -> list[Any]:
    rows = []
    for number, line in enumerate(data.rstrip().split(b"\n"), 1):
        try:
            rows.append(msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            what = str(error).split(" (byte")[0]
            raise HistoryError(f"bad JSON: {what}", place=f"line {number}") from None
    return rows
