"""State Watch: a client learns of every change to the keys it watches, in order.

Problem. A client that wants to know when a key changes asks again and again, and misses what
changes twice between two questions.

Solution. A watch names keys and a revision, and is answered with all changes above that revision,
in order, together with the revision it now knows of. The next watch begins there. If there is no
change yet, the request waits at the node until there is one, or until its time is up; then the
answer holds no events and a newer revision (progress), so a watcher of quiet keys never falls below
the compacted revision. Nothing is remembered of a watcher between two requests: any node can answer
the next one. The watcher remembers where it goes on (:class:`Watcher`).

Any node serves watches, from its applied state, so only committed changes are seen. Changes come
from Versioned Values. A watch below the compacted revision fails with ``compacted``: the watcher
has missed changes, and must read the keys again.

    watch start {options}    {"events": [{"type": "put" | "delete", "key", "revision", "value",
                             "version"}], "revision"}

Options are ``after`` (the revision known), ``end`` as for a range, and ``limit`` of events; the
changes of one revision are never divided between two answers.

Invariants. No gap, no duplicate, no change out of order: an answer holds exactly the changes of the
watched keys with ``after`` < revision <= the answered revision.

What breaks without it. A50a: a watch that begins at "now" misses what changed meanwhile. A50d: so
does a watcher that begins anew after each answer. A50b: an answered revision below the events given
repeats them. A50c: an answered revision that is in the log and not committed yet passes over the
changes that may take its place. A50e: an answer that ends in the middle of a revision repeats its
first half. A08c: a watch below the compacted revision has a gap.

Source: Joshi, "State Watch"; etcd's watch (revisions, progress, ``compacted``); Consul's blocking
queries. Used by ``cluster.core.reads``; :class:`Watcher` by clients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS, Waiter
from cluster.core.answers import INT_MAX, Answer, fail, key_problem, ok, short
from cluster.core.key_value import after_prefix
from cluster.data.versioned_value import Compacted, Version, VersionedValues
from cluster.wire import Command

WATCH = "watch"
EVENTS_MAX = 1_000
_OPTIONS = {"after": int, "end": str, "limit": int}


class Watch(msgspec.Struct, frozen=True):
    """A watch that waits.

    Args:
        waiter: the client.
        start: the first key.
        end: where the keys stop; None for no end.
        after: the revision the client knows of.
        limit: events after which an answer ends, at the next revision.
    """

    waiter: Waiter
    start: str
    end: str | None
    after: int
    limit: int

    def concerns(self, key: str) -> bool:
        """Whether a key is watched."""
        return self.start <= key and (self.end is None or key < self.end)


def watch_problem(command: Command) -> str:
    """Why a watch can never be served; "" if it may be."""
    wrong = key_problem(command.key)
    if wrong:
        return wrong
    if len(command.args) > 1 or (command.args and type(command.args[0]) is not dict):
        return f"watch takes options by name, not {short(command.args)}"
    for name, value in (command.args[0] if command.args else {}).items():
        kind = _OPTIONS.get(name)
        if kind is None:
            return f"watch has no option {short(name)}; it has {', '.join(_OPTIONS)}"
        if type(value) is not kind or (type(value) is int and not 0 <= value <= INT_MAX):
            wanted = "a number of 0 or above" if kind is int else f"a {kind.__name__}"
            return f"the option {name} of watch is {short(value)}; it should be {wanted}"
    return ""


class Watcher:
    """A watcher's own view: after which revision its next watch begins.

    Args:
        after: the revision the first one begins after.
    """

    __slots__ = ("after",)

    def __init__(self, after: int) -> None:
        #: None for whatever is the newest when the watch arrives
        self.after: int | None = after

    def goes_on_after(self, told: int) -> int | None:
        """Decision: where the next watch begins: where the last answer ended, so that what changes
        between the two is told."""
        return told

    def told(self, revision: int) -> None:
        """An answer came, with all changes up to a revision."""
        self.after = self.goes_on_after(revision)

    def options(self) -> dict[str, Any]:
        """The options of the next watch."""
        return {} if self.after is None else {"after": self.after}


class StateWatch:
    """The watches that wait at one node."""

    __slots__ = ("_seen", "deadline_ns", "slow", "watches")

    def __init__(self) -> None:
        #: to be looked at
        self.watches: list[Watch] = []
        #: up to this revision, waiting watches have seen all changes
        self._seen = 0
        self.deadline_ns = NEVER_NS
        #: answers to watches that were behind: more had changed than one answer tells, or than
        #: there is history of
        self.slow = 0

    def __len__(self) -> int:
        return len(self.watches)

    def reaches(self, applied: int, appended: int) -> int:
        """Decision: up to which index of its log a node tells watches that they know everything:
        what it has applied. Above that another entry may yet take the place of one."""
        return applied

    def begins_after(self, asked: int | None, applied: int) -> int:
        """Decision: the revision a watch begins after; one that names none begins now."""
        return applied if asked is None else asked

    def take(
        self, waiter: Waiter, command: Command, values: VersionedValues, applied: int
    ) -> Answer | None:
        """Begin a well-formed watch.

        Args:
            waiter: the client.
            command: ``watch``.
            values: the node's.
            applied: the index the node has applied.

        Returns:
            The answer; None if there is no change yet and the watch waits.
        """
        asked = command.args[0] if command.args else {}
        watch = Watch(
            waiter,
            command.key,
            asked["end"] if "end" in asked else after_prefix(command.key),
            self.begins_after(asked.get("after"), applied),
            max(1, min(asked.get("limit", EVENTS_MAX), EVENTS_MAX)),
        )
        answer = self._answer(watch, values, applied)
        if answer is None:
            self.watches.append(watch)
            self.deadline_ns = min(self.deadline_ns, waiter.deadline_ns)
        return answer

    def notice(self, values: VersionedValues, applied: int) -> Iterator[tuple[Waiter, Answer]]:
        """The state has advanced: the watches that have something to tell, and what."""
        if not self.watches or values.newest <= self._seen:
            self._seen = applied
            return
        try:
            changed = [key for key, _ in values.changes(max(self._seen, values.floor))]
        except Compacted:  # a snapshot replaced the state: every watch looks for itself
            changed = []
        self._seen = applied
        for watch in list(self.watches):
            below = watch.after < values.floor
            if not (below or not changed or any(map(watch.concerns, changed))):
                continue
            answer = self._answer(watch, values, applied)
            if answer is not None:
                self.watches.remove(watch)
                yield watch.waiter, answer

    def _answer(self, watch: Watch, values: VersionedValues, applied: int) -> Answer | None:
        """The answer to a watch now; None if there is nothing yet."""
        try:
            events, revision = self.events(watch, values, applied)
        except Compacted as error:
            self.slow += 1
            return fail(str(error))
        return ok({"events": events, "revision": revision}) if events else None

    def events(
        self, watch: Watch, values: VersionedValues, applied: int
    ) -> tuple[list[dict[str, Any]], int]:
        """The watched changes above the watch's revision, and up to which revision they are all.

        Raises:
            Compacted: some of them may be gone.
        """
        events: list[dict[str, Any]] = []
        for key, version in values.changes(watch.after):
            if len(events) >= watch.limit and self.may_stop(events[-1]["revision"], version):
                self.slow += 1
                return events, version.revision - 1
            if watch.concerns(key):
                events.append(_event(key, version))
        return events, self.complete_up_to(watch, applied)

    def may_stop(self, last: int, version: Version) -> bool:
        """Decision: whether an answer that is long enough may end before a version,
        when its last event is of revision ``last``: not in the middle of a revision."""
        return version.revision > last

    def complete_up_to(self, watch: Watch, applied: int) -> int:
        """Decision: up to which revision an answer that was not cut short has all changes."""
        return max(watch.after, applied)

    def expire(self, now_ns: int, applied: int) -> list[tuple[Waiter, Answer]]:
        """Take the watches whose time is up; the answer has no events."""
        if now_ns < self.deadline_ns:
            return []
        late = [watch for watch in self.watches if watch.waiter.deadline_ns <= now_ns]
        self.watches = [watch for watch in self.watches if watch.waiter.deadline_ns > now_ns]
        deadlines = (watch.waiter.deadline_ns for watch in self.watches)
        self.deadline_ns = min(deadlines, default=NEVER_NS)
        return [
            (watch.waiter, ok({"events": [], "revision": self.complete_up_to(watch, applied)}))
            for watch in late
        ]

    def disconnect(self, connection: int) -> None:
        """Forget the watches of a connection that is gone."""
        self.watches = [w for w in self.watches if w.waiter.connection != connection]


def _event(key: str, version: Version) -> dict[str, Any]:
    kind = "delete" if version.deleted else "put"
    return {
        "type": kind,
        "key": key,
        "revision": version.revision,
        "value": version.value,
        "version": version.number,
    }
