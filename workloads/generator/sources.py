"""Generators that make operations: single ones, sequences, functions, repetition, keys.

:func:`lift` is the border: it turns what a user wrote into a generator, or says in a sentence why
that is none. Accepted forms:

- an :class:`Op` or a dict with ``f`` and perhaps ``key``, ``value``, ``process``: emitted once;
- a list, tuple or any iterable of generators: one after the other (an iterator is read lazily, and
  remembers what it gave, so the generator stays a value);
- a function of nothing, or of ``(test, context)``: called for a generator, again when that one is
  exhausted, until it returns None;
- None: exhausted at once;
- anything with ``op`` and ``update``: as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from workloads.generator.base import PENDING, Context, Generator, GeneratorError, Op, Step, fluent

_OP_FIELDS = frozenset({"f", "key", "value", "process"})

#: One in this many compare-and-sets expects a value its key does not seem to have, on purpose.
WRONG_GUESS_ONE_IN = 10


class Nothing(Generator, frozen=True):
    """The exhausted generator."""

    def op(self, test: Any, context: Context) -> Step:
        return None


class Emit(Generator, frozen=True):
    """One operation, once."""

    template: Op

    def op(self, test: Any, context: Context) -> Step:
        template = self.template
        if template.process is None:
            op = context.fill(template.f, template.key, template.value)
            if op is PENDING:
                return PENDING, self
            if template.type != "invoke":
                op = msgspec.structs.replace(op, type=template.type)  # type: ignore[type-var]
            return op, Nothing()
        thread = context.thread_of(template.process)
        if thread < 0:
            raise GeneratorError(
                f"operation {template.f!r} asks for process {template.process!r}, which no thread "
                "runs; a process id changes after an unknown outcome, so leave process out"
            )
        if not context.free >> thread & 1:
            return PENDING, self
        return msgspec.structs.replace(template, thread=thread, time_ns=context.time_ns), Nothing()


def op(f: str, *, key: Any = None, value: Any = None, process: int | None = None) -> Generator:
    """One operation, emitted once.

    Args:
        f: the operation's name.
        key: the object it is on.
        value: its argument.
        process: the process that must do it; any free one when None.
    """
    return Emit(_checked(Op(f, key, value, process)))


def log(message: str) -> Generator:
    """Says something in the run's log when its turn comes; recorded nowhere else."""
    return Emit(Op("log", None, str(message), type="log"))


def sleep(duration_s: float) -> Generator:
    """One thread rests this long; nothing is recorded."""
    if duration_s < 0:
        raise GeneratorError(f"sleep of {duration_s:g} s: a duration cannot be negative")
    return Emit(Op("sleep", None, round(duration_s * 1e9), type="sleep"))


def lift(thing: Any) -> Any:
    """The generator that a user means by this: see the module's text.

    Raises:
        GeneratorError: it is nothing that can be one; the sentence shows it.
    """
    if isinstance(thing, Generator):
        return thing
    if thing is None:
        return Nothing()
    if isinstance(thing, Op):
        return Emit(_checked(thing))
    if isinstance(thing, dict):
        return Emit(_from_dict(thing))
    if isinstance(thing, type):
        raise GeneratorError(f"{thing.__name__} is a class; a generator is an instance of it")
    if callable(getattr(thing, "op", None)) and callable(getattr(thing, "update", None)):
        return thing
    if inspect.iscoroutinefunction(thing) or inspect.isasyncgenfunction(thing):
        raise GeneratorError(
            f"{_name(thing)} is async, and a generator's function is a plain one: it only says "
            "what to do, the client does it"
        )
    if callable(thing):
        return Call(thing, _arity(thing))
    if isinstance(thing, Iterable) and not isinstance(thing, (str, bytes)):
        return seq(thing)
    raise GeneratorError(
        f"{thing!r} is no generator; it should be a dict with 'f', a function, an iterable of "
        "these, or have methods op and update"
    )


def _from_dict(fields: dict[Any, Any]) -> Op:
    extra = [name for name in fields if name not in _OP_FIELDS]
    if extra:
        guess = {"k": "key", "v": "value", "p": "process", "type": "nothing: it is an invoke"}
        hint = f"; did you mean {guess[extra[0]]}?" if extra[0] in guess else ""
        raise GeneratorError(
            f"operation {fields!r} has the field {extra[0]!r}, and an operation has only f, key, "
            f"value and process{hint}"
        )
    if "f" not in fields:
        raise GeneratorError(f"operation {fields!r} has no 'f'; name the function to invoke")
    return _checked(Op(**fields))


def _checked(op: Op) -> Op:
    if not isinstance(op.f, str) or not op.f:
        raise GeneratorError(f"the operation's f is {op.f!r}; it should be a name such as 'read'")
    return op


def _name(thing: Any) -> str:
    return getattr(thing, "__qualname__", repr(thing))


def _arity(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in needed if p.default is p.empty]
    if len(required) in (0, 2) and all(
        p.default is not p.empty for p in parameters if p.kind is p.KEYWORD_ONLY
    ):
        return len(required)
    raise GeneratorError(
        f"function {_name(function)} takes {len(required)} arguments; a generator's function takes "
        "none, or (test, context)"
    )


