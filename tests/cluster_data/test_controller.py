"""The controller and its nodes around an ideal core: first map, deaths, joins, requests, faults."""

from __future__ import annotations

import pytest
from placement_world import HonestGroup, MachineGroup, Node, World

from cluster.config import MS
from cluster.data.partition_record import Layout
from cluster.data.size_policy import SizeLimits
from cluster.wire import Command

KEYS = [f"k{n:02d}" for n in range(40)]
S = 1_000 * MS
RANGES = Layout(scheme="ranges", splits=("k10", "k20", "k30"))


def settle(world: World, *, within_ns: int = 60 * S) -> None:
    """Run until all is done, and a while more in which nothing may begin again."""
    assert world.run(world.now_ns + within_ns, stop=world.settled), world.partitions()
    world.run(world.now_ns + 2 * TTL)
    assert world.run(world.now_ns + within_ns, stop=world.settled), world.partitions()


TTL = 1 * S


def started(seed: int = 1, **options: object) -> World:
    world = World(seed, **options)  # type: ignore[arg-type]
    settle(world)
    return world


def moves(world: World) -> int:
    """Moves that were ever begun."""
    return sum(op == "p-adopt" for _, op in world.asked)


def test_a_new_cluster_gives_every_group_its_share_and_moves_nothing() -> None:
    world = started()
    assert world.counts() == {f"g-n{n}": 2 for n in range(1, 6)}
    assert moves(world) == 0
    assert len(world.controllers()) == 1
    for node in world.living():
        assert node.placement.ready
        assert all(node.placement.route(key) is not None for key in KEYS)
    world.check_end()


def test_without_faults_no_change_is_asked_for_in_vain() -> None:
    world = started(layout=RANGES)
    stood = [name for name, command in world.refused if command.args[1][0][1] == "controller"]
    assert len(stood) == len(world.refused) < len(world.nodes)  # others that stood for election
    world.refused.clear()
    world.crash(next(node.name for node in world.living() if not node.controller.token))
    world.request(world.controllers()[0].name, "partition-split", "k15")
    world.run(world.now_ns + 3 * S)
    world.request(world.controllers()[0].name, "partition-merge", "k10")
    world.run(world.now_ns + 3 * S)
    settle(world)
    assert moves(world) > 0 and world.refused == []


def test_a_small_page_gives_the_same_map() -> None:
    world = started(page=3)
    assert all(node.placement.owners() == world.nodes["n1"].placement.owners()
               for node in world.living())  # fmt: skip
    assert len(world.nodes["n1"].placement.partitions) == 10


def test_the_partitions_of_a_dead_node_move_and_come_back() -> None:
    world = started()
    world.load(KEYS, world.now_ns + 20 * S)
    world.crash("n3")
    assert world.run(world.now_ns + 30 * S, stop=lambda: "g-n3" not in world.counts())
    settle(world)
    assert sorted(world.counts().values()) == [2, 2, 3, 3]
    began = moves(world)
    world.restart("n3")
    assert world.run(world.now_ns + 30 * S, stop=lambda: world.counts().get("g-n3") == 2)
    settle(world)
    assert world.counts() == {f"g-n{n}": 2 for n in range(1, 6)}
    assert moves(world) - began == 2
    world.check_end()


def test_a_node_that_joins_gets_a_group_and_its_share() -> None:
    world = started(layout=Layout(slots=12))
    world.load(KEYS, world.now_ns + 10 * S)
    world.restart("n6")
    assert world.run(world.now_ns + 30 * S, stop=lambda: world.counts().get("g-n6") == 2)
    settle(world)
    assert sorted(world.counts().values()) == [2] * 6
    assert world.core.value("groups/g-n6") == {"members": ["n6", "n1", "n2"]}
    assert all(node.placement.groups["g-n6"] == ("n6", "n1", "n2") for node in world.living())
    world.check_end()


def test_a_controller_that_dies_is_followed_by_another() -> None:
    world = started()
    first = world.controllers()[0]
    world.crash(first.name)
    assert world.run(world.now_ns + 20 * S, stop=lambda: bool(world.controllers()))
    second = world.controllers()[0]
    assert second.name != first.name
    assert second.controller.token > first.controller.token
    settle(world)
    assert f"g-{first.name}" not in world.counts()
    world.check_end()


