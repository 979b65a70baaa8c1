"""Writing the forms of a report into a run directory.

Each file is written beside its place and moved there, so that a reader never meets half a report
and a second rendering never spoils a first one by failing midway.

For the harness (``harness test``, ``report``, ``check --report``), and public.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from checkers.core.regular_files import write_whole
from checkers.core.verdict import Result
from checkers.history import History
from reports import junit, markdown, page
from reports.embed import OPS_MAX
from reports.run_directory import of_history, read_run


def render(run_dir: str | os.PathLike[str], *, ops_max: int = OPS_MAX) -> Path:
    """Write ``report.html``, ``summary.md`` and ``junit.xml`` of a run.

    Args:
        run_dir: the run directory; what is missing in it is said in the report.
        ops_max: most operations the page carries one by one.

    Returns:
        the path of ``report.html``.

    Raises:
        NotADirectoryError: there is no such directory.
        OSError: a file cannot be written.
    """
    run = read_run(run_dir)
    path = Path(run_dir)
    write_text(path / "summary.md", markdown.summary(run))
    write_text(path / "junit.xml", junit.junit_xml(run))
    write_text(path / "report.html", page.page(run, ops_max=ops_max))
    return path / "report.html"


def render_history(
    history: History,
    results: Result | Sequence[Result],
    out_path: str | os.PathLike[str],
    *,
    name: str = "",
    replay: str = "",
    ops_max: int = OPS_MAX,
) -> Path:
    """Write the page for a history that has no run directory.

    Args:
        history: the history that was checked.
        results: what the checkers said of it.
        out_path: the page to write.
        name: what to call it; the page's file name if empty.
        replay: the command that checks it again, if there is one.
        ops_max: most operations the page carries one by one.

    Returns:
        the path of the page.

    Raises:
        OSError: the page cannot be written.
    """
    path = Path(out_path)
    listed = [results] if isinstance(results, Result) else list(results)
    run = of_history(history, listed, name=name or path.name, replay=replay)
    write_text(path, page.page(run, ops_max=ops_max))
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; text that is no Unicode is replaced, not refused.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, text.encode("utf-8", "replace"))
