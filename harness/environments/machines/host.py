"""A node's processes on a host, over ssh: scripts of its user, and of root where root is needed.

Processes are started in sessions of their own, their pid and start time written to a file on the
host. So pause, kill and heal work over any later connection, and the harness's death ends nothing
by itself: the watchdog connects anew and cleans up. Every word of a command is quoted.

For the environment `ssh`.
"""

from __future__ import annotations

import asyncio
import io
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environments.base import Completed
from harness.environments.disk import disks
from harness.environments.homecoming import unpack
from harness.environments.journal import Journal
from harness.environments.machines import shell
from harness.environments.machines.machine import Command, Status
from harness.environments.machines.ssh_login import Login
from harness.environments.network import netem
from harness.environments.pressure import remote as remote_pressure
from harness.errors import SetupError

_PLACE = "SPLITBRAIN_PLACE"
_BRING_S = 60

_LAUNCH = """
umask 077
cd "$1" && rm -f "$2" || exit 126
setsid sh -c '
    stat=$(sed "s/.*) //" /proc/$$/stat); set -f; pids=$1; log=$2; shift 2
    echo $$ $(echo $stat | cut -d" " -f20) >"$pids"
    . "$pids.env" && rm -f "$pids.env" && exec "$@" >>"$log" 2>&1 </dev/null
' sh "$2" "$3" @command@ >/dev/null 2>&1 </dev/null &
n=0; while [ ! -s "$2" ] && [ $n -lt 100 ]; do sleep 0.02; n=$((n+1)); done
"""


