"""What a database and its client are, as the harness sees them: Protocols, nothing to inherit.

A *DB* knows how to run one node of a system; a *Client* how to speak to it. Both are plain classes
a user writes in a test file. Optional abilities are attributes or methods discovered by name:

- ``logs``: list of paths or globs to bring home from each node (ability Logs);
- ``async primaries(nodes) -> list[str]``: who leads now (ability Primaries; targets ``primaries``,
  ``one-primary``, ``minority-primaries``);
- ``async generation(nodes) -> int``: the newest generation (term, epoch) any node knows, so that
  elections between two looks are counted;
- ``async add_member(node)``, ``async remove_member(node)`` (ability Membership);
- ``async setup_cluster(nodes)``: what is done once for all of them, after every node was started
  and before any is asked whether it is ready: joining, an initial leader, tables (a node that must
  serve first is waited for here);
- ``cannot(nemesis) -> str``: why a nemesis makes no sense with this database as it was built, in a
  sentence; "" if it does;
- ``timings``: how long things take with it, a dict (:mod:`harness.timings`);
- ``async stop(node)``: a kinder way to stop than SIGKILL, used at teardown.

What keys are differs between workloads: registers, lists, sets, locks. A DB whose client must know
takes the option ``objects`` (see :class:`workloads.Workload`); :func:`operations_of` turns it into
the operations its client has, or a sentence.

A client error nobody handled is ``fail`` for an op the workload declares read-only, and ``info``
for anything else: the safe default. A client says what it knows with ``op.ok(value)``,
``op.fail(error)`` and ``op.info(error)``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec

from harness.environments.base import Node
from harness.errors import UsageError


class Outcome(msgspec.Struct, frozen=True):
    """How an operation ended: ``type`` is ``ok``, ``fail`` or ``info``."""

    type: str
    value: Any = None
    error: Any = None


class Invocation(msgspec.Struct, frozen=True):
    """An operation as a client gets it.

    Args:
        process: the process that invokes.
        f: the operation's name.
        key: the object, or None.
        value: the argument.
    """

    process: int
    f: str
    key: Any = None
    value: Any = None

    def ok(self, value: Any = msgspec.UNSET) -> Outcome:
        """It happened; with a result, or with the argument as the value if none is given."""
        return Outcome("ok", self.value if value is msgspec.UNSET else value)

    def fail(self, error: Any = None) -> Outcome:
        """It did not happen and never will."""
        return Outcome("fail", self.value, error)

    def info(self, error: Any = None) -> Outcome:
        """Nobody knows whether it happened, or whether it may yet."""
        return Outcome("info", self.value, error)


class Client(Protocol):
    """Speaks to the database for one process at a time. Built with no arguments, or by a DB's
    ``client()``."""

    async def open(self, node: Node) -> None:
        """Connect to this node. May raise; it is tried again."""
        ...

    async def invoke(self, op: Invocation) -> Outcome:
        """Do one operation. May raise: see the module's text for what that means."""
        ...

    async def close(self) -> None:
        """Disconnect. Must not raise."""
        ...


class DB(Protocol):
    """Runs one node of a system."""

    async def setup(self, node: Node) -> None:
        """Install or prepare; everything a restart does not need again."""
        ...

    async def start(self, node: Node) -> None:
        """Start the process (``node.spawn``)."""
        ...

    async def ready(self, node: Node) -> None:
        """Return when the node serves, or raise."""
        ...

    async def teardown(self, node: Node) -> None:
        """Remove what setup made."""
        ...


def operations_of(
    database: str, table: Mapping[str, Collection[str]], objects: str
) -> frozenset[str]:
    """The operations a database's client has on one kind of objects.

    Args:
        database: its name, for the sentence.
        table: kind of objects -> operations.
        objects: the kind wanted.

    Raises:
        UsageError: the database has no such objects.
    """
    if objects not in table:
        raise UsageError(
            f"the workload works on objects of the kind {objects!r}, which {database} does not "
            f"offer here; it has: {', '.join(sorted(table))}"
        )
    return frozenset(table[objects])
