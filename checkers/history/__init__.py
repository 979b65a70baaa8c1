"""The history model: events and ops (`op`), columns (`history`), file formats, validation."""

from checkers.history.errors import HistoryError
from checkers.history.history import History, freeze
from checkers.history.op import FAIL, INFO, INVOKE, OK, Event, Fault, Op

__all__ = [
    "FAIL", "INFO", "INVOKE", "OK", "Event", "Fault", "History", "HistoryError", "Op", "freeze",
]  # fmt: skip
