"""Lines of an EDN history taken apart in machine code, with numba.

:func:`scan` walks over a block of text once. A line that is one operation map of the simple kind
(see :func:`_line`) has its type, process and time put into columns, and its function, value, key,
node and error appended to five streams of MessagePack, which are decoded in bulk. Any other line is
marked and left to the general parser, so that nothing here needs to be lenient, and an error
message is written in one place only.

What is simple: keywords and whole numbers of up to 18 digits, ``nil``, ``true``, ``false``, strings
without a backslash, and vectors, lists, sets and maps of these, where a map's keys are keywords,
strings or numbers. The meaning of each is that of :mod:`checkers.history.edn`, which the tests
compare with.

Importing this module imports numba, which takes half a second, and the first call compiles unless
an earlier process left the machine code in the cache; `edn_scan` decides when that is worth it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.core.jit import compiled, inner

#: The streams, by number; what is passed over goes to the last and is dropped.
FUNCTION, VALUE, KEY, NODE, ERROR, PASSED = range(6)
STREAMS = 6

#: The most bytes that one character becomes in a stream, and what a line may need besides.
GROWTH, SPARE = 5, 16

#: Limits of what is simple: nesting, keys of a nested map, keys of a line's map, digits.
DEPTH_MAX, NESTED_KEYS_MAX, KEYS_MAX, DIGITS_MAX = 24, 64, 24, 18

#: Bits of a line's ``has``: which of the optional streams it has something for.
HAS_KEY, HAS_NODE, HAS_ERROR = 1, 2, 4

_TAB, _NEWLINE, _RETURN, _SPACE, _QUOTE, _HASH, _COMMA, _COLON = 9, 10, 13, 32, 34, 35, 44, 58
_MINUS, _PLUS, _ZERO, _NINE, _BACKSLASH = 45, 43, 48, 57, 92
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST, _OPEN_MAP, _CLOSE_MAP = 91, 93, 40, 41, 123, 125
_NIL, _FALSE, _TRUE, _INT64, _STR32, _ARRAY32, _MAP32 = 0xC0, 0xC2, 0xC3, 0xD3, 0xDB, 0xDD, 0xDF

_TAG = np.frombuffer(b"#jepsen.history.Op", dtype=np.uint8)
_NAMES = np.zeros((9, 10), dtype=np.uint8)
for _at, _name in enumerate(
    (b"type", b"process", b"time", b"f", b"value", b"key", b"node", b"error", b"exception")
):
    _NAMES[_at, : len(_name)] = np.frombuffer(_name, dtype=np.uint8)
_LENGTHS = np.array([4, 7, 4, 1, 5, 3, 4, 5, 9])
_TYPE, _PROCESS, _TIME, _FIRST_STREAM, _EXCEPTION = 0, 1, 2, 3, 8
_KINDS = np.zeros((4, 6), dtype=np.uint8)
for _at, _name in enumerate((b"invoke", b"ok", b"fail", b"info")):
    _KINDS[_at, : len(_name)] = np.frombuffer(_name, dtype=np.uint8)
_KIND_LENGTHS = np.array([6, 2, 4, 4])
#: Which bytes may be in a keyword.
_WORD = np.zeros(256, dtype=np.bool_)
for _char in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.*+!?$%&=<>/'|-":
    _WORD[_char] = True


@inner
def _blank(char: Any) -> Any:
    return char in (_SPACE, _COMMA, _TAB, _RETURN)


@inner
def _ends(char: Any) -> Any:
    """Whether a word is over."""
    return _blank(char) or char in (_CLOSE, _CLOSE_MAP, _CLOSE_LIST)


@inner
def _same(data: Any, start: Any, end: Any, table: Any, lengths: Any) -> Any:
    """Which row of a table of words stands at a place; -1 for none."""
    for row in range(len(lengths)):
        if lengths[row] == end - start:
            at = 0
            while at < end - start and data[start + at] == table[row, at]:
                at += 1
            if at == end - start:
                return row
    return -1


@inner
def _word(data: Any, at: Any) -> Any:
    """Where the keyword that begins behind a colon ends; -1 if it is no simple one."""
    start = at
    while _WORD[data[at]]:
        at += 1
    return at if at > start and _ends(data[at]) else -1


@inner
def _number(data: Any, at: Any) -> Any:
    """The number at a place and where it ends; -1 if it is no simple one."""
    negative = data[at] == _MINUS
    if negative or data[at] == _PLUS:
        at += 1
    start, number = at, 0
    while _ZERO <= data[at] <= _NINE:
        if at - start >= DIGITS_MAX:
            return 0, -1
        number = number * 10 + (data[at] - _ZERO)
        at += 1
    if at == start or (data[start] == _ZERO and at > start + 1) or not _ends(data[at]):
        return 0, -1
    return (-number if negative else number), at


@inner
def _put_length(out: Any, at: Any, code: Any, length: Any) -> Any:
    """A code and 32 bits of length."""
    out[at] = code
    for part in range(4):
        out[at + 1 + part] = (length >> (24 - 8 * part)) & 0xFF
    return at + 5


@inner
def _put_number(out: Any, at: Any, number: Any) -> Any:
    if -32 <= number < 128:
        out[at] = number & 0xFF
        return at + 1
    out[at] = _INT64
    for part in range(8):
        out[at + 1 + part] = (number >> (56 - 8 * part)) & 0xFF
    return at + 9


@inner
def _put_text(out: Any, at: Any, data: Any, start: Any, end: Any) -> Any:
    if end - start < 32:
        out[at] = 0xA0 | (end - start)
        at += 1
    else:
        at = _put_length(out, at, _STR32, end - start)
    for place in range(start, end):
        out[at] = data[place]
        at += 1
    return at


@inner
def _atom(data: Any, at: Any, out: Any, to: Any) -> Any:
    """One value that is no collection: where it ends, and where the stream does; -1 if not simple.

    The third number returned says whether it may be the key of a map.
    """
    char = data[at]
    if char == _COLON:
        end = _word(data, at + 1)
        return end, (to if end < 0 else _put_text(out, to, data, at + 1, end)), True
    if char == _QUOTE:
        end = at + 1
        while data[end] != _QUOTE:
            if data[end] == _BACKSLASH or data[end] == _NEWLINE:
                return -1, to, False
            end += 1
        return end + 1, _put_text(out, to, data, at + 1, end), True
    if _ZERO <= char <= _NINE or char in (_MINUS, _PLUS):
        number, end = _number(data, at)
        return end, (to if end < 0 else _put_number(out, to, number)), True
    code, length = 0, 0
    if char == 110 and data[at + 1] == 105 and data[at + 2] == 108:  # nil
        code, length = _NIL, 3
    elif char == 116 and data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101:
        code, length = _TRUE, 4
    elif (
        char == 102 and data[at + 1] == 97 and data[at + 2] == 108 and data[at + 3] == 115
        and data[at + 4] == 101
    ):  # fmt: skip
        code, length = _FALSE, 5
    if not length or not _ends(data[at + length]):
        return -1, to, False
    out[to] = code
    return at + length, to + 1, False


@inner
def _distinct(out: Any, keys: Any, count: Any) -> Any:
    """Whether no two of the keys of a map, as written to the stream, are the same."""
    for one in range(count):
        length = keys[one, 1] - keys[one, 0]
        for two in range(one):
            if keys[two, 1] - keys[two, 0] == length:
                at = 0
                while at < length and out[keys[one, 0] + at] == out[keys[two, 0] + at]:
                    at += 1
                if at == length:
                    return False
    return True


@inner
def _value(data: Any, at: Any, out: Any, to: Any, open_at: Any, counts: Any, closers: Any,
           keys: Any) -> Any:  # fmt: skip
    """One value: where it ends, and where the stream does; -1 if it is not simple.

    Collections that are open: where their headers go, how many items they have, what closes them,
    and where the keys of those that are maps begin and end in the stream.
    """
    depth = 0
    while True:
        while _blank(data[at]):
            at += 1
        char = data[at]
        began = to
        may_be_key = False
        if char == _HASH and data[at + 1] == _OPEN_MAP:
            at += 1
        if char in (_HASH, _OPEN, _OPEN_LIST, _OPEN_MAP):
            if (char == _HASH and data[at] != _OPEN_MAP) or depth == DEPTH_MAX:
                return -1, to
            if depth and closers[depth - 1] == -_CLOSE_MAP and counts[depth - 1] % 2 == 0:
                return -1, to  # a collection as the key of a map
            closers[depth] = char + 2 if char == _OPEN else _CLOSE_LIST
            if char in (_HASH, _OPEN_MAP):
                closers[depth] = _CLOSE_MAP if char == _HASH else -_CLOSE_MAP
            open_at[depth] = to
            counts[depth] = 0
            depth += 1
            to += 5
            at += 1
            continue
        if char in (_CLOSE, _CLOSE_LIST, _CLOSE_MAP):
            depth -= 1
            if depth < 0 or abs(closers[depth]) != char:
                return -1, to
            if closers[depth] < 0:
                if counts[depth] % 2 or not _distinct(out, keys[depth], counts[depth] // 2):
                    return -1, to
                _put_length(out, open_at[depth], _MAP32, counts[depth] // 2)
            else:
                _put_length(out, open_at[depth], _ARRAY32, counts[depth])
            at += 1
        else:
            at, to, may_be_key = _atom(data, at, out, to)
            if at < 0:
                return -1, to
        if depth == 0:
            return at, to
        if closers[depth - 1] < 0 and counts[depth - 1] % 2 == 0:
            number = counts[depth - 1] // 2
            if not may_be_key or number == NESTED_KEYS_MAX:
                return -1, to
            keys[depth - 1, number, 0] = began
            keys[depth - 1, number, 1] = to
        counts[depth - 1] += 1


@inner
def _known_key(data: Any, seen: Any, count: Any) -> Any:
    """Whether the last of the keys of a line is one of those before it."""
    start, length = seen[count, 0], seen[count, 1] - seen[count, 0]
    for one in range(count):
        if seen[one, 1] - seen[one, 0] == length:
            at = 0
            while at < length and data[start + at] == data[seen[one, 0] + at]:
                at += 1
            if at == length:
                return True
    return False


@inner
def _begin(data: Any, at: Any) -> Any:
    """Where a line's map has its first key; -1 if it begins otherwise."""
    while _blank(data[at]):
        at += 1
    if data[at] == _HASH:
        for char in _TAG:
            if data[at] != char:
                return -1
            at += 1
        while data[at] == _SPACE or data[at] == _TAB:
            at += 1
    return at + 1 if data[at] == _OPEN_MAP else -1


