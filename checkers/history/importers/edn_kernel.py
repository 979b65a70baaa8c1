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

from typing import NamedTuple

import numpy as np

from checkers.core.columns import Byte, Bytes, Flags, Int, Int64s
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
#: Places among the names, and the columns of a line's row.
TYPE, PROCESS, TIME = 0, 1, 2
HAS = 3
_FIRST_STREAM, _EXCEPTION = 3, 8
_KINDS = np.zeros((4, 6), dtype=np.uint8)
for _at, _name in enumerate((b"invoke", b"ok", b"fail", b"info")):
    _KINDS[_at, : len(_name)] = np.frombuffer(_name, dtype=np.uint8)
_KIND_LENGTHS = np.array([6, 2, 4, 4])
#: Which bytes may be in a keyword.
_WORD = np.zeros(256, dtype=np.bool_)
for _char in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.*+!?$%&=<>/'|-":
    _WORD[_char] = True


class Work(NamedTuple):
    """Scratch space; int64.

    Args:
        open_at: of each open collection, where its header goes in the stream; (DEPTH_MAX,).
        counts: and how many items it has so far; (DEPTH_MAX,).
        closers: and the character that closes it, negated for a map; (DEPTH_MAX,).
        keys: and where the keys of a map begin and end in the stream;
            (DEPTH_MAX, NESTED_KEYS_MAX, 2).
        seen: where the keys of the line begin and end in the text; (KEYS_MAX, 2).
        ends: where each stream of the line ends, or -1; (STREAMS,).
    """

    open_at: Int64s
    counts: Int64s
    closers: Int64s
    keys: Int64s
    seen: Int64s
    ends: Int64s


@inner
def _blank(char: Byte) -> bool:
    return char in (_SPACE, _COMMA, _TAB, _RETURN)


@inner
def _ends(char: Byte) -> bool:
    """Whether a word is over."""
    return _blank(char) or char in (_CLOSE, _CLOSE_MAP, _CLOSE_LIST)


@inner
def _same(data: Bytes, start: Int, end: Int, table: Bytes, lengths: Int64s) -> int:
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
def _word(data: Bytes, at: Int) -> Int:
    """Where the keyword that begins behind a colon ends; -1 if it is no simple one."""
    start = at
    while _WORD[data[at]]:
        at += 1
    return at if at > start and _ends(data[at]) else -1


@inner
def _number(data: Bytes, at: Int) -> tuple[Int, Int]:
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
def _put_length(out: Bytes, at: Int, code: Int, length: Int) -> Int:
    """A code and 32 bits of length."""
    out[at] = code
    for part in range(4):
        out[at + 1 + part] = (length >> (24 - 8 * part)) & 0xFF
    return at + 5


@inner
def _put_number(out: Bytes, at: Int, number: Int) -> Int:
    if -32 <= number < 128:
        out[at] = number & 0xFF
        return at + 1
    out[at] = _INT64
    for part in range(8):
        out[at + 1 + part] = (number >> (56 - 8 * part)) & 0xFF
    return at + 9


@inner
def _put_text(out: Bytes, at: Int, data: Bytes, start: Int, end: Int) -> Int:
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
def _atom(data: Bytes, at: Int, out: Bytes, to: Int) -> tuple[Int, Int, bool]:
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
def _distinct(out: Bytes, keys: Int64s, count: Int) -> bool:
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
def _value(data: Bytes, at: Int, out: Bytes, to: Int, work: Work) -> tuple[Int, Int]:
    """One value: where it ends, and where the stream does; -1 if it is not simple.

    Collections that are open are kept in ``work``, the outermost first.
    """
    open_at, counts, closers, keys = work.open_at, work.counts, work.closers, work.keys
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
def _known_key(data: Bytes, seen: Int64s, count: Int) -> bool:
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
def _begin(data: Bytes, at: Int) -> Int:
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
def _line(data: Bytes, at: Int, out: Bytes, to: Int64s, row: Int64s, work: Work) -> Int:
    """One line: where its map ends, or -1 if it is not simple.

    A simple line is one map with the keys ``:type :process :f :value``, each once and of the right
    kind, and others but ``:exception``. ``row`` gets type, process, time and ``has``; ``to`` is
    where each stream ends.
    """
    seen, ends = work.seen, work.ends
    at = _begin(data, at)
    if at < 0:
        return -1
    row[TYPE], row[PROCESS], row[TIME], row[HAS] = -1, 0, -1, 0
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
        if field == TYPE:
            end = -1 if data[at] != _COLON else _word(data, at + 1)
            if end < 0:
                return -1
            row[TYPE] = _same(data, at + 1, end, _KINDS, _KIND_LENGTHS)
            at = end
        elif field in (PROCESS, TIME):
            row[field], at = _number(data, at)
            named = named or field == PROCESS
        elif field == _EXCEPTION:
            return -1
        else:
            stream = PASSED if field < 0 else field - _FIRST_STREAM
            if stream == FUNCTION and data[at] != _COLON:
                return -1
            at, ends[stream] = _value(data, at, out[stream], to[stream], work)
        if at < 0:
            return -1
    if row[TYPE] < 0 or not named or ends[FUNCTION] < 0 or ends[VALUE] < 0:
        return -1
    return at + 1


@compiled
def scan(data: Bytes, out: Bytes, good: Flags, rows: Int64s, stops: Int64s, work: Work) -> None:
    """Take a block of whole lines apart.

    Args:
        data: uint8, (bytes,): the block, which ends with a line end, and :data:`SPARE` zeros.
        out: uint8, (STREAMS, room): the streams.
        good: bool, (lines,): set for each line, whether it is simple; the other columns mean
            nothing if not.
        rows: int64, (lines, 4): the columns TYPE, PROCESS, TIME and HAS of each line.
        stops: int64, (lines, PASSED): where each stream ends.
        work: scratch space.
    """
    ends = work.ends
    to = np.zeros(STREAMS, dtype=np.int64)
    at: Int = 0
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
            rows[line, HAS] = (
                HAS_KEY * (ends[KEY] >= 0) + HAS_NODE * (ends[NODE] >= 0)
                + HAS_ERROR * (ends[ERROR] >= 0)
            )  # fmt: skip
            at = end
        else:
            while data[at] != _NEWLINE:
                at += 1
        stops[line] = to[:PASSED]
        at += 1
