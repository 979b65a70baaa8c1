"""Happens-before among reads and writes of single objects: sessions, sources, vector clocks.

An operation happens before another if it comes earlier in its session, or is the write whose value
the other read, or transitively so. Reads find their sources by value, so within a key every value
must be written once; that is checked. A write of unknown outcome happened if some operation read
it.

A vector clock has, per session, how many of its operations are in the causal past: operation ``i``
of session ``s`` happens before (or is) operation ``x`` iff ``clock[x][s] > i``. Clocks are made in
one pass in topological order, at a cost of operations times sessions.

Source: Lamport 1978; Ahamad et al., Causal Memory, 1995. For `causal` and `sessions`.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from checkers.core.budget import Meter
from checkers.core.columns import Numbers
from checkers.core.findings import METER_INTERVAL, Spent, at, refuse, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.core.vocabulary import Vocabulary
from checkers.history import FAIL, OK, History

#: The operations that are accesses.
ACCESSES = Vocabulary(frozenset(("read", "write")), registers=True)

#: Where a read found nothing written: the initial value.
INITIAL = -1

#: A read whose value no write in the history has.
THIN_AIR = -2


@dataclass
class Access:
    """One read or write that happened, numbered in order of invocation."""

    invoke: int  # history index
    session: int
    place: int  # position within its session
    key: int  # its code, or -1
    write: bool
    value: Hashable  # a token
    source: int = INITIAL  # of a read: number of the write it read


@dataclass
class Causality:
    """All accesses with their order.

    Args:
        accesses: in order of invocation.
        sessions: numbers of accesses, by session, in session order.
        clocks: a row per access; empty if the order has a cycle.
        cycle: numbers of accesses on a cycle of happens-before, if there is one.
    """

    accesses: list[Access] = field(default_factory=list)
    sessions: list[list[int]] = field(default_factory=list)
    clocks: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    cycle: list[int] = field(default_factory=list)
    thin_air: list[int] = field(default_factory=list)

    def before(self, earlier: int, later: int) -> bool:
        """Whether one access happens strictly before another."""
        one = self.accesses[earlier]
        return earlier != later and bool(self.clocks[later, one.session] > one.place)

    def chain(self, earlier: int, later: int) -> list[int]:
        """Why one access happens before another: accesses from it to the other, each either later
        in the session of the one before, or a read of its write."""
        start, chain = self.accesses[earlier], [later]
        while chain[-1] != earlier:
            access = self.accesses[chain[-1]]
            if access.session == start.session:
                chain.append(earlier)
                continue
            session = self.sessions[access.session]
            # The first of this session with the start in its past is a read that brought it there.
            first = bisect.bisect_left(
                session,
                True,
                hi=access.place + 1,
                key=lambda number: bool(self.clocks[number, start.session] > start.place),
            )
            if session[first] != chain[-1]:
                chain.append(session[first])
            chain.append(self.accesses[session[first]].source)
        return chain[::-1]


def causality(history: History, meter: Meter, *, initial: object = None) -> Causality:
    """The happens-before order of a history of ``read`` and ``write``.

    Args:
        history: its operations other than reads and writes are left out.
        meter: asked as the work goes on.
        initial: the value that means nothing was written yet.

    Raises:
        HistoryError: a key has a value written twice.
        Spent: the budget is.
    """
    made = Causality()
    writes = _accesses(history, meter, made)
    _sources(made, writes, token(initial))
    _clocks(made, meter)
    return made


def _accesses(history: History, meter: Meter, made: Causality) -> dict[tuple[int, Hashable], int]:
    """Collect the accesses; returns the number of each (key, value)'s write."""
    read_values = {
        (_key(history, row.invoke), token(row.output))
        for row in rows(history, meter)
        if row.f == "read" and row.outcome == OK
    }
    writes: dict[tuple[int, Hashable], int] = {}
    numbers: dict[int, int] = {}
    for row in rows(history, meter):
        if row.f not in ACCESSES.words or row.outcome == FAIL:
            continue
        key = _key(history, row.invoke)
        write = row.f == "write"
        value = token(row.input if write else row.output)
        if row.outcome != OK and (not write or (key, value) not in read_values):
            continue
        session = numbers.setdefault(row.process, len(numbers))
        if session == len(made.sessions):
            made.sessions.append([])
        number = len(made.accesses)
        place = len(made.sessions[session])
        made.accesses.append(Access(row.invoke, session, place, key, write, value))
        made.sessions[session].append(number)
        if write and writes.setdefault((key, value), number) != number:
            first = made.accesses[writes[key, value]].invoke
            raise refuse(
                history,
                row.invoke,
                f"value {row.input!r} was already written at {history.place(first)}; this checker "
                "needs every value of a key to be written once",
            )
    return writes


