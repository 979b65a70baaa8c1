"""What all tests share: golden files, and how Hypothesis draws its examples.

A golden file holds the exact output that was last read and approved. When an output changes on
purpose, run the test with ``--rewrite``, and read the diff before committing it.

Hypothesis draws the same examples at every run (profile ``gate``), so that a verdict on a commit is
about the commit. Other examples are a search of its own: ``--hypothesis-profile=search``, or
``make search``, which draws anew at each run. Neither has a deadline for one example: the first may
compile machine code, and a busy machine is no failure.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PATIENT = settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("gate", parent=PATIENT, derandomize=True)
settings.register_profile("search", parent=PATIENT, derandomize=False)
settings.load_profile("gate")

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
