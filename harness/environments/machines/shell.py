"""Shell scripts for other machines, and parsers of their output.

A container and a host differ in how a command reaches them; what the command is, is the same. The
scripts need POSIX tools only, since hosts have no more. A machine that runs them has ``execute``.

For :mod:`harness.environments.machines.container` and :mod:`harness.environments.machines.host`.
"""

from __future__ import annotations

import posixpath
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.environments import processes
from harness.environments.base import Completed
from harness.errors import HarnessError, SetupError, UsageError

#: how long scripts that only look may take
LOOK_S = 10.0
_WIPE_S = 60.0
#: exit codes of a shell and of ``env`` for a program that cannot be run
_CANNOT_RUN = (126, 127)

#: asks the processes that carry two marks in their environment to end
_TERMINATE = """
for p in $(grep -lszxF -- "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
    grep -qszxF -- "$2" "/proc/$p/environ" && kill -TERM "$p" 2>/dev/null
done
:
"""


class Shell(Protocol):
    """A machine on which commands can be run."""

    name: str

    async def execute(
        self, words: Sequence[str], *, variables: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command to its end."""
        ...


def word(text: str, python: str) -> str:
    """A word of a command line: this machine's interpreter stands for the other's."""
    return python if text == sys.executable else text


def variables(
    run_id: str, node: str, address: str, extra: Mapping[str, str] | None
) -> dict[str, str]:
    """The environment variables of a node's program: nothing of this machine's own."""
    return processes.mark(run_id, node, {"SPLITBRAIN_ADDRESS": address, **(extra or {})})


def checked(done: Completed, machine: Shell) -> Completed:
    """The outcome of a command.

    Raises:
        SetupError: its program could not be run.
    """
    if done.exit_code in _CANNOT_RUN:
        said = (done.stderr.strip() or done.stdout.strip())[-200:]
        program = done.argv[0]
        raise SetupError(f"cannot run {program!r} on {machine.name}: {said}; is it installed?")
    return done


async def run_script(machine: Shell, *words: str, timeout_s: float = LOOK_S) -> str:
    """Run a script of ``sh`` with its arguments; what it printed."""
    done = await machine.execute(["sh", "-c", *words], variables={}, timeout_s=timeout_s)
    return done.stdout


async def last_words(machine: Shell, log: str) -> str:
    """The last lines of a log of the machine, indented."""
    try:
        printed = await run_script(machine, f"tail -n 15 {shlex.quote(log)} 2>/dev/null")
    except HarnessError as error:
        return f"    (its log cannot be read: {error})"
    text = "\n".join(f"    {line}" for line in printed.splitlines())
    return text or "    (its log is empty)"


async def terminate(machine: Shell, run_id: str) -> None:
    """SIGTERM to every process that carries the run's and the node's mark."""
    run = f"{processes.RUN_VARIABLE}={run_id}"
    node = f"{processes.NODE_VARIABLE}={machine.name}"
    await run_script(machine, _TERMINATE, "sh", run, node)


async def wipe(machine: Shell, path: str, place: str) -> None:
    """Remove a tree of a node's ``/data``; an emptied ``/data`` itself stays.

    Args:
        machine: the machine.
        path: the tree as the node names it.
        place: where the node's ``/data`` is on the machine.

    Raises:
        UsageError: the tree is outside ``/data``.
    """
    clean = posixpath.normpath(path)
    if clean != "/data" and not clean.startswith("/data/"):
        raise UsageError(
            f"wipe({path!r}) is outside {machine.name}'s own directory; "
            "only /data and what is under it may be removed"
        )
    where = shlex.quote(place + clean.removeprefix("/data"))
    script = f"find {where} -mindepth 1 -delete" if clean == "/data" else f"rm -rf {where}"
    await run_script(machine, script, timeout_s=_WIPE_S)
