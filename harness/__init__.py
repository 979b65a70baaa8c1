"""Harness: runs workloads against databases under faults, and checks their histories.

The names that a user's test file needs are importable from here; nothing is imported before it is
used.

    from harness import fault, run, TestSpec
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import run
    from harness.nemesis.user import fault
    from harness.runner import RunOutcome
    from harness.spec import TestSpec

__all__ = ["RunOutcome", "TestSpec", "fault", "run"]

_HOMES = {
    "RunOutcome": "harness.runner",
    "TestSpec": "harness.spec",
    "fault": "harness.nemesis.user",
    "run": "harness.api",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
