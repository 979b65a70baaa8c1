"""A clock is read as exactly as the quickest answer allows, whatever the others were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.environments.clock.reading import EXCHANGES_MAX, QUICK_NS, ahead_ns, enough

S = 1_000_000_000
#: nanoseconds on the way there, and on the way back
ways = st.tuples(st.integers(0, 5 * S), st.integers(0, 5 * S))


@given(st.integers(-3_600 * S, 3_600 * S), st.lists(ways, min_size=1, max_size=20))
def test_it_is_known_to_within_half_of_what_the_quickest_answer_took(
    offset_ns: int, taken: list[tuple[int, int]]
) -> None:
    exchanges = [
        (at * 60 * S, at * 60 * S + there + offset_ns, at * 60 * S + there + back)
        for at, (there, back) in enumerate(taken)
    ]
    quickest_ns = min(there + back for there, back in taken)
    assert abs(ahead_ns(exchanges) - offset_ns) <= quickest_ns // 2 + 1


def test_it_is_asked_until_an_answer_is_quick_and_not_for_ever() -> None:
    slow, quick = (0, 0, QUICK_NS + 1), (0, 0, QUICK_NS)
    assert not enough([]) and not enough([slow] * (EXCHANGES_MAX - 1))
    assert enough([slow] * EXCHANGES_MAX) and enough([slow, quick])
