"""Jepsen's ``history.edn``, and what Knossos, Elle and Porcupine's key-value tests write like it.

The file holds operation maps, one after another or in one vector or list, or Knossos' vectors
``[70 :invoke :read nil]`` in their place. See `rows` for what is supplied where a file lacks it. A
``:key`` (Porcupine's key-value tests have one) is the key. Of a file that is cut in its last form
the rest is read, which a note says.
"""

from __future__ import annotations

import re

from checkers.history import edn, files
from checkers.history.history import History
from checkers.history.importers.edn_lines import Lines
from checkers.history.importers.edn_scan import pays, scanner
from checkers.history.importers.rows import Rows

_GAP = rb"(?:\s|,|;[^\n]*\n|\^:?[\w./-]+\s|\^\{[^{}]*\})*+"
_VECTOR = rb"\[" + _GAP + rb":?[\w.-]+[\s,]+:(?:invoke|ok|fail|info)\b"
_FIRST = re.compile(
    _GAP + rb"[\[(]?" + _GAP + rb"(?:(?:#:?[\w.*+!?$%&=<>/-]+\s*)?\{\s*:|" + _VECTOR + rb")"
)
_BARE_VECTOR = re.compile(_GAP + _VECTOR)

#: The beginning that shows whether the file starts with a vector that is an operation.
HEAD_BYTES = 1 << 16


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes holds EDN maps."""
    return _FIRST.match(head) is not None


def load(path: str, *, independent: bool | None = None, compiled: bool | None = None) -> History:
    """Load an EDN history.

    Args:
        path: the file.
        independent: whether ``[k v]`` values are the keys and values of independent tests; None
            to find out.
        compiled: whether lines are taken apart in machine code; None to do so in a large file.

    Raises:
        HistoryError: it is no EDN, or no history; the place is the line.
    """
    rows = Rows(lambda row: _line_of(path, row), independent=independent)
    parser = edn.Parser(unwrap=_is_wrapped(path))
    lines = Lines(
        parser, rows, scanner() if (pays(path) if compiled is None else compiled) else None
    )
    for block in edn.blocks(path):
        lines.feed(block)
    if not rows.count:
        parser.finish()
    rows.notes += filter(None, [parser.end()])
    return rows.history()


def _is_wrapped(path: str) -> bool:
    """Whether a vector that begins the file would be the history and not an operation."""
    return _BARE_VECTOR.match(files.head(path, HEAD_BYTES)) is None


def _line_of(path: str, row: int) -> str:
    """The line on which a row begins. Only asked when something is wrong with it."""
    parser = edn.Parser(unwrap=_is_wrapped(path))
    seen, line, pending = 0, 1, ""
    for block in edn.blocks(path):
        for text in block.splitlines(keepends=True):
            pending += text
            if not text.endswith("\n") or edn.open_string(pending):
                continue
            seen += len(parser.feed(pending))
            if seen > row:
                return f"line {line}"
            line, pending = line + pending.count("\n"), ""
    return f"line {line}"
