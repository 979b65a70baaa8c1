"""Load a history from a file of any known format.

The format is recognised from the first bytes of the file (and its name where two formats look
alike), never by trying to parse all of it, so a gigabyte of something else is refused at once. A
file compressed with gzip is read as what it holds.

Public entry: ``checkers.history.load(path)``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

from checkers.core.garbage_collection import collector_paused
from checkers.core.regular_files import open_regular
from checkers.history import files
from checkers.history.errors import HistoryError
from checkers.history.history import History

#: The marks by which a format is recognised.
HEAD_BYTES = 1 << 16

#: name -> module with ``recognise(head, path) -> bool`` and ``load(path, **options) -> History``,
#: in the order they are asked.
FORMATS: dict[str, str] = {
    "history": "checkers.history.jsonl",
    "parquet": "checkers.history.parquet",
    "dbcop": "checkers.history.importers.dbcop",
    "elle-json": "checkers.history.importers.elle_json",
    "porcupine-kv": "checkers.history.importers.porcupine_kv",
    "edn": "checkers.history.importers.jepsen_edn",
    "jepsen-store": "checkers.history.importers.jepsen_store",
    "etcd-report": "checkers.history.importers.etcd_report",
    "jepsen-log": "checkers.history.importers.jepsen_log",
    "limo": "checkers.history.importers.limo",
    "awdit": "checkers.history.importers.awdit",
    "polysi": "checkers.history.importers.polysi",
}


def load(path: str | os.PathLike[str], *, format: str | None = None, **options: object) -> History:
    """Load a history file.

    Args:
        path: the file.
        format: its format, one of :data:`FORMATS`; recognised when None.
        options: what that format's loader takes.

    Raises:
        HistoryError: it is no history of a known format, or is damaged.
        OSError: it cannot be opened, or is no regular file.
    """
    name = os.fspath(path)
    if not os.path.isdir(name):  # some formats are folders; their loaders open what is in them
        open_regular(name).close()
    try:
        return _load(name, format, options)
    except HistoryError as error:
        raise error.at(name) from None
    except RecursionError:
        raise HistoryError("its values are nested too deeply to be compared", path=name) from None
    except (OverflowError, ValueError) as error:
        raise HistoryError(f"its values cannot be read: {error}", path=name) from None


def _load(name: str, format: str | None, options: dict[str, object]) -> History:
    with collector_paused():
        return _loader(name, format)(name, **options)


def _loader(name: str, format: str | None) -> Callable[..., History]:
    loader = import_module(FORMATS[_known(format) if format else recognise(name)])
    read: Callable[..., History] = loader.load
    return read


def _known(format: str) -> str:
    if format not in FORMATS:
        raise HistoryError(f"format {format!r} is none of {', '.join(FORMATS)}")
    return format


def recognise(path: str | os.PathLike[str]) -> str:
    """The name of a file's format.

    Raises:
        HistoryError: none of the known ones.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        return _recognise_folder(name)
    try:
        head = files.head(name, HEAD_BYTES)
    except HistoryError as error:
        raise error.at(name) from None
    if not head.strip():
        raise HistoryError("the file is empty", path=name)
    if b"".join(head.split()) in (b"[]", b"()", b"{}"):
        raise HistoryError("the file holds no operations", path=name)
    for format, module in FORMATS.items():
        if import_module(module).recognise(head, name):
            return format
    start = ascii(head[:24].decode("utf-8", "replace"))
    raise HistoryError(
        f"no known history format begins with {start}; the formats are {', '.join(FORMATS)}",
        path=name,
    )


def _recognise_folder(name: str) -> str:
    """The name of the format whose histories are folders.

    Raises:
        HistoryError: it is no such folder.
    """
    from checkers.history.importers import etcd_report

    if etcd_report.is_report(name):
        return "etcd-report"
    raise HistoryError("it is a folder of files and no history", path=name)
