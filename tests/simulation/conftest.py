"""`pytest tests/simulation --rewrite` accepts what schedules print."""

from __future__ import annotations

import contextlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):  # another area's tests may have added it
        parser.addoption("--rewrite", action="store_true", help="accept golden output as it is now")