def _key(history: History, index: int) -> int:
    return int(history.key[index])


def _sources(made: Causality, writes: dict[tuple[int, Hashable], int], initial: Hashable) -> None:
    for number, access in enumerate(made.accesses):
        if access.write:
            continue
        found = writes.get((access.key, access.value))
        if found is not None:
            access.source = found
        elif access.value != initial:
            access.source = THIN_AIR
            made.thin_air.append(number)


def _clocks(made: Causality, meter: Meter) -> None:
    """Vector clocks by Kahn's order; where it stops short, a cycle."""
    accesses = made.accesses
    count = len(accesses)
    _require_memory(count, len(made.sessions), meter)
    clocks = np.zeros((count, len(made.sessions)), dtype=np.int32)
    readers: dict[int, list[int]] = {}
    waits = [0] * count
    for number, access in enumerate(accesses):
        waits[number] = (access.place > 0) + (access.source >= 0)
        if access.source >= 0:
            readers.setdefault(access.source, []).append(number)
    ready = [number for number in range(count) if not waits[number]]
    done = 0
    while ready:
        number = ready.pop()
        access = accesses[number]
        session = made.sessions[access.session]
        clock = clocks[number]
        if access.place:
            clock[:] = clocks[session[access.place - 1]]
        if access.source >= 0:
            np.maximum(clock, clocks[access.source], out=clock)
        clock[access.session] = access.place + 1
        following = readers.get(number, [])
        if access.place + 1 < len(session):
            following = [*following, session[access.place + 1]]
        for later in following:
            waits[later] -= 1
            if not waits[later]:
                ready.append(later)
        done += 1
        if done % METER_INTERVAL == 0 and meter.spent(METER_INTERVAL):
            raise Spent
    made.clocks = clocks
    if done < count:
        made.cycle = _cycle(made, waits)


def _require_memory(count: int, sessions: int, meter: Meter) -> None:
    """Refuse clocks that would not fit, before they are made.

    Raises:
        Spent: they need more than the memory budget.
    """
    needed_mb, limit_mb = count * sessions * 4 / 1e6, meter.budget.memory_mb
    if limit_mb is not None and needed_mb > limit_mb:
        meter.reason = (
            f"the order of {count} operations in {sessions} sessions needs {needed_mb:.0f} MB, and "
            f"the memory budget is {limit_mb:g} MB: stopped"
        )
        raise Spent


def _cycle(made: Causality, waits: list[int]) -> list[int]:
    """A cycle among the accesses that never became ready: walk backwards until one repeats."""
    number = next(n for n, left in enumerate(waits) if left)
    seen: dict[int, int] = {}
    path: list[int] = []
    while number not in seen:
        seen[number] = len(path)
        path.append(number)
        access = made.accesses[number]
        before = made.sessions[access.session][access.place - 1] if access.place else -1
        number = before if before >= 0 and waits[before] else access.source
    return path[seen[number] :][::-1]


# Overwritten reads --------------------------------------------------------------------------------


