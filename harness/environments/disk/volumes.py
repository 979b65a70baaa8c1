"""A small disk of its own for each node: a file system in a file, which can be made full.

The disk of a foreign database can be faulted only from outside. Without a kernel module, the way is
a file system so small that it can be filled: then every write fails with ENOSPC, until the space is
given back. Slow, failing and damaged disks are made by a file system in user space instead:
:mod:`harness.environments.disk.disks`.

The data directory is below the mounted root, so that what a file system keeps there (``lost+found``
and our ballast) is not in it. A mount is written down before it is made, so that a healer finds it
after the harness died.

For :mod:`harness.environments.local`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from checkers.core.regular_files import folder_of, is_below
from harness.environments.record import Healed
from harness.errors import SetupError, UsageError

SIZE_MB_MIN = 8
SIZE_MB_MAX = 65_536
_WITHIN_S = 30.0
_CAP_SYS_ADMIN = 21
_TOOLS = (("mkfs.ext4", "e2fsprogs"), ("mount", "mount"), ("umount", "mount"))
#: how databases say in their logs that the disk was full
_COMPLAINTS = (b"no space left", b"enospc", b"disk full", b"disk is full")


def check_size(value: Any) -> int:
    """The option ``volume_mb`` as a number.

    Raises:
        UsageError: it is none, or none that makes sense.
    """
    if type(value) is not int or (value and not SIZE_MB_MIN <= value <= SIZE_MB_MAX):
        raise UsageError(
            f"option volume_mb is {value!r}; it should be 0 for none, or from {SIZE_MB_MIN} to "
            f"{SIZE_MB_MAX} megabytes"
        )
    return value


def may_not_mount() -> str:
    """Why this process may mount nothing; empty if it may. In most containers root may not."""
    if os.geteuid() != 0:
        return "mounting needs root"
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    (allowed,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    if not int(allowed, 16) >> _CAP_SYS_ADMIN & 1:
        return "mounting needs the capability CAP_SYS_ADMIN, which root has not been left here"
    return ""


def missing() -> str:
    """The missing parts of this machine for volumes; empty if none."""
    if lacking := may_not_mount():
        return lacking
    for program, package in _TOOLS:
        if shutil.which(program) is None:
            return f"the program {program!r} is missing: apt install {package}"
    if not os.path.exists("/dev/loop-control"):
        return "the kernel has no loop devices (/dev/loop-control is missing)"
    return ""


def why_not(node: str, faults: Mapping[str, Any], *, lacking: str, volume: bool) -> str:
    """Why a foreign database's disk cannot have these faults, and what can be had instead.

    Args:
        node: whose disk it is.
        faults: what was asked for.
        lacking: what a file system in user space lacks here, or "".
        volume: whether it is on a volume of ours.
    """
    kinds = ", ".join(name.removesuffix("_ns") for name in faults)
    found = f"the disk of {node} cannot have the fault {kinds}: its database has no chaos endpoint"
    if volume:
        return f"{found}, and a volume (option volume_mb) can only be full; leave that option out"
    if lacking:
        return (
            f"{found}, and no file system in user space can be put below it: {lacking}. With "
            "loop devices alone --env-option volume_mb=256 gives disk-full"
        )
    return f"{found}, and was started on a plain disk; give --env-option disk=on"


class Volume:
    """One node's file system in a file.

    Args:
        directory: the node's directory; ``volume.img`` and the mount point ``volume`` go there.
        size_mb: its size.
        log: the node's log, where a database complains.
    """

    def __init__(self, directory: Path, *, size_mb: int, log: Path) -> None:
        self.image = directory / "volume.img"
        self.mount_point = directory / "volume"
        self.data = self.mount_point / "data"
        self._size_mb = size_mb
        self._log = log
        self._log_from = 0

    def make(self) -> None:
        """Make and mount it.

        Raises:
            SetupError: a tool or the kernel refuses.
        """
        self.mount_point.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(self._size_mb * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self.image))
        _run("mount", "-o", "loop,noatime", str(self.image), str(self.mount_point))
        self.data.mkdir(exist_ok=True)

    def fill(self) -> dict[str, Any]:
        """Take all space that is left; the evidence."""
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        ballast = self.mount_point / "ballast"
        with open(ballast, "wb") as file:
            step = 1 << 24
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise SetupError(f"{ballast} cannot grow: {error.strerror}") from error
                    step //= 4
        return {"by": "volume", "free_bytes": self.free_bytes(), "refused": self._refuses()}

    def free(self) -> dict[str, Any]:
        """Give the space back; the evidence has ``felt``: whether the database complained."""
        (self.mount_point / "ballast").unlink(missing_ok=True)
        felt = self._complained()
        return {"by": "volume", "free_bytes": self.free_bytes(), "felt": felt}

    def free_bytes(self) -> int:
        """Space that is left."""
        found = os.statvfs(self.mount_point)
        return found.f_bavail * found.f_frsize

    def _refuses(self) -> bool:
        probe = self.mount_point / "probe"
        try:
            with open(probe, "wb") as file:
                file.write(bytes(8192))
        except OSError as error:
            return error.errno == errno.ENOSPC
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
        return False

    def _complained(self) -> bool:
        try:
            with open(self._log, "rb") as file:
                file.seek(self._log_from)
                said = file.read(1 << 24).lower()
        except OSError:
            return False
        return any(words in said for words in _COMPLAINTS)


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_WITHIN_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(f"{argv[0]} could not run: {error}") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SetupError(f"{' '.join(argv)} failed: {' '.join(last)}")


def mount_points() -> list[str]:
    """Where something is mounted, as this process sees it."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        written = [line.split()[1] for line in file]
    return [re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path) for path in written]


def mounted(path: str) -> bool:
    """Whether something is mounted there."""
    return path in mount_points()


def is_ours(path: str, run_dir: Path) -> bool:
    """Whether a path is one where a run mounts: below its (resolved) directory, behind no link."""
    inside = path.removeprefix(f"{run_dir}/")
    right = inside != path and re.fullmatch(r"nodes/[^/]+/(data|volume)", inside)
    return bool(right) and ".." not in inside and is_below(path, run_dir)


def remove_data(run_dir: Path, nodes: Iterable[str]) -> Healed:
    """Remove the nodes' data in a run's (resolved) directory; not through a link or a mount."""
    healed = Healed()
    for node in nodes:
        path = f"{run_dir}/nodes/{node}/data"
        try:
            with folder_of(path, run_dir) as (folder, last):
                os.lstat(last, dir_fd=folder)
                if any(f"{place}/".startswith(f"{path}/") for place in mount_points()):
                    raise OSError(errno.EBUSY, "something is mounted in it")
                shutil.rmtree(last, dir_fd=folder)
            healed.removed.append(f"directory {path}")
        except FileNotFoundError:
            continue
        except OSError as error:
            healed.left.append(f"directory {path} ({error.strerror})")
    return healed


def remove(detail: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Unmount what a run's ``environment.json`` names; what went and what is left."""
    removed: list[str] = []
    left: list[str] = []
    # The last mount may be over an earlier one.
    for path in reversed(detail.get("mounts", [])):
        if mounted(path):
            subprocess.run(["umount", "--", path], capture_output=True, timeout=_WITHIN_S)
            if mounted(path):
                subprocess.run(["umount", "-l", "--", path], capture_output=True, timeout=_WITHIN_S)
            (left if mounted(path) else removed).append(f"mount {path}")
        if not mounted(path):
            Path(f"{path}.img").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                os.rmdir(path)
    return removed, left
