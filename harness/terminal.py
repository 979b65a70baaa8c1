"""The terminal, as every command prints tables to it: a rich console that ends no process.

rich ends the process with code 1 when the reader of its output leaves, and here 1 means that a
violation was found. Ours raises. On the command line it has no cause to: see
:mod:`harness.streams`.
"""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class Terminal(Console):
    """A console whose broken pipe is a BrokenPipeError."""

    def on_broken_pipe(self) -> NoReturn:
        """Called by rich when standard output was closed by its reader."""
        raise BrokenPipeError
