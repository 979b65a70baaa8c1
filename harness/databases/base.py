"""The database and its client, as the harness sees them: Protocols, nothing to inherit.

A *DB* knows how to run one node of a system; a *Client* how to speak to it. Both are plain classes
a user writes in a test file. Each further capability of a DB is an *ability*: one of the Protocols
below, each with one method or attribute, asked with ``isinstance``. So a DB has an ability if it
has the method: :class:`Logs`, :class:`Primaries`, :class:`Generations`, :class:`Assumes`,
:class:`Claims`, :class:`ReadsWithin`, :class:`Recovers`, :class:`PausesClients`,
:class:`Membership`, :class:`Members`, :class:`ReplacesMembers`,
:class:`Partitions`, :class:`ClusterSetup`, :class:`Timed`, :class:`Stops` and, for what it runs
with,
:class:`BringsClient`, :class:`Operations`, :class:`RunsIn`, :class:`NeedsImage`, :class:`Refuses`.

The meaning of keys differs between workloads: registers, lists, sets, locks. A DB whose client must
know takes the option ``objects`` (see :class:`workloads.Workload`); :func:`operations_of` turns it
into the operations its client has, or a sentence.

An unhandled client error is ``fail`` for an op the workload declares read-only, and ``info``
for anything else: the safe default. A client says what it knows with ``op.ok(value)``,
``op.fail(error)`` and ``op.info(error)``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from harness.environments.base import Node
from harness.errors import UsageError

#: Of so many kinds of objects a refusal names the workloads, too.
KINDS_FEW = 5


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
        """The outcome is unknown: it may have happened, or may yet."""
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


# Abilities of a DB ----------------------------------------------------------------------------


@runtime_checkable
class Logs(Protocol):
    """Has files worth keeping."""

    #: paths or globs to bring home from each node; one text is one of them
    logs: Sequence[str] | str


@runtime_checkable
class Primaries(Protocol):
    """Knows who leads: targets ``primaries``, ``one-primary``, ``minority-primaries``."""

    async def primaries(self, nodes: Sequence[Node]) -> Collection[str]:
        """Names of the nodes that lead now."""
        ...


@runtime_checkable
class Generations(Protocol):
    """Knows generations, so that elections between two looks are counted."""

    async def generation(self, nodes: Sequence[Node]) -> int:
        """The newest generation (term, epoch) that any node knows; 0 if none answers."""
        ...


@runtime_checkable
class Costs(Protocol):
    """Knows the costs of its nodes, so that variants of it can be compared."""

    async def work_done(self, nodes: Sequence[Node]) -> dict[str, int]:
        """The counters of all nodes so far: ``commits``, and their costs, such as ``syncs``.

        What is not known is left out, ``commits`` too.
        """
        ...


class Assumptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds within which a database keeps its promises; None where it needs none.

    Args:
        clock_rate_max, clock_rate_min: how fast and how slow a node's monotonic clock may run; 1.0
            is right.
        clock_offset_s: how far a node's wall clock may be off, either way.
    """

    clock_rate_max: float | None = None
    clock_rate_min: float | None = None
    clock_offset_s: float | None = None

    def rate_beyond(self, rate: float) -> float | None:
        """The bound that a rate is beyond; None if it is within."""
        if self.clock_rate_max is not None and rate > self.clock_rate_max:
            return self.clock_rate_max
        if self.clock_rate_min is not None and rate < self.clock_rate_min:
            return self.clock_rate_min
        return None

    def offset_beyond(self, offset_s: float) -> float | None:
        """The bound that an offset is beyond; None if it is within."""
        bound = self.clock_offset_s
        return bound if bound is not None and abs(offset_s) > bound else None


@runtime_checkable
class Assumes(Protocol):
    """Keeps its promises within bounds only: see :mod:`harness.assumptions`."""

    @property
    def assumptions(self) -> Assumptions:
        """The bounds."""
        ...


class RecoveryBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How soon after the end of all faults a database is as it should be; None where it says
    nothing.

    Args:
        serves_s: until an operation is answered ok again.
        clean_s: until nothing of the faults is left in its nodes: no intent of a dead transaction,
            no lease, no lock. Looked at where the environment can see into nodes.
    """

    serves_s: float | None = None
    clean_s: float | None = None


@runtime_checkable
class Recovers(Protocol):
    """Declares how soon it recovers: see :mod:`harness.recovery`."""

    @property
    def recovery_bounds(self) -> RecoveryBounds:
        """The bounds."""
        ...


@runtime_checkable
class Claims(Protocol):
    """Knows which consistency models its transactions promise, at the level it was started at.

    A workload that takes ``consistency_models`` is built with them, unless the user names others.
    """

    @property
    def claims(self) -> Sequence[str]:
        """Names of the models; empty if it promises nothing of its own."""
        ...

    @property
    def claims_because(self) -> str:
        """What the promise follows from, as ``isolation=snapshot-isolation``."""
        ...


@runtime_checkable
class ReadsWithin(Protocol):
    """Has reads that may be of an older state, and says how old: it is checked by that.

    A workload that knows how (``judge_old_reads``) makes its checker of it.
    """

    @property
    def reads_within_s(self) -> float:
        """How long ago the state of a read may be replaced, in seconds; 0 where reads are
        linearizable, infinite where a read may be of any past state."""
        ...


@runtime_checkable
class PausesClients(Protocol):
    """Has clients that hold something while they do nothing, and can be stopped in their tracks.

    The nemesis ``pause`` stops them with the nodes they live beside.
    """

    def pause_clients(self, node: str) -> int:
        """The clients of a node stand still from now on; how many were stopped."""
        ...

    def resume_clients(self, node: str) -> None:
        """They go on."""
        ...


@runtime_checkable
class Membership(Protocol):
    """Can change who is a member; the nemesis ``membership`` needs it."""

    async def add_member(self, node: Node) -> None:
        """Make a node a member; SetupError if that takes too long."""
        ...

    async def remove_member(self, node: Node) -> None:
        """Make a node no member any more."""
        ...


@runtime_checkable
class Members(Protocol):
    """Knows who is a member."""

    async def members(self, nodes: Sequence[Node]) -> Collection[str]:
        """Names of the members; empty if no node can say."""
        ...


@runtime_checkable
class ReplacesMembers(Protocol):
    """Can have a node with a damaged disk, which refuses to start, come back as another member:
    what an operator does. See :mod:`harness.nemesis.damaged_nodes`."""

    async def replace_member(self, node: Node, refused: str) -> str:
        """Have the node's member leave and the node join with an empty disk; the new member's id.

        ``refused`` is what the node said when it did not start. SetupError says why that is no
        reason to replace it, or that it was not done in time.
        """
        ...


@runtime_checkable
class Partitions(Protocol):
    """Knows partitions of its keys, and can change them; the nemeses ``partition-move``,
    ``partition-split`` and ``partition-merge`` need it."""

    async def partitions(self, nodes: Sequence[Node]) -> Sequence[Mapping[str, Any]]:
        """The partitions, each with ``id``, ``low``, ``high``, ``group`` and ``state``; empty if no
        node can say."""
        ...

    async def change_partition(self, node: Node, op: str, key: str, *to: str) -> str:
        """Ask a node for a change; "" once it is done, else why it was refused. SetupError if
        neither is known."""
        ...


@runtime_checkable
class ClusterSetup(Protocol):
    """Has something to do once for all nodes: joining, an initial leader, tables."""

    async def setup_cluster(self, nodes: Sequence[Node]) -> None:
        """Called after every node was started, and before any is asked whether it is ready.

        A node that must serve first is waited for here.
        """
        ...


@runtime_checkable
class Stops(Protocol):
    """Has a kinder way to stop than SIGKILL, used at teardown."""

    async def stop(self, node: Node) -> None:
        """Stop the node's processes."""
        ...


@runtime_checkable
class Timed(Protocol):
    """Knows how long things take with it."""

    #: see :mod:`harness.timings`
    timings: Mapping[str, Any] | None


@runtime_checkable
class BringsClient(Protocol):
    """Brings its own client."""

    #: a class or function that makes one
    client: Callable[..., Client] | None


@runtime_checkable
class Operations(Protocol):
    """A DB or a client that knows which operations it has."""

    operations: Collection[str] | None


@runtime_checkable
class RunsIn(Protocol):
    """Runs in some environments only."""

    environments: Collection[str] | None


@runtime_checkable
class NeedsImage(Protocol):
    """Needs an image of its own in the environment ``docker``."""

    image: str


@runtime_checkable
class Refuses(Protocol):
    """Knows of nemeses that make no sense with it as it was built."""

    def cannot(self, nemesis: Any) -> str:
        """Why a nemesis cannot be had, in a sentence; "" if it can."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A client with something to close."""

    async def close(self) -> None:
        """Disconnect. Must not raise."""
        ...


def operations_of(
    database: str, table: Mapping[str, Collection[str]], objects: str, elsewhere: str = ""
) -> frozenset[str]:
    """The operations a database's client has on one kind of objects.

    Args:
        database: its name, for the sentence.
        table: kind of objects -> operations.
        objects: the kind wanted.
        elsewhere: what has them instead, as the end of the sentence; "" if nothing has.

    Raises:
        UsageError: the database has no such objects.
    """
    if objects not in table:
        raise UsageError(
            f"the workload works on objects of the kind {objects!r}, which {database} does not "
            f"offer; it has: {', '.join(sorted(table))}{_workloads_on(table)}"
            + (elsewhere and f"; {elsewhere}")
        )
    return frozenset(table[objects])


def _workloads_on(kinds: Collection[str]) -> str:
    """The workloads on kinds of objects, as a part of a sentence; "" if there are many, or none."""
    from harness import registry

    if len(kinds) > KINDS_FEW:
        return ""
    every = registry.table("workload")
    names = [name for name in every if registry.find("workload", name)().objects in kinds]
    return f" (--workload {' or '.join(sorted(names))})" if names else ""