@inner
def _line(data: Any, at: Any, out: Any, to: Any, row: Any, work: Any) -> Any:
    """One line: where its map ends, or -1 if it is not simple.

    A simple line is one map with the keys ``:type :process :f :value``, each once and of the right
    kind, and others but ``:exception``. ``row`` gets type, process, time and ``has``; ``to`` is
    where each stream ends.
    """
    open_at, counts, closers, keys, seen, ends = work
    at = _begin(data, at)
    if at < 0:
        return -1
    row[0], row[1], row[2], row[3] = -1, 0, -1, 0
    ends[:] = -1
    named, count = False, 0
    while True:
        while _blank(data[at]):
            at += 1
        if data[at] == _CLOSE_MAP:
            break
        if data[at] != _COLON or count == KEYS_MAX:
            return -1
        end = _word(data, at + 1)
        if end < 0:
            return -1
        seen[count, 0], seen[count, 1] = at + 1, end
        if _known_key(data, seen, count):
            return -1
        count += 1
        field = _same(data, at + 1, end, _NAMES, _LENGTHS)
        at = end
        while _blank(data[at]):
            at += 1
        if field == _TYPE:
            end = -1 if data[at] != _COLON else _word(data, at + 1)
            if end < 0:
                return -1
            row[0] = _same(data, at + 1, end, _KINDS, _KIND_LENGTHS)
            at = end
        elif field in (_PROCESS, _TIME):
            row[field], at = _number(data, at)
            named = named or field == _PROCESS
        elif field == _EXCEPTION:
            return -1
        else:
            stream = PASSED if field < 0 else field - _FIRST_STREAM
            if stream == FUNCTION and data[at] != _COLON:
                return -1
            at, ends[stream] = _value(
                data, at, out[stream], to[stream], open_at, counts, closers, keys
            )
        if at < 0:
            return -1
    if row[0] < 0 or not named or ends[FUNCTION] < 0 or ends[VALUE] < 0:
        return -1
    return at + 1


