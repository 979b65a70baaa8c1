"""Faulty disks of foreign databases: a file system in user space over a node's data directory.

The file system is :mod:`harness.environments.disk.faulty_disk`, a process for each node. It is
mounted when the node's database is first started, over the very directory the database uses, and
removed when the run ends; see there for what it can do. A mount is written down before it is made.

Where a node's files are decides how it is mounted: `local` and `netns` share this machine's mounts;
a container has mounts of its own, into which the server steps for a moment; on a host behind ssh
the server runs there, sent as one file.

For :mod:`harness.environments.local` and the environments made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.environments.disk import volumes
from harness.environments.disk.faulty_disk import control
from harness.environments.journal import Journal
from harness.errors import SetupError

_MODULE = "harness.environments.disk.faulty_disk.server"
_WITHIN_S = 15.0


def missing() -> str:
    """The missing parts of this machine for such file systems; empty if none."""
    if not sys.platform.startswith("linux"):
        return "file systems in user space need Linux"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except FileNotFoundError:
        return "this kernel has no file systems in user space (/dev/fuse is missing: modprobe fuse)"
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    return volumes.may_not_mount()


def self_test() -> str:
    """Mount one over an empty directory and unmount it; why that failed, or ""."""

    async def tried(place: Path) -> None:
        data = place / "data"
        data.mkdir()
        disk = LocalDisk(
            data,
            name=f"self-test/{os.getpid()}",
            log=place / "log",
            variables={},
            seed=0,
            here="this machine",
        )
        await disk.start()
        try:
            (data / "probe").write_bytes(b"x")
        finally:
            await disk.stop()

    with tempfile.TemporaryDirectory(prefix="harness-disk-") as scratch:
        try:
            asyncio.run(tried(Path(scratch)))
        except (SetupError, OSError) as error:
            return str(error)
    return ""


def server_words(journal: Journal, node: str, *, seed: int) -> dict[str, Any]:
    """The settings of a :class:`LocalDisk` of a run beside its directory."""
    return {
        "name": f"{journal.run_id}/{node}",
        "log": journal.run_dir / "nodes" / node / "disk.log",
        "variables": journal.variables(f"disk of {node}"),
        "seed": seed,
        "here": node,
    }


class Disk(Protocol):
    """A node's faulty disk, wherever its server runs."""

    async def start(self) -> None:
        """Mount it. SetupError if that is refused."""
        ...

    async def serves(self) -> bool:
        """Whether it is mounted where the database will look."""
        ...

    async def set(self, faults: Mapping[str, Any] | None) -> dict[str, Any]:
        """Have these faults (None: leave them); what is so, with ``counts``."""
        ...

    async def stop(self) -> None:
        """Unmount it. Harmless if it is not mounted."""
        ...


def evidence(report: Mapping[str, Any], base: Mapping[str, int]) -> dict[str, Any]:
    """A server's answer as evidence; ``base`` is what servers before it had counted."""
    counts = {name: n + base.get(name, 0) for name, n in report.get("counts", {}).items()}
    found = {"by": "file system in user space", "counts": counts}
    flipped = report.get("flipped", [])
    return {**found, **({"flipped": flipped} if flipped else {})}


class LocalDisk:
    """A disk whose server is a process of this machine.

    Args:
        directory: the data directory, in the mounts it is in.
        name: of the server's control socket: unique to run and node.
        log: where the server complains.
        variables: the server's environment variables.
        seed: of flipped bits' places.
        here: how errors call the node.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        name: str,
        log: Path,
        variables: Mapping[str, str],
        seed: int,
        here: str,
    ) -> None:
        self._directory = str(directory)
        self._name, self._log, self._seed, self._here = name, log, seed, here
        self._variables = dict(variables)
        self._server: subprocess.Popen[bytes] | None = None
        self._base: dict[str, int] = {}
        self._last: dict[str, int] = {}

    @property
    def pid(self) -> int:
        """The server's process; 0 if there is none."""
        return self._server.pid if self._server is not None else 0

    def _mounts_of(self) -> int:
        """A process in whose mounts the directory is; 0 for this one's."""
        return 0

    async def start(self) -> None:
        """Mount it."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        if reason := missing():
            raise SetupError(f"the disk of {self._here} cannot be made faulty: {reason}")
        self._reap()
        words = [sys.executable, "-m", _MODULE, self._directory, "--name", self._name]
        words += ["--seed", str(self._seed), "--in-mounts-of", str(self._mounts_of())]
        with open(self._log, "ab") as log:
            self._server = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._variables},
                start_new_session=True,
            )
        assert self._server.stdout is not None
        with self._server.stdout as said:
            mounted = said.readline().strip() == b"mounted"
        if not mounted:
            self._server.wait(timeout=_WITHIN_S)
            self._server = None
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SetupError(f"the faulty disk of {self._here} cannot be mounted: {' '.join(last)}")
        self._base = dict(self._last)

    async def serves(self) -> bool:
        """Whether its server runs: it ends when it is unmounted."""
        return self._server is not None and self._server.poll() is None

    async def set(self, faults: Mapping[str, Any] | None) -> dict[str, Any]:
        """Have these faults."""
        wanted = None if faults is None else dict(faults)
        try:
            report = await asyncio.to_thread(control.ask, self._name, {"faults": wanted})
        except OSError as error:
            raise SetupError(
                f"the faulty disk of {self._here} does not answer ({error}); see {self._log}"
            ) from error
        except ValueError as error:
            raise SetupError(f"the disk of {self._here}: {error}") from error
        found = evidence(report, self._base)
        self._last = found["counts"]
        return found

    async def stop(self) -> None:
        """Unmount it and wait for the server's end."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        if self._server is None:
            return
        if self._server.poll() is None:
            self._unmount()
        self._reap()

    def _unmount(self) -> None:
        subprocess.run(
            [sys.executable, "-m", _MODULE, self._directory, "--unmount"],
            env={**os.environ, **self._variables},
            capture_output=True,
            timeout=_WITHIN_S,
        )

    def _reap(self) -> None:
        if self._server is None:
            return
        try:
            self._server.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            # Its mount goes with it, or is named as left.
            self._server.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(timeout=_WITHIN_S)
        self._server = None


