"""The compiled breadth-first engine: when it applies, and its tables.

:mod:`.just_in_time_kernel` is the algorithm of :mod:`.just_in_time` on machine words, some fifty
times as fast. It applies to machines of few states whose moves have one outcome each (registers,
compare-and-set, mutexes, small sets and counters, a user's small model as well), with at most
:data:`OPEN_MAX` operations open at once, and where no optional operation has an end.

Loading it takes a second (and compiling many, once on a machine), so only a search that has already
been long is handed to it (see :mod:`.portfolio`). It gives a verdict, how far the history is
certified, and a legal order, replayed from what the kernel noted down (:func:`_replay`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from checkers.core import jit
from checkers.core.columns import Int64s, Words, record
from checkers.history.op import Op
from checkers.linearizability.problem import NEVER, Problem, problem_of
from checkers.linearizability.search.info_op_dominance import REACH_MAX, Demand
from checkers.linearizability.search.memoized_model import Machine
from checkers.linearizability.search.wgl import Outcome

if TYPE_CHECKING:
    from checkers.linearizability.search.just_in_time_kernel import Pool, Tables, Trail, Work

#: Operations open at once: one bit each in a word, one bit to spare.
OPEN_MAX = 62

#: Words of unknown operations, 64 each; a class with more than 64 does not fit.
WORDS_MAX = 16

#: Rows of the pools to begin with, and at most (about 200 bytes each).
ROWS_MIN, ROWS_MAX = 1 << 14, 1 << 20

#: Nodes of the trail to begin with, and at most (20 bytes each).
NODES_MIN, NODES_MAX = 1 << 18, 1 << 23

#: States one configuration may reach by taking.
VARIANTS_MAX = 4096

#: Configurations between two looks at the meter.
PAUSE_INTERVAL = 20_000


class CompiledFrontier:
    """One compiled breadth-first search; iterate :meth:`walk`, then read :attr:`outcome`.

    Make it with :func:`compiled_frontier`.
    """

    def __init__(
        self,
        problem: Problem,
        machine: Machine,
        states: list[int],
        groups: list[tuple[int, list[int]]],
        starts: Sequence[int],
        room_mb: Callable[[], float],
    ) -> None:
        from checkers.linearizability.search import just_in_time_kernel as kernel

        self.kernel = kernel
        self.problem = problem
        self.machine = machine
        self.groups = groups
        self.room_mb = room_mb
        self.outcome = Outcome(None)
        self.places = _places(groups)
        self.words = max((word for word, _ in self.places), default=0) + 1
        self.positions: list[int] = []
        self.events = self._events(groups)
        self.tables = self._tables(machine, states, groups)
        self.work = self._work(len(states), len(groups), ROWS_MIN)
        self.pools = [self._pool(ROWS_MIN) for _ in range(3)]
        self.trail = self._trail(NODES_MIN)
        self.counts = record(kernel.Counts)
        for row, state in enumerate(starts):
            self.pools[0].state[row] = state
            self.pools[0].alive[row] = True
            self.pools[0].node[row] = row
            self.trail.before[row], self.trail.what[row] = -1, state
        self.counts.rows = self.counts.nodes = len(starts)
        self.counts.traced = 1
        self.counts.squeeze_at = len(self.trail.what) // 2

    def _events(self, groups: list[tuple[int, list[int]]]) -> Int64s:
        problem = self.problem
        group_of = {index: place for place, (_, found) in enumerate(groups) for index in found}
        events: list[tuple[int, int, int]] = []
        for index, start in enumerate(problem.start):
            if index in group_of:
                events.append((start, 0, group_of[index]))
            else:
                events += [(start, 1, index), (problem.end[index], 2, index)]
        events.sort()
        self.positions = [position for position, _, _ in events]
        return np.array([event[1:] for event in events], dtype=np.int64).reshape(-1, 2)

    def _slots(self) -> Int64s:
        """A bit number for every required operation, free again when it completes."""
        slots = np.zeros(len(self.problem), dtype=np.int64)
        free = list(range(OPEN_MAX, -1, -1))
        for kind, index in self.events.tolist():
            if kind == 1:
                slots[index] = free.pop()
            elif kind == 2:
                free.append(int(slots[index]))
        return slots

    def _tables(
        self, machine: Machine, states: list[int], groups: list[tuple[int, list[int]]]
    ) -> Tables:
        moves = np.full((len(states), len(machine.classes)), -1, dtype=np.int64)
        for state in states:
            for op_class in range(len(machine.classes)):
                for after in machine.move(state, op_class):
                    moves[state, op_class] = after
        demand = Demand(machine, [op_class for op_class, _ in groups])
        better = np.zeros((len(groups), len(groups)), dtype=np.bool_)
        for place, mask in enumerate(demand.better):
            for other in range(len(groups)):
                better[place, other] = mask >> other & 1
        edges, edge_count, leads = self._edges(moves, groups, demand.ranked())
        general, special = self._families(groups, demand)
        return self.kernel.Tables(
            moves=moves,
            op_class=np.array(
                [machine.class_number(op) for op in self.problem.ops], dtype=np.int64
            ),
            op_slot=self._slots(),
            op_end=np.array(self.problem.end, dtype=np.int64),
            readonly=np.array(machine.class_readonly, dtype=np.bool_),
            edges=edges,
            edge_count=edge_count,
            leads=leads,
            g_word=np.array([word for word, _ in self.places], dtype=np.int64),
            g_low=np.array([1 << first for _, first in self.places], dtype=np.uint64),
            g_mask=np.array(
                [((1 << len(g)) - 1) << first for (_, g), (_, first) in zip(groups, self.places)],
                dtype=np.uint64,
            ),
            better=better,
            general=general,
            special=special,
            exchanged=np.bitwise_or.reduce(special, axis=0),
        )

    def _edges(
        self, moves: Int64s, groups: list[tuple[int, list[int]]], ranked: list[int]
    ) -> tuple[Int64s, Int64s, Words]:
        count = len(moves)
        edges = np.zeros((count, max(1, len(groups)), 2), dtype=np.int64)
        edge_count = np.zeros(count, dtype=np.int64)
        leads = [0] * count
        for state in range(count):
            for place in ranked:
                after = int(moves[state, groups[place][0]])
                if after >= 0 and after != state:
                    edges[state, edge_count[state]] = (place, after)
                    edge_count[state] += 1
                    leads[state] |= 1 << after
        return edges, edge_count, np.array(leads, dtype=np.uint64)

    def _families(self, groups: list[tuple[int, list[int]]], demand: Demand) -> tuple[Words, Words]:
        masks = [
            ((1 << len(found)) - 1) << (64 * word + first)
            for (_, found), (word, first) in zip(groups, self.places)
        ]
        families = demand.families(masks)
        general = np.zeros((len(families), self.words), dtype=np.uint64)
        special = np.zeros((len(families), self.words), dtype=np.uint64)
        for row, pair in enumerate(families):
            for into, mask in zip((general, special), pair):
                for word in range(self.words):
                    into[row, word] = mask >> (64 * word) & (1 << 64) - 1
        return general, special

    def _pool(self, rows: int) -> Pool:
        return self.kernel.Pool(
            state=np.zeros(rows, dtype=np.int64),
            mask=np.zeros(rows, dtype=np.uint64),
            taken=np.zeros((rows, self.words), dtype=np.uint64),
            following=np.full(rows, -1, dtype=np.int64),
            alive=np.zeros(rows, dtype=np.bool_),
            node=np.zeros(rows, dtype=np.int64),
            table=np.zeros(4 * rows, dtype=np.int64),
            stamps=np.full(4 * rows, -1, dtype=np.int64),
        )

    def _trail(self, nodes: int) -> Trail:
        return self.kernel.Trail(
            before=np.empty(nodes, dtype=np.int32),
            what=np.empty(nodes, dtype=np.int64),
            moved=np.empty(nodes, dtype=np.int64),
        )

    def _work(self, states: int, groups: int, rows: int) -> Work:
        return self.kernel.Work(
            invoked=np.zeros(groups, dtype=np.uint64),
            opened=np.zeros(64, dtype=np.int64),
            chain=np.zeros(rows, dtype=np.int64),
            buckets=np.full(64 * self.words + 1, -1, dtype=np.int64),
            v_state=np.zeros(VARIANTS_MAX, dtype=np.int64),
            v_taken=np.zeros((VARIANTS_MAX, self.words), dtype=np.uint64),
            v_from=np.zeros(VARIANTS_MAX, dtype=np.int64),
            v_group=np.zeros(VARIANTS_MAX, dtype=np.int64),
            v_node=np.zeros(VARIANTS_MAX, dtype=np.int64),
            classes=np.zeros(64, dtype=np.int64),
            chosen=np.zeros(64, dtype=np.int64),
            reads=np.zeros(states, dtype=np.uint64),
            earlier=np.zeros(64, dtype=np.uint64),
        )

    def walk(self) -> Iterator[int]:
        """Work through the history; yields the configurations examined since it last yielded.

        Ends without a verdict if the pools would grow beyond :data:`ROWS_MAX`.
        """
        kernel, outcome, at, turn = self.kernel, self.outcome, 0, PAUSE_INTERVAL
        while True:
            status, at, swaps = kernel.advance(
                at, turn, self.events, self.tables, self.work, self.trail, *self.pools, self.counts
            )
            if swaps % 2:
                self.pools[:2] = self.pools[1::-1]
            examined = int(self.counts.examined)
            fresh, outcome.configurations = examined - outcome.configurations, examined
            outcome.certified = self.positions[at] if at < len(self.positions) else NEVER
            if status == kernel.PAUSED:
                yield fresh
            elif status == kernel.OVER:
                yield fresh
                turn *= 2
            elif status == kernel.FULL:
                yield fresh
                if not self._grow():
                    outcome.reason = "the frontier is too large for the compiled search"
                    return
            else:
                outcome.legal = status == kernel.LEGAL
                outcome.traced = bool(outcome.legal and self.counts.traced)
                if outcome.traced:
                    outcome.path = self._replay(self._steps())
                return

    def _steps(self) -> list[int]:
        """What led to the living configuration that took least: the state it began in, then ops
        linearised and (as -1 - group) groups taken.
        """
        pool, trail = self.pools[0], self.trail
        rows = np.flatnonzero(pool.alive[: self.counts.rows]).tolist()
        row = min(rows, key=lambda row: sum(int(word).bit_count() for word in pool.taken[row]))
        at, steps = int(pool.node[row]), []
        while at >= 0:
            steps.append(int(trail.what[at]))
            at = int(trail.before[at])
        return steps[::-1]

    def _replay(self, steps: list[int]) -> list[tuple[int, int]]:
        """The whole order from its steps: legal reads are taken where the kernel took them."""
        machine, problem = self.machine, self.problem
        op_class = [machine.class_number(op) for op in problem.ops]
        queues = [iter(found) for _, found in self.groups]
        state, left = steps[0], iter(steps[1:])
        path: list[tuple[int, int]] = []
        opened: dict[int, None] = {}

        def take_reads() -> None:
            for other in list(opened):
                if machine.class_readonly[op_class[other]] and machine.move(state, op_class[other]):
                    path.append((other, state))
                    del opened[other]

        for kind, index in self.events.tolist():
            if kind == 1:
                opened[index] = None
            if kind != 2:
                continue
            take_reads()
            while index in opened:
                step = next(left)
                done = step if step >= 0 else next(queues[-1 - step])
                (state,) = machine.move(state, op_class[done])
                path.append((done, state))
                if step >= 0:
                    del opened[step]
                    take_reads()
        return path

    def _grow(self) -> bool:
        """Twice the room where there was too little; whether there may be as much."""
        if self.counts.crowded:
            self._grow_trail()
            return True
        rows = 2 * len(self.pools[0].state)
        if rows > ROWS_MAX or 3 * rows * (105 + 8 * self.words) / 1e6 > self.room_mb():
            return False
        used = int(self.counts.rows)
        old, self.pools[1:] = self.pools[0], []
        grown = self._pool(rows)
        for before, after in zip(old[:6], grown[:6]):
            after[:used] = before[:used]
        self.pools = [grown, self._pool(rows), self._pool(rows)]
        self.work = self.work._replace(chain=np.zeros(rows, dtype=np.int64))
        return True

    def _grow_trail(self) -> None:
        """A longer trail, or none from now on: the verdict matters more than the order."""
        kernel, nodes = self.kernel, 2 * len(self.trail.what)
        self.counts.crowded = 0
        kernel.squeeze(self.pools[0], self.trail, self.counts)
        used = int(self.counts.nodes)
        if 8 * used < nodes and len(self.trail.what) - used > VARIANTS_MAX + OPEN_MAX:
            return  # there is room for the largest step again
        if nodes > NODES_MAX or nodes * 20 / 1e6 > self.room_mb():
            self.counts.traced = self.counts.nodes = 0
            return
        grown = self._trail(nodes)
        grown.before[:used] = self.trail.before[:used]
        grown.what[:used] = self.trail.what[:used]
        self.trail = grown


def unlimited() -> float:
    """Room without a limit."""
    return float("inf")


def compiled_frontier(
    problem: Problem,
    machine: Machine,
    *,
    starts: Sequence[int] | None = None,
    room_mb: Callable[[], float] = unlimited,
) -> CompiledFrontier | None:
    """The compiled engine for this problem; None if it does not apply or numba is not there.

    Args:
        problem: what to order.
        machine: the model, as a machine.
        starts: numbers of the states it may start from; None for the initial state.
        room_mb: how many MB it may still take.
    """
    gathered: dict[int, list[int]] = {}
    for index, op in enumerate(problem.ops):
        op_class = machine.class_number(op)
        if not problem.required[index]:
            if problem.end[index] != NEVER:
                return None
            gathered.setdefault(op_class, []).append(index)
    groups = list(gathered.items())
    if any(len(found) > 64 for _, found in groups) or _most_open(problem) > OPEN_MAX:
        return None
    if _places(groups) and _places(groups)[-1][0] >= WORDS_MAX:
        return None
    states = machine.closed(REACH_MAX)
    classes = range(len(machine.classes))
    if not states or any(len(machine.move(s, c)) > 1 for s in states for c in classes):
        return None
    every = (machine.initial,) if starts is None else tuple(starts)
    try:
        jit.ready("just-in-time")
        return CompiledFrontier(problem, machine, sorted(states), groups, every, room_mb)
    except ImportError:
        return None


def warm() -> None:
    """Call every loop once, for :mod:`checkers.core.jit`."""
    from checkers.linearizability.models.registers import register

    model = register()
    write = Op(0, "write", None, 1, 1, "ok", 0, 1, -1, -1)
    problem, machine = problem_of([write], model), Machine(model)
    machine.class_number(problem.ops[0])
    states = sorted(machine.closed(REACH_MAX) or ())
    search = CompiledFrontier(problem, machine, states, [], (machine.initial,), unlimited)
    deque(search.walk(), maxlen=0)
    search.kernel.squeeze(search.pools[0], search.trail, search.counts)


def _most_open(problem: Problem) -> int:
    """The most required operations open at one moment."""
    moments = [(start, 1) for start, must in zip(problem.start, problem.required) if must]
    moments += [(end, -1) for end, must in zip(problem.end, problem.required) if must]
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def _places(groups: list[tuple[int, list[int]]]) -> list[tuple[int, int]]:
    """(word, first bit) of each group; none crosses a word."""
    found: list[tuple[int, int]] = []
    word = first = 0
    for _, indices in groups:
        if first + len(indices) > 64:
            word, first = word + 1, 0
        found.append((word, first))
        first += len(indices)
    return found
