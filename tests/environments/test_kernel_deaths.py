"""The harness is killed by SIGKILL at random moments of faulty runs: healed soon, and judged.

Two moments an environment by default; twenty with ``pytest -m slow``. A moment may be in setup, in
a fault, in healing or in teardown. Whatever it is: ten seconds later (which only the slow tests
hold it to, since a busy machine has no such seconds) no process, namespace,
container, network or rule of the run is there, the record says who healed it, and its history,
as far as it was written, has a verdict which is not a violation.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from arms import PATIENCE_S, Local
from kernel_arms import docker_arm, netns_arm

from harness.cli import main
from harness.environments import processes, record
from harness.environments.disk import disks, volumes
from harness.environments.netns import network_left
from harness.heal import heal_run

pytestmark = pytest.mark.real
HEALED_WITHIN_S = 10.0


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kvstore"
FAULTS = ("--nemesis", "partition,pause,kill", "--nemesis-interval", "1.5")
#: somebody else's database, on disks that fail
FOREIGN = (
    "--db", "test_kvstore:KVStore", "--client", "test_kvstore:KVClient", "--workload",
    "test_kvstore:tickets", "--nemesis", "disk,kill", "--nemesis-interval", "1.5",
)  # fmt: skip


def require(env: str, tmp_path: Path) -> None:
    {"netns": netns_arm, "docker": docker_arm, "local": Local}[env](tmp_path / "probe")


def left(env: str, found: record.Record) -> list[str]:
    names = [processes.describe(process.pid) for process in processes.of_run(found.run_id)]
    names += [path for path in found.detail.get("mounts", []) if volumes.mounted(path)]
    if env == "local":
        return names
    if env == "netns":
        return names + network_left(found.detail)
    from harness.environments.machines.docker_daemon import Daemon

    return names + Daemon().left(found.run_id)


def killed(
    env: str, store: Path, after_s: float, words: Sequence[str]
) -> tuple[Path, record.Record]:
    """A faulty run, killed some time after its environment began to be made."""
    child = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "test", "--env", env, "--time-limit", "30",
         "--store", str(store), *words],
        cwd=EXAMPLE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE_S
    while not (found := sorted(store.glob("*/2*/environment.json"))):
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()[1]
        time.sleep(0.01)
    time.sleep(after_s)
    assert child.poll() is None
    child.kill()
    child.communicate()
    made = record.load(found[0].parent)
    assert made is not None
    return found[0].parent, made


def die_and_be_healed(
    env: str, store: Path, after_s: float, words: Sequence[str] = FAULTS
) -> float:
    """Returns how long healing took."""
    run_dir, made = killed(env, store, after_s, words)
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        now = record.load(run_dir)
        assert now is not None
        if now.state == "clean" and not left(env, now):
            break
        time.sleep(0.05)
    took_s = time.monotonic() - began
    assert left(env, made) == [], f"{took_s:.1f} s after SIGKILL"
    now = record.load(run_dir)
    assert now is not None and now.state == "clean", now
    assert not [note for note in now.healed if note["left"]]
    assert "nothing to do" in heal_run(run_dir).sentence
    if (run_dir / "history.jsonl").exists() and (run_dir / "history.jsonl").stat().st_size:
        # Judged: valid, or unknown where there was too little; an intact cluster is never invalid.
        assert main(["check", str(run_dir)]) in (0, 2)
    return took_s


@pytest.mark.parametrize("env", ["docker", "netns"])
@pytest.mark.parametrize("after_s", [0.4, 7.0])
def test_a_killed_harness_is_healed_and_judged(env: str, after_s: float, tmp_path: Path) -> None:
    require(env, tmp_path)
    die_and_be_healed(env, tmp_path / "store", after_s)


@pytest.mark.parametrize(
    "env", ["local", pytest.param("docker", marks=pytest.mark.slow),
            pytest.param("netns", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_killed_harness_leaves_no_faulty_disk(env: str, tmp_path: Path) -> None:
    require(env, tmp_path)
    if lacking := disks.missing():
        pytest.skip(lacking)
    die_and_be_healed(env, tmp_path / "store", 6.0, FOREIGN)


@pytest.mark.slow
@pytest.mark.parametrize("env", ["docker", "netns"])
def test_twenty_random_moments(env: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    require(env, tmp_path)
    rng = random.Random(os.environ.get("HARNESS_SEED", "twenty moments"))
    took = []
    for number in range(20):
        after_s = rng.uniform(0, 20)
        took.append(die_and_be_healed(env, tmp_path / f"store-{number}", after_s))
        with capsys.disabled():
            print(f"{env}: killed after {after_s:.1f} s, healed in {took[-1]:.1f} s", flush=True)
    assert max(took) < HEALED_WITHIN_S
