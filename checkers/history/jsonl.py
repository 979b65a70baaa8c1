"""Our own format, ``history.jsonl``: written as it happens, read back in bulk.

A file is a header line, one record a line, and a footer line::

    {"format":"history/1","test":"register","seed":7,"started":"2026-11-22T18:00:00Z","nodes":[..]}
    {"i":0,"t":41231,"p":3,"type":"invoke","f":"cas","k":"x","v":[1,2],"node":"n2"}
    {"i":1,"t":99120,"type":"fault","f":"partition","phase":"begin","id":1,"v":[["n1"],["n2"]]}
    {"i":2,"t":5041231,"p":3,"type":"info","f":"cas","k":"x","v":[1,2],"error":"timeout after 5 s"}
    {"type":"footer","events":2,"faults":1,"ok":0,"fail":0,"info":1,"digest":"sha256:.."}

``i`` numbers the records from 0, ``t`` is nanoseconds since the start, ``p`` the process, ``k``
the key (absent where there is one object), ``v`` the value (absent for none). A fault's ``begin``
record may carry ``nodes``; its ``end`` record ``outcome`` and ``evidence``. The digest covers every
byte before the footer line.

Crash safety: each record is one line, appended by one ``write`` per flush, so after SIGKILL of the
writer the file is a prefix of what was flushed and only its last line can be torn. The reader cuts
a torn tail, says so in the history's notes, and says so too when the footer is missing. Anything
else out of order is a :class:`HistoryError` with its line.

Reading a million operations takes about two seconds of one core: typed bulk decoding in chunks, one
Python list per field, and no Python code per record.

For :func:`checkers.history.load` and reports; `jsonl_writer` writes.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence

import msgspec

from checkers.core.garbage_collection import collector_paused
from checkers.history import files
from checkers.history.columns import Columns
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.jsonl_records import FORMAT, FaultRecord, Footer, Record
from checkers.history.jsonl_writer import HistoryWriter, write_jsonl
from checkers.history.op import Fault

__all__ = ["HistoryWriter", "load", "read_jsonl", "recognise", "write_jsonl"]

#: No honest record is longer. It bounds the memory a file without line ends can take.
LINE_BYTES_MAX = 64 << 20

#: Lines that may have a field twice.
_DOUBLED = re.compile(rb'"([pfkvt]|type)":.*"\1":')

_records = msgspec.json.Decoder(Record)
_faults = msgspec.json.Decoder(FaultRecord)
_footers = msgspec.json.Decoder(Footer)


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is in our format."""
    line = head.split(b"\n", 1)[0]
    return line.lstrip().startswith(b"{") and b'"format"' in line and b'"history/' in line


def read_jsonl(path: str | os.PathLike[str]) -> History:
    """Read a history in our format.

    Args:
        path: the file.

    Raises:
        HistoryError: the file is no history of this format, or is damaged anywhere but in a torn
            last line; the place names the line.
        OSError: it cannot be opened.
    """
    try:
        with collector_paused():
            return _Reader(os.fspath(path)).read()
    except HistoryError as error:
        raise error.at(os.fspath(path)) from None


class Places:
    """Where the events of a file stand.

    Args:
        stretches: the first event of each, with its line or the lines of all.
    """

    def __init__(self, stretches: list[tuple[int, int | Sequence[int]]]) -> None:
        self._stretches = stretches

    def __call__(self, event: int) -> str:
        at = bisect.bisect_right(self._stretches, event, key=lambda entry: entry[0]) - 1
        first, lines = self._stretches[at]
        line = lines + event - first if isinstance(lines, int) else lines[event - first]
        return f"line {line}"


