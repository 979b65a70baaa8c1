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

For the harness's recorder (writer), :func:`checkers.history.load` (reader) and reports.
"""

from __future__ import annotations

import bisect
import gc
import hashlib
import os
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from checkers.history.columns import Columns
from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.op import Event, Fault

FORMAT = "history/1"

#: Bytes decoded at once: large enough to amortise, small enough that locating an error is quick.
CHUNK_BYTES = 1 << 20

#: No honest record is longer. It bounds the memory a file without line ends can take.
LINE_BYTES_MAX = 64 << 20

#: The writer hands its buffer to the kernel by itself beyond this.
BUFFER_BYTES_MAX = 1 << 20

Kind = Literal["invoke", "ok", "fail", "info", "fault", "footer"]


class Record(msgspec.Struct, gc=False, omit_defaults=True):
    """One event line. The field order is the file's, which makes decoding several times faster."""

    i: int = -1
    t: int = -1
    p: int | str | None = None
    type: Kind | None = None
    f: str | None = None
    k: Any = None
    v: Any = None
    node: str | None = None
    error: Any = None


class FaultRecord(msgspec.Struct, omit_defaults=True):
    """One fault line, begin or end."""

    i: int
    t: int
    type: Literal["fault"]
    f: str
    phase: Literal["begin", "end"]
    id: int
    v: Any = None
    nodes: list[str] | None = None
    outcome: str | None = None
    evidence: dict[str, Any] | None = None


class Footer(msgspec.Struct):
    """The last line: counts of events, faults and outcomes, and a digest of all bytes before."""

    type: Literal["footer"]
    events: int
    faults: int
    ok: int
    fail: int
    info: int
    digest: str


_records = msgspec.json.Decoder(Record)
_faults = msgspec.json.Decoder(FaultRecord)
_footers = msgspec.json.Decoder(Footer)
_encoder = msgspec.json.Encoder()


# Writing ------------------------------------------------------------------------------------------


