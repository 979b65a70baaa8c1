"""What cannot be removed after a run is named, with exit code 3: provoked, and healed later."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from kernel_arms import docker_arm

from harness.environments import record
from harness.heal import heal_run

pytestmark = pytest.mark.real
MOUNT = ("mount", "-t", "tmpfs", "tmpfs")


def started(store: Path, env: str) -> tuple[subprocess.Popen[str], Path, record.Record]:
    """A run under way, once its nodes serve."""
    child = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "test", "--env", env, "--time-limit", "3",
         "--store", str(store), "--no-report", "--nodes", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while True:
        for path in store.glob("*/2*/history.jsonl"):
            found = record.load(path.parent)
            if found is not None and path.read_bytes().count(b"\n") > 20:
                return child, path.parent, found
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()
        time.sleep(0.05)


def test_a_directory_that_somebody_holds_is_named(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.mkdir()
    tried = subprocess.run([*MOUNT, str(probe)], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"mounting over a data directory needs root: {tried.stderr.strip()}")
    subprocess.run(["umount", str(probe)], check=True)
    child, run_dir, _ = started(tmp_path / "store", "local")
    held = run_dir / "nodes" / "n2" / "data" / "held"
    held.mkdir()
    subprocess.run([*MOUNT, str(held)], check=True)
    try:
        _, said = child.communicate(timeout=120)
    finally:
        subprocess.run(["umount", str(held)], check=True)
    assert child.returncode == 3
    assert "after the run there is still: directory" in said and "n2/data" in said
    found = record.load(run_dir)
    assert found is not None and found.state == "left"


@pytest.mark.slow
def test_a_network_that_somebody_joined_is_named_and_can_be_healed(tmp_path: Path) -> None:
    docker_arm(tmp_path / "probe")
    from harness.environments.docker import IMAGE

    child, run_dir, found = started(tmp_path / "store", "docker")
    network = found.nodes["n1"]["container"].removesuffix("-n1")
    words = ["docker", "run", "--detach", "--rm", "--network", network, IMAGE, "sleep", "600"]
    stranger = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    try:
        _, said = child.communicate(timeout=90)
    finally:
        words = ["docker", "rm", "--force", "--volumes", stranger]
        subprocess.run(words, check=True, capture_output=True)
    assert child.returncode == 3
    assert network in said and "Traceback" not in said
    healing = heal_run(run_dir)
    assert healing.clean and healing.removed == [f"network {network}"]
    assert "nothing to do" in heal_run(run_dir).sentence
