"""Long fork: two readers see two writes in opposite orders.

Vocabulary: ``write`` (input: ``[["w", k, v]]``, each key written once), ``read`` (output: a list of
``["r", k, v]``, v being None before the write); a ``txn`` of reads only counts as a read. Keys are
read in groups, and only reads of the same group are compared.

Since each key is written once, a read is the set of the writes it saw, and any two reads of a group
must be one within the other. Parallel snapshot isolation allows what snapshot isolation forbids.
Sorted by how much they saw, all are comparable iff each is within the next, so a group costs one
sort instead of a comparison of all pairs.

Source: the ``long-fork`` test of Jepsen.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Any

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, at, make, refuse, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import OK, History
from checkers.history.columns import short

VOCABULARY = frozenset(("read", "write", "txn"))

Group = dict[int, tuple[int, tuple[object, ...]]]


def long_fork(*, group_size: int | None = None) -> Checker:
    """The checker ``long-fork``.

    Args:
        group_size: how many keys every read must have; None to compare reads of the same keys.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        return _judge(history, meter, group_size)

    return make(
        "long-fork", check_history, vocabulary=VOCABULARY, keyed=False, trivial=("read", "write")
    )


def _judge(history: History, meter: Meter, group_size: int | None) -> Judgement:
    groups: dict[frozenset[Hashable], tuple[list[Hashable], dict[int, int]]] = {}
    values: dict[Hashable, tuple[object, int]] = {}
    compared = total = 0
    for row in rows(history, meter):
        micros = _reads(history, row)
        if not micros:
            continue
        total += 1
        if group_size is not None and len(micros) != group_size:
            raise refuse(
                history,
                row.complete,
                f"a read has {len(micros)} keys where the group size is {group_size}",
            )
        seen = {token(key): value for _, key, value in micros}
        _once(history, row, seen, values)
        order, masks = groups.setdefault(frozenset(seen), (list(seen), {}))
        mask = sum(1 << bit for bit, key in enumerate(order) if seen[key] is not None)
        compared += bool(masks)
        masks.setdefault(mask, row.invoke)
    findings = [
        _fork(history, order, low, high)
        for order, masks in groups.values()
        for low, high in _incomparable(masks)
    ]
    return Judgement(
        findings=findings,
        checked=compared,
        evidence=f"{total} reads of {len(groups)} groups of keys are ordered, each group's by "
        "inclusion",
        missing="no two reads of the same keys were completed",
        stats={"reads": total, "groups": len(groups)},
    )


def _reads(history: History, row: Row) -> list[Any]:
    """The micro-operations of a completed read, else nothing."""
    micros = row.output if row.outcome == OK else row.input
    if micros is None and row.outcome != OK:
        return []
    if not isinstance(micros, list) or not all(_is_micro(micro) for micro in micros):
        event = row.complete if row.outcome == OK else row.invoke
        names = "r and w" if row.f == "txn" else row.f[0]
        raise refuse(
            history,
            event,
            f"a {row.f} must be a list of micro-operations [f, key, value] with f one of {names}, "
            f"not {short(micros)}",
        )
    if row.outcome != OK or any(micro[0] == "w" for micro in micros):
        return []
    return micros


def _is_micro(micro: object) -> bool:
    return isinstance(micro, list) and len(micro) == 3 and micro[0] in ("r", "w")


def _once(
    history: History,
    row: Row,
    seen: dict[Hashable, object],
    values: dict[Hashable, tuple[object, int]],
) -> None:
    """Refuse a key seen with two values: then a read is no set of writes."""
    for key, value in seen.items():
        if value is None:
            continue
        before = values.setdefault(key, (token(value), row.complete))
        if before[0] != token(value):
            raise refuse(
                history,
                row.complete,
                f"key {key!r} has the value {value!r} here and {before[0]!r} at "
                f"{history.place(before[1])}; this checker needs every key to be written once",
            )


def _incomparable(masks: dict[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    chain = sorted(masks.items(), key=lambda item: item[0].bit_count())
    return [(low, high) for low, high in itertools.pairwise(chain) if low[0] & high[0] != low[0]]


def _fork(
    history: History, order: list[object], one: tuple[int, int], other: tuple[int, int]
) -> Finding:
    only_one = [key for bit, key in enumerate(order) if (one[0] & ~other[0]) >> bit & 1]
    only_other = [key for bit, key in enumerate(order) if (other[0] & ~one[0]) >> bit & 1]
    a, b = only_one[0], only_other[0]
    ops = tuple(sorted((one[1], other[1])))
    tell = (
        f"{who(history, one[1])} saw key {a!r} written and key {b!r} not yet (read at "
        f"{at(history, int(history.pair[one[1]]))}), {who(history, other[1])} saw key {b!r} "
        f"written and key {a!r} not yet (read at {at(history, int(history.pair[other[1]]))}): "
        "no order of the two writes fits both."
    )
    return Finding(
        kind="long-fork",
        title="long fork: two writes seen in opposite orders",
        sentence=tell[0].upper() + tell[1:],
        ops=ops,
        because=(
            Because("rw", source=one[1], target=other[1], key=b),
            Because("rw", source=other[1], target=one[1], key=a),
        ),
        breaks="snapshot-isolation",
        detail={"keys": [a, b]},
    )
