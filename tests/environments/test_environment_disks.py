"""Foreign databases' disks, and nodes that are starved: one body for every environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from arms import PATIENCE_S, Local, throttled, within
from kernel_arms import BUSY, KERNEL_ARMS

from harness.environments.disk import disks
from harness.environments.pressure import cgroups
from harness.errors import SetupError

pytestmark = pytest.mark.real
ARMS = {"local": Local, **KERNEL_ARMS}
MS = 1_000_000
#: how a database that is not ours is started
FOREIGN = {"chaos": False, "framing": "bytes"}
SLOW = pytest.mark.slow
#: what is told of every environment, quickly of some
EVERYWHERE = ["local", "netns", "docker", pytest.param("ssh", marks=SLOW)]
LOCALLY = ["local", *(pytest.param(name, marks=SLOW) for name in ("netns", "docker", "ssh"))]


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made: list[Any] = []

    def one(**options: Any) -> Any:
        made.append(ARMS[request.param](tmp_path / "run", **options))
        return made[-1]

    yield one
    for arm in made:
        getattr(arm, "close", lambda: None)()


async def write(env: Any, name: str, text: str, *, check: bool = False) -> Any:
    """Write a file of n2's data and sync it."""
    program = "import os,sys; f=open(sys.argv[1],'w'); f.write(sys.argv[2]); f.flush()"
    words = ["-c", f"{program}; os.fsync(f.fileno())", f"/data/{name}", text]
    return await env.node("n2").run(sys.executable, *words, check=check)


@pytest.mark.parametrize("make", EVERYWHERE, indirect=True)
def test_the_disk_below_a_foreign_database_fails_and_is_good_again(make: Any) -> None:
    if lacking := disks.missing():
        pytest.skip(lacking)
    arm = make(disk="on")

    async def body(env: Any) -> None:
        await write(env, "before", "1", check=True)
        healthy = await env.set_disk("n2", {"error": "EIO"})
        assert set(healthy["counts"].values()) == {0}
        done = await write(env, "during", "2")
        assert done.exit_code != 0 and "Errno 5" in done.stderr
        assert await env.prove_clean() != []

        assert (await env.set_disk("n2", {"full": True}))["counts"]["errors"] > 0
        done = await write(env, "during", "3")
        assert done.exit_code != 0 and "No space left" in done.stderr

        assert (await env.set_disk("n2", {"latency_ns": 50 * MS}))["counts"]["refused"] > 0
        await write(env, "during", "4", check=True)

        # A kill takes the place with it in a container; the fault is the machine's and stays.
        await env.kill("n2")
        await env.start("n2")
        await env.node("n2").http_ok(8001, "/health", within_s=PATIENCE_S)
        await write(env, "later", "5", check=True)
        healed = await env.set_disk("n2", {})
        assert healed["counts"]["delayed"] >= 2
        assert await env.prove_clean() == []
        await write(env, "after", "6", check=True)
        # What another node does is not touched.
        assert (await env.set_disk("n1", {})) == {} or not any(
            (await env.set_disk("n1", {}))["counts"].values()
        )

    within(arm, body, **FOREIGN)


@pytest.mark.parametrize("make", LOCALLY, indirect=True)
def test_a_flipped_bit_is_read_and_a_majority_keeps_its_disks(make: Any) -> None:
    if lacking := disks.missing():
        pytest.skip(lacking)
    arm = make(disk="on")

    async def body(env: Any) -> None:
        await env.node("n2").wipe("/data")
        nothing = await env.set_disk("n2", {"flip": True})
        assert nothing["skipped"] and env.damaged() == []
        await write(env, "file", "a" * 1000, check=True)
        flipped = await env.set_disk("n2", {"flip": True})
        assert flipped["flipped_now"] and flipped["flipped"][0]["file"] == "file"
        read = await env.node("n2").run("cat", "/data/file")
        assert len(read.stdout.encode()) >= 1000 and read.stdout != "a" * 1000
        assert env.damaged() == ["n2"]
        refused = await env.set_disk("n3", {"flip": True})
        assert refused["skipped"] and "the disks of n2 are damaged" in refused["why"]

    within(arm, body, **FOREIGN)


@pytest.mark.parametrize("make", LOCALLY, indirect=True)
def test_a_starved_node_is_throttled_and_let_go(make: Any) -> None:
    arm = make()
    if "pressure" not in arm.env.abilities:
        pytest.skip(arm.env.lacks["pressure"])
    if lacking := cgroups.trees()[1]:
        pytest.skip("; ".join(lacking.values()))

    async def body(env: Any) -> None:
        node = env.node("n2")
        await node.spawn(sys.executable, "-c", BUSY)
        await throttled(env, "n2", 0.05)
        assert await env.prove_clean() != []
        await env.set_pressure("n2", {"cpu_share": 0.05, "memory_headroom_bytes": 1 << 25})
        assert (await env.set_pressure("n2", {}))["counters"]["throttled"] > 0
        assert await env.prove_clean() == []
        await node.http_ok(8001, "/health", within_s=PATIENCE_S)

    within(arm, body, **FOREIGN)


@pytest.mark.parametrize("make", LOCALLY, indirect=True)
def test_without_a_file_system_in_user_space_it_is_said(make: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(disks, "missing", lambda: "/dev/fuse cannot be opened: Permission denied")
    arm = make()

    async def body(env: Any) -> None:
        with pytest.raises(SetupError, match=r"below it: /dev/fuse cannot be opened.*_mb=256"):
            await env.set_disk("n2", {"error": "EIO"})

    within(arm, body, **FOREIGN)
