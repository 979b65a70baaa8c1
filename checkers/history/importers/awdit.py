"""Sessions of transactions as text, as awdit's tests have them.

Lines are ``r KEY VALUE`` or ``w KEY VALUE``; ``-----`` ends a transaction and ``=====`` a session.
"""

from __future__ import annotations

import re

from checkers.history import files
from checkers.history.columns import short
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.importers.sessions import Transaction, from_sessions

_LINE = re.compile(r"([rw])\s+(\S+)\s+(\S+)")
_HEAD = re.compile(rb"\s*[rw][ \t]+\S{1,40}[ \t]+\S{1,40}[ \t]*\r?(?:\n|\Z)")

#: A line longer than this is not of this format.
LINE_BYTES_MAX = 1 << 16


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is of sessions as text."""
    return _HEAD.match(head) is not None


def load(path: str) -> History:
    """Load sessions as text.

    Raises:
        HistoryError: a line is neither an operation nor a separator.
    """
    sessions: list[list[Transaction]] = [[]]
    micros: list[list[object]] = []
    place = ""

    def end_transaction() -> None:
        nonlocal micros
        if micros:
            sessions[-1].append((True, micros, place))
            micros = []

    end = files.End()
    for number, line in files.lines(path, LINE_BYTES_MAX, end):
        text = line.strip()
        files.refuse_undecodable(text, number)
        if text.startswith("---") and not text.strip("-"):
            end_transaction()
        elif text.startswith("===") and not text.strip("="):
            end_transaction()
            sessions.append([])
        elif text:
            match = _LINE.fullmatch(text)
            if match is None:
                raise HistoryError(
                    f"{short(text)} is neither `r KEY VALUE` nor `w KEY VALUE`",
                    place=f"line {number}",
                )
            f, key, value = match.groups()
            place = place if micros else f"line {number}"
            micros.append([f, _scalar(key), _scalar(value)])
    end_transaction()
    notes = [files.unended_note(number)] if end.cut else []
    return from_sessions(sessions, header={"model": "rw-register"}, notes=notes)


def _scalar(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
