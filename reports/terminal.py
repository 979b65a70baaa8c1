"""The summary for a terminal: ANSI colours where wanted, plain text otherwise.

The verdict is a word and a glyph before it is a colour, so nothing is lost without colours. Text
from a run has its control characters escaped: a value cannot move the cursor.

For the harness's commands (``harness test``, ``check``).
"""

from __future__ import annotations

import os
import shutil
import textwrap

from reports import overview
from reports.findings import numbered, witness_ops
from reports.run_directory import Run, read_run
from reports.table import op_table
from reports.transactions_text import named_transactions, names_of
from reports.wording import count, one_line

_COLOURS = {"valid": "32", "invalid": "31", "unknown": "35", "weak": "33", "unjudged": "35"}
#: Columns where the terminal's are not known, and most that are filled.
WIDTH, WIDTH_MAX = 80, 120
#: Findings with a table on the terminal; the rest are counted.
FINDINGS_MAX = 1
#: Kinds of failure shown; the report has more.
FAILURES_MAX = 5


def terminal_summary(
    run: Run | str | os.PathLike[str], *, color: bool = False, width: int | None = None
) -> str:
    """The summary of a run, without a newline at its end.

    Args:
        run: a run, or the path of a run directory.
        color: use ANSI colours.
        width: columns to wrap sentences at; the terminal's if not given.

    Raises:
        NotADirectoryError: there is no such directory.
    """
    shown = run if isinstance(run, Run) else read_run(run)
    if width is None:
        width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH_MAX)
    said = overview.banner(shown)
    lines = [_paint(f"{said.glyph} {said.heading}", _COLOURS[said.css], color, bold=True)]
    lines += _wrap(said.sentence, width)
    lines += [line for reason in said.reasons for line in _wrap(f"- {reason}", width)]
    found = numbered(shown)
    for _, _, finding in found[:FINDINGS_MAX]:
        ops = witness_ops(shown.history, finding)
        named = named_transactions(finding, ops)
        lines += ["", *(line for words in named for line in _wrap(words, width))] if named else []
        if ops:
            stuck = [s.target if s.target >= 0 else s.source for s in finding.because
                     if s.kind == "stuck"]  # fmt: skip
            lines += [
                "",
                op_table(ops, marked=stuck, positions=shown.positions, names=names_of(finding)),
            ]
        for step in finding.because:
            if step.text and step.kind != "step":
                lines += _wrap(f"- {one_line(step.text, limit=400)}", width)
    if len(found) > FINDINGS_MAX:
        lines.append(f"and {count(len(found) - FINDINGS_MAX, 'more finding')} in the report")
    lines.append("")
    for row in overview.checker_rows(shown):
        mark = _paint(row.glyph, _COLOURS[row.css], color)
        reason = f": {row.reason}" if row.reason and row.css != "invalid" else ""
        took = f" ({row.took})" if row.took else ""
        indent = "  " * row.depth
        words = _wrap(f"{row.name}{took}{reason}", width - len(indent) - 2)
        lines.append(f"{indent}{mark} {words[0]}")
        lines += [f"{indent}  {rest}" for rest in words[1:]]
    lines += _failures(shown, width)
    lines += _wrap_missing(shown, width)
    if shown.replay:
        lines += ["", f"run it again: {one_line(shown.replay, limit=2000)}"]
    return "\n".join(lines).rstrip("\n")


def _failures(run: Run, width: int) -> list[str]:
    """A table of why operations failed, the commonest first."""
    rows = overview.failure_rows(run, limit=FAILURES_MAX)
    if not rows:
        return []
    sizes = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["", "not ok, and why, with an example of each kind:"]
    for number, f, outcome, error in rows:
        start = f"  {number:>{sizes[0]}}  {f:<{sizes[1]}}  {outcome:<{sizes[2]}}  "
        lines.append(f"{start}{one_line(error, limit=max(20, width - len(start)))}".rstrip())
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width), break_on_hyphens=False, break_long_words=False)


def _wrap_missing(run: Run, width: int) -> list[str]:
    notes = run.evidence.get("notes")
    notes_shown = [*(notes if isinstance(notes, list) else []), *run.missing]
    return [
        line for said in notes_shown for line in _wrap(f"note: {one_line(said, limit=500)}", width)
    ]


def _paint(text: str, colour: str, color: bool, *, bold: bool = False) -> str:
    return f"\x1b[{'1;' if bold else ''}{colour}m{text}\x1b[0m" if color else text
