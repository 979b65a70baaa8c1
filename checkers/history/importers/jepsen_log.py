r"""Operations as Jepsen prints them: ``history.txt``, and the logs of all years.

An operation is a line of process, type, function, value and perhaps an error, between tabs or
spaces: ``3 :invoke :cas [1 4]``. In ``history.txt`` there is nothing else. In a log the name of a
logger comes before (``INFO  jepsen.util - 3 ...``; today ``2024-03-02 10:11:01,007{GMT} INFO
[jepsen worker 0] jepsen.util: 3 ...``), and a date is the operation's time, counted from the first.
Other lines are left out, and counted in a note.

The value is EDN. The error is EDN or free text. A keyword in place of the value of an operation
that did not succeed is its error, ``:timed-out`` for one: it keeps the value it was invoked with.

If the only failures are compare-and-sets without an error, a failure was a mismatch: it observed
the register. The header then says ``"failed_cas": "observed"``.
"""

from __future__ import annotations

import datetime
import os
import re
from typing import Any

from checkers.history import edn, files
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.importers.rows import Rows
from checkers.history.op import FAIL

_KINDS = "invoke|ok|fail|info"
#: Where an operation begins: its process, type and function.
_OP = re.compile(rf"(?<!\S)(:?[\w.-]{{1,99}})([ \t]+):({_KINDS})[ \t]+([:\w\"]\S*)")
_LOGGER = re.compile(r"[A-Za-z][\w$-]*(?:\.[\w$-]+)+")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEAD = re.compile(
    rf"(?m)(?:^|\b[A-Za-z][\w$-]{{0,99}}+(?:\.[\w$-]{{1,99}}+){{1,9}}+(?:[ \t]-|:)?)[ \t]*"
    rf":?[\w.-]{{1,99}}[ \t]+:(?:{_KINDS})[ \t]".encode()
)

#: A line longer than this is not of a log.
LINE_BYTES_MAX = 1 << 20

#: Where in a line an operation begins at the latest.
PREFIX_MAX = 400


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes has operations as Jepsen prints them."""
    name = os.path.basename(path).removesuffix(".gz")
    if name == "jepsen.log" and b"jepsen" in head:
        return True  # what comes before the first operation may be long
    return head[:1] not in b"{(" and _HEAD.search(head) is not None


def load(path: str) -> History:
    """Load the operations of a Jepsen log or ``history.txt``.

    Raises:
        HistoryError: no line is an operation, or one has a value that is no EDN.
    """
    lines: list[int] = []
    rows = Rows(lambda row: f"line {lines[row]}")
    found: list[dict[str, object]] = []
    others = 0
    end = files.End()
    for number, line in files.lines(path, LINE_BYTES_MAX, end):
        try:
            row = _row(line, number)
        except HistoryError:
            if end.cut and found:
                rows.notes.append(files.cut_note(f"line {number}"))
                break
            raise
        if row is None:
            others += bool(line.strip())
        else:
            found.append(row)
            lines.append(number)
    if not found:
        raise HistoryError("no line of the log is an operation")
    if end.cut and lines[-1] == number:
        rows.notes.append(files.unended_note(number))
    if others:
        what = (
            "1 line is no operation and was"
            if others == 1
            else (f"{others} lines are no operations and were")
        )
        rows.notes.append(f"{what} left out.")
    _count_times(found)
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


def _row(line: str, number: int) -> dict[str, object] | None:
    """The operation of a line; None if it is none.

    Raises:
        HistoryError: its value is no EDN, or the line no UTF-8.
    """
    line = _COLOUR.sub("", line) if "\x1b" in line else line
    match = _OP.search(line)
    if match is None or match.start() > PREFIX_MAX or not _is_prefix(line[: match.start()]):
        return None
    files.refuse_undecodable(line, number)
    process, gap, kind, f = match.groups()
    row: dict[str, object] = {
        "process": int(process) if re.fullmatch(r"[0-9]{1,18}", process) else process.lstrip(":"),
        "type": kind,
        "f": f.lstrip(":").strip('"'),
        "time": _time(line[: match.start()]),
    }
    try:
        value, error = _columns(line[match.end() :].strip(), tabs="\t" in gap)
        if value.startswith(":") and not error and kind in ("fail", "info"):
            value, error = (value, "") if row["process"] == "nemesis" else ("", value)
        if value:
            row["value"] = edn.loads(value)[0]
    except HistoryError as wrong:
        raise HistoryError(wrong.message, place=f"line {number}") from None
    if error:
        row["error"] = _error(error)
    return row


def _is_prefix(prefix: str) -> bool:
    """Whether what stands before an operation is nothing, or ends with the name of a logger."""
    words = prefix.split()
    if words and words[-1] in ("-", ":"):
        words.pop()
    return not words or _LOGGER.fullmatch(words[-1].rstrip(":")) is not None


def _columns(rest: str, *, tabs: bool) -> tuple[str, str]:
    """The texts of value and error.

    Raises:
        HistoryError: the value is no EDN.
    """
    value, _, error = rest.partition("\t") if tabs else (rest, "", "")
    end = edn.form_end(value)
    return value[:end], f"{value[end:]}\t{error}".strip()


def _error(text: str) -> object:
    """An error as EDN if it is one value, else as it stands."""
    try:
        found = edn.loads(text)
    except HistoryError:
        return text
    return found[0] if len(found) == 1 else text


def _time(prefix: str) -> int:
    """Nanoseconds since 1970 of a log's date, its zone left aside; -1 without one."""
    match = _TIME.search(prefix)
    if match is None:
        return -1
    try:
        moment = datetime.datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
    except ValueError:
        return -1
    return int(moment.timestamp()) * 10**9 + int((match[3] or "0").ljust(9, "0"))


def _count_times(rows: list[dict[str, Any]]) -> None:
    """Count times from the first operation's; without a date everywhere there are none."""
    dated = all(row["time"] >= 0 for row in rows)
    start = min(row["time"] for row in rows)
    for row in rows:
        row["time"] = row["time"] - start if dated else -1
