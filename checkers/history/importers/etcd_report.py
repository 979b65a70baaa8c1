"""The reports of etcd's robustness tests: ``client-1/operations.json``, ``client-1/watch.json`` ...

A report is a folder; the operations of all its clients are one history. A file holds JSON objects
one after another: of requests ``{"ClientId", "Input", "Call", "Output", "Return"}``, with times in
nanoseconds; of watches ``{"Request", "Responses"}``. One such file alone is read, too.

The operations become ``range put delete txn lease-grant lease-revoke compact defragment watch``
(see :mod:`checkers.judges.etcd`). A write whose response is an error may have happened; a read
whose response is one did not. If watchers saw such a put, and no other put had its key and value,
the revision they saw it at is known, and goes to its input as ``at``. Of a watch every response is
an operation of its own, which goes on where the last one ended.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import Any, TypeAlias

import msgspec

from checkers.history import files
from checkers.history.columns import freeze, short
from checkers.history.errors import HistoryError
from checkers.history.history import History

_FOLDER = re.compile(r"client-(\d{1,9})")
_FILES = ("operations.json", "watch.json")
_HEAD = re.compile(rb'\s*+\{\s*+"(?:ClientId|Request)"\s*+:')
_MARKS = (b'"Input"', b'"Responses"', b'"WithPrefix"')

#: etcd's tests keep the hash of a value that is at least this long.
HASHED_BYTES_MIN = 20

#: The order of events of the same time: an invocation comes before a completion.
_BEGIN, _END = 0, 1


class _Value(msgspec.Struct, rename="pascal", frozen=True):
    value: str = ""
    hash: int = 0


class _KeyValue(msgspec.Struct, rename="pascal", frozen=True):
    key: str = ""
    value: _Value = _Value()
    mod_revision: int = 0
    version: int = 0


class _Range(msgspec.Struct, rename="pascal", frozen=True):
    start: str = ""
    end: str = ""
    limit: int = 0
    keys_only: bool = False
    revision: int = 0


class _Put(msgspec.Struct, rename="pascal", frozen=True):
    key: str = ""
    value: _Value = _Value()
    lease: int = msgspec.field(name="LeaseID", default=0)


class _Step(msgspec.Struct, rename="pascal", frozen=True):
    """An operation within a transaction, or an event's type and subject."""

    type: str
    range: _Range = _Range()
    put: _Put = _Put()
    delete: _Put = _Put()


class _Condition(msgspec.Struct, rename="pascal", frozen=True):
    key: str = ""
    expected_revision: int = 0
    expected_version: int = 0


class _Txn(msgspec.Struct, rename="pascal", frozen=True):
    conditions: list[_Condition] | None = None
    operations_on_success: list[_Step] | None = None
    operations_on_failure: list[_Step] | None = None


class _Lease(msgspec.Struct, rename="pascal", frozen=True):
    lease: int = msgspec.field(name="LeaseID", default=0)


class _Compact(msgspec.Struct, rename="pascal", frozen=True):
    revision: int = 0


class _Request(msgspec.Struct, rename="pascal", frozen=True):
    type: str
    range: _Range | None = None
    txn: _Txn | None = None
    lease_grant: _Lease | None = None
    lease_revoke: _Lease | None = None
    compact: _Compact | None = None


class _Found(msgspec.Struct, rename="pascal", frozen=True):
    kvs: list[_KeyValue] | None = msgspec.field(name="KVs", default=None)
    count: int = 0
    deleted: int = 0


class _Done(msgspec.Struct, rename="pascal", frozen=True):
    failure: bool = False
    results: list[_Found] | None = None


class _Response(msgspec.Struct, rename="pascal", frozen=True):
    txn: _Done | None = None
    range: _Found | None = None
    revision: int = 0
    error: str = ""
    client_error: str = ""
    persisted: bool = False
    partial_response: bool = False


class _Operation(msgspec.Struct, rename="pascal", frozen=True):
    client_id: int
    input: _Request
    call: int
    output: _Response
    return_: int = msgspec.field(name="Return")


