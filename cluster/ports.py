"""The ports: everything a protocol core may ask of the world, and everything it may tell it.

The problem: a protocol that calls sockets, files, clocks and dice can be tested only by running
it, and the interesting schedules never happen while somebody watches. The solution: every protocol
here is a synchronous state machine, `event -> effects`. What comes in is an argument (a message, a
tick with the time, a completed write, a client's request); what must happen outside is returned as
a list of effects. ``cluster.runtime`` carries effects out with asyncio, sockets and fsync;
``cluster.simulation`` carries the very same effects out in virtual time.

The law of durability order lives in these types. ``Send.after`` and ``Reply.after`` name a write
that must be durable before the message leaves. Writes become durable in the order they were
issued (one FIFO queue per node), so ``on_persisted(io_id)`` covers every write up to that id.

Nothing in this module does anything. It imports nothing but types.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from cluster.wire import Entry, HardState, Message, Request, Response, Snapshot

NodeId: TypeAlias = str


class Send(msgspec.Struct, frozen=True):
    """Send a message to a peer.

    Args:
        to: the peer.
        message: what to send.
        after: id of the write that must be durable first; 0 to send at once.
    """

    to: NodeId
    message: Message
    after: int = 0


class Reply(msgspec.Struct, frozen=True):
    """Answer a client's request.

    Args:
        connection: the token given with the request.
        response: the answer.
        after: id of the write that must be durable first; 0 to answer at once.
    """

    connection: int
    response: Response
    after: int = 0


class Append(msgspec.Struct, frozen=True):
    """Make a hard state and entries durable, in that order, after all earlier writes.

    If ``entries`` starts at or below an index already in the log, the log is cut there first. With
    ``cut_from`` it is cut at that index, whether or not anything takes the place of what was there.

    Args:
        io_id: id of this write; ids grow by one with each Append or SaveSnapshot of a node.
        hard_state: the new hard state, or None if it did not change.
        entries: consecutive entries, possibly none.
        cut_from: 0, or the first index of what is gone before the entries are added.
        repaired: True if the node has from its peers what its damaged disk had promised
            (``Recovered.damage``): once this is durable the damage is history.
        group: the group whose log it is, on a node that has many; "" on one that has one log.
    """

    io_id: int
    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    cut_from: int = 0
    repaired: bool = False
    group: str = ""


class SaveSnapshot(msgspec.Struct, frozen=True):
    """Make a snapshot durable, then let the log go below ``keep_from`` (the low-water mark).

    Args:
        io_id: id of this write.
        snapshot: the state at ``snapshot.index``.
        keep_from: first log index still wanted by slow followers.
        reset_log: True if the log must be dropped whole: the snapshot came from the leader and the
            log did not contain its last entry.
        group: the group whose state it is, on a node that has many.
    """

    io_id: int
    snapshot: Snapshot
    keep_from: int
    reset_log: bool = False
    group: str = ""


class SetTimer(msgspec.Struct, frozen=True):
    """Call ``on_tick`` at or soon after this time of the node's own monotonic clock.

    The latest SetTimer of a batch replaces any earlier one.
    """

    at_ns: int


class Note(msgspec.Struct, frozen=True):
    """Something a reader of the run would want to know: elected, stepped down, snapshot taken.

    Args:
        event: a word, such as ``leader-elected``.
        detail: JSON-ready facts.
    """

    event: str
    detail: dict[str, Any]


Effect: TypeAlias = Send | Reply | Append | SaveSnapshot | SetTimer | Note


class Damage(msgspec.Struct, frozen=True):
    """A disk that no longer has what it promised.

    Args:
        file: where the first damage was found.
        offset: byte in it.
        reason: what is wrong there, in words.
        index, generation: of the last entry that this node may have acknowledged.
        slot: the highest index at which it may have acknowledged an entry, of any generation.
    """

    file: str
    offset: int
    reason: str
    index: int
    generation: int
    slot: int = 0

    def __str__(self) -> str:
        return f"{self.file} at byte {self.offset}: {self.reason}"


class Recovered(msgspec.Struct):
    """What storage found on disk when the node started.

    Args:
        hard_state: last durable hard state (all zero on a new node).
        snapshot: newest durable snapshot, or None.
        entries: every entry above it, consecutive (some may be at or below ``snapshot.index``).
        damage: None if that is all that was ever promised. Otherwise the node must not vote, stand
            for election or have its acknowledgements counted, until it is repaired from its peers
            and says so (``Append.repaired``); ``hard_state`` is right all the same.
        groups: on a node with many groups, what was found of each; the other fields are then empty,
            but for ``damage``, which is that of the first group that has any.
    """

    hard_state: HardState
    snapshot: Snapshot | None
    entries: list[Entry]
    damage: Damage | None = None
    groups: dict[str, Recovered] = msgspec.field(default_factory=dict)


class Core(Protocol):
    """A node's protocol, whole: what a runtime or a simulation hosts.

    ``now_ns`` is always the node's own monotonic clock (the Clock port: possibly skewed in rate).
    No method may block or raise for bad input from outside; a raise is a bug and stops the node.
    """

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        """Begin, or begin again after a crash, from what is durable."""

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> list[Effect]:
        """A peer's message arrived."""

    def on_tick(self, now_ns: int) -> list[Effect]:
        """The time asked for by the last SetTimer has come."""

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        """Every write up to and including ``io_id`` is durable."""

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        """A client's request arrived on a connection."""

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        """A client's connection is gone; nothing may be sent to it any more."""

    def status(self) -> dict[str, Any]:
        """JSON-ready state for the admin endpoint: see docs/architecture.md for the fields."""

    def state_hash(self) -> str:
        """Hex digest of the applied state: equal on all nodes at an equal applied index above 0."""


