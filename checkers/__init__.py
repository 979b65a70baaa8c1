"""Checkers: check a history, with no harness present.

The names needed to write and run checkers are importable from here, and importing this package is
cheap: a module that needs numpy is imported when it is first asked for.

    from checkers import History, Verdict, Result, checker, linearizable, models
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from checkers.core.budget import Budget
from checkers.core.checker import Checker, checker, named
from checkers.core.verdict import Because, Finding, Result, Verdict

if TYPE_CHECKING:
    from checkers.history import Event, Fault, History, HistoryError, Op
    from checkers.linearizability import Model, models
    from checkers.linearizability.check import check, linearizable

__all__ = [
    "Because",
    "Budget",
    "Checker",
    "Event",
    "Fault",
    "Finding",
    "History",
    "HistoryError",
    "Model",
    "Op",
    "Result",
    "Verdict",
    "check",
    "checker",
    "linearizable",
    "models",
    "named",
]

_HOMES = {
    "Event": "checkers.history",
    "Fault": "checkers.history",
    "History": "checkers.history",
    "HistoryError": "checkers.history",
    "Op": "checkers.history",
    "Model": "checkers.linearizability",
    "check": "checkers.linearizability",
    "linearizable": "checkers.linearizability",
    "models": "checkers.linearizability",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'checkers' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(home), name)
    globals()[name] = found
    return found
