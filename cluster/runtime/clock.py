"""The Clock port on real clocks, with the skew a fault asks for.

The monotonic clock can be given a wrong rate and the wall clock an offset, both from the chaos
endpoint. A change of rate takes effect from now on: the monotonic clock never goes back or jumps.

Used by ``node``; the core sees only the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

RATE_MAX = 100.0


class SkewedClock:
    """The node's clocks.

    Args:
        monotonic: nanoseconds of the true monotonic clock.
        wall: nanoseconds since the epoch.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self.offset_ns = 0
        self.rate = 1.0
        self._true = monotonic
        self._wall = wall
        self._since_ns = self._base_ns = monotonic()

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back, at the set rate."""
        true_ns = self._true()
        if self.rate == 1.0:
            return self._base_ns + true_ns - self._since_ns
        return self._base_ns + int((true_ns - self._since_ns) * self.rate)

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch, plus the offset."""
        return self._wall() + self.offset_ns

    def true_delay_ns(self, monotonic_ns: int) -> int:
        """How long, in true time, until this clock shows ``monotonic_ns``; never negative."""
        return max(0, int((monotonic_ns - self.monotonic_ns()) / self.rate))

    def set(self, *, offset_ns: int, rate: float) -> None:
        """From now on: this wall offset, this monotonic rate.

        Raises:
            ValueError: the rate is not above 0 and at most 100.
        """
        if not 0 < rate <= RATE_MAX:
            raise ValueError(f"rate is {rate!r}, and must be above 0 and at most {RATE_MAX:g}")
        self._base_ns = self.monotonic_ns()
        self._since_ns = self._true()
        self.offset_ns, self.rate = offset_ns, rate
