"""Arms of the environments whose faults are made by kernels, each skipped where it cannot run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from arms import ECHO, NODES, PATIENCE_S, Local

from harness.errors import SetupError, UsageError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import ssh_hosts

#: takes all the processor time it is given, until its node is killed
BUSY = "while True: pass"


class Kernel(Local):
    """What the arms share: traffic is waited for, since TCP sends again what was dropped."""

    def __init__(self, env: Any) -> None:
        self.env = env

    async def traffic(self) -> None:
        """Messages on every link; some may be lost. Long enough for TCP to try again."""
        for _ in range(2):
            await self.send_everywhere()
            await asyncio.sleep(0.4)


def netns_arm(run_dir: Path, **options: Any) -> Kernel:
    """Network namespaces, if this user may make them."""
    if os.geteuid() != 0:
        pytest.skip("netns needs root")
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        pytest.skip("netns needs iproute2 and util-linux")
    from harness.environments.netns import netns, probe

    tools = probe()
    if not tools.cut:
        pytest.skip(f"this kernel cannot filter packets: {tools.why}")
    return Kernel(netns(nodes=NODES, run_dir=run_dir, seed=5, options=options))


class Docker(Kernel):
    """Containers; the echo store is copied into each."""

    async def _start(self, name: str, chaos: bool, framing: str) -> None:
        node = self.env.node(name)
        await node.upload(Path(ECHO), "/data/echo_store.py")
        others = [peer for peer in NODES if peer != name]
        peers = [f"{peer}={node.peer_address(peer, 7001)}" for peer in others]
        argv = (sys.executable, "-S", "/data/echo_store.py", name, node.address, *peers)
        await node.spawn(*argv, ports=(7001, 8001), chaos_port=8001 if chaos else None)
        await node.http_ok(8001, "/health", within_s=PATIENCE_S)


def docker_arm(run_dir: Path, **options: Any) -> Kernel:
    """Containers, if Docker and the image are there."""
    from harness.environments.docker import docker

    env = docker(nodes=NODES, run_dir=run_dir, seed=5, options=options)
    try:
        env.prepare(())
    except SetupError as error:
        pytest.skip(str(error))
    with contextlib.suppress(UsageError):
        env.prepare({"packets"})
    return Docker(env)


class Ssh(Docker):
    """Hosts of scripts/ssh_hosts.py, made for the one test and taken down with it."""

    def __init__(self, run_dir: Path, *, user: str = "root", **options: Any) -> None:
        from harness.environments.ssh import ssh

        self._directory = run_dir.with_name("hosts")
        made = ssh_hosts.up(self._directory, user=user)
        given = {
            "hosts": made["hosts"],
            "known_hosts": made["known_hosts"],
            "key": made["key"],
            "python": sys.executable,
            "dir": str(run_dir.parent),
            **options,
        }
        super().__init__(ssh(nodes=NODES, run_dir=run_dir, seed=5, options=given))

    def close(self) -> None:
        """Take the hosts down."""
        assert ssh_hosts.down(self._directory) == []


def ssh_arm(run_dir: Path, **options: Any) -> Kernel:
    """Three hosts with sshd on this machine."""
    netns_arm(run_dir)
    if shutil.which("sshd") is None and not Path("/usr/sbin/sshd").exists():
        pytest.skip("ssh needs OpenSSH's server: apt install openssh-server")
    arm = Ssh(run_dir, **options)
    with contextlib.suppress(UsageError):
        arm.env.prepare({"packets"})
    return arm


KERNEL_ARMS = {"netns": netns_arm, "docker": docker_arm, "ssh": ssh_arm}
