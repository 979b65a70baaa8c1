"""What a link does to a message, decided without any socket."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from harness.environments.base import LinkFault
from harness.environments.network.shaper import RETRANSMIT_NS, Shaper

MS = 1_000_000
chance = st.sampled_from((0.0, 0.1, 0.5, 1.0))
faults = st.builds(
    LinkFault,
    cut=st.booleans(),
    delay_ns=st.integers(0, 100 * MS),
    jitter_ns=st.integers(0, 50 * MS),
    loss=chance,
    duplicate=chance,
    reorder=chance,
    corrupt=chance,
    rate_bytes_per_s=st.sampled_from((0, 1_000, 1_000_000)),
)


def shaper(fault: LinkFault, seed: int = 0) -> Shaper:
    made = Shaper(Random(seed))
    made.set(fault)
    return made


@given(faults, st.lists(st.integers(1, 2_000), max_size=30), st.integers(0, 99))
def test_every_message_is_counted_once_and_never_early(
    fault: LinkFault, sizes: list[int], seed: int
) -> None:
    link = shaper(fault, seed)
    copies = 0
    for number, size in enumerate(sizes):
        deliveries = link.frame(number * MS, size)
        copies += len(deliveries)
        assert all(due_ns >= number * MS + fault.delay_ns for due_ns, _ in deliveries)
    count = link.counters
    assert count["passed"] + count["dropped"] + count["corrupted"] == len(sizes)
    assert copies == count["passed"] + count["duplicated"]
    if fault.cut:
        assert copies == 0


@given(faults, st.lists(st.integers(1, 2_000), max_size=30), st.integers(0, 99))
def test_nothing_vanishes_from_a_byte_stream(fault: LinkFault, sizes: list[int], seed: int) -> None:
    link = shaper(fault, seed)
    dues = [link.piece(number * MS, size) for number, size in enumerate(sizes)]
    assert all(due_ns >= n * MS + fault.delay_ns for n, due_ns in enumerate(dues))
    assert link.counters["passed"] == len(sizes)
    late = link.counters["dropped"] + link.counters["corrupted"]
    if not (fault.jitter_ns or fault.rate_bytes_per_s):
        expected = [n * MS + fault.delay_ns + RETRANSMIT_NS for n in range(len(sizes))]
        assert sum(due == slow for due, slow in zip(dues, expected)) == late


@given(faults, st.integers(0, 99))
def test_the_same_seed_decides_the_same(fault: LinkFault, seed: int) -> None:
    one, other = shaper(fault, seed), shaper(fault, seed)
    assert [one.frame(n, 99) for n in range(20)] == [other.frame(n, 99) for n in range(20)]


def test_a_rate_spaces_messages_out() -> None:
    link = shaper(LinkFault(rate_bytes_per_s=1_000))
    dues = [link.frame(0, 100)[0][0] for _ in range(5)]
    assert dues == [100 * MS * n for n in range(1, 6)]


def test_healing_forgets_the_queue_of_a_slow_link() -> None:
    link = shaper(LinkFault(rate_bytes_per_s=1))
    link.frame(0, 1_000)
    link.set(LinkFault())
    assert link.frame(5, 1_000) == ((5, True),)
