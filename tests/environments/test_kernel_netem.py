"""netem in network namespaces: each kind of bad link is felt, counted, and gone when it is healed.

Where the kernel has no netem these are skipped; `python scripts/uml_netem_test.py` runs them in
User-mode Linux, and so does the last test here (slow).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from arms import CUT, MS, NODES, within
from kernel_arms import netns_arm

from harness.environments.base import LinkFault
from harness.nemesis.evidence import link_changes, links_bit, wanted_counters

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
ALL = [(a, b) for a in NODES for b in NODES if a != b]


@pytest.fixture
def arm(tmp_path: Path) -> Any:
    made = netns_arm(tmp_path / "run")
    if "packets" not in made.env.abilities:
        pytest.skip(made.env.lacks["packets"])
    return made


def after_traffic(arm: Any, body: Any) -> None:
    """Run a test's body where every link has carried something."""

    async def carried(env: Any) -> None:
        for a, b in ALL:
            await arm.send(a, b, 3)
        for name in NODES:
            await arm.seen(name, count=6)
        await body(env)

    within(arm, carried)


async def late_ms(arm: Any, source: str, target: str, count: int = 30) -> list[float]:
    """How late messages were, in order of arrival."""
    await arm.send(source, target, count)
    return [late * 1000 for _, late in (await arm.seen(target, count=count))[source]]


async def quickest_ms(arm: Any, source: str, target: str, *, under: float) -> float:
    """How late the quickest of many messages was; moments in which all are late are sat out."""
    quickest = float("inf")
    for _ in range(20):
        quickest = min(quickest, *await late_ms(arm, source, target))
        if quickest < under:
            break
    return quickest


def test_a_delay_is_felt_one_way_only_and_by_peers_only(arm: Any) -> None:
    async def body(env: Any) -> None:
        await env.set_links({("n1", "n2"): LinkFault(delay_ns=150 * MS)})
        assert 150 <= await quickest_ms(arm, "n1", "n2", under=250) < 250
        assert await quickest_ms(arm, "n1", "n3", under=50) < 50
        assert await quickest_ms(arm, "n3", "n2", under=50) < 50
        assert await env.prove_clean() != []
        await env.set_links({})
        assert await quickest_ms(arm, "n1", "n2", under=50) < 50
        assert await env.prove_clean() == []

    after_traffic(arm, body)


def test_jitter_is_added_to_the_delay_never_taken_from_it(arm: Any) -> None:
    async def body(env: Any) -> None:
        await env.set_links({("n1", "n2"): LinkFault(delay_ns=80 * MS, jitter_ns=80 * MS)})
        first = [(await late_ms(arm, "n1", "n2", 1))[0] for _ in range(25)]
        assert min(first) >= 79
        assert max(first) - min(first) > 20

    after_traffic(arm, body)


@pytest.mark.parametrize(
    "fault",
    [
        LinkFault(delay_ns=50 * MS),
        LinkFault(loss=0.3),
        LinkFault(duplicate=0.5),
        LinkFault(reorder=0.5),
        LinkFault(corrupt=0.3),
        LinkFault(rate_bytes_per_s=20_000),
        LinkFault(delay_ns=20 * MS, jitter_ns=10 * MS, loss=0.1, duplicate=0.1, corrupt=0.1),
    ],
    ids=lambda fault: "-".join(f for f in fault.__struct_fields__ if getattr(fault, f)),
)
def test_each_kind_leaves_evidence_on_its_links(arm: Any, fault: LinkFault) -> None:
    async def body(env: Any) -> None:
        links = [("n1", "n2"), ("n3", "n2")]
        before = await env.link_counters()
        await env.set_links(dict.fromkeys(links, fault))
        # Overtaking needs segments that follow each other closely: full ones do.
        count = 300 if fault.reorder else 10
        for _ in range(20):
            await arm.send("n1", "n2", count)
            await arm.send("n3", "n2", count)
            await env.sleep(50 * MS)
        await env.sleep(300 * MS)
        changes = link_changes(before, await env.link_counters(), links)
        for name in wanted_counters(fault):
            assert links_bit(changes, frozenset({name})), (name, changes)
        await env.set_links({})
        seen = await arm.seen("n2", count=40 * count)
        # TCP hides what was done to packets: everything arrives, once, in order.
        assert [n for n, _ in seen["n1"]] == list(range(count)) * 20
        healthy = link_changes(before, await env.link_counters(), [("n2", "n1"), ("n1", "n3")])
        assert not links_bit(healthy, frozenset({"dropped", "delayed"}))

    after_traffic(arm, body)


def test_a_cut_beside_a_delay_and_replacing_both(arm: Any) -> None:
    async def body(env: Any) -> None:
        await env.set_links({("n1", "n2"): CUT, ("n1", "n3"): LinkFault(delay_ns=60 * MS)})
        assert len(await env.prove_clean()) == 2
        assert min(await late_ms(arm, "n1", "n3")) >= 60
        await env.set_links({("n1", "n2"): LinkFault(delay_ns=60 * MS)})
        assert min(await late_ms(arm, "n1", "n2")) >= 60
        assert await quickest_ms(arm, "n1", "n3", under=50) < 50
        await env.heal_all()
        assert await env.prove_clean() == []

    after_traffic(arm, body)


def test_a_run_with_bad_packets_is_valid_and_proved(tmp_path: Path, arm: Any) -> None:
    import harness

    outcome = harness.run(
        env="netns", nemesis="packets", time_limit_s=15.0, nemesis_interval_s=3.0, seed=3,
        store=str(tmp_path), no_report=True, say=lambda line: None,
    )  # fmt: skip
    assert outcome.verdict.name == "VALID", outcome.sentence
    assert outcome.evidence["faults_bit"] >= 2


@pytest.mark.slow
def test_all_of_this_in_user_mode_linux() -> None:
    if os.environ.get("HARNESS_IN_UML"):
        pytest.skip("this is User-mode Linux")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "uml_netem_test.py")],
        capture_output=True, text=True, timeout=700,
    )  # fmt: skip
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout and "12 skipped" not in done.stdout
