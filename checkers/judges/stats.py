"""Statistics of a history, and whether it has enough operations for a verdict.

A test in which no read ever completed says nothing about reads, however green. The ``stats``
checker counts operations by ``f`` and outcome, and answers UNKNOWN, never VALID, when a kind of
operation that is needed never completed ``ok``. In the lattice that doubt outranks the approval of
the checkers beside it and is outranked by their violations, which is exactly what is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from checkers.core.budget import Budget
from checkers.core.checker import Checker, named
from checkers.core.verdict import Result, Verdict

if TYPE_CHECKING:
    from checkers.history import History

OUTCOMES = ("ok", "fail", "info")

#: Errors that agree in so much of their text count as one.
ERROR_CHARS_MAX = 300

#: So many texts of one error are counted apart, to show the commonest.
TEXTS_MAX = 50


def counts(history: History) -> dict[str, dict[str, int]]:
    """``f`` -> outcome -> number of operations, in order of first appearance of ``f``."""
    import numpy as np

    from checkers.history import FAIL, INFO, OK

    invoked = history.invocations
    functions = history.f[invoked]
    outcomes = history.outcomes()
    found: dict[str, dict[str, int]] = {}
    for code, name in enumerate(history.functions):
        of_this = outcomes[functions == code]
        if len(of_this):
            found[name] = {
                word: int(np.count_nonzero(of_this == outcome))
                for word, outcome in zip(OUTCOMES, (OK, FAIL, INFO))
            }
    return found


class Failure(msgspec.Struct, frozen=True):
    """One way in which operations failed or stayed unknown.

    Args:
        f: the operation's name.
        outcome: ``fail`` or ``info``.
        error: the error as it was met most often; empty where none was given.
        count: how many such operations there were, with numbers in the error left out of account.
    """

    f: str
    outcome: str
    error: str
    count: int


#: a hexadecimal identifier, or a number
_NUMBER = re.compile(r"\b[0-9a-f]{8,}\b|\d+(?:\.\d+\b)?")


def failures(history: History) -> list[Failure]:
    """Why operations failed or ended unknown, the commonest first.

    Errors that differ in numbers only (a port, a duration, a value, an identifier) are one. An
    invocation that never completed has no event that could say why, and is not here.
    """
    import numpy as np

    shapes: dict[str, str] = {}
    totals: dict[tuple[str, str, str], int] = {}
    texts: dict[tuple[str, str, str], dict[str, int]] = {}
    for index in np.flatnonzero(history.type >= 2).tolist():
        error = history.errors.get(index)
        said = "" if error is None else error if isinstance(error, str) else repr(error)
        said = said[:ERROR_CHARS_MAX]
        f, outcome = history.functions[history.f[index]], OUTCOMES[history.type[index] - 1]
        shape = shapes.get(said)
        if shape is None:
            shape = shapes[said] = _NUMBER.sub("#", said)
        kind = (f, outcome, shape)
        totals[kind] = totals.get(kind, 0) + 1
        met = texts.setdefault(kind, {})
        if said in met or len(met) < TEXTS_MAX:
            met[said] = met.get(said, 0) + 1
    found = [
        Failure(
            f, outcome, max(texts[f, outcome, kind], key=texts[f, outcome, kind].__getitem__), n
        )
        for (f, outcome, kind), n in totals.items()
    ]
    return sorted(found, key=lambda each: (-each.count, each.f, each.outcome, each.error))


def stats(*, needs: Iterable[str] = (), name: str = "stats") -> Checker:
    """A checker that counts, and says UNKNOWN where the evidence is missing.

    ``stats`` of the result: ``ops``, ``ok``, ``fail``, ``info``, ``by_f`` (f -> outcome -> count)
    and ``idle`` (the f of which nothing completed ok).

    Args:
        needs: the ``f`` of which at least one must have completed ok; of all others that were
            invoked the same is asked.
        name: the checker's name.
    """
    needed = (needs,) if isinstance(needs, str) else tuple(needs)

    def count(history: History, *, budget: Budget | None = None) -> Result:
        by_f = counts(history)
        totals = {word: sum(of[word] for of in by_f.values()) for word in OUTCOMES}
        expected = dict.fromkeys((*needed, *by_f))
        idle = [f for f in expected if by_f.get(f, {}).get("ok", 0) == 0]
        found: dict[str, object] = {"ops": history.op_count, **totals, "by_f": by_f, "idle": idle}
        verdict, reason = _judge(history.op_count, totals, idle, by_f)
        return Result(checker=name, verdict=verdict, reason=reason, stats=found)

    return named(name, count)


def _judge(
    ops: int, totals: dict[str, int], idle: list[str], by_f: dict[str, dict[str, int]]
) -> tuple[Verdict, str]:
    if ops == 0:
        return Verdict.UNKNOWN, "the history has no operations, so there is nothing to check"
    if idle:
        f = idle[0]
        tried = sum(by_f.get(f, {}).values())
        how = f"none of {tried} {f!r} operations completed ok" if tried else f"no {f!r} was invoked"
        more = f" (nor any of {', '.join(map(repr, idle[1:]))})" if idle[1:] else ""
        return Verdict.UNKNOWN, f"{how}{more}: the history is no evidence for them"
    share = totals["ok"] / ops
    return Verdict.VALID, f"{totals['ok']} of {ops} operations completed ok ({share:.1%})"