def test_a_new_controller_moves_what_it_saw_die_at_once_and_waits_for_what_it_never_saw() -> None:
    world = started()
    first = world.controllers()[0]
    died_ns = world.now_ns
    world.crash(first.name)
    assert world.run(world.now_ns + 20 * S, stop=lambda: f"g-{first.name}" not in world.counts())
    # its lease and the margin, and a while to elect another and to move
    assert world.now_ns - died_ns < TTL * 5 // 4 + 500 * MS
    for node in world.living():
        world.crash(node.name)
    world.run(world.now_ns + 5 * S)  # all leases are over
    world.asked.clear()
    for node in list(world.nodes.values()):  # one after the other, within the grace period
        world.restart(node.name)
        world.run(world.now_ns + 150 * MS)
    settle(world)
    assert world.counts() == {f"g-n{n}": 2 for n in range(1, 6)}
    assert moves(world) == 2  # those of the first controller come back


# -- what operators want ---------------------------------------------------------------------------


def test_a_range_is_split_and_merged_on_request() -> None:
    world = started(layout=RANGES)
    world.load(KEYS, world.now_ns + 8 * S)
    split = world.request("n2", "partition-split", "k15")
    settle(world)
    assert split == [("ok", "")]
    assert {each["low"] for each in world.partitions().values()} == {
        "", "k10", "k15", "k20", "k30",
    }  # fmt: skip
    again = world.request("n4", "partition-split", "k15")
    settle(world)
    assert again == [("ok", "")] and len(world.partitions()) == 5
    merge = world.request("n5", "partition-merge", "k20")
    settle(world)
    assert merge == [("ok", "")]
    assert {each["low"] for each in world.partitions().values()} == {"", "k10", "k15", "k30"}
    world.check_end()
    assert not world.core.machine.read(Command("range", "requests/"))[1]["items"]


def test_a_partition_that_an_operator_moved_stays_there() -> None:
    world = started()
    assert world.partitions()["p00000"]["group"] == "g-n1"
    moved = world.request("n1", "partition-move", "p00000", "g-n4")
    settle(world)
    assert moved == [("ok", "")]
    assert world.partitions()["p00000"]["group"] == "g-n4"
    world.crash("n4")  # a home that is gone keeps nothing
    assert world.run(world.now_ns + 30 * S, stop=lambda: "g-n4" not in world.counts())
    settle(world)
    world.check_end()


@pytest.mark.parametrize(
    ("layout", "op", "key", "args", "why"),
    [
        (Layout(slots=4), "partition-split", "k15", (), "fixed partitions are neither split"),
        (RANGES, "partition-merge", "", (), "that is no split point"),
        (RANGES, "partition-move", "p9", ("g-n1",), "there is no partition 'p9'"),
        (RANGES, "partition-move", "p00000", ("g-n9",), "there is no group 'g-n9'"),
        (RANGES, "partition-move", "p00000", (), "takes group after the key"),
        (RANGES, "partition-split", "", (), "it is not cut at ''"),
    ],
)
def test_what_cannot_be_done_is_said(
    layout: Layout, op: str, key: str, args: tuple[str, ...], why: str
) -> None:
    world = started(layout=layout)
    before = world.partitions()
    told = world.request("n3", op, key, *args)
    settle(world)
    assert len(told) == 1 and told[0][0] == "fail" and why in told[0][1]
    assert world.partitions() == before


def test_ranges_are_split_where_they_grow_and_merged_where_they_shrink() -> None:
    limits = SizeLimits(split_keys=12, merge_keys=4, poll_ns=500 * MS)
    world = started(layout=Layout(scheme="ranges", splits=("x", "y", "z")), limits=limits)
    # x to y, y to z and z to the end hold nothing: they become one with their neighbours
    assert len(world.partitions()) == 1
    world.load(KEYS, world.now_ns + 10 * S)
    world.run(world.now_ns + 12 * S)
    settle(world)
    sizes = [len(values) for group in world.groups.values() for values in group.values.values()]
    assert sum(sizes) == len(KEYS)
    assert max(sizes) <= 12
    assert 3 < len(world.partitions()) < 9
    world.check_end()


def test_a_busy_range_is_split() -> None:
    limits = SizeLimits(split_keys=1_000, merge_keys=0, split_writes=40, poll_ns=500 * MS)
    world = started(layout=Layout(scheme="ranges"), limits=limits)
    assert len(world.partitions()) == 1
    world.load(KEYS, world.now_ns + 3 * S)  # 66 a second
    world.run(world.now_ns + 4 * S)
    settle(world)
    assert len(world.partitions()) in (2, 3)
    world.check_end()


