"""Injecting and healing: what is done, what counts as evidence, what happens together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_environment import NODES, Leaders, Memory, context

from cluster.simulation.world import World
from harness.environments.base import LinkFault
from harness.environments.sim import SimEnvironment
from harness.errors import SetupError, UsageError, UserCodeError
from harness.nemesis import compose
from harness.nemesis.base import Context, Plan
from harness.nemesis.layers import combine
from harness.nemesis.user import REGISTERED, fault

S = 1_000_000_000


def planned(nemesis: str, *, id: int = 1, targets: str = "", **params: Any) -> Plan:
    return Plan(id, nemesis, 0, 3 * S, targets, {"seed": 7 + id, **params})


def run(main: Any) -> None:
    asyncio.run(main)


def test_a_partition_that_stopped_nothing_did_not_bite() -> None:
    async def main() -> None:
        for talk in (False, True):
            env, (made,) = Memory(), compose("partition-one")
            ctx, plan = context(env), planned("partition-one", kind="one")
            done = await made.inject(ctx, plan)
            alone = done.nodes[0]
            assert all(alone in link for link in env.links) and len(env.links) == 8
            if talk:
                env.talk(*env.links)
            proof = await made.heal(ctx, plan, done)
            assert proof["bit"] is talk
            assert env.links == {}

    run(main())


def test_primaries_are_isolated_and_unknown_ones_skipped() -> None:
    async def main() -> None:
        env, (made,) = Memory(), compose("partition-primaries")
        plan = planned("partition-primaries", kind="primaries")
        done = await made.inject(context(env, Leaders("n2", "n4")), plan)
        assert done.value == [["n2"], ["n4"], ["n1", "n3", "n5"]]
        assert ("n2", "n4") in env.links and ("n1", "n3") not in env.links
        env2 = Memory()
        assert (await made.inject(context(env2, Leaders()), plan)).outcome == "skipped"
        assert env2.links == {}
        (cycle,) = compose("partition")
        done = await cycle.inject(context(env2), planned("partition", kind="primaries"))
        assert done.outcome == "installed" and len(done.nodes) == 1

    run(main())


def test_a_plan_makes_the_same_fault_whatever_happened_before() -> None:
    async def main() -> None:
        values = []
        for noise in (0, 3):
            env, (made,) = Memory(), compose("partition")
            ctx = context(env)
            for _ in range(noise):
                ctx.rng.random()
            done = await made.inject(ctx, planned("partition", kind="majorities-ring"))
            values.append(done.value)
        assert values[0] == values[1]

    run(main())


def test_two_faults_on_links_add_up_and_heal_apart() -> None:
    async def main() -> None:
        env = Memory()
        cut, slow = compose("partition-halves,packets-delay")
        ctx = context(env)
        first, second = planned("partition-halves", id=1), planned("packets-delay", id=2)
        first.params["kind"] = "halves"
        second.params.update(kind="delay", delay_ns=5)
        one = await cut.inject(ctx, first)
        two = await slow.inject(ctx, Plan(2, "packets-delay", 0, S, "all", second.params))
        assert env.links["n1", "n5"].cut and env.links["n1", "n5"].delay_ns == 5
        assert not env.links["n1", "n2"].cut and env.links["n1", "n2"].delay_ns == 5
        await cut.heal(ctx, first, one)
        assert not any(found.cut for found in env.links.values()) and len(env.links) == 20
        env.talk(("n1", "n2"))
        assert (await slow.heal(ctx, second, two))["bit"] is True
        assert env.links == {}

    run(main())


def test_chances_combine_as_independent_ones() -> None:
    both = combine(LinkFault(loss=0.5, delay_ns=3), LinkFault(loss=0.5, rate_bytes_per_s=9))
    assert both == LinkFault(loss=0.75, delay_ns=3, rate_bytes_per_s=9)
    assert combine(LinkFault(rate_bytes_per_s=5), LinkFault(rate_bytes_per_s=3)) == LinkFault(
        rate_bytes_per_s=3
    )


def test_kill_starts_again_and_a_node_that_does_not_is_an_error_after_the_others() -> None:
    async def main() -> None:
        env, (made,) = Memory(), compose("kill")
        ctx, plan = context(env), planned("kill", targets="n1,n2,n3")
        done = await made.inject(ctx, plan)
        assert env.dead == {"n1", "n2", "n3"} and done.evidence["bit"] is True
        env.cannot_start = {"n1"}
        with pytest.raises(SetupError, match="n1 did not start: OSError: no"):
            await made.heal(ctx, plan, done)
        assert env.dead == {"n1"}
        assert (await made.inject(ctx, planned("kill", targets="n1"))).outcome == "skipped"
        # A nemesis that raised at injection is healed with an injection that knows nothing.
        assert await made.heal(ctx, planned("kill", id=9), done) is not None

    run(main())


def test_overlapping_pauses_resume_when_the_last_one_ends() -> None:
    async def main() -> None:
        env, (made,) = Memory(), compose("pause")
        ctx = context(env)
        plans = [planned("pause", id=1, targets="n1,n2"), planned("pause", id=2, targets="n2,n3")]
        done = [await made.inject(ctx, plan) for plan in plans]
        assert env.stopped == {"n1", "n2", "n3"}
        await made.heal(ctx, plans[0], done[0])
        assert env.stopped == {"n2", "n3"}
        await made.heal(ctx, plans[1], done[1])
        assert env.stopped == set()
        env.dead.add("n4")
        assert (await made.inject(ctx, planned("pause", targets="n4"))).outcome == "skipped"

    run(main())


def test_a_pause_takes_nodes_that_run_where_those_drawn_are_killed() -> None:
    async def main() -> None:
        for seed in range(12):
            env, (made,) = Memory(), compose("pause")
            env.dead = {"n1", "n2", "n3", "n4"}
            plan = planned("pause", targets="one", seed=seed)
            injection = await made.inject(context(env), plan)
            assert injection.nodes == ["n5"] and env.stopped >= {"n5"}
        env.dead = set(NODES)
        assert (await made.inject(context(env), plan)).outcome == "skipped"

    run(main())


def test_a_primary_that_nobody_knows_falls_back_only_in_a_cycle() -> None:
    async def main() -> None:
        ctx = context(Memory(), Leaders())
        cycle, alone = compose("kill,pause-primaries")
        assert len((await cycle.inject(ctx, planned("kill", targets="primaries"))).nodes) == 1
        plan = planned("pause-primaries", targets="primaries")
        assert (await alone.inject(ctx, plan)).outcome == "skipped"

    run(main())


def test_a_clock_that_does_not_move_did_not_bite_and_one_that_stays_is_an_error() -> None:
    async def main() -> None:
        env, (made,) = Memory(), compose("clock-jump")
        ctx = context(env)
        plan = planned("clock-jump", targets="n1", kind="jump", offset_ns=9 * S)
        env.stuck_clocks = True
        done = await made.inject(ctx, plan)
        assert done.evidence["bit"] is False
        await made.heal(ctx, plan, done)
        env.stuck_clocks = False
        done = await made.inject(ctx, plan)
        assert done.evidence["bit"] is True and env.clocks["n1"] == (9 * S, 1.0)
        env.stuck_clocks = True
        with pytest.raises(SetupError, match="n1: its clock is off by 9000000000 ns"):
            await made.heal(ctx, plan, done)

    run(main())


def test_drift_sets_a_rate_and_strobe_flips_and_ends_wrong() -> None:
    async def main() -> None:
        env, (drift, strobe) = Memory(), compose("clock-drift,clock-strobe")
        ctx = context(env)
        one = planned("clock-drift", id=1, targets="n1", kind="drift", rate=1.25)
        two = planned("clock-strobe", id=2, targets="n2", kind="strobe", offset_ns=-S)
        first, second = await drift.inject(ctx, one), await strobe.inject(ctx, two)
        assert env.clocks == {"n1": (0, 1.25), "n2": (-S, 1.0)}
        assert first.evidence["bit"] and second.evidence["flips"] == 10 and env.now == S
        await drift.heal(ctx, one, first)
        await strobe.heal(ctx, two, second)
        assert env.clocks == {"n1": (0, 1.0), "n2": (0, 1.0)}

    run(main())


class Members(Leaders):
    """A database with members."""

    def __init__(self) -> None:
        super().__init__()
        self.now = list(NODES)

    async def members(self, nodes: Any) -> list[str]:
        return self.now

    async def remove_member(self, node: str) -> None:
        self.now.remove(node)

    async def add_member(self, node: str) -> None:
        self.now.append(node)


def test_members_leave_and_join_but_never_a_majority() -> None:
    async def main() -> None:
        db, (made,) = Members(), compose("membership")
        ctx, plan = context(Memory(), db), planned("membership", targets="n2")
        done = await made.inject(ctx, plan)
        assert db.now == ["n1", "n3", "n4", "n5"] and done.evidence["bit"] is True
        await made.heal(ctx, plan, done)
        assert sorted(db.now) == NODES
        most = planned("membership", targets="n1,n2,n3")
        assert (await made.inject(ctx, most)).outcome == "skipped"

    run(main())


def test_a_member_whose_sound_disk_the_voters_need_does_not_leave() -> None:
    class Damaged(Memory):
        def damaged(self) -> list[str]:
            return ["n1", "n2"]

    async def main() -> None:
        db, (made,) = Members(), compose("membership")
        ctx = context(Damaged(), db)
        kept = await made.inject(ctx, planned("membership", targets="n3"))
        assert kept.outcome == "skipped" and "n1, n2" in str(kept.evidence) and db.now == NODES
        left = await made.inject(ctx, planned("membership", id=2, targets="n2"))
        assert left.outcome != "skipped" and "n2" not in db.now

    run(main())


def test_a_users_fault_injects_yields_and_heals_per_node() -> None:
    said: list[str] = []

    @fault("test-noise", targets="minority")
    async def noise(node: str) -> AsyncGenerator[Any, None]:
        said.append(f"+{node}")
        yield {"volume": 11}
        said.append(f"-{node}")

    async def main() -> None:
        (made,) = compose("test-noise")
        assert made is REGISTERED["test-noise"] is noise
        ctx, plan = context(Memory()), planned("test-noise", targets="n1,n2")
        done = await made.inject(ctx, plan)
        assert done.evidence == {"bit": True, "told": {n: {"volume": 11} for n in ("n1", "n2")}}
        assert said == ["+n1", "+n2"]
        await made.heal(ctx, plan, done)
        assert said == ["+n1", "+n2", "-n1", "-n2"]
        plans = made.plan(ctx.rng, nodes=NODES, begin_ns=0, end_ns=9 * S, interval_ns=S)
        assert {each.targets for each in plans} == {"minority"}

    run(main())


def test_a_users_fault_that_misbehaves_is_named() -> None:
    @fault("test-silent")
    async def silent(node: str) -> AsyncGenerator[Any, None]:
        if node == "nobody":
            yield

    @fault("test-broken")
    async def broken(node: str) -> AsyncGenerator[Any, None]:
        yield False
        if node == "n1":
            raise ValueError("oh")
        if node == "n2":
            yield

    async def main() -> None:
        ctx = context(Memory())
        with pytest.raises(UserCodeError, match="'test-silent' ended without a yield"):
            await silent.inject(ctx, planned("test-silent", targets="n1"))
        plan = planned("test-broken", targets="n1,n2,n3")
        done = await broken.inject(ctx, plan)
        assert done.evidence["bit"] is False
        with pytest.raises(UserCodeError, match=r"n1: oh; on n2: it yielded a second time"):
            await broken.heal(ctx, plan, done)

    run(main())
    with pytest.raises(
        UsageError, match=r"'test-plain'.*must be `async def` and contain a `yield`"
    ):

        @fault("test-plain")  # type: ignore[arg-type]
        def plain(node: str) -> None: ...

    with pytest.raises(UsageError, match="without commas"):
        fault("a,b")


class Disks(Memory):
    """Disks that count what they did, and one that is damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.disks: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.hits = 0
        self.broken: list[str] = []

    async def set_disk(self, node: str, faults: Any) -> dict[str, Any]:
        self.asked.append((node, dict(faults)))
        self.disks[node] = dict(faults)
        return {"slowed": self.hits}

    def damaged(self) -> list[str]:
        return self.broken


