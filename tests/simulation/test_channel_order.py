"""Frames of old connections in the simulated network, and what they do to a cluster."""

from __future__ import annotations

import random
from typing import Any

from checkers.core.verdict import Verdict
from cluster.channel.single_socket_channel import ChannelParts, IncomingChannel, OutgoingChannel
from cluster.simulation.heap import EventHeap
from cluster.simulation.network import Network, NetworkProfile
from cluster.simulation.schedule import run_schedule
from harness.campaign.patterns import judge_schedule

#: n1's first write waits on an old connection. n2 gets both writes on the new one, and they are
#: acknowledged by its word. Then the old connection delivers, and n1 dies.
OLD_FRAME_LAST = """
nodes n1 n2 n3
no-timeouts
elect n1
put c2 x 0 -> ok
cut n3 | n1 n2
hold n1 -> n2 AppendEntries
start c1 put x 1 @n1
run 10ms
reconnect n1 -> n2
hold n1 -> n2 Heartbeat
put c2 y 2 @n1 -> ok
await c1 -> ok
deliver n1 -> n2 AppendEntries
run 10ms
log n2
crash n1
heal
elect n2
get c3 y
"""


class Anything(IncomingChannel):
    def is_old(self, epoch: int) -> bool:
        return False


class Same(OutgoingChannel):
    def next_epoch(self) -> int:
        return 1


def arrivals(channels: ChannelParts) -> tuple[list[Any], list[tuple[str, str]]]:
    """What arrives when a frame of an old connection is let go last, and what is reported."""
    heap, came, reported = EventHeap(), [], []
    network = Network(
        heap,
        NetworkProfile(delay_min_ns=1, delay_max_ns=1),
        random.Random(1),
        lambda src, dst, frame: came.append(frame),
        channels=channels,
        disordered=lambda src, dst: reported.append((src, dst)),
    )
    link = network.link("a", "b")
    link.hold = lambda frame: frame == "old"
    network.send("a", "b", "old")
    link.reconnect()
    network.send("a", "b", "new")
    heap.run_until(10)
    network.release_held()
    heap.run_until(20)
    return came, reported


def test_a_frame_of_an_old_connection_is_dropped_once_a_newer_one_was_taken() -> None:
    assert arrivals(ChannelParts()) == (["new"], [])


def test_the_network_counts_connections_by_itself() -> None:
    for channels in (ChannelParts(incoming=Anything), ChannelParts(outgoing=Same)):
        assert arrivals(channels) == (["new", "old"], [("a", "b")])


def test_an_old_frame_and_a_log_that_always_cuts_lose_an_acknowledged_write() -> None:
    """Either alone is survived: Raft ignores the old frame, and the channel drops it."""
    verdicts = {
        ablations: judge_schedule(
            run_schedule(OLD_FRAME_LAST, ablations=ablations, check_invariants=False)
        ).verdict
        for ablations in ((), ("A53",), ("A18",), ("A18", "A53"), ("A18", "A53b"))
    }
    lost = [("A18", "A53"), ("A18", "A53b")]
    assert verdicts == {
        each: Verdict.INVALID if each in lost else Verdict.VALID for each in verdicts
    }