class _Event(msgspec.Struct, rename="pascal", frozen=True):
    type: str = ""
    key: str = ""
    value: _Value = _Value()
    revision: int = 0


class _WatchRequest(msgspec.Struct, rename="pascal", frozen=True):
    key: str = ""
    revision: int = 0
    with_prefix: bool = False


class _WatchResponse(msgspec.Struct, rename="pascal", frozen=True):
    events: list[_Event] | None = None
    is_progress_notify: bool = False
    revision: int = 0
    time: int = 0
    error: str = ""


class _Watch(msgspec.Struct, rename="pascal", frozen=True):
    request: _WatchRequest
    responses: list[_WatchResponse] | None = None


def is_report(path: str) -> bool:
    """Whether a folder is a report: it has clients' folders with operations or watches in them."""
    try:
        with os.scandir(path) as entries:
            clients = [entry.path for entry in entries if _FOLDER.fullmatch(entry.name)]
    except OSError:
        return False
    return any(os.path.isfile(os.path.join(client, name)) for client in clients for name in _FILES)


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is of such a report."""
    return _HEAD.match(head) is not None and any(mark in head for mark in _MARKS)


def load(path: str) -> History:
    """Load a report, or one file of it.

    Raises:
        HistoryError: a file is no JSON, or not of such a report.
        OSError: it cannot be read.
    """
    report = _Report()
    if not os.path.isdir(path):
        report.file(path, os.path.basename(path), os.path.basename(os.path.dirname(path)))
        report.notes.append("This is one file of a report; the report is the folder above it.")
        return report.history()
    clients = [match for name in os.listdir(path) if (match := _FOLDER.fullmatch(name))]
    for client in sorted(clients, key=lambda match: int(match[1])):
        for name in _FILES:
            place = os.path.join(client[0], name)
            if os.path.isfile(os.path.join(path, place)):
                report.file(os.path.join(path, place), place, client[0])
    return report.history()


#: type, process, f, value, error, place
_Row: TypeAlias = tuple[str, int | str, str, object, str | None, str]


class _Report:
    """Requests and watches of all clients, as they are read."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.requests: list[tuple[_Operation, str]] = []
        self.clients: dict[int, set[str]] = {}  # in which folders a number is used
        self.watches: list[tuple[_Watch, str, str]] = []  # with the watcher's name
        #: time, order at that time, number, and the event
        self.events: list[tuple[int, int, int, _Row]] = []

    def file(self, path: str, place: str, client: str) -> None:
        """Read one file.

        Args:
            path: the file.
            place: its name in errors.
            client: its client's name.

        Raises:
            HistoryError: it is not of such a report.
        """
        for number, found in enumerate(self._objects(path, place), 1):
            where = f"{place}, object {number}"
            try:
                if isinstance(found, dict) and found.keys() & {"Request", "Responses"}:
                    watch = msgspec.convert(found, _Watch)
                    self.watches.append((watch, f"{client or 'client'} watch {number}", where))
                else:
                    operation = msgspec.convert(found, _Operation)
                    self.requests.append((operation, where))
                    self.clients.setdefault(operation.client_id, set()).add(client)
            except (msgspec.ValidationError, TypeError) as error:
                raise HistoryError(f"no operation of etcd's tests: {error}", place=where) from None

    def _objects(self, path: str, place: str) -> list[object]:
        text = files.whole(path, b"{").decode("utf-8", "surrogateescape")
        decoder = json.JSONDecoder(parse_constant=_refuse_constant)
        found: list[object] = []
        at = 0
        while start := re.compile(r"\s*+(?=\S)").match(text, at):
            try:
                value, at = decoder.raw_decode(text, start.end())
            except (ValueError, RecursionError) as error:
                line = f"{place}, line {text.count(chr(10), 0, start.end()) + 1}"
                # Another object behind this one: it is damaged, and not cut.
                if not found or re.compile(r"\n\{").search(text, start.end()):
                    said = str(error).split(": line")[0]
                    raise HistoryError(f"bad JSON: {said}", place=line) from None
                self.notes.append(files.cut_note(line))
                break
            found.append(value)
        return found

    def history(self) -> History:
        """The history of the operations read.

        Raises:
            HistoryError: a client's operations overlap, or there are none.
        """
        pinned = self._pinned()
        for operation, where in self.requests:
            self._request(operation, where, pinned)
        for watch, name, where in self.watches:
            self._watch(watch, name, where)
        if not self.events:
            raise HistoryError("the report holds no operations")
        rows = [event for *_, event in sorted(self.events, key=lambda entry: entry[:3])]
        return History.from_columns(
            types=[row[0] for row in rows],
            processes=[row[1] for row in rows],
            functions=[row[2] for row in rows],
            keys=[None] * len(rows),
            times_ns=sorted(entry[0] for entry in self.events),
            values=[row[3] for row in rows],
            errors=[row[4] for row in rows],
            header={"model": "etcd"},
            notes=self.notes,
            place=lambda event: str(rows[event][5]),
        )

    def _pinned(self) -> dict[tuple[str, object], int]:
        """Revisions of puts as watchers saw them, of keys and values that were put but once."""
        puts = Counter(
            (step.put.key, freeze(_plain(step.put.value)))
            for operation, _ in self.requests
            for step in _steps(operation.input.txn)
            if step.type == "put-operation"
        )
        seen: dict[tuple[str, object], set[int]] = {}
        for watch, *_ in self.watches:
            for response in watch.responses or []:
                for event in response.events or []:
                    key_and_value = (event.key, freeze(_plain(event.value)))
                    if event.type == "put-operation" and puts[key_and_value] == 1:
                        seen.setdefault(key_and_value, set()).add(event.revision)
        return {key_and_value: next(iter(at)) for key_and_value, at in seen.items() if len(at) == 1}

    def _add(self, time: int, order: int, *event: *_Row) -> None:
        self.events.append((time, order, len(self.events), event))

    def _request(self, op: _Operation, where: str, pinned: dict[tuple[str, object], int]) -> None:
        f, asked = _asked(op.input, where)
        said, process = op.output, self._process(op.client_id, where)
        error: str | None = said.error or said.client_error
        unknown = said.error or said.persisted or said.partial_response
        reads = f == "range" or (f == "txn" and not _writes(asked))
        if unknown and f == "put" and "lease" not in asked:
            at = pinned.get((asked["key"], freeze(asked["value"])))
            asked |= {} if at is None else {"at": at}
        kind = "ok" if not error and not unknown else "fail" if reads or not unknown else "info"
        answer = _answer(f, asked, said) if kind == "ok" else asked
        if op.return_ < op.call:
            raise HistoryError(f"it returns at {op.return_}, before its call", place=where)
        self._add(op.call, _BEGIN, "invoke", process, f, asked, None, where)
        if not unknown or reads:
            error = error or None
            self._add(op.return_, _END, kind, process, f, answer, error, where)
        else:
            error = error or "its response was not seen"
            self._add(op.return_, _END, "info", process, f, asked, error, where)

    def _process(self, client: int, where: str) -> int | str:
        """The number of a client; with its folder where several use it."""
        alone = len(self.clients[client]) == 1
        return client if alone else f"{os.path.dirname(where)} number {client}"

    def _watch(self, watch: _Watch, name: str, where: str) -> None:
        asked: dict[str, object] = {"watcher": name}
        asked["prefix" if watch.request.with_prefix else "key"] = watch.request.key
        if watch.request.revision:
            asked["from"] = watch.request.revision
        for response in watch.responses or []:
            events = [_event(event) for event in response.events or []]
            if not events and not response.is_progress_notify:
                continue  # it was created, or ended
            output: dict[str, object] = {"events": events}
            if response.is_progress_notify:
                output["revision"] = response.revision
            self._add(response.time, _END, "invoke", name, "watch", asked, None, where)
            self._add(
                response.time, _END, "ok", name, "watch", output, response.error or None, where
            )
            asked = {word: value for word, value in asked.items() if word != "from"}


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _plain(value: _Value) -> object:
    """A value as text, or as its hash where it is long."""
    data = value.value.encode("utf-8", "surrogatepass")
    if len(data) < HASHED_BYTES_MIN and not value.hash:
        return value.value
    code = 0x811C9DC5  # FNV-1a, 32 bits
    for byte in data:
        code = ((code ^ byte) * 0x01000193) & 0xFFFFFFFF
    return {"hash": code if data else value.hash}


