"""The history model: events and ops (`op`), columns (`history`), file formats, validation."""

from checkers.history.errors import HistoryError
from checkers.history.export import write_edn
from checkers.history.history import History, freeze
from checkers.history.jsonl import read_jsonl
from checkers.history.jsonl_writer import HistoryWriter, write_jsonl
from checkers.history.loading import load, recognise
from checkers.history.op import FAIL, INFO, INVOKE, OK, Event, Fault, Op
from checkers.history.parquet import write_parquet

__all__ = [
    "FAIL", "INFO", "INVOKE", "OK", "Event", "Fault", "History", "HistoryError", "HistoryWriter",
    "Op", "freeze", "load", "read_jsonl", "recognise", "write_edn", "write_jsonl",
    "write_parquet",
]  # fmt: skip
