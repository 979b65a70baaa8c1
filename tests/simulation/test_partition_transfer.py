"""A partition that is larger than the largest frame moves. Goal: it arrives whole, whatever frames
are lost and whichever controller carries it. Method: whole nodes over links that lose frames and
carry none above a few kilobytes, as real ones carry none above FRAME_BYTES_MAX."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.config import MS, ClusterConfig
from cluster.data.partition_copy import ADOPT, RECEIVE, PartitionCopy
from cluster.simulation.network import LinkFault
from cluster.simulation.world import SECOND, World
from cluster.wire import Command

NODES = ("n1", "n2", "n3", "n4")
FRAME_BYTES = 4_000
KEYS = [f"k{number:02}" for number in range(40)]
VALUE = "x" * 200


class Moving:
    """A world with one partition of 9 kB, and what is sent of it between nodes."""

    def __init__(self, part_bytes: int, *, loss: float = 0.0) -> None:
        config = ClusterConfig(
            clock_offset_bound_ns=5 * MS,
            batch_entries_max=1,
            partition_slots=1,
            partition_part_bytes=part_bytes,
            node_ttl_ns=(3_000 if loss else 600) * MS,  # a lease that ends moves partitions too
        )
        self.world = World(seed=3, nodes=NODES, role="data", config=config)
        self.too_large = 0
        links = [(a, b) for a in NODES for b in NODES if a != b]
        for link in links:
            self.world.network.link(*link).hold = self._is_too_large
        self.world.run_for(1_500 * MS)
        for first in range(0, len(KEYS), 8):
            self.do("txn-run", "", [["w", key, VALUE] for key in KEYS[first : first + 8]])
        self.world.network.set_links({link: LinkFault(loss=loss) for link in links})

    def _is_too_large(self, frame: Any) -> bool:
        """Whether a frame is swallowed."""
        large = len(msgspec.msgpack.encode(frame)) > FRAME_BYTES
        self.too_large += large
        return large

    def do(self, op: str, key: str, *args: Any, prefer: str = "n2") -> Any:
        call = self.world.session(f"c-{self.world.heap.now_ns}", prefer=prefer).submit(
            Command(op, key, args), timeout_ns=8 * SECOND
        )
        assert self.world.run_until(lambda: call.status != "", 10 * SECOND)
        assert call.status == "ok", call.error
        return call.value

    @property
    def row(self) -> Any:
        return self.do("partitions", "")["partitions"][0]

    @property
    def carrier(self) -> Any:
        """The core of the controller's node."""
        cores: list[Any] = [self.world.core(node) for node in NODES]
        return next(core for core in cores if core.controller.controller.token)

    def move(self) -> Any:
        """Ask for the move to a group that the controller does not lead: parts are sent."""
        carrier, here = self.carrier, self.row["group"]
        groups = [f"g-{node}" for node in NODES if f"g-{node}" != here]
        other = next(group for group in groups if not carrier.groups.leads(group))
        command = Command("partition-move", "p00000", (other,))
        return self.world.session("operator", prefer="n2").submit(command, timeout_ns=20 * SECOND)

    def check(self) -> None:
        """All values are there, and nothing broke."""
        self.world.network.set_links({})
        for first in range(0, len(KEYS), 8):
            asked = [["r", key, None] for key in KEYS[first : first + 8]]
            assert self.do("txn-run", "", asked) == [["r", key, VALUE] for _, key, _ in asked]
        assert self.world.violations == []


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where each part begins that a controller takes to the new group, in order."""
    offsets: list[int] = []
    filled = PartitionCopy.filled

    def noted(self: PartitionCopy, step: Command) -> Command:
        command = filled(self, step)
        if command.op in (RECEIVE, ADOPT):
            offsets.append(command.args[-2])
        return command

    monkeypatch.setattr(PartitionCopy, "filled", noted)
    return offsets


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_it_moves_in_parts_under_loss(loss: float, carried: list[int]) -> None:
    moving = Moving(1_000, loss=loss)
    before, call = moving.row, moving.move()
    assert moving.world.run_until(lambda: call.status != "", 20 * SECOND)
    assert call.status == "ok", call.error
    after = moving.row
    assert after["epoch"] == before["epoch"] + 1 and after["group"] != before["group"]
    assert moving.too_large == 0
    assert {*carried} == set(range(0, max(carried) + 1, 1_000)) and max(carried) >= 8_000
    moving.check()


def test_in_one_piece_it_would_never_move() -> None:
    moving = Moving(1 << 20)
    call = moving.move()
    assert not moving.world.run_until(lambda: call.status != "", 3 * SECOND)
    assert moving.too_large > 0


def test_another_controller_goes_on_where_the_last_one_stopped(carried: list[int]) -> None:
    moving = Moving(500)
    world = moving.world
    call = moving.move()
    assert world.run_until(lambda: len(carried) >= 8 or bool(call.status), 5 * SECOND)
    carrier, reached = moving.carrier.node, max(carried)
    assert call.status == "" and reached == 3_500
    world.crash(carrier)
    world.run_for(100 * MS)
    world.restart(carrier)
    carried.clear()
    assert world.run_until(lambda: has_moved(moving), 20 * SECOND)
    assert carried[0] == 0, "the first answer says how much is there"
    assert min(offset for offset in carried if offset) >= reached, carried
    moving.check()


def test_another_controller_finds_it_adopted(carried: list[int]) -> None:
    """The new group has all, and the map does not say so: nothing is left to carry."""
    moving = Moving(500)
    world = moving.world
    moving.move()
    carrier = moving.carrier.node
    assert world.run_until(lambda: is_adopted(moving, carrier), 20 * SECOND)
    assert not has_moved(moving)
    world.crash(carrier)
    world.run_for(100 * MS)
    world.restart(carrier)
    carried.clear()
    assert world.run_until(lambda: has_moved(moving), 20 * SECOND)
    assert len(carried) == 2 and carried[0] == 0, carried
    moving.check()


def is_adopted(moving: Moving, carrier: str) -> bool:
    """Whether a group has the partition at its new epoch, as a node has it beside the carrier."""
    for node in NODES:
        core: Any = moving.world.core(node)
        for group in core.groups.names if node != carrier else ():
            machine = core.groups.replica(group).state.machine
            held = getattr(machine, "store", None) and machine.store.ownership.held.get("p00000")
            if held and held.epoch == 2:
                return True
    return False


def has_moved(moving: Moving) -> bool:
    """Whether the map says that the partition has come."""
    cores: list[Any] = [moving.world.core(node) for node in NODES]
    maps = [core.placement.placement.partitions for core in cores if core is not None]
    return all("p00000" in each and each["p00000"].epoch == 2 for each in maps)
