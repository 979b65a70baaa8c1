"""Watches: every committed change once, in order, without gaps, and nothing else.

Vocabulary: ``watch`` (input: ``{"from": r}``, the first revision wanted, perhaps with ``"key"`` or
``"prefix"`` of what is watched and the ``"watcher"``'s name, else the process is the watcher;
output: the list of events received, or ``{"events": [...], "revision": r}``, r being a revision up
to which the watcher was told everything). An event is ``{"revision": r, "key": k, "value": v}``,
with ``"type": "delete"`` for a deletion, or a list ``[r, k, v]``. Writes are ``put write delete cas
append increment txn`` (input: the value; output: ``{"revision": r}`` or r); the key is the event's
key. A delete whose output says ``"deleted": 1`` made an event; any other may have found nothing.

Watchers that receive over several operations go on with ``from`` one after the last event: such
operations are one stream. Judged are:

- *ordered*: within a stream revisions do not decrease (one transaction may change several keys at
  one revision);
- *no duplicates*: no key's change at one revision comes twice in a stream, a resumed one included;
- *gap-free*: between the first revision asked for and the last one received, every change is there
  that an acknowledged write or any other watcher of the key proves;
- *committed only*: watchers agree on what a revision did; no event tells of a value that no write
  may have written, or at another revision than the write was acknowledged with;
- *bookmarks keep*: with ``revision`` r, everything up to r is there;
- *resumable*: a watch that asks to resume must not be told of what lies before ``from``.

Source: the watch validation of etcd's robustness tests; the State Watch pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from checkers.budget import Meter
from checkers.checker import Checker
from checkers.findings import Judgement, Row, Spent, at, make, refuse, rows, token, who
from checkers.history import FAIL, OK, History
from checkers.verdict import Because, Finding

WRITES = frozenset(
    ("put", "write", "set", "delete", "cas", "append", "increment", "txn", "create", "update")
)
#: Of these the value written is the input itself, so that an event's value can be compared.
PLAIN_WRITES = frozenset(("put", "write", "set", "create", "update"))


class Change(NamedTuple):
    """One change as an event tells it."""

    revision: int
    key: Any  # token
    value: Any  # token
    deleted: bool


@dataclass
class Stream:
    """What one watcher received, over all its operations."""

    watcher: Any
    filter: Any
    start: int  # the first revision asked for
    told: int  # everything up to here should have come
    ops: list[int] = field(default_factory=list)
    changes: list[tuple[Change, int]] = field(default_factory=list)  # with the operation


@dataclass
class Write:
    """A write that may have happened."""

    invoke: int
    key: Any
    value: Any
    plain: bool
    changed: bool  # whether it certainly made an event at its revision
    revision: int = -1


def watch() -> Checker:
    """The checker ``watch``."""
    return make(
        "watch",
        _judge,
        vocabulary=WRITES | {"watch"},
        keyed=False,
        trivial=("put", "delete"),
    )


def _judge(history: History, meter: Meter) -> Judgement:
    streams, writes = _gather(history, meter)
    findings: list[Finding] = []
    for stream in streams:
        findings += _order(history, stream)
    agreed, disagreements = _agree(history, streams)
    findings += disagreements
    findings += _committed(history, agreed, writes)
    findings += _gaps(history, streams, agreed, writes, meter)
    received = sum(len(stream.changes) for stream in streams)
    return Judgement(
        findings=findings,
        checked=received,
        evidence=f"{len(streams)} watchers received {received} events in order and without gaps",
        missing="no watcher received an event",
        stats={
            "streams": len(streams),
            "events": received,
            "revisions": len({revision for revision, _ in agreed}),
            "writes": len(writes),
        },
    )


# Reading the history ------------------------------------------------------------------------------


def _gather(history: History, meter: Meter) -> tuple[list[Stream], list[Write]]:
    streams: list[Stream] = []
    current: dict[Any, Stream] = {}
    writes: list[Write] = []
    for row in rows(history, meter):
        if row.f == "watch" and row.outcome == OK:
            _watch(history, row, streams, current)
        elif row.f in WRITES and row.outcome != FAIL:
            code = int(history.key[row.invoke])
            key = token(history.keys[code]) if code >= 0 else None
            changed = row.f != "delete" or _deleted(row.output)
            write = Write(row.invoke, key, token(row.input), row.f in PLAIN_WRITES, changed)
            write.revision = _revision(row.output)
            writes.append(write)
    return streams, writes


def _deleted(output: Any) -> bool:
    """Whether a delete says that there was something to delete."""
    return isinstance(output, dict) and bool(output.get("deleted"))


def _revision(output: Any) -> int:
    found = output.get("revision") if isinstance(output, dict) else output
    return found if type(found) is int else -1


def _watch(history: History, row: Row, streams: list[Stream], current: dict[Any, Stream]) -> None:
    asked = row.input if isinstance(row.input, dict) else {"from": row.input}
    code = int(history.key[row.invoke])
    watched = asked.get("key", history.keys[code] if code >= 0 else None)
    filter = ("prefix", asked["prefix"]) if asked.get("prefix") is not None else ("key", watched)
    name = (token(asked.get("watcher", who(history, row.invoke))), token(list(filter)))
    changes, told = _events(history, row)
    start = asked.get("from")
    if start is not None and type(start) is not int:
        raise refuse(history, row.invoke, f"from must be a revision, not {start!r}")
    stream = current.get(name)
    if stream is None or (start is not None and start != stream.told + 1):
        first = changes[0].revision if changes else told
        stream = Stream(name[0], filter, first if start is None else start, -1)
        stream.told = stream.start - 1
        streams.append(stream)
        current[name] = stream
    stream.ops.append(row.invoke)
    stream.changes += [(change, row.invoke) for change in changes]
    last = max((change.revision for change in changes), default=-1)
    stream.told = max(stream.told, last, told)


def _events(history: History, row: Row) -> tuple[list[Change], int]:
    found, told = row.output, -1
    if isinstance(found, dict):
        told = _revision(found)
        found = found.get("events")
    if not isinstance(found, list):
        raise refuse(history, row.complete, f"a watch gives a list of events, not {found!r}")
    return [_change(history, row.complete, event) for event in found], told


def _change(history: History, index: int, event: Any) -> Change:
    if isinstance(event, dict):
        revision, key = event.get("revision"), event.get("key")
        value, deleted = event.get("value"), event.get("type") == "delete"
    elif isinstance(event, list) and len(event) == 3:
        revision, key, value = event
        deleted = False
    else:
        revision = None
    if type(revision) is not int:
        raise refuse(history, index, f"an event is [revision, key, value], not {str(event)[:60]}")
    return Change(revision, token(key), None if deleted else token(value), deleted)


# Judging ------------------------------------------------------------------------------------------


def _order(history: History, stream: Stream) -> list[Finding]:
    """Events of one stream that go backwards, come twice, or precede what was asked for."""
    findings = []
    last: tuple[Change, int] | None = None
    seen: dict[tuple[int, Any], int] = {}
    for change, op in stream.changes:
        where = (change.revision, change.key)
        if where in seen:
            why = f"came twice, first in the watch at {at(history, seen[where])}"
            findings.append(
                _finding(history, "duplicate-event", stream, change, why, [op, seen[where]])
            )
        elif last is not None and change.revision < last[0].revision:
            why = f"came after revision {last[0].revision}"
            findings.append(_finding(history, "out-of-order", stream, change, why, [last[1], op]))
        elif change.revision < stream.start:
            why = f"came although the watch was from revision {stream.start}"
            findings.append(_finding(history, "before-start", stream, change, why, [op]))
        seen.setdefault(where, op)
        if last is None or change.revision >= last[0].revision:
            last = (change, op)
    return findings


Agreed = dict[tuple[int, Any], tuple[Change, int, Stream]]


def _agree(history: History, streams: list[Stream]) -> tuple[Agreed, list[Finding]]:
    """What each (revision, key) was, as the first watcher was told, and who was told otherwise."""
    agreed: Agreed = {}
    findings = []
    for stream in streams:
        for change, op in stream.changes:
            first = agreed.setdefault((change.revision, change.key), (change, op, stream))
            if first[0] != change:
                why = f"told of {_shown(change)}, another watcher of {_shown(first[0])}"
                findings.append(
                    _finding(history, "disagreement", stream, change, why, [first[1], op])
                )
    return agreed, findings


def _committed(history: History, agreed: Agreed, writes: list[Write]) -> list[Finding]:
    """Events that no write explains."""
    by_key: dict[Any, set[Any]] = {}
    opaque = {write.key for write in writes if not write.plain or write.key is None}
    revisions: dict[Any, dict[Any, Write]] = {}
    for write in writes:
        by_key.setdefault(write.key, set()).add(write.value)
        if write.plain and write.revision >= 0:
            revisions.setdefault(write.key, {})[write.value] = write
    findings = []
    for (revision, key), (change, op, stream) in agreed.items():
        if change.deleted:
            continue
        known = revisions.get(key, {}).get(change.value)
        blind = not writes or None in opaque or key in opaque
        if not blind and change.value not in by_key.get(key, set()):
            why = "tells of a value that no write may have written"
            findings.append(_finding(history, "uncommitted-event", stream, change, why, [op]))
        elif known is not None and known.revision != revision and _once(writes, known):
            why = f"is of a write that was acknowledged at revision {known.revision}"
            ops = [known.invoke, op]
            findings.append(_finding(history, "wrong-revision", stream, change, why, ops))
    return findings


def _once(writes: list[Write], write: Write) -> bool:
    """Whether no other write wrote the same value to the same key."""
    same = (w for w in writes if (w.key, w.value) == (write.key, write.value))
    return sum(1 for _ in same) == 1


def _gaps(
    history: History, streams: list[Stream], agreed: Agreed, writes: list[Write], meter: Meter
) -> list[Finding]:
    """Changes proved by a write or another watcher that a stream lacks."""
    proofs: dict[tuple[int, Any], int] = {where: op for where, (_, op, _) in agreed.items()}
    for write in writes:
        if write.revision >= 0 and write.key is not None and write.changed:
            proofs.setdefault((write.revision, write.key), write.invoke)
    ordered = sorted(proofs.items(), key=lambda proof: proof[0][0])
    findings = []
    for stream in streams:
        if meter.spent(len(ordered)):
            raise Spent
        has = {(change.revision, change.key) for change, _ in stream.changes}
        for (revision, key), op in _between(ordered, stream):
            if (revision, key) not in has and _matches(stream, key):
                change = Change(revision, key, None, False)
                why = f"is missing, although the stream goes on to revision {stream.told}"
                after = min(
                    (o for c, o in stream.changes if c.revision > revision), default=stream.ops[-1]
                )
                findings.append(_finding(history, "gap", stream, change, why, [op, after]))
    return findings


def _between(
    ordered: list[tuple[tuple[int, Any], int]], stream: Stream
) -> Iterable[tuple[tuple[int, Any], int]]:
    return (proof for proof in ordered if stream.start <= proof[0][0] <= stream.told)


def _matches(stream: Stream, key: Any) -> bool:
    """Whether a key is one that the stream watches."""
    how, what = stream.filter
    if what is None:
        return True
    if how == "key":
        return bool(key == token(what))
    return isinstance(key, str) and key.startswith(str(what))


def _shown(change: Change) -> str:
    return "a deletion" if change.deleted else f"the value {change.value!r}"


_TITLES = {
    "duplicate-event": "an event came twice",
    "out-of-order": "events out of order",
    "before-start": "an event from before the revision asked for",
    "disagreement": "watchers disagree about a revision",
    "uncommitted-event": "an event of something that was never written",
    "wrong-revision": "an event at another revision than its write's",
    "gap": "a missing event",
}


def _finding(
    history: History, kind: str, stream: Stream, change: Change, why: str, ops: list[int]
) -> Finding:
    watcher = stream.watcher if isinstance(stream.watcher, str) else repr(stream.watcher)
    return Finding(
        kind=kind,
        title=_TITLES[kind],
        sentence=f"Watcher {watcher}: the event of key {change.key!r} at revision "
        f"{change.revision} {why}.",
        key=change.key if isinstance(change.key, (str, int)) else None,
        ops=tuple(sorted(set(ops))),
        because=tuple(
            Because("event", source=op, value=change.revision) for op in sorted(set(ops))
        ),
        detail={"revision": change.revision, "watcher": watcher},
    )
