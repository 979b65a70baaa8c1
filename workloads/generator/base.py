"""The generator: an immutable value that gives the next operation.

A generator has two functions and no side effects:

- ``op(test, context)`` answers with ``(op, next generator)``, with ``(PENDING, next generator)``
  when it may have something later but not now, or with ``None`` when it is exhausted;
- ``update(test, context, event)`` answers with the generator as it is after an event: an
  invocation, or a completion ``ok``, ``fail`` or ``info``.

Because it is a value, a generator can be asked and the answer thrown away: a scheduler asks, sees
that the operation is for later, and asks again when something has happened. Nothing is lost or
done twice. What an asking does consume is in the context alone: seeded randomness, and the counter
that makes written values unique over the whole run, however many copies of a generator write.

Times are integer nanoseconds since the run began. Threads are numbered from 0; one more, the
*nemesis* thread, exists beside the clients and is used by what is wrapped in ``gen.nemesis`` only.
A thread runs one *process* at a time, and a new process after an unknown outcome. Sets of threads
are bit masks, which keeps asking cheap.

The semantics are those of Jepsen's pure generators (jepsen.generator), written anew. For users who
write workloads, and for the harness's scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Nanoseconds in a second.
SECOND_NS = 1_000_000_000


class GeneratorError(ValueError):
    """A generator was built wrongly, or gave something that is no operation: one sentence."""


class Op(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operation as a generator emits it, and an event as a generator receives it.

    Args:
        f: the operation's name; on the nemesis thread the name of a nemesis, or ``heal``.
        key: the object, or None.
        value: the argument; in an event that completes it, the result.
        process: who does it; chosen among the free ones when None.
        thread: the thread of that process; -1 until chosen.
        time_ns: when to do it (not before), or when the event happened.
        type: ``invoke``, ``ok``, ``fail`` or ``info``; ``sleep`` (the thread rests for ``value``
            nanoseconds) and ``log`` (``value`` is said) are never recorded in the history.
    """

    f: str
    key: Any = None
    value: Any = None
    process: int | str | None = None
    thread: int = -1
    time_ns: int = 0
    type: str = "invoke"


class Pending:
    """The type of :data:`PENDING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PENDING"

    def __reduce__(self) -> str:
        return "PENDING"


#: Nothing now, perhaps later.
PENDING: Final = Pending()

Step: TypeAlias = "tuple[Op | Pending, Any] | None"


class Context(msgspec.Struct, frozen=True, gc=False):
    """The context of a generator when it is asked.

    Args:
        time_ns: now.
        all: mask of the threads this generator may use.
        free: mask of those that have nothing to do.
        processes: process of each thread.
        concurrency: number of client threads; the nemesis thread has this number.
        rng: seeded randomness.
        values: the run's counter of unique values.
    """

    time_ns: int
    all: int
    free: int
    processes: Sequence[int | str]
    concurrency: int
    rng: Random
    values: Iterator[int]

    @classmethod
    def start(cls, concurrency: int, *, seed: int = 0, time_ns: int = 0) -> Context:
        """The context at the beginning of a run, with every worker free."""
        every_worker = (1 << (concurrency + 1)) - 1
        processes: list[int | str] = [*range(concurrency), "nemesis"]
        return cls(
            time_ns, every_worker, every_worker, processes, concurrency, Random(seed), count(1)
        )

    @property
    def clients(self) -> int:
        """Mask of all client threads of the run."""
        return (1 << self.concurrency) - 1

    @property
    def usable(self) -> int:
        """Mask of the threads operations may go to: the clients among :attr:`all`, or the nemesis
        thread where that is all there is."""
        return self.all & self.clients or self.all

    def restrict(self, mask: int) -> Context:
        """The context as seen by a generator that may use these threads only."""
        return Context(
            self.time_ns,
            self.all & mask,
            self.free & mask,
            self.processes,
            self.concurrency,
            self.rng,
            self.values,
        )

    def free_thread(self) -> int:
        """A free usable thread, drawn at random; -1 if there is none."""
        free = self.free & ((1 << self.concurrency) - 1)
        if not free:
            if self.all & ((1 << self.concurrency) - 1) or not self.free:
                return -1
            return self.concurrency
        skip = int(self.rng.random() * free.bit_count())
        while skip:
            free &= free - 1
            skip -= 1
        return (free & -free).bit_length() - 1

    def thread_of(self, process: int | str) -> int:
        """The usable thread that runs a process, or -1."""
        for thread in bits(self.all):
            if self.processes[thread] == process:
                return thread
        return -1

    def fill(self, f: str, key: Any = None, value: Any = None) -> Op | Pending:
        """An operation now, on a free thread; PENDING if no thread is free."""
        thread = self.free_thread()
        if thread < 0:
            return PENDING
        return Op(f, key, value, self.processes[thread], thread, self.time_ns)


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class GeneratorLike(Protocol):
    """The interface of a generator to the algebra; :class:`Generator` adds the fluent forms."""

    def op(self, test: Any, context: Context) -> Step:
        """The next operation: see the module's text."""

    def update(self, test: Any, context: Context, event: Op) -> Any:
        """The generator after an event."""


