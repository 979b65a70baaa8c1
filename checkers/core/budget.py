"""Budgets: limits of time, memory and steps for a checker, and the meter that enforces them.

A search for a linearisation or a serial order is exponential in the worst case. Every checker
takes a :class:`Budget` of steps, wall-clock time and memory, and asks its :class:`Meter` at a
bounded interval of work. When the budget is exhausted the checker stops and answers UNKNOWN, with
its progress so far. A step budget makes a verdict the same on every machine; time and
memory are the safety net.

A budget limits the work on a history. Compiling machine code happens once on a machine and does not
count: it runs under :func:`not_counted`, while the clock of every budget stands still.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import msgspec

Item = TypeVar("Item")

#: Asking the kernel for memory use costs about 10 us, so only one in this many checks does.
MEMORY_CHECK_INTERVAL = 64


#: The alarm rings when this much more than the budget is spent.
ALARM_AFTER = 1.12

#: The system's timer knows no times much longer, in seconds: three years.
ALARM_MAX_S = 1e8

_not_counted_s = 0.0
_stopped_s: float | None = None


class BudgetSpent(Exception):
    """The budget was spent in the middle of something; the message says which."""


def uncounted_s() -> float:
    """Seconds for which the clocks of budgets have stood still in this process so far."""
    return _not_counted_s


def clock_s() -> float:
    """Seconds that count, from some beginning: those of the wall clock that were not stopped."""
    return (time.monotonic() if _stopped_s is None else _stopped_s) - _not_counted_s


@contextmanager
def not_counted() -> Iterator[None]:
    """The clock of every budget in this process stands still; not to be nested."""
    global _not_counted_s, _stopped_s
    _stopped_s = time.monotonic()
    try:
        yield
    finally:
        _not_counted_s += time.monotonic() - _stopped_s
        _stopped_s = None


class Budget(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limits of one check; None means no limit of that kind.

    Args:
        time_s: wall-clock seconds.
        memory_mb: resident memory of this process above what it used when the check began, in MB.
        steps: model steps or search states: deterministic, unlike the other two.
        whole_s: where ``time_s`` is what is left of a budget, the whole of it, to be named.
    """

    time_s: float | None = 60.0
    memory_mb: float | None = 4096.0
    steps: int | None = None
    whole_s: float | None = None

    def as_dict(self) -> dict[str, object]:
        """The limits as a JSON-ready dict."""
        return {
            "time_s": self.whole_s or self.time_s,
            "memory_mb": self.memory_mb,
            "steps": self.steps,
        }


def resident_mb() -> float:
    """Resident memory of this process in MB; 0.0 where the platform does not tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * 4096 / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


class Meter:
    """Spending against one budget. Make it when the check begins; ask :meth:`spent` often.

    Args:
        budget: the limits; None for the default budget.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.steps = 0
        self.reason = ""
        #: how far reading a file has come; reported if the budget runs out meanwhile
        self.read_share = self.read_of_mb = 0.0
        #: of how many memory budgets room is: a history may take two, and its check one more
        self.memory_budgets = 1.0
        self._started_s = clock_s()
        self._memory_start_mb = resident_mb()
        self._checks = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the meter was made, by :func:`clock_s`."""
        return clock_s() - self._started_s

    def left(self, share: float = 1.0) -> Budget:
        """The budget with the time that is left, or a share of it; memory is counted anew."""
        left_s, whole_s = self.remaining_s(), self.budget.whole_s or self.budget.time_s
        time_s = None if left_s is None else share * left_s
        return msgspec.structs.replace(self.budget, time_s=time_s, whole_s=whole_s)

    def remaining_s(self) -> float | None:
        """Seconds left of the time budget (never negative), or None if time is unlimited."""
        if self.budget.time_s is None:
            return None
        return max(0.0, self.budget.time_s - self.elapsed_s)

    def remaining_mb(self) -> float:
        """Memory left of the budget in MB (never negative); infinite if memory is unlimited."""
        if self.budget.memory_mb is None:
            return float("inf")
        return max(0.0, self.budget.memory_mb - resident_mb() + self._memory_start_mb)

    def spent(self, steps: int = 0, *, look: bool = False) -> bool:
        """Add steps done; say whether the budget is spent. The reason is then in :attr:`reason`.

        Args:
            steps: done since last asked.
            look: look at memory now, where a little work may take much of it.
        """
        self.steps += steps
        if self.reason:
            return True
        limit = self.budget
        if limit.steps is not None and self.steps > limit.steps:
            self.reason = f"the budget of {limit.steps} steps is spent"
        elif self.remaining_s() == 0.0:
            self.reason = f"the time budget of {limit.whole_s or limit.time_s:g} s is spent"
        else:
            self._checks += 1
            look = look or self._checks % MEMORY_CHECK_INTERVAL == 1
            if limit.memory_mb is not None and look:
                used_mb = resident_mb() - self._memory_start_mb
                if used_mb > self.memory_budgets * limit.memory_mb:
                    self.reason = f"the memory budget of {limit.memory_mb:g} MB is spent"
        return bool(self.reason)


_current: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def within(meter: Meter) -> Iterator[Meter]:
    """Every caller of :func:`look` meanwhile is held to this meter's budget."""
    token = _current.set(meter)
    try:
        yield meter
    finally:
        _current.reset(token)


def current() -> Meter | None:
    """The meter of the nearest :func:`within`, if there is one."""
    return _current.get()


def look() -> None:
    """Stop if the budget of the nearest :func:`within` is spent: for stages without a meter.

    Raises:
        BudgetSpent: it is.
    """
    meter = _current.get()
    if meter is not None and meter.spent():
        raise BudgetSpent(meter.reason)


def looked(items: Iterable[Item], *, every: int = 4096) -> Iterator[Item]:
    """The items, and every so many of them a :func:`look`.

    Raises:
        BudgetSpent: see :func:`look`.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            look()


@contextmanager
def alarm(meter: Meter) -> Iterator[None]:
    """Interrupt what does not ask the meter, a while after the time is over.

    Works in the main thread of a process that does nothing else, such as a command's.

    Raises:
        BudgetSpent: in the code that runs then.
    """
    limit_s = meter.budget.time_s
    if limit_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        left_s = ALARM_AFTER * limit_s - meter.elapsed_s
        if left_s > 0:  # the clock stood still for a while
            signal.setitimer(signal.ITIMER_REAL, min(max(left_s, 0.001), ALARM_MAX_S))
            return
        meter.spent()
        raise BudgetSpent(meter.reason)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, min(ALARM_AFTER * limit_s, ALARM_MAX_S))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
