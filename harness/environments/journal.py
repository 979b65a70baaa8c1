"""The journal of a run: what it makes is written down first, and a watchdog reads it.

The problem: the harness may die between making a thing and removing it. The solution: a thing is in
``environment.json`` before it is there, every process carries the run's mark, and a watchdog
process, which outlives the harness, heals from that file. See :mod:`harness.watchdog` and
:mod:`harness.heal`.

For :mod:`harness.environments.composed` and the parts it is made of.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import marks, processes, record


class Journal:
    """The things that one run has made.

    Args:
        environment: the environment's name.
        nodes: names of the run's nodes.
        run_dir: the run's directory.
    """

    def __init__(self, environment: str, nodes: Sequence[str], run_dir: Path) -> None:
        self.environment = environment
        self.nodes = tuple(nodes)
        self.run_dir = Path(run_dir).resolve()
        self.run_id = marks.new(self.run_dir)
        self.record = record.new(environment, self.run_id, processes.identify(os.getpid()))
        #: holds the run's addresses until the run ends
        self.claim: socket.socket | None = None
        self._watchdog: asyncio.subprocess.Process | None = None

    def save(self) -> None:
        """Replace the file."""
        self.record.save(self.run_dir)

    def write_down(self, what: str, names: Collection[str]) -> None:
        """Note what is about to be made, so that a healer finds it after the harness's death."""
        known = self.record.detail.setdefault(what, [])
        known += [name for name in names if name not in known]
        self.save()

    def started(self, role: str, node: str, pid: int) -> None:
        """Note a process that was just started; those that ended are forgotten."""
        process = processes.identify(pid)
        if process is None:
            return
        running = [each for each in self.record.processes if processes.running(each.process)]
        self.record.processes = [*running, record.StartedProcess(role, node, process)]
        self.save()

    def variables(self, role: str) -> dict[str, str]:
        """Environment variables of a helper process of the run: its mark, and our packages."""
        return {**python_path(), **processes.mark(self.run_id, f"({role})", {})}

    # -- the watchdog --------------------------------------------------------------------------

    async def start_watchdog(self) -> None:
        """Start the process that cleans up if this one dies."""
        from harness.watchdog import start

        self._watchdog = await start(self.run_dir, env=self.variables("watchdog"))
        self.started("watchdog", "", self._watchdog.pid)

    async def dismiss_watchdog(self) -> None:
        """End the watchdog: nothing is left for it to do."""
        if self._watchdog is not None:
            from harness.watchdog import dismiss

            await dismiss(self._watchdog)
            self._watchdog = None

    async def stop_strays(self) -> None:
        """SIGKILL every process that carries the run's mark, but for the watchdog."""
        watchdog = 0 if self._watchdog is None else self._watchdog.pid
        strays = [p for p in processes.of_run(self.run_id) if p.pid != watchdog]
        await asyncio.to_thread(processes.stop_all, strays)

    # -- the end -------------------------------------------------------------------------------

    async def left_running(self) -> None:
        """Write down that the nodes were left running on purpose."""
        self.record.state = "left running"
        self.save()
        await self.dismiss_watchdog()

    async def finish(self, left: Sequence[str]) -> None:
        """Write down how the run was left, dismiss the watchdog, give the addresses back."""
        self.record.state = "left" if left else "clean"
        self.record.processes = []
        if self.run_dir.is_dir():
            self.save()
        await self.dismiss_watchdog()
        if self.claim is not None:
            self.claim.close()
            self.claim = None

    def node_directories(self) -> dict[str, Path]:
        """The nodes' directories in the run's, made."""
        found = {name: self.run_dir / "nodes" / name for name in self.nodes}
        for directory in found.values():
            directory.mkdir(parents=True, exist_ok=True)
        return found


def python_path() -> dict[str, str]:
    """Lets child processes import what this one imports, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root}


def checked_options(
    environment: str, known: Mapping[str, Any], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """An environment's options, with its defaults.

    Raises:
        UsageError: an option is unknown, or a value is none that it takes.
    """
    from harness.errors import UsageError, nearest

    for name in given or {}:
        if name not in known:
            raise nearest(f"option of the environment {environment}", name, known)
    options = {**known, **(given or {})}
    for name in ("clock", "disk"):
        if options[name] not in ("auto", "on", "off", True, False):
            raise UsageError(f"option {name} must be auto, on or off, not {options[name]!r}")
    return options
