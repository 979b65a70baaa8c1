"""Programs that refuse to run as root, or should not: run as another user of the machine.

``setpriv`` changes the user and keeps the capability to pass through directories of others, so that
a server's data may lie in the run's own directory wherever that is.

For the databases here.
"""

from __future__ import annotations

import os
import pwd
import shutil

from harness.environments.base import Node
from harness.errors import SetupError


def user_of(package: str) -> str:
    """The user a package makes for its server, or ``nobody`` where it was not installed so."""
    try:
        return pwd.getpwnam(package).pw_name
    except KeyError:
        return "nobody"


def as_user(name: str, *, what: str) -> list[str]:
    """The prefix of a command that drops root's rights; empty if we are not root.

    Args:
        name: the user.
        what: the program, for the sentence.

    Raises:
        SetupError: there is no setpriv.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise SetupError(
            f"{what} must not run as root, and there is no setpriv to run it as another user: "
            "`apt-get install util-linux`"
        )
    reach = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return ["setpriv", f"--reuid={name}", f"--regid={_group(name)}", "--clear-groups", *reach]


def _group(name: str) -> str:
    """A user's group; where the user is not known here, the one of the same name."""
    try:
        return str(pwd.getpwnam(name).pw_gid)
    except KeyError:
        return name


async def give(node: Node, directory: str, name: str) -> None:
    """Make a directory on a node, the user's if we are root."""
    await node.run("mkdir", "-p", directory)
    if os.geteuid() == 0:
        await node.run("chown", name, directory)
