"""The node's log: one JSON object a line on stderr.

Each line has ``ts`` (seconds since the epoch by the machine's own clock, not the skewed one),
``node`` and ``event``; the rest is the event's. The first line of a node that serves is
``{"event":"listening",...}``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec


class EventLog:
    """Writes events.

    Args:
        node: the node's id, on every line.
        stream: where to; stderr by default.
    """

    def __init__(self, node: str, *, stream: TextIO | None = None) -> None:
        self._node = node
        self._stream = stream or sys.stderr

    def write(self, event: str, detail: Mapping[str, Any]) -> None:
        """One event; a reader that went away is no reason to stop."""
        line = {"ts": round(time.time(), 6), "node": self._node, "event": event, **detail}
        try:
            self._stream.write(msgspec.json.encode(line).decode() + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return
