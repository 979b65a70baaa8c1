"""A reader of Fressian, the binary notation in which Jepsen keeps its tests.

Values become plain Python as those of :mod:`.edn` do: keywords and symbols are strings, vectors,
lists, sets and arrays are lists, maps are dicts. A value of a tag that is not known is its one
field, or the list of its fields; a record is its map. Nothing is executed.

Everything is bounded: nesting by :data:`DEPTH_MAX`, sizes by the data itself, since nothing is
allocated ahead of what is read, and a cached collection is refused, so that no few bytes stand for
a value of millions.

Source: the Fressian wiki and reference implementation. For `jepsen_store`.
"""

from __future__ import annotations

import decimal
import math
import struct
from collections.abc import Callable, Hashable
from typing import Any

from checkers.history.columns import freeze
from checkers.history.errors import HistoryError

#: Values inside each other.
DEPTH_MAX = 100

#: Bytes of a whole number.
INTEGER_BYTES_MAX = 1600

#: Packed integers: the codes below the first number have the second as zero, and so many bytes.
_PACKED = ((0x60, 0x50, 1), (0x70, 0x68, 2), (0x74, 0x72, 3), (0x78, 0x76, 4), (0x7C, 0x7A, 5),
           (0x80, 0x7E, 6))  # fmt: skip
_STRUCTS = {
    0xC0: ("map", 1), 0xC1: ("set", 1), 0xC3: ("uuid", 1), 0xC4: ("regex", 1), 0xC5: ("uri", 1),
    0xC6: ("bigint", 1), 0xC7: ("bigdec", 2), 0xC8: ("inst", 1), 0xC9: ("sym", 2),
    0xCA: ("key", 2), 0xB0: ("array", 0), 0xB1: ("array", 0), 0xB2: ("array", 0),
    0xB3: ("array", 0), 0xB4: ("array", 0), 0xB5: ("array", 0),
}  # fmt: skip
_CONSTANTS = {0xF5: True, 0xF6: False, 0xF7: None, 0xFB: 0.0, 0xFC: 1.0, 0xFF: -1}
_GET_CACHED, _PUT_CACHED, _FOOTER, _RESET = 0xCC, 0xCD, 0xCF, 0xFE
_BYTES_CHUNK, _BYTES, _STRING_CHUNK, _STRING = 0xD8, 0xD9, 0xE2, 0xE3
_LIST, _CLOSED_LIST, _OPEN_LIST, _END = 0xEC, 0xED, 0xEE, 0xFD
_STRUCT_TYPE, _STRUCT, _INT, _FLOAT, _DOUBLE = 0xEF, 0xF0, 0xF8, 0xF9, 0xFA

Buffer = bytes | bytearray | memoryview

#: The placeholder in the cache for a value that is being read.
_UNREAD = object()


class Ended(HistoryError):
    """The data ends within a value."""


class Tagged:
    """A value of a tag that the caller asked to see.

    Args:
        tag: its name.
        fields: its fields.
    """

    def __init__(self, tag: str, fields: list[object]) -> None:
        self.tag = tag
        self.fields = fields


