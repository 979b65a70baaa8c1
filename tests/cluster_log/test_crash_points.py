"""Crash points from seeds (``crash_points``): a sample always, ten thousand on request."""

from __future__ import annotations

from collections import Counter

import pytest
from crash_points import run_crash_point


@pytest.mark.parametrize("start", [0, 300, 600, 900])
def test_everything_acknowledged_is_there_or_missed(start: int) -> None:
    for seed in range(start, start + 300):
        run_crash_point(seed)


@pytest.mark.slow
def test_ten_thousand_crash_points() -> None:
    came = Counter(run_crash_point(seed) for seed in range(10_000, 20_000))
    assert came.total() == 10_000
    assert came["whole"] > 6_000 and came["damage"] > 1_000, came
