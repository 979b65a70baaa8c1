"""``python -m cluster format``: make a data directory that of a new member.

    python -m cluster format --id n2~2 --data DIR [--cluster NAME] [--role NAME] [--replace]

A node that lost its disk, or was removed, comes back as a new member: under its next id and with
nothing in its directory. This command writes the new identity first and empties the directory
second, under the lock of a running node, so that at no moment could a start mistake it for that of
a founding member. ``--id n2`` then starts what the directory says: n2~2.

Exit codes: 0 done, 3 not (one sentence on stderr).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cluster.consensus.membership_change import member_problem
from cluster.ports import DiskError
from cluster.runtime import data_directory
from cluster.runtime.disk import DirectoryInUse, FileDisk
from cluster.runtime.options import ROLES
from cluster.runtime.peer_directories import FILE


class _Wrong(Exception):
    """Why nothing was formatted."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Wrong(message)


def main(arguments: Sequence[str]) -> int:
    """Format a directory; returns the exit code."""
    parser = _Parser(prog="python -m cluster format", description="Make a directory a new member's")
    parser.add_argument("--id", required=True, help="the new member's id, such as n4 or n2~2")
    parser.add_argument("--data", required=True, metavar="DIR", help="data directory")
    parser.add_argument("--cluster", default="splitbrain", metavar="NAME")
    parser.add_argument("--role", default="", metavar="NAME", help="as it was; core if it is new")
    parser.add_argument("--replace", action="store_true", help="yes, remove what is in it")
    try:
        given = parser.parse_args(arguments)
        wrong = member_problem(given.id)
        if wrong:
            raise _Wrong(wrong)
        if given.role and given.role not in ROLES:
            raise _Wrong(f"--role {given.role!r} is none of {', '.join(ROLES)}")
        _format(given)
    except (_Wrong, DirectoryInUse, data_directory.WrongDirectory, DiskError, OSError) as error:
        print(f"python -m cluster format: {error}", file=sys.stderr)
        return 3
    return 0


def _format(given: argparse.Namespace) -> None:
    root = Path(given.data)
    disk = FileDisk(root)
    try:
        if disk.names() and not given.replace:
            raise _Wrong(f"{str(root)!r} is not empty; --replace removes what is in it")
        data_directory.format_for(disk, cluster=given.cluster, member=given.id, role=given.role)
        (root / FILE).unlink(missing_ok=True)
    finally:
        disk.close()
