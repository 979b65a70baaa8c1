"""Sessions of transactions as JSON, as dbcop's runs have them.

``{"db":..,"params":..,"sessions":[[{"ok":true,"ops":[["w",144,1,1],["r",107,0,1]]}, ..], ..]}``. An
operation is function, key, value and whether it succeeded; one that did not is left out. Versions
are numbers, 0 being the initial one, which a read gives as None here. A transaction that is not
``ok`` was aborted.
"""

from __future__ import annotations

import itertools
import re

import msgspec

from checkers.history import files
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.importers.sessions import NIL_NOTE, Transaction, from_sessions

_HEAD = re.compile(rb'\s*\{(?:\s*"(?:db|params|info|sessions|id)"\s*:)')


class _Transaction(msgspec.Struct):
    ok: bool
    ops: list[tuple[str, int, int, bool | int]]


class _File(msgspec.Struct):
    sessions: list[list[_Transaction]]
    db: str = ""
    params: dict[str, object] = {}


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is a run of dbcop."""
    return _HEAD.match(head) is not None and (b'"sessions"' in head or b'"ops"' in head)


def load(path: str) -> History:
    """Load sessions as JSON.

    Raises:
        HistoryError: it is no JSON, or lacks sessions of transactions.
    """
    data = files.whole(path, b"{")
    try:
        run = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HistoryError(f"no run of sessions: {str(error).split(' (byte')[0]}") from None
    sessions = [
        [_transaction(txn, s, n) for n, txn in enumerate(session)]
        for s, session in enumerate(run.sessions)
    ]
    header = {"model": "rw-register", "db": run.db, "params": run.params, "nil": 0}
    reads = (micro for _, micros, _ in itertools.chain(*sessions) for micro in micros)
    nil = any(value is None for _, _, value in reads)
    return from_sessions(sessions, header=header, notes=[NIL_NOTE] if nil else [])


def _transaction(txn: _Transaction, session: int, number: int) -> Transaction:
    place = f"session {session}, transaction {number}"
    micros: list[list[object]] = []
    for f, key, value, happened in txn.ops:
        if f not in ("r", "w"):
            raise HistoryError(f"operation {f!r} is neither r nor w", place=place)
        if happened:
            micros.append([f, key, None if f == "r" and value == 0 else value])
    return txn.ok, micros, place