def _steps(txn: _Txn | None) -> list[_Step]:
    if txn is None:
        return []
    return [*(txn.operations_on_success or []), *(txn.operations_on_failure or [])]


def _writes(asked: dict[str, Any]) -> bool:
    return any(step["f"] != "range" for step in [*asked["then"], *asked["else"]])


def _asked(request: _Request, where: str) -> tuple[str, dict[str, Any]]:
    """A request as function and input.

    Raises:
        HistoryError: it is of no known type, or lacks what its type needs.
    """
    if request.type == "range" and request.range is not None:
        return "range", _range(request.range)
    if request.type == "txn" and request.txn is not None:
        txn = request.txn
        then = [_step(step, where) for step in txn.operations_on_success or []]
        other = [_step(step, where) for step in txn.operations_on_failure or []]
        tests = [
            [c.key, "version", c.expected_version] if c.expected_version else
            [c.key, "revision", c.expected_revision]
            for c in txn.conditions or []
        ]  # fmt: skip
        if len(then) == 1 and not other and not tests and then[0]["f"] != "range":
            return then[0].pop("f"), then[0]
        return "txn", {"if": tests, "then": then, "else": other}
    if request.type in ("leaseGrant", "leaseRevoke"):
        lease = request.lease_grant if request.type == "leaseGrant" else request.lease_revoke
        f = "lease-grant" if request.type == "leaseGrant" else "lease-revoke"
        return f, {"lease": lease.lease if lease else 0}
    if request.type == "compact":
        return "compact", {"revision": request.compact.revision if request.compact else 0}
    if request.type == "defragment":
        return "defragment", {}
    raise HistoryError(f"{short(request.type)} is no request of etcd's tests", place=where)


