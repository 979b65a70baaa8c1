"""Role ``data`` in the simulated world: many groups per node under faults, invariants of each.

The parts of a data node are asked for by a small one of these tests, which asks groups again and
again and holds what it was told against what the groups' machines hold in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import ClusterConfig
from cluster.core.parts import CONSENSUS, ReplicaParts
from cluster.data.node import DataNode
from cluster.data.parts import DataParts, PartSetting
from cluster.ports import Append, Effect, Recovered, Send
from cluster.simulation.damaging import damage
from cluster.simulation.group_invariants import GroupInvariants, group_view
from cluster.simulation.invariants import view_of_status
from cluster.simulation.liveness import settle
from cluster.simulation.network import LinkFault
from cluster.simulation.reference import reference_view
from cluster.simulation.swarm import SwarmRun, run_swarm
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command, Entry, Grouped, HardState, VoteReply
from harness.campaign.explore import conclude

NODES = ("n1", "n2", "n3", "n4", "n5")
GROUPS = ("core", "g-n1", "g-n2", "g-n3", "g-n4", "g-n5")


# -- random profiles


@pytest.mark.parametrize("seed", [4, 5, 11])
def test_random_profiles_find_nothing(seed: int) -> None:
    outcome, _ = conclude(run_swarm(seed, role="data", nodes=5, duration_ns=3 * SECOND))
    assert outcome.verdict.exit_code == 0, outcome.line
    assert outcome.ops_ok > 10


@pytest.mark.parametrize("seed", [15, 16])
def test_damaged_disks_are_repaired_group_by_group(seed: int) -> None:
    """15 and 16 gave a group the log of another, with a vote for a stranger."""
    faults = ("crash", "disk-damage", "partition")
    run = run_swarm(seed, role="data", nodes=5, faults=faults)
    outcome, _ = conclude(run)
    assert outcome.verdict.exit_code == 0, outcome.line
    assert run.injected["disk-damage"] > 0


@pytest.mark.parametrize("consensus", ["zab", "multi-paxos", "viewstamped"])
def test_groups_of_any_consensus_are_repaired(consensus: str) -> None:
    faults = ("crash", "disk-damage", "partition")
    run = run_swarm(1, role="data", nodes=5, consensus=consensus, faults=faults)
    outcome, _ = conclude(run)
    assert outcome.verdict.exit_code == 0, outcome.line
    assert run.injected["disk-damage"] > 0


@pytest.mark.parametrize("consensus", ["zab", "multi-paxos", "viewstamped"])
def test_groups_run_any_consensus(consensus: str) -> None:
    run = run_swarm(1, role="data", nodes=5, consensus=consensus, duration_ns=2 * SECOND)
    outcome, _ = conclude(run)
    assert outcome.verdict.exit_code == 0, outcome.line


@pytest.mark.slow
def test_many_random_profiles_find_nothing() -> None:
    for seed in range(300):
        outcome, _ = conclude(run_swarm(seed, role="data", nodes=5))
        assert outcome.verdict.exit_code == 0, outcome.line


def _short(seed: int) -> SwarmRun:
    return run_swarm(seed, role="data", nodes=5, duration_ns=SECOND // 2)


def test_a_seed_is_the_same_run_again() -> None:
    first, again, other = (_short(seed) for seed in (2, 2, 6))
    assert first.trace_hash == again.trace_hash != other.trace_hash


# -- a quiet cluster


def bare(seed: int = 1, parts: DataParts = DataParts(), **options: Any) -> World:  # noqa: B008
    """Five nodes that host groups of the key-value machine, with these parts above."""
    return World(
        seed=seed, nodes=NODES, role="data", core=factory(parts),
        view_of=group_view(reference_view), **options,
    )  # fmt: skip


def quiet(seed: int = 1, **options: Any) -> World:
    """Five bare nodes, each group led."""
    world = bare(seed, **options)
    assert world.run_until(lambda: all(leader_of(world, group) for group in GROUPS), 10 * SECOND)
    world.run_for(200 * MS)
    return world


def row(world: World, node: str, group: str) -> dict[str, Any] | None:
    rows = (world.status(node) or {"groups": []})["groups"]
    return next((each for each in rows if each["group"] == group), None)


def leader_of(world: World, group: str) -> str:
    for node in world.nodes:
        if (row(world, node, group) or {"role": ""})["role"] == "leader":
            return node
    return ""


def test_each_group_has_three_members_in_the_ring_and_one_leader() -> None:
    world = quiet()
    members = {g: [n for n in NODES if row(world, n, g)] for g in GROUPS}
    assert members == {
        "core": ["n1", "n2", "n3"], "g-n1": ["n1", "n2", "n3"], "g-n2": ["n2", "n3", "n4"],
        "g-n3": ["n3", "n4", "n5"], "g-n4": ["n1", "n4", "n5"], "g-n5": ["n1", "n2", "n5"],
    }  # fmt: skip
    for group in GROUPS:
        told = {row(world, node, group)["leader"] for node in members[group]}  # type: ignore[index]
        assert told == {leader_of(world, group)}
    status = world.status("n4")
    assert status is not None
    assert (status["role"], status["applied"], status["leader"][:1]) == ("data", 0, "n")
    assert [each["group"] for each in status["groups"]] == ["g-n2", "g-n3", "g-n4"]


def test_idle_groups_cost_their_heartbeats() -> None:
    """Six idle groups cost six times the events of one, and a little for the clocks' bounds."""
    core = World(seed=1)
    core.run_for(5 * SECOND)
    data = bare()
    data.run_for(5 * SECOND)
    one, six = core.run_for(10 * SECOND), data.run_for(10 * SECOND)
    assert six < 6.6 * one, (six, one)


