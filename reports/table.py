"""An operation table in plain ASCII, a column per process, to paste in an issue or a terminal.

Rows are events in order, so that two operations overlap in the table exactly if they did in the
run: ``[`` opens an operation, ``]`` closes it, ``|`` is still open, ``?`` at the end was never
known. The manner is lincheck's.

For :mod:`reports.findings` and :mod:`reports.terminal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from checkers.history import Op
from reports.wording import READS, clip, micro_op_label, micro_ops, one_line, op_label, show

#: Columns wider than this are cut, so that a table of four processes fits an issue.
CELL_CHARS_MAX = 34
#: More operations than this make no readable table.
OPS_MAX = 60


def op_table(
    ops: Sequence[Op],
    *,
    marked: Sequence[int] = (),
    positions: bool = False,
    names: Mapping[int, str] | None = None,
) -> str:
    """The table.

    Args:
        ops: the operations; at most :data:`OPS_MAX` are shown, and how many were not is said.
        marked: invocation indices of the operations to mark with ``<<``.
        positions: the history has no times; show positions in it.
        names: short names of operations by invocation index, shown in place of their contents.

    Returns:
        lines of at most 12 + 37 per process characters, ending without a newline.
    """
    shown = sorted(ops, key=lambda op: op.invoke)[:OPS_MAX]
    columns = list(dict.fromkeys(op.process for op in shown))
    with_key = len({repr(op.key) for op in shown}) > 1
    events = []
    for op in shown:
        events.append((op.invoke, op.invoke_ns, op, True))
        if op.complete >= 0:
            events.append((op.complete, op.complete_ns, op, False))
    events.sort(key=lambda event: event[0])
    rows = [
        [
            "event" if positions else "time (s)",
            *(f"process {one_line(name, limit=20)}" for name in columns),
        ]
    ]
    open_now: dict[object, Op] = {}
    for index, time_ns, op, begins in events:
        cells = ["  |" if name in open_now else "" for name in columns]
        cells[columns.index(op.process)] = (
            _named(op, names[op.invoke], begins)
            if names and op.invoke in names
            else _opening(op, with_key)
            if begins
            else _closing(op, op.invoke in marked)
        )
        if begins:
            open_now[op.process] = op
        else:
            open_now.pop(op.process, None)
        rows.append([_when(index, time_ns, positions), *cells])
    if open_now:
        rows.append(["never", *("? unknown" if name in open_now else "" for name in columns)])
    text = _grid([[_ascii(clip(cell, CELL_CHARS_MAX)) for cell in row] for row in rows])
    rest = len(ops) - len(shown)
    return f"{text}\n({rest} more operations are not shown)" if rest > 0 else text


def _when(index: int, time_ns: int, positions: bool) -> str:
    return str(index) if positions or time_ns < 0 else f"{time_ns / 1e9:.6f}"


def _named(op: Op, name: str, begins: bool) -> str:
    if begins:
        return f"[ {one_line(name, limit=12)}"
    return f"] {'unknown' if op.type == 'info' else op.type}"


def _opening(op: Op, with_key: bool) -> str:
    key = f" {show(op.key, limit=12)}" if with_key and op.key is not None else ""
    parts = micro_ops(op)
    if op.f == "txn" and parts:
        asked = [micro_op_label(part).split(" → ")[0] for part in parts]
        return f"[ {', '.join(asked)}"
    if op.input is None or op.f in READS:
        return f"[ {one_line(op.f, limit=12)}{key}"
    words = op_label(Op(op.process, op.f, None, op.input, None, "ok", 0, 0, 0, 0))
    return f"[ {words.replace(op.f, op.f + key, 1)}"


def _closing(op: Op, marked: bool) -> str:
    mark = " <<" if marked else ""
    if op.type != "ok":
        error = f": {one_line(op.error, limit=22)}" if op.error is not None else ""
        return f"] {'unknown' if op.type == 'info' else op.type}{error}{mark}"
    parts = micro_ops(op)
    if op.f == "txn" and parts:
        reads = [micro_op_label(part) for part in parts if part[0] in READS]
        return f"] {', '.join(reads) or 'ok'}{mark}"
    if op.f in READS or (op.output is not None and op.output != op.input):
        return f"] -> {show(op.output)}{mark}"
    return f"] ok{mark}"


def _ascii(text: str) -> str:
    swaps = {"→": "->", "…": "...", "✗": "x"}
    for old, new in swaps.items():
        text = text.replace(old, new)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _grid(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [rule]
    for number, row in enumerate(rows):
        cells = (f" {cell.ljust(width)} " for cell, width in zip(row, widths))
        lines.append("|" + "|".join(cells) + "|")
        if number == 0:
            lines.append(rule)
    return "\n".join([*lines, rule])
