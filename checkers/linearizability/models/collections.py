"""Models that hold many values: set, queues, stack, priority queue, append-only list.

States are tuples (or frozensets) of value tokens, so they are hashable and keep types apart.
See :mod:`checkers.linearizability.models` for what the names mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any

from checkers.history import History, Op
from checkers.linearizability.model import Model, ModelError
from checkers.linearizability.values import show, token, untoken

ILLEGAL = (False, None)


def _listing(state: tuple[Hashable, ...] | frozenset[Hashable]) -> str:
    items = sorted(state, key=repr) if isinstance(state, frozenset) else state
    return "[" + ", ".join(show(untoken(item)) for item in items) + "]"


def _removal(op: Op, empty: object) -> str:
    if op.type != "ok":
        return f"{op.f} (unknown)"
    if token(op.output) == token(empty):
        return f"{op.f} of an empty one"
    return f"{op.f} of {show(op.output)}"


def _words(adding: str, empty: object) -> Callable[[Op], str]:
    def words(op: Op) -> str:
        if op.f == adding:
            return f"{op.f} of {show(op.input)}" + (" (unknown)" if op.type == "info" else "")
        return _removal(op, empty)

    return words


def _removal_failure(empty: object) -> Callable[[Any, Op], str]:
    def failure(state: Any, op: Op) -> str:
        found = "empty" if token(op.output) == token(empty) else show(op.output)
        holds = f"the state is {_listing(state)}" if state else "it is empty"
        return f"{op.f} returned {found}, but {holds}"

    return failure


def _says_empty(empty: object) -> Callable[[Op], bool]:
    nothing = token(empty)
    return lambda op: op.type == "ok" and token(op.output) == nothing


Take = Callable[[tuple[Hashable, ...]], tuple[Hashable, tuple[Hashable, ...]]]


def _container(
    name: str, *, adding: str, removing: str, empty: object, take: Take, engine: str
) -> Model:
    """A container to whose end elements are added, and that gives back a determined one.

    Args:
        name: the model's name.
        adding, removing: names of the two operations.
        empty: the output of a removal that found nothing.
        take: of a state that is not empty, the element to give back and the state without it.
        engine: the special engine that may decide this model.
    """
    nothing = token(empty)

    def step(state: tuple[Hashable, ...], op: Op) -> tuple[bool, object]:
        if op.f == adding:
            return True, (*state, token(op.input))
        if op.type == "ok" and token(op.output) == nothing:
            return not state, state
        if not state:
            return op.type != "ok", state
        taken, rest = take(state)
        return (True, rest) if op.type != "ok" or taken == token(op.output) else ILLEGAL

    says_empty = _says_empty(empty)
    return Model(
        name=name,
        init=tuple,
        step=step,
        describe_operation=_words(adding, empty),
        describe_state=_listing,
        describe_failure=_removal_failure(empty),
        readonly=lambda op: op.f == removing and says_empty(op),
        vocabulary=frozenset({adding, removing}),
        by_process=False,
        engine=engine,
        parameters={"empty": empty},
    )


def fifo_queue(*, empty: object = None) -> Model:
    """First in, first out. ``enqueue`` (input: the value), ``dequeue`` (output: the value).

    Args:
        empty: the output of a dequeue that found the queue empty; a failed dequeue says nothing.
    """
    return _container(
        "fifo-queue",
        adding="enqueue",
        removing="dequeue",
        empty=empty,
        take=lambda state: (state[0], state[1:]),
        engine="queue",
    )


def stack(*, empty: object = None) -> Model:
    """Last in, first out. ``push`` (input: the value), ``pop`` (output: the value).

    Args:
        empty: the output of a pop that found the stack empty; a failed pop says nothing.
    """
    return _container(
        "stack",
        adding="push",
        removing="pop",
        empty=empty,
        take=lambda state: (state[-1], state[:-1]),
        engine="stack",
    )


def _own_priority(value: object) -> object:
    return value[0] if isinstance(value, (list, tuple)) and value else value


def priority_queue(
    *, priority: Callable[[Any], Any] = _own_priority, smallest: bool = True, empty: object = None
) -> Model:
    """Best first. ``insert`` (input: the value), ``extract`` (output: the best value).

    Args:
        priority: value -> what is compared; by default the value, or its first element if it is
            a list. Values of equal priority may come out in any order.
        smallest: whether the smallest is the best.
        empty: the output of an extract that found nothing; a failed extract says nothing.
    """
    nothing = token(empty)

    def rank(item: Hashable) -> Any:
        return priority(untoken(item))

    def step(state: tuple[Hashable, ...], op: Op) -> object:
        if op.f == "insert":
            return True, tuple(sorted((*state, token(op.input)), key=repr))
        if op.type == "ok" and token(op.output) == nothing:
            return not state, state
        if not state:
            return op.type != "ok", state
        try:
            best = (min if smallest else max)(map(rank, state))
        except TypeError:
            raise ModelError(
                f"the {op.f} invoked at event {op.invoke} chooses among priorities that cannot be "
                f"compared with each other: {_listing(state)}"
            ) from None
        wanted = None if op.type != "ok" else token(op.output)
        takes = [
            index
            for index, item in enumerate(state)
            if rank(item) == best and (op.type != "ok" or item == wanted)
        ]
        return {state[:index] + state[index + 1 :] for index in takes}

    says_empty = _says_empty(empty)
    return Model(
        name="priority-queue",
        init=tuple,
        step=step,
        describe_operation=_words("insert", empty),
        describe_state=_listing,
        describe_failure=_removal_failure(empty),
        readonly=lambda op: op.f == "extract" and says_empty(op),
        vocabulary=frozenset({"insert", "extract"}),
        by_process=False,
    )


def unordered_queue(*, empty: object = None) -> Model:
    """A bag. ``enqueue`` (input: the value), ``dequeue`` (output: some value that was in it).

    Args:
        empty: the output of a dequeue that found nothing; a failed dequeue says nothing.
    """
    nothing = token(empty)

    def without(state: tuple[Hashable, ...], item: Hashable) -> tuple[Hashable, ...]:
        index = state.index(item)
        return state[:index] + state[index + 1 :]

    def step(state: tuple[Hashable, ...], op: Op) -> object:
        if op.f == "enqueue":
            return True, tuple(sorted((*state, token(op.input)), key=repr))
        if op.type != "ok":
            return {without(state, item) for item in state} or {state}
        if token(op.output) == nothing:
            return not state, state
        wanted = token(op.output)
        return (True, without(state, wanted)) if wanted in state else ILLEGAL

    says_empty = _says_empty(empty)
    return Model(
        name="unordered-queue",
        init=tuple,
        step=step,
        describe_operation=_words("enqueue", empty),
        describe_state=_listing,
        describe_failure=_removal_failure(empty),
        readonly=lambda op: op.f == "dequeue" and says_empty(op),
        vocabulary=frozenset({"enqueue", "dequeue"}),
        by_process=False,
        parameters={"empty": empty},
    )


def _elements(op: Op) -> Collection[object]:
    if not isinstance(op.output, (list, tuple, set, frozenset)):
        raise ModelError(
            f"the read invoked at event {op.invoke} returned {op.output!r}; "
            "it must return a list of elements"
        )
    return op.output


def append_list() -> Model:
    """An append-only list. ``append`` (input: the element), ``read`` (output: the whole list)."""

    def step(state: tuple[Hashable, ...], op: Op) -> tuple[bool, object]:
        if op.f == "append":
            return True, (*state, token(op.input))
        if op.type != "ok":
            return True, state
        return state == tuple(map(token, _elements(op) if op.output is not None else ())), state

    return Model(
        name="append-list",
        init=tuple,
        step=step,
        describe_state=_listing,
        describe_failure=lambda state, op: (
            f"read returned {show(op.output)}, but the state is {_listing(state)}"
        ),
        readonly=lambda op: op.f == "read",
        vocabulary=frozenset({"append", "read"}),
        by_process=False,
        engine="append-list",
    )


def _set_step(state: frozenset[Hashable], op: Op) -> tuple[bool, object]:
    known = op.type == "ok"
    if op.f == "read":
        return not known or state == frozenset(map(token, _elements(op))), state
    item = token(op.input)
    present = item in state
    answer = op.output if known and isinstance(op.output, bool) else None
    if op.f == "contains":
        return answer is None or answer == present, state
    if op.f == "add":
        return answer is None or answer != present, state | {item}
    return answer is None or answer == present, state - {item}


def _set_malformed(op: Op) -> str:
    if op.f != "contains" or op.type != "ok" or isinstance(op.output, bool):
        return ""
    return f"returned {show(op.output)}; it must return true or false"


def _set_failure(state: frozenset[Hashable], op: Op) -> str:
    if op.f == "read":
        return f"read returned {show(op.output)}, but the state is {_listing(state)}"
    held = "in" if token(op.input) in state else "not in"
    said = str(op.output).lower()
    return f"{op.f} of {show(op.input)} returned {said}, but it is {held} the set"


def _by_element(history: History) -> list[list[int]]:
    """One group per key and element (locality: no element cares about another), unless reads of
    the whole set tie the elements of a key together.
    """
    groups: dict[Hashable, list[int]] = {}
    whole = "read" in history.functions
    for invoke in history.invocations.tolist():
        element = None if whole else token(history.values[invoke])
        groups.setdefault((int(history.key[invoke]), element), []).append(invoke)
    return list(groups.values())


def element_set() -> Model:
    """A set. ``add`` and ``remove`` (input: the element; output: whether that changed the set, if
    the system tells), ``contains`` (input: the element; output: a bool), ``read`` (output: all).
    """
    return Model(
        name="set",
        init=frozenset,
        step=_set_step,
        describe_state=_listing,
        describe_failure=_set_failure,
        malformed=_set_malformed,
        readonly=lambda op: op.f in ("contains", "read"),
        vocabulary=frozenset({"add", "remove", "contains", "read"}),
        by_process=False,
        partition=_by_element,
    )
