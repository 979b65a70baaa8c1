"""Counters and histograms, and their Prometheus text.

A histogram has fixed bounds, so observing is one bisection and one addition. Written by one thread
each and read by the admin endpoint: a reader may see a count one behind its sum, and no worse.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

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


def metrics_text(
    *,
    gauges: Mapping[str, float],
    counters: Mapping[str, float],
    histograms: Mapping[str, Histogram],
    groups: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Everything in Prometheus text format, names prefixed with ``splitbrain_``.

    Args:
        gauges: values that go up and down, by name.
        counters: values that only grow.
        histograms: histograms.
        groups: gauges of each group, by name and then by group.
    """
    lines: list[str] = []
    for kind, values in (("gauge", gauges), ("counter", counters)):
        for name, value in sorted(values.items()):
            full = f"splitbrain_{name}" + ("_total" if kind == "counter" else "")
            lines += [f"# TYPE {full} {kind}", f"{full} {value:g}"]
    for name, by_group in sorted((groups or {}).items()):
        full = f"splitbrain_group_{name}"
        lines.append(f"# TYPE {full} gauge")
        lines += [f'{full}{{group="{group}"}} {by_group[group]:g}' for group in sorted(by_group)]
    for name, histogram in sorted(histograms.items()):
        lines.extend(histogram.lines(f"splitbrain_{name}"))
    return "\n".join(lines) + "\n"