class Writes:
    """The writes of one key, by session and place in it, to ask for the last of each in a past."""

    def __init__(self, numbers: list[int], made: Causality) -> None:
        sessions = np.array([made.accesses[number].session for number in numbers])
        places = np.array([made.accesses[number].place for number in numbers])
        order = np.lexsort((places, sessions))
        self.numbers = np.array(numbers)[order]
        self.sessions, begins = np.unique(sessions[order], return_index=True)
        self.stride = int(places.max()) + 2
        # Session by session, ascending: one search finds the place in every session at once.
        ranks = np.repeat(np.arange(len(begins)), np.diff([*begins, len(numbers)]))
        self.keys = ranks * self.stride + places[order]
        self.bases = np.arange(len(begins)) * self.stride
        self.begins = begins
        self._largest: Numbers = self.numbers

    def _found(self, clock: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
        limit = np.minimum(clock[self.sessions], self.stride - 1)
        found = np.searchsorted(self.keys, self.bases + limit) - 1
        within: npt.NDArray[np.intp] = found[found >= self.begins]
        return within

    def last(self, clock: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Of each session with a write in this past, the last one there."""
        chosen: npt.NDArray[np.int64] = self.numbers[self._found(clock)]
        return chosen

    def keep_largest(self, values: Numbers) -> None:
        """Say what each write of :attr:`numbers` wrote, in their order; then ask `largest`."""
        ends = [*self.begins[1:].tolist(), len(values)]
        parts = [values[begin:end] for begin, end in zip(self.begins.tolist(), ends)]
        self._largest = np.concatenate([np.maximum.accumulate(part) for part in parts])

    def largest(self, clock: npt.NDArray[np.int32]) -> np.int64 | np.float64 | None:
        """The largest value written in this past; None if there is none."""
        found = self._found(clock)
        return self._largest[found].max() if len(found) else None


def writes_by_key(made: Causality) -> dict[int, Writes]:
    """The writes of each key that has any."""
    numbers: dict[int, list[int]] = {}
    for number, access in enumerate(made.accesses):
        if access.write:
            numbers.setdefault(access.key, []).append(number)
    return {key: Writes(found, made) for key, found in numbers.items()}


def overwritten(made: Causality, meter: Meter) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Reads in whose past their source had been replaced: each read, and writes in between.

    Raises:
        Spent: the budget is.
    """
    written = writes_by_key(made)
    for number, access in enumerate(made.accesses):
        if number % METER_INTERVAL == 0 and meter.spent(METER_INTERVAL):
            raise Spent
        if access.write or access.source == THIN_AIR or access.key not in written:
            continue
        between = written[access.key].last(made.clocks[number])
        if access.source >= 0:
            source = made.accesses[access.source]
            after = made.clocks[between, source.session] > source.place
            between = between[after & (between != access.source)]
        if len(between):
            yield number, between


# Findings that several checkers make --------------------------------------------------------------


def say(history: History, access: Access) -> str:
    """An access in words: ``process 3 wrote 7 to x at 1.204 s``."""
    event = access.invoke if access.write else int(history.pair[access.invoke])
    value = history.values[event]
    key = history.keys[access.key] if access.key >= 0 else None
    where = "" if key is None else f" {'to' if access.write else 'from'} {key}"
    verb = "wrote" if access.write else "read"
    return f"{who(history, event)} {verb} {value!r}{where} at {at(history, event)}"


def thin_air_findings(history: History, made: Causality) -> list[Finding]:
    """A finding for every read of a value that no operation wrote."""
    return [
        Finding(
            kind="thin-air",
            title="a value out of thin air",
            sentence=f"{_upper(say(history, made.accesses[number]))}, but no write that may have "
            "happened has that value.",
            key=_key_of(history, made.accesses[number]),
            ops=(made.accesses[number].invoke,),
            because=(Because("read", source=made.accesses[number].invoke),),
        )
        for number in made.thin_air
    ]


def cycle_finding(history: History, made: Causality) -> Finding:
    """The finding for a cycle of happens-before."""
    chain = [made.accesses[number] for number in made.cycle]
    steps = []
    for one, other in zip(chain, chain[1:] + chain[:1]):
        kind = "process" if one.session == other.session else "wr"
        steps.append(Because(kind, source=one.invoke, target=other.invoke))
    order = ", then ".join(say(history, access) for access in chain[:6])
    return Finding(
        kind="cyclic-happens-before",
        title="happens-before has a cycle",
        sentence=f"Each of these happens before the next, and the last before the first: {order}.",
        ops=tuple(sorted(access.invoke for access in chain)),
        because=tuple(steps),
        breaks="causal",
    )


def _key_of(history: History, access: Access) -> Any:
    return history.keys[access.key] if access.key >= 0 else None


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
