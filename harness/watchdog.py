"""The watchdog: a small process which cleans up a run when the harness dies.

The problem: a harness killed by SIGKILL runs no handler, and leaves stopped processes, proxies and
databases behind. The solution: a process of its own, in its own session (so that Ctrl-C does not
reach it), which waits on a pipe whose other end only the harness holds. The kernel closes that end
however the harness ends. If the word ``done`` came before, all is well; if not, the watchdog heals
the run as ``harness heal`` would.

Started by environments; ``python -m harness.watchdog RUN_DIR`` with the pipe as standard input.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_DONE = b"done\n"


async def start(run_dir: Path, *, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start the watchdog of a run, from the process whose death it watches for.

    Args:
        run_dir: the run's directory, with its ``environment.json``.
        env: additions to the environment variables.
    """
    with open(run_dir / "watchdog.log", "ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "harness.watchdog", str(run_dir)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **env},
            cwd=run_dir,
            start_new_session=True,
        )


async def dismiss(watchdog: asyncio.subprocess.Process) -> None:
    """Tell the watchdog that the run ended well, and wait for it to leave."""
    assert watchdog.stdin is not None
    try:
        watchdog.stdin.write(_DONE)
        await watchdog.stdin.drain()
        watchdog.stdin.close()
        async with asyncio.timeout(3.0):
            await watchdog.wait()
    except (ConnectionError, TimeoutError):
        if watchdog.returncode is None:
            watchdog.kill()
            await watchdog.wait()


def watch(run_dir: Path) -> int:
    """Wait for the harness to end; heal its run unless it said that all is well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    said = sys.stdin.buffer.read()
    if said.endswith(_DONE):
        return 0
    from harness.environments.record import Consent
    from harness.heal import heal_run

    # The run whose mark this process carries named its hosts a moment ago, on a command line.
    healing = heal_run(run_dir, by="watchdog", consent=Consent(trust_hosts=True))
    print(*healing.sentences, sep="\n", flush=True)
    return 0 if healing.clean else 3


def main() -> None:
    """Run the watchdog of the run named on the command line."""
    sys.exit(watch(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