class ContainerDisk(LocalDisk):
    """A disk mounted in the mounts of a container of this machine; it goes with them.

    Args:
        pid_of: the container's first process as this machine sees it, 0 if it does not run.
        words: as for :class:`LocalDisk`.
    """

    def __init__(self, directory: str, *, pid_of: Callable[[], int], **words: Any) -> None:
        super().__init__(directory, **words)
        self._pid_of = pid_of
        self._mounted_in = 0

    def _mounts_of(self) -> int:
        pid = self._pid_of()
        if not pid or not os.path.exists(f"/proc/{pid}/ns/mnt"):
            raise SetupError(
                f"the disk of {self._here} cannot be made faulty: its container does not run on "
                "this machine (Docker's daemon must be here, and not itself in a container)"
            )
        self._mounted_in = pid
        return pid

    async def serves(self) -> bool:
        """Whether it is mounted in the container as it now runs."""
        if not await super().serves():
            return False
        return self._mounted_in == await asyncio.to_thread(self._pid_of)

    def _unmount(self) -> None:
        """The container is gone, and its mounts with it."""


class HostDisk:
    """A disk on a host where root's scripts can be run; its server runs there.

    Args:
        directory: the data directory, on the host.
        home: the node's directory there, for the program.
        name: of the server's control socket.
        python: an interpreter there.
        root: runs a script as root there and returns what it printed.
        upload: puts content into a file there.
        seed: of flipped bits' places.
        here: how errors call the node.
    """

    def __init__(
        self,
        directory: str,
        *,
        home: str,
        name: str,
        python: str,
        root: Callable[[str], str],
        upload: Callable[[bytes, str], None],
        seed: int,
        here: str,
    ) -> None:
        self._directory, self._home, self._seed, self._here = directory, home, seed, here
        self._root, self._upload = root, upload
        self._program = f"{home}/faulty_disk.zip"
        self._words = [python, self._program, "--name", name]

    async def start(self) -> None:
        """Send the program and mount it."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        self._upload(packed(), self._program)
        words = [*self._words, "--seed", str(self._seed), self._directory]
        said = shlex.quote(f"{self._home}/disk.said")
        log = shlex.quote(f"{self._home}/disk.log")
        printed = self._root(
            f"cd /; : >{said}; setsid {shlex.join(words)} >{said} 2>{log} </dev/null &\n"
            f"n=0; while [ ! -s {said} ] && [ $n -lt 200 ]; do "
            f"sleep 0.05; n=$((n+1)); done; cat {said} {log} | tail -n 1"
        )
        if printed.strip() != "mounted":
            raise SetupError(
                f"the faulty disk of {self._here} cannot be mounted there: {printed.strip()}"
            )

    async def serves(self) -> bool:
        """Whether it is mounted."""
        script = f"{mounted_script(self._directory)} && echo yes; :"
        return (await asyncio.to_thread(self._root, script)).strip() == "yes"

    async def set(self, faults: Mapping[str, Any] | None) -> dict[str, Any]:
        """Have these faults."""
        wanted = None if faults is None else dict(faults)
        words = [*self._words, "--ask", json.dumps({"faults": wanted})]
        report = json.loads(await asyncio.to_thread(self._root, shlex.join(words)))
        return evidence(report, {})

    async def stop(self) -> None:
        """It is unmounted by the script which cleans its host."""


def mounted_script(directory: str) -> str:
    """A condition of sh: whether something is mounted there."""
    return f"grep -qF -- {shlex.quote(f' {directory} ')} /proc/self/mounts"


def unmount_script(directory: str) -> str:
    """A script that unmounts what is there. Harmless if nothing is."""
    return f"if {mounted_script(directory)}; then umount -l {shlex.quote(directory)}; fi\n"


def packed() -> bytes:
    """The file system's program as one file, which any Python 3.9 or later runs."""
    place = Path(__file__).parent / "faulty_disk"
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(place.glob("*.py")):
            archive.writestr(f"faulty_disk/{path.name}", path.read_text())
        start = "import sys\nfrom faulty_disk.server import main\nsys.exit(main())\n"
        archive.writestr("__main__.py", start)
    return written.getvalue()