class HostMachine:
    """A host, and the node's directory on it.

    Args:
        journal: the run's, for its mark and directory.
        login: the host's.
        name: the node's name.
        index: its number, from 1.
        address: where it reaches the others, and they reach it.
        home: its directory on the host; the last part is unique to run and node.
        python: the interpreter there that has the reference cluster.
    """

    watch_s = 0.1
    look_every_s = 0.5

    def __init__(
        self,
        journal: Journal,
        login: Login,
        name: str,
        index: int,
        address: str,
        *,
        home: str,
        python: str,
    ) -> None:
        self.name, self.index, self.address = name, index, address
        self.directory = journal.run_dir / "nodes" / name
        self.login = login
        self.home = home
        self.python = python
        #: the node's mark on the host
        self.place = f"{journal.run_id}/{name}"
        #: name of its control groups, if it is starved
        self.group = posixpath.basename(home)
        self._run_id = journal.run_id
        self._log = f"{home}/log"
        self.files = HostFiles(self, self._log)

    # -- words ---------------------------------------------------------------------------------

    def path(self, text: str) -> str:
        """A path as the node sees it, as a path of its host."""
        if text == "/data" or text.startswith("/data/"):
            return f"{self.home}{text}"
        return text

    def word(self, text: str) -> str:
        """A word of a command line; the value of an option may be a path too."""
        option, equals, value = text.partition("=")
        if equals and option.startswith("-"):
            return f"{option}={self.path(value)}"
        return shell.word(self.path(text), self.python)

    def variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """The program's variables, with the run's mark and the node's."""
        mapped = {key: self.path(value) for key, value in (extra or {}).items()}
        found = shell.variables(self._run_id, self.name, self.address, mapped)
        return {**found, _PLACE: self.place}

    def check_port(self, port: int) -> None:
        """The program itself says so, in its log, if a port is taken."""

    # -- commands ------------------------------------------------------------------------------

    async def execute(
        self, words: Sequence[str], *, variables: Mapping[str, str], timeout_s: float
    ) -> Completed:
        """Run a command on the host; one that takes too long is killed there."""
        limit = ["timeout", "-s", "KILL", f"{timeout_s + 1:.3f}"]
        own = [f"{key}={value}" for key, value in variables.items()]
        line = f"cd {shlex.quote(self.home)} 2>/dev/null; "
        line += shlex.join([*limit, "env", *own, *words])
        run = self.login.run
        code, out, err = await asyncio.to_thread(run, line, timeout_s=timeout_s, what=words[0])
        texts = (out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        return shell.checked(Completed(tuple(words), code, *texts), self)

    async def launch(self, index: int, command: Command, variables: Mapping[str, str]) -> int:
        """Start a process in a session of its own, with its pid and start time in a file.

        Its variables go there in a file that only its user may read, not in arguments: one of them
        may be a token.
        """
        lines = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in variables.items())
        pids = f"{self.home}/pids/{index}"
        await asyncio.to_thread(self.put, lines.encode(), f"{pids}.env")
        script = _LAUNCH.replace("@command@", shlex.join(command.argv))
        args = [self.home, pids, self._log]
        line = shlex.join(["sh", "-c", script, "sh", *args])
        code, _, err = await asyncio.to_thread(self.login.script, line)
        if code:
            said = err.strip()[-200:]
            raise SetupError(f"cannot start {command.argv[0]!r} on {self.name}: {said}")
        return 0

    async def _states(self) -> dict[int, tuple[int, str]]:
        """Per command that runs: its pid and the letter of its state."""
        script = (
            f"for f in {shlex.quote(self.home)}/pids/*; do "
            '[ -e "$f" ] || continue; read -r pid start <"$f"; '
            'stat=$(sed "s/.*) //" "/proc/$pid/stat" 2>/dev/null) || continue; '
            'set -- $stat; [ "${20}" = "$start" ] || continue; '
            '[ "$1" = Z ] || echo "${f##*/} $pid $1"; done'
        )
        _, out, _ = await asyncio.to_thread(self.login.script, script)
        rows = [line.split() for line in out.splitlines()]
        return {int(index): (int(pid), state) for index, pid, state in rows}

    async def look(self) -> Status:
        """Look at the pids written down; start times tell recycled ones apart."""
        states = await self._states()
        return Status(frozenset(states), any(state == "T" for _, state in states.values()))

    async def pids(self) -> list[int]:
        """Pids of the database's first processes, on the host."""
        return [pid for pid, _ in (await self._states()).values()]

    async def power_on(self) -> None:
        """The host is on."""

    async def kill(self) -> list[int]:
        """SIGKILL every process that carries the node's mark, until none does."""
        pids = await self.pids()
        _, left, _ = await asyncio.to_thread(self.login.script, kill_script(self.place))
        if left.strip():
            raise SetupError(f"SIGKILL did not end {left.split()} on {self.name}")
        await asyncio.to_thread(self.login.script, f"rm -f {shlex.quote(self.home)}/pids/*")
        return pids

    async def terminate(self) -> None:
        """SIGTERM to every process of the node."""
        await shell.terminate(self, self._run_id)

    async def freeze(self, on: bool) -> dict[str, Any]:
        """SIGSTOP or SIGCONT to every process with the node's mark, and the states read back."""
        await asyncio.to_thread(self.login.script, freeze_script(self.place, on=on))
        states = await self._states()
        letters = [state for _, state in states.values()]
        state = "gone" if not letters else "T" if "T" in letters else letters[0]
        return {"state": state, "pids": sorted(pid for pid, _ in states.values())}

    async def resume_all(self) -> None:
        """SIGCONT to the node's processes, if one is stopped."""
        if (await self.look()).stopped:
            await self.freeze(False)

    async def remains(self, *, up: bool) -> list[str]:
        """Whether it is stopped; processes and files are named by the site."""
        return [f"{self.name} is stopped"] if up and (await self.look()).stopped else []

    def put(self, content: bytes, target: str) -> None:
        """Write a file of the host. Blocks."""
        place = shlex.quote(target)
        line = f"umask 077; mkdir -p $(dirname {place}) && cat >{place}"
        code, _, err = self.login.run(line, stdin=content)
        if code:
            raise SetupError(f"cannot write {target} on {self.name}: {err.decode()[-200:]}")


