"""Messages: everything that crosses a socket, as msgspec structs.

Peers and clients speak length-prefixed MessagePack frames (4 bytes big-endian length, then the
body). Structs are tagged arrays, so a frame carries no field names. Every message between peers
carries the sender's generation, replies too: that is the Generation Clock, and a reply without it
is how a deposed leader collects a phantom quorum.

Adding a field at the end of a struct, with a default, is compatible; nothing else is.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

#: A frame longer than this is refused: a foreign or hostile peer, not a message of ours.
FRAME_BYTES_MAX = 64 * 1024 * 1024
#: The same for a client's request. Whatever a client may ask must fit in a message between peers.
REQUEST_BYTES_MAX = 8 * 1024 * 1024
#: The same for the first frame of a connection, of which nobody knows yet who sends it.
HELLO_BYTES_MAX = 4096


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the replicated log.

    Args:
        index: position in the log, from 1.
        generation: generation of the leader that created it.
        kind: ``noop``, ``command`` (``data`` is an encoded :class:`LoggedCommand`) or ``config``.
        data: the payload.
    """

    index: int
    generation: int
    kind: str
    data: bytes = b""


class HardState(msgspec.Struct, frozen=True, array_like=True):
    """What a node must never forget: its generation, and whom it voted for in it.

    Args:
        generation: the highest it has promised to; nothing of a lower one is taken any more.
        voted_for: whom it voted for in that generation; "" if for nobody.
        adopted: the generation under which its log was last brought in line with a leader's (Zab's
            current epoch, the last normal view of Viewstamped Replication); 0 where a variant needs
            none.
    """

    generation: int = 0
    voted_for: str = ""
    adopted: int = 0


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The state machine at an index, sessions and members included.

    Args:
        index: last index included.
        generation: generation of the entry at that index.
        members: voting members at that index.
        data: encoded state.
        configuration: the encoded ``Configuration`` at that index; empty if there is nothing to
            tell but its voters.
    """

    index: int
    generation: int
    members: tuple[str, ...]
    data: bytes
    configuration: bytes = b""


class Command(msgspec.Struct, frozen=True, array_like=True):
    """An operation on the key-value state machine.

    Args:
        op: ``get put cas append incr delete`` (more as the core grows); of the cluster itself
            ``members add-learner promote remove-member transfer``, whose key is a member.
        key: the key.
        args: ``put: (value,)``, ``cas: (old, new)``, ``append: (item,)``, ``incr: (amount,)``.
            Values are any JSON-like value; ``None`` as ``old`` means the key must be absent.
    """

    op: str
    key: str
    args: tuple[Any, ...] = ()


class LoggedCommand(msgspec.Struct, frozen=True, array_like=True):
    """What a ``command`` entry holds: who asked, which of their requests it is, and the command.

    ``first_unanswered`` and ``opened_after`` are those of the :class:`Request`: they are logged
    because every node must forget the same answers and the same sessions at the same index.
    """

    session: str
    seq: int
    command: Command
    first_unanswered: int = 0
    opened_after: int = 0


class Request(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """A client's request.

    Args:
        id: correlates the answer on this connection.
        session: the client session's unique name; the same across retries and reconnections.
        seq: number of the command within the session, from 1; the same across retries. 0 = a read,
            which needs no deduplication.
        first_unanswered: lowest seq whose answer the client has not seen; lower ones may be
            forgotten.
        command: what to do.
        mode: for a read: ``linearizable`` (default), ``lease``, ``stale``, or ``follower``
            (linearizable, served by the node asked).
        timeout_ns: how long the node may keep the request waiting.
        opened_after: a log index the client knew of when it began the session; the same for all its
            requests. A session which is unknown, and may be older than one that was forgotten, is
            refused as ``expired`` rather than begun anew.
    """

    id: int
    session: str
    seq: int
    first_unanswered: int
    command: Command
    mode: str = "linearizable"
    timeout_ns: int = 5_000_000_000
    opened_after: int = 0


class Response(msgspec.Struct, frozen=True, array_like=True, tag="response"):
    """A node's answer.

    Args:
        id: of the request.
        status: ``ok`` (it happened), ``fail`` (it did not and will not: a definite refusal such as
            a cas mismatch), ``unknown`` (it may have or may yet), ``redirect`` (did not happen
            here; ask ``leader``), ``retry`` (did not happen; ask again later: no leader, overload),
            ``expired`` (the session is forgotten: this copy of the request did not happen, whether
            an earlier one did nobody knows; begin a new session after ``revision``). ``refused``,
            with id 0, answers no request: the node is about to close the connection, and says why.
        value: the result, for ok.
        revision: log index at which it took effect or was read; else what the node has applied.
        leader: the leader this node believes in, or "".
        error: why, in words, unless ok.
    """

    id: int
    status: str
    value: Any = None
    revision: int = 0
    leader: str = ""
    error: str = ""


class RequestVote(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    """A candidate asks for a vote; with ``prevote``, only whether it would get one."""

    generation: int
    candidate: str
    last_index: int
    last_generation: int
    prevote: bool = False
    transfer: bool = False


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag="voted"):
    """The answer. ``asked`` echoes the generation asked for, ``generation`` is the voter's own."""

    generation: int
    asked: int
    granted: bool
    prevote: bool = False


