"""The operations that a checker supports, and the refusal of a history that has others.

A checker that skipped unknown operations could say VALID of a history it did not check, and INVALID
of reads whose writes it skipped. So each checker declares its vocabulary as data, and
:class:`~checkers.core.checker.Checker` compares it with the history first. A history with any other
operation is refused, with the operation's name, its place, its number of occurrences, and the
checkers that support it. ``ignore`` names operations to leave out (:func:`without`).

For :mod:`checkers.core.checker`, :mod:`checkers.checker_choice` and the models of linearizability.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from checkers.history import History

#: Operations of registers that read, and the codes of events (:mod:`checkers.history.op`).
_READS = frozenset(("read", "r", "get"))
INVOKE, OK = 0, 1

#: Checkers that a refusal names.
TAKERS_MAX = 8


class Vocabulary(NamedTuple):
    """The operations a checker supports.

    Args:
        words: their names. micro_operations: whether an operation whose values are lists of
        micro-operations is checked,
            and its name does not matter.
        registers: whether reads give what writes wrote. The words ``read`` and ``write`` are those
            of sets and transactions, too, which the shapes of the values tell apart.
        owner: whose it is, in words; empty for the checker's that asks.
    """

    words: frozenset[str]
    micro_operations: bool = False
    registers: bool = False
    owner: str = ""


def foreign(history: History, vocabulary: Vocabulary) -> dict[str, int]:
    """The operations of a history that are outside a vocabulary: name -> its first invocation."""
    names = history.functions
    strange = {code for code, name in enumerate(names) if name not in vocabulary.words}
    found: dict[str, int] = {}
    if strange:
        invokes = history.invocations
        for invoke, code in zip(invokes.tolist(), history.f[invokes].tolist()):
            if code in strange and not (vocabulary.micro_operations and _micro(history, invoke)):
                found.setdefault(names[code], invoke)
    return found


def _micro(history: History, invoke: int) -> bool:
    """Whether an operation's values are lists of micro-operations, as far as it has values."""
    done = int(history.pair[invoke])
    values = [history.values[event] for event in (invoke, done) if event >= 0]
    given = [value for value in values if value is not None]
    return bool(given) and all(_is_transaction(value) for value in given)


def _is_transaction(value: Any) -> bool:
    listed = isinstance(value, (list, tuple))
    return listed and all(isinstance(m, (list, tuple)) and len(m) in (2, 3) for m in value)


def refusal(history: History, vocabulary: Vocabulary, name: str) -> tuple[str, dict[str, int]]:
    """Why a history is not checked, as one sentence, and how many of each foreign operation it has.

    Args:
        history: the history.
        vocabulary: of the checker.
        name: the checker's.

    Returns:
        an empty sentence if there is nothing to refuse.
    """
    found = foreign(history, vocabulary)
    if not found:
        return _unlike_registers(history, vocabulary, f"checker {name!r}")
    from checkers.history.columns import short

    counts = {name: _count(history, name) for name in found}
    first, invoke = next(iter(found.items()))
    listed = " and ".join(f"{count} {short(f)}" for f, count in counts.items())
    sentence = (
        f"{history.place(invoke)}: the history has operation {short(first)}, which "
        f"{vocabulary.owner or f'checker {name!r}'} does not know (it knows "
        f"{', '.join(sorted(vocabulary.words))}); of {history.op_count} operations it cannot check "
        f"{listed}. {_advice(history)}; or leave these out with the option ignore={','.join(found)}"
    )
    return sentence, counts


def _unlike_registers(
    history: History, vocabulary: Vocabulary, name: str
) -> tuple[str, dict[str, int]]:
    """The refusal of registers all of whose reads are lists or maps which nothing wrote."""
    names = _READS.intersection(history.functions)
    if not vocabulary.registers or not names or "append" in history.functions:
        return "", {}
    reads: list[int] = []
    for index, value in _values(history, reading=True):
        if not isinstance(value, (list, tuple, dict)):
            return "", {}
        reads.append(index)
    given = [history.values[index] for index in reads]
    micro = any(given) and all(_is_transaction(value) for value in given)
    written = any(isinstance(value, (list, tuple, dict)) for _, value in
                  _values(history, reading=False))  # fmt: skip
    if not reads or (written if not micro else vocabulary.micro_operations):
        return "", {}
    sentence = (
        f"{history.place(reads[0])}: every read gives a list or a map "
        f"{'of micro-operations' if micro else 'and nothing wrote one'}, so this is a history of "
        f"transactions or of sets, and not of the registers that {vocabulary.owner or name} checks"
    )
    return sentence, {"read": len(reads)}


def _values(history: History, *, reading: bool) -> Iterator[tuple[int, object]]:
    """The values that acknowledged reads returned or other operations wrote, with the event."""
    reads = {code for code, name in enumerate(history.functions) if name in _READS}
    swaps = {code for code, name in enumerate(history.functions) if name == "cas"}
    wanted = OK if reading else INVOKE
    for index, value in enumerate(history.values):  # most callers stop at the first
        if value is None or history.type[index] != wanted:
            continue
        f = int(history.f[index])
        if (f in reads) == reading:
            pair = f in swaps and isinstance(value, (list, tuple))
            yield from ((index, item) for item in (value if pair else (value,)))


def _count(history: History, name: str) -> int:
    code = history.functions.index(name)
    return int((history.f[history.invocations] == code).sum())


def _advice(history: History) -> str:
    names = import_module("checkers.checker_choice").takers(history)
    if not names:
        return "No model knows all operations of the history"
    more = ", ..." if len(names) > TAKERS_MAX else ""
    return f"Choose a model that knows all: {', '.join(names[:TAKERS_MAX])}{more}"


def without(history: History, names: Collection[str]) -> tuple[History, dict[str, int]]:
    """A history without the operations of these names, and how many of each were left out."""
    there = [name for name in names if name in history.functions]
    counts = {name: count for name in there if (count := _count(history, name))}
    if not counts:
        return history, {}
    codes = {history.functions.index(name) for name in counts}
    invokes = history.invocations
    kept = [i for i, f in zip(invokes.tolist(), history.f[invokes].tolist()) if f not in codes]
    return history.select(kept), counts


def names_of(given: str | Iterable[str]) -> tuple[str, ...]:
    """Names of operations as ``a,b`` or as a list.

    Raises:
        ValueError: it is neither.
    """
    listed = given.split(",") if isinstance(given, str) else given
    if not isinstance(listed, (list, tuple, set, frozenset)):
        raise ValueError(f"ignore={given!r} is no list of names of operations such as a,b")
    if not all(isinstance(name, str) and name.strip() for name in listed):
        raise ValueError(f"ignore={given!r} has an entry that is no name of an operation")
    return tuple(name.strip() for name in listed)
