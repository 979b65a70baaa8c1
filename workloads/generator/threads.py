"""Generators that divide work among threads, and phases that wait for one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from workloads.generator.base import (
    PENDING,
    Context,
    Generator,
    GeneratorError,
    Op,
    Step,
    bits,
    fluent,
)
from workloads.generator.combinators import any_of, soonest, update_all
from workloads.generator.sources import (
    Emit,
    Seq,
    Wrapper,
    lift,
    once_through,
    op,
    seq,
    wants_updates,
)

NEMESIS = "nemesis"


class OnThreads(Wrapper, frozen=True):
    """On the threads a rule chooses, and unaware of all others."""

    mask_of: Callable[[Context], int]

    def op(self, test: Any, context: Context) -> Step:
        mine = context.restrict(self.mask_of(context))
        if not mine.all:
            return None  # no such thread here: what waits for one would wait for ever
        step = self.inner.op(test, mine)
        return None if step is None else (step[0], OnThreads(step[1], self.mask_of))

    def update(self, test: Any, context: Context, event: Op) -> Any:
        mask = self.mask_of(context)
        if event.thread >= 0 and not mask >> event.thread & 1:
            return self
        return OnThreads(self.inner.update(test, context.restrict(mask), event), self.mask_of)


def _clients_mask(context: Context) -> int:
    return context.clients


def _nemesis_mask(context: Context) -> int:
    return 1 << context.concurrency


@fluent
def clients(generator: Any, nemesis_generator: Any = None) -> Generator:
    """On client threads only; with a second generator, that one on the nemesis thread beside it."""
    alone = OnThreads(lift(generator), _clients_mask)
    if nemesis_generator is None:
        return alone
    return any_of(alone, nemesis(nemesis_generator))


def nemesis(generator: Any, client_generator: Any = None) -> Generator:
    """On the nemesis thread only; with a second generator, that one on the clients beside it.

    An operation there injects a fault: its ``f`` names a nemesis, its ``value`` is a target word or
    ``{"targets": .., "params": .., "for_s": .., "hold": ..}`` (see :func:`fault`); ``f="heal"``
    heals what such operations injected (``value`` names the nemesis, None means all).
    """
    alone = OnThreads(lift(generator), _nemesis_mask)
    if client_generator is None:
        return alone
    return any_of(alone, clients(client_generator))


def fault(
    name: str, *, for_s: float, targets: str = "", hold: bool = True, **params: Any
) -> Generator:
    """A fault for the nemesis thread: injected when its turn comes, healed after ``for_s`` seconds.

    So a list of faults and sleeps in :func:`nemesis` is a schedule: ``[fault("partition", for_s=5),
    sleep(10), fault("kill", for_s=3)]`` cuts the network for 5 s, leaves it alone for 10 s, and
    then kills. At the end of the phase a fault in force is healed at once.

    Args:
        name: a nemesis, ``partition`` or ``module:function`` say, or a kind of one,
            ``partition-halves``.
        for_s: how long it is in force, in seconds.
        targets: a target word or node names; the nemesis's own choice if empty.
        hold: the thread waits until the fault is healed; False to go on while it is in force.
        params: parameters of the nemesis: ``kind="halves"``.

    Raises:
        GeneratorError: ``for_s`` is not positive.
    """
    if not for_s > 0:
        raise GeneratorError(f"fault {name!r} for {for_s:g} s: it must last some time")
    value = {"targets": targets, "for_s": for_s, "hold": hold, "params": params}
    return op(name, value=value)


def faults_named(generator: Any) -> tuple[str, ...]:
    """The nemeses that a lifted generator's nemesis thread is seen to ask for, in order.

    What functions and iterators will give is not known before they are asked, and not here.
    """
    found: dict[str, None] = {}
    _look_for_faults(generator, False, found)
    return tuple(found)


def _look_for_faults(thing: Any, on_nemesis: bool, found: dict[str, None]) -> None:
    if isinstance(thing, Emit):
        if on_nemesis and thing.template.type == "invoke" and thing.template.f != "heal":
            found[thing.template.f] = None
        return
    if isinstance(thing, Seq):
        inside: Iterable[Any] = map(lift, thing.items())
    elif isinstance(thing, (tuple, list)):
        inside = thing
    elif isinstance(thing, Generator):
        inside = [getattr(thing, name) for name in thing.__struct_fields__]
    else:
        return
    on_nemesis = on_nemesis or (isinstance(thing, OnThreads) and thing.mask_of is _nemesis_mask)
    for each in inside:
        _look_for_faults(each, on_nemesis, found)


def on_threads(
    which: Iterable[int | str] | Callable[[int | str], bool], generator: Any
) -> Generator:
    """On some threads only.

    Args:
        which: thread numbers (and ``"nemesis"``), or a function that says yes to them.
        generator: what they do.
    """
    if callable(which):
        predicate = which
    else:
        chosen = tuple(which)
        if not chosen:
            raise GeneratorError("on_threads names no thread; nothing could ever be done")

        def predicate(thread: int | str) -> bool:
            return thread in chosen

    @cache
    def mask_among(concurrency: int) -> int:
        threads = (*range(concurrency), NEMESIS)
        return sum(1 << at for at, thread in enumerate(threads) if predicate(thread))

    def mask_of(context: Context) -> int:
        return mask_among(context.concurrency)

    return OnThreads(lift(generator), mask_of)


class Reserve(Generator, frozen=True):
    """Ranges of client threads, each with a generator of its own; the rest has the last one."""

    counts: tuple[int, ...]
    generators: tuple[Any, ...]

    @property
    def wants_updates(self) -> bool:
        return any(map(wants_updates, self.generators))

    def _masks(self, context: Context) -> list[int]:
        masks, low = [], 0
        for count in self.counts:
            masks.append(((1 << count) - 1) << low & context.clients)
            low += count
        masks.append(context.clients >> low << low)
        return masks

    def op(self, test: Any, context: Context) -> Step:
        candidates = []
        for number, mask in enumerate(self._masks(context)):
            mine = context.restrict(mask)
            step = self.generators[number].op(test, mine) if mine.all else None
            if step is not None:
                candidates.append((number, step))
        if not candidates:
            return None
        chosen, (op, following) = soonest(candidates, context)
        kept = self.generators
        return op, Reserve(self.counts, (*kept[:chosen], following, *kept[chosen + 1 :]))

    def update(self, test: Any, context: Context, event: Op) -> Any:
        masks = self._masks(context)
        updated = tuple(
            g.update(test, context.restrict(mask), event)
            if wants_updates(g) and (event.thread < 0 or mask >> event.thread & 1)
            else g
            for g, mask in zip(self.generators, masks)
        )
        return Reserve(self.counts, updated)

    def once_through(self) -> Any:
        return Reserve(self.counts, tuple(map(once_through, self.generators)))


def reserve(*parts: Any) -> Generator:
    """Threads reserved for generators: ``reserve(5, writes, 10, cas, reads)``.

    Five threads write, ten compare-and-set, all others read.

    Raises:
        GeneratorError: the arguments are not counts and generators in turn, with one generator
            left over.
    """
    if len(parts) % 2 == 0:
        raise GeneratorError(
            "reserve takes counts and generators in turn and ends with the generator of all other "
            f"threads; it was given {len(parts)} arguments, an even number"
        )
    counts = parts[:-1:2]
    for count in counts:
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise GeneratorError(f"reserve of {count!r} threads: it should be a number, 1 or more")
    return Reserve(tuple(counts), tuple(map(lift, (*parts[1::2], parts[-1]))))


class Each(Generator, frozen=True):
    """A copy of a generator for every thread, or for every process."""

    fresh: Any
    by_process: bool
    copies: Mapping[Any, Any] = MappingProxyType({})

    @property
    def wants_updates(self) -> bool:
        return wants_updates(self.fresh) or any(map(wants_updates, self.copies.values()))

    def _who(self, context: Context, thread: int) -> int | str:
        return context.processes[thread] if self.by_process else thread

    def op(self, test: Any, context: Context) -> Step:
        candidates, busy = [], False
        for thread in bits(context.usable):
            copy = self.copies.get(self._who(context, thread), self.fresh)
            step = copy.op(test, context.restrict(1 << thread))
            if step is None:
                continue
            if step[0] is PENDING:
                busy = True
            else:
                candidates.append((thread, step))
        if not candidates:
            return (PENDING, self) if busy else None
        thread, (op, following) = soonest(candidates, context)
        copies = {**self.copies, self._who(context, thread): following}
        return op, Each(self.fresh, self.by_process, copies)

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.thread < 0:
            return self
        who = event.process if self.by_process else event.thread
        copy: Any = self.copies.get(who, self.fresh)
        updated = copy.update(test, context.restrict(1 << event.thread), event)
        return Each(self.fresh, self.by_process, {**self.copies, who: updated})

    def once_through(self) -> Any:
        copies = {who: once_through(copy) for who, copy in self.copies.items()}
        return Each(once_through(self.fresh), self.by_process, copies)


def each_thread(generator: Any) -> Generator:
    """Every thread goes through the generator for itself."""
    return Each(lift(generator), by_process=False)


def each_process(generator: Any) -> Generator:
    """Every process goes through the generator for itself: a new process begins anew."""
    return Each(lift(generator), by_process=True)


class Synchronize(Wrapper, frozen=True):
    """Waits until all threads are free, once."""

    def op(self, test: Any, context: Context) -> Step:
        if context.free != context.all:
            return PENDING, self
        step: Step = self.inner.op(test, context)
        if step is not None and step[0] is PENDING:
            return PENDING, self
        return step


def synchronize(generator: Any) -> Generator:
    """A generator that begins when every thread is free: all earlier operations have ended."""
    return Synchronize(lift(generator))


def phases(*generators: Any) -> Generator:
    """Generators one after the other, each beginning when every thread is free."""
    return seq([synchronize(generator) for generator in generators])


@fluent
def then(first: Any, second: Any) -> Generator:
    """The first; when it is exhausted and every thread is free, the second."""
    return seq([lift(first), synchronize(second)])


__all__ = [
    "NEMESIS", "Seq", "clients", "each_process", "each_thread", "fault", "faults_named",
    "nemesis", "on_threads", "phases", "reserve", "synchronize", "then", "update_all",
]  # fmt: skip