class AppendEntries(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """The leader's entries after ``prev_index``, and its high-water mark."""

    generation: int
    prev_index: int
    prev_generation: int
    entries: tuple[Entry, ...]
    high_water_mark: int


class AppendReply(msgspec.Struct, frozen=True, array_like=True, tag="appended"):
    """The follower's answer.

    Args:
        generation: the follower's.
        ok: whether the entries are durably in its log.
        match_index: if ok, last index known to equal the leader's log.
        prev_index: echo of the request, to recognise stale rejections.
        hint_index: if not ok, where the leader should try next.
        hint_generation: generation of the follower's entry there.
        recovering: whether the follower's disk is damaged and being repaired: it must not count.
    """

    generation: int
    ok: bool
    match_index: int
    prev_index: int
    hint_index: int = 0
    hint_generation: int = 0
    recovering: bool = False


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """The leader is alive. ``round`` grows; an answer to it confirms reads asked before it."""

    generation: int
    round: int
    high_water_mark: int


class HeartbeatReply(msgspec.Struct, frozen=True, array_like=True, tag="beaten"):
    """The follower still follows, as of ``round``."""

    generation: int
    round: int


class InstallSnapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """A chunk of the leader's snapshot, for a follower behind the low-water mark."""

    generation: int
    index: int
    entry_generation: int
    members: tuple[str, ...]
    offset: int
    data: bytes
    done: bool
    configuration: bytes = b""


class SnapshotReply(msgspec.Struct, frozen=True, array_like=True, tag="snapped"):
    """How far the follower has the snapshot: bytes so far, or installed."""

    generation: int
    index: int
    offset: int
    installed: bool
    recovering: bool = False


class Recovering(msgspec.Struct, frozen=True, array_like=True, tag="recovering"):
    """The sender's disk is damaged: its log ends at ``index`` for now, whatever it said before."""

    generation: int
    index: int


class ReadIndex(msgspec.Struct, frozen=True, array_like=True, tag="readindex"):
    """A follower asks the leader for an index at which a read is linearizable."""

    generation: int
    id: int


class ReadIndexReply(msgspec.Struct, frozen=True, array_like=True, tag="readable"):
    """The index, or 0 if the sender cannot say."""

    generation: int
    id: int
    index: int


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag="transfer"):
    """The leader asks an up-to-date follower to campaign at once."""

    generation: int


Message: TypeAlias = (
    RequestVote
    | VoteReply
    | AppendEntries
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | InstallSnapshot
    | SnapshotReply
    | ReadIndex
    | ReadIndexReply
    | TimeoutNow
    | Recovering
)


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """First frame on any connection: who speaks.

    Args:
        cluster: the cluster's name; a node refuses another's peers and clients.
        sender: node id of a peer, or the session name of a client.
        peer: True if a peer speaks.
        epoch: the channel's epoch, from 1, new with each connection of the pair; frames of an older
            one are dropped (Single-Socket Channel).
        to: the member a peer means to speak to; "" if it does not say. A node that lives at the
            address of a former member must not be taken for it.
        directory: names the peer's data directory; "" if it does not say. One that comes with
            another than before was wiped, and is refused.
        address: ``host:port`` at which the peer listens, for whoever knows no better.
        token: the cluster's shared secret, if it has one.
    """

    cluster: str
    sender: str
    peer: bool
    epoch: int = 1
    to: str = ""
    directory: str = ""
    address: str = ""
    token: str = ""


Frame: TypeAlias = Message | Hello | Request | Response