def _range(asked: _Range) -> dict[str, object]:
    said: dict[str, object] = {"start": asked.start}
    said |= {"end": asked.end} if asked.end else {}
    said |= {"limit": asked.limit} if asked.limit else {}
    said |= {"keys-only": True} if asked.keys_only else {}
    return said | ({"revision": asked.revision} if asked.revision else {})


def _step(step: _Step, where: str) -> dict[str, Any]:
    if step.type == "range-operation":
        return {"f": "range", **_range(step.range)}
    if step.type == "put-operation":
        lease = {"lease": step.put.lease} if step.put.lease else {}
        return {"f": "put", "key": step.put.key, "value": _plain(step.put.value), **lease}
    if step.type == "delete-operation":
        return {"f": "delete", "key": step.delete.key}
    raise HistoryError(f"{short(step.type)} is no operation of a transaction", place=where)


def _answer(f: str, asked: dict[str, Any], said: _Response) -> dict[str, Any]:
    """A response as output; what a version of the format does not tell is left out."""
    output: dict[str, Any] = {"revision": said.revision} if said.revision > 0 else {}
    if f == "range":
        return output | _found(said.range or _Found())
    results = (said.txn.results if said.txn else None) or []
    if f == "delete" and results:
        output["deleted"] = results[0].deleted
    elif f == "txn":
        failed = said.txn is not None and said.txn.failure
        steps = asked["else"] if failed else asked["then"]
        output["failed"] = failed
        output["results"] = [
            _found(result) if step["f"] == "range" else
            {"deleted": result.deleted} if step["f"] == "delete" else {}
            for step, result in zip(steps, results)
        ]  # fmt: skip
    return output


def _found(found: _Found) -> dict[str, object]:
    kvs = [[kv.key, _plain(kv.value), kv.mod_revision, kv.version] for kv in found.kvs or []]
    return {"kvs": kvs, "count": found.count}


def _event(event: _Event) -> dict[str, object]:
    output: dict[str, object] = {"revision": event.revision, "key": event.key}
    if event.type == "delete-operation":
        return {"type": "delete", **output}
    return output | {"value": _plain(event.value)}
