"""The reads of list-append are looked at in chunks; a chunk costs its own size, not the rest's."""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.isolation.inference.append_versions import AppendVersions


class CountedReads(np.ndarray[Any, np.dtype[np.int64]]):
    """Numbers of reads, int64 (n,), that add up how many of them were made Python integers."""

    converted = 0

    def tolist(self) -> Any:
        CountedReads.converted += self.size
        return np.ndarray.tolist(self)


def test_a_chunk_of_reads_converts_only_its_own_numbers() -> None:
    """Found as half the time of a million transactions: each chunk converted all that follow."""
    versions = object.__new__(AppendVersions)
    versions.reads = np.arange(1_000, dtype=np.int64).view(CountedReads)
    CountedReads.converted = 0
    chunks = [versions._as_lists([None, [1], (2,)], first) for first in range(0, 999, 3)]
    assert chunks[0] == [[], [1], [2]]
    assert CountedReads.converted == 999
