"""Chunks. Goal: whatever is lost, repeated or reordered, the receiver ends with the sender's bytes.
Method: a sender and a receiver with a seeded, unruly line between them."""

from __future__ import annotations

import random

import pytest

from cluster.channel.chunks import Arriving, Progress


@pytest.mark.parametrize("seed", range(20))
def test_the_receiver_ends_with_the_senders_bytes(seed: int) -> None:
    rng = random.Random(seed)
    data, size = rng.randbytes(rng.randint(1, 60)), rng.randint(1, 9)
    sender, receiver = Progress(len(data)), Arriving()
    line: list[tuple[int, bytes]] = []
    for _ in range(5_000):
        line.append((sender.offset, data[sender.offset : sender.offset + size]))
        rng.shuffle(line)
        if rng.random() < 0.3:
            line.pop()
        if line and rng.random() < 0.7:
            part = line[-1] if rng.random() < 0.2 else line.pop()
            receiver.add("key", *part)
            assert data.startswith(receiver.peek())
            sender.progressed(receiver.offset)
        if rng.random() < 0.01:
            sender = Progress(len(data))  # another sender goes on
        if receiver.offset == len(data):
            break
    assert receiver.peek() == data


def test_an_answer_moves_the_sender_both_ways_and_a_repeated_one_not() -> None:
    sender = Progress(10)
    assert sender.progressed(7) and not sender.progressed(7)
    assert sender.progressed(3) and sender.offset == 3
    assert not sender.progressed(11) and not sender.progressed(-1) and sender.offset == 3


def test_another_key_begins_anew_and_so_does_a_first_part_where_keys_promise_nothing() -> None:
    receiver = Arriving()
    assert receiver.add("a", 0, b"12") and not receiver.add("a", 0, b"12")
    assert receiver.add("a", 0, b"34", anew=True) and receiver.peek() == b"34"
    assert not receiver.add("b", 2, b"56") and receiver.offset == 0
    receiver.add("b", 0, b"7")
    receiver.clear()
    assert (receiver.key, receiver.offset) == (None, 0)
