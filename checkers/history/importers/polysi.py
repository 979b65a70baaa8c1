"""Sessions of transactions a line per operation, as PolySI and IsoVista have them: ``w(k,v,s,t)``.

A line is ``r(KEY,VALUE,SESSION,TRANSACTION)`` or ``w(...)``, all whole numbers. The operations of a
transaction may be apart; transactions of a session are in the order of their first lines.
Transaction -1 was aborted: its writes are a transaction each, its reads mean nothing. Value 0 is
what a key begins with unless it is written, so that its read gives None here.
"""

from __future__ import annotations

import re

from checkers.history import files
from checkers.history.columns import short
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.importers.sessions import NIL_NOTE, Transaction, from_sessions

_NUMBER = r"\s*(-?[0-9]{1,18})\s*"
_LINE = re.compile(rf"([rw])\({_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\)")
_HEAD = re.compile(rb"\s*[rw]\([-0-9, ]{7,90}\)\s")

#: The transaction of operations that were aborted.
ABORTED = -1

#: A line longer than this is not of this format.
LINE_BYTES_MAX = 1 << 16


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes has an operation ``w(k,v,s,t)`` a line."""
    return _HEAD.match(head + b"\n") is not None


def load(path: str) -> History:
    """Load sessions, an operation a line.

    Raises:
        HistoryError: a line is no operation.
    """
    sessions: dict[int, list[Transaction]] = {}
    begun: dict[tuple[int, int], list[list[object]]] = {}
    written = set()
    for number, line in files.lines(path, LINE_BYTES_MAX):
        text = line.strip()
        files.refuse_undecodable(text, number)
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            said = f"{short(text)} is no operation such as w(KEY,VALUE,SESSION,TRANSACTION)"
            raise HistoryError(said, place=f"line {number}")
        f = match[1]
        key, value, session, txn = map(int, match.groups()[1:])
        if f == "w":
            written.add((key, value))
        if txn == ABORTED:
            if f == "w":
                aborted: Transaction = (False, [[f, key, value]], f"line {number}")
                sessions.setdefault(session, []).append(aborted)
            continue
        if (session, txn) not in begun:
            micros = begun[session, txn] = []
            sessions.setdefault(session, []).append((True, micros, f"line {number}"))
        begun[session, txn].append([f, key, value])
    notes: list[str] = []
    for micros in begun.values():
        for micro in micros:
            if micro[0] == "r" and micro[2] == 0 and (micro[1], 0) not in written:
                micro[2] = None
                notes = [NIL_NOTE]
    header: dict[str, object] = {"model": "rw-register", **({"nil": 0} if notes else {})}
    return from_sessions(list(sessions.values()), header=header, notes=notes)
