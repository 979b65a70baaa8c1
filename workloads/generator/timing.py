"""Generators that pace others: stagger, rate, delay, time limits.

They work on the operations' times: an operation may be emitted with a time in the future, and
the worker that asked waits until then. Intervals are over all threads together, not per thread.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from workloads.generator.base import (
    PENDING,
    SECOND_NS,
    Context,
    Generator,
    GeneratorError,
    Op,
    Step,
    fluent,
)
from workloads.generator.sources import Wrapper, lift

#: How far behind its timetable a paced generator catches up. Timers of a real event loop are late
#: by about a millisecond each; without this the rate would always be short of what was asked. A
#: longer stall (all threads busy, say) is not made up for by a burst.
CATCH_UP_NS = 20_000_000


def _duration_ns(what: str, duration_s: float, *, zero: bool = False) -> int:
    good = isinstance(duration_s, (int, float)) and math.isfinite(duration_s)
    if not good or duration_s < 0 or (duration_s == 0 and not zero):
        raise GeneratorError(f"{what} is {duration_s!r}; it should be a positive number of seconds")
    return round(duration_s * SECOND_NS)


class Stagger(Wrapper, frozen=True):
    """Random intervals, uniform in [0, 2 * mean); or fixed ones."""

    mean_ns: int
    random: bool = True
    next_ns: int = -1

    def op(self, test: Any, context: Context) -> Step:
        step = self.inner.op(test, context)
        if step is None:
            return None
        op, current = step
        due_ns = self.next_ns
        if op is PENDING:
            return PENDING, Stagger(current, self.mean_ns, self.random, due_ns)
        time_ns = op.time_ns
        if due_ns > time_ns:
            op = Op(op.f, op.key, op.value, op.process, op.thread, due_ns, op.type)
        elif due_ns < 0 or time_ns - due_ns > CATCH_UP_NS or not self.random:
            due_ns = time_ns
        step_ns = int(context.rng.random() * 2 * self.mean_ns) if self.random else self.mean_ns
        return op, Stagger(current, self.mean_ns, self.random, due_ns + step_ns)


@fluent
def stagger(mean_s: float, generator: Any) -> Generator:
    """Operations at random intervals of this mean, over all threads."""
    return Stagger(lift(generator), _duration_ns("stagger", mean_s))


@fluent
def rate(hz: float, generator: Any) -> Generator:
    """About ``hz`` operations per second over all threads, at random intervals.

    Raises:
        GeneratorError: the rate is not positive.
    """
    if not isinstance(hz, (int, float)) or not math.isfinite(hz) or hz <= 0:
        raise GeneratorError(f"rate is {hz!r}; it should be a positive number per second")
    return Stagger(lift(generator), max(1, round(SECOND_NS / hz)))


@fluent
def delay(interval_s: float, generator: Any) -> Generator:
    """At least this long between operations."""
    return Stagger(lift(generator), _duration_ns("delay", interval_s, zero=True), random=False)


class TimeLimit(Wrapper, frozen=True):
    """For so long, from the first time it is asked."""

    limit_ns: int
    end_ns: int = -1

    def op(self, test: Any, context: Context) -> Step:
        end_ns = self.end_ns if self.end_ns >= 0 else context.time_ns + self.limit_ns
        if context.time_ns >= end_ns:
            return None
        step = self.inner.op(test, context)
        if step is None:
            return None
        op, current = step
        if op is not PENDING and op.time_ns >= end_ns:
            return None
        if op is not PENDING and op.type == "sleep" and op.time_ns + op.value > end_ns:
            op = msgspec.structs.replace(op, value=end_ns - op.time_ns)
        return op, TimeLimit(current, self.limit_ns, end_ns)


@fluent
def time_limit(limit_s: float, generator: Any) -> Generator:
    """A generator's operations for this long, counted from the first time it is asked."""
    return TimeLimit(lift(generator), _duration_ns("time_limit", limit_s, zero=True))
