"""Porcupine's key-value histories: EDN maps with a ``:key`` and string values, one a line.

The functions are ``get``, ``put`` and ``append``; a value is a string, and appends concatenate. The
notation is Jepsen's, so the reading is done there; the name exists for ``--format``.
"""

from __future__ import annotations

import re

from checkers.history.history import History
from checkers.history.importers import jepsen_edn

_FIRST = re.compile(rb"\s*\{[^}\n]*:f\s+:(?:get|put|append)\b[^}\n]*:key\s")


def recognise(head: bytes, path: str = "") -> bool:
    """Whether a file that begins with these bytes is of a key-value store."""
    return _FIRST.match(head) is not None


def load(path: str) -> History:
    """Load a key-value history.

    Raises:
        HistoryError: it is no EDN, or no history; the place is the line.
    """
    history = jepsen_edn.load(path, independent=False)
    history.header = {**history.header, "model": "key-value", "initial": ""}
    return history
