"""Faulty disks of foreign databases: a file system in user space over a node's data directory.

The file system is :mod:`harness.environments.faulty_disk`, a process of its own for each node. It is
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
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.environments.faulty_disk import control
from harness.errors import SetupError, UsageError

_MODULE = "harness.environments.faulty_disk.server"
_WITHIN_S = 15.0
OPTIONS = ("auto", "on", "off")


def check_option(value: Any) -> None:
    """UsageError if the option ``disk`` is none of its values."""
    if value not in (*OPTIONS, True, False):
        raise UsageError(f"option disk must be auto, on or off, not {value!r}")


def missing() -> str:
    """What this machine lacks for such file systems; empty if nothing."""
    if not sys.platform.startswith("linux"):
        return "file systems in user space need Linux"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except FileNotFoundError:
        return "this kernel has no file systems in user space (/dev/fuse is missing: modprobe fuse)"
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    if os.geteuid() != 0:
        return "mounting needs root"
    return ""


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
        self._base, self._last = {n: self._last.get(n, 0) for n in self._last}, {}

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
            words = [sys.executable, "-m", _MODULE, self._directory, "--unmount"]
            words += ["--in-mounts-of", str(self._mounts_of())]
            subprocess.run(
                words,
                env={**os.environ, **self._variables},
                capture_output=True,
                timeout=_WITHIN_S,
            )
        self._reap()

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
