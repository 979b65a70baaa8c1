"""The general search: is there a legal order of these operations, for any model?

Deciding linearizability is NP-complete, so this is a search, made short in every sound way known
(Wing and Gong 1993; Lowe, "Testing for linearizability", 2017; Horn and Kroening 2015; and the
observations below).

A *configuration* is what has been linearised so far and the state it led to. Required operations
are numbered by completion. ``first`` is the lowest-numbered one not linearised yet: an operation
may come next only if it was invoked before ``first`` completed, so everything linearised beyond
``first`` was concurrent with it and fits a small mask relative to ``first``. A configuration seen
before is not searched again. That key is as wide as the concurrency, not as the history.

What keeps the search short:

- A legal read-only operation is linearised at once: moving it to the front of any continuation
  changes nothing for the others.
- Of operations that are equal and both available, the one that completed first goes first.
- An optional operation (unknown outcome) is never linearised for its own sake, only right before an
  operation whose result it changes. Among configurations equal but for the optional operations
  spent, one that spent a subset of another's *dominates* it: whatever continues the other
  continues it. Optional operations that are equal are counted, not told apart.
- All of this is iterative, with a meter asked every few configurations.

The first two hold for optional operations with an end only where no such end is passed by going
early; ``barrier`` says when.

The search is complete: exhausting it proves that no legal order exists.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.budget import Meter
from checkers.linearizability.machine import Machine
from checkers.linearizability.problem import NEVER, Problem

#: Configurations between two looks at the meter.
METER_INTERVAL = 16

#: (earlier path, index of the op in the problem, state number after it)
Path = tuple[Any, int, int]


@dataclass
class Outcome:
    """What a search found.

    Args:
        legal: True, False, or None when the budget was spent first.
        path: a legal order of everything required, as (op index, state number); if not legal, the
            longest one found.
        certified: all events before this position are certified to be linearizable.
        spent: op indices of the optional operations that ever mattered.
        configurations: how many were searched.
        reason: why there is no answer.
    """

    legal: bool | None
    path: list[tuple[int, int]] = field(default_factory=list)
    certified: int = 0
    spent: set[int] = field(default_factory=set)
    configurations: int = 0
    reason: str = ""


class _Layout:
    """A problem laid out for searching: required ops by completion, optional ops by class."""

    def __init__(self, problem: Problem, machine: Machine) -> None:
        indices = [i for i in range(len(problem)) if problem.required[i]]
        indices.sort(key=problem.end.__getitem__)
        self.index = indices
        self.start = [problem.start[i] for i in indices]
        self.end = [problem.end[i] for i in indices]
        self.op_class = [machine.class_number(problem.ops[i]) for i in indices]
        self.readonly = [machine.class_readonly[c] for c in self.op_class]
        self.candidates = self._candidates()
        self.groups = _optional_groups(problem, machine)
        self.barrier = self._barriers()

    def _barriers(self) -> list[int]:
        """For each required op: the last end of an optional op that must come before it or never.

        Linearising the op early is free of consequence only if those chances are gone already.
        """
        ends = sorted(group.end for group in self.groups if group.end != NEVER)
        if not ends:
            return [-1] * len(self.start)
        found = (bisect_left(ends, start) for start in self.start)
        return [ends[at - 1] if at else -1 for at in found]

    def _candidates(self) -> list[tuple[int, ...]]:
        """For each required op as ``first``: the ops from it on that were invoked in time."""
        by_start = sorted(range(len(self.index)), key=self.start.__getitem__)
        opened: dict[int, None] = {}
        found: list[tuple[int, ...]] = []
        upto = 0
        for first, end in enumerate(self.end):
            while upto < len(by_start) and self.start[by_start[upto]] < end:
                if by_start[upto] >= first:
                    opened[by_start[upto]] = None
                upto += 1
            found.append(tuple(sorted(opened)))
            opened.pop(first, None)
        return found


@dataclass
class _Group:
    """Optional operations that are interchangeable, in order of invocation.

    ``shift`` and ``mask`` place the group in the word of spent operations: n spent are n low ones.
    """

    op_class: int
    indices: list[int]
    starts: list[int]
    end: int
    shift: int
    mask: int


def _optional_groups(problem: Problem, machine: Machine) -> list[_Group]:
    gathered: dict[tuple[int, int], list[int]] = {}
    for index in range(len(problem)):
        if not problem.required[index]:
            op_class = machine.class_number(problem.ops[index])
            alone = -1 if problem.end[index] == NEVER else index
            gathered.setdefault((op_class, alone), []).append(index)
    groups: list[_Group] = []
    shift = 0
    for (op_class, _), indices in gathered.items():
        mask = ((1 << len(indices)) - 1) << shift
        starts = [problem.start[i] for i in indices]
        groups.append(_Group(op_class, indices, starts, problem.end[indices[0]], shift, mask))
        shift += len(indices)
    groups.sort(key=lambda group: group.starts[0])
    return groups


@dataclass(slots=True)
class _Variant:
    """A state reachable by spending optional operations only."""

    state: int
    spent: int
    latest: int
    path: Path | None


class Search:
    """One search; see the module. Call :meth:`run` once.

    Args:
        problem: what to order.
        machine: the model, as a machine.
        meter: the budget.
        limit: stop without an answer after this many configurations.
        starts: numbers of the states it may start from; None for the initial state.
    """

    def __init__(
        self,
        problem: Problem,
        machine: Machine,
        meter: Meter,
        *,
        limit: int | None = None,
        starts: Sequence[int] | None = None,
    ) -> None:
        self.starts = (machine.initial,) if starts is None else tuple(starts)
        self.machine = machine
        self.meter = meter
        self.limit = limit
        self.layout = _Layout(problem, machine)
        self.seen: dict[tuple[int, int, int], list[int]] = {}
        self.outcome = Outcome(None)
        self._best: tuple[int, Path | None] = (-1, None)
        self._deepest = 0

    def run(self) -> Outcome:
        """Search until a legal order is found, none is left, or the budget is spent."""
        stack: list[tuple[int, int, int, int, int, Path | None]]
        stack = [(0, 0, state, 0, -1, None) for state in reversed(self.starts)]
        outcome = self.outcome
        found: Path | None = None
        legal: bool | None = False
        while stack:
            first, mask, state, spent, latest, path = self._read_eagerly(*stack.pop())
            if first >= len(self.layout.index):
                legal, found = True, path
                break
            if self._dominated(first, mask, state, spent):
                continue
            outcome.configurations += 1
            if outcome.configurations % METER_INTERVAL == 0 and self._stop():
                legal = None
                break
            self._note_progress(first, mask, path)
            stack.extend(self._successors(first, mask, state, spent, latest, path))
        self.meter.spent(outcome.configurations % METER_INTERVAL)
        outcome.legal = legal
        outcome.path = _unwind(found if legal else self._best[1])
        outcome.certified = NEVER if legal else self._certified()
        return outcome

    def _stop(self) -> bool:
        if self.meter.spent(METER_INTERVAL):
            self.outcome.reason = self.meter.reason
            return True
        if self.limit is not None and self.outcome.configurations >= self.limit:
            self.outcome.reason = f"stopped after {self.limit} configurations"
            return True
        return False

    def _certified(self) -> int:
        return self.layout.end[self._deepest] if self.layout.end else NEVER

    def _note_progress(self, first: int, mask: int, path: Path | None) -> None:
        done = first + mask.bit_count()
        if done > self._best[0]:
            self._best = (done, path)
        self._deepest = max(self._deepest, first)

    def _dominated(self, first: int, mask: int, state: int, spent: int) -> bool:
        """Whether a configuration at least as good was searched; else remember this one."""
        key = (first, mask, state)
        known = self.seen.get(key)
        if known is None:
            self.seen[key] = [spent]
            return False
        if any(other & ~spent == 0 for other in known):
            return True
        known[:] = [other for other in known if spent & ~other]
        known.append(spent)
        return False

    def _read_eagerly(
        self, first: int, mask: int, state: int, spent: int, latest: int, path: Path | None
    ) -> tuple[int, int, int, int, int, Path | None]:
        """Linearise every legal read-only operation that is available, and advance ``first``."""
        layout, move = self.layout, self.machine.move
        size = len(layout.index)
        while first < size:
            for j in layout.candidates[first]:
                if not layout.readonly[j] or mask >> (j - first) & 1:
                    continue
                if layout.barrier[j] <= latest and move(state, layout.op_class[j]):
                    mask |= 1 << (j - first)
                    latest = max(latest, layout.start[j])
                    path = (path, layout.index[j], state)
            if not mask & 1:
                break
            ones = (~mask & (mask + 1)).bit_length() - 1
            mask >>= ones
            first += ones
        return first, mask, state, spent, latest, path

    def _successors(
        self, first: int, mask: int, state: int, spent: int, latest: int, path: Path | None
    ) -> list[tuple[int, int, int, int, int, Path | None]]:
        """The configurations one required operation further, the most promising last."""
        layout, move = self.layout, self.machine.move
        variants = self._variants(first, _Variant(state, spent, latest, path))
        found: list[tuple[int, int, int, int, int, Path | None]] = []
        tried: set[int] = set()
        for j in layout.candidates[first]:
            op_class = layout.op_class[j]
            if mask >> (j - first) & 1 or op_class in tried:
                continue
            if layout.barrier[j] <= latest:
                tried.add(op_class)
            reached: dict[int, list[int]] = {}
            for variant in variants:
                for after in move(variant.state, op_class):
                    known = reached.setdefault(after, [])
                    if any(other & ~variant.spent == 0 for other in known):
                        continue
                    known.append(variant.spent)
                    if variant.spent != spent:
                        self._note_spent(variant.spent & ~spent)
                    step = (variant.path, layout.index[j], after)
                    now = max(variant.latest, layout.start[j])
                    bit = 1 << (j - first)
                    found.append((first, mask | bit, after, variant.spent, now, step))
        found.reverse()
        return found

    def _variants(self, first: int, base: _Variant) -> list[_Variant]:
        """The base and all states that optional operations lead to, cheaper ones first."""
        found = [base]
        if not self.layout.groups:
            return found
        end = self.layout.end[first]
        known: dict[int, list[int]] = {base.state: [base.spent]}
        for variant in found:  # grows while it is walked: breadth first
            for group in self.layout.groups:
                if group.starts[0] >= end:
                    break
                self._spend(group, variant, end, known, found)
        return found

    def _spend(
        self,
        group: _Group,
        variant: _Variant,
        end: int,
        known: dict[int, list[int]],
        found: list[_Variant],
    ) -> None:
        """Add the variants that the group's next operation leads to, unless dominated."""
        count = (variant.spent & group.mask).bit_count()
        if count == len(group.indices) or group.starts[count] >= end or variant.latest > group.end:
            return
        spent = variant.spent | 1 << (group.shift + count)
        for after in self.machine.move(variant.state, group.op_class):
            others = known.setdefault(after, [])
            if any(other & ~spent == 0 for other in others):
                continue
            others.append(spent)
            path = (variant.path, group.indices[count], after)
            latest = max(variant.latest, group.starts[count])
            found.append(_Variant(after, spent, latest, path))

    def _note_spent(self, bits: int) -> None:
        for group in self.layout.groups:
            count = (bits & group.mask).bit_count()
            if count:
                highest = (bits & group.mask).bit_length() - group.shift
                self.outcome.spent.update(group.indices[:highest])


def _unwind(path: Path | None) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    while path is not None:
        path, index, state = path
        steps.append((index, state))
    steps.reverse()
    return steps


def search(
    problem: Problem,
    machine: Machine,
    meter: Meter,
    *,
    limit: int | None = None,
    starts: Sequence[int] | None = None,
) -> Outcome:
    """Search one problem; see :class:`Search`."""
    return Search(problem, machine, meter, limit=limit, starts=starts).run()