class HostFiles:
    """The files of a node on a host.

    Args:
        machine: the node's.
        log: the node's log, there.
    """

    def __init__(self, machine: HostMachine, log: str) -> None:
        self._machine, self._log = machine, log
        self.kept = False

    async def last_words(self) -> str:
        """The last lines of the node's log."""
        return await shell.last_words(self._machine, self._log)

    async def wipe(self, path: str) -> None:
        """Remove a tree of the node's ``/data``."""
        if not self.kept:
            await shell.wipe(self._machine, path, self._machine.path("/data"))

    async def upload(self, source: Path, target: str) -> None:
        """Copy a file of this machine to the host."""
        content = await asyncio.to_thread(source.read_bytes)
        await asyncio.to_thread(self._machine.put, content, self._machine.path(target))

    async def bring(self, pattern: str) -> list[str]:
        """Copy files, or a directory, from the host."""
        return await asyncio.to_thread(
            bring_home, self._machine.login, self._machine.path(pattern), self._machine.directory
        )

    async def bring_log(self) -> None:
        """Copy the node's log home."""
        await self.bring(self._log)

    async def keep_data(self) -> None:
        """Copy the data home, once."""
        if not self.kept:
            await self.bring("/data")
            self.kept = True


def bring_home(login: Login, pattern: str, into: Path) -> list[str]:
    """Copy matching files of a host into a directory here; returns their names."""
    quoted = re.sub(r"[^\w/.*?\[\]-]", lambda found: "\\" + found[0], pattern)
    script = (
        f'for f in {quoted}; do [ -e "$f" ] || continue; '
        'printf "%s\\0" -C "$(dirname "$f")" "$(basename "$f")"; done | '
        "xargs -0 -r tar -cf -"
    )
    _, packed, _ = login.run(script, timeout_s=_BRING_S)
    return unpack(io.BytesIO(packed), into) if packed else []


# Scripts: each finds a node's processes by the mark in their environment, in one pass ------------


def pids_script(place: str) -> str:
    """A command of ``sh`` that prints the pids of a node's processes."""
    mark = shlex.quote(f"{_PLACE}={place}")
    return f"grep -lszxF -- {mark} /proc/[0-9]*/environ | cut -d/ -f3"


def kill_script(place: str) -> str:
    """A script that ends a node's processes and prints the pids of those which do not end."""
    return (
        f'n=0; while p=$({pids_script(place)}); [ -n "$p" ] && [ $n -lt 100 ]; do '
        "kill -9 $p 2>/dev/null; sleep 0.05; n=$((n+1)); done; "
        'for q in $p; do grep -q "^State:.Z" "/proc/$q/status" 2>/dev/null || echo "$q"; done'
    )


def freeze_script(place: str, *, on: bool) -> str:
    """A script that stops a node's processes or lets them go on, and waits until it is so."""
    signal_name, wanted = ("STOP", "= T") if on else ("CONT", "!= T")
    return (
        f'p=$({pids_script(place)}); [ -z "$p" ] || kill -{signal_name} $p 2>/dev/null; '
        "for q in $p; do n=0; "
        'while s=$(sed "s/.*) //" "/proc/$q/stat" 2>/dev/null | cut -c1); [ -n "$s" ] && '
        f'! [ "$s" {wanted} ] && [ $n -lt 50 ]; do sleep 0.02; n=$((n+1)); done; done; :'
    )


def clean_script(home: str, place: str) -> str:
    """A script that ends a node's processes and removes its files, as its user. Idempotent."""
    return f"{kill_script(place)} >/dev/null\nrm -rf -- {shlex.quote(home)}\n"


def remains_script(home: str, place: str) -> str:
    """A script that prints a phrase for each process and file of a node that is still there."""
    quoted = shlex.quote(home)
    return (
        f'for p in $({pids_script(place)}); do grep -q "^State:.Z" "/proc/$p/status" || '
        'echo "pid $p ($(cat /proc/$p/comm))"; done\n'
        f"[ ! -e {quoted} ] || echo directory {quoted}\n"
    )


def remove_script(place: Mapping[str, Any]) -> str:
    """A script for root: remove rules, queues, the disk and the groups of a node. Idempotent."""
    home = place["home"]
    return (
        netem.remove_script(place["devices"])
        + disks.unmount_script(f"{home}/data")
        + remote_pressure.release_script(posixpath.basename(home), home)
    )


def left_script(place: Mapping[str, Any]) -> str:
    """A script for root that prints a phrase for what :func:`remove_script` did not remove."""
    data = f"{place['home']}/data"
    return (
        netem.left_script(place["devices"])
        + f"if {disks.mounted_script(data)}; then echo mount {shlex.quote(data)}; fi\n"
        + remote_pressure.left_script(posixpath.basename(place["home"]))
    )
