"""Watches: every committed change once, in order, without gaps, and nothing else.

Vocabulary: ``watch`` (input: ``{"from": r}``, the first revision wanted, perhaps with ``"key"`` or
``"prefix"`` of what is watched and the ``"watcher"``'s name, else the process is the watcher;
output: the list of events received, or ``{"events": [...], "revision": r, "compacted": c}``: r is a
revision up to which the watcher has received everything, a bookmark; c is there if the watch ended
because what it wanted was compacted, c being the first revision that is left). An event is
``{"revision": r, "key": k, "value": v}``, with ``"type": "delete"`` for a deletion, or a list ``[r,
k, v]``. Writes are ``put write set create update delete cas append increment txn`` (input: the
value; output: ``{"revision": r}``, or r if it is not just the input again); the key is the event's
key. A delete whose output says ``"deleted": 1`` made an event, with 0 it made none; any other may
have found nothing. Nothing else deletes: a history of keys that expire is not for this checker.

Watchers that receive over several operations go on with ``from`` one after what they received:
such operations are one stream, and what one of them promised binds the next. Checked are:

- *ordered*: within a stream revisions do not decrease (one transaction may change several keys at
  one revision);
- *unique*: no key's change at one revision comes twice in a stream, a resumed one included; one
  write makes one event;
- *gap-free*: between the first revision asked for and the last one received, every change is there
  that an acknowledged write or any other watcher of the key proves;
- *atomic*: the changes of one revision come in one operation;
- *bookmarks keep*: with ``revision`` r, everything up to r is there, and nothing up to r comes
  later;
- *resumable*: no event lies before the operation's own ``from``;
- *filtered*: no event is of a key that is not watched;
- *committed only*: watchers agree on what a revision did, and acknowledged writes with them; no
  event has a value that no write may have written (one of unknown outcome may), or at another
  revision than the write was acknowledged with;
- *not from the future*: no event comes before the write that made it was invoked;
- *compaction*: a watch is refused as compacted only if it wanted a revision below the first one
  left.

Source: the watch validation of etcd's robustness tests; the State Watch pattern.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, Spent, at, make, refuse, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import FAIL, OK, History
from checkers.history.columns import short

WRITES = frozenset(
    ("put", "write", "set", "delete", "cas", "append", "increment", "txn", "create", "update")
)
#: Of these the value written is the input itself, so that an event's value can be compared.
PLAIN_WRITES = frozenset(("put", "write", "set", "create", "update"))

#: The value that a deletion leaves.
GONE = ("deletion",)

Place = tuple[int, object]  # revision, key


class Change(NamedTuple):
    """One change, as its event has it."""

    revision: int
    key: object  # token
    value: object  # token; GONE for a deletion


class Answer(NamedTuple):
    """The output of one watch operation."""

    op: int
    wanted: int | None  # its own ``from``
    changes: list[Change]
    received_to: int  # every change up to this revision was received by its end
    bookmark: int  # -1 if there was none
    compacted: int  # -1 if it was not


@dataclass
class Stream:
    """The changes that one watcher received, over operations that continue each other."""

    watcher: object
    filter: tuple[Literal["prefix"], str] | tuple[Literal["key"], Hashable]
    start: int  # the first revision asked for
    answers: list[Answer] = field(default_factory=list)

    @property
    def received_to(self) -> int:
        """The revision up to which every change was received."""
        return self.answers[-1].received_to if self.answers else self.start - 1

    def changes(self) -> Iterator[tuple[Change, int]]:
        """The changes received, each with its operation."""
        return ((change, answer.op) for answer in self.answers for change in answer.changes)

    def passing(self, revision: int) -> list[int]:
        """The operations which alone show that it went beyond a revision."""
        return self.proof(
            bisect.bisect_left([answer.received_to for answer in self.answers], revision)
        )

    def proof(self, number: int) -> list[int]:
        """The operations which alone show what one of its answers should have been."""
        answer = self.answers[number]
        if answer.wanted is not None or number == 0:
            return [answer.op]
        return [self.answers[0].op, self.answers[number - 1].op, answer.op]

    def matches(self, key: Any) -> bool:
        """Whether a key is one that it watches."""
        if self.filter[0] == "prefix":
            return isinstance(key, str) and key.startswith(self.filter[1])
        return self.filter[1] is None or bool(key == self.filter[1])


@dataclass
class Write:
    """A write."""

    invoke: int
    key: object
    value: object
    outcome: int
    plain: bool  # whether an event of it must have this value
    changed: bool | None  # whether it made an event; None if unknown
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
        findings += [*_order(history, stream), *_compactions(history, stream)]
    agreed, disagreements = _agree(history, streams)
    origins = _Origins(history, writes)
    untrue = origins.untrue(streams)
    findings += disagreements
    findings += untrue.values()
    findings += origins.repeated(agreed, untrue)
    true = {place: op for place, (_, op) in agreed.items() if place not in untrue}
    findings += _gaps(history, streams, true, writes, meter)
    received = sum(1 for stream in streams for _ in stream.changes())
    return Judgement(
        findings=findings,
        checked=received,
        evidence=f"{len(streams)} watchers received {received} events in order and without gaps",
        missing="no watcher received an event",
        stats={
            "streams": len(streams),
            "events": received,
            "revisions": len({revision for revision, _ in agreed}),
            "writes": sum(write.outcome != FAIL for write in writes),
        },
    )


# Reading the history ------------------------------------------------------------------------------


def _gather(history: History, meter: Meter) -> tuple[list[Stream], list[Write]]:
    streams: list[Stream] = []
    current: dict[Hashable, Stream] = {}
    writes: list[Write] = []
    for row in rows(history, meter):
        if row.f != "watch":
            writes.append(_write(history, row))
        elif row.outcome == OK:
            _watch(history, row, streams, current)
    return streams, writes


def _write(history: History, row: Row) -> Write:
    code = int(history.key[row.invoke])
    key = token(history.keys[code]) if code >= 0 else None
    gone = row.f == "delete"
    value = GONE if gone else token(row.input)
    changed = True if row.outcome == OK else None
    if gone:
        deleted = row.output.get("deleted") if isinstance(row.output, dict) else None
        changed = None if deleted is None else bool(deleted)
    output = row.output
    if type(output) is int and output == row.input and type(row.input) is int:
        output = None  # the input again, as many clients answer
    revision = _revision(history, row.complete, output)
    plain = gone or row.f in PLAIN_WRITES
    return Write(row.invoke, key, value, row.outcome, plain, changed, revision)


def _revision(history: History, index: int, output: object, name: str = "revision") -> int:
    """The revision of an output, alone or in a dict; -1 if it has none."""
    found = (
        output.get(name) if isinstance(output, dict) else output if type(output) is int else None
    )
    if found is None:
        return -1
    if type(found) is not int:
        raise refuse(history, index, f"{name} is a whole number, not {short(found)}")
    return found


def _watch(
    history: History, row: Row, streams: list[Stream], current: dict[Hashable, Stream]
) -> None:
    asked = row.input if isinstance(row.input, dict) else {"from": row.input}
    wanted = asked.get("from")
    if wanted is not None and type(wanted) is not int:
        raise refuse(history, row.invoke, f"from must be a revision, not {short(wanted)}")
    watcher = token(asked.get("watcher", who(history, row.invoke)))
    filter = _filter(history, row, asked)
    changes = [_change(history, row.complete, event) for event in _events(history, row)]
    bookmark = compacted = -1
    if isinstance(row.output, dict):
        bookmark = _revision(history, row.complete, row.output)
        compacted = _revision(history, row.complete, row.output, "compacted")
    stream = current.get((watcher, filter))
    if stream is None or not _goes_on(history, stream, row, wanted):
        first = changes[0].revision if changes else bookmark
        stream = Stream(watcher, filter, first if wanted is None else wanted)
        streams.append(stream)
        current[watcher, filter] = stream
    received_to = max([stream.received_to, bookmark, *(change.revision for change in changes)])
    stream.answers.append(Answer(row.invoke, wanted, changes, received_to, bookmark, compacted))
    if compacted >= 0:  # what lies between is excused
        del current[watcher, filter]


def _goes_on(history: History, stream: Stream, row: Row, wanted: int | None) -> bool:
    """Whether an operation goes on at the revision where the last one of a stream ended."""
    over = int(history.pair[stream.answers[-1].op]) < row.invoke
    return over and wanted in (None, stream.received_to + 1)


def _filter(
    history: History, row: Row, asked: dict[str, object]
) -> tuple[Literal["prefix"], str] | tuple[Literal["key"], Hashable]:
    prefix = asked.get("prefix")
    if prefix is None:
        code = int(history.key[row.invoke])
        return "key", token(asked.get("key", history.keys[code] if code >= 0 else None))
    if not isinstance(prefix, str):
        raise refuse(history, row.invoke, f"prefix must be a text, not {short(prefix)}")
    return "prefix", prefix


def _events(history: History, row: Row) -> list[object]:
    found = row.output.get("events", []) if isinstance(row.output, dict) else row.output
    if not isinstance(found, (list, tuple)):
        raise refuse(history, row.complete, f"a watch gives a list of events, not {short(found)}")
    return list(found)


def _change(history: History, index: int, event: object) -> Change:
    gone: object = False
    if isinstance(event, dict):
        revision, key, value = event.get("revision"), event.get("key"), event.get("value")
        said = str(event.get("type") or "put").lower()
        gone = {"put": False, "delete": True}.get(said)
    elif isinstance(event, (list, tuple)) and len(event) == 3:
        revision, key, value = event
    else:
        revision = None
    if type(revision) is not int or gone is None:
        raise refuse(history, index, f"an event is [revision, key, value], not {short(event)}")
    return Change(revision, token(key), GONE if gone else token(value))


# Checking one stream
# -------------------------------------------------------------------------------


def _order(history: History, stream: Stream) -> Iterator[Finding]:
    """Events of one stream that should not be there, or not yet, or not any more."""
    seen: dict[Place, int] = {}
    highest, last = -1, -1  # the highest revision so far, and the operation that returned it
    before: Answer | None = None
    promised: Answer | None = None  # the furthest bookmark of an earlier operation
    for answer in stream.answers:
        for change in answer.changes:
            place = (change.revision, change.key)
            kind, why, others = "", "", []
            if not stream.matches(change.key):
                kind, why = "unwatched-key", f"came although {_watched(stream)}"
            elif place in seen:
                kind, others = "duplicate-event", [seen[place]]
                why = f"came twice, first in the watch at {at(history, seen[place])}"
            elif promised is not None and change.revision <= promised.bookmark:
                kind, others = "behind-bookmark", [promised.op]
                why = (
                    f"came after the watch at {at(history, promised.op)} had returned everything "
                    f"up to revision {promised.bookmark}"
                )
            elif change.revision < highest:
                kind, others = "out-of-order", [last]
                why = f"came after revision {highest}"
            elif change.revision < (stream.start if answer.wanted is None else answer.wanted):
                kind = "before-start"
                first = stream.start if answer.wanted is None else answer.wanted
                why = f"came although the watch was from revision {first}"
            elif before is not None and change.revision <= before.received_to:
                kind, others = "torn-revision", [before.op]
                why = "came in another watch than the other changes of that revision"
            if kind:
                yield _finding(history, kind, stream, change, why, [*others, answer.op])
            seen.setdefault(place, answer.op)
            if change.revision >= highest:
                highest, last = change.revision, answer.op
        before = answer
        if answer.bookmark > (promised.bookmark if promised is not None else -1):
            promised = answer


def _watched(stream: Stream) -> str:
    how, what = stream.filter
    return f"only {'keys that begin with' if how == 'prefix' else 'key'} {what!r} is watched"


def _compactions(history: History, stream: Stream) -> Iterator[Finding]:
    """Refusals of a revision as compacted that is not below the first one left."""
    for number, answer in enumerate(stream.answers):
        next_one = answer.received_to + 1
        if 0 <= answer.compacted <= next_one and answer.received_to >= 0:
            yield Finding(
                kind="needless-compaction",
                title="a watch refused as compacted that should go on",
                sentence=f"Watcher {_name(stream.watcher)}: the watch at "
                f"{at(history, answer.op)} wanted revision {next_one} and was answered that it is "
                f"compacted, although everything from revision {answer.compacted} on is left.",
                ops=tuple(sorted(set(stream.proof(number)))),
                because=(Because("compacted", source=answer.op, value=answer.compacted),),
                detail={"revision": next_one, "watcher": str(_name(stream.watcher))},
            )


# What was committed -------------------------------------------------------------------------------

Agreed = dict[Place, tuple[Change, int]]


def _agree(history: History, streams: list[Stream]) -> tuple[Agreed, list[Finding]]:
    """The first change received per (revision, key), and the watchers that received another."""
    agreed: Agreed = {}
    findings = []
    reported = [(change, op, stream) for stream in streams for change, op in stream.changes()]
    for change, op, stream in sorted(reported, key=lambda each: int(history.pair[each[1]])):
        first, other = agreed.setdefault((change.revision, change.key), (change, op))
        if first != change:
            why = f"was sent {_shown(change)}, another watcher {_shown(first)}"
            findings.append(_finding(history, "disagreement", stream, change, why, [other, op]))
    return agreed, findings


class _Origins:
    """Which write an event may be of."""

    def __init__(self, history: History, writes: list[Write]) -> None:
        self.history = history
        self.writes = writes
        self.opaque = {write.key for write in writes if not write.plain or write.key is None}
        self.by_value: dict[tuple[object, object], list[Write]] = {}
        self.failed: dict[tuple[object, object], Write] = {}
        self.at: dict[Place, Write] = {}
        for write in writes:
            what = (write.key, write.value)
            if write.outcome == FAIL or write.changed is False:
                self.failed.setdefault(what, write)
                continue
            self.by_value.setdefault(what, []).append(write)
            if write.revision >= 0 and write.key is not None:
                self.at.setdefault((write.revision, write.key), write)

    def untrue(self, streams: list[Stream]) -> dict[Place, Finding]:
        """Events that no write explains, each once."""
        found: dict[Place, Finding] = {}
        for stream in streams:
            for change, op in stream.changes():
                place = (change.revision, change.key)
                if place not in found:
                    wrong = self._wrong(change, op)
                    if wrong is not None:
                        kind, why, ops = wrong
                        found[place] = _finding(self.history, kind, stream, change, why, [*ops, op])
        return found

    def _wrong(self, change: Change, op: int) -> tuple[str, str, list[int]] | None:
        """Why an event cannot be: its kind, the reason, and the writes that prove it."""
        over = int(self.history.pair[op])
        candidates = self.by_value.get((change.key, change.value), [])
        if not candidates and not self._blind(change.key):
            return self._unwritten(change)
        written = self.at.get((change.revision, change.key))
        if written is not None and written.plain and written.value != change.value:
            why = f"has {_shown(change)}, but {_shown(written)} is acknowledged there"
            return "wrong-value", why, [written.invoke]
        if written is not None:
            candidates = [written]
        elif self._blind(change.key):
            return None
        if candidates[0].invoke > over:
            when = at(self.history, candidates[0].invoke)
            why = f"came at {at(self.history, over)}, before its write was invoked at {when}"
            return "future-event", why, [candidates[0].invoke]
        elsewhere = [write for write in candidates if write.revision not in (-1, change.revision)]
        if len(elsewhere) == len(candidates):
            why = f"is of a write that was acknowledged at revision {elsewhere[0].revision}"
            return "wrong-revision", why, [write.invoke for write in elsewhere]
        return None

    def _blind(self, key: object) -> bool:
        """Whether what was written to a key is not all known."""
        return not self.writes or None in self.opaque or key in self.opaque

    def _unwritten(self, change: Change) -> tuple[str, str, list[int]]:
        failed = self.failed.get((change.key, change.value))
        if failed is not None:
            why = "has the value of a write that failed, and no other may have written it"
            return "uncommitted-event", why, [failed.invoke]
        # One write shows that writes are on record at all.
        of_key = [write for write in self.writes if write.key == change.key] or self.writes
        why = f"has {_shown(change)}, which no write may have written"
        return "uncommitted-event", why, [of_key[0].invoke]

    def repeated(self, agreed: Agreed, untrue: dict[Place, Finding]) -> Iterator[Finding]:
        """Events of the same change at more revisions than writes of it had begun by then."""
        events: dict[tuple[object, object], list[tuple[int, Change, int]]] = {}
        for place, (change, op) in agreed.items():
            if place not in untrue and place not in self.at and not self._blind(change.key):
                over = int(self.history.pair[op])
                events.setdefault((change.key, change.value), []).append((over, change, op))
        for what, found in events.items():
            found.sort(key=lambda event: event[0])
            writes = [write.invoke for write in self.by_value[what] if write.revision < 0]
            for number, (over, change, _) in enumerate(found):
                if number >= len(writes) or writes[number] > over:
                    begun = bisect.bisect_left(writes, over)
                    yield self._repeated(change, found[: number + 1], writes[: begun + 1], begun)
                    break

    def _repeated(
        self, change: Change, events: list[tuple[int, Change, int]], writes: list[int], begun: int
    ) -> Finding:
        revisions = ", ".join(str(change.revision) for _, change, _ in events[:6])
        why = (
            f"is the last of {len(events)} events of {_shown(change)} (revisions {revisions}), of "
            f"which by then {begun} {'write' if begun == 1 else 'writes'} had begun"
        )
        ops = [*(op for _, _, op in events), *writes]
        return _finding(self.history, "repeated-write", None, change, why, ops)


def _gaps(
    history: History, streams: list[Stream], true: dict[Place, int], writes: list[Write],
    meter: Meter,
) -> list[Finding]:  # fmt: skip
    """Changes proved by a write or another watcher that a stream lacks; one finding a hole."""
    proofs = dict(true)
    for write in writes:
        if write.revision >= 0 and write.key is not None and write.changed:
            proofs.setdefault((write.revision, write.key), write.invoke)
    ordered = sorted(proofs.items(), key=lambda proof: proof[0][0])
    revisions = [revision for (revision, _), _ in ordered]
    findings = []
    for stream in streams:
        low = bisect.bisect_left(revisions, stream.start)
        high = bisect.bisect_right(revisions, stream.received_to)
        if meter.spent(max(1, high - low)):
            raise Spent
        has = {(change.revision, change.key) for change, _ in stream.changes()}
        received = sorted({revision for revision, _ in has})
        holes: dict[int, list[tuple[Place, int]]] = {}
        for place, op in ordered[low:high]:
            if place not in has and stream.matches(place[1]):
                hole = bisect.bisect_left(received, place[0])
                holes.setdefault(hole, []).append((place, op))
        findings += [_gap(history, stream, missing) for missing in holes.values()]
    return findings


def _gap(history: History, stream: Stream, missing: list[tuple[Place, int]]) -> Finding:
    (revision, key), proof = missing[0]
    more = f", as are {len(missing) - 1} after it" if len(missing) > 1 else ""
    why = f"is missing{more}, although the stream goes on to revision {stream.received_to}"
    ops = [proof, *stream.passing(revision)]
    found = _finding(history, "gap", stream, Change(revision, key, None), why, ops)
    found.detail["missing"] = len(missing)
    return found


def _shown(change: Change | Write) -> str:
    return "a deletion" if change.value == GONE else f"the value {_name(change.value)!r}"


def _name(value: object) -> object:
    """The text of a token's value."""
    return value[1] if isinstance(value, tuple) and len(value) == 2 else value


