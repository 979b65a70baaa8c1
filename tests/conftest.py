"""What all tests share: golden files, accepted anew with ``pytest --rewrite``.

A golden file holds the exact output that was last read and approved. When an output changes on
purpose, run the test with ``--rewrite``, and read the diff before committing it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest

Golden = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--rewrite``."""
    parser.addoption(
        "--rewrite", action="store_true", default=False, help="accept outputs as golden files"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """A function that compares a text with a golden file, or rewrites the file."""
    rewrite = bool(request.config.getoption("--rewrite"))

    def check(path: Path, text: str) -> None:
        if rewrite:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8"))
            return
        if not path.exists():
            pytest.fail(f"there is no golden file {path.name}; make it with --rewrite")
        wanted = path.read_bytes().decode("utf-8")
        if wanted != text:
            lines = difflib.unified_diff(
                wanted.splitlines(), text.splitlines(), "golden", "now", lineterm="", n=1
            )
            shown = "\n".join(line[:300] for line, _ in zip(lines, range(40)))
            pytest.fail(f"{path.name} differs; accept with --rewrite if it is right\n{shown}")

    return check
