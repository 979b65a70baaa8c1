"""Version Vector: which writes a write has seen, so that concurrent ones are told from later ones.

Problem. Several nodes take writes of one key without asking each other. A clock puts any two of
them in an order, and so drops one of two writes that knew nothing of each other. What is needed is
not an order but an answer to one question: had the later writer seen the earlier write?

Solution. Every write is an event with a name of its own, its *dot*: the actor that made it and how
many it had made before. A version vector, actor -> number, stands for the set of all dots up to
these numbers. A replica keeps for each key its *siblings*, each a value with its dot, and one
vector, the *context*: all dots it ever heard of. A reader is given the values and the context. A
write comes with the context of the read it follows from; it replaces the siblings whose dots the
context covers, and stays beside all others. Two replicas merge: a sibling that one has and the
other lacks stays if the other's context does not cover it, and else was overwritten there.

Dots, and not the vectors alone, tell two writes of one coordinator apart that came with the same
old context. An actor is a node in one life: a node that restarts after it forgot a key would begin
to count anew, and its new writes would be taken for old ones.

A client that repeats a write may reach two coordinators, and each makes a dot. Both are names of
one event, which is the client's request, so a sibling carries its session and number, and the state
remembers the requests it has seen, beside the context. A sibling is known to a state if its dot or
its request is, and replaced under one dot it is replaced under all, as soon as states that know
both meet. The memory is bounded (:data:`SEQS_MAX`, :data:`SESSIONS_MAX`): a copy that comes
after its request was forgotten is a write of its own.

Invariants. Merging is a join: idempotent, commutative, associative. A state's context covers the
dots of its siblings. No sibling disappears but by a write whose context covers it.

A clock in its place loses writes. Which ones, to which other, with which stamps and why is in the
report of

    harness test --env sim --db-option role=leaderless --db-option versions=lww-wall \\
        --workload siblings --nemesis clock

What breaks without it. A35a: of concurrent writes the newest alone is kept. A35b: a write replaces
what its coordinator has, whether or not the client had seen it. A35c: an actor does not name its
node's life, so new writes of a node that begins anew are taken for old ones that were replaced.
A35d: a tombstone is forgotten by its age, and what was deleted comes back. A35e: an actor outlasts
keys that its node gave away and forgot, and two writes of such a key have one dot.

Source: Preguica et al., "Dotted Version Vectors" (2010); Almeida et al., "Scalable and Accurate
Causality Tracking for Eventually Consistent Stores" (2014); Joshi, "Version Vector". Pure; used by
``cluster.leaderless``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

#: Requests remembered per session and key, and sessions per key.
SEQS_MAX = 32
SESSIONS_MAX = 128

#: (session, number) of a client's request; ("", 0) for none.
RequestId: TypeAlias = tuple[str, int]
NO_REQUEST: RequestId = ("", 0)


class Dot(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The name of one write.

    Args:
        actor: who made it: a node in one life.
        counter: the actor's writes of the key up to this one.
    """

    actor: str
    counter: int

    def __str__(self) -> str:
        return f"{self.actor}:{self.counter}"


class VersionVector:
    """A set of dots that holds, of each actor, all up to a number. Immutable.

    Args:
        counters: actor -> number of its last dot.
    """

    __slots__ = ("_counters",)

    def __init__(self, counters: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> None:
        self._counters = dict(counters)
        assert all(number > 0 for number in self._counters.values()), "a dot's number is above 0"

    def __getitem__(self, actor: str) -> int:
        return self._counters.get(actor, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionVector) and self._counters == other._counters

    def __hash__(self) -> int:
        raise TypeError("a VersionVector is compared by content; use pairs() as a key")

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{actor}:{number}" for actor, number in self.pairs()) + "}"

    def pairs(self) -> tuple[tuple[str, int], ...]:
        """(actor, number) in order of actor: as it is encoded."""
        return tuple(sorted(self._counters.items()))

    def covers(self, dot: Dot) -> bool:
        """Whether a dot is in the set."""
        return dot.counter <= self._counters.get(dot.actor, 0)

    def dominates(self, other: VersionVector) -> bool:
        """Whether every dot of another vector is in this one."""
        mine = self._counters
        return all(number <= mine.get(actor, 0) for actor, number in other._counters.items())

    def concurrent(self, other: VersionVector) -> bool:
        """Whether each has a dot that the other has not."""
        return not self.dominates(other) and not other.dominates(self)

    def join(self, other: VersionVector) -> VersionVector:
        """The union of both sets."""
        joined = dict(self._counters)
        for actor, number in other._counters.items():
            if number > joined.get(actor, 0):
                joined[actor] = number
        return VersionVector(joined)

    def with_dot(self, dot: Dot) -> VersionVector:
        """The set with a dot, and what it stands for, in it."""
        return self.join(VersionVector({dot.actor: dot.counter}))


class Sibling(msgspec.Struct, frozen=True, array_like=True):
    """One of the values of a key.

    Args:
        dot: the write that it is from.
        value: what was written; any JSON-like value.
        request: the client's request that was carried out.
    """

    dot: Dot
    value: Any
    request: RequestId = NO_REQUEST


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """The requests of one session that a state remembers.

    Args:
        session: the session.
        stamp: how many dots the context had when the last of them came: the least recent is
            forgotten first.
        seqs: their numbers, in order.
    """

    session: str
    stamp: int
    seqs: tuple[int, ...]


