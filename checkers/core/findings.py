"""Shared parts of the checkers of particular workloads: rows of operations, life lines, results.

A checker of this kind is one pass over the operations that gathers evidence and violations. Two
rules hold for all of them.

*Evidence*: a VALID names the checks that could have failed. A history of the harness without any
such check is UNKNOWN, with the reason, since its workload (named in the header) should have made
them. A history in which nothing completed is UNKNOWN too. A foreign history whose completed
operations are legal by definition, such as additions without a read, is VALID, and the reason says
how little was observed.

*Soundness*: order is the order of events in the history, never wall-clock time (except for leases,
which are about time). An operation of unknown outcome counts as happened or not, whichever excuses
the system.

For the checkers beside this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from checkers.core.budget import Budget, Meter
from checkers.core.checker import Checker, named
from checkers.core.verdict import Finding, Result, Verdict
from checkers.core.vocabulary import Vocabulary
from checkers.history import FAIL, INFO, OK, History, HistoryError, freeze
from checkers.history.columns import short

#: More findings of one check than this are counted but not kept.
FINDINGS_MAX = 50

#: How many rows are checked between two looks at the budget.
METER_INTERVAL = 4096

#: No number is larger: sums and differences of such are still finite as floats.
NUMBER_LIMIT = 10**300

_PLAIN = (int, str, type(None))


class Row(NamedTuple):
    """One operation as a checker sees it; cheaper than an Op."""

    invoke: int
    complete: int  # -1 while open
    outcome: int  # OK, FAIL or INFO
    f: str
    process: int  # a code
    input: Any
    output: Any  # None unless ok


@dataclass
class Judgement:
    """The outcome of a check.

    Args:
        findings: the violations, most telling first.
        checked: how many things were checked that could have failed; 0 means no evidence.
        evidence: one sentence of what was checked.
        missing: why nothing could be checked, where ``checked`` is 0.
        doubt: why the answer is UNKNOWN although things were checked, if it is.
        stats: counts, JSON-ready.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: int = 0
    evidence: str = ""
    missing: str = "no operation that this checker supports was completed"
    doubt: str = ""
    stats: dict[str, Any] = field(default_factory=dict)


HistoryCheck = Callable[[History, Meter], Judgement]


class Spent(Exception):
    """The budget is spent; the message says which."""


def make(
    name: str,
    check_history: HistoryCheck,
    *,
    vocabulary: Vocabulary | Collection[str],
    keyed: bool = True,
    trivial: Collection[str] = (),
) -> Checker:
    """A checker made of a function of a history and a meter.

    Args:
        name: the checker's name, as on the command line.
        check_history: checks one history, or the part of it with one key.
        vocabulary: the operations it checks, or their names; empty for any.
        keyed: check every key alone.
        trivial: names of operations which are legal when nothing else is there to contradict them.
    """

    def check(history: History, *, budget: Budget | None = None) -> Result:
        meter = Meter(budget)
        try:
            if keyed and history.keys:
                judgement = _each_key(history, check_history, meter)
            else:
                judgement = check_history(history, meter)
        except HistoryError as error:
            stats = {"malformed": True}
            return _answer(name, Judgement(checked=1, doubt=f"{error}", stats=stats), meter)
        except Spent:
            said = f"{meter.reason} before every operation was checked"
            return _answer(name, Judgement(checked=1, doubt=said), meter)
        if not judgement.checked and not judgement.findings and not judgement.doubt:
            return _unchallenged(name, history, judgement, meter, trivial)
        return _answer(name, judgement, meter)

    check.__doc__ = check_history.__doc__
    if not isinstance(vocabulary, Vocabulary):
        vocabulary = Vocabulary(frozenset(vocabulary))
    check.vocabulary = vocabulary if vocabulary.words else None  # type: ignore[attr-defined]
    return named(name, check)


def _each_key(history: History, check_history: HistoryCheck, meter: Meter) -> Judgement:
    whole = Judgement()
    missing = ""
    for key, part in history.by_key().items():
        said = check_history(part, meter)
        origin = part.header["origin"]
        for finding in said.findings:
            found = finding.moved(origin)
            found.key = key if found.key is None else found.key
            whole.findings.append(found)
        whole.checked += said.checked
        whole.evidence = whole.evidence or said.evidence
        whole.doubt = whole.doubt or (f"key {key!r}: {said.doubt}" if said.doubt else "")
        missing = missing or said.missing
        for count, value in said.stats.items():
            if isinstance(value, int) and not isinstance(value, bool):
                whole.stats[count] = whole.stats.get(count, 0) + value
        if meter.spent():
            raise Spent
    whole.stats["keys"] = len(history.keys)
    if len(history.keys) > 1:
        whole.evidence = f"over {len(history.keys)} keys; the first: {whole.evidence}"
    whole.missing = missing or whole.missing
    return whole