def test_a_client_is_served_through_every_node() -> None:
    world = quiet()
    for node in NODES:
        call = world.session(f"c-{node}", prefer=node).submit(Command("incr", "x", (1,)))
        assert world.run_until(lambda call=call: bool(call.status), 10 * SECOND)  # type: ignore[misc]
        assert call.status == "ok"
    call = world.session("reader", prefer="n5").submit(Command("get", "x"))
    assert world.run_until(lambda: bool(call.status), 10 * SECOND)
    assert call.value == len(NODES)


@pytest.mark.parametrize("node", ["n1", "n5"])
@pytest.mark.parametrize(
    "command, why",
    [
        (Command("txn-begin", ""), "has no coordinator"),
        (Command("add-learner", "n6"), "the members of a group stay those of its founding"),
    ],
)
def test_what_no_part_does_is_refused_with_a_sentence(
    node: str, command: Command, why: str
) -> None:
    world = quiet()
    call = world.session("c1", prefer=node).submit(command)
    assert world.run_until(lambda: bool(call.status), 10 * SECOND)
    assert call.status == "fail" and why in call.error


def test_all_nodes_restart_with_what_their_groups_had() -> None:
    world = quiet()
    call = world.session("c1").submit(Command("put", "x", (1,)))
    assert world.run_until(lambda: bool(call.status), 10 * SECOND)
    before = {group: row(world, leader_of(world, group), group) for group in GROUPS}
    for node in NODES:
        world.crash(node, torn=True)
    for node in NODES:
        assert world.restart(node)
    assert settle(world).ok
    for group, was in before.items():
        now = row(world, leader_of(world, group), group)
        assert was is not None and now is not None
        assert now["generation"] > was["generation"] and now["applied"] > was["applied"]


def test_a_node_without_room_hands_over_every_group_it_leads() -> None:
    world = quiet(config=ClusterConfig(segment_bytes=20_000))
    victim = max(NODES, key=lambda node: len((world.status(node) or {"leads": []})["leads"]))
    led = (world.status(victim) or {})["leads"]
    assert len(led) >= 2, led
    world.set_disk(victim, {"full": True})
    world.run_for(3 * SECOND)
    assert world.alive(victim)
    assert [group for group in led if leader_of(world, group) in ("", victim)] == []


def test_damage_in_one_group_leaves_the_others_voting() -> None:
    world = quiet()
    done = damage(world, "n3", "lost-tail", world.rng("test"))
    assert done is not None
    group = done.file.partition("@")[0]
    assert world.restart("n3")
    told = [n for _, node, n in world.notes if node == "n3" and n.event == "recovering"]
    assert [note.detail["group"] for note in told] == ([group] if group in GROUPS else [])
    assert settle(world).ok
    assert "n3" not in world.atlas.damaged


def test_only_one_member_of_a_group_is_damaged_at_a_time() -> None:
    """Two of five nodes are a minority, and may be two of the three members of a group."""
    world = quiet()
    assert damage(world, "n1", "lost-tail", world.rng("test")) is not None
    assert damage(world, "n2", "lost-tail", world.rng("test")) is None


