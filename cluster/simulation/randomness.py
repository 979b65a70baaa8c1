"""Seeded randomness, as a tree: one independent stream per (seed, purpose...).

A simulation that draws everything from one generator changes all of its choices when one of them
is added or removed. Here each purpose has a stream of its own, keyed by a digest of the seed and
the purpose's words, so that a new fault does not move the election timeouts. The builtin ``hash``
is never used: it differs from process to process.

Public.
"""

from __future__ import annotations

import hashlib
import random


def derive(seed: int, *purpose: object) -> random.Random:
    """A generator for one purpose.

    Args:
        seed: the run's seed.
        purpose: words and numbers that name the stream, such as ``"n1", "election"``.
    """
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return random.Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))


class SeededRng:
    """The :class:`cluster.ports.Rng` of a simulated node.

    Args:
        source: the stream to draw from.
    """

    __slots__ = ("_random",)

    def __init__(self, source: random.Random) -> None:
        self._random = source.random

    def between(self, low: int, high: int) -> int:
        """A uniform integer in [low, high]; ``high`` must not be below ``low``."""
        if high < low:
            raise ValueError(f"between({low}, {high}) has no values; are the bounds swapped?")
        return low + int(self._random() * (high - low + 1))
