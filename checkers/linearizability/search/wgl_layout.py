"""A problem laid out for the depth-first search: who may come next, and what may be taken.

Required operations are numbered by completion, so that a configuration is the first of them not
linearised and a small mask of those after it that are. Which may come next, with a given first, is
found once and only as far as the search gets. Optional operations that are equal make one group.

Used by :mod:`.wgl`, which has the theory.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

from checkers.linearizability.problem import NEVER, Problem
from checkers.linearizability.search.memoized_model import Machine


class Layout:
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
        self._pending: list[int] = []
        self._pending_reads: list[int] = []
        self._upto = 0
        self.groups = optional_groups(problem, machine)
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
        by_start, opened, reads = self._by_start, self._pending, self._pending_reads
        for at in range(len(self._candidates), first + 1):
            end = self.end[at]
            while self._upto < len(by_start) and self.start[by_start[self._upto]] < end:
                fresh = by_start[self._upto]
                if fresh >= at:
                    insort(opened, fresh)
                    if self.readonly[fresh]:
                        insort(reads, fresh)
                self._upto += 1
            self._candidates.append((tuple(opened), tuple(reads)))
            opened.pop(0)  # the one at hand: it is the lowest, and it began before it ended
            if self.readonly[at]:
                reads.pop(0)


@dataclass
class Group:
    """Optional operations that are interchangeable, in order of invocation.

    ``shift`` places the group in the word of taken operations: n taken are n low ones of ``ones``.
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


def optional_groups(problem: Problem, machine: Machine) -> list[Group]:
    """The optional operations by class (one with an end alone), in order of first invocation."""
    gathered: dict[tuple[int, int], list[int]] = {}
    for index in range(len(problem)):
        if not problem.required[index]:
            op_class = machine.class_number(problem.ops[index])
            alone = -1 if problem.end[index] == NEVER else index
            gathered.setdefault((op_class, alone), []).append(index)
    groups: list[Group] = []
    shift = 0
    for (op_class, _), indices in gathered.items():
        ones = (1 << len(indices)) - 1
        starts = [problem.start[i] for i in indices]
        groups.append(Group(op_class, indices, starts, problem.end[indices[0]], shift, ones))
        shift += len(indices)
    groups.sort(key=lambda group: group.starts[0])
    return groups
