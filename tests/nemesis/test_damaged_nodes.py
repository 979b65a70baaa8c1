"""Nodes whose disk was damaged: repaired, replaced or away, and what the run says of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_environment import Memory

from cluster.client.session import Complete
from cluster.simulation.world import World
from cluster.wire import Command
from harness.databases.reference import Reference
from harness.environments.sim import SimEnvironment
from harness.errors import SetupError
from harness.nemesis import compose
from harness.nemesis.base import Context, Plan
from harness.nemesis.damaged_nodes import Comeback, come_back, notes_at_the_end

S = 1_000_000_000


class Damaging(Memory):
    """Some nodes have damaged disks; these refuse to start, at once or a moment later."""

    def __init__(self, *damaged: str, later_ns: int = 0) -> None:
        super().__init__()
        self.hurt = list(damaged)
        self.dead.update(damaged)
        self._later_ns, self._started_ns = later_ns, -1

    def damaged(self) -> list[str]:
        return self.hurt

    def now_ns(self) -> int:
        return self.now

    async def start(self, node: str) -> dict[str, Any]:
        if not self._later_ns:
            raise SetupError(f"{node} exited with 3; its log ends:\nstarting\nn1: corrupt log: x")
        self._started_ns = self.now
        self.dead.discard(node)
        return {}

    async def alive(self, node: str) -> bool:
        if self._started_ns >= 0 and self.now >= self._started_ns + self._later_ns:
            self.dead.add(node)
        return node not in self.dead


class Operator:
    """A database that replaces members, or says why not."""

    def __init__(self, why_not: str = "") -> None:
        self.why_not, self.told = why_not, ""

    async def replace_member(self, node: Any, refused: str) -> str:
        self.told = refused
        if self.why_not:
            raise SetupError(self.why_not)
        return f"{node}~2"


REFUSED = "n1 exited with 3; its log ends: n1: corrupt log: x"


@pytest.mark.parametrize(
    ("db", "found"),
    [
        (Operator(), Comeback(REFUSED, member="n1~2")),
        (Operator("nobody leaves"), Comeback(REFUSED, away="nobody leaves")),
        (object(), Comeback(REFUSED, away="the database has no way to replace a member")),
    ],
)
def test_who_refuses_is_replaced_or_away(db: Any, found: Comeback) -> None:
    assert asyncio.run(come_back(Damaging("n1"), db, "n1")) == found


def test_a_process_that_ends_a_moment_after_it_was_started_refused() -> None:
    env, db = Damaging("n1", later_ns=S), Operator()
    found = asyncio.run(come_back(env, db, "n1"))
    assert found == Comeback("n1 ended after it was started", member="n1~2")
    assert env.now >= S


def test_what_no_damage_explains_is_an_error() -> None:
    env = Damaging("n1")
    env.hurt = []
    with pytest.raises(SetupError, match="exited with 3"):
        asyncio.run(come_back(env, Operator(), "n1"))


def test_the_run_says_what_became_of_each_damaged_node() -> None:
    env = Damaging("n1", "n3")
    proofs = [
        {"replaced": {"n2": "n2~2"}, "refused_to_start": {"n2": "no"}},
        {"away": {"n1": "too late"}},
    ]
    late = {"n2": Comeback("no", member="n2~3"), "n3": Comeback("no")}
    assert asyncio.run(notes_at_the_end(env, proofs, late)) == [
        "n2 refused to start from its damaged disk, and was replaced by n2~2, n2~3",
        "n1 refused to start from its damaged disk, and was away until the end: too late",
        "n3 refused to start from its damaged disk, and was away until the end",
    ]


def test_only_a_disk_that_lost_something_is_a_reason_to_replace_its_node() -> None:
    with pytest.raises(SetupError, match="did not say that what it promised is lost"):
        asyncio.run(Reference(role="core").replace_member(None, "no space is left"))  # type: ignore
    with pytest.raises(SetupError, match="the members of role paxos do not change"):
        asyncio.run(Reference(role="paxos").replace_member(None, "corrupt log: x"))  # type: ignore


def test_each_node_of_role_leaderless_is_replaced_in_turn_and_nothing_is_lost() -> None:
    """After the third nobody has the id of its name, and each joins through the others all the
    same. What was acknowledged by a damaged node and one other is there at the end."""
    world = World(seed=3, role="leaderless")
    env: Any = SimEnvironment(world, run_dir=Path("unused"))
    db = Reference(role="leaderless", objects="set")
    (made,) = compose("disk-lost-tail")

    async def main() -> None:
        session = env.node("n1").cluster_session("c", timeout_ns=5 * S)
        for number, name in enumerate(env.nodes):
            done = await session.call(Command("set-add", "k", (number,)))
            assert done.status == "ok", done.error
            ctx = Context(env, db, Random(1), env.nodes)
            plan = Plan(number + 1, made.name, 0, 3 * S, name, {"seed": 7, "kind": "lost-tail"})
            injection = await made.inject(ctx, plan)
            assert injection.evidence["bit"] and env.damaged() == [name]
            await env.sleep(2 * S)
            proof = await made.heal(ctx, plan, injection)
            assert "corrupt log" in proof["refused_to_start"][name]
            assert proof["replaced"] == {name: f"{name}~2"} and env.damaged() == []
            assert await db.members([env.node(each) for each in env.nodes]) == list(env.nodes)
        done = await session.call(Command("set-read", "k", ()))
        assert done.value == [0, 1, 2]

    env.runtime.run(main())


@pytest.mark.parametrize(
    ("nodes", "hurt", "why"),
    [
        (("n1",), [], "the disk of n1 is needed for a majority"),
        (("n1", "n2", "n3"), ["n2"], "the disks of n2 are damaged: no other may be"),
        (("n1", "n2", "n3"), ["n1"], "the files of n1 are damaged already"),
    ],
)
def test_a_disk_that_is_not_damaged_says_why(
    nodes: tuple[str, ...], hurt: list[str], why: str
) -> None:
    world = World(seed=3, nodes=nodes)
    env: Any = SimEnvironment(world, run_dir=Path("unused"))

    async def main() -> None:
        await env.sleep(2 * S)
        for name in [*hurt, "n1"]:
            done = await env.files.damage(name, "lost-tail", 7)
        assert done["skipped"] and done["why"] == why

    env.runtime.run(main())


class Stale(Reference):
    """A cluster whose members still say that one that left is there."""

    def __init__(self, *, gone_at: int) -> None:
        super().__init__(role="leaderless", objects="set")
        self._looks, self._gone_at = 0, gone_at

    async def _known(self, node: Any) -> dict[str, Any]:
        self._looks += 1
        gone = self._looks == self._gone_at
        return {"voters": [] if gone else ["n1"], "learners": [], "outgoing": [], "retired": []}

    async def _request(self, node: Any, op: str, member: str, *args: str, to: str = "") -> Any:
        return Complete(1, "ok", answered=True)


@pytest.mark.parametrize(
    ("gone_at", "why"), [(1, "who was asked does not know it yet"), (99, "n1 has not left yet")]
)
def test_a_member_that_seems_to_be_there_is_not_taken_for_a_new_one(gone_at: int, why: str) -> None:
    env: Any = SimEnvironment(World(seed=3, role="leaderless"), run_dir=Path("unused"))
    db = Stale(gone_at=gone_at)
    with pytest.raises(SetupError, match=why):
        env.runtime.run(db.replace_member(env.node("n1"), "corrupt log: x"))