class Reader:
    """Reads values one after another.

    Args:
        data: Fressian.
        keep: tags whose values are given as :class:`Tagged`.
    """

    def __init__(
        self, data: bytes | bytearray | memoryview, keep: frozenset[str] = frozenset()
    ) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._keep = keep
        self._depth = 0
        self._cache: list[object] = []
        self._types: list[tuple[str, int]] = []

    @property
    def more(self) -> bool:
        """Whether there is another value."""
        return self._at < len(self._data)

    def read(self) -> object:
        """The next value.

        Raises:
            Ended: the data ends within it.
            HistoryError: it is no Fressian.
        """
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise HistoryError(f"values are nested deeper than {DEPTH_MAX}")
        value = self._value(self._take(1)[0])
        self._depth -= 1
        return value

    def _take(self, count: int) -> memoryview:
        taken = self._data[self._at : self._at + count]
        if count < 0 or len(taken) < count:
            raise Ended("the data ends within a value")
        self._at += count
        return taken

    def _value(self, code: int) -> object:
        if code < 0x40:
            return code
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code < 0x80:
            return self._packed(code)
        if code < 0xA0:
            return self._cached(code - 0x80)
        if code < 0xB0:
            return self._struct(*self._type(code - 0xA0))
        if code in _STRUCTS:
            return self._struct(*_STRUCTS[code])
        if 0xDA <= code < 0xE4:
            return self._string(code)
        if 0xE4 <= code <= _LIST:
            count = self._count() if code == _LIST else code - 0xE4
            return [self.read() for _ in range(count)]
        if 0xD0 <= code < 0xDA:
            return self._bytes(code)
        return self._rare(code)

    def _rare(self, code: int) -> object:
        if code in (_CLOSED_LIST, _OPEN_LIST):
            return self._until_end(code == _OPEN_LIST)
        if code == _PUT_CACHED:
            number = len(self._cache)
            self._cache.append(_UNREAD)
            self._cache[number] = value = self.read()
            return value
        if code == _GET_CACHED:
            return self._cached(self._count())
        if code == _STRUCT_TYPE:
            tag, fields = self.read(), self._count()
            self._types.append((str(tag), fields))
            return self._struct(str(tag), fields)
        if code == _STRUCT:
            return self._struct(*self._type(self._count()))
        if code == _INT:
            return int.from_bytes(self._take(8), "big", signed=True)
        if code in (_FLOAT, _DOUBLE):
            return self._float(">f" if code == _FLOAT else ">d")
        if code in (_RESET, _FOOTER):
            self._take(11 if code == _FOOTER else 0)
            self._cache, self._types = [], []
            return self.read()
        raise HistoryError(f"{code:#x} is no code of Fressian")

    def _packed(self, code: int) -> int:
        _, zero, count = next(entry for entry in _PACKED if code < entry[0])
        return ((code - zero) << 8 * count) | int.from_bytes(self._take(count), "big")

    def _count(self) -> int:
        count = self.read()
        if type(count) is not int or not 0 <= count < 1 << 31:
            raise HistoryError("a length is no whole number of 31 bits")
        return count

    def _float(self, layout: str) -> float:
        number = float(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])
        if math.isnan(number):
            raise HistoryError("NaN equals nothing, itself included, so no checker can follow it")
        return number

    def _cached(self, number: int) -> object:
        found = self._cache[number] if number < len(self._cache) else _UNREAD
        if found is _UNREAD or isinstance(found, (list, dict, Tagged)):
            raise HistoryError(f"cached value {number} is none that can stand in several places")
        return found

    def _type(self, number: int) -> tuple[str, int]:
        if number >= len(self._types):
            raise HistoryError(f"there is no structure {number}")
        return self._types[number]

    def _bytes(self, code: int) -> bytes:
        if code < _BYTES_CHUNK:
            return bytes(self._take(code - 0xD0))
        parts = []
        while code == _BYTES_CHUNK:
            parts.append(bytes(self._take(self._count())))
            code = self._take(1)[0]
        if code != _BYTES:
            raise HistoryError("chunks of bytes have no end")
        return b"".join([*parts, bytes(self._take(self._count()))])

    def _string(self, code: int) -> str:
        parts = []
        while code == _STRING_CHUNK:
            parts.append(bytes(self._take(self._count())))
            code = self._take(1)[0]
        if not 0xDA <= code <= _STRING:
            raise HistoryError("chunks of a string have no end")
        parts.append(bytes(self._take(self._count() if code == _STRING else code - 0xDA)))
        try:
            text = b"".join(parts).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise HistoryError("a string is not UTF-8") from None
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _until_end(self, open_list: bool) -> list[object]:
        items: list[object] = []
        while not (open_list and not self.more):
            code = self._take(1)[0]
            if code == _END:
                break
            self._at -= 1
            items.append(self.read())
        return items

    def _struct(self, tag: str, count: int) -> object:
        if tag == "array":
            return [self.read() for _ in range(self._count())]
        fields = [self.read() for _ in range(count)]
        if tag in self._keep:
            return Tagged(tag, fields)
        try:
            return _MADE.get(tag, _any)(fields)
        except (TypeError, ValueError, ArithmeticError, IndexError):
            raise HistoryError(f"a value of tag {tag[:60]!r} is malformed") from None


def _any(fields: list[object]) -> object:
    return fields[0] if len(fields) == 1 else fields


def _named(fields: list[object]) -> str:
    space, name = fields
    return f"{space}/{name}" if space else str(name)


def _map(fields: list[object]) -> dict[Hashable, object]:
    items = fields[0] or []
    if isinstance(items, dict):
        return items
    if not isinstance(items, list) or len(items) % 2:
        raise ValueError("a map has a key without a value")
    made = dict(zip(map(freeze, items[::2]), items[1::2]))
    if len(made) * 2 != len(items):
        raise ValueError("a map has the same key twice")
    return made


def _integer(data: object) -> int:
    if not isinstance(data, bytes) or len(data) > INTEGER_BYTES_MAX:
        raise ValueError("no whole number")
    return int.from_bytes(data, "big", signed=True)


def _decimal(fields: list[object]) -> decimal.Decimal:
    scale = fields[1]
    if type(scale) is not int or abs(scale) > 10_000:
        raise ValueError("no scale")
    return decimal.Decimal(_integer(fields[0])).scaleb(-scale)


_MADE: dict[str, Callable[[list[Any]], object]] = {
    "map": _map,
    "set": lambda fields: list(fields[0] or []),
    "persistent-hash-set": lambda fields: list(fields[0] or []),
    "persistent-sorted-set": lambda fields: list(fields[0] or []),
    "uuid": lambda fields: bytes(fields[0]).hex(),
    "bigint": lambda fields: _integer(fields[0]),
    "bigdec": _decimal,
    "ratio": lambda fields: int(fields[0]) / int(fields[1]),
    "key": _named,
    "sym": _named,
    "char": lambda fields: chr(fields[0]),
    "record": lambda fields: fields[1],
}
