"""Operating system processes, identified so that a recycled pid is never mistaken for ours.

The problem: a pid is a small number the kernel hands out again. A healer which kills pid 4711
because a file written an hour ago says so may kill a user's editor. The solution: a process is
named by its pid *and* its start time (field 22 of ``/proc/<pid>/stat``, ticks since boot), within
one boot; and everything a run starts carries ``SPLITBRAIN_RUN`` in its environment variables, which
children inherit, so that a process started a moment before the harness was killed, and never
written down, is found too.

Reads ``/proc`` with plain files rather than psutil: the healer must start fast and import little.
Called by environments, the watchdog, the healer and the proxy.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

RUN_VARIABLE = "SPLITBRAIN_RUN"
NODE_VARIABLE = "SPLITBRAIN_NODE"


class ProcessId(msgspec.Struct, frozen=True):
    """A process that cannot be mistaken for another one.

    Args:
        pid: process id.
        start_ticks: when it started, in clock ticks since boot.
    """

    pid: int
    start_ticks: int


class Stat(msgspec.Struct, frozen=True):
    """The fields of ``/proc/<pid>/stat`` used here; ``state`` is one letter (``T`` is stopped)."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int


def boot_id() -> str:
    """Names this boot of the machine: pids and ticks mean nothing across boots."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat(pid: int) -> Stat | None:
    """The process's state, or None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def identify(pid: int) -> ProcessId | None:
    """The identity of a running process (a zombie is not running), or None."""
    found = stat(pid)
    return None if found is None or found.state in "ZX" else ProcessId(pid, found.start_ticks)


def running(process: ProcessId) -> bool:
    """Whether this very process still runs; a zombie does not."""
    return identify(process.pid) == process


def all_stats() -> Iterator[Stat]:
    """Every process of the machine that can be seen."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = stat(int(name))
            if found is not None:
                yield found


def environment_of(pid: int) -> dict[str, str]:
    """A process's environment variables as it was started; empty if they cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            raw = file.read()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if b"=" in item)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def of_run(run_id: str, *, node: str | None = None) -> list[ProcessId]:
    """Running processes which carry this run's mark (and the node's, if one is given)."""
    found = []
    for each in all_stats():
        if each.state in "ZX" or each.pid == os.getpid():
            continue
        variables = environment_of(each.pid)
        if variables.get(RUN_VARIABLE) == run_id and node in (None, variables.get(NODE_VARIABLE)):
            found.append(ProcessId(each.pid, each.start_ticks))
    return found


def of_session(session: int) -> list[ProcessId]:
    """Running processes of a session: a node's first process and its children."""
    return [
        ProcessId(each.pid, each.start_ticks)
        for each in all_stats()
        if each.session == session and each.state not in "ZX"
    ]


def send(process: ProcessId, number: int) -> bool:
    """Send a signal to this very process; False if it is gone (or its pid is another's now)."""
    if not running(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def reap(pid: int) -> None:
    """Collect a dead child, so that it is no zombie; nothing if it is not a dead child of ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def stop_all(found: list[ProcessId], *, within_s: float = 5.0) -> list[ProcessId]:
    """SIGKILL these and wait until they are gone; returns those which are not.

    Blocks; SIGKILL also ends a stopped process, so nothing is resumed first.
    """
    for process in found:
        send(process, signal.SIGKILL)
    deadline = time.monotonic() + within_s
    left = found
    while left and time.monotonic() < deadline:
        for process in left:
            reap(process.pid)
        left = [process for process in left if running(process)]
        if left:
            time.sleep(0.01)
    return left


def mark(run_id: str, node: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables with this run's and node's mark."""
    return {**variables, RUN_VARIABLE: run_id, NODE_VARIABLE: node}


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a text file, indented, for an error message."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "    (no log)"
    last = text.splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in last) if last else "    (its log is empty)"


def describe(pid: int) -> str:
    """A process in words: ``pid 4711 (etcd)``."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = "gone"
    return f"pid {pid} ({name})"


def as_json(process: ProcessId) -> dict[str, Any]:
    """The identity as it is written to ``environment.json``."""
    return {"pid": process.pid, "start_ticks": process.start_ticks}
