"""libfaketime under the nodes of a run: on this machine, and on machines that run scripts.

A program's clock follows a file. Another rate is made by moving the file in small steps. What the
clock says is read back through a child process under the same shared object and file; that the
program itself has the shared object is read from its memory map.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments import processes
from harness.environments.clock import faketime, remote_clock
from harness.environments.clock.faults import Clock
from harness.environments.clock.reading import ahead_ns
from harness.environments.journal import Journal
from harness.environments.machines import shell
from harness.environments.machines.machine import Command, Machine
from harness.environments.node_processes import NodeProcesses
from harness.errors import SetupError

_DRIFT_STEP_S = 0.05

_FIND = (
    "for f in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 "
    "/opt/*/lib/python3*/site-packages/libfaketime/vendor/libfaketime/src/libfaketime.so.1;"
    ' do [ -e "$f" ] && echo "$f"; done; :'
)
#: prints thrice the time before, under and after libfaketime, then pids that should have loaded it
_FAKED = """
for i in 1 2 3; do
    date +%s%N
    LD_PRELOAD=$1 FAKETIME_TIMESTAMP_FILE=$2 FAKETIME_NO_CACHE=1 date +%s%N
    date +%s%N
done
for p in /proc/[0-9]*; do
    [ "$p" != "/proc/$$" ] || continue
    tr '\\0' '\\n' <"$p/environ" 2>/dev/null | grep -qx "FAKETIME_TIMESTAMP_FILE=$2" || continue
    grep -q libfaketime "$p/maps" 2>/dev/null || echo "${p#/proc/}"
done
"""


class LocalFakeClocks:
    """Clocks of programs of this machine.

    Args:
        journal: the run's; the files are written down.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._library: Path | None = None
        self._drifts: dict[str, asyncio.Task[None]] = {}

    async def start(self, machines: Sequence[Machine]) -> None:
        """Find libfaketime and try it; without it only our own nodes' clocks can be moved."""
        found = faketime.library()
        if found is None:
            # Our own nodes need no libfaketime; a foreign one is refused when a fault is injected.
            return
        trouble = faketime.self_test(found, self._journal.run_dir)
        if trouble:
            raise SetupError(f"clock faults do not work on this machine: {trouble}")
        self._library = found
        for machine in machines:
            faketime.write_offset(_file(machine), 0)
            self._journal.record.files.append(str(_file(machine)))
        self._journal.save()

    def variables(self, machine: Machine, command: Command) -> Mapping[str, str]:
        """What a program is started with."""
        if self._library is None:
            return {}
        reason = faketime.why_not(command.argv[0])
        if reason:
            raise SetupError(f"a clock fault on {machine.name} is impossible: {reason}")
        return faketime.variables(self._library, _file(machine))

    async def move(self, node: NodeProcesses, clock: Clock) -> dict[str, Any]:
        """Move the clock and read it back."""
        library, file = self._library, _file(node.machine)
        if library is None:
            raise not_faked(node.name, "install the package libfaketime")
        await self._stop_drift(node.name)
        faketime.write_offset(file, clock.offset_ns)
        if clock.rate != 1.0:
            self._drifts[node.name] = asyncio.create_task(_drift(file, clock))
        read_ns = await asyncio.to_thread(self._read_ns, library, file)
        pids = await node.machine.pids()
        for pid in pids:
            if library.name not in _memory_map(pid):
                raise not_loaded(pid, node.name)
        return {"offset_ns": read_ns, "rate": clock.rate, "by": "libfaketime", "loaded": len(pids)}

    def _read_ns(self, library: Path, file: Path) -> int:
        mark = processes.mark(self._journal.run_id, "(probe)", {})
        probe = faketime.Probe(library, file, mark)
        try:
            return probe.read_ns()[0]
        finally:
            probe.close()

    async def _stop_drift(self, name: str) -> None:
        task = self._drifts.pop(name, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _drift(file: Path, clock: Clock) -> None:
    began_ns = time.monotonic_ns()
    while True:
        await asyncio.sleep(_DRIFT_STEP_S)
        gained_ns = int((clock.rate - 1.0) * (time.monotonic_ns() - began_ns))
        faketime.write_offset(file, clock.offset_ns + gained_ns)


def _file(machine: Machine) -> Path:
    """The file which a node's clock follows."""
    return machine.directory / "faketime"


def _memory_map(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


class ScriptedFakeClocks:
    """Clocks of programs of machines that run scripts.

    Args:
        journal: the run's, for its mark.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        #: libfaketime's place on every machine; empty if one has none
        self.library = ""

    async def start(self, machines: Sequence[Machine]) -> None:
        """Find libfaketime; without it only our own nodes' clocks can be moved."""
        found: list[list[str]] = []
        for machine in machines:
            found.append((await shell.run_script(machine, _FIND)).split())
            await shell.run_script(machine, f"echo +0 >{machine.home}/faketime")
        everywhere = [path for path in found[0] if all(path in paths for paths in found)]
        self.library = everywhere[0] if everywhere else ""

    def variables(self, machine: Machine, command: Command) -> Mapping[str, str]:
        """What a program is started with."""
        if not self.library:
            return {}
        return faketime.variables(Path(self.library), Path(machine.home, "faketime"))

    async def move(self, node: NodeProcesses, clock: Clock) -> dict[str, Any]:
        """Move the clock, by a loop beside the node where it has another rate; read it back."""
        if not self.library:
            raise not_faked(node.name, "install it on the node")
        machine, home = node.machine, node.machine.home
        file, drifting = f"{home}/faketime", f"{home}/drifting.{time.time_ns()}"
        sign, ns = ("-" if clock.offset_ns < 0 else "+"), abs(clock.offset_ns)
        text = f"{sign}{ns // 10**9}.{ns % 10**9:09d}"
        await shell.run_script(machine, remote_clock.SET, "sh", f"{home}/drifting.", file, text)
        if clock.rate != 1.0:
            gain = str(round((clock.rate - 1.0) * 1e6))
            words = [drifting, file, str(clock.offset_ns), gain, remote_clock.DRIFT]
            argv = ["sh", "-c", remote_clock.START_DRIFT, "sh", *words]
            mark = processes.mark(self._journal.run_id, f"({node.name})", {})
            await machine.execute(argv, variables=mark, timeout_s=shell.LOOK_S)
        said = (await shell.run_script(machine, _FAKED, "sh", self.library, file)).split()
        times, unreached = [int(word) for word in said[:9]], said[9:]
        if unreached:
            raise not_loaded(unreached[0], node.name)
        read_ns = ahead_ns(zip(times[::3], times[1::3], times[2::3]))
        return {"offset_ns": read_ns, "rate": clock.rate, "by": "libfaketime"}


def not_faked(node: str, how: str) -> SetupError:
    """The error for a node whose programs have the right time whatever is done."""
    return SetupError(
        f"the clock of {node} cannot be moved: its processes were not started under "
        f"libfaketime ({how}, and pass --env-option clock=on)"
    )


def not_loaded(pid: int | str, node: str) -> SetupError:
    """The error for a program which libfaketime does not reach."""
    return SetupError(
        f"process {pid} of {node} did not load libfaketime (a static or "
        "set-user-id program?), so its clock cannot be moved"
    )