@runtime_checkable
class InSteps(Protocol):
    """A core that can give writes and messages before it applies what is committed.

    The disk and the peers can work meanwhile. A host that sets ``in_steps`` asks for :meth:`more`
    after each input, before the next.
    """

    #: whether to work in steps, where there is much to apply
    in_steps: bool

    @property
    def unfinished(self) -> object:
        """None if nothing is left to do of the last input."""

    def more(self, now_ns: int) -> list[Effect]:
        """Do what is left of the last input."""


class Rng(Protocol):
    """Seeded randomness for one purpose of one node."""

    def between(self, low: int, high: int) -> int:
        """A uniform integer in [low, high]."""


class Clock(Protocol):
    """A node's clocks, which faults may skew."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; the rate may be wrong."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch; may jump either way."""


class DiskError(Exception):
    """A disk operation failed.

    Args:
        code: an errno name such as ``EIO`` or ``ENOSPC``.
        operation: the method of :class:`Disk` that failed.
        name: the file.
    """

    def __init__(self, code: str, operation: str, name: str) -> None:
        self.code = code
        #: whether there was no room for a new file: nothing was written, and it may be tried again
        self.no_room = operation == "create" and code in ("ENOSPC", "EDQUOT")
        why = ": it is a directory" if code == "EISDIR" else ""
        super().__init__(f"{operation} {name!r} failed with {code}{why}")


class Disk(Protocol):
    """One node's directory of files, where nothing is durable before it is synced.

    Bytes appended are durable after :meth:`sync` of the file; a created, renamed or removed name is
    durable after :meth:`sync_dir`. Every method may raise :class:`DiskError`.
    """

    def names(self) -> list[str]:
        """Names of all files, sorted."""

    def read(self, name: str) -> bytes:
        """The whole file as this process sees it (unsynced bytes included)."""

    def create(self, name: str, *, preallocate_bytes: int = 0) -> None:
        """Create an empty file; preallocated space is zero-filled room, not content.

        Where there is no room for it nothing is left behind (``DiskError.no_room``), and what is
        appended to a file within its room needs no more.
        """

    def append(self, name: str, data: bytes) -> None:
        """Add bytes at the end of the content (not of the preallocated room)."""

    def overwrite(self, name: str, offset: int, data: bytes) -> None:
        """Replace bytes within the content, at once: they outlive this process from now on.

        They outlive a loss of power after the next :meth:`sync` of the file; before it, the old
        bytes or the new ones are found.
        """

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cut the content to this many bytes."""

    def sync(self, name: str) -> None:
        """Make the file's content durable."""

    def sync_dir(self) -> None:
        """Make creations, renames and removals durable."""

    def rename(self, old: str, new: str) -> None:
        """Rename atomically, replacing ``new`` if it exists."""

    def remove(self, name: str) -> None:
        """Remove a file."""
