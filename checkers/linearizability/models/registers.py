"""Models that hold values in place: registers, mutex, counter, key-value store.

States are plain hashable values: the register's value, ``"free"`` or the holder, a number, a tuple
of (key, value) pairs. See :mod:`checkers.linearizability.models` for what the names mean.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Literal

from checkers.history import Op
from checkers.linearizability.model import Model, ModelError, describe_op, whole
from checkers.linearizability.values import same, show, token, untoken

FailedCas = Literal["absent", "observed"]

#: No number of a counter is larger, so that sums are finite whatever their type.
NUMBER_LIMIT = 10**300

#: The answer of a step function for an illegal operation.
ILLEGAL = (False, None)


def cas_pair(op: Op) -> tuple[object, object]:
    """The (expected, new) pair of a compare-and-set.

    Raises:
        ModelError: the input is no pair.
    """
    if not isinstance(op.input, (list, tuple)) or len(op.input) != 2:
        raise ModelError(
            f"the cas invoked at event {op.invoke} has input {op.input!r}; "
            "it must be a pair [expected, new]"
        )
    return op.input[0], op.input[1]


def _register_step(state: object, op: Op) -> tuple[bool, object]:
    if op.f == "write":
        return True, op.input
    if op.f == "cas":
        old, new = cas_pair(op)
        if op.type == "fail":
            return not same(state, old), state
        return (True, new) if same(state, old) else ILLEGAL
    return op.type != "ok" or same(state, op.output), state


def _register_words(op: Op) -> str:
    if op.f == "write":
        done = f"write of {show(op.input)}"
    elif op.f == "cas":
        done = "cas of {} to {}".format(*map(show, cas_pair(op)))
        return done + {"fail": " found another value", "info": " (unknown)"}.get(op.type, "")
    else:
        return f"read of {show(op.output)}" if op.type == "ok" else "read"
    return done + (" (unknown)" if op.type == "info" else "")


def _register_failure(state: object, op: Op) -> str:
    if op.f == "cas":
        old, new = cas_pair(op)
        if op.type == "fail":
            return f"cas of {show(old)} found another value, but the state is {show(state)}"
        done = "swapped" if op.type == "ok" else "could swap only"
        return f"cas {done} {show(old)} for {show(new)}, but the state is {show(state)}"
    return f"read returned {show(op.output)}, but the state is {show(state)}"


def _register(name: str, init: object, failed_cas: str, vocabulary: frozenset[str]) -> Model:
    if failed_cas not in ("absent", "observed"):
        raise ModelError(f"failed_cas is {failed_cas!r}; it must be 'absent' or 'observed'")
    observed = failed_cas == "observed"
    return Model(
        name=name,
        init=lambda: init,
        step=_register_step,
        describe_operation=_register_words,
        describe_failure=_register_failure,
        readonly=lambda op: op.f == "read" or op.type == "fail",
        observes_failure=lambda op: observed and op.f == "cas",
        vocabulary=vocabulary,
        by_process=False,
        engine="register",
        parameters={"init": init, "failed_cas": failed_cas},
    )


def register(*, init: object = None) -> Model:
    """One value. ``read`` (output: the value), ``write`` (input: the value).

    Args:
        init: the value before any write.
    """
    return _register("register", init, "absent", frozenset({"read", "write"}))


def cas_register(*, init: object = None, failed_cas: FailedCas = "absent") -> Model:
    """A register with ``cas`` (input: ``[expected, new]``; ok: swapped, fail: it did not).

    Args:
        init: the value before any write.
        failed_cas: ``"absent"``: a failed cas says nothing; ``"observed"``: it says that the
            register did not hold the expected value.
    """
    vocabulary = frozenset({"read", "write", "cas"})
    return _register("cas-register", init, failed_cas, vocabulary)


_MICRO_OPS = ("read", "r", "write", "w")


def micro_ops(op: Op) -> list[tuple[str, object, object]]:
    """The (f, name, value) triples of an operation on several registers.

    Raises:
        ModelError: its value is none.
    """
    value = op.output if op.type == "ok" and op.output is not None else op.input
    if op.f in ("read", "write") and isinstance(value, Mapping):
        return [(op.f, name, item) for name, item in value.items()]
    try:
        micros = [(f, name, item) for f, name, item in value]
    except (TypeError, ValueError):
        micros = [("", None, None)]
    if isinstance(value, str) or not all(f in _MICRO_OPS for f, _, _ in micros):
        raise ModelError(
            f"the {op.f} invoked at event {op.invoke} has value {value!r}; a multi-register "
            'operation is a list of ["read" or "write", name, value], or a dict of names'
        )
    return micros


def multi_register(
    *, init: Mapping[Hashable, object] | None = None, default: object = None
) -> Model:
    """Several registers changed together. ``txn`` (list of ``[f, name, value]``, f being ``read``
    or ``write`` or their first letters), ``read`` and ``write`` (a dict ``{name: value}``).

    Args:
        init: values before any write, by register name.
        default: the initial value of registers ``init`` does not name.
    """
    start = {token(name): token(value) for name, value in (init or {}).items()}

    def step(state: tuple[tuple[Hashable, Hashable], ...], op: Op) -> tuple[bool, object]:
        values = dict(state)
        for f, name, item in micro_ops(op):
            where = token(name)
            if f in ("write", "w"):
                values[where] = token(item)
            elif op.type == "ok" and values.get(where, token(default)) != token(item):
                return ILLEGAL
        return True, tuple(sorted(values.items(), key=repr))

    def words(state: tuple[tuple[Hashable, Hashable], ...]) -> str:
        return ", ".join(f"{untoken(name)}={show(untoken(value))}" for name, value in state) or "-"

    return Model(
        name="multi-register",
        init=lambda: tuple(sorted(start.items(), key=repr)),
        step=step,
        describe_state=words,
        readonly=lambda op: all(f in ("read", "r") for f, _, _ in micro_ops(op)),
        vocabulary=frozenset({"txn", "read", "write"}),
        by_process=False,
        partition=whole,
        parameters={"init": init or {}},
    )


def mutex(*, owned: bool = False) -> Model:
    """A lock. ``acquire``, ``release`` (input and output are not looked at).

    Args:
        owned: whether only the process that acquired it may release it.
    """

    def step(state: str, op: Op) -> tuple[bool, object]:
        held = f"held by {op.process}" if owned else "held"
        if op.f == "acquire":
            return (True, held) if state == "free" else ILLEGAL
        return (True, "free") if state == held else ILLEGAL

    return Model(
        name="mutex",
        init=lambda: "free",
        step=step,
        describe_operation=lambda op: op.f + (" (unknown)" if op.type == "info" else ""),
        describe_state=str,
        describe_failure=lambda state, op: f"{op.f} succeeded, but the lock is {state}",
        vocabulary=frozenset({"acquire", "release"}),
        by_process=owned,
    )


def _amount(op: Op) -> int:
    if op.f in ("increment", "decrement") and op.input is None:
        return 1 if op.f == "increment" else -1
    if not _is_number(op.input):
        raise ModelError(
            f"the {op.f} invoked at event {op.invoke} has input {show(op.input)}; it must be a "
            "number"
        )
    amount: int = -op.input if op.f == "decrement" else op.input
    return amount


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < NUMBER_LIMIT


def _counter_malformed(op: Op) -> str:
    if op.f != "read" or op.type != "ok" or _is_number(op.output):
        return ""
    return f"returned {show(op.output)}; it must be a number"


def counter(*, init: int = 0) -> Model:
    """A number. ``read`` (output: the number), ``add`` (input: a number), ``increment`` and
    ``decrement`` (input: a number, or None for 1).

    Args:
        init: the number before any change.
    """

    def step(state: int, op: Op) -> tuple[bool, object]:
        if op.f == "read":
            return op.type != "ok" or same(state, op.output), state
        return True, state + _amount(op)

    return Model(
        name="counter",
        init=lambda: init,
        step=step,
        describe_failure=lambda state, op: (
            f"read returned {show(op.output)}, but the state is {show(state)}"
        ),
        malformed=_counter_malformed,
        readonly=lambda op: op.f == "read",
        vocabulary=frozenset({"read", "add", "increment", "decrement"}),
        by_process=False,
        parameters={"init": init},
    )


def _joined(state: object, item: object) -> tuple[bool, object]:
    """The step of an append: strings and lists grow, an absent value starts empty."""
    if isinstance(item, str) and (state is None or isinstance(state, str)):
        return True, (state or "") + item
    items = item if isinstance(item, (list, tuple)) else [item]
    if state is None or state == "":
        return True, token(items)
    if isinstance(state, tuple) and state[0] == "seq":
        return True, (*state, *map(token, items))
    return ILLEGAL


def key_value(*, init: object = None, failed_cas: FailedCas = "absent") -> Model:
    """A key-value store; every key is checked alone. ``get`` or ``read`` (output: the value, or
    ``init`` if absent), ``put`` or ``write`` (input: the value), ``append`` (input: a string or
    an element), ``delete``, ``cas`` (input: ``[expected, new]``).

    Args:
        init: what a get of an absent key returns.
        failed_cas: as for :func:`cas_register`.
    """
    if failed_cas not in ("absent", "observed"):
        raise ModelError(f"failed_cas is {failed_cas!r}; it must be 'absent' or 'observed'")
    absent = token(init)

    def step(state: object, op: Op) -> tuple[bool, object]:
        if op.f in ("get", "read"):
            return op.type != "ok" or state == token(op.output), state
        if op.f in ("put", "write"):
            return True, token(op.input)
        if op.f == "delete":
            return True, absent
        if op.f == "append":
            return _joined(state, op.input)
        old, new = cas_pair(op)
        if op.type == "fail":
            return state != token(old), state
        return (True, token(new)) if state == token(old) else ILLEGAL

    def failure(state: object, op: Op) -> str:
        if op.f in ("get", "read"):
            held = show(untoken(state))
            return f"{op.f} returned {show(op.output)}, but the state is {held}"
        return f"{describe_op(op)} cannot happen: the state is {show(untoken(state))}"

    return Model(
        name="key-value",
        init=lambda: absent,
        step=step,
        describe_state=lambda state: show(untoken(state)),
        describe_failure=failure,
        readonly=lambda op: op.f in ("get", "read") or op.type == "fail",
        observes_failure=lambda op: failed_cas == "observed" and op.f == "cas",
        vocabulary=frozenset({"get", "read", "put", "write", "append", "delete", "cas"}),
        by_process=False,
        engine="key-value",
        parameters={"init": init},
    )
