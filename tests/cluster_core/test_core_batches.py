"""What a busy replica does with much to do: steps, bounds and large snapshots that cost little."""

from __future__ import annotations

import random

import pytest
from core_pump import Pump, get, put

from cluster.channel.request_batch import MANY_UNDER_WAY, PATIENCE_NS
from cluster.config import ClusterConfig
from cluster.core.replica import STEP_ENTRIES
from cluster.core.replicated_state import LARGE_BYTES
from cluster.ports import Effect
from cluster.wire import AppendEntries, Request


def ask_many(pump: Pump, first: int, count: int, *, size: int = 1) -> None:
    """So many writes of so many sessions arrive at n1 at once."""
    requests = [
        (i, Request(i, f"s{i}", 1, 1, put(f"k{i}", "x" * size)))
        for i in range(first, first + count)
    ]
    pump._carry_out("n1", pump.nodes["n1"].on_clients(pump.now, requests))


# Steps


class SteppedPump(Pump):
    """Its hosts ask for writes and messages first, and then for what is applied."""

    steps = 0

    def restart(self, name: str) -> None:
        super().restart(name)
        self.nodes[name].in_steps = True

    def _carry_out(self, name: str, effects: list[Effect]) -> None:
        wanted, self.auto_sync = self.auto_sync, False
        super()._carry_out(name, effects)
        node = self.nodes[name]
        if node.unfinished is not None:
            self.steps += 1
            super()._carry_out(name, node.more(self.now))
        assert node.unfinished is None and node.more(self.now) == []
        self.auto_sync = wanted
        if wanted:
            self.sync(name)


def play(pump: Pump) -> list[object]:
    """A random schedule with crashes; everything that is seen of it."""
    rng = random.Random(7)
    pump.elect("n1")
    asked = 0
    for _ in range(60):
        count = rng.choice((1, 3, 12, 30))
        ask_many(pump, asked, count)
        asked += count
        pump.ask("n1", get("k1"))
        for _ in range(rng.randint(0, 40)):
            if pump.wire:
                pump.deliver(rng.randrange(len(pump.wire)))
        if rng.random() < 0.1:
            pump.crash("n3")
            pump.restart("n3")
    pump.run(500_000_000)
    hashes = [node.state_hash() for node in pump.nodes.values()]
    assert len(set(hashes)) == 1
    return [pump.replies, pump.notes, pump.timers, hashes]


def test_a_core_in_steps_does_the_same_in_the_same_order() -> None:
    config = ClusterConfig(snapshot_entries=50, snapshot_keep_entries=10)
    stepped = SteppedPump(3, config=config)
    assert play(stepped) == play(Pump(3, config=config))
    assert stepped.steps > 20


def test_writes_and_messages_come_before_what_is_applied() -> None:
    pump = Pump(3)
    pump.elect("n1")
    ask_many(pump, 0, STEP_ENTRIES)
    pump.deliver_all()  # committed at n1; the others learn it from what comes next
    follower = pump.nodes["n2"]
    follower.in_steps = True
    applied = follower.applied
    ask_many(pump, 100, 1)
    (message,) = [m for _, to, m in pump.wire if to == "n2"]
    first = follower.on_message(pump.now, "n1", message)
    assert [type(effect).__name__ for effect in first] == ["Append", "Send"]
    assert follower.applied == applied and follower.unfinished is not None
    with pytest.raises(AssertionError, match="has not applied what it committed"):
        follower.on_tick(pump.now)
    follower.more(pump.now)
    assert follower.applied == applied + STEP_ENTRIES


# Batches


def batches(pump: Pump) -> list[int]:
    """The sizes of the batches that are on their way to n2."""
    sent = [m for _, to, m in pump.wire if to == "n2" and type(m) is AppendEntries]
    return [len(message.entries) for message in sent]


def test_with_few_entries_under_way_the_next_batch_goes_at_once() -> None:
    pump = Pump(3)
    pump.elect("n1")
    ask_many(pump, 0, MANY_UNDER_WAY - 1)
    ask_many(pump, 100, 1)
    assert batches(pump) == [MANY_UNDER_WAY - 1, 1]


def test_with_many_under_way_a_small_batch_waits_until_they_are_committed() -> None:
    pump = Pump(3)
    pump.elect("n1")
    ask_many(pump, 0, 10)
    ask_many(pump, 100, 3)
    ask_many(pump, 200, 3)
    assert batches(pump) == [10]
    pump.deliver_all()
    leader = pump.nodes["n1"]
    assert leader.consensus.uncommitted == 0 and leader.applied == leader.consensus.log.last_index
    assert leader.pending == 0, "all sixteen are answered"


