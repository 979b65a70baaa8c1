"""Everything that can go wrong, by whose fault it is.

    HarnessError
      UsageError            exit 254   the command line or the API was used wrongly
      SetupError            exit 3     a node, tool, port or host does not do what the run needs
        Unreachable                    what the nodes run on no longer answers
      EnvironmentLeft       exit 3     something injected could not be removed afterwards
      UserCodeError         exit 3     a user's DB, client, workload, nemesis or checker raised
    (anything else)         exit 255   a bug in the harness

A message is one sentence: it names the argument, shows the value and guesses the mistake.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from checkers.core.wording import did_you_mean

EXIT_VALID = 0
EXIT_INVALID = 1
EXIT_UNKNOWN = 2
EXIT_INFRASTRUCTURE = 3
EXIT_USAGE = 254
EXIT_BUG = 255


#: what a file system answers when it is full, read-only or broken
STORE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}
)


class HarnessError(Exception):
    """A problem with a known owner; ``exit_code`` says whose."""

    exit_code = EXIT_INFRASTRUCTURE


class UsageError(HarnessError):
    """An argument is wrong."""

    exit_code = EXIT_USAGE


class SetupError(HarnessError):
    """The machine, an environment, a database or a host is not fit for the run."""


class Unreachable(SetupError):
    """What the nodes run on answered before and no longer does."""


class EnvironmentLeft(HarnessError):
    """Something a run injected or started is still there after healing; it is named."""


class UserCodeError(HarnessError):
    """User code raised; the original exception is ``__cause__``."""


@runtime_checkable
class OfARun(Protocol):
    """An exception that broke a run: it knows where the run's log is."""

    run_dir: Path


@runtime_checkable
class Named(Protocol):
    """A class or a function, as sentences name it."""

    __name__: str


def nearest(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name, with the nearest known one, or all of them if none is near.

    Args:
        what: what the name should be: ``workload``, ``nemesis`` ...
        name: what was given.
        known: the names there are.
    """
    return UsageError(f"unknown {what} {name!r}; {did_you_mean(name, known)}")