class Call(Generator, frozen=True):
    """Calls a function for a generator whenever it has none."""

    function: Callable[..., Any]
    arity: int
    current: Any = None

    @property
    def wants_updates(self) -> bool:
        return wants_updates(self.current)

    def op(self, test: Any, context: Context) -> Step:
        current = self.current
        if current is not None:
            step = current.op(test, context)
            if step is not None:
                return step[0], Call(self.function, self.arity, step[1])
        made = self.function(test, context) if self.arity == 2 else self.function()
        if made is None:
            return None
        current = lift(made)
        step = current.op(test, context)
        if step is None:
            raise GeneratorError(
                f"function {_name(self.function)} returned {made!r}, which has no operation; "
                "return None to end"
            )
        return step[0], Call(self.function, self.arity, step[1])

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if not wants_updates(self.current):
            return self
        return Call(self.function, self.arity, self.current.update(test, context, event))


class Cells:
    """A lazily read iterable that remembers what it gave: the same cell gives the same again."""

    __slots__ = ("_iterator", "_known", "_next", "value")

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator: Iterator[Any] | None = iterator
        self._known = False
        self._next: Cells | None = None
        self.value: Any = None

    def known(self) -> bool:
        """Read this cell; False at the end of the iterable."""
        if not self._known and self._iterator is not None:
            try:
                self.value = next(self._iterator)
            except StopIteration:
                self._iterator = None
                return False
            self._known = True
            self._next = Cells(self._iterator)
        return self._known

    def can_be_read(self) -> bool:
        """Whether looking ahead is free: it is known, or comes from a list or a tuple."""
        return self._known or isinstance(self._iterator, _PLAIN)

    @property
    def next(self) -> Cells:
        """The following cell, once this one is known."""
        assert self._next is not None
        return self._next


#: iterators of lists and tuples: reading them has no effect, and they end
_PLAIN: tuple[type, ...] = (type(iter([])), type(iter(())))


class Seq(Generator, frozen=True):
    """One generator after the other."""

    cells: Cells
    current: Any = None

    def items(self) -> Iterator[Any]:
        """The known items, without asking a user's own iterator."""
        if self.current is not None:
            yield self.current
        cells = self.cells
        while cells.can_be_read() and cells.known():
            yield cells.value
            cells = cells.next

    @property
    def wants_updates(self) -> bool:
        return self.current is not None and wants_updates(self.current)

    def op(self, test: Any, context: Context) -> Step:
        current, cells = self.current, self.cells
        while True:
            if current is not None:
                step = current.op(test, context)
                if step is not None:
                    return step[0], Seq(cells, step[1])
            if not cells.known():
                return None
            current, cells = lift(cells.value), cells.next

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if self.current is None or not wants_updates(self.current):
            return self
        return Seq(self.cells, self.current.update(test, context, event))

    def once_through(self) -> Any:
        return Seq(Cells(once_through(lift(item)) for item in _values(self)))


def _values(sequence: Seq) -> Iterator[Any]:
    if sequence.current is not None:
        yield sequence.current
    cells = sequence.cells
    while cells.known():
        yield cells.value
        cells = cells.next


def seq(items: Iterable[Any]) -> Generator:
    """The items' operations, one item after the other; an iterator is read as it is needed."""
    return Seq(Cells(iter(items)))


class Wrapper(Generator, frozen=True):
    """Base of generators that change the operations of one generator inside."""

    inner: Any

    @property
    def wants_updates(self) -> bool:
        return wants_updates(self.inner)

    def update(self, test: Any, context: Context, event: Op) -> Any:
        return replace(self, inner=self.inner.update(test, context, event))

    def once_through(self) -> Any:
        return replace(self, inner=once_through(self.inner))


class Repeat(Wrapper, frozen=True):
    """The same operation again and again: the generator inside never moves on."""

    left: int

    def op(self, test: Any, context: Context) -> Step:
        if self.left == 0:
            return None
        step = self.inner.op(test, context)
        if step is None:
            return None
        if step[0] is PENDING:
            return PENDING, Repeat(step[1], self.left)
        return step[0], Repeat(self.inner, self.left - 1)

    def once_through(self) -> Any:
        return self if self.left > 0 else once_through(self.inner)


@fluent
def repeat(thing: Any, *, count: int | None = None) -> Generator:
    """The first operation of a generator, again and again, or ``count`` times."""
    return Repeat(lift(thing), -1 if count is None else _counted("repeat", count))


class Cycle(Generator, frozen=True):
    """From the start again whenever it is exhausted."""

    start: Any
    current: Any
    left: int

    @property
    def wants_updates(self) -> bool:
        return wants_updates(self.current)

    def op(self, test: Any, context: Context) -> Step:
        if self.left == 0:
            return None
        step = self.current.op(test, context)
        left = self.left
        if step is None:
            left -= 1
            if left == 0:
                return None
            step = self.start.op(test, context)
            if step is None:
                return None
        return step[0], Cycle(self.start, step[1], left)

    def update(self, test: Any, context: Context, event: Op) -> Any:
        return Cycle(self.start, self.current.update(test, context, event), self.left)

    def once_through(self) -> Any:
        return self if self.left > 0 else once_through(self.start)


