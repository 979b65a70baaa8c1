"""One body for every environment: what a fault does is seen in what gets through."""

from __future__ import annotations

from typing import Any

import pytest
from arms import ARMS, CUT, MS, NODES, PATIENCE_S, within
from kernel_arms import KERNEL_ARMS

from harness.environments.base import (
    Clocks,
    Disks,
    Environment,
    Killable,
    LinkFault,
    Links,
    Pausable,
)

pytestmark = pytest.mark.real


@pytest.fixture(params=sorted({**ARMS, **KERNEL_ARMS}))
def arm(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    made = {**ARMS, **KERNEL_ARMS}[request.param](tmp_path / "run")
    yield made
    getattr(made, "close", lambda: None)()


def grown(before: dict[str, int], after: dict[str, int], name: str) -> int:
    return after.get(name, 0) - before.get(name, 0)


def test_it_is_an_environment_with_its_abilities(arm: Any) -> None:
    protocols = {"links": Links, "kill": Killable, "pause": Pausable, "clock": Clocks}
    for ability, protocol in (*protocols.items(), ("disk", Disks)):
        assert ability in arm.env.abilities
        assert isinstance(arm.env, protocol)
    for name in ("setup", "teardown", "node", "now_ns", "sleep", "heal_all", "prove_clean"):
        assert hasattr(arm.env, name) and name in dir(Environment)


def test_a_one_way_cut_cuts_one_way_and_heals(arm: Any) -> None:
    async def body(env: Any) -> None:
        a, b = await arm.busy_link()
        await arm.traffic()
        healthy = await env.link_counters()
        assert healthy[a, b]["passed"] > 0 and healthy[a, b]["dropped"] == 0

        await env.set_links({(a, b): CUT})
        await arm.traffic()
        cut = await env.link_counters()
        assert grown(healthy[a, b], cut[a, b], "dropped") > 0
        assert grown(healthy[a, b], cut[a, b], "passed") == 0
        assert grown(healthy[b, a], cut[b, a], "passed") > 0
        assert cut[b, a]["dropped"] == 0
        assert await env.prove_clean() != []

        await env.set_links({})
        await arm.busy_link()
        for _ in range(40):
            # TCP waits twice as long each time before it sends again what was dropped.
            await arm.traffic()
            healed = await env.link_counters()
            if grown(cut[a, b], healed[a, b], "passed") > 0:
                break
        assert grown(cut[a, b], healed[a, b], "passed") > 0
        assert await env.prove_clean() == []

    within(arm, body)


def test_setting_links_replaces_what_was_set(arm: Any) -> None:
    if "packets" not in arm.env.abilities:
        pytest.skip(arm.env.lacks["packets"])

    async def body(env: Any) -> None:
        a, b = await arm.busy_link()
        await env.set_links({(a, b): CUT})
        await env.set_links({(b, a): LinkFault(delay_ns=20 * MS)})
        await arm.traffic()
        before = await env.link_counters()
        await arm.traffic()
        after = await env.link_counters()
        assert grown(before[a, b], after[a, b], "dropped") == 0
        assert grown(before[b, a], after[b, a], "delayed") > 0

    within(arm, body)


def test_kill_and_start(arm: Any) -> None:
    async def body(env: Any) -> None:
        assert await env.alive("n2")
        await env.kill("n2")
        assert not await env.alive("n2")
        await env.kill("n2")
        await env.start("n2")
        assert await env.alive("n2")
        await env.node("n2").http_ok(8001, "/health", within_s=PATIENCE_S)

    within(arm, body)


def test_a_node_that_is_stopped_kindly_is_not_alive_and_no_death(arm: Any) -> None:
    if arm.env.name == "sim":
        pytest.skip("simulated nodes are no processes")

    async def body(env: Any) -> None:
        node = env.node("n2")
        await env.pause("n2")
        await node.stop()
        assert not await env.alive("n2")
        assert (await node.run("echo", "still a node")).stdout.split() == ["still", "a", "node"]
        await env.start("n2")
        await node.http_ok(8001, "/health", within_s=PATIENCE_S)
        assert env.deaths() == {}

    within(arm, body)


def test_pause_and_resume_are_read_back(arm: Any) -> None:
    async def body(env: Any) -> None:
        assert (await env.pause("n3"))["state"] == "T"
        assert (await env.pause("n3"))["state"] == "T"
        assert await env.alive("n3")
        assert (await env.prove_clean()) != []
        assert (await env.resume("n3"))["state"] != "T"
        assert await env.prove_clean() == []

    within(arm, body)


@pytest.mark.parametrize("offset_ns", [7_000 * MS, -3_600_000 * MS])
def test_a_clock_offset_is_read_back(arm: Any, offset_ns: int) -> None:
    async def body(env: Any) -> None:
        moved = await env.set_clock("n1", offset_ns=offset_ns)
        assert abs(moved["offset_ns"] - offset_ns) < 500 * MS
        assert await env.prove_clean() != []
        back = await env.set_clock("n1")
        assert abs(back["offset_ns"]) < 500 * MS
        assert await env.prove_clean() == []

    within(arm, body)


def test_heal_all_heals_everything_and_again(arm: Any) -> None:
    async def body(env: Any) -> None:
        await env.set_links({(a, b): CUT for a in NODES for b in NODES if a != b})
        await env.set_clock("n2", offset_ns=5_000 * MS)
        await env.pause("n1")
        assert len(await env.prove_clean()) >= 3
        for _ in range(3):
            await env.heal_all()
            assert await env.prove_clean() == []

    within(arm, body)


def test_time_passes(arm: Any) -> None:
    async def body(env: Any) -> None:
        before = env.now_ns()
        await env.sleep(30 * MS)
        assert 30 * MS <= env.now_ns() - before < 10_000 * MS

    within(arm, body)