@compiled
def scan(data: Any, out: Any, good: Any, rows: Any, stops: Any, work: Any) -> Any:
    """Take a block of whole lines apart.

    Args:
        data: the bytes of the block, which ends with a line end, and :data:`SPARE` zeros.
        out: a row of bytes for each stream.
        good: set for each line, whether it is simple; the other columns mean nothing if not.
        rows: per line its type, process, time and ``has``.
        stops: per line where each stream ends.
        work: scratch space; see :mod:`.edn_scan`.
    """
    ends = work[5]
    to = np.zeros(STREAMS, dtype=np.int64)
    at = 0
    for line in range(len(good)):
        end = _line(data, at, out, to, rows[line], work)
        while end >= 0 and _blank(data[end]):
            end += 1
        good[line] = end >= 0 and data[end] == _NEWLINE
        if good[line]:
            for stream in range(PASSED):
                if ends[stream] < 0:
                    out[stream, to[stream]] = _NIL
                    to[stream] += 1
                else:
                    to[stream] = ends[stream]
            rows[line, 3] = (
                HAS_KEY * (ends[KEY] >= 0) + HAS_NODE * (ends[NODE] >= 0)
                + HAS_ERROR * (ends[ERROR] >= 0)
            )  # fmt: skip
            at = end
        else:
            while data[at] != _NEWLINE:
                at += 1
        stops[line] = to[:PASSED]
        at += 1
