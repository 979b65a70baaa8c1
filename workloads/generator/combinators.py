"""Generators made of generators: choice, limits, filters.

``mix`` chooses at random, ``any_of`` takes whichever can go soonest, ``flip_flop`` alternates.
Each is a value like what it is made of; an answer always carries the next value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from workloads.generator.base import PENDING, Context, Generator, GeneratorError, Op, Step, fluent
from workloads.generator.sources import (
    Nothing,
    Wrapper,
    _counted,
    lift,
    once_through,
    wants_updates,
)


def update_all(
    generators: Sequence[Any], test: Any, context: Context, event: Op
) -> tuple[Any, ...]:
    """Every generator updated by an event, if it takes updates."""
    return tuple(g.update(test, context, event) if wants_updates(g) else g for g in generators)


def soonest(
    candidates: Sequence[tuple[int, tuple[Any, Any]]], context: Context
) -> tuple[int, tuple[Any, Any]]:
    """The candidate (number, step) whose operation is earliest; ties are drawn; pending is last."""
    ready = [c for c in candidates if c[1][0] is not PENDING]
    if not ready:
        return candidates[0]
    first_ns = min(c[1][0].time_ns for c in ready)
    tied = [c for c in ready if c[1][0].time_ns == first_ns]
    return tied[int(context.rng.random() * len(tied))] if len(tied) > 1 else tied[0]


class Mix(Generator, frozen=True):
    """Draws which of its generators is next; one that is exhausted leaves the mix.

    The draw is kept until an operation came of it: asking again while threads are busy must not
    favour generators that are easy to satisfy.
    """

    generators: tuple[Any, ...]
    cumulative: tuple[float, ...]
    chosen: int = -1

    @property
    def wants_updates(self) -> bool:
        return any(map(wants_updates, self.generators))

    def op(self, test: Any, context: Context) -> Step:
        generators, cumulative, chosen = self.generators, self.cumulative, self.chosen
        while generators:
            if chosen < 0:
                draw = context.rng.random() * cumulative[-1]
                chosen = 0
                while chosen < len(cumulative) - 1 and cumulative[chosen] <= draw:
                    chosen += 1
            current = generators[chosen]
            step = current.op(test, context)
            if step is not None:
                if step[1] is not current:
                    generators = (*generators[:chosen], step[1], *generators[chosen + 1 :])
                return step[0], Mix(generators, cumulative, chosen if step[0] is PENDING else -1)
            generators, cumulative = _without(generators, cumulative, chosen)
            chosen = -1
        return None

    def update(self, test: Any, context: Context, event: Op) -> Any:
        updated = update_all(self.generators, test, context, event)
        return Mix(updated, self.cumulative, self.chosen)

    def once_through(self) -> Any:
        return Mix(tuple(map(once_through, self.generators)), self.cumulative)


def _without(
    generators: tuple[Any, ...], cumulative: tuple[float, ...], gone: int
) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    weights = [high - low for low, high in zip((0.0, *cumulative), cumulative)]
    del weights[gone]
    return generators[:gone] + generators[gone + 1 :], tuple(accumulate(weights))


def mix(*generators: Any, weights: Sequence[float] | None = None) -> Generator:
    """A random mixture.

    Args:
        generators: what to mix, equally unless weighted.
        weights: how often each is drawn, relative to the others.

    Raises:
        GeneratorError: weights that do not fit.
    """
    if not generators:
        raise GeneratorError("mix needs at least one generator")
    shares = [1.0] * len(generators) if weights is None else [float(w) for w in weights]
    if len(shares) != len(generators):
        raise GeneratorError(f"mix has {len(generators)} generators but {len(shares)} weights")
    if min(shares) < 0 or sum(shares) <= 0:
        raise GeneratorError(f"mix has the weights {shares}; they should be positive")
    kept = [(g, w) for g, w in zip(map(lift, generators), shares) if w > 0]
    return Mix(tuple(g for g, _ in kept), tuple(accumulate(w for _, w in kept)))


class Soonest(Generator, frozen=True):
    """Whichever of its generators can go soonest."""

    generators: tuple[Any, ...]

    @property
    def wants_updates(self) -> bool:
        return any(map(wants_updates, self.generators))

    def op(self, test: Any, context: Context) -> Step:
        steps = [(i, g.op(test, context)) for i, g in enumerate(self.generators)]
        candidates = [(i, step) for i, step in steps if step is not None]
        if not candidates:
            return None
        chosen, (op, following) = soonest(candidates, context)
        return op, Soonest(
            tuple(following if i == chosen else self.generators[i] for i, _ in candidates)
        )

    def update(self, test: Any, context: Context, event: Op) -> Any:
        return Soonest(update_all(self.generators, test, context, event))

    def once_through(self) -> Any:
        return Soonest(tuple(map(once_through, self.generators)))


def any_of(*generators: Any) -> Generator:
    """Operations of whichever generator can go soonest; ties are drawn."""
    return Soonest(tuple(map(lift, generators)))


class Limit(Wrapper, frozen=True):
    """At most so many operations."""

    left: int

    def op(self, test: Any, context: Context) -> Step:
        if self.left <= 0:
            return None
        step = self.inner.op(test, context)
        if step is None:
            return None
        return step[0], Limit(step[1], self.left - (step[0] is not PENDING))

    def once_through(self) -> Any:
        return self


@fluent
def limit(count: int, generator: Any) -> Generator:
    """At most ``count`` operations."""
    return Limit(lift(generator), _counted("limit", count))


def once(generator: Any) -> Generator:
    """One operation."""
    return Limit(lift(generator), 1)


class Filter(Wrapper, frozen=True):
    """Only operations that a predicate keeps."""

    keep: Callable[[Op], bool]

    def op(self, test: Any, context: Context) -> Step:
        current = self.inner
        for _ in range(FILTER_TRIES_MAX):
            step = current.op(test, context)
            if step is None:
                return None
            op, current = step
            if op is PENDING or op.type != "invoke" or self.keep(op):
                return op, Filter(current, self.keep)
        raise GeneratorError(
            f"the filter {getattr(self.keep, '__qualname__', self.keep)!r} refused "
            f"{FILTER_TRIES_MAX} operations in a row; it seems to keep none"
        )


#: A filter that refuses this many operations in a row is taken for one that keeps none.
FILTER_TRIES_MAX = 10_000


@fluent
def filter_ops(keep: Callable[[Op], bool], generator: Any) -> Generator:
    """Only operations for which ``keep(op)`` is true."""
    return Filter(lift(generator), keep)


class Map(Wrapper, frozen=True):
    """Operations as a function makes them."""

    change: Callable[[Op], Any]

    def op(self, test: Any, context: Context) -> Step:
        step = self.inner.op(test, context)
        if step is None:
            return None
        op, current = step
        if op is not PENDING and op.type == "invoke":
            op = self._changed(op)
        return op, Map(current, self.change)

    def _changed(self, op: Op) -> Op:
        made = self.change(op)
        if isinstance(made, dict):
            try:
                made = msgspec.structs.replace(op, **made)
            except TypeError:
                made = None
        if not isinstance(made, Op):
            raise GeneratorError(
                f"the map's function {getattr(self.change, '__qualname__', self.change)} made "
                f"{made!r} of an operation; it should return the operation, changed, or a dict "
                "of the fields to change"
            )
        return made


@fluent
def map_ops(change: Callable[[Op], Any], generator: Any) -> Generator:
    """Each operation as ``change(op)`` makes it: an Op, or a dict of the fields to change."""
    return Map(lift(generator), change)


def f_map(names: dict[str, str], generator: Any) -> Generator:
    """Operations renamed: ``f_map({"read": "get"}, g)``."""
    return Map(lift(generator), lambda op: msgspec.structs.replace(op, f=names.get(op.f, op.f)))


class FlipFlop(Generator, frozen=True):
    """One operation of each of two, in turn, until either is exhausted."""

    generators: tuple[Any, Any]
    turn: int = 0

    @property
    def wants_updates(self) -> bool:
        return wants_updates(self.generators[0]) or wants_updates(self.generators[1])

    def op(self, test: Any, context: Context) -> Step:
        step = self.generators[self.turn].op(test, context)
        if step is None:
            return None
        first, second = self.generators
        pair = (step[1], second) if self.turn == 0 else (first, step[1])
        return step[0], FlipFlop(pair, self.turn if step[0] is PENDING else 1 - self.turn)

    def update(self, test: Any, context: Context, event: Op) -> Any:
        first, second = update_all(self.generators, test, context, event)
        return FlipFlop((first, second), self.turn)


def flip_flop(first: Any, second: Any) -> Generator:
    """One operation of the first, one of the second, and so on, until either is exhausted."""
    return FlipFlop((lift(first), lift(second)))


class UntilOk(Generator, frozen=True):
    """Until one of its own operations was ok."""

    inner: Any
    active: frozenset[int | str] = frozenset()

    @property
    def wants_updates(self) -> bool:
        return True

    def op(self, test: Any, context: Context) -> Step:
        step = self.inner.op(test, context)
        if step is None:
            return None
        op, current = step
        if op is PENDING:
            return PENDING, UntilOk(current, self.active)
        return op, UntilOk(current, self.active | {op.process})

    def update(self, test: Any, context: Context, event: Op) -> Any:
        inner = self.inner
        if wants_updates(inner):
            inner = inner.update(test, context, event)
        if event.type == "invoke" or event.process not in self.active:
            return UntilOk(inner, self.active)
        if event.type == "ok":
            return Nothing()
        return UntilOk(inner, self.active - {event.process})

    def once_through(self) -> Any:
        return UntilOk(once_through(self.inner))


@fluent
def until_ok(generator: Any) -> Generator:
    """Operations until one of them was ok. Several may be under way when it is."""
    return UntilOk(lift(generator))


class ProcessLimit(Wrapper, frozen=True):
    """For at most so many different processes."""

    count: int
    met: frozenset[int | str] = frozenset()

    def op(self, test: Any, context: Context) -> Step:
        step = self.inner.op(test, context)
        if step is None:
            return None
        op, current = step
        if op is PENDING:
            return PENDING, ProcessLimit(current, self.count, self.met)
        met = self.met | {op.process}
        return (op, ProcessLimit(current, self.count, met)) if len(met) <= self.count else None

    def once_through(self) -> Any:
        return ProcessLimit(once_through(self.inner), self.count)


@fluent
def process_limit(count: int, generator: Any) -> Generator:
    """Operations of at most ``count`` different processes; exhausted when one more would begin.

    A bound on how much a checker must search: every unknown outcome begins a new process.
    """
    return ProcessLimit(lift(generator), _counted("process_limit", count))
