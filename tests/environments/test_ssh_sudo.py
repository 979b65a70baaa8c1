"""Hosts where one logs in as an ordinary user with ``sudo``: root does the kernel's part only.

A user is made for the test and removed with it, and so is its line in ``/etc/sudoers.d``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arms import CUT, MS, throttled, within
from kernel_arms import BUSY, ssh_arm

from harness.environments.disk import disks
from harness.errors import SetupError

pytestmark = pytest.mark.real
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")


@pytest.fixture
def user() -> Iterator[str]:
    """A user who may use sudo, for the length of a test."""
    if os.geteuid() != 0:
        pytest.skip("making a user needs root")
    for program in ("sudo", "useradd", "userdel"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if PYTHON is None:
        pytest.skip("no python3 which other users may run")
    name = f"sbtest{os.getpid()}"
    allowed = Path("/etc/sudoers.d") / name
    words = ["useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", name]
    try:
        made = subprocess.run(words, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no user can be made here: {made.stderr.strip()}")
        allowed.write_text(f"{name} ALL=(root) NOPASSWD: ALL\n")
        allowed.chmod(0o440)
        yield name
    finally:
        allowed.unlink(missing_ok=True)
        subprocess.run(["userdel", "--remove", "--force", name], capture_output=True)


@pytest.fixture
def arm(user: str, tmp_path: Path) -> Iterator[Any]:
    made = ssh_arm(tmp_path / "run", user=user, python=PYTHON, dir="/var/tmp", disk="on")
    yield made
    made.close()


def test_faults_are_roots_and_the_database_is_the_users(arm: Any, user: str) -> None:
    async def body(env: Any) -> None:
        node = env.node("n2")
        assert (await node.run("id", "-un")).stdout.strip() == user
        await arm.traffic()
        await env.set_links({("n1", "n2"): CUT})
        await arm.traffic()
        assert (await env.link_counters())["n1", "n2"]["dropped"] > 0
        await env.set_links({})

        if not disks.missing():
            await node.run("sh", "-c", 'echo mine >"$1"', "sh", "/data/file")
            owner = await node.run("stat", "-c", "%U %a", "/data/file")
            assert owner.stdout.split()[0] == user
            await env.set_disk("n2", {"error": "EIO"})
            done = await node.run("sh", "-c", 'echo x >"$1"', "sh", "/data/more", check=False)
            assert done.exit_code != 0
            assert (await env.set_disk("n2", {}))["counts"]["errors"] > 0

        await node.spawn(sys.executable, "-c", BUSY)
        await throttled(env, "n2", 0.05)
        assert (await env.set_pressure("n2", {}))["counters"]["throttled"] > 0
        assert (await env.pause("n3"))["state"] == "T"
        await env.sleep(50 * MS)
        await env.heal_all()
        assert await env.prove_clean() == []

    within(arm, body, chaos=False, framing="bytes")
    left = [
        path
        for path in Path("/var/tmp").iterdir()
        if path.name.startswith(arm.env.parts.site.prefix)
    ]
    assert left == []


def test_without_sudo_it_is_said_what_to_allow(arm: Any, user: str) -> None:
    (Path("/etc/sudoers.d") / user).unlink()
    with pytest.raises(SetupError, match=rf"allow it: `{user} ALL=\(root\) NOPASSWD: ALL`"):
        arm.run(arm.env.setup())