class _Reader:
    """Reads one file: columns, faults, footer, and which line each event stands on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.line = 0  # lines consumed so far
        self.digest = hashlib.sha256()
        self.header: dict[str, object] = {}
        self.footer: Footer | None = None
        self.notes: list[str] = []
        self.faults: dict[int, Fault] = {}
        self.number = -1  # of the last record
        self.gaps: list[str] = []
        self.columns = Columns(self.place)
        #: (first event, first line or list of lines)
        self.places: list[tuple[int, int | Sequence[int]]] = []

    def read(self) -> History:
        for chunk, last in files.chunks(self.path, LINE_BYTES_MAX):
            self._chunk(chunk, last)
        if not self.line:
            raise HistoryError("the file is empty; a history begins with a header line")
        if self.gaps:
            more = f" and at {len(self.gaps) - 3} more places" if len(self.gaps) > 3 else ""
            self.notes.append(f"Records are missing: {', '.join(self.gaps[:3])}{more}.")
        history = History(
            **self.columns.finish(),
            faults=list(self.faults.values()),
            header=self.header,
            place=Places(self.places),
        )
        self._check_footer(history)
        if self.footer is None:
            self._refuse_doubled()
        history.notes = list(self.notes)
        return history

    def place(self, event: int) -> str:
        """Where an event stands: ``line 12``."""
        return Places(self.places)(event)

    def _chunk(self, chunk: bytes, last: bool) -> None:
        """Consume whole lines; the last of the file may lack its end."""
        if self.line == 0:
            head, _, chunk = chunk.partition(b"\n")
            self._header(head)
        if self.footer is not None and chunk.strip():
            raise HistoryError("there are records after the footer", place=self._next())
        if last and chunk and not chunk.endswith(b"\n"):
            whole, _, tail = chunk.rpartition(b"\n")
            self._lines(whole + b"\n" if whole else b"")
            self._tail(tail)
        else:
            self._lines(chunk)

    def _next(self, ahead: int = 1) -> str:
        return f"line {self.line + ahead}"

    def _header(self, head: bytes) -> None:
        try:
            header = msgspec.json.decode(head)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            header = None
        if not isinstance(header, dict) or "format" not in header:
            raise HistoryError(
                'the first line is no header; a history begins with {"format":"history/1",...}',
                place="line 1",
            )
        if header["format"] != FORMAT:
            raise HistoryError(
                f"the format is {header['format']!r}, and this reader knows {FORMAT!r}; the file "
                "may be of a newer version",
                place="line 1",
            )
        self.header = header
        self.digest.update(head + b"\n")
        self.line = 1

    def _tail(self, tail: bytes) -> None:
        """A last line without its end: whole if it is JSON, torn if not."""
        try:
            msgspec.json.decode(tail)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if self.footer is not None:
                raise HistoryError("there are bytes after the footer", place=self._next()) from None
            self.notes.append(
                f"The last line (line {self.line + 1}) was torn after {len(tail)} bytes and is cut."
            )
            return
        self._chunk(tail + b"\n", False)

    def _lines(self, chunk: bytes) -> None:
        """Consume lines that all have their end."""
        if not chunk:
            return
        try:
            records = _records.decode_lines(chunk)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._locate(chunk)
            raise
        count = chunk.count(b"\n")
        kinds = {record.type for record in records}
        if len(records) == count and kinds <= {"invoke", "ok", "fail", "info"}:
            self._numbers([record.i for record in records], self.line + 1)
            self.places.append((self.columns.count, self.line + 1))
            self._take(records)
            self.digest.update(chunk)
            self.line += count
        else:
            self._mixed(chunk)

    def _refuse_doubled(self) -> None:
        """Refuse a record that has a field twice: the one that is meant is unknown.

        Asked only of a file without a footer, whose digest shows who wrote it. Counting the names
        of fields rules it out in passing, unless values hold such names too.
        """
        events = self.columns.count
        valued = sum(value is not None for value in self.columns.values)
        counts = dict.fromkeys((b'"type"', b'"p"', b'"f"', b'"v"', b'"v":null'), 0)
        for chunk, _ in files.chunks(self.path, LINE_BYTES_MAX):
            for name in counts:
                counts[name] += chunk.count(name)
        counts[b'"v"'] -= counts.pop(b'"v":null')
        if list(counts.values()) != [events, events, events, valued]:
            self._find_doubled()

    def _find_doubled(self) -> None:
        line = 1
        for chunk, _ in files.chunks(self.path, LINE_BYTES_MAX):
            for match in _DOUBLED.finditer(chunk):
                begin = chunk.rfind(b"\n", 0, match.start()) + 1
                end = chunk.find(b"\n", match.start())
                name = doubled(chunk[begin : end if end >= 0 else len(chunk)])
                if name is not None:
                    number = line + chunk.count(b"\n", 0, begin)
                    message = f"the record has {name!r} twice"
                    raise HistoryError(message, place=f"line {number}")
            line += chunk.count(b"\n")

    def _mixed(self, chunk: bytes) -> None:
        """A chunk with blank lines, faults or the footer in it: line by line."""
        events: list[Record] = []
        lines: list[int] = []
        for text in _ends(chunk):
            if self.footer is not None and text.strip():
                raise HistoryError("there are records after the footer", place=self._next())
            record = self._one(text)
            self.line += 1
            if record is not None and record.type == "footer":
                self.footer = self._footer(text)
                continue
            self.digest.update(text)
            if record is None:
                continue
            self._number(record.i, self.line)
            if record.type == "fault":
                self._fault(text)
            else:
                events.append(record)
                lines.append(self.line)
        if events:
            self.places.append((self.columns.count, lines))
            self._take(events)

    def _one(self, text: bytes) -> Record | None:
        """One line's record; None for a blank line."""
        if not text.strip():
            return None
        try:
            record = _records.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HistoryError(_what(text, error), place=self._next()) from None
        if record.type is None:
            raise HistoryError("the record has no type", place=self._next())
        return record

    def _take(self, records: list[Record]) -> None:
        self.columns.extend(
            types=[record.type or "" for record in records],
            processes=[record.p for record in records],
            functions=[record.f for record in records],
            keys=[record.k for record in records],
            times_ns=[record.t for record in records],
            values=[record.v for record in records],
            nodes=[record.node for record in records],
            errors=[record.error for record in records],
        )

    def _numbers(self, numbers: list[int], line: int) -> None:
        """Check the record numbers of consecutive lines; usually they just count on."""
        first = self.number + 1
        if numbers == list(range(first, first + len(numbers))):
            self.number = numbers[-1] if numbers else self.number
            return
        for ahead, number in enumerate(numbers):
            self._number(number, line + ahead)

    def _number(self, number: int, line: int) -> None:
        """Record numbers ascend; a gap is said; a file without numbers is as good."""
        if number == -1:
            return
        if number <= self.number:
            raise HistoryError(
                f"record {number} follows record {self.number}; lines are doubled or out of order",
                place=f"line {line}",
            )
        if number > self.number + 1:
            self.gaps.append(f"{number - self.number - 1} before line {line}")
        self.number = number

    def _fault(self, text: bytes) -> None:
        place = f"line {self.line}"
        try:
            record = _faults.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HistoryError(_what(text, error), place=place) from None
        found = self.faults.get(record.id)
        if record.phase == "begin":
            if found is not None:
                raise HistoryError(f"fault {record.id} begins twice", place=place)
            found = Fault(record.id, record.f, record.t, value=record.v, nodes=record.nodes or [])
            self.faults[record.id] = found
        elif found is None:
            raise HistoryError(f"fault {record.id} ends but never began", place=place)
        elif found.end_ns >= 0:
            raise HistoryError(f"fault {record.id} ends twice", place=place)
        else:
            found.end_ns = record.t
            found.value = found.value if record.v is None else record.v
        found.outcome = record.outcome or found.outcome
        found.evidence = record.evidence or found.evidence

    def _footer(self, text: bytes) -> Footer:
        try:
            return _footers.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HistoryError(_what(text, error), place=f"line {self.line}") from None

    def _check_footer(self, history: History) -> None:
        """Compare the footer's digest and counts with what was read."""
        place = f"line {self.line}"
        if self.footer is None:
            self.notes.append("The footer is missing: the run did not end, or the file is cut.")
            return
        found = f"sha256:{self.digest.hexdigest()}"
        if found != self.footer.digest:
            raise HistoryError(
                f"the footer's digest {self.footer.digest[:19]}... is not that of the lines before "
                f"it, {found[:19]}...; the file was changed after it was written",
                place=place,
            )
        counts = {"events": len(history), "faults": len(self.faults)}
        counts |= {name: history.count(name) for name in ("ok", "fail", "info")}
        for name, count in counts.items():
            if getattr(self.footer, name) != count:
                raise HistoryError(
                    f"the footer counts {getattr(self.footer, name)} {name} where the file has "
                    f"{count}",
                    place=place,
                )

    def _locate(self, chunk: bytes) -> None:
        """Raise for the first bad line of a chunk that does not decode."""
        for text in _ends(chunk):
            self._one(text)
            self.line += 1


def doubled(text: bytes) -> str | None:
    """The first field that a JSON object has twice, if any; values are not looked into."""
    pairs: list[tuple[str, object]] = []

    def keep(found: list[tuple[str, object]]) -> object:
        pairs[:] = found  # the outermost object comes last
        return None

    try:
        json.loads(text, object_pairs_hook=keep)
    except (ValueError, RecursionError):
        return None
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    return None


def _ends(chunk: bytes) -> Iterator[bytes]:
    """Lines with their ends, split at newlines only."""
    lines = chunk.split(b"\n")
    last = lines.pop()
    yield from (line + b"\n" for line in lines)
    if last:
        yield last


def _what(text: bytes, error: Exception) -> str:
    """The error of a line, with its beginning."""
    start = text[:60].decode("utf-8", "replace").rstrip()
    more = "..." if len(text) > 61 else ""
    return f"no record of a history: {str(error).split(' (byte')[0]}, in {start!r}{more}"


load = read_jsonl
