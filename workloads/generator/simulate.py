"""Runs a generator against an imagined system in no time: what would it do?

Pure: no clients, no clock. For tests of workloads, for looking at a generator in a REPL, and as the
slow obvious twin of the harness's scheduler. Threads are as in a run; completions follow a rule.

    >>> from workloads import generator as gen
    >>> [op.f for op in gen.simulate(gen.limit(2, gen.reads(1)), concurrency=1)]
    ['read', 'read', 'read', 'read']
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from workloads.generator.base import PENDING, Context, GeneratorError, Op
from workloads.generator.sources import lift, wants_updates

#: Operations after which a simulation stops: most workloads are endless.
OPS_MAX = 10_000

Completion = Callable[[Op, int], tuple[str, int]]


def quick(op: Op, number: int) -> tuple[str, int]:
    """Every operation is ok at once."""
    return "ok", 0


def perfect(op: Op, number: int) -> tuple[str, int]:
    """Every operation is ok after 10 ns."""
    return "ok", 10


def imperfect(op: Op, number: int) -> tuple[str, int]:
    """Operations are ok, unknown and failed in turn, after 10 ns."""
    return ("ok", "info", "fail")[number % 3], 10


def simulate(
    generator: Any,
    *,
    concurrency: int = 3,
    complete: Completion = perfect,
    seed: int = 0,
    limit: int = OPS_MAX,
    test: Any = None,
) -> list[Op]:
    """All events a generator would lead to: invocations and completions, in order of time.

    Args:
        generator: what to run; lifted.
        concurrency: client threads.
        complete: from an operation and its number to (``ok|fail|info``, latency in ns).
        seed: of the context's randomness.
        limit: stop after this many operations.
        test: what ``op`` and ``update`` get as the test.

    Raises:
        GeneratorError: the generator waits for something that can never happen.
    """
    return _Simulation(lift(generator), concurrency, complete, seed, limit, test).run()


class _Simulation:
    def __init__(
        self,
        generator: Any,
        concurrency: int,
        complete: Completion,
        seed: int,
        limit: int,
        test: Any,
    ) -> None:
        self.generator = generator
        self.context = Context.start(concurrency, seed=seed)
        self.complete = complete
        self.left = limit
        self.test = test
        self.number = 0
        self.open: list[tuple[int, int, Op]] = []
        self.events: list[Op] = []

    def run(self) -> list[Op]:
        while self.left:
            step = self.generator.op(self.test, self.context)
            if step is None:
                break
            op, following = step
            if op is not PENDING and not (self.open and self.open[0][0] <= op.time_ns):
                self._advance(op.time_ns)
                self._invoke(op, following)
                continue
            if not self.open:
                raise GeneratorError(
                    "the generator waits although every thread is free: it would wait for ever"
                )
            if op is PENDING:
                self.generator = following
            self._complete()
        while self.open:
            self._complete()
        return self.events

    def _advance(self, time_ns: int) -> None:
        later = max(self.context.time_ns, time_ns)
        self.context = msgspec.structs.replace(self.context, time_ns=later)

    def _invoke(self, op: Op, following: Any) -> None:
        self.generator = following
        if op.type == "log":
            return
        self.left -= 1
        context = self.context
        self.context = msgspec.structs.replace(context, free=context.free & ~(1 << op.thread))
        if op.type == "sleep":
            heapq.heappush(self.open, (op.time_ns + op.value, self.number, op))
        else:
            self._tell(op)
            outcome, latency_ns = self.complete(op, self.number)
            done = msgspec.structs.replace(op, type=outcome)
            heapq.heappush(self.open, (op.time_ns + latency_ns, self.number, done))
        self.number += 1

    def _complete(self) -> None:
        time_ns, _, op = heapq.heappop(self.open)
        self._advance(time_ns)
        context = self.context
        processes = list(context.processes)
        if op.type == "info" and isinstance(op.process, int):
            processes[op.thread] = op.process + context.concurrency
        self.context = msgspec.structs.replace(
            context, free=context.free | 1 << op.thread, processes=processes
        )
        if op.type != "sleep":
            self._tell(msgspec.structs.replace(op, time_ns=time_ns))

    def _tell(self, event: Op) -> None:
        self.events.append(event)
        if wants_updates(self.generator):
            self.generator = self.generator.update(self.test, self.context, event)
