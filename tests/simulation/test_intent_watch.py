"""Intents end a bounded time after their decision. Goal: the bound holds whenever the group that
has them and the group that decided can talk, whatever else is broken. Method: a coordinator dies
after the decision and before anybody is told to resolve; the watch looks on, with and without
nodes that look for old intents."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config import MS, ClusterConfig
from cluster.data.alarms import Alarms
from cluster.data.group_keeper import SWEEP_MAX, GroupKeeper
from cluster.data.questions import Questions
from cluster.simulation.intent_watch import IntentWatch, bound_ns
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.network import LinkFault
from cluster.simulation.world import SECOND, World
from cluster.wire import Command, GroupRequest

NODES = ("n1", "n2", "n3", "n4", "n5")
CONFIG = ClusterConfig(
    clock_offset_bound_ns=5 * MS,
    orphan_after_ns=200 * MS,
    partition_scheme="ranges",
    partition_splits=("b", "c", "d", "e"),
    node_ttl_ns=60 * SECOND,  # a dead node's partitions stay where they are
)


def is_resolve(frame: Any) -> bool:
    return type(frame) is GroupRequest and frame.request.command.op == "p-resolve"


def decided_and_left() -> tuple[World, IntentWatch]:
    """A world in which n1 has decided a transaction of g-n2 and g-n3, told no group, and died."""
    world = World(seed=5, nodes=NODES, role="data", config=CONFIG)
    world.run_for(1_500 * MS)
    for node in NODES[1:]:
        world.network.link("n1", node).hold = is_resolve
    operations = [["w", "b", 1], ["w", "c", 2]]
    call = world.session("c", prefer="n1").submit(Command("txn-run", "", (operations,)))
    assert world.run_until(lambda: bool(call.status), 5 * SECOND)
    assert call.status == "ok", call.error
    world.crash("n1")
    watch = IntentWatch(world)
    world.run_for(60 * MS)
    assert watch.seen > 0, "no intents are left"
    return world, watch


def intents(world: World) -> int:
    found = 0
    for node in NODES[1:]:
        groups = world.core(node).groups  # type: ignore[union-attr]
        for name in ("g-n2", "g-n3"):
            replica = groups.replica(name)
            found += len(replica.state.machine.participant.prepared) if replica else 0
    return found


def test_intents_are_gone_while_nodes_elsewhere_stay_broken() -> None:
    world, watch = decided_and_left()
    assert intents(world) > 0
    world.run_for(bound_ns(CONFIG) + SECOND)
    assert intents(world) == 0 and world.violations == []
    seen = watch.seen
    world.run_for(SECOND)
    assert watch.seen == seen


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaders that look for no old intents and no unfinished commits."""
    monkeypatch.setattr(GroupKeeper, "_sweep", lambda self, now_ns: None)


@pytest.mark.usefixtures("no_sweep")
def test_intents_that_stay_are_found() -> None:
    world, _ = decided_and_left()
    with pytest.raises(InvariantViolation, match="intent-outlives-decision"):
        world.run_for(bound_ns(CONFIG) + SECOND)


@pytest.mark.usefixtures("no_sweep")
def test_no_bound_runs_while_those_concerned_cannot_talk() -> None:
    world, _ = decided_and_left()
    world.network.set_links({("n3", "n4"): LinkFault(cut=True)})
    world.run_for(bound_ns(CONFIG) + SECOND)
    assert intents(world) > 0 and world.violations == []


class Held:
    def __init__(self, decision_group: str) -> None:
        self.decision_group = decision_group
        self.stamp = self.started = self.timestamp = 1


class Group:
    """What a keeper looks at: many intents of a group that cannot be reached, and one more."""

    def __init__(self) -> None:
        self.participant = self.records = self
        self.table: dict[str, Any] = {}

    def orphans(self, before: int) -> list[tuple[str, Held]]:
        far = [(f"t{number}", Held("g-far")) for number in range(2 * SWEEP_MAX)]
        return [*far, ("last", Held("g-near"))]


class Now:
    def stamp(self) -> int:
        return 10**12


def test_orphans_of_a_group_that_cannot_be_reached_keep_no_others_waiting() -> None:
    met: list[str] = []

    class Orphans:
        def met(self, now_ns: int, group: str, intent: list[Any]) -> None:
            met.append(intent[0])

    parts: list[Any] = [lambda: [("g", Group())], Now(), None, Orphans(), None, CONFIG]
    GroupKeeper(*parts)._sweep(0)
    assert len(met) == SWEEP_MAX + 1 and met[-1] == "last"


class Wall(Now):
    def problem(self) -> str:
        return ""

    def wall_ns(self) -> int:
        return 10**12


class Unclosed:
    """A group that has closed and collected nothing."""

    closed = horizon = 0

    def __init__(self) -> None:
        self.store = self.records = self


def test_a_group_that_has_not_answered_is_not_told_again() -> None:
    asked: list[tuple[str, str]] = []

    def ask(now_ns: int, group: str, command: Command, **how: Any) -> int:
        asked.append((group, command.op))
        return len(asked)

    questions, alarms = Questions(ask), Alarms()
    led: Any = [("g-n1", Unclosed()), ("g-n2", Unclosed())]
    config = ClusterConfig(orphan_after_ns=1 << 60)
    clock: Any = Wall()
    orphans: Any = None
    keeper = GroupKeeper(lambda: led, clock, questions, orphans, alarms, config)
    keeper.start(0)
    for now_ns in range(0, 10 * SECOND, 100 * MS):
        alarms.run(now_ns)
    told = [(group, op) for op in ("p-close", "p-collect") for group in ("g-n1", "g-n2")]
    assert sorted(asked) == sorted(told)
    token = asked.index(("g-n2", "p-close")) + 1
    assert questions.on_answer(10 * SECOND, token, "unknown", None, "")
    for now_ns in range(10 * SECOND, 12 * SECOND, 100 * MS):
        alarms.run(now_ns)
    assert asked[len(told) :] == [("g-n2", "p-close")]
