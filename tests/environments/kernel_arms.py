"""Arms of the environments whose faults are made by kernels, each skipped where it cannot run."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from arms import NODES, Local


class Kernel(Local):
    """What the arms share: traffic is waited for, since TCP sends again what was dropped."""

    def __init__(self, env: Any) -> None:
        self.env = env

    async def traffic(self) -> None:
        """Messages on every link; some may be lost. Long enough for TCP to try again."""
        for _ in range(4):
            await super().traffic()
            await asyncio.sleep(0.3)


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


KERNEL_ARMS = {"netns": netns_arm}
