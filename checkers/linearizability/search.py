"""The depth-first engine: follow one order of operations as deep as it goes, then turn back.

Deciding linearizability is NP-complete, so this is a search, made short in every sound way known
(Wing and Gong 1993; Lowe, "Testing for linearizability", 2017; Horn and Kroening 2015; and the
observations below).

A *configuration* is what has been linearised so far and the state it led to. Required operations
are numbered by completion. ``first`` is the lowest-numbered one not linearised yet: an operation
may come next only if it was invoked before ``first`` completed, so everything linearised beyond
``first`` was concurrent with it and fits a small mask relative to ``first``. A configuration that
failed before is not searched again. That key is as wide as the concurrency, not as the history.

What keeps the search short:

- A legal read-only operation is linearised at once: moving it to the front of any continuation
  changes nothing for the others.
- Of operations that are equal and both available, the one that completed first goes first.
- An optional operation (unknown outcome) is never linearised for its own sake, only right before an
  operation whose result it changes. Optional operations that are equal are counted.
- A failure has a reason: the optional operations without whose being spent there would have been
  one more thing to try. Whoever is in the same place, having spent at least those, fails as well
  (learning from conflicts, as satisfiability solvers do).
- Unknown operations of different power are exchanged: an unknown write of v may stand for an
  unknown swap of anything to v, so the swap is spent rather (:mod:`.demand`).
- All of this is iterative and can be stopped at any configuration.

The first two hold for optional operations with an end only where no such end is passed by going
early; ``barrier`` says when. With such an end, a failure's reason is all that was spent.

The search is complete: exhausting it proves that no legal order exists.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.linearizability.demand import Demand, covers
from checkers.linearizability.machine import Machine
from checkers.linearizability.problem import NEVER, Problem

#: Configurations between two looks at the meter.
PAUSE_INTERVAL = 16

#: Small steps within one configuration between two looks at the meter.
WORK_INTERVAL = 2048

#: (earlier path, index of the op in the problem, state number after it)
Path = tuple[Any, int, int]


@dataclass
class Outcome:
    """What a search found.

    Args:
        legal: True, False, or None when the budget was spent first.
        path: a legal order of everything required, as (op index, state number); if not legal, the
            longest one found.
        traced: whether the path is known.
        certified: all events before this position are certified to be linearizable.
        spent: op indices of the optional operations that ever mattered.
        configurations: how many were searched.
        reason: why there is no answer.
    """

    legal: bool | None
    path: list[tuple[int, int]] = field(default_factory=list)
    traced: bool = True
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
        self._by_start = sorted(range(len(indices)), key=self.start.__getitem__)
        self._candidates: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self._pending: dict[int, None] = {}
        self._upto = 0
        self.groups = _optional_groups(problem, machine)
        self.barrier = self._barriers()
        self._firsts = [group.starts[0] for group in self.groups]

    def _barriers(self) -> list[int]:
        """For each required op: the last end of an optional op that must come before it or never.

        Linearising the op early is free of consequence only if those chances are gone already.
        """
        ends = sorted(group.end for group in self.groups if group.end != NEVER)
        if not ends:
            return [-1] * len(self.start)
        found = (bisect_left(ends, start) for start in self.start)
        return [ends[at - 1] if at else -1 for at in found]

    def opened(self, first: int) -> int:
        """How many of the optional groups were invoked in time, with this required op first."""
        return bisect_left(self._firsts, self.end[first])

    def candidates(self, first: int) -> tuple[int, ...]:
        """The ops from ``first`` on that were invoked before it completed."""
        if first >= len(self._candidates):
            self._extend(first)
        return self._candidates[first][0]

    def read_candidates(self, first: int) -> tuple[int, ...]:
        """Those of the candidates that are read-only."""
        if first >= len(self._candidates):
            self._extend(first)
        return self._candidates[first][1]

    def _extend(self, first: int) -> None:
        """Find the candidates as far as this: a search that gives up early needs no more."""
        by_start, opened = self._by_start, self._pending
        for at in range(len(self._candidates), first + 1):
            end = self.end[at]
            while self._upto < len(by_start) and self.start[by_start[self._upto]] < end:
                if by_start[self._upto] >= at:
                    opened[by_start[self._upto]] = None
                self._upto += 1
            every = tuple(sorted(opened))
            self._candidates.append((every, tuple(j for j in every if self.readonly[j])))
            opened.pop(at, None)


@dataclass
class _Group:
    """Optional operations that are interchangeable, in order of invocation.

    ``shift`` places the group in the word of spent operations: n spent are n low ones of ``ones``.
    """

    op_class: int
    indices: list[int]
    starts: list[int]
    end: int
    shift: int
    ones: int

    @property
    def mask(self) -> int:
        """The group's bits in the word (made when needed: many groups make long words)."""
        return self.ones << self.shift


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
        ones = (1 << len(indices)) - 1
        starts = [problem.start[i] for i in indices]
        groups.append(_Group(op_class, indices, starts, problem.end[indices[0]], shift, ones))
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


