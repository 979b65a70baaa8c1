"""Writing our own format as a run happens; the format itself is described in `jsonl`.

Every record is encoded when it is recorded, so that a value changed later is kept as it was, and
handed to the kernel by :meth:`HistoryWriter.flush`, whole lines at a time.

For the harness's recorder.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Literal

import msgspec

from checkers.history.errors import HistoryError
from checkers.history.history import History
from checkers.history.jsonl_records import FORMAT, FaultRecord, Footer, Record
from checkers.history.op import Event, Fault

#: The writer hands its buffer to the kernel by itself beyond this.
BUFFER_BYTES_MAX = 1 << 20

_encoder = msgspec.json.Encoder()


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

    def __init__(self, path: str | os.PathLike[str], header: dict[str, object]) -> None:
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
        key: object = None,
        value: object = None,
        node: str | None = None,
        error: object = None,
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
        value: object = None,
        nodes: list[str] | None = None,
        id: int | None = None,
        outcome: str | None = None,
        evidence: dict[str, object] | None = None,
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
        value: object = None,
        outcome: str | None = None,
        evidence: dict[str, object] | None = None,
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


def _without(header: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in header.items() if key != name}


def _encode(record: object, what: str) -> bytes:
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
