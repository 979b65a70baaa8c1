"""White-box rules of role ``data``. Goal: each is broken by a machine that breaks it, and by none
that does not. Method: state machines driven by hand, in the place of replicas."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.clocks.hybrid_clock import HybridClock
from cluster.data.partition_machine import PartitionMachine
from cluster.simulation.data_invariants import DataInvariants
from cluster.wire import Command


class Broken(Exception):
    """An invariant broke; its name."""


def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
    raise Broken(name)


class Groups:
    """Two groups of one replica each, and the watch over them."""

    def __init__(self, scheme: str = "ranges") -> None:
        self.watch = DataInvariants(fail)
        self.machines = {"g-n1": PartitionMachine(), "g-n2": PartitionMachine()}
        whole = ("", None) if scheme == "ranges" else (0, 8)
        self.do("g-n1", "p-own", "p0", 1, scheme, *whole)

    def do(self, group: str, op: str, key: str, *args: Any) -> Any:
        machine = self.machines[group]
        status, value, error = machine.apply(machine.position + 1, Command(op, key, args))
        assert status == "ok", error
        self.watch.after("n1", group, machine)
        return value

    def export(self) -> Any:
        machine = self.machines["g-n1"]
        return machine.read(Command("p-export", "p0", (1, 0, 1 << 20)))[1]


def test_a_move_a_split_and_a_merge_break_nothing() -> None:
    made = Groups()
    made.do("g-n1", "p-freeze", "p0", 1)
    made.do("g-n2", "p-adopt", "p0", 2, "ranges", "", None, *made.export())
    made.do("g-n1", "p-drop", "p0", 1)
    made.do("g-n2", "p-split", "p0", 2, "m", "p0", "p1")
    made.do("g-n2", "p-merge", "p0", 3, "p1", 3, "p0")
    made.do("g-n2", "p-close", "", 100)


def test_two_groups_that_act_for_a_partition() -> None:
    made = Groups()
    frozen = Groups()
    frozen.do("g-n1", "p-freeze", "p0", 1)
    data = frozen.export()
    with pytest.raises(Broken, match="one-acting-owner"):
        made.do("g-n2", "p-adopt", "p0", 2, "ranges", "", None, *data)


@pytest.mark.parametrize("scheme", ["ranges", "slots"])
def test_two_groups_with_common_keys(scheme: str) -> None:
    made = Groups(scheme)
    bounds = ("m", "x") if scheme == "ranges" else (3, 4)
    with pytest.raises(Broken, match="one-acting-owner"):
        made.do("g-n2", "p-own", "p9", 1, scheme, *bounds)


def test_an_epoch_of_two_groups() -> None:
    made = Groups()
    made.do("g-n1", "p-freeze", "p0", 1)
    with pytest.raises(Broken, match="one-owner-per-epoch"):
        made.do("g-n2", "p-own", "p0", 1, "ranges", "", None)


@pytest.mark.parametrize("scheme", ["ranges", "slots"])
def test_keys_that_no_group_has(scheme: str) -> None:
    made = Groups(scheme)
    with pytest.raises(Broken, match="tiled"):
        made.do("g-n1", "p-drop", "p0", 1)


def test_what_goes_back() -> None:
    made = Groups()
    made.do("g-n1", "p-close", "", 100)
    machine = made.machines["g-n1"]
    machine.store.closed, machine.position = 50, machine.position + 1
    with pytest.raises(Broken, match="closed-backwards"):
        made.watch.after("n1", "g-n1", machine)
    other = Groups()
    other.do("g-n1", "p-split", "p0", 1, "m", "p0", "p1")
    machine = PartitionMachine()
    machine.store.ownership.take("p0", 1, "ranges", "", "m")
    machine.position = 99
    with pytest.raises(Broken, match="epoch-backwards"):
        other.watch.after("n1", "g-n1", machine)


def test_a_replica_that_lags_tells_nothing_new() -> None:
    made = Groups()
    made.do("g-n1", "p-close", "", 100)
    made.watch.after("n2", "g-n1", PartitionMachine())
    made.watch.after("n2", "g-n1", object())


def test_a_hybrid_clock_ahead_of_its_node() -> None:
    watch = DataInvariants(fail)
    hybrid = HybridClock(max_offset_ns=10, durable_ns=1_000)
    watch.clock("n1", hybrid, 500)  # it begins above its durable bound
    hybrid.last = 1_010
    watch.clock("n1", hybrid, 1_000)
    hybrid.last = 1_020
    with pytest.raises(Broken, match="clock-within-offset"):
        watch.clock("n1", hybrid, 1_009)
