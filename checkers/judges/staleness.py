"""Bounded staleness: a read is of a state at most so old, and of no state that never was.

Vocabulary: ``read``, ``write``, ``cas`` (input ``[old, new]``), with keys; values should be written
once. The promise is that of bounded reads from replicas (Consul's ``max_stale``, Cosmos DB's
bounded staleness, the ``bounded`` reads of the reference cluster): writes are linearizable, and a
read returns the state of some moment between its invocation less the bound, and its completion.

With ``bound_s=0`` that is linearizability; with an infinite bound a read is of any past state.
Sessions are promised nothing here: two reads of one process may go back, within the bound.

Method. Two looks, the first of which tells more and the second everything.

1. *Ages.* A read of a value that another write had replaced is as old as the first such write's
   completion at least: one that was invoked after the write of the value was over. The oldest age
   is in the result, whatever the verdict: where no read was old, nothing was shown about the bound.
2. *Earlier reads.* The invocation of every read is moved back by the bound, and the history must be
   linearizable then (:mod:`checkers.linearizability`). That is the definition itself.

Source: Terry, Replicated Data Consistency Explained Through Baseball, 2013; Herlihy and Wing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from checkers.core.budget import Budget, Meter
from checkers.core.checker import Checker, named
from checkers.core.findings import FINDINGS_MAX, Row, Spent, at, rows, token, who
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import FAIL, INVOKE, OK, History
from checkers.history.errors import HistoryError
from checkers.linearizability.check import check
from checkers.linearizability.models import cas_register
from checkers.linearizability.problem import refuse_malformed, vocabulary_of

NAME = "bounded-staleness"


def bounded_staleness(*, bound_s: float = 0.0) -> Checker:
    """The checker ``bounded-staleness``.

    Args:
        bound_s: how old a state may be that is read, in seconds; infinite for any age.

    Raises:
        ValueError: the bound is negative or no number.
    """
    bound_ns = _nanoseconds(bound_s)
    model = cas_register()

    def check_history(history: History, *, budget: Budget | None = None) -> Result:
        refuse_malformed(history, model)
        _require_times(history)
        meter = Meter(budget)
        try:
            ages = _ages(history, meter)
        except Spent:
            reason = f"{meter.reason} before every operation was checked"
            return Result(NAME, Verdict.UNKNOWN, reason=reason)
        old = [age for age in ages if age.by_ns > bound_ns]
        if old:
            return _too_old(history, old, bound_ns)
        moved, origin = _earlier(history, bound_ns)
        return _retold(check(moved, model, budget=meter.left()), history, origin, ages, bound_ns)

    check_history.__doc__ = bounded_staleness.__doc__
    check_history.vocabulary = vocabulary_of(model)  # type: ignore[attr-defined]
    return named(NAME, check_history)


def _nanoseconds(bound_s: object) -> float:
    if bound_s == "inf":  # as an option is written on the command line
        return math.inf
    if type(bound_s) not in (int, float) or not bound_s >= 0:  # type: ignore[operator]
        raise ValueError(f"bound_s is {bound_s!r}; it should be a number of seconds, 0 or above")
    return float(bound_s) * 1e9  # type: ignore[arg-type]


def _require_times(history: History) -> None:
    """Refuse events without times: nothing can be said about ages then."""
    unknown = np.flatnonzero(history.time_ns < 0)
    if len(unknown):
        raise HistoryError(
            f"{history.place(int(unknown[0]))} has no time, and the age of a read needs one"
        )


# Ages ---------------------------------------------------------------------------------------------


class Age(NamedTuple):
    """How old a read's state was at least.

    Args:
        by_ns: from the completion of the write that replaced it to the read's invocation.
        read, replaced_by: invocations.
        writer: invocation of the write of the value that was read; -1 for the initial value.
    """

    by_ns: int
    read: int
    replaced_by: int
    writer: int


class _Writes:
    """The writes of one key that happened or may have, to ask what replaced a value first."""

    def __init__(self) -> None:
        self._by_value: dict[Hashable, list[tuple[int, int]]] = {}
        #: invocations of writes that were answered ok, in order, and their completions
        self._invoked: list[int] = []
        self._done: list[int] = []
        self._first: list[int] = []

    def add(self, invoke: int, done: int, value: Hashable, *, ok: bool) -> None:
        """A write, in the order of invocations."""
        self._by_value.setdefault(value, []).append((invoke, done if ok else -1))
        if ok:
            self._invoked.append(invoke)
            self._done.append(done)

    def finish(self) -> None:
        """All are added: of those invoked from each place on, which was completed first."""
        self._first = list(range(len(self._done)))
        for place in range(len(self._done) - 2, -1, -1):
            later = self._first[place + 1]
            if self._done[later] < self._done[place]:
                self._first[place] = later

    def replaced(self, value: Hashable, initial: Hashable) -> tuple[int, int, int] | None:
        """(writer, replacing write, its completion) of a value; None if nothing surely replaced it,
        or if it was written several times."""
        found = self._by_value.get(value, [])
        if len(found) > 1 or (found and (value == initial or found[0][1] < 0)):
            return None
        writer, over = found[0] if found else (-1, -1)
        place = bisect_right(self._invoked, over)
        if (not found and value != initial) or place == len(self._invoked):
            return None
        first = self._first[place]
        return writer, self._invoked[first], self._done[first]


def _new_value(row: Row) -> Any:
    """What an update writes."""
    if row.f != "cas":
        return row.input
    if not isinstance(row.input, list | tuple) or len(row.input) != 2:
        raise HistoryError(
            f"the cas invoked at event {row.invoke} has the value {row.input!r}; it should be a "
            "pair, [old, new]"
        )
    return row.input[1]


def _ages(history: History, meter: Meter) -> list[Age]:
    """The reads whose value was surely replaced before they were invoked, the oldest first."""
    by_key: dict[int, _Writes] = {}
    reads: list[tuple[int, int, Hashable]] = []
    initial = token(None)
    for row in rows(history, meter):
        key = int(history.key[row.invoke])
        if row.f == "read":
            if row.outcome == OK:
                reads.append((row.invoke, key, token(row.output)))
        elif row.outcome != FAIL:
            value = token(_new_value(row))
            writes = by_key.setdefault(key, _Writes())
            writes.add(row.invoke, row.complete, value, ok=row.outcome == OK)
    for writes in by_key.values():
        writes.finish()
    ages: list[Age] = []
    for invoke, key, value in reads:
        found = by_key[key].replaced(value, initial) if key in by_key else None
        if found is not None and found[2] < invoke:
            by_ns = int(history.time_ns[invoke] - history.time_ns[found[2]])
            ages.append(Age(by_ns, invoke, found[1], found[0]))
    return sorted(ages, key=lambda age: (-age.by_ns, age.read))


def _too_old(history: History, old: list[Age], bound_ns: float) -> Result:
    findings = [_old_finding(history, age, bound_ns) for age in old[:FINDINGS_MAX]]
    stats = {**_stats(old, bound_ns), "findings": len(old)}
    return Result(
        checker=NAME,
        verdict=Verdict.INVALID,
        reason=findings[0].sentence,
        findings=findings,
        engine="ages",
        stats=stats,
    )


def _old_finding(history: History, age: Age, bound_ns: float) -> Finding:
    read, new = history.op(age.read), history.op(age.replaced_by)
    where = "" if read.key is None else f" of key {read.key}"
    put = new.input[1] if new.f == "cas" else new.input
    sentence = (
        f"{who(history, age.read).capitalize()} read {read.output!r}{where}, and asked at "
        f"{at(history, age.read)}; {who(history, age.replaced_by)} had replaced it by {put!r} at "
        f"{at(history, new.complete)}, {_seconds(age.by_ns)} before: more than "
        f"{_seconds(bound_ns)}."
    )
    ops = tuple(sorted({age.read, age.replaced_by} | ({age.writer} - {-1})))
    return Finding(
        kind="too-stale",
        title="a read of a state older than the bound",
        sentence=sentence,
        key=read.key,
        ops=ops,
        because=(Because("realtime", source=age.replaced_by, target=age.read, value=put),),
        detail={"age_s": age.by_ns / 1e9, "bound_s": bound_ns / 1e9},
    )


# Earlier reads ------------------------------------------------------------------------------------


def _earlier(history: History, bound_ns: float) -> tuple[History, list[int]]:
    """The history with the invocations of reads moved back, and where each event was before.

    Times stay as they were, so that what is told of the operations is true.
    """
    reads = [code for code, name in enumerate(history.functions) if name == "read"]
    early = (history.type == INVOKE) & np.isin(history.f, reads)
    times = np.maximum.accumulate(history.time_ns).astype(np.float64)
    # Places between the other events; before those of the same time, which favours the system.
    others = np.flatnonzero(~early)
    ranks = np.empty(len(history), dtype=np.float64)
    ranks[others] = np.arange(len(others))
    moved = np.flatnonzero(early)
    ranks[moved] = np.searchsorted(times[others], times[moved] - bound_ns, side="left") - 0.5
    # A bound of 0 moves nothing, whatever has the same time.
    before = np.searchsorted(others, moved) - 0.5
    ranks[moved] = before if bound_ns == 0 else np.minimum(ranks[moved], before)
    order = np.lexsort((np.arange(len(history)), ranks))
    return _reordered(history, order), [int(index) for index in order]


def _reordered(history: History, order: np.ndarray) -> History:
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    pair = history.pair[order]
    errors = {int(place[index]): error for index, error in history.errors.items()}
    return History(
        type=history.type[order],
        process=history.process[order],
        f=history.f[order],
        key=history.key[order],
        time_ns=history.time_ns[order],
        pair=np.where(pair < 0, -1, place[pair]),
        values=[history.values[index] for index in order.tolist()],
        node=history.node[order],
        processes=history.processes,
        functions=history.functions,
        keys=history.keys,
        nodes=history.nodes,
        errors=errors,
        faults=history.faults,
        header=history.header,
        notes=history.notes,
    )


def _retold(
    said: Result, history: History, origin: list[int], ages: list[Age], bound_ns: float
) -> Result:
    """What was found of the moved history, told of the history itself."""
    result = said.moved(origin)
    allowed = (
        "whatever its age"
        if math.isinf(bound_ns)
        else f"at most {_seconds(bound_ns)} before it was asked for"
    )
    findings = [
        msgspec.structs.replace(
            finding,
            ops=tuple(sorted(finding.ops)),
            sentence=f"{finding.sentence} (A read may be of a state {allowed}.)",
        )
        for finding in result.findings
    ]
    reason = result.reason
    if findings:
        reason = findings[0].sentence
    elif result.verdict is Verdict.VALID:
        reason = f"every read is of a state {allowed}; {_oldest(ages)}"
    stats = {**result.stats, **_stats(ages, bound_ns)}
    return msgspec.structs.replace(
        result, checker=NAME, findings=findings, reason=reason, stats=stats
    )


def _stats(ages: list[Age], bound_ns: float) -> dict[str, object]:
    oldest_s = ages[0].by_ns / 1e9 if ages else 0.0
    bound_s = None if math.isinf(bound_ns) else bound_ns / 1e9
    return {"old_reads": len(ages), "oldest_s": oldest_s, "bound_s": bound_s}


def _oldest(ages: list[Age]) -> str:
    if not ages:
        return "none was of a value that had been replaced"
    count = "1 was" if len(ages) == 1 else f"{len(ages)} were"
    return f"{count} of a value that had been replaced, by {_seconds(ages[0].by_ns)} at most"


def _seconds(duration_ns: float) -> str:
    return f"{duration_ns / 1e9:.3g} s"
