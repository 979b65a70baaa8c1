"""Words and figures: how values, times, operations and counts are written everywhere in a report.

One place decides how a value looks, so that the picture, the table, the ASCII art and the sentence
all say the same thing. Nothing here is markup: the modules that write HTML, SVG or XML escape what
they write. But text is made *plain* here: control characters and the invisible characters that
reorder text are written as escapes, so that a value can neither break a terminal nor pretend to be
another value.

For the modules of this package only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from checkers.history import Op

#: Longest value shown in a table or a figure; the embedded columns keep more.
VALUE_CHARS_MAX = 60

READS = frozenset({"r", "rp", "read", "get", "dequeue", "poll", "scan"})
#: The micro-operation that reads all keys that match a predicate.
PREDICATE_READ = "rp"
_OUTCOME_MARKS = {"ok": "", "fail": " ✗", "info": " ?"}

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069"
    "\ud800-\udfff\ufeff\ufffe\uffff]"
)
_SPACES = re.compile(r"\s+")
_encoder = msgspec.json.Encoder()


def plain(text: Any) -> str:
    """Text with control, reordering and unpaired characters written as escapes."""
    return _INVISIBLE.sub(_escape, text if isinstance(text, str) else str(text))


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def one_line(text: Any, *, limit: int = 300) -> str:
    """Plain text on one line, cut at ``limit`` characters with an ellipsis."""
    return clip(_SPACES.sub(" ", plain(text)).strip(), limit)


def clip(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis if it is longer than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def as_json(value: Any) -> str:
    """Compact JSON of any value; ``repr`` where it is not JSON."""
    try:
        return _encoder.encode(value).decode("utf-8")
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeError):
        return repr(value)


def show(value: Any, *, limit: int = VALUE_CHARS_MAX) -> str:
    """A value as a reader writes it: bare words unquoted, absent as ``nil``, lists in brackets."""
    if value is None:
        return "nil"
    if isinstance(value, str):
        text = value if re.fullmatch(r"[\w.:/@-]+", value) else as_json(value)
    elif isinstance(value, (list, tuple)):
        text = f"[{' '.join(show(item, limit=limit) for item in value[:limit])}]"
    else:
        text = as_json(value)
    return clip(plain(text), limit)


def key_name(key: Any) -> str:
    """A key's name; the one object of a history without keys has none."""
    return "" if key is None else show(key, limit=30)


def micro_ops(op: Op) -> list[tuple[str, Any, Any]]:
    """A transaction's micro-operations as (f, key, value); empty if it is no transaction.

    The completion's values are used where there are any, else the invocation's.
    """
    for value in (op.output, op.input) if op.type == "ok" else (op.input,):
        if isinstance(value, (list, tuple)) and value and all(map(_is_micro_op, value)):
            return [(part[0], part[1], part[2]) for part in value]
    return []


def _is_micro_op(part: Any) -> bool:
    return isinstance(part, (list, tuple)) and len(part) == 3 and isinstance(part[0], str)


def micro_op_label(part: tuple[str, Any, Any]) -> str:
    """``append x 1`` or ``r y → [1 2]``."""
    f, key, value = part
    name = f"{one_line(f, limit=12)} {key_name(key)}"
    if f in READS:
        return f"{name} → {show(value, limit=24)}"
    return f"{name} {show(value, limit=24)}"


def op_label(op: Op, *, limit: int = 34, key: bool = False) -> str:
    """An operation in a few characters: ``write 2``, ``read → 1``, ``cas 1→2 ?``.

    Args:
        op: the operation.
        limit: most characters.
        key: put the key after the function's name.
    """
    name = one_line(op.f, limit=16)
    if key and op.key is not None:
        name = f"{name} {key_name(op.key)}"
    return clip(f"{name}{_argument(op, limit)}{_OUTCOME_MARKS.get(op.type, '')}", limit)


def _argument(op: Op, limit: int) -> str:
    parts = micro_ops(op)
    if op.f == "txn" and parts:
        return " " + ", ".join(map(micro_op_label, parts))
    if op.f == "cas" and isinstance(op.input, (list, tuple)) and len(op.input) == 2:
        return f" {show(op.input[0])}→{show(op.input[1])}"
    known = op.type == "ok" and op.output is not None
    if op.f in READS or op.input is None:
        asked = "" if op.input is None or op.input == op.output else f" {show(op.input)}"
        if known or (op.f in READS and op.type == "ok"):
            return f"{asked} → {show(op.output, limit=limit)}"
        return asked
    if known and op.output != op.input and not isinstance(op.output, bool):
        return f" {show(op.input)} → {show(op.output)}"
    return f" {show(op.input, limit=limit)}"


def seconds(time_ns: int, *, digits: int = 3) -> str:
    """A moment of the run: ``12.031 s``."""
    return "unknown" if time_ns < 0 else f"{time_ns / 1e9:.{digits}f} s"


#: A history without times gets its positions as times, this far apart.
POSITION_NS = 1000


def moment(time_ns: int, *, digits: int = 6, positions: bool = False) -> str:
    """A moment in seconds, or the position in the history where there are no times."""
    if positions and time_ns >= 0:
        return f"event {time_ns // POSITION_NS}"
    return seconds(time_ns, digits=digits)


def duration(span_ns: float) -> str:
    """A span in the unit that suits it: ``3.2 ms``, ``41 s``, ``2 min 5 s``."""
    if not 0 <= span_ns < 1e20:
        return "unknown"
    if span_ns < 1_000:
        return f"{span_ns:.0f} ns"
    for unit, size in (("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        if span_ns < size * 999.5 or unit == "s":
            break
    if unit == "s" and span_ns >= 120e9:
        minutes, rest = divmod(round(span_ns / 1e9), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{_three(span_ns / size)} {unit}"


def _three(number: float) -> str:
    """Three significant digits, no trailing zeros behind the point."""
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(number: int, noun: str) -> str:
    """``1 fault``, ``12,345 operations``."""
    plural = noun if number == 1 else noun + "s"
    return f"{number:,} {plural}"


def listing(words: Sequence[Any], *, limit: int = 6) -> str:
    """``a, b and c``; the rest counted."""
    names = [one_line(word, limit=40) for word in words]
    if len(names) > limit:
        names = [*names[:limit], f"{len(names) - limit} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def fault_value(value: Any) -> str:
    """The effect of a fault: groups of a partition as ``{n1} | {n2, n3}``, else the value."""
    groups = isinstance(value, (list, tuple)) and value
    if groups and all(isinstance(group, (list, tuple)) for group in value):
        named = [f"{{{', '.join(one_line(n, limit=24) for n in group)}}}" for group in value]
        return clip(" | ".join(named), 160)
    if isinstance(value, dict):
        pairs = [f"{one_line(k, limit=24)} {show(v)}" for k, v in value.items()]
        return clip(", ".join(pairs), 160)
    if isinstance(value, (list, tuple)):
        return clip(", ".join(show(item) for item in value), 160)
    return "" if value is None else show(value, limit=160)
