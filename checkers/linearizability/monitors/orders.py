"""Legal orders of the histories that the monitors found legal.

A monitor (:mod:`.collections`) decides by rules that a violation must break, and makes no order.
The orders are made here, by the constructive half of the same theorems; each is checked by
:mod:`checkers.linearizability.verify`.

**Queue**. a must come before b if in real time a's enqueue precedes b's, or a's dequeue precedes
b's dequeue or enqueue. In a legal history that has no cycle, so values are taken one by one, each
such that no value left must come before it. A dequeue that found nothing happens at a free moment
of its interval, as one more thing to be ordered. Every operation then happens as soon as it and all
that must come before it were invoked.

**Stack**. All values of one round of peeling lie around one busy period each: pushed at the last
free moment before their span, popped at the first one after it. So at a free moment come first the
pops, inner rounds first; then what needs an instant only; then the pushes, outer rounds first.

**Append-only list**. The order is forced; see the monitor.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

from checkers.linearizability.model import Model
from checkers.linearizability.monitors.collections import (
    Ints,
    Life,
    Matched,
    append_list_stages,
    free_moments,
    match,
    moments_of,
    spans,
    windows_of,
)
from checkers.linearizability.problem import Problem


def queue_order(problem: Problem, model: Model) -> list[int]:
    """A legal order of a legal queue history, as op indices.

    Args:
        problem: ``enqueue`` and ``dequeue`` operations that the monitor found legal.
        model: the queue model.
    """
    matched = match(problem, model, "enqueue")
    assert isinstance(matched, Matched)
    lives, empties = matched.lives, matched.empties
    # Twice the positions, so that moments, which lie between, are numbers as well.
    moments = [2 * moment + 1 for moment in moments_of(problem, lives, empties)]
    placed: list[tuple[int, int, int]] = []
    enqueued = removed = -1
    for number, unit in enumerate(_queue_units(problem, lives, moments)):
        if unit >= len(lives):
            enqueued = removed = max(enqueued, removed, moments[unit - len(lives)])
            placed.append((removed, number, empties[unit - len(lives)]))
            continue
        life = lives[unit]
        enqueued = max(enqueued, 2 * problem.start[life.add])
        placed.append((enqueued, number, life.add))
        if life.remove >= 0:
            removed = max(removed, enqueued, 2 * problem.start[life.remove])
            placed.append((removed, number, life.remove))
    placed.sort(key=lambda entry: entry[:2])
    return [index for _, _, index in placed]


def _queue_units(problem: Problem, lives: list[Life], moments: list[int]) -> list[int]:
    """Values, and after them moments of emptiness, such that none must come before an earlier one.

    Fewer than all if there is no such order.
    """
    count = len(lives)
    columns = spans(problem, lives)
    add_start, add_end, remove_start, remove_end = ((2 * column).tolist() for column in columns)
    for moment in moments:  # as a value that is enqueued and dequeued at that moment
        for column in (add_start, add_end, remove_start, remove_end):
            column.append(moment)
    size = len(add_start)
    by_add_end = sorted(range(size), key=add_end.__getitem__)
    by_remove_end = sorted(range(size), key=remove_end.__getitem__)
    by_start = sorted(range(size), key=add_start.__getitem__)
    taken = [False] * size
    units: list[int] = []
    ready: list[tuple[int, bool, int]] = []
    a = r = s = 0
    while len(units) < size:
        while taken[by_add_end[a]]:
            a += 1
        while taken[by_remove_end[r]]:
            r += 1
        soonest = remove_end[by_remove_end[r]]
        bound = min(add_end[by_add_end[a]], soonest)
        while s < size and add_start[by_start[s]] <= bound:
            unit = by_start[s]
            heapq.heappush(ready, (remove_start[unit], unit < count, unit))
            s += 1
        if not ready or ready[0][0] > soonest:
            break
        unit = heapq.heappop(ready)[2]
        taken[unit] = True
        units.append(unit)
    return units


def stack_order(problem: Problem, model: Model) -> list[int]:
    """A legal order of a legal stack history, as op indices.

    Args:
        problem: ``push`` and ``pop`` operations that the monitor found legal.
        model: the stack model.
    """
    matched = match(problem, model, "push")
    assert isinstance(matched, Matched)
    lives, empties = matched.lives, matched.empties
    windows = windows_of(problem, lives) if lives else np.zeros((4, 0), dtype=np.int64)
    events, places = np.unique(windows, return_inverse=True)
    # Sort keys: the moment, as the number of the event before it; 0 for pops, 1 for what needs an
    # instant only, 2 for pushes; then the nesting.
    placed: list[tuple[int, int, int, int, int]] = []
    for index, moment in zip(empties, moments_of(problem, lives, empties)):
        at = int(np.searchsorted(events, moment, side="right")) - 1
        placed.append((at, 1, moment, 0, index))
    peeled = _peeled(places.reshape(windows.shape))
    for at, (life, number, pushed, popped) in enumerate(zip(lives, *peeled)):
        if number < 0:  # push and pop overlap
            placed.append((pushed, 1, -1 - at, 0, life.add))
            placed.append((pushed, 1, -1 - at, 1, life.remove))
            continue
        placed.append((pushed, 2, number, at, life.add))
        if life.remove >= 0:
            placed.append((popped, 0, -number, -at, life.remove))
    placed.sort()
    return [entry[-1] for entry in placed]


def _peeled(windows: Ints) -> tuple[list[int], list[int], list[int]]:
    """Per value: in which round it is peeled (-1: at once), the moments of its push and pop."""
    push_start, push_end, pop_start, pop_end = windows
    size = int(windows.max(initial=0)) + 2
    rounds = np.full(len(push_start), -1, dtype=np.int64)
    pushed = np.maximum(push_start, pop_start)
    popped = pushed.copy()
    left = np.flatnonzero(push_end < pop_start)
    number = 0
    while len(left):
        free = np.flatnonzero(free_moments(push_end[left], pop_start[left], size))
        before = np.searchsorted(free, push_end[left]) - 1
        after = np.searchsorted(free, pop_start[left])
        p = np.where(before >= 0, free[np.maximum(before, 0)], -1)
        q = np.where(after < len(free), free[np.minimum(after, len(free) - 1)], size)
        can = (p >= push_start[left]) & (q < pop_end[left])
        if not can.any():
            break
        peeled = left[can]
        rounds[peeled], pushed[peeled], popped[peeled] = number, p[can], q[can]
        left = left[~can]
        number += 1
    return rounds.tolist(), pushed.tolist(), popped.tolist()


def append_list_order(problem: Problem, model: Model) -> list[int]:
    """A legal order of a legal append-only list history, as op indices.

    Args:
        problem: ``append`` and ``read`` operations that the monitor found legal.
        model: the append-list model.
    """
    return [index for stage in append_list_stages(problem) for index in stage]


#: Engine name -> function that makes a legal order.
ORDERS: dict[str, Callable[[Problem, Model], list[int]]] = {
    "queue": queue_order,
    "stack": stack_order,
    "append-list": append_list_order,
}
