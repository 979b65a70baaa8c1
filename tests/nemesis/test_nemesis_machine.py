"""Pressure and full disks, with the real kernel; skipped, with the reason, where it cannot."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.environments.disk import disks, volumes
from harness.environments.local import local
from harness.environments.pressure import cgroups
from harness.errors import SetupError, UsageError

pytestmark = pytest.mark.real

_SPIN = "import time\nend=time.time()+600\nwhile time.time()<end: pass"
_EAT = """
import sys, time
chunks = []
for _ in range(6000):
    chunks.append(bytearray(b"x" * 200_000))
    time.sleep(0.05)
"""


def require(controller: str) -> dict[str, cgroups.Tree]:
    found, lacks = cgroups.trees()
    if controller in lacks:
        pytest.skip(f"no control groups of {controller}: {lacks[controller]}")
    return found


def wait_for(met, *, within_s: float = 90.0) -> None:
    end_s = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.05)


def test_a_program_without_processor_time_is_throttled_and_goes_home() -> None:
    squeezed = cgroups.Squeezed(f"splitbrain-test-{os.getpid()}", require("cpu"))
    before = Path("/proc/self/cgroup").read_text()
    child = subprocess.Popen([sys.executable, "-c", _SPIN])
    try:
        told = squeezed.set({"cpu_share": 0.05}, [child.pid])
        assert any("5000" in text for text in told["limits"].values())
        wait_for(lambda: squeezed.counters()["throttled"] > told["counters"]["throttled"] + 2)
        assert Path(f"/proc/{child.pid}/cgroup").read_text() != before
        healed = squeezed.set({}, [child.pid])
        assert healed["counters"]["throttled_ns"] > 0
        assert Path(f"/proc/{child.pid}/cgroup").read_text() == before
    finally:
        child.kill()
        child.wait()
        squeezed.release()
    assert not [name for name in squeezed.directories if os.path.isdir(name)]


def test_a_program_without_memory_is_refused_it() -> None:
    squeezed = cgroups.Squeezed(f"splitbrain-test-{os.getpid()}", require("memory"))
    child = subprocess.Popen([sys.executable, "-c", _EAT])
    try:
        squeezed.set({"memory_headroom_bytes": 1_000_000}, [child.pid])
        wait_for(lambda: squeezed.counters()["memory_refused"] > 0)
    finally:
        child.kill()
        child.wait()
        squeezed.release()
    assert not [name for name in squeezed.directories if os.path.isdir(name)]


def test_what_a_dead_harness_left_is_removed_by_name(tmp_path: Path) -> None:
    squeezed = cgroups.Squeezed(f"splitbrain-test-{os.getpid()}", require("cpu"))
    squeezed.set({"cpu_share": 0.5}, [])
    made = [name for name in squeezed.directories if os.path.isdir(name)]
    assert made
    removed, left = cgroups.remove({"cgroups": squeezed.directories})
    assert removed == [f"control group {name}" for name in made] and left == []


def test_a_volume_is_full_and_has_space_again(tmp_path: Path) -> None:
    if lacking := volumes.missing():
        pytest.skip(lacking)
    log = tmp_path / "log"
    log.write_text("No space left on device: of old\n")
    volume = volumes.Volume(tmp_path, size_mb=16, log=log)
    try:
        volume.make()
        assert volume.fill() == {"by": "volume", "free_bytes": 0, "refused": True}
        with pytest.raises(OSError, match="No space"):
            (volume.data / "more").write_bytes(bytes(100_000))
        assert volume.free()["felt"] is False
        volume.fill()
        with open(log, "a") as file:
            file.write("fatal: No space left on device\n")
        freed = volume.free()
        assert freed["felt"] is True and freed["free_bytes"] > 8_000_000
        (volume.data / "more").write_bytes(bytes(100_000))
    finally:
        gone, left = volumes.remove({"mounts": [str(volume.mount_point)]})
    assert gone == [f"mount {volume.mount_point}"] and left == []
    assert not volume.image.exists() and volumes.remove({"mounts": [str(tmp_path)]}) == ([], [])


def test_root_that_may_not_mount_is_told_so() -> None:
    """As in most containers."""
    code = "from harness.environments.disk import volumes; print(volumes.may_not_mount())"
    without = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("giving up capabilities needs root and util-linux's setpriv")
    done = subprocess.run([*without, sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"capabilities cannot be given up here: {done.stderr.strip()}")
    assert "CAP_SYS_ADMIN" in done.stdout


def test_a_foreign_disk_says_what_it_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="option volume_mb is 3; it should be 0 for none, or from"):
        local(nodes=["n1"], run_dir=tmp_path, seed=1, options={"volume_mb": 3})
    env = local(nodes=["n1"], run_dir=tmp_path, seed=1, options={"watchdog": False})

    async def main() -> None:
        await env.setup()
        try:
            monkeypatch.setattr(disks, "missing", lambda: "")
            with pytest.raises(SetupError, match=r"fault error: .*plain disk; give .* disk=on"):
                await env.set_disk("n1", {"error": "EIO"})
            monkeypatch.setattr(disks, "missing", lambda: "mounting needs root")
            with pytest.raises(SetupError, match=r"below it: mounting needs root. .*volume_mb"):
                await env.set_disk("n1", {"error": "EIO"})
        finally:
            await env.teardown()

    asyncio.run(main())