def test_two_faults_of_a_disk_add_up_and_a_bit_is_flipped_once() -> None:
    async def main() -> None:
        env = Disks()
        (slow,), (torn,), (flip,) = (compose(f"disk-{kind}") for kind in ("slow", "torn", "flip"))
        ctx = context(env)
        first = planned("disk-slow", id=1, targets="n1", disk={"latency_ns": 5})
        second = planned("disk-flip", id=2, targets="n1", disk={"flip": True})
        third = planned("disk-torn", id=3, targets="n1", disk={"torn": True})
        one = await slow.inject(ctx, first)
        two = await flip.inject(ctx, second)
        assert env.disks["n1"] == {"latency_ns": 5, "flip": True}
        three = await torn.inject(ctx, third)
        assert env.disks["n1"] == {"latency_ns": 5, "torn": True}
        assert (await slow.heal(ctx, first, one))["bit"] is False
        assert env.disks["n1"] == {"torn": True}
        env.hits = 1
        assert (await torn.heal(ctx, third, three))["bit"] is True
        await flip.heal(ctx, second, two)
        assert env.disks["n1"] == {}

    run(main())


def test_a_node_that_stopped_is_started_again_and_a_damaged_one_may_refuse() -> None:
    async def main() -> None:
        env, (made,) = Disks(), compose("disk-eio")
        ctx, plan = context(env), planned("disk-eio", targets="n1,n2", disk={"error": "EIO"})
        done = await made.inject(ctx, plan)
        env.dead, env.cannot_start, env.broken = {"n1", "n2"}, {"n2"}, ["n2"]
        proof = await made.heal(ctx, plan, done)
        assert env.dead == {"n2"} and proof["bit"] is True
        assert proof["stopped_itself"] == ["n1", "n2"] and "n2" in proof["refused_to_start"]
        env.broken = []
        done = await made.inject(ctx, planned("disk-eio", id=2, targets="n1", disk={"full": True}))
        env.dead, env.cannot_start = {"n1"}, {"n1"}
        with pytest.raises(SetupError, match="n1: OSError: no"):
            await made.heal(ctx, planned("disk-eio", id=2), done)

    run(main())