@fluent
def cycle(thing: Any, *, count: int | None = None) -> Generator:
    """A generator from its start again whenever it is exhausted: for ever, or ``count`` rounds."""
    start = lift(thing)
    return Cycle(start, start, -1 if count is None else _counted("cycle", count))


def _counted(what: str, count: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise GeneratorError(f"{what} of {count!r} times: it should be a whole number, 0 or more")
    return count


def wants_updates(generator: Any) -> bool:
    """Whether a generator takes updates; a user's own does, unless it says otherwise."""
    return generator is not None and bool(getattr(generator, "wants_updates", True))


def once_through(generator: Any) -> Any:
    """The generator for a final phase: endless sources give each of their things once."""
    through = getattr(generator, "once_through", None)
    return through() if callable(through) else generator


# Reads and writes over keys ----------------------------------------------------------------------


def key_names(keys: int | Iterable[Any]) -> tuple[Any, ...]:
    """Keys by number (``3`` is ``k0 k1 k2``) or as they are given.

    Raises:
        GeneratorError: there are none.
    """
    if isinstance(keys, (bool, str, bytes)):
        raise GeneratorError(f"keys is {keys!r}; it should be a number of keys or a list of them")
    if isinstance(keys, int):
        if keys < 1:
            raise GeneratorError(f"keys is {keys}; a workload needs at least one key")
        return tuple(f"k{number}" for number in range(keys))
    names = tuple(keys)
    if not names:
        raise GeneratorError("keys is empty; a workload needs at least one key")
    return names


class Reads(Generator, frozen=True):
    """Reads of keys drawn at random, for ever."""

    keys: tuple[Any, ...]
    f: str = "read"

    def op(self, test: Any, context: Context) -> Step:
        keys = self.keys
        op = context.fill(self.f, keys[int(context.rng.random() * len(keys))])
        return op, self

    def once_through(self) -> Any:
        return seq([Emit(Op(self.f, key)) for key in self.keys])


class Writes(Generator, frozen=True):
    """Writes of values never written before in the run, to keys drawn at random, for ever."""

    keys: tuple[Any, ...]
    f: str = "write"

    def op(self, test: Any, context: Context) -> Step:
        keys = self.keys
        key = keys[int(context.rng.random() * len(keys))]
        thread = context.free_thread()
        if thread < 0:
            return PENDING, self
        value = next(context.values)
        process = context.processes[thread]
        return Op(self.f, key, value, process, thread, context.time_ns), self

    def once_through(self) -> Any:
        return seq([Writes((key,), self.f).limit(1) for key in self.keys])


class Cas(Generator, frozen=True):
    """Compare-and-set from the value last seen to one never written before."""

    keys: tuple[Any, ...]
    f: str = "cas"
    seen: Mapping[Any, Any] = MappingProxyType({})

    @property
    def wants_updates(self) -> bool:
        return True

    def op(self, test: Any, context: Context) -> Step:
        rng = context.rng
        key = self.keys[int(rng.random() * len(self.keys))]
        thread = context.free_thread()
        if thread < 0:
            return PENDING, self
        new = next(context.values)
        old = self.seen.get(key)
        if int(rng.random() * WRONG_GUESS_ONE_IN) == 0:
            old = 1 + int(rng.random() * new)
        value = [old, new]
        op = Op(self.f, key, value, context.processes[thread], thread, context.time_ns)
        return op, self

    def update(self, test: Any, context: Context, event: Op) -> Any:
        if event.type != "ok" or event.key not in self.keys:
            return self
        value = event.value
        if event.f == self.f and isinstance(value, (list, tuple)) and len(value) == 2:
            value = value[1]
        if isinstance(value, (list, dict)) or self.seen.get(event.key) == value:
            return self
        return Cas(self.keys, self.f, {**self.seen, event.key: value})


def reads(keys: int | Iterable[Any], *, f: str = "read") -> Generator:
    """Reads of random keys, for ever; in a final phase each key once.

    Args:
        keys: how many keys, or which.
        f: the operation's name.
    """
    return Reads(key_names(keys), f)


def writes(keys: int | Iterable[Any], *, f: str = "write") -> Generator:
    """Writes of values unique in the run to random keys, for ever.

    Args:
        keys: how many keys, or which.
        f: the operation's name.
    """
    return Writes(key_names(keys), f)


def cas(keys: int | Iterable[Any], *, f: str = "cas") -> Generator:
    """Compare-and-sets ``[old, new]`` on random keys, for ever.

    ``new`` is unique in the run; ``old`` is what the key was last seen to hold (None if it was
    never seen), or one time in ten another value, so that refusals are exercised too.
    """
    return Cas(key_names(keys), f)