#: the functions behind the fluent forms, by name
FORMS: dict[str, Callable[..., Generator]] = {}
F = TypeVar("F", bound=Callable[..., Any])


def fluent(function: F) -> F:
    """Mark the function behind a fluent form: the modules that have them import this one."""
    FORMS[function.__name__] = function
    return function


class Generator(msgspec.Struct, frozen=True):
    """Base of the generators here; gives the fluent forms.

    Users need not inherit it: anything with ``op`` and ``update`` is a generator, and so are
    dicts, functions and iterables (see :func:`workloads.generator.lift`).
    """

    def op(self, test: Any, context: Context) -> Step:
        """The next operation: see the module's text.

        Raises:
            GeneratorError: the class gives none of its own.
        """
        raise GeneratorError(f"{type(self).__name__} has no `op`, so it says nothing to do")

    def update(self, test: Any, context: Context, event: Op) -> Any:
        """The generator after an event; itself if it does not care."""
        return self

    @property
    def wants_updates(self) -> bool:
        """False if :meth:`update` never changes anything, so that it need not be called."""
        return False

    def once_through(self) -> Any:
        """The generator as used in a final phase: an endless source gives each thing once."""
        return self

    # The fluent forms: ``g.limit(5)`` is ``gen.limit(5, g)``. ------------------------------------

    def rate(self, hz: float) -> Generator:
        """At about this many operations per second over all threads, at random intervals."""
        return FORMS["rate"](hz, self)

    def stagger(self, mean_s: float) -> Generator:
        """At random intervals of this mean over all threads."""
        return FORMS["stagger"](mean_s, self)

    def delay(self, interval_s: float) -> Generator:
        """At least this long between operations."""
        return FORMS["delay"](interval_s, self)

    def time_limit(self, limit_s: float) -> Generator:
        """For this long, counted from the first time it is asked."""
        return FORMS["time_limit"](limit_s, self)

    def limit(self, count: int) -> Generator:
        """At most this many operations."""
        return FORMS["limit"](count, self)

    def repeat(self, count: int | None = None) -> Generator:
        """The first operation again and again."""
        return FORMS["repeat"](self, count=count)

    def cycle(self, count: int | None = None) -> Generator:
        """From the start again whenever it is exhausted."""
        return FORMS["cycle"](self, count=count)

    def filter(self, keep: Callable[[Op], bool]) -> Generator:
        """Only operations for which ``keep(op)`` is true."""
        return FORMS["filter_ops"](keep, self)

    def map(self, change: Callable[[Op], Any]) -> Generator:
        """Each operation as ``change(op)`` makes it."""
        return FORMS["map_ops"](change, self)

    def then(self, following: Any) -> Generator:
        """This; when it is exhausted and all its threads are free, the following."""
        return FORMS["then"](self, following)

    def until_ok(self) -> Generator:
        """Until one of its operations was ok."""
        return FORMS["until_ok"](self)

    def process_limit(self, count: int) -> Generator:
        """For at most this many different processes."""
        return FORMS["process_limit"](count, self)

    def clients(self) -> Generator:
        """On client threads only."""
        return FORMS["clients"](self)