def test_a_node_is_blank_until_each_of_its_groups_has_a_memory() -> None:
    world = World(seed=1, nodes=NODES, role="data", consensus="viewstamped")
    assert ("n3", "g-n2") in world.atlas.blank and not world.atlas.allows("n3")
    world.run_for(2 * SECOND)
    assert world.atlas.blank == set() and world.atlas.allows("n3")
    world.crash("n3")
    assert world.restart("n3") and world.atlas.blank == set()


# -- a part that asks


class Asker:
    """A part of a data node that appends to a key of each group, and remembers what it was told."""

    def __init__(self, setting: PartSetting) -> None:
        self.node, self.services = setting.node, setting.services
        self.tokens: dict[int, tuple[str, str]] = {}
        self.told: list[tuple[str, str, str]] = []
        self.asked = 0
        self.deadline_ns = NEVER_NS
        self.asking = False
        self.life = setting.rng.between(1, 1 << 40)

    def start(self, now_ns: int) -> list[Effect]:
        self.deadline_ns = now_ns
        return []

    def tick(self, now_ns: int) -> list[Effect]:
        self.asking = True
        for group in GROUPS:
            self.asked += 1
            item = f"{self.node}-{self.life}-{self.asked}"
            command = Command("append", "list", (item,))
            token = self.services.ask(now_ns, group, command, timeout_ns=SECOND)
            assert token not in self.tokens
            self.tokens[token] = (group, item)
        self.asking = False
        self.deadline_ns = now_ns + 200 * MS
        return []

    def on_answer(
        self, now_ns: int, token: int, status: str, value: Any, error: str
    ) -> list[Effect]:
        assert not self.asking, "an outcome never comes while its question is being asked"
        group, item = self.tokens.pop(token)
        assert (status == "ok") is (error == "")
        TOLD.append((group, item, status))
        return []

    def status(self) -> dict[str, Any]:
        return {"open": len(self.tokens)}


#: (group, item, status) of every outcome, on all nodes and in all lives
TOLD: list[tuple[str, str, str]] = []


def asking_world(seed: int, **options: Any) -> World:
    TOLD.clear()
    return bare(seed, DataParts(coordinator=Asker), **options)  # type: ignore[arg-type]


def factory(parts: DataParts) -> Any:
    def make(node: str, nodes: Sequence[str], **given: Any) -> DataNode:
        kept = {name: given[name] for name in ("config", "rng", "clock", "peers")}
        return DataNode(node, nodes, parts=parts, **kept)

    return make


@pytest.mark.parametrize("seed", range(3))
def test_what_parts_are_told_by_groups_is_true(seed: int) -> None:
    world = asking_world(seed)
    source = world.rng("test")
    for _ in range(8):
        node = source.choice(NODES)
        act = source.choice(("crash", "pause", "cut", "cut", "packets"))
        if act == "crash":
            world.crash(node, torn=source.random() < 0.5)
        elif act == "pause":
            world.pause(node)
        elif act == "cut":
            others = [each for each in NODES if each != node]
            world.network.set_links({(node, each): LinkFault(cut=True) for each in others})
        else:
            fault = LinkFault(loss=0.1, duplicate=0.2, reorder=0.2)
            links = {(a, b): fault for a in NODES for b in NODES if a != b}
            world.network.set_links(links)
        world.run_for(source.randrange(100, 700) * MS)
        world.network.set_links({})
        world.resume(node)
        world.restart(node)
    world.run_for(SECOND)
    statuses = {status for _, _, status in TOLD}
    assert "ok" in statuses and len(TOLD) > 100
    held = {group: items(world, group) for group in GROUPS}
    for group, item, status in TOLD:
        count = held[group].count(item)
        allowed = {"ok": (1,), "fail": (0,), "unknown": (0, 1)}[status]
        assert count in allowed, f"{item} is {count} times in {group} and ended {status}"


def items(world: World, group: str) -> list[str]:
    core: Any = world.core(leader_of(world, group))
    found: list[str] = core.groups.replica(group).state.machine.read(Command("get", "list"))[1]
    return found


def test_transactions_are_carried_out_at_any_node() -> None:
    """Role ``data`` as it comes: the coordinator, the map and its controller, over real groups."""
    config = ClusterConfig(clock_offset_bound_ns=10 * MS, partition_slots=5)
    world = World(seed=1, nodes=NODES, role="data", config=config)
    for number, node in enumerate(NODES):
        steps = [["append", "a", number], ["append", f"b{number}", number], ["r", "a", None]]
        call = world.session(f"c{node}", prefer=node).submit(Command("txn-run", "", (steps,)))
        assert world.run_until(lambda call=call: bool(call.status), 20 * SECOND)  # type: ignore[misc]
        assert call.status == "ok", call.error
        assert call.value[2] == ["r", "a", list(range(number + 1))]
    assert settle(world).ok


