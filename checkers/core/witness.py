"""Witnesses: the few operations of a finding, as a history of their own and as text.

A finding names its operations by invocation index. :func:`sub_history` cuts them out, so that any
checker can check them again or a file can hold them; :func:`table` prints them as a table with a
column per process that can be pasted into an issue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from checkers.core.verdict import Finding
    from checkers.history import History, Op

#: Operations a table shows; what is left out is said under it.
TABLE_OPS_MAX = 60

_CELL_MAX = 40


def sub_history(history: History, finding: Finding) -> History:
    """The history of the finding's operations only, faults kept."""
    return history.select(finding.ops)


def table(history: History, finding: Finding) -> str:
    """The finding's operations in order of events, one column per process.

    An operation opens with ``[`` at its invocation and closes with ``]`` at its completion; an
    unknown outcome closes with ``?``.
    """
    ops = [history.op(invoke) for invoke in finding.ops[:TABLE_OPS_MAX]]
    processes = list(dict.fromkeys(op.process for op in ops))
    lines: list[tuple[int, object, str]] = []
    for op in ops:
        lines.append((op.invoke, op.process, "[ " + _call(op)))
        if op.complete >= 0:
            lines.append((op.complete, op.process, _answer(op)))
    lines.sort(key=lambda line: line[0])
    width = {
        p: max([len(f"process {p}"), *(len(t) for _, q, t in lines if q == p)]) for p in processes
    }
    head = "event   " + " | ".join(f"process {p}".ljust(width[p]) for p in processes)
    rows = [head.rstrip(), "-" * len(head)]
    for event, process, text in lines:
        cells = [(text if p == process else "").ljust(width[p]) for p in processes]
        rows.append(f"{event:>6}  " + " | ".join(cells).rstrip())
    left = len(finding.ops) - len(ops)
    if left > 0:
        rows.append(f"... and {left} more operations")
    return "\n".join(rows) + "\n"


def _clip(text: str) -> str:
    return text if len(text) <= _CELL_MAX else text[: _CELL_MAX - 3] + "..."


def _call(op: Op) -> str:
    about = "" if op.input is None else repr(op.input)
    where = "" if op.key is None else f"{op.key}: "
    return _clip(f"{where}{op.f}({about})")


def _answer(op: Op) -> str:
    if op.type == "info":
        return "? unknown"
    if op.type == "fail":
        return "] failed"
    return _clip("] ok" if op.output == op.input else f"] {op.output!r}")
