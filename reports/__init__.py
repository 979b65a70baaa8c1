"""Reports: what a reader sees of a run, from the run directory alone.

    import reports
    reports.render(run_dir)                         # report.html, summary.md, junit.xml
    reports.render_history(history, results, path)  # one page for a history file
    reports.terminal_summary(run_dir)               # text for a terminal
    reports.serve(store_dir)                        # a local web page over all runs

A report needs ``spec.json``, ``results.json``, ``history.jsonl`` and ``nodes/*/``; any of them
is missing or torn is named in the report, and the rest is shown. Nothing here checks a history:
verdicts, findings and explanations are the checkers'. The package imports :mod:`checkers` only, so
that a report can be made again on another machine, years later, with no harness present.

Map: ``run_directory`` reads; ``operations``, ``performance``, ``nodes``, ``findings``, ``overview``
make view models; ``svg`` draws; ``embed`` packs operations for the page; ``page`` assembles it from
``templates`` and ``assets``; ``markdown``, ``junit``, ``sarif`` and ``terminal`` are the other
forms; ``server`` is the local server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.server import serve
    from reports.terminal import terminal_summary
    from reports.writing import render, render_history

_HOME = {
    "render": "reports.writing",
    "render_history": "reports.writing",
    "serve": "reports.server",
    "terminal_summary": "reports.terminal",
}

__all__ = ["render", "render_history", "serve", "terminal_summary"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, to keep the command's start quick."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'reports' has no attribute {name!r}")
