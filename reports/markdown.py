"""The summary as Markdown, for a pull request or the step summary of a continuous integration.

Text from a run is data, not Markdown: it stands in code spans and code blocks whose fence is longer
than any run of backticks in it, or has its special characters escaped.

For :mod:`reports.writing`.
"""

from __future__ import annotations

import re

from reports import overview
from reports.findings import numbered, witness_ops
from reports.operations import operations
from reports.palette import GLYPHS
from reports.run_directory import Run
from reports.table import op_table
from reports.wording import count, one_line

#: Findings shown in the summary; a step summary is read on one screen.
FINDINGS_MAX = 3

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~$@])")
_ICONS = {"valid": "✅", "invalid": "❌", "unknown": "❔", "weak": "⚠️", "unjudged": "❔"}


def escaped(text: str) -> str:
    """Text with Markdown's and HTML's special characters escaped."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", safe) if safe == text else _SPECIAL.sub(_keep_entity, safe)


def _keep_entity(found: re.Match[str]) -> str:
    return "\\" + found.group()


def code(text: str) -> str:
    """A code span that the text cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def block(text: str) -> str:
    """A code block that the text cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def summary(run: Run) -> str:
    """The summary of a run."""
    said = overview.banner(run)
    parts = [f"## {_ICONS[said.css]} {escaped(said.heading)}", escaped(said.sentence)]
    if said.reasons:
        parts.append("\n".join(f"- {escaped(reason)}" for reason in said.reasons))
    if run.replay:
        parts.append(f"Run it again: {code(one_line(run.replay, limit=2000))}")
    parts += _findings(run)
    rows = overview.checker_rows(run)
    if rows:
        lines = ["| checker | verdict | engine | took |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {'· ' * row.depth}{escaped(row.name)} | {GLYPHS[row.css]} {row.verdict} "
            f"| {escaped(row.engine)} | {row.took} |"
            for row in rows
        ]
        parts.append("\n".join(lines))
    ops = None
    if run.history is not None:
        ops = operations(run.history)
    facts = overview.facts(run)
    facts += [(name, f"{text} {more}".strip()) for name, text, more in overview.exercised(run, ops)]
    parts.append("\n".join(f"- **{name}**: {escaped(text)}" for name, text in facts))
    why = overview.failure_rows(run)
    if why:
        lines = ["| operations | which | ended | why |", "| ---: | --- | --- | --- |"]
        lines += [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in why]
        parts.append("\n".join(lines))
    if run.missing:
        items = "\n".join(f"- {escaped(one_line(text, limit=500))}" for text in run.missing)
        parts.append(f"Not everything is here:\n\n{items}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _findings(run: Run) -> list[str]:
    parts = []
    found = numbered(run)
    for anchor, checker, finding in found[:FINDINGS_MAX]:
        title = escaped(one_line(finding.title or finding.kind))
        parts.append(f"### {anchor}: {title}")
        if finding.sentence:
            parts.append(escaped(one_line(finding.sentence, limit=1000)))
        parts.append(f"Found by {escaped(one_line(checker))}.")
        ops = witness_ops(run.history, finding)
        if ops:
            stuck = [s.target if s.target >= 0 else s.source for s in finding.because
                     if s.kind == "stuck"]  # fmt: skip
            parts.append(block(op_table(ops, marked=stuck, positions=run.positions)))
    if len(found) > FINDINGS_MAX:
        parts.append(f"And {count(len(found) - FINDINGS_MAX, 'more finding')} in the report.")
    return parts
