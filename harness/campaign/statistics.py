"""The figures of a comparison: medians and rates of a few runs, with confidence intervals.

Counts of violations have a Wilson interval: it stays between 0 and 1, and is not empty where none
of the runs, or every one, was violated. Everything else is a median over runs with a percentile
bootstrap interval (Efron, 1979): runs are drawn again with replacement, and the middle 95 % of the
medians are shown. Drawing is seeded, so that the same runs always give the same intervals.

Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: Two-sided 95 %.
Z = 1.959963984540054
RESAMPLES = 2000


def wilson(hits: int, runs: int) -> tuple[float, float]:
    """The 95 % interval of a share.

    Args:
        hits: how many of the runs.
        runs: of how many; with none, nothing is known: (0, 1).

    Raises:
        ValueError: more hits than runs.
    """
    if not 0 <= hits <= runs:
        raise ValueError(f"{hits} hits in {runs} runs")
    if runs == 0:
        return 0.0, 1.0
    share, z2 = hits / runs, Z * Z
    middle = (share + z2 / (2 * runs)) / (1 + z2 / runs)
    half = Z * math.sqrt(share * (1 - share) / runs + z2 / (4 * runs * runs)) / (1 + z2 / runs)
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == runs else min(1.0, middle + half)
    return low, high


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval; (nan, nan, nan) of no values.

    Args:
        values: one per run, in any order; the order does not matter.
    """
    if not values:
        return math.nan, math.nan, math.nan
    data = np.sort(np.asarray(values, dtype=np.float64))
    drawn = np.random.default_rng(len(data)).integers(0, len(data), (RESAMPLES, len(data)))
    medians = np.median(data[drawn], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(np.median(data)), float(low), float(high)


def paired_ratio(values: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """The median of the ratios to a baseline, pair by pair, and its bootstrap interval.

    Args:
        values, base: of the same seeds in the same order; pairs with a base of 0 are left out.
    """
    return median_interval([v / b for v, b in zip(values, base, strict=True) if b])
