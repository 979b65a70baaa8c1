"""The workload ``write-skew``: the anomaly that snapshot isolation allows and serializability not.

Two doctors are on call; each sees that the other one is, and goes home. Neither overwrote what the
other wrote, so no check of write conflicts notices. Here every transaction reads both registers of
a pair and writes one of them: two that ran side by side, read the same and wrote different ones
have each missed the other's write, a cycle of two anti-dependencies (G2-item). With ``predicates``
the pair is read as a range of keys, and what is missed may be a key that was not there (G2).

Source: Berenson and others, A critique of ANSI SQL isolation levels, 1995.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from checkers.core.checker import named
from checkers.isolation import rw_register
from workloads import generator as gen
from workloads.common import Window, check_positive, models_of, transactional
from workloads.generator.base import PENDING, Context, Generator, Step
from workloads.workload import Workload


class Pairs(Generator, frozen=True):
    """Reads both registers of a pair in use and writes one of them, for ever.

    Args:
        window: the pairs.
        predicates: whether they are read as a range.
    """

    window: Window
    predicates: bool = False

    def op(self, test: Any, context: Context) -> Step:
        if context.free_thread() < 0:
            return PENDING, self
        drawn = next(context.values)
        pair = self.window.pick(context, drawn)
        both = [f"{pair}x", f"{pair}y"]
        written = both[int(context.rng.random() * 2)]
        reads: list[list[Any]] = [["r", key, None] for key in both]
        if self.predicates:
            reads = [["rp", {"keys": both}, None]]
        micro = [*reads, ["w", written, drawn]]
        return context.fill("txn", None, micro), self


class FinalPairs(Generator, frozen=True):
    """Every worker reads the pairs last in use."""

    window: Window

    def op(self, test: Any, context: Context) -> Step:
        names = self.window.names(next(context.values))
        reads = [[["r", f"{name}x", None], ["r", f"{name}y", None]] for name in names]
        each = gen.each_thread(gen.seq([gen.op("txn", value=value) for value in reads]))
        step: Step = each.op(test, context)
        return step


def write_skew(
    *,
    keys: int = 2,
    rate_hz: float = 100.0,
    ops_per_key: int = 30,
    predicates: bool = False,
    consistency_models: str | Sequence[str] = "serializable",
) -> Workload:
    """Pairs of registers which transactions read whole and write by half.

    Args:
        keys: pairs in use at a time; few, so that transactions meet.
        rate_hz: transactions per second over all workers.
        ops_per_key: transactions after which a pair is retired.
        predicates: whether a pair is read as a range of keys, absent ones included.
        consistency_models: what is claimed, as ``serializable`` or several with commas.

    Raises:
        ValueError: a consistency model's name is unknown, or options leave nothing to check.
    """
    check_positive(keys=keys, ops_per_key=ops_per_key)
    window = Window(keys, ops_per_key)
    claimed = models_of(consistency_models)
    check = rw_register(consistency_models=claimed, wfr_keys=True)
    return transactional(
        name="write-skew",
        objects="txn-predicates" if predicates else "txn-register",
        generator=Pairs(window, predicates).rate(rate_hz),
        final=FinalPairs(window),
        checker=named("rw-register", check),
        model="rw-register",
        keys="pairs of registers in transactions",
        claimed=claimed,
    )
