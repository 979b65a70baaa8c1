"""The breadth-first engine: every configuration there can be, event by event.

Problem. The depth-first engine (:mod:`.wgl`) may try exponentially many orders where none is legal.

Solution. The history is read once, event by event. The *frontier* holds all configurations that
explain what was seen so far. A configuration is a state, which of the open operations are
linearised already, and which operations of unknown outcome were taken. Lowe calls this just-in-time
linearization, Knossos calls it linear.

- An operation is linearised only when it, or one that must come after it, completes.
- A legal read-only operation is linearised at once.
- Of operations that are equal and open, the one that completes first goes first.
- Operations of unknown outcome that are equal are counted. One is taken only right before an
  operation whose result it changes. A configuration is dropped if another one with the same state
  and the same open operations took a subset of what it took, since every continuation of the one
  continues the other.

Invariants. No configuration is explored twice. The frontier holds only *minimal* sets, and its
size is the only memory; where no operation is open it is the set of possible states. An optional
operation with an end (see :mod:`.problem`) is open like a required one; when it ends,
configurations without it stay. When the frontier is empty no order explains the event just read:
the history is illegal, and everything that completed before is certified legal.

Source: Lowe, "Testing for linearizability", 2017; Knossos's ``linear`` checker.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from checkers.linearizability.problem import NEVER, Problem
from checkers.linearizability.search.info_op_dominance import Demand, covers
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.wgl import WORK_INTERVAL, Outcome, Path, unwind

#: Configurations between two looks at the meter.
PAUSE_INTERVAL = 64

#: (state, mask of open operations linearised) -> minimal sets taken, each with how it came about
Configurations = dict[tuple[int, int], list[tuple[int, "Path | None"]]]


@dataclass
class _Unknown:
    """Operations of unknown outcome that are equal; n taken are the n low bits of the mask."""

    op_class: int
    indices: list[int]
    shift: int
    ones: int
    available: int = 0

    @property
    def mask(self) -> int:
        """The group's bits in the word of taken operations."""
        return self.ones << self.shift


@dataclass
class _Opened:
    """The operations that may be linearised while one completion is handled.

    Args:
        bit: of the operation that completes.
        required: whether it must have happened.
        choices: per class the bits of its open operations, soonest completion first.
        reads: per read-only class, the bits of its open operations.
    """

    bit: int
    required: bool
    choices: list[tuple[int, list[int]]]
    reads: list[tuple[int, int]]


