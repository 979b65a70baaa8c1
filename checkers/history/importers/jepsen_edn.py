"""Jepsen's ``history.edn``, and what Knossos, Elle and Porcupine's key-value tests write like it.

The file holds operation maps, one after another or in one vector or list. See `rows` for what is
supplied where a file lacks it. A ``:key`` (Porcupine's key-value tests have one) is the key.
"""

from __future__ import annotations

import re

from checkers.history import edn
from checkers.history.history import History
from checkers.history.importers.edn_lines import Lines
from checkers.history.importers.edn_scan import pays, scanner
from checkers.history.importers.rows import Rows

_FIRST = re.compile(rb"(?:\s|,|;[^\n]*\n)*[\[(]?(?:\s|,|;[^\n]*\n)*(?:#[\w.]+\s*)?\{\s*:")


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
    parser = edn.Parser(unwrap=True)
    lines = Lines(
        parser, rows, scanner() if (pays(path) if compiled is None else compiled) else None
    )
    for block in edn.blocks(path):
        lines.feed(block)
    parser.finish()
    return rows.history()


def _line_of(path: str, row: int) -> str:
    """The line on which a row begins. Only asked when something is wrong with it."""
    parser = edn.Parser(unwrap=True)
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
