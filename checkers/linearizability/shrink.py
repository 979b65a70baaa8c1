"""The minimal failing window: the fewest operations that show why a history is not linearizable.

Problem. Leaving out operations of an illegal history at random proves nothing: without its write
every read is illegal.

Solution. Every reduction keeps the implication "if the whole history were legal, this would be". So
the illegality of what remains proves the illegality of the whole. The reductions are:

- cut at the point where the search got stuck: later invocations do not matter;
- an operation that no order of the others makes possible, however often they happen, stands alone;
- leave out a read-only operation;
- *weaken* an operation to "may have happened in its interval, or not at all";
- forget everything before a moment, if what follows is illegal from *every* state known.

A weakened operation that a complete search never used is then left out, which changes nothing.

Invariants. The operations that remain are illegal as they were recorded. The search confirms that
at the end, and so does the brute-force search of :mod:`checkers.linearizability.verify`.
"""

from __future__ import annotations

from checkers.core.budget import Meter
from checkers.linearizability.blame import WAS_THERE, account
from checkers.linearizability.problem import Problem
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.portfolio import search
from checkers.linearizability.search.wgl import Outcome

#: Configurations one attempt at leaving something out may search.
PROBE_LIMIT = 4_000

#: Configurations all attempts together may search; keeps explaining cheap beside checking.
SHRINK_LIMIT = 60_000

#: With more states than this, an arbitrary start state is not tried.
STATES_MAX = 256

#: With more classes of operations than this, an operation is not asked to be impossible by itself.
CLASSES_MAX = 1_000

#: Operations added to a witness so that a reader sees where a value came from.
ORIGINS_MAX = 4

#: Windows longer than this are not minimised one operation at a time.
WINDOW_MAX = 512