def test_a_part_asks_groups_that_are_elsewhere() -> None:
    world = asking_world(1)
    world.run_for(3 * SECOND)
    told = {(group, item.split("-")[0]) for group, item, status in TOLD if status == "ok"}
    assert told == {(group, node) for group in GROUPS for node in NODES}
    assert (world.status("n2") or {})["coordinator"]["open"] < 20


# -- a group that is opened while the cluster runs


@pytest.mark.parametrize("consensus", sorted(CONSENSUS))
def test_an_opened_group_serves_and_is_known_after_a_restart(consensus: str) -> None:
    world = World(seed=1, nodes=NODES, role="data", consensus=consensus)
    world.run_for(2 * SECOND)
    members = ("n2", "n4", "n5")
    for node in NODES:
        open_at(world, node, "g-n6", members)
    world.run_for(2 * SECOND)
    leader = leader_of(world, "g-n6")
    assert leader in members
    assert [node for node in NODES if row(world, node, "g-n6")] == list(members)
    for node in NODES:
        world.crash(node)
    for node in NODES:
        assert world.restart(node)
    assert world.run_until(lambda: leader_of(world, "g-n6") in members, 10 * SECOND)
    again = row(world, leader_of(world, "g-n6"), "g-n6")
    assert again is not None and again["members"] == list(members)
    for node in NODES:  # once more changes nothing
        open_at(world, node, "g-n6", members)
    assert settle(world).ok


def open_at(world: World, node: str, group: str, members: Sequence[str]) -> None:
    """Open a group as a part does."""
    found = world._node(node)
    core: Any = found.core
    core.open_group(group, members)
    assert world.tick(node)


def test_a_group_half_opened_is_opened_again() -> None:
    """A crash before the first snapshot is durable leaves a group without members."""
    world = quiet()
    open_at(world, "n2", "g-n6", ("n2", "n4", "n5"))
    world.crash("n2")
    assert world.restart("n2")
    assert row(world, "n2", "g-n6") is None
    for node in ("n2", "n4", "n5"):
        open_at(world, node, "g-n6", ("n2", "n4", "n5"))
    assert world.run_until(lambda: leader_of(world, "g-n6") != "", 10 * SECOND)


# -- the invariants see each group by itself


def watch() -> tuple[GroupInvariants, list[str]]:
    said: list[str] = []

    def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
        said.append(f"{name}: {sentence}")

    return GroupInvariants(fail, view_of_status, consensus="raft"), said


def vote(group: str, to: str) -> Send:
    return Send(to, Grouped(3, group, VoteReply(3, 3, granted=True)))


def test_a_second_vote_counts_within_a_group_only() -> None:
    invariants, said = watch()
    invariants.sending("n1", vote("core", "n2"))
    invariants.sending("n1", vote("g-n1", "n3"))
    assert said == []
    invariants.sending("n1", vote("core", "n3"))
    assert said == [
        "one-vote-per-generation: group core: n1 voted for n2 and for n3 in generation 3"
    ]


def test_a_group_whose_files_are_gone_is_missed() -> None:
    invariants, said = watch()
    entry = Entry(1, 1, "command", b"x")
    invariants.appending("n1", Append(1, HardState(1, "n1"), (entry,), group="g-n1"))
    invariants.appending("n1", Append(2, HardState(7), group="clock"))
    invariants.persisted("n1", 2)
    invariants.started("n1", Recovered(HardState(), None, []), excused=False)
    assert [each.partition(": n1")[0] for each in said] == [
        "durable-hard-state: group clock",
        "durable-hard-state: group g-n1",
        "durable-log: group g-n1",
    ]


@pytest.mark.parametrize("seed", [0, 2])
def test_an_ablated_group_is_caught_and_named(seed: int) -> None:
    """A11: half of the members is enough. The parts of every group are ablated, not the core's."""
    run = run_swarm(seed, role="data", nodes=5, ablations=["A11"])
    assert run.violation.startswith("one-leader-per-generation broken")
    assert "group g-n" in run.violation


def test_a_replica_is_made_of_the_parts_of_its_group() -> None:
    parts = DataParts(core=ReplicaParts(), group=ReplicaParts())
    world = bare(1, parts)
    core: Any = world.core("n1")
    assert core.groups.replica("core")._parts is parts.core
    assert core.groups.replica("g-n1")._parts is parts.group
