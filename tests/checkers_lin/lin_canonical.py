"""Every small history up to what cannot matter, so that larger ones can be enumerated.

Linearizability looks at two things: which operation precedes which in real time, and what the
operations are. So one history stands for all that differ only in

- the order of neighbouring invocations, or of neighbouring completions: what precedes what is an
  *interval order*, and of five operations there are 53 of them instead of 945 event sequences;
- the numbering of the operations (each is on a process of its own): symmetries of the order;
- a renaming of values that the model does not tell apart;
- when the completion of an operation of unknown outcome was recorded: it precedes nothing.

That none of this matters to the engines is itself tested, on all event sequences of fewer
operations (:mod:`test_lin_enumerated`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from lin_enumeration import Kind, patterns

from checkers.history import Op

#: Of each operation, the operations that it precedes, as a mask.
Order = tuple[int, ...]


def _order_of(pattern: Sequence[int], ops: int) -> Order:
    start = [pattern.index(op) for op in range(ops)]
    end = [len(pattern) - 1 - pattern[::-1].index(op) for op in range(ops)]
    return tuple(sum(1 << b for b in range(ops) if end[a] < start[b]) for a in range(ops))


def _renumbered(order: Order, renumbering: Sequence[int]) -> Order:
    found = [0] * len(order)
    for a, after in enumerate(order):
        for b in range(len(order)):
            if after >> b & 1:
                found[renumbering[a]] |= 1 << renumbering[b]
    return tuple(found)


def interval_orders(ops: int) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """One event sequence for each interval order, with the renumberings that leave it the same."""
    every = list(itertools.permutations(range(ops)))
    seen: set[Order] = set()
    for pattern in patterns(ops):
        order = _order_of(pattern, ops)
        if order in seen:
            continue
        seen.update(_renumbered(order, renumbering) for renumbering in every)
        yield pattern, [r for r in every if _renumbered(order, r) == order]


def canonical_histories(
    ops: int, kinds: Sequence[Kind], *, renamed: Callable[[Kind], Kind] | None = None
) -> Iterator[list[Op]]:
    """Every history of so many operations of these kinds, once.

    Args:
        ops: how many.
        kinds: what they may be.
        renamed: exchanges two values that the model treats alike; None if there are none.
    """
    names = [tuple(range(len(kinds)))]
    if renamed is not None:
        names.append(tuple(kinds.index(renamed(kind)) for kind in kinds))
    unknown = {number for number, kind in enumerate(kinds) if kind[3] == "info"}
    numbers = [[n for n in range(len(kinds)) if n not in unknown], list(range(len(kinds)))]
    for pattern, symmetries in interval_orders(ops):
        start = [pattern.index(op) for op in range(ops)]
        end = [len(pattern) - 1 - pattern[::-1].index(op) for op in range(ops)]
        last = [after == 0 for after in _order_of(pattern, ops)]
        alike = [(name, s) for name in names for s in symmetries][1:]
        for chosen in itertools.product(*(numbers[free] for free in last)):
            if any(tuple(name[chosen[i]] for i in s) < chosen for name, s in alike):
                continue
            yield [
                Op(
                    process=op,
                    f=kinds[number][0],
                    key=None,
                    input=kinds[number][1],
                    output=kinds[number][2],
                    type=kinds[number][3],
                    invoke=start[op],
                    complete=end[op],
                    invoke_ns=start[op],
                    complete_ns=end[op],
                )
                for op, number in enumerate(chosen)
            ]
