"""Files of nodes elsewhere come home into a run's directory, and nowhere else.

A node's archive is data from a system under test, and the directory it is unpacked into may be a
stranger's: neither a name in the archive nor a link in the directory leads out of it.

For :mod:`harness.environments.docker` and :mod:`harness.environments.ssh`.
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO

from checkers.core.regular_files import is_below


def own_folder(run_dir: Path, node: str) -> Path:
    """A node's folder in a run's (resolved) directory, made if it is not there.

    Raises:
        OSError: a link is in its place or before it.
    """
    for path in (run_dir / "nodes", run_dir / "nodes" / node):
        path.mkdir(exist_ok=True)
        if not is_below(path, run_dir):
            raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    return path


def unpack(packed: IO[bytes], into: Path) -> list[str]:
    """Extract files and directories from an archive; returns their names.

    They are unpacked beside their place and moved there: a link in their place is not followed.

    Raises:
        OSError: they cannot be written.
        tarfile.TarError: it is no archive, or has names that lead out of it.
    """
    with (
        tempfile.TemporaryDirectory(prefix=".home-", dir=into) as fresh,
        tarfile.open(fileobj=packed) as archive,
    ):
        for member in archive.getmembers():
            _extract(archive, member, Path(fresh))
        names = sorted(os.listdir(fresh))
        for name in names:
            if (into / name).is_dir() and not (into / name).is_symlink():
                shutil.rmtree(into / name)
            os.replace(f"{fresh}/{name}", into / name)
    return names


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    """Write one file or directory of an archive, ours and with plain rights; links and devices are
    passed over. (The filter "data" of :mod:`tarfile` is missing in Python 3.11.0 to 3.11.3.)"""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"the archive names {member.name!r}, which leads out of it")
    if member.isdir():
        (into / path).mkdir(parents=True, exist_ok=True)
        return
    packed = archive.extractfile(member) if member.isfile() else None
    if packed is not None:
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        with packed, (into / path).open("wb") as file:
            shutil.copyfileobj(packed, file)