class KeyState(msgspec.Struct, frozen=True, array_like=True):
    """What a replica holds of one key.

    Args:
        context: pairs of the vector of all dots ever heard of.
        siblings: the values, in order of dot; none and a context: the key was deleted.
        seen: requests that were carried out, in order of session.
    """

    context: tuple[tuple[str, int], ...] = ()
    siblings: tuple[Sibling, ...] = ()
    seen: tuple[Seen, ...] = ()

    @property
    def vector(self) -> VersionVector:
        """The context."""
        return VersionVector(self.context)

    @property
    def is_tombstone(self) -> bool:
        """Whether it says only that something was deleted: no value is left, or None is."""
        written = bool(self.context or self.siblings)
        return written and all(each.value is None for each in self.siblings)

    def has_seen(self, request: RequestId) -> bool:
        """Whether a request is known to have been carried out."""
        session, seq = request
        return seq > 0 and any(row.session == session and seq in row.seqs for row in self.seen)

    def values(self) -> list[Any]:
        """The values, each request's once, in order of dot."""
        told: list[Any] = []
        requests: set[RequestId] = set()
        for sibling in self.siblings:
            if sibling.request == NO_REQUEST or sibling.request not in requests:
                told.append(sibling.value)
                requests.add(sibling.request)
        return told


#: The state of a key that was never written.
NOTHING = KeyState()


class DottedVersions:
    """The rules by which states change."""

    __slots__ = ()

    def replaced_context(self, state: KeyState, read: VersionVector) -> VersionVector:
        """Decision: the dots that a write replaces: those that the client had read."""
        return read

    def kept(self, siblings: list[Sibling]) -> list[Sibling]:
        """Decision: which of the siblings that no write replaced are kept: all."""
        return siblings

    def write(
        self,
        state: KeyState,
        read: VersionVector,
        *,
        dot: Dot | None,
        value: Any = None,
        request: RequestId = NO_REQUEST,
    ) -> KeyState:
        """A write, or with no dot a deletion.

        Args:
            state: as its coordinator has it.
            read: the context that the client had read.
            dot: of the new sibling; None for none.
            value: of the new sibling.
            request: the client's.
        """
        replaced = self.replaced_context(state, read)
        gone = {each.request for each in state.siblings if replaced.covers(each.dot)}
        gone.discard(NO_REQUEST)
        left = [
            each
            for each in state.siblings
            if not replaced.covers(each.dot) and each.request not in gone
        ]
        context = state.vector.join(read)
        if dot is not None:
            assert not context.covers(dot), f"dot {dot} is not new to {context!r}"
            context = context.with_dot(dot)
            left = self.kept([*left, Sibling(dot, value, request)])
        return _state(context, left, _with_request(state.seen, request, context))

    def merge(self, one: KeyState, other: KeyState) -> KeyState:
        """What both know: the join of two states."""
        if one == other:
            return one
        gone = _replaced(one, other) | _replaced(other, one)
        survivors = [*_survivors(one, other), *_survivors(other, one)]
        siblings = {each.dot: each for each in survivors if each.request not in gone}
        context = one.vector.join(other.vector)
        return _state(context, self.kept(list(siblings.values())), _joined(one.seen, other.seen))


def _replaced(mine: KeyState, other: KeyState) -> set[RequestId]:
    """The requests that the other state replaced under a dot which I still have.

    The other state may have them alive under a dot that another coordinator gave them.
    """
    context, dots = other.vector, {each.dot for each in other.siblings}
    gone = {
        each.request for each in mine.siblings if each.dot not in dots and context.covers(each.dot)
    }
    return gone - {NO_REQUEST}


def _survivors(mine: KeyState, other: KeyState) -> list[Sibling]:
    """My siblings that the other state has too, or never heard of."""
    context, dots = other.vector, {each.dot for each in other.siblings}
    alive = {each.request for each in other.siblings}
    return [
        each
        for each in mine.siblings
        if each.dot in dots
        or (
            not context.covers(each.dot)
            and (each.request in alive or not other.has_seen(each.request))
        )
    ]


def _state(context: VersionVector, siblings: list[Sibling], seen: tuple[Seen, ...]) -> KeyState:
    assert all(context.covers(each.dot) for each in siblings), (
        f"the context {context!r} does not cover its siblings"
    )
    ordered = sorted(siblings, key=lambda each: each.dot)
    return KeyState(context.pairs(), tuple(ordered), seen)


def with_request(state: KeyState, request: RequestId) -> KeyState:
    """The state, which remembers one more request."""
    seen = _with_request(state.seen, request, state.vector)
    return msgspec.structs.replace(state, seen=seen)


def _with_request(
    seen: tuple[Seen, ...], request: RequestId, context: VersionVector
) -> tuple[Seen, ...]:
    session, seq = request
    if not seq:
        return seen
    stamp = sum(number for _, number in context.pairs())
    return _joined(seen, (Seen(session, stamp, (seq,)),))


def _joined(one: tuple[Seen, ...], other: tuple[Seen, ...]) -> tuple[Seen, ...]:
    if one == other:
        return one
    rows = {row.session: row for row in one}
    for row in other:
        mine = rows.get(row.session)
        if mine is not None:
            seqs = tuple(sorted({*mine.seqs, *row.seqs})[-SEQS_MAX:])
            row = Seen(row.session, max(mine.stamp, row.stamp), seqs)
        rows[row.session] = row
    latest = sorted(rows.values(), key=lambda row: (row.stamp, row.session))[-SESSIONS_MAX:]
    return tuple(sorted(latest, key=lambda row: row.session))
