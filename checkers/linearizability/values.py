"""When two values of a history are the same value.

A register that was written ``1`` and read ``True`` did not give back what was written, yet Python
says ``1 == True == 1.0``. Checking compares *tokens*: hashable twins that keep the type, at every
depth. Lists and tuples are one type (JSON and EDN readers differ in which they make), dicts and
sets are compared without order, not-a-number equals itself.

Used by the models and by every engine, so that all of them mean the same by "equal".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from typing import Any

_PLAIN = frozenset({int, str, type(None), bytes})


def token(value: Any) -> Hashable:
    """A hashable twin of a value: tokens are equal iff the values are the same value."""
    kind = value.__class__
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]
    if kind is tuple or kind is list:
        return ("seq", *map(token, value))
    if kind is bool:
        return ("bool", value)
    if kind is float:
        return ("float", value if value == value else "nan")
    if isinstance(value, Mapping):
        pairs = [(token(name), token(item)) for name, item in value.items()]
        return ("dict", *sorted(pairs, key=repr))
    if isinstance(value, Set):
        return ("set", *sorted(map(token, value), key=repr))
    if isinstance(value, (list, tuple)):
        return ("seq", *map(token, value))
    if hasattr(value, "item") and kind.__module__ == "numpy":
        return token(value.item())
    try:
        hash(value)
    except TypeError:
        return (kind.__qualname__, repr(value))
    return (kind.__qualname__, value)


def untoken(twin: Hashable) -> object:
    """A value a reader knows from its token (a tuple becomes a list)."""
    if not isinstance(twin, tuple):
        return twin
    tag, *rest = twin
    if tag == "seq":
        return [untoken(item) for item in rest]
    if tag == "dict":
        return {_as_name(untoken(name)): untoken(item) for name, item in rest}
    if tag == "set":
        return [untoken(item) for item in rest]
    if tag == "float" and rest[0] == "nan":
        return float("nan")
    return rest[0]


def _as_name(value: object) -> object:
    return str(value) if isinstance(value, (list, dict)) else value


def same(left: object, right: object) -> bool:
    """Whether two values are the same value, type included."""
    if left.__class__ is right.__class__ and left.__class__ in _PLAIN:
        return bool(left == right)
    return token(left) == token(right)


def show(value: object) -> str:
    """A value as a reader writes it: strings quoted, absent as ``nil``."""
    return "nil" if value is None else repr(value)
