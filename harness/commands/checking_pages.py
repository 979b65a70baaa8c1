"""``harness check --report``: a page per history, and for several an index of them.

A page needs the history itself, so it is written where the file was checked, by :func:`write`,
which :func:`checkers.check_files.check_files` calls there by name.
"""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.errors import SetupError

if TYPE_CHECKING:
    from checkers.check_files import FileResult
    from checkers.history import History

#: Where the function is that a worker calls after a file.
WRITE = "harness.commands.checking_pages:write"


class Pages(msgspec.Struct):
    """Where pages go.

    Args:
        out: the page, or the folder of pages.
        several: whether it is a folder.
        base: the folder that pages are named from.
    """

    out: Path
    several: bool
    base: str
    write: ClassVar[str] = WRITE

    def options(self) -> dict[str, Any]:
        """Keywords for :func:`write`."""
        return {"out": str(self.out), "several": self.several, "base": self.base}

    def finish(self, results: Sequence[FileResult]) -> str:
        """Write the index, if there is to be one; returns what to open, empty if nothing is there.

        Raises:
            SetupError: a page or the index cannot be written.
        """
        for result in results:
            for note in result.notes:
                if note.startswith(_FAILED):
                    raise SetupError(note)
        checked = [result for result in results if result.result is not None]
        if not checked:
            return ""
        if not self.several:
            return str(self.out)
        index = self.out / "index.html"
        try:
            index.write_text(_index(checked, self.base), encoding="utf-8", errors="replace")
        except OSError as error:
            raise SetupError(f"{_FAILED} {str(index)!r}: {error.strerror or error}") from None
        return str(index)


_FAILED = "the report cannot be written to"


def prepare(out: str, paths: Sequence[str]) -> Pages:
    """Find out what ``--report`` means, and make the folder.

    Raises:
        SetupError: the folder cannot be made.
    """
    target = Path(out)
    several = len(paths) > 1 or Path(paths[0]).is_dir() or target.is_dir() or out.endswith(os.sep)
    folder = target if several else target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{_FAILED} {out!r}: {error.strerror or error}") from None
    folders = [path if Path(path).is_dir() else os.path.dirname(path) for path in paths]
    base = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    return Pages(target, several, base)


def page_name(path: str, base: str) -> str:
    """The file name of a history's page: its path below ``base``, in one word."""
    return os.path.relpath(os.path.abspath(path), base).replace(os.sep, "--") + ".html"


def write(history: History, found: FileResult, *, out: str, several: bool, base: str) -> None:
    """Write one page; a failure becomes a note of the file's result."""
    import shlex

    import reports

    path = Path(out) / page_name(found.path, base) if several else Path(out)
    assert found.result is not None
    again = shlex.join(["harness", "check", found.path, "--model", found.model])
    try:
        reports.render_history(history, found.result, path, name=found.path, replay=again)
    except OSError as error:
        found.notes.append(f"{_FAILED} {str(path)!r}: {error.strerror or error}")


def _index(results: Sequence[FileResult], base: str) -> str:
    rows = []
    for result in results:
        assert result.verdict is not None and result.result is not None
        found = result.result.all_findings()
        said = found[0].sentence if found else result.result.reason
        name = html.escape(os.path.relpath(os.path.abspath(result.path), base))
        link = html.escape(page_name(result.path, base), quote=True).replace("#", "%23")
        cells = [result.verdict.name, f'<a href="{link}">{name}</a>', html.escape(result.model),
                 str(result.ops), html.escape(said)]  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return _INDEX.format(count=len(rows), rows="\n".join(rows))


_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{count} histories</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color-scheme: light dark }}
table {{ border-collapse: collapse }}
td, th {{ text-align: left; padding: .3rem .8rem; border-bottom: 1px solid #8884 }}
</style>
<h1>{count} histories</h1>
<table><tr><th>Verdict<th>History<th>Model<th>Operations<th>What was found</tr>
{rows}
</table></html>
"""
