"""Ending with another process: so that a harness which is killed leaves no nodes behind.

A pidfd becomes readable when its process ends, exactly and without polling, and does not confuse a
new process that got the same number. (The kernel's parent-death signal would fire when the *thread*
that started the node ends, which is too early.) Linux only; elsewhere the option is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class NoSuchParent(Exception):
    """The process to end with is not there, or cannot be watched."""


def end_with(pid: int, ended: Callable[[], None]) -> None:
    """Call ``ended`` in the running event loop when process ``pid`` ends.

    Raises:
        NoSuchParent: there is no such process, or this system has no pidfd.
    """
    if not hasattr(os, "pidfd_open"):
        raise NoSuchParent("--parent-pid needs Linux")
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        raise NoSuchParent(f"--parent-pid {pid} cannot be watched: {error.strerror}") from None
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        ended()

    loop.add_reader(fd, readable)