# -- a controller that crashes ---------------------------------------------------------------------

#: parts of which even a small partition needs some
SMALL = {"part_bytes": 20}
#: everything a controller asks of groups in a move, a split and a merge, in order, and the changes
#: of the map between: (operation, which one of the kind, counted from the request on)
STEPS: dict[str, list[tuple[str, int]]] = {
    "move": [("txn", 1), ("p-freeze", 1), ("p-export", 1), ("p-adopt", 1), ("txn", 2),
             ("p-drop", 1), ("txn", 3)],
    "parts": [("p-export", 2), ("p-receive", 1), ("p-receive", 2), ("p-adopt", 1)],
    "split": [("txn", 1), ("p-split", 1), ("txn", 2)],
    "merge": [("txn", 1), ("p-freeze", 1), ("p-adopt", 1), ("txn", 2), ("p-drop", 1), ("txn", 3),
              ("txn", 4), ("p-merge", 1), ("txn", 5)],
}  # fmt: skip
WANTED: dict[str, tuple[Layout, tuple[str, ...]]] = {
    "move": (Layout(slots=5), ("partition-move", "p00001", "g-n4")),
    "parts": (Layout(slots=5), ("partition-move", "p00001", "g-n4")),
    "split": (RANGES, ("partition-split", "k25")),
    "merge": (RANGES, ("partition-merge", "k20")),
}
CRASHES = [(kind, *step) for kind, steps in STEPS.items() for step in steps]


