"""Holds a local environment with a stopped node and a fake clock until it is killed."""

import asyncio
import sys
from pathlib import Path

from harness.environments.base import LinkFault
from harness.environments.local import local


async def main(run_dir: Path, watchdog: bool) -> None:
    options = {"clock": "on", "watchdog": watchdog}
    env = local(nodes=["n1", "n2", "n3"], run_dir=run_dir, seed=1, options=options)
    await env.setup()
    for name in env.nodes:
        await env.node(name).spawn("sleep", "600")
    # A child in a session of its own, as daemons have.
    await env.node("n3").spawn("sh", "-c", "setsid sleep 601 & sleep 602")
    await env.set_links({("n1", "n2"): LinkFault(cut=True)})
    await env.set_clock("n2", offset_ns=10**10)
    await env.pause("n1")
    print("ready", flush=True)
    await asyncio.sleep(600)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "watchdog"))