def _unchallenged(
    name: str, history: History, said: Judgement, meter: Meter, trivial: Collection[str]
) -> Result:
    """The answer where nothing could have failed: legal as it stands, or no evidence at all."""
    codes = history.f[history.type == OK].tolist()
    counts = Counter(history.functions[code] for code in codes)
    seen = {f: count for f, count in counts.items() if f in trivial}
    if not seen or "workload" in history.header:
        return _answer(name, said, meter)
    listed = ", ".join(f"{count} {f}" for f, count in seen.items())
    answer = _answer(name, said, meter)
    answer.verdict = Verdict.VALID
    answer.reason = f"{listed} completed and nothing could contradict them: {said.missing}"
    answer.stats["unchallenged"] = True
    return answer


def _answer(name: str, said: Judgement, meter: Meter) -> Result:
    found = said.findings
    stats = {**said.stats, "findings": len(found), "checked": said.checked}
    if found:
        verdict, reason = Verdict.INVALID, found[0].sentence
    elif said.doubt:
        verdict, reason = Verdict.UNKNOWN, said.doubt
    elif not said.checked:
        verdict, reason = Verdict.UNKNOWN, said.missing
    else:
        verdict, reason = Verdict.VALID, said.evidence
    return Result(
        checker=name,
        verdict=verdict,
        reason=reason,
        findings=found[:FINDINGS_MAX],
        stats=stats,
        elapsed_s=meter.elapsed_s,
    )


def rows(history: History, meter: Meter | None = None) -> Iterator[Row]:
    """All operations in order of invocation.

    Raises:
        Spent: the budget is.
    """
    functions, values = history.functions, history.values
    invokes = history.invocations
    columns = zip(
        invokes.tolist(),
        history.pair[invokes].tolist(),
        history.outcomes().tolist(),
        history.f[invokes].tolist(),
        history.process[invokes].tolist(),
    )
    for number, (invoke, done, outcome, f, process) in enumerate(columns):
        if meter is not None and number % METER_INTERVAL == 0 and meter.spent():
            raise Spent
        output = values[done] if outcome == OK else None
        yield Row(invoke, done, outcome, functions[f], process, values[invoke], output)


def token(value: object) -> Hashable:
    """A hashable stand-in for a value, which distinguishes 1, True and 1.0."""
    if type(value) in _PLAIN:
        return value
    return (type(value).__name__, freeze(value))


def at(history: History, index: int) -> str:
    """When an event happened: ``3.214 s``, or its number where the history has no times."""
    time_ns = int(history.time_ns[index])
    return f"{time_ns / 1e9:.3f} s" if time_ns >= 0 else f"event {index}"


def who(history: History, index: int) -> str:
    """The process of an operation: ``process 3``."""
    return f"process {history.processes[history.process[index]]}"


def refuse(history: History, index: int, message: str) -> HistoryError:
    """The error for a value that cannot be, with the event's place."""
    return HistoryError(message, place=f"{history.place(index)} ({who(history, index)})")


def known(outcome: int) -> str:
    """An outcome in words."""
    return {OK: "acknowledged", FAIL: "failed", INFO: "of unknown outcome"}[outcome]


def _text(value: object) -> str:
    return value[:60] if isinstance(value, str) else short(value)


def as_list(history: History, index: int, value: object, what: str) -> list[object]:
    """A value that must be a list; None is an empty one, as a key that is absent is read.

    Raises:
        HistoryError: it is none.
    """
    if value is None or isinstance(value, (list, tuple)):
        return list(value or ())
    raise refuse(history, index, f"{what} must be a list, not {_text(value)!r}")


def as_number(history: History, index: int, value: Any, what: str) -> int | float:
    """A value that must be a number; so large a one that it is none as a float is refused, too.

    Raises:
        HistoryError: it is none.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and abs(value) < NUMBER_LIMIT:
        found: int | float = value
        return found
    raise refuse(history, index, f"{what} must be a finite number, not {_text(value)!r}")
