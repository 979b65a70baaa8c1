"""What a node measures of itself: counts, levels and histograms, for all who ask.

A core that has a method ``measures`` (:class:`Measured`) adds its own to what its host shows at
``/metrics``: leases and reads of the core, intents of a data node, suspects of gossip. It counts
and observes as it goes; times are differences of the ``now_ns`` it is given, so there is no clock
here. A name becomes ``splitbrain_NAME``, a counter's ``splitbrain_NAME_total``.

A histogram has fixed bounds, so observing is one bisection and one addition. Written by one thread
each and read by the admin endpoint: a reader may see a count one behind its sum, and no worse.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


class Histogram:
    """How often a value fell at or below each bound.

    Args:
        bounds: ascending upper bounds; one more bucket is beyond the last.
    """

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.buckets = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    @classmethod
    def of_counts(cls) -> Histogram:
        """A histogram of small whole numbers."""
        return cls(COUNTS)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Count all that another histogram has counted.

        Raises:
            ValueError: the other's bounds are not the same.
        """
        if other.bounds != self.bounds:
            raise ValueError(f"bounds are {other.bounds}, and not {self.bounds}")
        self.buckets = [mine + its for mine, its in zip(self.buckets, other.buckets)]
        self.total += other.total

    @property
    def count(self) -> int:
        """Values counted."""
        return sum(self.buckets)

    def lines(self, name: str) -> Iterable[str]:
        """The lines of this histogram in Prometheus text format."""
        yield f"# TYPE {name} histogram"
        below = 0
        for bound, bucket in zip(self.bounds, self.buckets):
            below += bucket
            yield f'{name}_bucket{{le="{bound:g}"}} {below}'
        yield f'{name}_bucket{{le="+Inf"}} {self.count}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {self.count}"


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """What a core has measured so far, by name.

    Args:
        gauges: levels, which go up and down.
        counters: counts, which only grow while the node runs.
        histograms: times and sizes; a name says its unit.
    """

    gauges: dict[str, float] = {}
    counters: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}


def summed(parts: Iterable[Measures]) -> Measures:
    """What several parts of one node have measured, added up name by name."""
    whole = Measures(gauges={}, counters={}, histograms={})
    for part in parts:
        for sums, values in ((whole.gauges, part.gauges), (whole.counters, part.counters)):
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value
        for name, histogram in part.histograms.items():
            whole.histograms.setdefault(name, Histogram(histogram.bounds)).add(histogram)
    return whole


@runtime_checkable
class Measured(Protocol):
    """A core that measures something."""

    def measures(self) -> Measures:
        """What it has measured so far."""
