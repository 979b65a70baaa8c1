"""The terminal, as every command prints tables to it: rich's console and tables, in one style.

rich ends the process with code 1 when the reader of its output leaves, and here 1 means that a
violation was found. Ours raises. On the command line it has no cause to: see
:mod:`harness.streams`. Columns for programs are :mod:`harness.text_columns`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.table import Table


class Terminal(Console):
    """A console whose broken pipe is a BrokenPipeError."""

    def on_broken_pipe(self) -> NoReturn:
        """Called by rich when standard output was closed by its reader."""
        raise BrokenPipeError


def titled_table(title: str, columns: Iterable[str], *, fold: bool = False) -> Table:
    """A table with a title and a line under the columns' names.

    Args:
        title: above the table.
        columns: the columns' names; "" for none.
        fold: whether cells may take several lines; else they are cut at the terminal's edge.
    """
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=not fold, overflow="fold" if fold else "ellipsis")
    return table


def bare_table(*, narrow: int) -> Table:
    """A table of cells alone: some columns no wider than their words, and one that folds.

    Args:
        narrow: how many columns come before the one that folds.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    for _ in range(narrow):
        table.add_column(no_wrap=True)
    table.add_column()
    return table