def test_a_fault_of_links_that_did_nothing_says_why() -> None:
    async def main() -> None:
        env, (made,) = Memory(), compose("packets-loss")
        plan = planned("packets-loss", kind="loss", loss=0.5, targets="n1")
        done = await made.inject(context(env), plan)
        assert (await made.heal(context(env), plan, done))["why"] == (
            "nothing was sent over its links"
        )
        plan = planned("packets-loss", id=2, kind="loss", loss=0.5, targets="n1")
        done = await made.inject(context(env), plan)
        env.talk(("n1", "n2"), ("n2", "n1"))
        proof = await made.heal(context(env), plan, done)
        assert proof["why"] == "2 messages were sent over its links, and none was affected"

    run(main())


@pytest.mark.parametrize("kind", ["lost-tail", "flip"])
def test_files_of_a_killed_node_are_damaged_and_it_is_repaired(kind: str) -> None:
    """In simulation: the evidence is the file that changed, and that the node came back."""
    world = World(seed=3)
    env = SimEnvironment(world, run_dir=Path("unused"))
    (made,) = compose(f"disk-{kind}")

    async def main() -> None:
        await env.sleep(2_000_000_000)
        ctx = Context(env, None, Random(1), env.nodes)
        plan = planned(f"disk-{kind}", targets="n2", disk={kind: True})
        done = await made.inject(ctx, plan)
        proof = done.evidence["damage"]["n2"]
        assert done.nodes == ["n2"] and done.evidence["bit"] and proof["file"]
        assert not world.alive("n2") and env.damaged() == ["n2"]
        other = planned(f"disk-{kind}", id=2, targets="n3", disk={kind: True})
        second = await made.inject(ctx, other)
        assert second.outcome == "skipped" and world.alive("n3")
        found = await made.heal(ctx, plan, done)
        assert found["repaired"] == {"n2": True} and found["bit"] is True
        assert world.alive("n2") and env.damaged() == []

    env.runtime.run(main())


def test_a_tail_is_lost_only_where_the_files_are_known() -> None:
    async def main() -> None:
        env, (made,) = Disks(), compose("disk-lost-tail")
        done = await made.inject(context(env), planned("disk-lost-tail", targets="n1", disk={}))
        assert done.outcome == "skipped" and "not ones that are known" in done.evidence["why"]

    run(main())
