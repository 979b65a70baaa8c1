"""Operations in the log of an old Jepsen, as in Porcupine's corpus.

A line is ``INFO  jepsen.util - 3 :invoke :cas [1 4]``: process, type, function, value, separated by
tabs or spaces. ``:timed-out`` in place of a value is an error: such an operation keeps the value it
was invoked with. Newer logs put a date before and write process names like ``:nemesis``; lines of
other loggers are left out, and counted in a note.

If the only failures are compare-and-sets without an error, a failure was a mismatch: it observed
the register. The header then says ``"failed_cas": "observed"``.
"""

from __future__ import annotations

import re
from typing import Any

from checkers.history import edn, files
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.importers.rows import Rows
from checkers.history.op import FAIL

_LINE = re.compile(
    r".*?\bjepsen\.[\w.-]+\s+-\s+(:?[\w-]+)\s+:(invoke|ok|fail|info)\s+:([^\s]+)(?:\s+(.*?))?\s*"
)
_HEAD = re.compile(rb"(?m)^.*?\bjepsen\.[\w.-]+\s+-\s+:?[\w-]+\s+:(?:invoke|ok|fail|info)\s")

#: A line longer than this is not of a log.
LINE_BYTES_MAX = 1 << 20


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is a Jepsen log."""
    return head[:1] not in b"{[(" and _HEAD.search(head) is not None


def load(path: str) -> History:
    """Load the operations of a Jepsen log.

    Raises:
        HistoryError: no line is an operation, or one has a value that is no EDN.
    """
    lines: list[int] = []
    rows = Rows(lambda row: f"line {lines[row]}")
    found: list[dict[str, Any]] = []
    others = 0
    for number, line in files.lines(path, LINE_BYTES_MAX):
        match = _LINE.fullmatch(line)
        if match is None:
            others += bool(line.strip())
            continue
        files.refuse_undecodable(line, number)
        found.append(_row(match, number))
        lines.append(number)
    if not found:
        raise HistoryError("no line of the log is an operation")
    if others:
        rows.notes.append(f"{others} lines of the log are no operations and were left out.")
    rows.extend(found)
    history = rows.history()
    if _failures_observe(history):
        history.header = {**history.header, "failed_cas": "observed"}
    return history


def _failures_observe(history: History) -> bool:
    """Whether every failure is a compare-and-set's, without any error: then it was a mismatch."""
    failures = [index for index in range(len(history)) if history.type[index] == FAIL]
    return bool(failures) and all(
        history.functions[history.f[index]] == "cas" and index not in history.errors
        for index in failures
    )


def _row(match: re.Match[str], number: int) -> dict[str, Any]:
    process, kind, f, text = match.groups()
    row: dict[str, Any] = {"process": int(process) if process.isdecimal() else process.lstrip(":")}
    row |= {"type": kind, "f": f}
    try:
        forms = edn.loads(text or "")
    except HistoryError as error:
        raise HistoryError(error.message, place=f"line {number}") from None
    if (text or "").startswith(":") and kind != "invoke":
        row["error"] = forms[0]
    elif forms:
        row["value"] = forms[0]
        if len(forms) > 1:
            row["error"] = forms[1]
    return row
