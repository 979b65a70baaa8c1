"""Every small history: all interleavings of a few operations, all choices of what they are.

Each small history becomes one key of one large history, so an engine that works on columns judges
all of them in one call.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from checkers.history import INFO, INVOKE, OK, History, Op

#: (f, input, output, outcome)
Kind = tuple[str, Any, Any, str]


def patterns(ops: int) -> Iterator[tuple[int, ...]]:
    """All orders of the events of this many operations, invocations in order of operation.

    Each number appears twice: first the invocation of that operation, then its completion.
    """

    def grow(done: tuple[int, ...], opened: tuple[int, ...], fresh: int) -> Iterator[Any]:
        if len(done) == 2 * ops:
            yield done
            return
        if fresh < ops:
            yield from grow((*done, fresh), (*opened, fresh), fresh + 1)
        for op in opened:
            yield from grow((*done, op), tuple(o for o in opened if o != op), fresh)

    yield from grow((), (), 0)


def small_histories(ops: int, kinds: Sequence[Kind]) -> Iterator[list[Op]]:
    """Every history of so many operations of these kinds, each on a process of its own."""
    for pattern in patterns(ops):
        start = [pattern.index(op) for op in range(ops)]
        end = [len(pattern) - 1 - pattern[::-1].index(op) for op in range(ops)]
        for chosen in itertools.product(kinds, repeat=ops):
            yield [
                Op(
                    process=op,
                    f=f,
                    key=None,
                    input=value,
                    output=output,
                    type=outcome,
                    invoke=start[op],
                    complete=end[op],
                    invoke_ns=start[op],
                    complete_ns=end[op],
                )
                for op, (f, value, output, outcome) in enumerate(chosen)
            ]


def as_keys(histories: Sequence[Sequence[Op]]) -> History:
    """One history in which each small history is a key of its own, one after another."""
    types, processes, fs, values, keys, pairs = [], [], [], [], [], []
    names: list[str] = []
    for key, ops in enumerate(histories):
        base = len(types)
        size = 2 * len(ops)
        types += [0] * size
        values += [None] * size
        processes += [0] * size
        fs += [0] * size
        pairs += [0] * size
        keys += [key] * size
        for op in ops:
            if op.f not in names:
                names.append(op.f)
            for at, type, value, other in (
                (op.invoke, INVOKE, op.input, op.complete),
                (
                    op.complete,
                    OK if op.type == "ok" else INFO,
                    op.output if op.type == "ok" else op.input,
                    op.invoke,
                ),
            ):
                types[base + at] = type
                values[base + at] = value
                processes[base + at] = op.process
                fs[base + at] = names.index(op.f)
                pairs[base + at] = base + other
    return History(
        type=np.array(types, dtype=np.int8),
        process=np.array(processes, dtype=np.int64),
        f=np.array(fs, dtype=np.int64),
        key=np.array(keys, dtype=np.int64),
        time_ns=np.arange(len(types), dtype=np.int64),
        pair=np.array(pairs, dtype=np.int64),
        values=values,
        processes=list(range(8)),
        functions=names,
        keys=list(range(len(histories))),
    )
