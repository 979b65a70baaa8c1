"""Rows of words as aligned columns of plain text, for output that is read by programs too.

Tables that are only looked at are rich's (:mod:`harness.terminal`). `harness check` starts without
rich, and what it prints through a pipe is not cut or folded to a width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

GAP = "  "


def aligned(
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    shown: Callable[[str], str] = str,
) -> list[str]:
    """A line per row; the last column is as wide as it is.

    Args:
        rows: texts, as many in each row.
        right: numbers of the columns that are aligned to the right, from 0.
        shown: what is printed for the first column's text: the same, or with colours, which take
            no room.
    """
    last = len(rows[0]) - 1
    wide = [max(len(row[at]) for row in rows) for at in range(last)]
    lines = []
    for row in rows:
        cells = []
        for at, text in enumerate(row[:last]):
            room = " " * (wide[at] - len(text))
            text = shown(text) if at == 0 else text
            cells.append(room + text if at in right else text + room)
        lines.append(GAP.join([*cells, row[last]]).rstrip())
    return lines
