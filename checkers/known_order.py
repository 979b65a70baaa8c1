"""Checks that remain for a history without the order of its transactions.

A file of completions only has no real time; one without processes has no order within sessions.
Their headers say ``"realtime": False`` and ``"sessions": False``, and the order of their events
means nothing. A level that needs such an order is checked as the strongest one below that does not:
a violation of that refutes both, and where there is none the answer is UNKNOWN.

For :mod:`checkers.checker_choice` and :mod:`checkers.isolation`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from checkers.core.verdict import Result, Verdict
from checkers.history import History

_WITHOUT_REALTIME = {
    "strict-serializable": "strong-session-serializable",
    "strong-snapshot-isolation": "strong-session-snapshot-isolation",
}
_WITHOUT_SESSIONS = {
    "strong-session-serializable": "serializable",
    "strong-session-snapshot-isolation": "snapshot-isolation",
}


def refusal(history: History, model: str, options: Mapping[str, object]) -> str:
    """Why a model or an option has no meaning for a history; empty if it has.

    Args:
        history: what is to be checked.
        model: the name of the model of linearizability, if it is to be checked against one.
        options: the checker's options.
    """
    from checkers.linearizability import models

    realtime, sessions = (history.header.get(order, True) for order in ("realtime", "sessions"))
    if not realtime and model in models.NAMES:
        return f"model {model!r} is about real time, and the file has none"
    for option, known_order, what in (
        ("linearizable_keys", realtime, "real time"),
        ("sequential_keys", sessions, "the order within sessions"),
    ):
        if options.get(option) and not known_order:
            return f"option {option!r} needs {what}, which the file does not have"
    return ""


def known(history: History, levels: tuple[str, ...]) -> tuple[str, ...]:
    """Levels of isolation, each weakened to the orders that the history records."""
    found = []
    for level in levels:
        if not history.header.get("realtime", True):
            level = _WITHOUT_REALTIME.get(level, level)
        if not history.header.get("sessions", True):
            level = _WITHOUT_SESSIONS.get(level, level)
        found.append(level)
    return tuple(found)


def doubted(result: Result, asked: tuple[str, ...], levels: tuple[str, ...]) -> Result:
    """A result about the levels that can be known, as one that does not approve of those asked for.

    Args:
        result: about ``levels``.
        asked: what was to be checked.
        levels: what :func:`known` made of it.
    """
    if result.verdict is not Verdict.VALID:
        return result
    reason = (
        f"the file does not tell the order of transactions that {','.join(asked)} promises (see "
        f"the note); as far as can be known, {','.join(levels)} holds: {result.reason}"
    )
    return msgspec.structs.replace(result, verdict=Verdict.UNKNOWN, reason=reason)