class HistoryWriter:
    """Appends a history as it happens. Use it from one thread; flush it every few milliseconds.

    What :meth:`flush` returned from is in the kernel: SIGKILL of this process loses none of it.
    As a context manager it writes the footer on success, and on an exception only flushes, so that
    the reader will say that the run did not end.

    Args:
        path: the file; it must not exist.
        header: ``test``, ``seed``, ``started``, ``nodes`` and what else a reader should know;
            ``format`` is added.

    Raises:
        FileExistsError: a history is never overwritten.
    """

    def __init__(self, path: str | os.PathLike[str], header: dict[str, Any]) -> None:
        self.path = os.fspath(path)
        self.counts = {"invoke": 0, "ok": 0, "fail": 0, "info": 0}
        self.faults = 0
        self._records = 0
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        first = _encode({"format": FORMAT, **_without(header, "format")}, "header")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(self.path, flags, 0o644)
        self._append(first)

    def event(
        self,
        type: Literal["invoke", "ok", "fail", "info"],
        process: int | str,
        f: str,
        *,
        time_ns: int,
        key: Any = None,
        value: Any = None,
        node: str | None = None,
        error: Any = None,
    ) -> int:
        """Record an invocation or completion; returns its record number.

        Args:
            type: what happened.
            process: who did it.
            f: the operation's name.
            time_ns: nanoseconds since the start of the run.
            key: the object it is on, if there is more than one.
            value: argument or result: numbers, strings, booleans, lists and dicts. Tuples and sets
                come back as lists, and not-a-number as null.
            node: the node asked.
            error: why it failed or is unknown.

        Raises:
            HistoryError: the value cannot be written as JSON; nothing was recorded.
        """
        number = self._records
        record = Record(number, time_ns, process, type, f, key, value, node, error)
        line = _encode(record, f"{type} {f}")
        self.counts[type] += 1
        self._records += 1
        self._append(line)
        return number

    def fault_begin(
        self,
        f: str,
        *,
        time_ns: int,
        value: Any = None,
        nodes: list[str] | None = None,
        id: int | None = None,
        outcome: str | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> int:
        """Record that a fault began; returns its id, counted from 1 unless given.

        A fault which could not be injected has the outcome ``skipped`` and no end.
        """
        number = self.faults + 1 if id is None else id
        rest = {"v": value, "nodes": nodes, "outcome": outcome, "evidence": evidence}
        self._fault("begin", f, number, time_ns, **rest)
        self.faults += 1
        return number

    def fault_end(
        self,
        id: int,
        f: str,
        *,
        time_ns: int,
        value: Any = None,
        outcome: str | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> None:
        """Record that the fault ``id`` was healed, with what it proved to have done."""
        self._fault("end", f, id, time_ns, v=value, outcome=outcome, evidence=evidence)

    def _fault(
        self, phase: Literal["begin", "end"], f: str, id: int, time_ns: int, **rest: Any
    ) -> None:
        record = FaultRecord(self._records, time_ns, "fault", f, phase, id, **rest)
        line = _encode(record, f"fault {f}")
        self._records += 1
        self._append(line)

    def _append(self, line: bytes) -> None:
        self._buffer += line
        self._buffer += b"\n"
        if len(self._buffer) > BUFFER_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system."""
        while self._buffer:
            written = os.write(self._file, self._buffer)
            self._digest.update(self._buffer[:written])
            del self._buffer[:written]

    def close(self) -> None:
        """Write the footer, make the file durable and close it. Closing twice does nothing."""
        if self._file < 0:
            return
        self.flush()
        outcomes = {name: self.counts[name] for name in ("ok", "fail", "info")}
        digest = f"sha256:{self._digest.hexdigest()}"
        footer = Footer("footer", sum(self.counts.values()), self.faults, **outcomes, digest=digest)
        self._append(_encode(footer, "footer"))
        self.flush()
        os.fsync(self._file)
        self.abandon()

    def abandon(self) -> None:
        """Flush and close without a footer: the run did not end as it should."""
        if self._file < 0:
            return
        self.flush()
        os.close(self._file)
        self._file = -1

    def __enter__(self) -> HistoryWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def _without(header: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in header.items() if key != name}


def _encode(record: Any, what: str) -> bytes:
    """One JSON line.

    Raises:
        HistoryError: something in it is no JSON.
    """
    try:
        return _encoder.encode(record)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise HistoryError(f"{what} cannot be written as JSON: {error}") from error


def write_jsonl(history: History, path: str | os.PathLike[str]) -> None:
    """Write a whole history in our format; the file must not exist."""
    header = _without(history.header, "origin")
    with HistoryWriter(path, header) as writer:
        edges = [(fault.begin_ns, 0, n) for n, fault in enumerate(history.faults)]
        edges += [(f.end_ns, 1, n) for n, f in enumerate(history.faults) if f.end_ns >= 0]
        edges.sort(reverse=True)
        for event in history.events():
            while edges and edges[-1][0] <= event.time_ns:
                _write_fault(writer, history.faults[edges[-1][2]], edges.pop()[1])
            _write_event(writer, event)
        while edges:
            _write_fault(writer, history.faults[edges[-1][2]], edges.pop()[1])


def _write_event(writer: HistoryWriter, event: Event) -> None:
    writer.event(
        event.type,  # type: ignore[arg-type]
        event.process,
        event.f,
        time_ns=event.time_ns,
        key=event.key,
        value=event.value,
        node=event.node,
        error=event.error,
    )


def _write_fault(writer: HistoryWriter, fault: Fault, ends: int) -> None:
    proof = {"outcome": fault.outcome, "evidence": fault.evidence or None}
    if ends:
        writer.fault_end(fault.id, fault.f, time_ns=fault.end_ns, **proof)  # type: ignore[arg-type]
        return
    writer.fault_begin(
        fault.f,
        time_ns=fault.begin_ns,
        value=fault.value,
        nodes=fault.nodes or None,
        id=fault.id,
        outcome=fault.outcome if fault.end_ns < 0 else None,
        evidence=fault.evidence or None if fault.end_ns < 0 else None,
    )


# Reading ------------------------------------------------------------------------------------------


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
    enabled = gc.isenabled()
    gc.disable()  # a million small lists would be walked again and again
    try:
        return _Reader(os.fspath(path)).read()
    except HistoryError as error:
        raise error.at(os.fspath(path)) from None
    finally:
        if enabled:
            gc.enable()


class _Reader:
    """Reads one file: columns, faults, footer, and which line each event stands on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.line = 0  # lines consumed so far
        self.digest = hashlib.sha256()
        self.header: dict[str, Any] = {}
        self.footer: Footer | None = None
        self.notes: list[str] = []
        self.faults: dict[int, Fault] = {}
        self.number = -1  # of the last record
        self.gaps: list[str] = []
        self.columns = Columns(self.place)
        self.places: list[tuple[int, Any]] = []  # (first event, first line or list of lines)

    def read(self) -> History:
        for chunk, last in _line_chunks(self.path):
            self._chunk(chunk, last)
        if not self.line:
            raise HistoryError("the file is empty; a history begins with a header line")
        if self.gaps:
            more = f" and at {len(self.gaps) - 3} more places" if len(self.gaps) > 3 else ""
            self.notes.append(f"Records are missing: {', '.join(self.gaps[:3])}{more}.")
        history = History(
            **self.columns.finish(), faults=list(self.faults.values()), header=self.header
        )
        self._check_footer(history)
        history.notes = list(self.notes)
        return history

    def place(self, event: int) -> str:
        """Where an event stands: ``line 12``."""
        at = bisect.bisect_right(self.places, event, key=lambda entry: entry[0]) - 1
        first, lines = self.places[at]
        line = lines + event - first if isinstance(lines, int) else lines[event - first]
        return f"line {line}"

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


def _ends(chunk: bytes) -> Iterator[bytes]:
    """Lines with their ends, split at newlines only."""
    lines = chunk.split(b"\n")
    last = lines.pop()
    yield from (line + b"\n" for line in lines)
    if last:
        yield last


def _what(text: bytes, error: Exception) -> str:
    """What is wrong with a line, with its beginning."""
    start = text[:60].decode("utf-8", "replace").rstrip()
    more = "..." if len(text) > 61 else ""
    return f"no record of a history: {str(error).split(' (byte')[0]}, in {start!r}{more}"


def _line_chunks(path: str) -> Iterator[tuple[bytes, bool]]:
    """Chunks of whole lines, and whether it is the last; only the last may end without a line end.

    Raises:
        HistoryError: a line longer than :data:`LINE_BYTES_MAX`.
    """
    rest = b""
    with open(path, "rb") as file:
        while block := file.read(CHUNK_BYTES):
            cut = block.rfind(b"\n") + 1
            if cut:
                yield rest + block[:cut], False
                rest = block[cut:]
            else:
                rest += block
            if len(rest) > LINE_BYTES_MAX:
                limit_mb = LINE_BYTES_MAX >> 20
                raise HistoryError(f"a line is longer than {limit_mb} MB; this is no history file")
    if rest:
        yield rest, True


load = read_jsonl
