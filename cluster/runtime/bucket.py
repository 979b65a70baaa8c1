"""A bucket: so many at once, and so many a second after that.

Used wherever others decide how often something happens. Pure but for the clock it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """Full at first, and filled again slowly.

    Args:
        at_once: how many it holds.
        per_s: how many come back in a second.
        now_s: a clock, in seconds.
    """

    __slots__ = ("_at_once", "_filled_s", "_held", "_now_s", "_per_s")

    def __init__(
        self, at_once: int, per_s: float, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_once = self._held = float(at_once)
        self._per_s = per_s
        self._now_s = now_s
        self._filled_s = now_s()

    def take(self) -> bool:
        """Take one; False if there is none now."""
        now_s = self._now_s()
        gained = (now_s - self._filled_s) * self._per_s
        self._held, self._filled_s = min(self._at_once, self._held + gained), now_s
        if self._held < 1:
            return False
        self._held -= 1
        return True
