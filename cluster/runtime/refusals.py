"""Lines about refused connections, limited in rate: a flood of them must not fill the log.

Problem: one client may be refused ten thousand times a second, and a line for each fills a disk and
costs the event loop more than the refusal. Solution: a bucket of lines that fills slowly.
Lines that do not fit are counted, and the count is written with the next line that does.

Used by ``node`` and what it is made of; runs in the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cluster.runtime.bucket import Bucket

LINES_AT_ONCE = 20
LINES_PER_S = 1.0


class Refusals:
    """Writes events of one kind, as many as the rate allows.

    Args:
        write: writes an event with its detail.
        now_s: a clock, in seconds.
    """

    def __init__(
        self,
        write: Callable[[str, Mapping[str, Any]], None],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refused = self.left_out = 0
        self._write = write
        self._lines = Bucket(LINES_AT_ONCE, LINES_PER_S, now_s=now_s)

    def add(self, event: str, detail: Mapping[str, Any]) -> None:
        """Something was refused: a line, or one more that is left out."""
        self.refused += 1
        if not self._lines.take():
            self.left_out += 1
            return
        left_out, self.left_out = self.left_out, 0
        self._write(event, {**detail, "left_out": left_out} if left_out else detail)

    def tell(self) -> None:
        """Write how many lines were left out, if any were and a line may be written."""
        if self.left_out and self._lines.take():
            left_out, self.left_out = self.left_out, 0
            self._write("refusals-left-out", {"left_out": left_out})
