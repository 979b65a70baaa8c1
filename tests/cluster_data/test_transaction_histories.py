"""Histories of transactions under faults. Goal: each isolation level is what it says, by this
project's own checkers. Method: seeded worlds with lost, late and doubled messages, coordinators
that crash, clocks that differ up to the bound, and partitions that move; then everything is quiet,
and no intent may be left. Two histories are of broken parts, so that the checkers are seen to look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from txn_world import EPOCH_NS, Client, Crasher, Mover, World, list_append_txns

from checkers.core.verdict import Result
from checkers.isolation import list_append, rw_register
from cluster.clocks.clock_bound_wait import ClockBoundWait
from cluster.config import MS
from cluster.data.partition_machine import PartitionParts
from cluster.data.timestamp_cache import TimestampCache
from cluster.data.transaction_part import TransactionParts

Make = Callable[[], "list[list[Any]] | None"]


def played(
    world: World, make: Make, *, clients: int = 6, interactive: float = 0.3, **options: Any
) -> World:
    """Clients, crashes and moves, and then quiet; no intent is left."""
    for number in range(clients):
        Client(world, f"c{number}", make, interactive=interactive, options=options)
    Mover(world, 300 * MS)
    Crasher(world, until_ns=2_000 * MS)
    world.run(8_000 * MS)
    for name, group in world.data.items():
        assert not group.machine.participant.prepared, f"{name} has intents left"
    return world


def judged(seed: int, level: str, model: str, **parts: Any) -> Result:
    world = World(seed, **parts)
    played(world, list_append_txns(world, 4, 120), isolation=level)
    done = sum(event.type == "ok" for event in world.events)
    assert done >= 40, f"only {done} transactions committed"
    return list_append(consistency_models=(model,))(world.history())


@pytest.mark.parametrize("seed", range(6))
def test_strict_serializable(seed: int) -> None:
    result = judged(seed, "strict-serializable", "strict-serializable")
    assert result.valid, result.reason


@pytest.mark.parametrize("seed", range(20, 23))
def test_snapshot_isolation(seed: int) -> None:
    result = judged(seed, "snapshot-isolation", "strong-snapshot-isolation")
    assert result.valid, result.reason


@pytest.mark.parametrize("seed", range(30, 33))
def test_read_committed(seed: int) -> None:
    result = judged(seed, "read-committed", "read-committed")
    assert result.valid, result.reason


@pytest.mark.parametrize("seed", range(40, 43))
def test_registers_are_strict_serializable(seed: int) -> None:
    world = World(seed)
    lists = list_append_txns(world, 5, 120)

    def make() -> list[list[Any]] | None:
        operations = lists()
        if operations is None:
            return None
        return [["w" if kind == "append" else kind, key, value] for kind, key, value in operations]

    result = rw_register()(played(world, make).history())
    assert result.valid, result.reason


def test_snapshot_isolation_is_not_serializable() -> None:
    """The positive control: the checker finds write skew among transactions that allow it."""
    kinds = set()
    for seed in range(3):
        result = judged(seed, "snapshot-isolation", "serializable")
        kinds |= {finding.kind for finding in result.findings}
    assert any(kind.startswith(("G2", "G-")) for kind in kinds)


def test_without_the_wait_it_is_serializable_and_not_strictly() -> None:
    wait = type("Hasty", (ClockBoundWait,), {"waits_for_clock_bound": lambda self, wall, at: False})
    parts = TransactionParts(wait=wait)
    assert judged(5, "strict-serializable", "serializable", transaction_parts=parts).valid
    assert not judged(
        5, "strict-serializable", "strict-serializable", transaction_parts=parts
    ).valid


def test_without_the_timestamp_cache_write_skew_is_found() -> None:
    cache = type("Forgetful", (TimestampCache,), {"served_at": lambda self, key: 0})
    parts = PartitionParts(cache=cache)
    valid = [
        judged(seed, "strict-serializable", "serializable", partition_parts=parts).valid
        for seed in range(6)
    ]
    assert not all(valid)


# -- money -----------------------------------------------------------------------------------------

ACCOUNTS = [f"account{n}" for n in range(5)]
TOTAL = 100


class Bank:
    """Transfers step by step, and reads of all accounts of every kind; each must show the total."""

    def __init__(self, world: World, transfers: int) -> None:
        self.world, self.left = world, transfers
        self.reads: dict[str, int] = {}
        self.moved = 0
        share = TOTAL // len(ACCOUNTS)
        assert world.run_txn("n1", [["w", each, share] for each in ACCOUNTS])[0] == "ok"
        world.run(400 * MS)
        for _ in range(3):
            self.transfer()
        for kind in ("run", "scan", "bounded"):
            self.read(kind)

    def node(self) -> str:
        return self.world.rng.choice(sorted(self.world.nodes))

    def later(self, action: Callable[[], None]) -> None:
        self.world.after(self.world.rng.randint(0, 5 * MS), action)

    def transfer(self) -> None:
        self.left -= 1
        if self.left < 0:
            return
        world, node = self.world, self.node()
        one, other = world.rng.sample(ACCOUNTS, 2)
        amount = world.rng.randint(1, 5)
        held: dict[str, int] = {}

        def step(number: int, value: Any) -> None:
            txn = held["txn"]
            if number == 1:
                ask("txn-read", txn, (one,), lambda value: step(2, value))
            elif number == 2:
                held[one] = value
                ask("txn-read", txn, (other,), lambda value: step(3, value))
            elif number == 3:
                held[other] = value
                ask("txn-write", txn, (one, held[one] - amount), lambda value: step(4, value))
            elif number == 4:
                ask("txn-write", txn, (other, held[other] + amount), lambda value: step(5, value))
            elif number == 5:
                ask("txn-commit", txn, (), lambda value: step(6, value))
            else:
                self.moved += 1
                self.later(self.transfer)

        def begun(value: Any) -> None:
            held["txn"] = value["txn"]
            step(1, None)

        def ask(op: str, key: str, args: tuple[Any, ...], then: Callable[[Any], None]) -> None:
            def told(response: Any) -> None:
                if response is not None and response.status == "ok":
                    then(response.value)
                else:
                    self.later(self.transfer)

            world.ask(node, op, key, args, then=told)

        ask("txn-begin", "", (), begun)

    def read(self, kind: str) -> None:
        if self.left < 0:
            return
        operations = [["r", each, None] for each in ACCOUNTS]
        if kind == "scan":
            operations = [["scan", ["account", "accounu"], None]]
        options = {"staleness_ns": 250 * MS} if kind == "bounded" else {}

        def told(response: Any) -> None:
            if response is not None and response.status == "ok":
                found = response.value[0][2] if kind == "scan" else response.value
                total = sum(row[-1] for row in found)
                assert total == TOTAL, f"a {kind} read shows {found}"
                self.reads[kind] = self.reads.get(kind, 0) + 1
            self.later(lambda: self.read(kind))

        self.world.ask(self.node(), "txn-run", "", (operations, options), then=told)


@pytest.mark.parametrize("seed", range(50, 54))
def test_every_read_of_a_bank_shows_its_total(seed: int) -> None:
    world = World(seed)
    bank = Bank(world, 120)
    Mover(world, 300 * MS)
    Crasher(world, until_ns=world.now + 1_500 * MS)
    world.run(5_000 * MS)
    assert bank.moved >= 30
    assert min(bank.reads[kind] for kind in ("run", "scan", "bounded")) >= 5, bank.reads


def test_a_bounded_read_is_served_by_any_node_without_its_leader() -> None:
    world = World(60, faults=False)
    world.run_txn("n1", [["w", "a", 1], ["w", "b", 2]])
    world.run(400 * MS)
    modes: list[str] = []
    asked = world.asked

    def noting(node: Any, token: int, group: str, command: Any, mode: str, timeout: int) -> None:
        if command.op.startswith(("p-read", "p-scan", "p-prepare")):
            modes.append(f"{command.op} {mode}")
        asked(node, token, group, command, mode, timeout)

    world.asked = noting  # type: ignore[method-assign]
    read = [["r", "a", None], ["scan", ["a", "c"], None]]
    status, value, _ = world.run_txn("n2", read, staleness_ns=200 * MS)
    assert (status, value[0][2], value[1][2]) == ("ok", 1, [["a", 1], ["b", 2]])
    assert set(modes) == {"p-read stale", "p-scan stale"}, "no leader is asked, nothing validated"
    modes.clear()
    assert world.run_txn("n2", read, staleness_ns=1 * MS)[0] == "ok"
    assert "p-read linearizable" in modes and "p-prepare linearizable" in modes
    status, _, error = world.run_txn("n2", [["w", "a", 1]], staleness_ns=MS)
    assert (status, error) == ("fail", "a transaction that may read what is old cannot write")


def test_timestamps_of_commits_are_close_to_physical_time() -> None:
    world = World(61, faults=False)
    txn = world.do("n1", "txn-begin")[1]["txn"]
    world.do("n1", "txn-write", txn, ("a", 1))
    timestamp = world.do("n1", "txn-commit", txn)[1]["timestamp"]
    assert abs(timestamp - EPOCH_NS - world.now) < 100 * MS
