"""The few operations that show a violation among values that were appended.

Problem. A get of a long value proves a contradiction only together with everything that made the
value. That may be hundreds of operations, of which two or three matter.

Solution. The moment at which the others happened does not matter. Two gets, of ``"abc"`` and then
of ``"ab"``, are illegal whenever ``"a"``, ``"b"`` and ``"c"`` were appended once each. So where the
others are many they become optional, as writes do in :mod:`checkers.linearizability.zones.witness`:
each may happen at any time, at most once, or never. A run of them with no observed value between is
merged into one operation, which puts or appends all of them.

Invariants. Each of these steps weakens what was observed. A history that is illegal even so is
illegal. Where the others are few, all are shown as recorded, and so are the appends of a piece that
was appended several times, if the violation is about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from checkers.core.budget import Meter
from checkers.history import Op
from checkers.linearizability.model import Model
from checkers.linearizability.monitors.appended import Judgement, check_key
from checkers.linearizability.monitors.prefix_forest import NOTHING, Forest
from checkers.linearizability.problem import Problem
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search

#: Witnesses of at most so many operations are shown as recorded.
FEW = 6

#: Configurations one attempt at leaving an operation out may search.
PROBE_LIMIT = 4_000

#: Operations that contradict each other; of more, none is left out.
SHOWN_MAX = 16


def witness_of(said: Judgement, model: Model, meter: Meter) -> Problem:
    """The smallest witness found of an illegal key.

    Args:
        said: the judgement.
        model: the key-value model.
        meter: the check's budget.
    """
    forest, recorded = said.forest, said.forest.problem.subset(said.proof)
    if len(recorded) == 1 or len(said.shown) > SHOWN_MAX:
        return recorded
    if said.shown[0] in forest.nowhere:
        return recorded if len(recorded) <= FEW else _overwritten(forest, said.shown[0])
    shown, fixed = set(said.shown), set(said.fixed)
    closed = _fewest(shown, lambda part: forest.problem.subset(forest.closed(part)), model, meter)
    if closed is not None and len(closed) <= FEW:
        return closed
    weakened = _fewest(shown, lambda part: _weakened(forest, part | fixed), model, meter)
    return weakened or closed or recorded


def _fewest(
    shown: set[int], problem_of: Callable[[set[int]], Problem], model: Model, meter: Meter
) -> Problem | None:
    """The problem of as few of these operations as are illegal; None if all of them are not."""
    found = problem_of(shown)
    if not _illegal(found, model, meter):
        return None
    kept = set(shown)
    for index in sorted(shown):
        less = problem_of(kept - {index})
        if len(kept) > 1 and _illegal(less, model, meter):
            kept.discard(index)
            found = less
    return found


def _illegal(problem: Problem, model: Model, meter: Meter) -> bool:
    said = check_key(problem, model, meter)
    if said is not None:
        return not said.legal
    return search(problem, Machine(model), meter, limit=PROBE_LIMIT).legal is False


def _weakened(forest: Forest, shown: set[int]) -> Problem:
    """These operations as recorded; those that made the values observed stand aside."""
    aside = [op for root in forest.roots.values() for op in _aside(forest, root, shown)]
    return forest.problem.subset(shown).beside(aside)


def _overwritten(forest: Forest, index: int) -> Problem:
    """A get of a value that another put had replaced; what was appended to it stands aside.

    When the value was put, or that it was the initial one, matters.
    """
    ops, stories = forest.problem.ops, forest.gone[index]
    shown = {index, *forest.between[index], *(story.put for story in stories)} - {NOTHING}
    runs = [[forest.appends[piece][0] for piece in story.pieces] for story in stories]
    aside = [_merged([ops[maker] for maker in run], forest.kind is str) for run in runs if run]
    return forest.problem.subset(shown).beside(aside)


def _aside(forest: Forest, root: int, shown: set[int]) -> Iterator[Op]:
    """What made the values of one chain, as far as something shown was observed, in its order."""
    ops, strings = forest.problem.ops, forest.kind is str
    pending: list[tuple[int, list[list[int]]]] = [(root, [[]])]
    while pending:
        node, runs = pending.pop()
        maker = next(iter(forest.makers(node)), None)
        if maker in shown:
            runs.append([])
        elif maker is not None:
            runs[-1].append(maker)
        children = forest.children[node]
        if len(children) > 1 or not shown.isdisjoint(forest.seen[node]):
            yield from (_merged([ops[index] for index in run], strings) for run in runs if run)
            runs = [[]]
        pending += [(child, [*map(list, runs)]) for child in children]


def _merged(run: list[Op], strings: bool) -> Op:
    """One operation that does what these did, in the name of the first."""
    first, *others = run
    value: object = first.input
    for op in others:
        value = (value or "") + op.input if strings else _listed(value) + _listed(op.input)
    return msgspec.structs.replace(first, input=value, output=value, type="ok")


def _listed(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
