"""Monitors without search: queues, stacks and append-only lists whose values are added once.

When every value is added at most once, each removal or read names the addition it saw, and
legality comes down to rules that a sweep decides (Bouajjani, Emmi, Enea and Hamza, "On reducing
linearizability to state reachability", 2015; Abdulla and others, "Efficient linearizability
monitoring", 2025). Per value, the *span* between the completion of its addition and the invocation
of its removal is when it was inside in every order. A moment is *free* if no span covers it.

**Queue**, O(n log n). Illegal iff one of these holds:

- a value is dequeued that was never enqueued, or twice, or before its enqueue was invoked;
- a was enqueued before b (in real time) and b was dequeued before a was (or a never was);
- a dequeue that found the queue empty had no free moment.

**Stack**, O(n) a round, at most as many rounds as the stack was deep. In a legal order the value at
the bottom is pushed and popped at free moments. Conversely, a value with a free moment in its push
and one in its pop can be put around any legal order of the others: whatever that order holds at a
free moment can as well be popped just before it or pushed just after it, so the stack can be made
empty there. So such values are peeled off, round by round, and the history is illegal iff some
remain. A value whose push and pop overlap can be put in at one instant and is peeled at once. A pop
that found the stack empty needs a free moment among all spans, as for the queue.

**Append-only list**, O(n). All reads must be prefixes of the longest one; its order is then forced:
each read comes between two appends, and appends that no read shows come after everything. A forced
order is legal iff nothing completes before something earlier in it was invoked: one pass with a
running maximum.

What breaks them: a value added twice, or a removal of unknown outcome, which may have taken
anything. A value that was removed more often than it was added is illegal even so; and a guess
at which removal took which (see :func:`match`) may show that the history is legal. Else the monitor
says that it does not apply, and the general search decides.

A monitor answers None (does not apply), an empty tuple (legal), or the operations that prove a
violation; alone, those are illegal too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from checkers.core.budget import Meter
from checkers.linearizability.model import Model
from checkers.linearizability.problem import NEVER, Problem
from checkers.linearizability.values import token

Answer = tuple[int, ...] | None
Ints = npt.NDArray[np.int64]


@dataclass
class Life:
    """The operations of one value: its addition and its removal, if any (else -1)."""

    add: int
    remove: int = -1


def queue_monitor(problem: Problem, model: Model, meter: Meter) -> Answer:
    """Check a first-in-first-out queue.

    Args:
        problem: ``enqueue`` and ``dequeue`` operations.
        model: the queue model.
        meter: the check's budget.
    """
    matched = match(problem, model, "enqueue")
    if not isinstance(matched, Matched):
        return matched
    lives = matched.lives
    proof = _queue_order(problem, lives) or _empties(problem, lives, matched.empties)
    return proof if matched.exact or not proof else None


def stack_monitor(problem: Problem, model: Model, meter: Meter) -> Answer:
    """Check a stack.

    Args:
        problem: ``push`` and ``pop`` operations.
        model: the stack model.
        meter: the check's budget.
    """
    matched = match(problem, model, "push")
    if not isinstance(matched, Matched):
        return matched
    lives = matched.lives
    proof = _empties(problem, lives, matched.empties)
    if not proof:
        stuck = _stack_order(problem, lives, meter, explain=matched.exact)
        if stuck is None:
            return None
        proof = stuck
    return proof if matched.exact or not proof else None


@dataclass
class Matched:
    """The life of every value added, and the removals that found nothing.

    ``exact``: nothing was guessed, so a violation of these lives is one of the history.
    """

    lives: list[Life]
    empties: list[int]
    exact: bool


def match(problem: Problem, model: Model, adding: str) -> Matched | Answer:
    """Match removals to additions; the proof if that is impossible, None if it is hopeless.

    Where values were added more than once, removals are matched by a guess, and removals of
    unknown outcome are thought never to have happened: a legal order of that is one of the history.

    Args:
        problem: the operations.
        model: the model, which knows what an empty object answers.
        adding: ``f`` of what adds a value.
    """
    empty = token(model.parameters["empty"])
    exact, empties = True, []
    taken: dict[Hashable, list[int]] = {}
    added: dict[Hashable, list[int]] = {}
    for index, op in enumerate(problem.ops):
        if op.f == adding:
            added.setdefault(token(op.input), []).append(index)
        elif not problem.required[index]:
            exact = False
        elif token(op.output) == empty:
            empties.append(index)
        else:
            taken.setdefault(token(op.output), []).append(index)
    if empty in added:
        return None
    for value, removals in taken.items():
        proof = _more_taken(problem, added.get(value, []), removals)
        if proof:
            return proof
    lives: list[Life] = []
    for value, additions in added.items():
        removals = taken.get(value, [])
        if len(additions) == 1:
            if removals or problem.required[additions[0]]:
                lives.append(Life(additions[0], *removals))
            continue
        exact = exact and not any(problem.required[i] for i in additions) and not removals
        lives += _guessed(problem, additions, removals, last_in=adding == "push")
    return Matched(lives, empties, exact)


def _more_taken(problem: Problem, additions: list[int], removals: list[int]) -> tuple[int, ...]:
    """The proof if the removals of one value outrun its additions at some moment, else empty."""
    by_end = sorted(removals, key=problem.end.__getitem__)
    by_start = sorted(additions, key=problem.start.__getitem__)
    for count, removal in enumerate(by_end):
        if count >= len(by_start) or problem.end[removal] < problem.start[by_start[count]]:
            return tuple(sorted({*by_end[: count + 1], *by_start[: count + 1]}))
    return ()


def _guessed(
    problem: Problem, additions: list[int], removals: list[int], *, last_in: bool
) -> list[Life]:
    """Match additions and removals of one value, in the order in which the removals completed.

    Additions that completed before the removal began are preferred.

    Args:
        problem: the operations.
        additions, removals: op indices.
        last_in: whether a removal takes the youngest value rather than the oldest.
    """
    waiting: list[int] = []
    lives: list[Life] = []
    events = [(problem.start[i], True, i) for i in additions]
    events += [(problem.end[i], False, i) for i in removals]
    for _, adds, index in sorted(events):
        if adds:
            waiting.append(index)
            continue
        known = [i for i in waiting if problem.end[i] < problem.start[index]] or waiting
        chosen = known[-1] if last_in else known[0]
        waiting.remove(chosen)
        lives.append(Life(chosen, index))
    return lives + [Life(i) for i in waiting if problem.required[i]]


def _stack_order(
    problem: Problem, lives: list[Life], meter: Meter, *, explain: bool
) -> tuple[int, ...] | None:
    """Peel the values off from the outside; what cannot be peeled is a violation.

    None if the budget is spent; without ``explain`` any non-empty answer does for a violation.
    """
    if not lives:
        return ()
    windows = windows_of(problem, lives)
    kept = _unpeelable(windows, meter)
    if meter.spent():
        return None
    if not len(kept):
        return ()
    if not explain:
        return (0,)
    piece = max(1, len(kept) // 2)
    while True:  # the fewest values that still cannot be peeled
        at = 0
        while at < len(kept):
            fewer = np.delete(kept, slice(at, at + piece))
            stuck = fewer[_unpeelable(windows[:, fewer], meter)]
            if meter.spent():
                piece = 1
                break
            if len(stuck):
                kept = stuck
            else:
                at += piece
        if piece == 1:
            break
        piece = max(1, piece // 2)
    chosen = [i for at in kept.tolist() for i in (lives[at].add, lives[at].remove)]
    return tuple(sorted(i for i in chosen if i >= 0))


def windows_of(problem: Problem, lives: list[Life]) -> Ints:
    """Four rows, one column per value: begin and end of its push, then of its pop."""
    late = 2 + max(end for ends in zip(problem.start, problem.end) for end in ends if end != NEVER)
    windows = np.minimum(np.stack(spans(problem, lives)), late)
    windows[3, windows[2] == late] = late + 1  # what stays is taken out after everything
    return windows


def free_moments(begin: Ints, end: Ints, moments: int) -> npt.NDArray[np.bool_]:
    """Which moments no span covers; entry i is the time between the i-th event and the next.

    Args:
        begin, end: of the spans, as numbers of events.
        moments: how many there are.
    """
    steps = np.bincount(begin, minlength=moments) - np.bincount(end, minlength=moments)
    free: npt.NDArray[np.bool_] = np.cumsum(steps) == 0
    return free


def _unpeelable(windows: Ints, meter: Meter) -> Ints:
    """Which values remain when all that can be peeled off is, or when the budget is spent.

    Args:
        windows: as from :func:`windows_of`.
        meter: the check's budget.
    """
    _, places = np.unique(windows, return_inverse=True)
    push_start, push_end, pop_start, pop_end = places.reshape(windows.shape)
    left = np.flatnonzero(push_end < pop_start)  # those that overlap can be put at one instant
    moments = int(places.max(initial=0)) + 2
    while len(left) and not meter.spent():
        open_moments = free_moments(push_end[left], pop_start[left], moments)
        free = np.concatenate([[0], np.cumsum(open_moments)])
        can = (free[push_end[left]] > free[push_start[left]]) & (
            free[pop_end[left]] > free[pop_start[left]]
        )
        if not can.any():
            break
        left = left[~can]
    return left


def spans(problem: Problem, lives: list[Life]) -> tuple[npt.NDArray[np.int64], ...]:
    """Per value: invocation and completion of its addition, then of its removal."""
    add_start = np.array([problem.start[life.add] for life in lives], dtype=np.int64)
    add_end = np.array([problem.end[life.add] for life in lives], dtype=np.int64)
    none = [life.remove < 0 for life in lives]
    remove_start = np.array(
        [NEVER if gone else problem.start[life.remove] for gone, life in zip(none, lives)],
        dtype=np.int64,
    )
    remove_end = np.array(
        [NEVER if gone else problem.end[life.remove] for gone, life in zip(none, lives)],
        dtype=np.int64,
    )
    return add_start, add_end, remove_start, remove_end


def _queue_order(problem: Problem, lives: list[Life]) -> tuple[int, ...]:
    """A pair that came out in the other order than it went in, if there is one."""
    if not lives:
        return ()
    add_start, add_end, remove_start, remove_end = spans(problem, lives)
    by_end = np.argsort(add_end, kind="stable")
    latest = np.maximum.accumulate(remove_start[by_end])
    before = np.searchsorted(add_end[by_end], add_start) - 1
    bad = (before >= 0) & (latest[np.maximum(before, 0)] > remove_end)
    if not bad.any():
        return ()
    candidates = np.flatnonzero(bad)
    late = int(candidates[np.argmin(remove_end[candidates])])
    first = by_end[: int(before[late]) + 1]
    early = int(first[np.argmax(remove_start[first])])
    pair = (lives[early].add, lives[early].remove, lives[late].add, lives[late].remove)
    return tuple(sorted(index for index in pair if index >= 0))


def _empties(problem: Problem, values: list[Life], empties: list[int]) -> tuple[int, ...]:
    """A dequeue that found nothing though something was inside all the time, with proof."""
    for index, moment in zip(empties, moments_of(problem, values, empties)):
        if moment < 0:
            _, add_end, remove_start, _ = spans(problem, values)
            start, end = problem.start[index], problem.end[index]
            return _covering(values, add_end, remove_start, index, start, end)
    return ()


def moments_of(problem: Problem, values: list[Life], empties: list[int]) -> list[int]:
    """For each removal that found nothing, the first free moment in its interval; -1 for none.

    Moment i lies between positions i and i + 1.
    """
    if not empties:
        return []
    _, add_end, remove_start, _ = spans(problem, values)
    last = max(problem.end[index] for index in empties) + 1
    inside = (add_end < last) & (add_end < remove_start)
    begin, end = add_end[inside], np.minimum(remove_start[inside], last + 1)
    free = np.flatnonzero(free_moments(begin, end, last + 2))
    starts = np.array([problem.start[index] for index in empties])
    first = free[np.minimum(np.searchsorted(free, starts), len(free) - 1)] if len(free) else starts
    ends = np.array([problem.end[index] for index in empties])
    found = (first >= starts) & (first < ends) & bool(len(free))
    return np.where(found, first, -1).tolist()  # type: ignore[no-any-return]


def _covering(
    lives: list[Life],
    add_end: npt.NDArray[np.int64],
    remove_start: npt.NDArray[np.int64],
    index: int,
    start: int,
    end: int,
) -> tuple[int, ...]:
    """The fewest values whose spans cover the interval of an operation, with that operation."""
    chosen = [index]
    at = start
    while at < end:
        reaching = np.where(add_end <= at, remove_start, -1)
        best = int(np.argmax(reaching))
        at = int(reaching[best])
        chosen += [lives[best].add, lives[best].remove]
    return tuple(sorted({i for i in chosen if i >= 0}))


def append_list_monitor(problem: Problem, model: Model, meter: Meter) -> Answer:
    """Check an append-only list.

    Args:
        problem: ``append`` and ``read`` operations.
        model: the append-list model.
        meter: the check's budget; one pass does not ask it.
    """
    parts = _list_parts(problem)
    if parts is None:
        return None
    appends, reads, order = parts
    longest = next((index for index, seen in reads if seen is order), -1)
    place: dict[Hashable, int] = {}
    for at, value in enumerate(order):
        if value not in appends:
            return (longest,)
        if value in place:
            return (appends[value], longest)
        place[value] = at
    for index, seen in reads:
        if seen != order[: len(seen)]:
            if any(value not in appends for value in seen):
                return (index,)
            extra = {appends[value] for value in (*seen, *order)}
            return tuple(sorted({index, longest, *extra}))
    return _forced_order(problem, appends, reads, order)


def _list_parts(
    problem: Problem,
) -> tuple[dict[Hashable, int], list[tuple[int, list[Hashable]]], list[Hashable]] | None:
    """The appends by value, the reads with what they saw, and the longest of that."""
    appends: dict[Hashable, int] = {}
    reads: list[tuple[int, list[Hashable]]] = []
    for index, op in enumerate(problem.ops):
        if op.f == "append":
            value = token(op.input)
            if value in appends:
                return None
            appends[value] = index
        elif isinstance(op.output, (list, tuple)) or op.output is None:
            reads.append((index, [token(item) for item in op.output or ()]))
        else:
            return None
    return appends, reads, max((seen for _, seen in reads), key=len, default=[])


def append_list_stages(problem: Problem) -> list[list[int]]:
    """The forced order of a list history that the monitor found legal, stage by stage."""
    parts = _list_parts(problem)
    assert parts is not None
    return _stages(problem, *parts)


def _stages(
    problem: Problem,
    appends: dict[Hashable, int],
    reads: list[tuple[int, list[Hashable]]],
    order: list[Hashable],
) -> list[list[int]]:
    """Reads of the empty list, the first append, the reads of it, and so on; the unseen last."""
    stages: list[list[int]] = [[] for _ in range(2 * len(order) + 2)]
    for index, seen in reads:
        stages[2 * len(seen)].append(index)
    seen_values = set(order)
    for at, value in enumerate(order):
        stages[2 * at + 1].append(appends[value])
    for value, index in appends.items():
        if value not in seen_values and problem.required[index]:
            stages[-1].append(index)
    return stages


def _forced_order(
    problem: Problem,
    appends: dict[Hashable, int],
    reads: list[tuple[int, list[Hashable]]],
    order: list[Hashable],
) -> tuple[int, ...]:
    """Where the forced order contradicts real time, if it does."""
    latest, latest_index = -1, -1
    for number, stage in enumerate(_stages(problem, appends, reads, order)):
        for index in stage:
            if problem.end[index] < latest:
                upto = order[: (number + 1) // 2]
                needed = {appends[value] for value in upto}
                proof = {index, latest_index, *needed}
                return tuple(sorted(proof | _proof_of_order(reads, index, order, latest_index)))
        for index in stage:
            if problem.start[index] > latest:
                latest, latest_index = problem.start[index], index
    return ()


def _proof_of_order(
    reads: list[tuple[int, list[Hashable]]], index: int, order: list[Hashable], late: int
) -> set[int]:
    """A read that shows the order of the two operations, where neither of them is one."""
    read_indices = {i for i, _ in reads}
    if index in read_indices or not order:
        return set()
    return {next(i for i, seen in reads if seen is order)} if late not in read_indices else set()


MONITORS: dict[str, Callable[[Problem, Model, Meter], Answer]] = {
    "queue": queue_monitor,
    "stack": stack_monitor,
    "append-list": append_list_monitor,
}
