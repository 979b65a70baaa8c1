"""Register histories as columns: one row per operation that matters, values as small numbers.

Python values are the slow part of a large history, so they are turned into numbers once, by the
fastest way their types allow: integers stay what they are, values of one hashable type go through
one dictionary, and only mixtures pay for tokens (see :mod:`checkers.linearizability.values`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from checkers.history import FAIL, INFO, OK, History
from checkers.linearizability.model import ModelError
from checkers.linearizability.values import token

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

READ, WRITE, CAS = 0, 1, 2
KINDS = {"read": READ, "write": WRITE, "cas": CAS}

#: A table indexed directly by value is used while it is at most this much larger than the data.
SPARSITY = 4


@dataclass
class RegisterColumns:
    """The operations of a register history that matter, in order of invocation.

    Args:
        invoke: history index of each invocation; also where it starts.
        start, end: positions; ``end`` is ``late`` for unknown outcomes.
        late: later than every position.
        kind: READ, WRITE or CAS.
        key: key codes, 0 to ``keys`` - 1.
        source: cluster read (reads and cas), else -1.
        target: cluster written (writes and cas), else -1. A cluster is a (key, value) pair;
            cluster k < ``keys`` is the initial value of key k.
        unknown: outcome unknown.
        observed_failure: a failed cas that counts as an observation.
        c_key: key of each cluster.
        keys: number of keys.
        key_values: what the key codes stand for.
    """

    invoke: Ints
    start: Ints
    end: Ints
    late: int
    kind: npt.NDArray[np.int8]
    key: Ints
    source: Ints
    target: Ints
    unknown: Bools
    observed_failure: Bools
    c_key: Ints
    keys: int
    key_values: list[object]

    def __len__(self) -> int:
        return len(self.invoke)

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return len(self.c_key)

    def by_end_descending(self, rows: Ints) -> Ints:
        """These (completed) rows, the last to complete first."""
        at = np.full(self.late + 1, -1, dtype=np.int64)
        at[self.end[rows]] = rows
        found: Ints = at[at >= 0][::-1]
        return found


def register_columns(history: History, *, init: object, observe_failures: bool) -> RegisterColumns:
    """The columns of a register history.

    Args:
        history: operations ``read``, ``write`` and ``cas``.
        init: the initial value of every key.
        observe_failures: whether failed compare-and-sets are kept as observations.

    Raises:
        ModelError: a cas whose input is no pair.
    """
    kinds = np.array([KINDS.get(name, -1) for name in history.functions] or [-1], dtype=np.int8)
    invoke = history.invocations
    kind = kinds[history.f[invoke]]
    outcome = history.outcomes()
    failed = outcome == FAIL
    keep = (outcome == OK) | ((outcome == INFO) & (kind != READ))
    if observe_failures:
        keep |= failed & (kind == CAS)
    invoke, kind, outcome = invoke[keep], kind[keep], outcome[keep]
    unknown = outcome == INFO
    late = len(history)
    end = np.where(unknown, late, history.pair[invoke])
    key_codes = history.key[invoke] + 1  # -1, no key, is a key of its own
    used, key = np.unique(key_codes, return_inverse=True) if len(invoke) else (key_codes, key_codes)
    source, target, c_key = _clusters(history, invoke, end, kind, key, len(used), init)
    return RegisterColumns(
        invoke=invoke,
        start=invoke,
        end=end,
        late=late,
        kind=kind,
        key=key,
        source=source,
        target=target,
        unknown=unknown,
        observed_failure=outcome == FAIL,
        c_key=c_key,
        keys=len(used),
        key_values=[None if code == 0 else history.keys[code - 1] for code in used.tolist()],
    )


def _clusters(
    history: History,
    invoke: Ints,
    end: Ints,
    kind: npt.NDArray[np.int8],
    key: Ints,
    keys: int,
    init: object,
) -> tuple[Ints, Ints, Ints]:
    """Source and target cluster of every row, and the key of every cluster."""
    values = history.values
    reads = np.flatnonzero(kind == READ)
    writes = np.flatnonzero(kind == WRITE)
    swaps = np.flatnonzero(kind == CAS)
    pairs = [_pair(values[at], at) for at in invoke[swaps].tolist()]
    parts: list[Sequence[object]] = [
        [init],
        _take(values, end[reads]),
        _take(values, invoke[writes]),
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
    ]
    numbers = number_values([value for part in parts for value in part])
    rows = np.concatenate([reads, writes, swaps, swaps])
    ids, c_key = _number_pairs(key[rows], numbers[1:], keys, int(numbers[0]))
    source = np.full(len(invoke), -1, dtype=np.int64)
    target = np.full(len(invoke), -1, dtype=np.int64)
    a, b, c = len(reads), len(reads) + len(writes), len(reads) + len(writes) + len(swaps)
    source[reads] = ids[:a]
    target[writes] = ids[a:b]
    source[swaps] = ids[b:c]
    target[swaps] = ids[c:]
    return source, target, c_key


def _take(values: Sequence[object], indices: Ints) -> list[object]:
    return [values[index] for index in indices.tolist()]


def _pair(value: object, at: int) -> Sequence[object]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ModelError(
            f"the cas invoked at event {at} has input {value!r}; it must be a pair [expected, new]"
        )
    return value


def _number_pairs(key: Ints, number: Ints, keys: int, init: int) -> tuple[Ints, Ints]:
    """Number (key, value number) pairs densely, each key's initial value first."""
    span = int(number.max(initial=init)) + 1
    combined = key * span + number
    first = np.arange(keys, dtype=np.int64) * span + init
    if keys * span <= SPARSITY * (len(combined) + 1024):
        table = np.full(max(keys * span, 1), -1, dtype=np.int64)
        table[combined] = 0
        table[first] = -1
        others = np.flatnonzero(table == 0)
        table[first] = np.arange(keys)
        table[others] = keys + np.arange(len(others))
        return table[combined], np.concatenate([np.arange(keys), others // span])
    every, inverse = np.unique(np.concatenate([first, combined]), return_inverse=True)
    place = np.full(len(every), -1, dtype=np.int64)
    place[inverse[:keys]] = np.arange(keys)
    rest = np.flatnonzero(place < 0)
    place[rest] = keys + np.arange(len(rest))
    c_key = np.empty(len(every), dtype=np.int64)
    c_key[place] = every // span
    return place[inverse[keys:]], c_key


def number_values(values: list[object]) -> Ints:
    """Dense numbers for values: equal numbers iff the same value, type included."""
    kinds = set(map(type, values))
    if kinds <= {int, type(None)}:
        numbers = _number_ints(values, type(None) in kinds)
        if numbers is not None:
            return numbers
    codes: dict[Hashable, int] = {}
    if kinds <= {int, str, type(None)}:
        return np.array([codes.setdefault(v, len(codes)) for v in values], dtype=np.int64)
    return np.array([codes.setdefault(token(v), len(codes)) for v in values], dtype=np.int64)


def _number_ints(values: list[object], with_none: bool) -> Ints | None:
    """Numbers for integers and None; None if an integer does not fit a column."""
    try:
        if with_none:
            present = [value for value in values if value is not None]
            column = np.array(present, dtype=np.int64)
        else:
            column = np.array(values, dtype=np.int64)
    except OverflowError:
        return None
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    if high - low > SPARSITY * (len(values) + 1024):
        _, column = np.unique(column, return_inverse=True)
        column = column.astype(np.int64)
    else:
        column = column - low
    if not with_none:
        return column
    numbers = np.zeros(len(values), dtype=np.int64)
    known = np.array([value is not None for value in values], dtype=bool)
    numbers[known] = column + 1
    return numbers