_TITLES = {
    "duplicate-event": "an event came twice",
    "out-of-order": "events out of order",
    "behind-bookmark": "an event that a bookmark had promised not to come",
    "before-start": "an event from before the revision asked for",
    "torn-revision": "the changes of one revision torn apart",
    "unwatched-key": "an event of a key that is not watched",
    "disagreement": "watchers disagree about a revision",
    "uncommitted-event": "an event of something that was never written",
    "future-event": "an event from before its write was invoked",
    "wrong-revision": "an event at another revision than its write's",
    "wrong-value": "an event that contradicts an acknowledged write",
    "repeated-write": "one write made several events",
    "gap": "a missing event",
}


def _finding(
    history: History, kind: str, stream: Stream | None, change: Change, why: str, ops: list[int]
) -> Finding:
    watcher = "" if stream is None else str(_name(stream.watcher))
    chosen = tuple(sorted(set(ops)))
    key = _name(change.key)
    about = f"the event of key {key!r} at revision {change.revision} {why}."
    return Finding(
        kind=kind,
        title=_TITLES[kind],
        sentence=f"Watcher {watcher}: {about}" if watcher else about[0].upper() + about[1:],
        key=key if isinstance(key, (str, int)) else None,
        ops=chosen,
        because=tuple(Because("event", source=op, value=change.revision) for op in chosen),
        detail={"revision": change.revision, "watcher": watcher},
    )
