"""Transactions in whole data nodes. Goal: histories are strict serializable while nodes crash and
come back, over real groups with real elections. Method: clients at random nodes append to lists and
read them; one node after the other crashes; this project's own checker judges."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from checkers.history import Event, History
from checkers.isolation import list_append
from cluster.config import MS, ClusterConfig
from cluster.simulation.sessions import Call, SimSession
from cluster.simulation.world import SECOND, World
from cluster.wire import Command

NODES = ("n1", "n2", "n3", "n4", "n5")
CONFIG = ClusterConfig(
    clock_offset_bound_ns=20 * MS,
    partition_slots=5,
    orphan_after_ns=500 * MS,
    close_lag_ns=200 * MS,
)


class Clients:
    """Clients of a world, and what they saw."""

    def __init__(self, world: World, rng: random.Random, until_ns: int, count: int = 4) -> None:
        self.world, self.rng, self.until_ns = world, rng, until_ns
        self.events: list[Event] = []
        self.sessions: dict[str, SimSession] = {}
        self.later: list[tuple[int, Callable[[], None]]] = []
        self.written = 0
        for number in range(count):
            self.next(f"c{number}", 0)

    def next(self, name: str, life: int) -> None:
        """One transaction; the next one follows, under a new name if its outcome is unknown."""
        if self.world.heap.now_ns > self.until_ns:
            return
        me, operations = f"{name}.{life}", self.operations()
        if me not in self.sessions:
            self.sessions[me] = self.world.session(me, prefer=self.rng.choice(NODES))
        session = self.sessions[me]
        self.note(me, "invoke", operations)

        def done(call: Call) -> None:
            kind = "info" if call.status == "unknown" else call.status
            self.note(me, kind, call.value if kind == "ok" else operations, call.error)
            at = self.world.heap.now_ns + self.rng.randint(1, 20) * MS
            self.later.append((at, lambda: self.next(name, life + (kind == "info"))))

        command = Command("txn-run", "", (operations,))
        session.submit(command, timeout_ns=2 * SECOND, done=done)

    def operations(self) -> list[list[Any]]:
        made: list[list[Any]] = []
        for _ in range(self.rng.randint(1, 4)):
            key = f"k{self.rng.randrange(4)}"
            if self.rng.random() < 0.5:
                made.append(["r", key, None])
            else:
                self.written += 1
                made.append(["append", key, self.written])
        return made

    def note(self, process: str, kind: str, value: Any, error: str = "") -> None:
        now_ns = self.world.heap.now_ns
        self.events.append(Event(0, now_ns, process, kind, "txn", None, value, None, error or None))

    def run(self, duration_ns: int) -> None:
        end_ns = self.world.heap.now_ns + duration_ns
        while self.world.heap.now_ns < end_ns:
            self.world.run_for(5 * MS)
            due = [each for each in self.later if each[0] <= self.world.heap.now_ns]
            self.later = [each for each in self.later if each[0] > self.world.heap.now_ns]
            for _, action in due:
                action()


@pytest.mark.parametrize("seed", [1])
def test_histories_of_whole_nodes_are_strict_serializable(seed: int) -> None:
    world = World(seed=seed, nodes=NODES, role="data", config=CONFIG)
    world.run_for(1_500 * MS)
    rng = random.Random(seed)
    clients = Clients(world, rng, until_ns=world.heap.now_ns + 1_300 * MS)
    clients.run(300 * MS)
    node = rng.choice(NODES)
    world.crash(node)
    clients.run(rng.randint(200, 500) * MS)
    world.restart(node)
    clients.run(2_500 * MS)
    done = sum(event.type == "ok" for event in clients.events)
    assert done >= 60, f"only {done} transactions committed"
    result = list_append()(History.from_events(clients.events))
    assert result.valid, result.reason
    assert world.violations == []
