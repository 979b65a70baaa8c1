"""The depth-first engine: follow one order of operations as deep as it goes, then turn back.

Problem. Deciding linearizability is NP-complete, so an order of the operations is searched for.

Solution. A *configuration* is what has been linearised so far and the state it led to. Required
operations are numbered by completion. ``first`` is the lowest-numbered one that is not linearised
yet. An operation may come next only if it was invoked before ``first`` completed, so everything
linearised beyond ``first`` was concurrent with it and fits a small mask relative to ``first``. A
configuration that failed before is not searched again. Its key is as wide as the concurrency, not
as the history. The search is kept short by these rules:

- A legal read-only operation is linearised at once: moving it to the front of any continuation
  changes nothing for the others.
- Of operations that are equal and both available, the one that completed first goes first.
- An optional operation (unknown outcome) is never linearised for its own sake, only right before an
  operation whose result it changes. Optional operations that are equal are counted.
- A failure has a reason, and a configuration to which the reason applies fails at once
  (:mod:`.wgl_failures`).
- Where one unknown operation can stand for another, the less useful one is linearised first: an
  unknown compare-and-set to v before an unknown write of v (:mod:`.info_op_dominance`).

Invariants. The search is complete: exhausting it proves that no legal order exists. It is iterative
and can be stopped at any configuration. The first two rules hold for optional operations with an
end only where going early passes no such end; ``barrier`` says when. With such an end, the reason
of a failure is everything that was taken.

What breaks without it: histories with several legal orders would need the breadth-first engine,
whose memory grows with their number.

Source: Wing and Gong 1993; Lowe, "Testing for linearizability", 2017; Horn and Kroening 2015.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from checkers.linearizability.problem import NEVER, Problem
from checkers.linearizability.search.info_op_dominance import Demand
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.wgl_failures import Failures
from checkers.linearizability.search.wgl_layout import Group, Layout

#: Configurations between two looks at the meter.
PAUSE_INTERVAL = 64

#: Small steps within one configuration between two looks at the meter.
WORK_INTERVAL = 2048

#: (earlier path, index of the op in the problem, state number after it)
Path: TypeAlias = "tuple[Path | None, int, int]"


@dataclass
class Outcome:
    """The outcome of a search.

    Args:
        legal: True, False, or None when the budget was spent first.
        path: a legal order of everything required, as (op index, state number); if not legal, the
            longest one found.
        traced: whether the path is known.
        certified: all events before this position are certified to be linearizable.
        taken: op indices of the optional operations that ever mattered.
        configurations: how many were searched.
        reason: why there is no answer.
    """

    legal: bool | None
    path: list[tuple[int, int]] = field(default_factory=list)
    traced: bool = True
    certified: int = 0
    taken: set[int] = field(default_factory=set)
    configurations: int = 0
    reason: str = ""


@dataclass(slots=True)
class _Variant:
    """A state reachable by taking optional operations only."""

    state: int
    taken: int
    latest: int
    path: Path | None


#: (first, mask, state, taken, latest, path) of a successor
_Child = tuple[int, int, int, int, int, "Path | None"]


#: (place, group, states after, the same as a mask or -1) of a group possible in a state
_Edge = tuple[int, Group, tuple[int, ...], int]


class _Over(Enum):
    """There is no child any more."""

    OVER = "over"


class _Frame:
    """A configuration whose successors are being searched.

    ``blame`` is the reason of its failure as far as known: the takings without which it might
    not have failed. Its children are made as they are asked for (mostly the first will do), by
    :meth:`Search._children`.
    """

    __slots__ = ("blame", "key", "taken")

    def __init__(self, key: tuple[int, int, int], taken: int) -> None:
        self.key = key
        self.taken = taken
        self.blame = 0


@dataclass(slots=True)
class _Spending:
    """How far the optional operations were taken at a configuration: one more at each level.

    Args:
        until: only optional operations invoked before are available.
        opened: how many of the groups have any of those.
        useful: the states worth going to, as a mask; None if all are.
        found: the configuration itself as a variant, and the variants; those not yet gone on from
            begin ``at``.
        known: the words of taken operations found, by the state they led to.
        reached: for each choice, the same after it.
    """

    until: int
    opened: int
    useful: int | None
    found: list[_Variant]
    at: int
    known: dict[int, list[int]]
    reached: list[dict[int, list[int]]]


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
        self.layout = Layout(problem, machine)
        self.demand = Demand(machine, [group.op_class for group in self.layout.groups])
        self.ranked = self.demand.ranked()
        self.outcome = Outcome(None)
        self._best: tuple[int, Path | None] = (-1, None)
        self._work = 0
        self._deepest = 0
        groups = self.layout.groups
        ended = any(group.end != NEVER for group in groups)
        if ended:
            self.demand.better = [0] * len(self.ranked)
        families = self.demand.families([group.mask for group in groups])
        self.failures = Failures(groups, families, ended=ended)
        self._edges: dict[int, list[_Edge]] = {}

    def walk(self) -> Iterator[int]:
        """Search; yields the configurations examined since it last yielded."""
        # what makes the children is kept beside the frames: with a reference to each other, they
        # would be left to the garbage collector
        frames, pending = [_Frame((-1, 0, 0), 0)], [self._roots()]
        outcome, count, size = self.outcome, 0, len(self.layout.index)
        failures = self.failures
        failed = failures.known
        while frames:
            child = next(pending[-1], _Over.OVER)
            if child is _Over.OVER:
                pending.pop()
                frame = frames.pop()
                blame = failures.remember(frame.key, frame.taken, frame.blame)
                if frames:
                    frames[-1].blame |= failures.shifted(blame, frames[-1].taken, frame.taken)
                continue
            if child is None:
                yield 1
                continue
            first, mask, state, taken, latest, path = self._read_eagerly(*child)
            if first >= size:
                outcome.configurations += count
                outcome.legal, outcome.path, outcome.certified = True, unwind(path), NEVER
                return
            frame, key = frames[-1], (first, mask, state)
            if key in failed:
                self._work += len(failed[key])
                reason = failures.reason(failed[key], taken)
                if reason >= 0:
                    frame.blame |= failures.shifted(reason, frame.taken, taken)
                    continue
            count += 1
            self._note_progress(first, mask, path)
            frames.append(_Frame(key, taken))
            pending.append(self._children(frames[-1], latest, path))
            if count >= PAUSE_INTERVAL:
                outcome.configurations += count
                yield count
                count = 0
        outcome.configurations += count
        outcome.legal = False
        self.note()

    def _roots(self) -> Iterator[_Child | None]:
        for state in self.starts:
            yield 0, 0, state, 0, -1, None

    def note(self) -> None:
        """Put into the outcome how far the search got."""
        self.outcome.path = unwind(self._best[1])
        self.outcome.certified = self.layout.end[self._deepest] if self.layout.end else NEVER

    def _note_progress(self, first: int, mask: int, path: Path | None) -> None:
        done = first + mask.bit_count()
        if done > self._best[0]:
            self._best = (done, path)
        self._deepest = max(self._deepest, first)

    def _read_eagerly(
        self, first: int, mask: int, state: int, taken: int, latest: int, path: Path | None
    ) -> _Child:
        """Linearise every legal read-only operation that is available, and advance ``first``."""
        layout, move, moves = self.layout, self.machine.move, self.machine.moves
        op_class, barrier, start = layout.op_class, layout.barrier, layout.start
        size = len(layout.index)
        while first < size:
            for j in layout.read_candidates(first):
                if mask >> (j - first) & 1 or barrier[j] > latest:
                    continue
                reached = moves.get((state, op_class[j]))
                if reached is None:
                    reached = move(state, op_class[j])
                if reached:
                    mask |= 1 << (j - first)
                    if start[j] > latest:
                        latest = start[j]
                    path = (path, layout.index[j], state)
            if not mask & 1:
                break
            ones = (~mask & (mask + 1)).bit_length() - 1
            mask >>= ones
            first += ones
        return first, mask, state, taken, latest, path

    def _children(self, frame: _Frame, latest: int, path: Path | None) -> Iterator[_Child | None]:
        """The configurations one required operation further; those that cost nothing first."""
        layout, move, moves = self.layout, self.machine.move, self.machine.moves
        op_class, barrier, start = layout.op_class, layout.barrier, layout.start
        first, mask, state = frame.key
        choices: list[tuple[int, int]] = []
        tried: set[int] = set()
        for j in layout.candidates(first):
            own = op_class[j]
            if mask >> (j - first) & 1 or own in tried:
                continue
            if barrier[j] <= latest:
                tried.add(own)
            choices.append((j, own))
            reached = moves.get((state, own))
            if reached is None:
                reached = move(state, own)
            for after in reached:
                step = (path, layout.index[j], after)
                now = start[j] if start[j] > latest else latest
                yield first, mask | 1 << (j - first), after, frame.taken, now, step
        if layout.opened(first):
            base = _Variant(state, frame.taken, latest, path)
            yield from self._costlier_children(frame, base, choices)

    def _costlier_children(
        self, frame: _Frame, base: _Variant, choices: list[tuple[int, int]]
    ) -> Iterator[_Child | None]:
        """Those that cost one optional operation, those that cost two, and so on."""
        taking = self._begin_to_spend(frame.key[0], base, choices)
        found = taking.found
        while taking.useful != 0 and taking.at < len(found):
            level = len(found)
            for at in range(taking.at, level):
                yield from self._spend(frame, taking, found[at])
            taking.at = level
            yield from self._after_spending(frame, taking, choices)

    def _begin_to_spend(
        self, first: int, base: _Variant, choices: list[tuple[int, int]]
    ) -> _Spending:
        opened, move = self.layout.opened(first), self.machine.move
        classes = tuple(sorted({op_class for _, op_class in choices}))
        return _Spending(
            until=self.layout.end[first],
            opened=opened,
            useful=self.demand.useful(base.state, classes, opened),
            found=[base],
            at=0,
            known={base.state: [base.taken]},
            reached=[{a: [base.taken] for a in move(base.state, c)} for _, c in choices],
        )

    def _spend(self, frame: _Frame, taking: _Spending, variant: _Variant) -> Iterator[None]:
        """Add the variants that one optional operation more leads to, unless dominated.

        If all of a group that was invoked in time is taken, that is to blame for what follows.
        """
        better, useful, left = self.demand.better, taking.useful, 0
        edges = self._edges.get(variant.state)
        if edges is None:
            edges = self._edges_from(variant.state, taking.opened)
        self._work += len(edges)
        for place, group, reached, leads in edges:
            if place >= taking.opened or better[place] & left or variant.latest > group.end:
                continue
            if useful is not None:
                if not leads & useful:
                    continue
                reached = tuple(after for after in reached if useful >> after & 1)
                if not reached:
                    continue
            if self._work >= WORK_INTERVAL:
                self._work = 0
                yield None
            count = (variant.taken >> group.shift & group.ones).bit_count()
            if count >= len(group.starts) or group.starts[count] >= taking.until:
                frame.blame |= _all_spent(group, taking, variant)
                continue
            left |= 1 << place
            taken = variant.taken | 1 << (group.shift + count)
            for after in reached:
                others = taking.known.setdefault(after, [])
                self._work += len(others)
                if any(other & ~taken == 0 for other in others):
                    continue
                others.append(taken)
                path = (variant.path, group.indices[count], after)
                latest = max(variant.latest, group.starts[count])
                taking.found.append(_Variant(after, taken, latest, path))

    def _edges_from(self, state: int, opened: int) -> list[_Edge]:
        """The groups possible in a state; remembered where there are few states.

        Where there are many, only of the groups opened: others would make yet more states.
        """
        found: list[_Edge] = []
        few = bool(self.demand.states)
        for place in self.ranked:
            if few or place < opened:
                group = self.layout.groups[place]
                reached = self.machine.move(state, group.op_class)
                if reached:
                    leads = sum(1 << after for after in reached) if few else -1
                    found.append((place, group, reached, leads))
        if few:
            self._edges[state] = found
        else:
            self._work += opened
        return found

    def _after_spending(
        self, frame: _Frame, taking: _Spending, choices: list[tuple[int, int]]
    ) -> Iterator[_Child | None]:
        """The children that come from the variants of the last level."""
        layout, move = self.layout, self.machine.move
        first, mask, _ = frame.key
        for (j, op_class), reached in zip(choices, taking.reached):
            for variant in taking.found[taking.at :]:
                for after in move(variant.state, op_class):
                    known = reached.setdefault(after, [])
                    self._work += 1 + len(known)
                    if self._work >= WORK_INTERVAL:
                        self._work = 0
                        yield None
                    if any(other & ~variant.taken == 0 for other in known):
                        continue
                    known.append(variant.taken)
                    self._note_spent(variant.taken & ~frame.taken)
                    step = (variant.path, layout.index[j], after)
                    now = max(variant.latest, layout.start[j])
                    bit = 1 << (j - first)
                    yield first, mask | bit, after, variant.taken, now, step

    def _note_spent(self, bits: int) -> None:
        for group, highest, _ in self.failures.groups_in(bits):
            self.outcome.taken.update(group.indices[:highest])


def _all_spent(group: Group, taking: _Spending, variant: _Variant) -> int:
    """The operations of a used-up group that were taken before this configuration, as bits."""
    available = bisect_left(group.starts, taking.until)
    here = variant.taken & ~taking.found[0].taken
    needed = available - (here >> group.shift & group.ones).bit_count()
    return ((1 << needed) - 1) << group.shift if needed > 0 else 0


def unwind(path: Path | None) -> list[tuple[int, int]]:
    """The steps of a path, first to last."""
    steps: list[tuple[int, int]] = []
    while path is not None:
        path, index, state = path
        steps.append((index, state))
    steps.reverse()
    return steps