class Shrinker:
    """Shrinks one illegal problem.

    Args:
        problem: known to be illegal.
        machine: the machine it was searched with (its known states are used).
        meter: the check's budget; when it is spent shrinking stops where it is.
    """

    def __init__(self, problem: Problem, machine: Machine, meter: Meter) -> None:
        self.problem = problem
        self.machine = machine
        self.meter = meter
        self.searched = 0
        states = range(len(machine.states))
        self.anywhere = tuple(states) if len(states) <= STATES_MAX else None

    def run(self, outcome: Outcome) -> list[int]:
        """Op indices of a small illegal part of the problem.

        Args:
            outcome: of the search that found the problem illegal.
        """
        problem, cut = self.problem, outcome.certified
        inside = [i for i in range(len(problem)) if problem.start[i] < cut]
        keep = [i for i in inside if problem.required[i] and problem.end[i] <= cut]
        weak = [i for i in inside if i not in set(keep)]
        keep.sort(key=problem.end.__getitem__)
        if keep and self._from_nowhere(keep[-1], inside):
            return keep[-1:]
        keep, weak, starts = self._window(keep, weak)
        if len(keep) <= WINDOW_MAX:
            keep, weak = self._smallest(keep, weak, starts)
        core = self._with_origin(sorted({*keep, *weak}))
        return core if self._illegal_as_recorded(core) else sorted({*keep, *weak})

    def _from_nowhere(self, last: int, inside: list[int]) -> bool:
        """Whether an operation is impossible for any order and number of the others."""
        machine = self.machine
        classes = sorted({machine.class_number(self.problem.ops[i]) for i in inside if i != last})
        wanted = machine.class_number(self.problem.ops[last])
        if len(classes) > CLASSES_MAX:
            return False
        found, pending = {machine.initial}, [machine.initial]
        for state in pending:  # grows while it is walked
            if len(found) > STATES_MAX or machine.move(state, wanted):
                return False
            for op_class in classes:
                fresh = [after for after in machine.move(state, op_class) if after not in found]
                found.update(fresh)
                pending += fresh
        return True

    def _search(
        self, keep: list[int], weak: list[int], starts: tuple[int, ...] | None
    ) -> Outcome | None:
        """The outcome if these operations are illegal, else None (also if it is unknown)."""
        if self.searched > SHRINK_LIMIT or self.meter.spent():
            return None
        part = self.problem.subset(keep, optional=weak)
        found = search(part, self.machine, self.meter, limit=PROBE_LIMIT, starts=starts)
        self.searched += found.configurations + 1 + len(part) // 8
        return found if found.legal is False else None

    def _window(
        self, keep: list[int], weak: list[int]
    ) -> tuple[list[int], list[int], tuple[int, ...] | None]:
        """The shortest tail that is illegal from every state before it."""
        if self.anywhere is not None:
            length = 2
            while length < len(keep):
                tail = keep[-length:]
                since = min(self.problem.start[i] for i in tail)
                crossing = [i for i in keep[:-length] if self.problem.end[i] > since]
                may = [i for i in weak if self.problem.end[i] > since] + crossing
                if self._search(tail, may, self.anywhere):
                    return tail, may, self.anywhere
                length *= 2
        return keep, weak, None

    def _smallest(
        self, keep: list[int], weak: list[int], starts: tuple[int, ...] | None
    ) -> tuple[list[int], list[int]]:
        """Minimise; if what was left out would have made the rest legal, with more care."""
        found = self._minimise(keep, weak, starts, careful=False)
        inside = {*keep, *weak} - {*found[0], *found[1]}
        out = [i for i in sorted(inside) if not self._readonly(i)]
        part = self.problem.subset(found[0], optional=[*found[1], *out])
        again = search(part, self.machine, self.meter, limit=PROBE_LIMIT, starts=starts)
        self.searched += again.configurations
        return self._minimise(keep, weak, starts, careful=True) if again.legal else found

    def _minimise(
        self, keep: list[int], weak: list[int], starts: tuple[int, ...] | None, *, careful: bool
    ) -> tuple[list[int], list[int]]:
        """Weaken or leave out as much as possible, in ever smaller pieces.

        Args:
            keep, weak: what must have happened, and what may have.
            starts: states to begin from.
            careful: keep weakened operations to the end. An operation may be of no use to a search
                because others are in its way, and be of use once those are weakened.
        """
        piece = max(1, len(keep) // 2)
        while True:
            at = 0
            while at < len(keep):
                chosen = keep[at : at + piece]
                rest = keep[:at] + keep[at + piece :]
                may = weak + [i for i in chosen if not self._readonly(i)]
                found = self._search(rest, may, starts)
                if found is None:
                    at += piece
                    continue
                used = sorted({*rest, *may})
                useful = may if careful else {used[i] for i in found.taken} & {*may}
                keep, weak = rest, sorted(useful)
            if piece == 1:
                break
            piece = max(1, piece // 2)
        found = self._search(keep, weak, starts)
        if found is not None:
            used = sorted({*keep, *weak})
            weak = [used[i] for i in found.taken if used[i] in set(weak)]
        return keep, weak

    def _readonly(self, index: int) -> bool:
        return self.machine.class_readonly[self.machine.class_number(self.problem.ops[index])]

    def _with_origin(self, core: list[int]) -> list[int]:
        """Add, for the operation to blame, the latest one that would have let it come next.

        A read of an overwritten value is easier to understand beside the write of that value. A
        swap may need an origin itself; where that leads nowhere, nothing is added.
        """
        found = self._as_recorded(core)
        shown = None if found is None else account(self.problem.subset(core), self.machine, found)
        if shown is None or (shown.convincing == WAS_THERE and not shown.anywhere):
            return core
        bigger = core
        for _ in range(ORIGINS_MAX):
            origin = self._origin(bigger[shown.stuck[0][0]])
            if origin is None or origin in bigger:
                break
            bigger = sorted([*bigger, origin])
            found = self._as_recorded(bigger)
            if found is None:
                break
            shown = account(self.problem.subset(bigger), self.machine, found)
            if shown.convincing == WAS_THERE and not shown.anywhere:
                return bigger
        return core

    def _origin(self, index: int) -> int | None:
        """The latest operation before this one that leads to a state in which it is legal."""
        machine, problem = self.machine, self.problem
        op_class = machine.class_number(problem.ops[index])
        states = self.anywhere or ()
        fitting = {state for state in states if machine.move(state, op_class)}
        if machine.initial in fitting:
            return None
        for other in range(len(problem) - 1, -1, -1):
            if problem.start[other] >= problem.end[index] or other == index:
                continue
            if self._readonly(other):
                continue
            number = machine.class_number(problem.ops[other])
            if any(fitting & {*machine.move(state, number)} for state in states):
                return other
        return None

    def _as_recorded(self, core: list[int]) -> Outcome | None:
        """The outcome if these operations alone are illegal, exactly as they were recorded."""
        part = self.problem.subset(core)
        found = search(part, self.machine, self.meter, limit=PROBE_LIMIT)
        return found if found.legal is False else None

    def _illegal_as_recorded(self, core: list[int]) -> bool:
        return self._as_recorded(core) is not None
