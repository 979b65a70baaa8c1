"""Predicates: which keys a predicate read asks for, as data that a history can hold.

A transaction reads a predicate with the micro-operation ``["rp", predicate, result]``: the result
has every key that matched, with its value, as a map or as pairs ``[key, value]``. What is not in
it did not match, and that is evidence too: it is how a phantom is seen. A predicate is ``None``
(every key that exists) or a map whose fields must all hold:

- ``{"keys": [low, high]}``: keys in that range, ends included;
- ``{"in": [key, ...]}``: these keys;
- ``{"value": [op, v]}``: registers whose value compares so, ``op`` one of ``= != < <= > >=``;
- ``{"contains": v}``: lists with that element;
- ``{"length": [op, n]}``: lists of such a length.

A key that does not exist (a register never written, an empty list) matches nothing: Adya's unborn
versions. Values of different types are neither equal nor ordered.

Source: Adya, *Weak Consistency*, section 4.2.2 (predicates, version sets, changed matches).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from checkers.history.columns import short

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: The predicate of a micro-operation; None is every key. See FORM.
Predicate: TypeAlias = Mapping[str, Any] | None

OPERATORS = ("=", "!=", *COMPARE)
FIELDS = ("keys", "in", "value", "contains", "length")
FORM = (
    'expected null for every key, or a map of {"keys": [low, high]}, {"in": [key, ...]}, '
    '{"value": [op, v]}, {"contains": v}, {"length": [op, n]}'
)


def equal(a: object, b: object) -> bool:
    """Equal and of one type, so that 1, 1.0 and True are three values; a tuple is a list."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and bool(a == b)


def compares(a: object, op: str, b: object) -> bool:
    """Whether ``a op b`` holds; values that have no order hold for no inequality."""
    if op in ("=", "!="):
        return equal(a, b) == (op == "=")
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (a, b))
    if not numbers and not (isinstance(a, str) and isinstance(b, str)):
        return False
    return COMPARE[op](a, b)


def wrong_with(predicate: object) -> str:
    """The error of a predicate as a history has it, or ""."""
    if predicate is None:
        return ""
    if not isinstance(predicate, dict) or not predicate:
        return f"{short(predicate)} is no predicate; {FORM}"
    for field, said in predicate.items():
        if field not in FIELDS:
            return f"predicate {short(predicate)} has the unknown field {field!r}; {FORM}"
        if field == "contains":
            continue
        pair = isinstance(said, (list, tuple)) and len(said) == 2
        if field == "in" and not isinstance(said, (list, tuple)):
            return f"predicate {short(predicate)}: 'in' wants a list of keys, not {short(said)}"
        if field == "keys" and not pair:
            return f"predicate {short(predicate)}: 'keys' wants [low, high], not {short(said)}"
        if field in ("value", "length") and not (pair and said[0] in OPERATORS):
            return (
                f"predicate {short(predicate)}: {field!r} wants an operator and what to compare "
                f"with, not {short(said)}; operators are {' '.join(OPERATORS)}"
            )
    return ""


def matches_key(predicate: Predicate, key: object) -> bool:
    """Whether a key may match at all, whatever its value."""
    if predicate is None:
        return True
    if "keys" in predicate:
        low, high = predicate["keys"]
        if not (compares(key, ">=", low) and compares(key, "<=", high)):
            return False
    return "in" not in predicate or any(equal(key, other) for other in predicate["in"])


def matches(predicate: Predicate, key: object, value: object) -> bool:
    """Whether a key with this value (a list's is the list) matches a predicate."""
    if value is None or (isinstance(value, (list, tuple)) and not len(value)):
        return False
    if not matches_key(predicate, key):
        return False
    if predicate is None:
        return True
    if "value" in predicate and not compares(value, *predicate["value"]):
        return False
    elements = value if isinstance(value, (list, tuple)) else None
    if "contains" in predicate:
        element = predicate["contains"]
        if elements is None or not any(equal(element, other) for other in elements):
            return False
    if "length" in predicate:
        return elements is not None and compares(len(elements), *predicate["length"])
    return True


def matches_grown(predicate: Predicate, name: object, longest: list[object], more: int) -> bool:
    """Whether a list surely matches when ``more`` unknown elements follow what is known of it.

    Args:
        predicate: as a micro-operation has it; None for every key.
        name: the key.
        longest: the elements known, from the first on.
        more: how many follow of which nothing is known.
    """
    if predicate is None:
        return True
    if "contains" in predicate and not matches({"contains": predicate["contains"]}, name, longest):
        return False
    rest = {field: said for field, said in predicate.items() if field != "contains"} or None
    return matches(rest, name, [*longest, *[None] * more])


def in_words(predicate: Predicate) -> str:
    """A predicate in words, for a sentence: what was asked for."""
    if predicate is None:
        return "every key"
    parts = []
    for field, said in predicate.items():
        if field == "keys":
            parts.append(f"from {said[0]!r} to {said[1]!r}")
        elif field == "in":
            parts.append(f"among {list(said)!r}")
        elif field == "contains":
            parts.append(f"with the element {said!r}")
        else:
            parts.append(f"with {field} {said[0]} {said[1]!r}")
    return "the keys " + ", ".join(parts)


def items_of(result: object) -> list[tuple[object, object]] | None:
    """The keys and values of a predicate read's result; None if it is neither map nor pairs."""
    if isinstance(result, dict):
        return list(result.items())
    if not isinstance(result, (list, tuple)):
        return None
    if not all(isinstance(item, (list, tuple)) and len(item) == 2 for item in result):
        return None
    return [(key, value) for key, value in result]
