"""Shared parts of workloads: shares of readers, keys in rotation, and transactions over them.

**Readers.** A worker whose write hangs on a node that is cut off does nothing else until it gives
up, and soon all workers of that node hang. So odd workers only read, and what a cut-off node still
answers is seen; with an odd number of nodes they reach all of them.

**Windows of keys.** A list read whole grows with every append, so that a long run on few keys costs
the square of its length. Here a few keys are in use at a time, and after so many operations the
next few take their place. Which keys those are follows from the run's counter of unique values
alone, so generators stay values and need not tell each other.

Transactions are lists of micro-operations ``[f, key, value]`` as :mod:`checkers.isolation` takes
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from checkers.core.checker import Checker
from checkers.judges.availability import availability
from checkers.judges.stats import stats
from workloads import generator as gen
from workloads.generator.base import PENDING, Context, Generator, Op, Step
from workloads.workload import Workload

#: Keys one reading transaction of a final phase has.
FINAL_KEYS_PER_TXN = 4


def _odd(thread: int | str) -> bool:
    return isinstance(thread, int) and thread % 2 == 1


def _even(thread: int | str) -> bool:
    return isinstance(thread, int) and thread % 2 == 0


def readers_beside(reads: Any, everything: Any) -> Generator:
    """Odd workers do the reads, even ones everything; a single worker everything."""
    return gen.any(gen.on_threads(_odd, reads), gen.on_threads(_even, everything))


def check_share(name: str, share: float) -> None:
    """Refuse a share that is not between 0 and 1, both excluded.

    Raises:
        ValueError: naming the option.
    """
    if not 0 < share < 1:
        raise ValueError(f"option {name} is {share:g}; it is a share and lies between 0 and 1")


def check_positive(**options: float) -> None:
    """Refuse options that are not positive.

    Raises:
        ValueError: naming the first.
    """
    for name, value in options.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
            raise ValueError(f"option {name} is {value!r}; it should be a positive number")


class Window(Generator, frozen=True):
    """Which keys are in use: ``keys`` at a time, each set of them for ``keys * per_key`` draws.

    Args:
        keys: how many at a time.
        per_key: draws from the run's counter after which a key is retired, about.
    """

    keys: int
    per_key: int

    def names(self, drawn: int) -> list[str]:
        """The keys in use when the counter stood there."""
        first = drawn // (self.keys * self.per_key) * self.keys
        return [f"k{number}" for number in range(first, first + self.keys)]

    def pick(self, context: Context, drawn: int) -> str:
        """One of the keys in use, at random."""
        first = drawn // (self.keys * self.per_key) * self.keys
        return f"k{first + int(context.rng.random() * self.keys)}"

    def all_names(self, drawn: int) -> list[str]:
        """Every key that was ever in use up to there."""
        generations = drawn // (self.keys * self.per_key) + 1
        return [f"k{number}" for number in range(generations * self.keys)]


class WindowOps(Generator, frozen=True):
    """Operations on the keys in use, for ever; with unique values unless they are reads."""

    window: Window
    f: str
    valued: bool

    def op(self, test: Any, context: Context) -> Step:
        if context.free_thread() < 0:
            return PENDING, self
        drawn = next(context.values)
        key = self.window.pick(context, drawn)
        return context.fill(self.f, key, drawn if self.valued else None), self


class FinalReads(Generator, frozen=True):
    """Reads every key there ever was once, then each worker those in use at the end."""

    window: Window
    f: str = "read"

    def op(self, test: Any, context: Context) -> Step:
        drawn = next(context.values)
        last = self.window.names(drawn)
        every = [key for key in self.window.all_names(drawn) if key not in last]
        once = gen.seq([gen.op(self.f, key=key) for key in every])
        each = gen.each_thread(gen.seq([gen.op(self.f, key=key) for key in last]))
        step: Step = gen.seq([once, each]).op(test, context)
        return step


class Transactions(Generator, frozen=True):
    """Random transactions over the keys in use.

    Args:
        window: the keys.
        write: name of the writing micro-operation, ``append`` or ``w``.
        read_share: how many micro-operations read.
        length_max: micro-operations a transaction has at most; at least one.
        read_first: whether a key is read before it is written in the same transaction, which
            tells the order of a register's versions.
    """

    window: Window
    write: str
    read_share: float
    length_max: int
    read_first: bool = False

    def op(self, test: Any, context: Context) -> Step:
        if context.free_thread() < 0:
            return PENDING, self
        rng = context.rng
        drawn = next(context.values)
        micro: list[list[Any]] = []
        for _ in range(1 + int(rng.random() * self.length_max)):
            key = self.window.pick(context, drawn)
            if rng.random() < self.read_share:
                micro.append(["r", key, None])
                continue
            if self.read_first and not any(other[1] == key for other in micro):
                micro.append(["r", key, None])
            micro.append([self.write, key, next(context.values)])
        return context.fill("txn", None, micro), self


class FinalTransactions(Generator, frozen=True):
    """Transactions that read the keys last in use, by every worker."""

    window: Window

    def op(self, test: Any, context: Context) -> Step:
        names = self.window.names(next(context.values))
        size = FINAL_KEYS_PER_TXN
        groups = [names[low : low + size] for low in range(0, len(names), size)]
        txns = [gen.op("txn", value=[["r", key, None] for key in group]) for group in groups]
        step: Step = gen.each_thread(gen.seq(txns)).op(test, context)
        return step


def rest(context: Context, duration_s: float, following: Any) -> Step:
    """The worker rests, recorded nowhere, and goes on."""
    op = context.fill("sleep", None, round(duration_s * 1e9))
    if not isinstance(op, Op):
        return PENDING, following
    quiet = Op(op.f, None, op.value, op.process, op.thread, op.time_ns, "sleep")
    return quiet, following


def models_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """Names of consistency models, from text with commas or a list."""
    names = given.split(",") if isinstance(given, str) else list(given)
    return tuple(name.strip() for name in names if name.strip())


def transactional(
    *,
    name: str,
    objects: str,
    generator: Any,
    final: Any,
    checker: Checker,
    model: str,
    keys: str,
    claimed: tuple[str, ...] = (),
) -> Workload:
    """A workload whose only operation is ``txn``.

    Args:
        name: the workload's name.
        objects: what the database has to offer.
        generator: the transactions, at their rate.
        final: the transactions after healing.
        checker: the isolation checker; availability and statistics are added.
        model: what the transactions are over.
        keys: what the keys are, in words.
        claimed: the consistency models that the checker holds them to; none if it knows none.
    """
    return Workload(
        name=name,
        objects=objects,
        generator=generator,
        final=final,
        checker=checker & stats() & availability(),
        model=model,
        reads=frozenset(),
        operations=frozenset({"txn"}),
        keys_description=f"{keys}, claimed {', '.join(claimed)}" if claimed else keys,
        claimed=claimed,
    )