def test_a_batch_as_large_as_what_is_under_way_goes() -> None:
    pump = Pump(3)
    pump.elect("n1")
    ask_many(pump, 0, 10)
    ask_many(pump, 100, 6)
    assert batches(pump) == [10]
    ask_many(pump, 200, 4)
    assert batches(pump) == [10, 10]


def test_where_commits_take_long_a_small_batch_waits_for_them_only_so_long() -> None:
    pump = Pump(3)
    pump.elect("n1")
    ask_many(pump, 0, 10)
    ask_many(pump, 100, 1)
    assert batches(pump) == [10]
    pump.now += PATIENCE_NS
    ask_many(pump, 200, 1)
    assert batches(pump) == [10, 2]


def test_a_batch_that_waits_goes_when_its_time_is_over_though_nothing_else_happens() -> None:
    """No client asks, no answer comes, and the next heartbeat is far away."""
    pump = Pump(3)
    pump.elect("n1")
    ask_many(pump, 0, 10)
    began = pump.now
    ask_many(pump, 100, 1)
    assert batches(pump) == [10]
    assert pump.timers["n1"] == began + PATIENCE_NS
    pump.now = pump.timers["n1"]
    pump._carry_out("n1", pump.nodes["n1"].on_tick(pump.now))
    assert batches(pump) == [10, 1]
    assert pump.timers["n1"] > pump.now, "nothing waits for a time that is over"


def test_a_batch_that_waited_and_lost_its_clients_sets_no_timer() -> None:
    pump = Pump(3)
    pump.elect("n1")
    ask_many(pump, 0, 10)
    ask_many(pump, 100, 1)
    pump.now += PATIENCE_NS
    pump._carry_out("n1", pump.nodes["n1"].on_disconnect(pump.now, 100))
    assert batches(pump) == [10]
    assert pump.timers["n1"] > pump.now


def test_a_full_batch_waits_for_nothing() -> None:
    """It cannot become as large as what is under way."""
    pump = Pump(3, config=ClusterConfig(batch_entries_max=4))
    pump.elect("n1")
    for first in (0, 100, 200):
        ask_many(pump, first, 4)
    assert batches(pump) == [4, 4, 4]
    ask_many(pump, 300, 3)
    assert batches(pump) == [4, 4, 4]
    ask_many(pump, 400, 1)
    assert batches(pump) == [4, 4, 4, 4]


# Bounds


def test_those_that_wait_are_counted_anew_when_the_bound_is_used_up() -> None:
    pump = Pump(3, config=ClusterConfig(pending_max=3))
    pump.elect("n1")
    for i in range(10):  # each is answered before the next comes
        assert pump.do("n1", put("x", i), seq=1, session=f"a{i}").status == "ok"
    pump.isolate("n1")
    ids = [pump.ask("n1", put("x", i), seq=1, session=f"b{i}") for i in range(5)]
    answers = [pump.answer(id) for id in ids]
    assert [a.status if a else "waits" for a in answers] == ["waits"] * 3 + ["retry"] * 2


def test_a_large_state_waits_until_the_log_has_grown_as_large() -> None:
    pump = Pump(1, config=ClusterConfig(snapshot_entries=10, snapshot_keep_entries=1))
    pump.run(1_000_000_000)
    node, size = pump.nodes["n1"], LARGE_BYTES // 10
    taken = []
    for number in range(60):
        before = node.consensus.snapshot_index
        ask_many(pump, number, 1, size=size)
        if node.consensus.snapshot_index != before:
            taken.append(number)
    # ten entries after the start; ten after that, when a snapshot was still small; then, of a
    # state of n values, n entries later
    gaps = [after - before for before, after in zip([0, *taken], taken)]
    assert gaps[0] <= 10 and gaps[1] == 10 and all(gap >= 18 for gap in gaps[2:]) and len(gaps) >= 3
    newest = node.consensus.snapshot_index
    pump.crash("n1")
    pump.restart("n1")
    pump.run(1_000_000_000)
    again = pump.nodes["n1"]
    assert again.applied > 60 and again.consensus.snapshot_index == newest


def test_nodes_with_a_large_state_do_not_all_take_their_snapshots_at_once() -> None:
    config = ClusterConfig(snapshot_entries=10, snapshot_keep_entries=1)
    pump, size = Pump(3, config=config), LARGE_BYTES // 10
    pump.elect("n1")
    taken: dict[str, list[int]] = {name: [] for name in pump.names}
    for number in range(120):
        ask_many(pump, number, 1, size=size)
        pump.deliver_all()
        for name, node in pump.nodes.items():
            index = node.consensus.snapshot_index
            if index and index not in taken[name][-1:]:
                taken[name].append(index)
    small = 2  # the first ones are of a small state
    late = [set(indexes[small:]) for indexes in taken.values()]
    assert all(late), taken
    assert not late[0] & late[1] and not late[0] & late[2] and not late[1] & late[2], taken