class Frontier:
    """One breadth-first search; iterate :meth:`walk` until it ends, then read :attr:`outcome`.

    Args:
        problem: what to order.
        machine: the model, as a machine.
        starts: numbers of the states it may start from; None for the initial state.
    """

    def __init__(
        self, problem: Problem, machine: Machine, *, starts: Sequence[int] | None = None
    ) -> None:
        self.problem = problem
        self.machine = machine
        self.outcome = Outcome(None)
        self.op_class = [machine.class_number(op) for op in problem.ops]
        self.unknowns: list[_Unknown] = []
        self.group_of = self._groups()
        self.demand = Demand(machine, [group.op_class for group in self.unknowns])
        self.ranked = self.demand.ranked()
        self.families = self.demand.families([group.mask for group in self.unknowns])
        self.bit_of: dict[int, int] = {}
        self.index_of: dict[int, int] = {}
        self.free: list[int] = []
        self.taken = 0
        every = (machine.initial,) if starts is None else tuple(starts)
        self.frontier: Configurations = {(state, 0): [(0, None)] for state in every}
        self._since_pause = self._work = 0
        self._variants: dict[
            tuple[int, int, tuple[int, ...]], list[tuple[int, int, Path | None]]
        ] = {}
        self._plans: dict[
            tuple[int, tuple[int, ...]], dict[int, list[tuple[int, _Unknown, tuple[int, ...]]]]
        ] = {}
        self._legal: dict[int, int] = {}

    def _groups(self) -> dict[int, _Unknown]:
        gathered: dict[int, list[int]] = {}
        for index, end in enumerate(self.problem.end):
            if not self.problem.required[index] and end == NEVER:
                gathered.setdefault(self.op_class[index], []).append(index)
        shift = 0
        found: dict[int, _Unknown] = {}
        for op_class, indices in gathered.items():
            group = _Unknown(op_class, indices, shift, (1 << len(indices)) - 1)
            self.unknowns.append(group)
            found.update(dict.fromkeys(indices, group))
            shift += len(indices)
        return found

    def _events(self) -> list[tuple[int, bool, int]]:
        """(position, whether it is a completion, op index), in order."""
        problem = self.problem
        events = [(problem.start[i], False, i) for i in range(len(problem))]
        events += [(end, True, i) for i, end in enumerate(problem.end) if end != NEVER]
        events.sort()
        return events

    def walk(self) -> Iterator[int]:
        """Work through the history; yields the configurations examined since it last yielded."""
        outcome = self.outcome
        for position, completes, index in self._events():
            if not completes:
                self._open(index)
                continue
            outcome.certified = position
            before = self.frontier
            yield from self._complete(self._opened(index))
            if not self.frontier:
                outcome.legal = False
                self._note(self._best(before))
                return
            self._close(index)
        outcome.legal = True
        outcome.certified = NEVER
        best = min(
            (entry for entries in self.frontier.values() for entry in entries),
            key=lambda entry: entry[0].bit_count(),
        )
        self._note(best[1])

    def _note(self, path: Path | None) -> None:
        self.outcome.path = unwind(path)
        for group in self.unknowns:
            used = self.taken >> group.shift & group.ones
            self.outcome.taken.update(group.indices[: used.bit_length()])

    def _open(self, index: int) -> None:
        group = self.group_of.get(index)
        if group is not None:
            group.available += 1
            return
        bit = self.free.pop() if self.free else 1 << len(self.bit_of)
        self.bit_of[index] = bit
        self.index_of[bit] = index

    def _close(self, index: int) -> None:
        bit = self.bit_of.pop(index)
        del self.index_of[bit]
        self.free.append(bit)

    def _opened(self, index: int) -> _Opened:
        problem, readonly = self.problem, self.machine.class_readonly
        choices: dict[tuple[int, int], list[int]] = {}
        reads: dict[int, int] = {}
        for other in sorted(self.bit_of, key=problem.end.__getitem__):
            op_class = self.op_class[other]
            alone = -1 if problem.required[other] else other
            choices.setdefault((op_class, alone), []).append(self.bit_of[other])
            if readonly[op_class]:
                reads[op_class] = reads.get(op_class, 0) | self.bit_of[other]
        return _Opened(
            self.bit_of[index],
            problem.required[index],
            [(op_class, bits) for (op_class, _), bits in choices.items()],
            list(reads.items()),
        )

    def _complete(self, opened: _Opened) -> Iterator[int]:
        """Replace the frontier by what explains this completion too."""
        self._variants, self._legal = {}, {}
        self.done: Configurations = {}
        self.known: Configurations = {}
        self.queue: list[list[tuple[int, int, int, Path | None]]] = [[]]
        for (state, mask), entries in self.frontier.items():
            for taken, path in entries:
                self._add(opened, state, mask, taken, path)
                if self._work >= WORK_INTERVAL:
                    self._work = 0
                    yield 1
        level = 0
        while level < len(self.queue):
            for state, mask, taken, path in self.queue[level]:  # grows while it is walked
                if not _still(self.known, state, mask, taken):
                    continue
                self.outcome.configurations += 1
                self._since_pause += 1
                if self._since_pause >= PAUSE_INTERVAL:
                    yield self._since_pause
                    self._since_pause = 0
                yield from self._expand(opened, state, mask, taken, path)
            self.queue[level] = []
            level += 1
        self.frontier = self.done

    def _add(self, opened: _Opened, state: int, mask: int, taken: int, path: Path | None) -> None:
        """Take legal reads, then keep the configuration unless another is as good."""
        legal = self._legal.get(state)
        if legal is None:
            legal = 0
            for op_class, bits in opened.reads:
                if self.machine.move(state, op_class):
                    legal |= bits
            self._legal[state] = legal
        fresh = legal & ~mask
        mask |= fresh
        bit = opened.bit
        if mask & bit:
            into, key = self.done, (state, mask & ~bit)
        else:
            into, key = self.known, (state, mask)
        entries = into.get(key)
        if entries is None:
            entries = into[key] = []
        else:
            self._work += len(entries)
            families = self.families
            for other, _ in entries:
                if not other & ~taken or (families and covers(other, taken, families)):
                    return
            entries[:] = [
                entry
                for entry in entries
                if taken & ~entry[0] and not (families and covers(taken, entry[0], families))
            ]
        while fresh:
            low = fresh & -fresh
            path = (path, self.index_of[low], state)
            fresh ^= low
        entries.append((taken, path))
        self.taken |= taken
        if into is self.known:
            if not opened.required:
                self._keep(state, mask, taken, path)
            level = taken.bit_count()
            while level >= len(self.queue):
                self.queue.append([])
            self.queue[level].append((state, mask, taken, path))

    def _keep(self, state: int, mask: int, taken: int, path: Path | None) -> None:
        """An optional operation ends: the configuration without it stays."""
        entries = self.done.setdefault((state, mask), [])
        if all(other & ~taken for other, _ in entries):
            entries[:] = [entry for entry in entries if taken & ~entry[0]]
            entries.append((taken, path))

    def _expand(
        self, opened: _Opened, state: int, mask: int, taken: int, path: Path | None
    ) -> Iterator[int]:
        """Linearise each open operation next, at once or after taking unknown ones."""
        moves, move = self.machine.moves, self.machine.move
        choices: list[tuple[int, int]] = []
        for op_class, bits in opened.choices:
            for bit in bits:
                if not mask & bit:
                    choices.append((op_class, bit))
                    break
        classes = tuple(sorted({op_class for op_class, _ in choices}))
        variants = yield from self._after_unknowns(state, taken, classes)
        for now, spent_now, extra in variants:
            if extra is not None:
                path_now = _joined(path, extra)
            else:
                path_now = path
            for op_class, bit in choices:
                found = moves.get((now, op_class))
                if found is None:
                    found = move(now, op_class)
                if extra is not None and found == moves.get((state, op_class)):
                    continue  # reached for less
                for after in found:
                    if not self.problem.required[self.index_of[bit]]:
                        self.outcome.taken.add(self.index_of[bit])
                    step = (path_now, self.index_of[bit], after)
                    self._add(opened, after, mask | bit, spent_now, step)
                self._work += 1
                if self._work >= WORK_INTERVAL:
                    self._work = 0
                    yield 1

    def _after_unknowns(
        self, state: int, taken: int, classes: tuple[int, ...]
    ) -> Generator[int, None, list[tuple[int, int, Path | None]]]:
        """The state, and the states that taking unknown operations leads to, cheaper ones first.

        What leads there is a chain of (op index, state), the last first.
        """
        cached = self._variants.get((state, taken, classes))
        if cached is not None:
            return cached
        better = self.demand.better
        found: list[tuple[int, int, Path | None]] = [(state, taken, None)]
        known: dict[int, list[int]] = {state: [taken]}
        plan = self._plan(state, classes)
        for now, used, extra in found:  # grows while it is walked
            left = 0
            edges = plan.get(now)
            if edges is None:
                edges = plan[now] = self._edges(now, state, classes)
            for place, group, reached in edges:
                self._work += 1
                if self._work >= WORK_INTERVAL:
                    self._work = 0
                    yield 1
                count = (used >> group.shift & group.ones).bit_count()
                if count >= group.available or better[place] & left:
                    continue
                left |= 1 << place
                after_used = used | 1 << (group.shift + count)
                for after in reached:
                    others = known.setdefault(after, [])
                    self._work += len(others)
                    for other in others:
                        if not other & ~after_used:
                            break
                    else:
                        others.append(after_used)
                        found.append((after, after_used, (extra, group.indices[count], after)))
        self._variants[state, taken, classes] = found
        return found

    def _plan(
        self, state: int, classes: tuple[int, ...]
    ) -> dict[int, list[tuple[int, _Unknown, tuple[int, ...]]]]:
        """For states on the way from this one: the unknown operations worth taking there."""
        return self._plans.setdefault((state, classes), {})

    def _edges(
        self, now: int, state: int, classes: tuple[int, ...]
    ) -> list[tuple[int, _Unknown, tuple[int, ...]]]:
        useful = self.demand.useful(state, classes, len(self.unknowns))
        edges: list[tuple[int, _Unknown, tuple[int, ...]]] = []
        for place in self.ranked:
            group = self.unknowns[place]
            reached = self.machine.move(now, group.op_class)
            if useful is not None:
                reached = tuple(after for after in reached if useful >> after & 1)
            if reached:
                edges.append((place, group, reached))
        return edges

    def _best(self, before: Configurations) -> Path | None:
        """How the configuration that got furthest came about."""
        best, depth = None, -1
        for (_, mask), entries in (self.known or before).items():
            if entries and mask.bit_count() > depth:
                best, depth = entries[0][1], mask.bit_count()
        return best


def _still(known: Configurations, state: int, mask: int, taken: int) -> bool:
    """Whether the configuration was not dropped for a better one."""
    return any(other == taken for other, _ in known[state, mask])


def _joined(path: Path | None, extra: Path | None) -> Path | None:
    steps = unwind(extra)
    for index, state in steps:
        path = (path, index, state)
    return path