def elsewhere(controller: Node, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """A request that moves nothing to the controller's home, which is about to die."""
    return tuple("g-n3" if word == f"g-{controller.name}" else word for word in wanted)


@pytest.mark.parametrize("fate", ["lose-question", "lose-answer"])
@pytest.mark.parametrize(("kind", "op", "nth"), CRASHES, ids=lambda part: str(part))
def test_a_controller_that_crashes_at_a_step_leaves_nothing_undone(
    kind: str, op: str, nth: int, fate: str
) -> None:
    layout, wanted = WANTED[kind]
    world = started(layout=layout, **SMALL if kind == "parts" else {})
    world.load(KEYS, world.now_ns + 6 * S)
    world.run(world.now_ns + S)
    controller = world.controllers()[0]
    wanted = elsewhere(controller, wanted)
    seen: list[str] = []
    crashed: list[str] = []

    def crash_at(node: Node, group: str, command: Command) -> str:
        if node is not controller or crashed:
            return ""
        seen.append(command.op)
        if command.op == op and seen.count(op) == nth:
            crashed.append(command.op)
            world.at(world.now_ns, lambda: world.crash(node.name))
            return fate
        return ""

    world.on_ask = crash_at
    asked_at = next(node.name for node in world.living() if node is not controller)
    told = world.request(asked_at, *wanted)
    world.run(world.now_ns + 4 * S)
    assert crashed, f"the controller never came to {op} {nth}: {seen}"
    world.restart(controller.name)
    world.run(world.now_ns + 2 * S)
    settle(world)
    assert told == [("ok", "")]
    done = world.partitions()
    if kind in ("move", "parts"):
        assert done["p00001"]["group"] == wanted[2]
    elif kind == "split":
        assert {each["low"] for each in done.values()} == {"", "k10", "k20", "k25", "k30"}
    else:
        assert {each["low"] for each in done.values()} == {"", "k10", "k30"}
    world.check_end()


# -- two controllers -------------------------------------------------------------------------------


#: what the new controller is asked to do afterwards, so that the old one's steps meet later epochs
AFTERWARDS: dict[str, list[tuple[str, ...]]] = {
    "move": [("partition-move", "p00001", "g-n2"), ("partition-move", "p00001", "g-n4")],
    "parts": [("partition-move", "p00001", "g-n2"), ("partition-move", "p00001", "g-n4")],
    "split": [("partition-merge", "k25"), ("partition-move", "p00002", "g-n5")],
    "merge": [("partition-split", "k20"), ("partition-move", "p00001", "g-n2")],
}


@pytest.mark.parametrize(("kind", "op", "nth"), CRASHES, ids=lambda part: str(part))
def test_a_deposed_controller_that_goes_on_changes_nothing(kind: str, op: str, nth: int) -> None:
    """Its clock is slow, so it believes in its lease, and it hears of the map no more. One of its
    steps arrives when the next controller has done all that, and more."""
    layout, wanted = WANTED[kind]
    small = SMALL if kind == "parts" else {}
    world = started(layout=layout, groups=MachineGroup, **small)
    world.load(KEYS, world.now_ns + 20 * S, every_ns=40 * MS)
    world.run(world.now_ns + S)
    old = world.controllers()[0]
    world.hold_ns = 16 * S
    seen: list[str] = []
    deaf: list[str] = []

    def deafen(node: Node, group: str, command: Command) -> str:
        if node is not old:
            return ""
        seen.append(command.op)
        if not deaf and command.op == op and seen.count(op) == nth:
            deaf.append(op)
            old.run_at(0.02)
            return "hold"
        lost = deaf and command.op in ("watch", "range", "lease-renew")
        return "lose-question" if lost else ""

    world.on_ask = deafen
    token = old.controller.token
    others = [node for node in world.living() if node is not old]
    told = [world.request(others[0].name, *elsewhere(old, wanted))]
    world.run(world.now_ns + 2 * S)
    assert deaf, f"the controller never came to {op} {nth}: {seen}"
    for more in AFTERWARDS[kind]:
        world.run(world.now_ns + 4 * S)
        told.append(world.request(others[1].name, *elsewhere(old, more)))
    world.run(world.now_ns + 4 * S)
    new = world.controllers()[-1] if world.controllers()[0] is old else world.controllers()[0]
    assert old.controller.token == token < new.controller.token
    assert told == [[("ok", "")]] * 3
    before, asked = world.partitions(), len(world.asked)
    world.run(world.now_ns + 6 * S)  # now the step arrives, and the old one goes on from there
    went_on = [what for name, what in world.asked[asked:] if name == old.name]
    assert went_on and world.partitions() == before
    deaf.clear()
    world.on_ask = lambda node, group, command: ""
    old.run_at(1.0)
    world.run(world.now_ns + 3 * S)
    settle(world)
    assert len(world.controllers()) == 1 and old.controller.token == 0
    world.check_end()


# -- chance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [HonestGroup, MachineGroup])
@pytest.mark.parametrize("seed", range(5))
def test_all_ends_well_after_losses_crashes_cuts_and_slow_clocks(
    seed: int, groups: type[HonestGroup] | type[MachineGroup]
) -> None:
    layout = RANGES if seed % 2 else Layout(slots=8)
    limits = SizeLimits(split_keys=8, merge_keys=3, poll_ns=700 * MS) if seed % 4 == 1 else None
    world = World(seed, layout=layout, limits=limits, groups=groups, loss=0.1, intents_open=0.5)
    rng = world.rng
    world.rates = {name: rng.choice([1.0, 0.9, 1.1]) for name in world.nodes}
    world.load(KEYS, 25 * S, every_ns=25 * MS)
    for _ in range(8):
        world.run(world.now_ns + rng.randrange(500, 4_000) * MS)
        match rng.randrange(5):
            case 0 | 1:
                dead = [name for name, node in world.nodes.items() if not node.alive]
                world.restart(dead[0]) if dead else world.crash(rng.choice(list(world.nodes)))
            case 2:
                world.cut ^= {rng.choice(list(world.nodes))}
            case 3:
                name = rng.choice([node.name for node in world.living()])
                world.request(name, "partition-move", "p00000", f"g-n{rng.randrange(1, 6)}")
            case _:
                name = rng.choice([node.name for node in world.living()])
                op = rng.choice(["partition-split", "partition-merge"])
                world.request(name, op, rng.choice(KEYS))
    world.loss, world.intents_open = 0.0, 0.0
    world.cut.clear()
    for name, node in list(world.nodes.items()):
        if not node.alive:
            world.restart(name)
    world.run(max(world.now_ns, 26 * S))
    settle(world, within_ns=120 * S)
    counts = world.counts()
    pinned = sum(each["pinned"] for each in world.partitions().values())
    loads = [counts.get(f"g-n{n}", 0) for n in range(1, 6)]
    assert max(loads) - min(loads) <= 1 + pinned
    world.check_end()
    assert sum(len(items) for items in world.acked.values()) > 100
