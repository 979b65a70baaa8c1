"""Unique identifiers: no two calls may be given the same.

Vocabulary: ``generate`` (output: the identifier). Calls of unknown outcome may have been given one
that no client saw, which does no harm.

Source: the ``unique-ids`` checker of Jepsen.
"""

from __future__ import annotations

from collections.abc import Hashable

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, at, make, refuse, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import OK, History


def unique_ids(*, f: str = "generate") -> Checker:
    """The checker ``unique-ids``.

    Args:
        f: the operation that makes an identifier.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        given: dict[Hashable, list[int]] = {}
        values: dict[Hashable, object] = {}
        total = 0
        for row in rows(history, meter):
            if row.outcome == OK:
                if row.output is None:
                    raise refuse(
                        history, row.complete, f"{f} gave no identifier: its value is null"
                    )
                name = token(row.output)
                given.setdefault(name, []).append(row.invoke)
                values.setdefault(name, row.output)
                total += 1
        twice = {name: ops for name, ops in given.items() if len(ops) > 1}
        return Judgement(
            findings=[_finding(history, values[name], ops) for name, ops in twice.items()],
            checked=total,
            evidence=f"{total} identifiers were given out, all different",
            missing=f"no {f} was completed",
            stats={"acknowledged": total, "duplicated": len(twice)},
        )

    return make("unique-ids", check_history, vocabulary=(f,), keyed=False)


def _finding(history: History, value: object, ops: list[int]) -> Finding:
    done = [int(history.pair[op]) for op in ops]
    first = [f"{who(history, op)} at {at(history, end)}" for op, end in zip(ops[:2], done)]
    more = f" and {len(ops) - 2} more times" if len(ops) > 2 else ""
    return Finding(
        kind="duplicate-id",
        title="the same identifier given out twice",
        sentence=f"Identifier {value!r} was given to {' and to '.join(first)}{more}.",
        ops=tuple(ops[:2]),
        because=tuple(Because("given", source=op, value=value) for op in ops[:2]),
        detail={"value": value, "times": len(ops)},
    )
