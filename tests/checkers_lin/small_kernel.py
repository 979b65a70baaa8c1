"""A kernel that is compiled in a second: what tests of keeping machine code use."""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.core.jit import compiled, inner


@inner
def _twice(number: Any) -> Any:
    return 2 * number


@compiled
def total(numbers: Any) -> Any:
    """The sum of numbers, each twice."""
    found = 0
    for at in range(len(numbers)):
        found += _twice(numbers[at])
    return found


@compiled
def count_up(counts: Any) -> None:
    """Count three nodes of a record."""
    for _ in range(3):
        counts.nodes += 1


def warm() -> None:
    """Call every loop once."""
    assert total(np.arange(4)) == 12