class _Frame:
    """A configuration whose successors are being searched.

    ``blame`` is the reason of its failure as far as known: the spendings without which it might
    not have failed.
    """

    __slots__ = ("blame", "children", "key", "spent")

    def __init__(self, key: tuple[int, int, int], spent: int) -> None:
        self.key = key
        self.spent = spent
        self.blame = 0
        self.children: list[_Child] = []


#: (first, mask, state, spent, latest, path) of a successor
_Child = tuple[int, int, int, int, int, "Path | None"]


class Search:
    """One search; see the module. Iterate :meth:`walk` until it ends, then read :attr:`outcome`.

    Args:
        problem: what to order.
        machine: the model, as a machine.
        starts: numbers of the states it may start from; None for the initial state.
    """

    def __init__(
        self, problem: Problem, machine: Machine, *, starts: Sequence[int] | None = None
    ) -> None:
        self.starts = (machine.initial,) if starts is None else tuple(starts)
        self.machine = machine
        self.layout = _Layout(problem, machine)
        self.demand = Demand(machine, [group.op_class for group in self.layout.groups])
        self.ranked = self.demand.ranked()
        self.failed: dict[tuple[int, int, int], list[int]] = {}
        self.outcome = Outcome(None)
        self._best: tuple[int, Path | None] = (-1, None)
        self._work = 0
        self._deepest = 0
        self._ended = any(group.end != NEVER for group in self.layout.groups)
        if self._ended:
            self.demand.better = [0] * len(self.ranked)
        self.families = self.demand.families([group.mask for group in self.layout.groups])
        by_shift = sorted(self.layout.groups, key=lambda group: group.shift)
        self._group_of_bit = [group for group in by_shift for _ in group.indices]

    def walk(self) -> Iterator[int]:
        """Search; yields the configurations examined since it last yielded."""
        root = _Frame((-1, 0, 0), 0)
        root.children = [(0, 0, state, 0, -1, None) for state in reversed(self.starts)]
        frames = [root]
        outcome, count = self.outcome, 0
        while frames:
            frame = frames[-1]
            if not frame.children:
                self._fail(frames)
                continue
            child = frame.children.pop()
            first, mask, state, spent, latest, path = self._read_eagerly(*child)
            if first >= len(self.layout.index):
                outcome.legal, outcome.path, outcome.certified = True, unwind(path), NEVER
                return
            reason = self._failure(first, mask, state, spent)
            if reason >= 0:
                frame.blame |= self._shifted(reason, frame.spent, spent)
                continue
            outcome.configurations += 1
            count += 1
            self._note_progress(first, mask, path)
            frames.append((yield from self._enter(first, mask, state, spent, latest, path)))
            if count >= PAUSE_INTERVAL:
                yield count
                count = 0
        outcome.legal = False
        self.note()

    def note(self) -> None:
        """Put into the outcome how far the search got."""
        self.outcome.path = unwind(self._best[1])
        self.outcome.certified = self.layout.end[self._deepest] if self.layout.end else NEVER

    def _fail(self, frames: list[_Frame]) -> None:
        """All successors of the last configuration failed: remember why, and tell the one before.

        It fails as well with anything spent that includes what is to blame.
        """
        frame = frames.pop()
        if not frames:
            return
        blame = frame.spent if self._ended else frame.blame
        known = self.failed.setdefault(frame.key, [])
        known[:] = [other for other in known if blame & ~other]
        known.append(blame)
        above = frames[-1]
        above.blame |= self._shifted(blame, above.spent, frame.spent)

    def _failure(self, first: int, mask: int, state: int, spent: int) -> int:
        """Why this configuration must fail, if one that failed says so, else -1."""
        families = self.families
        known = self.failed.get((first, mask, state), ())
        self._work += len(known)
        for blame in known:
            if not blame & ~spent:
                return blame
            if families and covers(blame, spent, families):
                return self._own(blame, spent)
        return -1

    def _own(self, blame: int, spent: int) -> int:
        """What is to blame, in what was spent here: other spendings stand for what is missing."""
        missing, own = blame & ~spent, blame & spent
        for general, special in self.families:
            if missing & special:
                own |= spent & general
        return own

    def _shifted(self, blame: int, before: int, after: int) -> int:
        """What is to blame after some spending, in terms of what was spent before it."""
        if before == after or not blame:
            return blame
        for group, _, fresh in self._groups_in(after & ~before):
            part = blame >> group.shift & group.ones
            if part:
                blame = blame & ~group.mask | (part >> fresh) << group.shift
        return blame

    def _groups_in(self, bits: int) -> list[tuple[_Group, int, int]]:
        """(group, bits up to its highest, number of its bits) of the groups that have bits here."""
        found: list[tuple[_Group, int, int]] = []
        while bits:
            group = self._group_of_bit[(bits & -bits).bit_length() - 1]
            own = bits >> group.shift & group.ones
            bits ^= own << group.shift
            found.append((group, own.bit_length(), own.bit_count()))
        return found

    def _note_progress(self, first: int, mask: int, path: Path | None) -> None:
        done = first + mask.bit_count()
        if done > self._best[0]:
            self._best = (done, path)
        self._deepest = max(self._deepest, first)

    def _read_eagerly(
        self, first: int, mask: int, state: int, spent: int, latest: int, path: Path | None
    ) -> _Child:
        """Linearise every legal read-only operation that is available, and advance ``first``."""
        layout, move = self.layout, self.machine.move
        size = len(layout.index)
        while first < size:
            for j in layout.read_candidates(first):
                if mask >> (j - first) & 1:
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

    def _enter(
        self, first: int, mask: int, state: int, spent: int, latest: int, path: Path | None
    ) -> Generator[int, None, _Frame]:
        """The configuration with those one required operation further, cheapest last."""
        layout, move = self.layout, self.machine.move
        frame = _Frame((first, mask, state), spent)
        choices: list[tuple[int, int]] = []
        tried: set[int] = set()
        for j in layout.candidates(first):
            op_class = layout.op_class[j]
            if mask >> (j - first) & 1 or op_class in tried:
                continue
            if layout.barrier[j] <= latest:
                tried.add(op_class)
            choices.append((j, op_class))
        base = _Variant(state, spent, latest, path)
        variants = yield from self._variants(frame, first, base, choices)
        costs_more = len(variants) > 1
        for j, op_class in choices:
            reached: dict[int, list[int]] = {}
            for variant in variants:
                for after in move(variant.state, op_class):
                    known = reached.setdefault(after, [])
                    self._work += 1 + len(known)
                    if self._work >= WORK_INTERVAL:
                        self._work = 0
                        yield 1
                    if any(other & ~variant.spent == 0 for other in known):
                        continue
                    known.append(variant.spent)
                    if variant.spent != spent:
                        self._note_spent(variant.spent & ~spent)
                    step = (variant.path, layout.index[j], after)
                    now = max(variant.latest, layout.start[j])
                    bit = 1 << (j - first)
                    frame.children.append((first, mask | bit, after, variant.spent, now, step))
        if costs_more:
            frame.children.sort(key=lambda child: child[3].bit_count())
        frame.children.reverse()
        return frame

    def _variants(
        self, frame: _Frame, first: int, base: _Variant, choices: list[tuple[int, int]]
    ) -> Generator[int, None, list[_Variant]]:
        """The base and all useful states that optional operations lead to, cheaper ones first."""
        found = [base]
        groups = self.layout.groups[: self.layout.opened(first)]
        if not groups:
            return found
        until = self.layout.end[first]
        classes = tuple(sorted({op_class for _, op_class in choices}))
        useful = self.demand.useful(base.state, classes, len(groups))
        if useful is not None and not useful:
            return found
        known: dict[int, list[int]] = {base.state: [base.spent]}
        better = self.demand.better
        for variant in found:  # grows while it is walked: breadth first
            left = 0
            for place in self.ranked:
                if place >= len(groups) or better[place] & left:
                    continue
                self._work += 1
                if self._work >= WORK_INTERVAL:
                    self._work = 0
                    yield 1
                if self._spend(groups[place], until, variant, base, frame, useful, known, found):
                    left |= 1 << place
        return found

    def _spend(
        self,
        group: _Group,
        until: int,
        variant: _Variant,
        base: _Variant,
        frame: _Frame,
        useful: frozenset[int] | None,
        known: dict[int, list[int]],
        found: list[_Variant],
    ) -> bool:
        """Add the variants that the group's next operation leads to, unless dominated.

        Only what was invoked before ``until`` is available.
        If all of the group that was invoked in time is spent, that is to blame for what follows.
        """
        reached = self.machine.move(variant.state, group.op_class)
        if useful is not None:
            reached = tuple(state for state in reached if state in useful)
        if not reached or variant.latest > group.end:
            return False
        count = (variant.spent >> group.shift & group.ones).bit_count()
        if count >= len(group.starts) or group.starts[count] >= until:
            available = bisect_left(group.starts, until)
            needed = (
                available - ((variant.spent & ~base.spent) >> group.shift & group.ones).bit_count()
            )
            if needed > 0:
                frame.blame |= ((1 << needed) - 1) << group.shift
            return False
        spent = variant.spent | 1 << (group.shift + count)
        for after in reached:
            others = known.setdefault(after, [])
            self._work += len(others)
            if any(other & ~spent == 0 for other in others):
                continue
            others.append(spent)
            path = (variant.path, group.indices[count], after)
            latest = max(variant.latest, group.starts[count])
            found.append(_Variant(after, spent, latest, path))
        return True

    def _note_spent(self, bits: int) -> None:
        for group, highest, _ in self._groups_in(bits):
            self.outcome.spent.update(group.indices[:highest])


def unwind(path: Path | None) -> list[tuple[int, int]]:
    """The steps of a path, first to last."""
    steps: list[tuple[int, int]] = []
    while path is not None:
        path, index, state = path
        steps.append((index, state))
    steps.reverse()
    return steps
