"""Claims: the consistency models that a run's transactions are held to, and who named them.

A workload of transactions takes the option ``consistency_models``: what the database is said to
promise. Three may name it, the first that does wins:

    the user       ``--workload-option consistency_models=...``
    the database   the level it was started at, ``--db-option isolation=...`` say, if it is one that
                   :class:`harness.databases.base.Claims` tells
    the workload   its own default

So a database that runs at a weaker level is held to that level, and not to a promise it never gave.
The run's facts say what was claimed and by whom.

For :mod:`harness.resolve`.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from harness.databases.base import DB, Claims
from harness.spec import TestSpec
from workloads import Workload

#: the workloads' option
OPTION = "consistency_models"


class Claim(msgspec.Struct, frozen=True):
    """What a run's transactions are held to.

    Args:
        models: names of consistency models; empty if the workload has nothing to do with them.
        because: who named them, in words.
    """

    models: tuple[str, ...] = ()
    because: str = ""

    def __str__(self) -> str:
        return f"{', '.join(self.models)} ({self.because})" if self.models else ""


def level_claimed(spec: TestSpec, db: DB, workload: Any) -> tuple[str, ...]:
    """The models that the database names for a workload; empty if the user named some, if the
    workload takes none, or if the database has nothing to say.

    Args:
        spec: holds the user's options.
        db: the database, as it was built.
        workload: the workload's function.
    """
    takes = inspect.isroutine(workload) and OPTION in inspect.signature(workload).parameters
    if not takes or OPTION in spec.workload_options or not isinstance(db, Claims):
        return ()
    return tuple(db.claims)


def claim_of(spec: TestSpec, db: DB, workload: Workload, named: tuple[str, ...]) -> Claim:
    """The claim of a run, with its reason.

    Args:
        spec: holds the user's options.
        db: the database.
        workload: the workload as it will be checked.
        named: what the database named, see :func:`level_claimed`.
    """
    if not workload.claimed:
        return Claim()
    because = "the workload's default"
    if OPTION in spec.workload_options:
        because = f"--workload-option {OPTION}"
    elif named:
        assert isinstance(db, Claims)
        because = db.claims_because
    return Claim(workload.claimed, because)
