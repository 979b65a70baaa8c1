"""The terminal, as every command prints to it: a rich console that is honest about broken pipes.

rich ends the process with code 1 when whoever reads its output leaves, and here 1 means that a
violation was found. Ours raises, and the command line answers with the code for infrastructure.
"""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class Terminal(Console):
    """A console whose broken pipe is a BrokenPipeError."""

    def on_broken_pipe(self) -> NoReturn:
        """Called by rich when standard output was closed by its reader."""
        raise BrokenPipeError
