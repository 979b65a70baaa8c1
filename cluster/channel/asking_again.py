"""Asking again: how long a copy of a request is waited for, and when the next one is sent.

Problem. A request without an answer must be sent again. Each copy of a write is an entry of the
log: a cluster that is slow would get more of them the slower it is, and never recover. A cluster in
trouble that is asked again at once, by all clients, gets more of it.

Solution. The first copy is waited for a fixed time, and each later one twice as long as the one
before, up to a bound. A refusal doubles the delay before the next attempt, up to a bound, and half
of the delay is random. A redirect is followed at once, but only so many times in a row.

Source: Metcalfe and Boggs (1976), for the doubling with randomness. Pure rules, used by
``cluster.client`` and ``cluster.data.group_client``; the deadline of a request is theirs to keep.
"""

from __future__ import annotations

from cluster.ports import Rng

#: Redirects followed at once; after so many in a row without an answer, back off.
REDIRECTS_MAX = 3
#: A copy is waited for at most 2 to the power of this times as long as the first.
DOUBLINGS_MAX = 4


def window_ns(first_ns: int, copies_lost: int) -> int:
    """How long the next copy may go unanswered.

    Args:
        first_ns: how long the first copy may.
        copies_lost: copies of the same request that ended without an outcome.
    """
    assert copies_lost >= 0, f"{copies_lost} copies were lost"
    return first_ns << min(copies_lost, DOUBLINGS_MAX)


def delay_ns(bounds_ns: tuple[int, int], failures: int, rng: Rng) -> int:
    """How long to wait before the next attempt.

    Args:
        bounds_ns: the longest delay after the first failure, and the longest of all.
        failures: attempts that failed in a row before this one.
        rng: the randomness of half of the delay.
    """
    low, high = bounds_ns
    ceiling = min(high, low << min(failures, 16))
    return rng.between(ceiling // 2, ceiling)
