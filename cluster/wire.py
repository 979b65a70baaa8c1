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
#: The same for a client's request. Each request of a client must fit in a message between peers.
REQUEST_BYTES_MAX = 8 * 1024 * 1024
#: The same for the first frame of a connection, whose sender is not known yet.
HELLO_BYTES_MAX = 4096


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the replicated log.

    Args:
        index: position in the log, from 1.
        generation: generation of the leader that created it.
        kind: ``noop``, ``command`` (``data`` is an encoded :class:`LoggedCommand`), ``config``, or,
            in an acceptor's log of Multi-Paxos only, ``hole``: nothing is accepted there.
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
        voted_for: whom it voted for in that generation; "" if for none.
        adopted: the generation under which its log was last brought in line with a leader's (Zab's
            current epoch, the last normal view of Viewstamped Replication); 0 where a variant needs
            none.
        chosen: the slot up to which it knew every value to be chosen when this was written
            (Multi-Paxos); 0 where a variant needs none.
    """

    generation: int = 0
    voted_for: str = ""
    adopted: int = 0
    chosen: int = 0


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
        mode: for a read: one of :data:`cluster.data.follower_reads.READ_MODES`.
        timeout_ns: how long the node may keep the request waiting.
        opened_after: a log index the client knew of when it began the session; the same for all its
            requests. A session which is unknown, and may be older than one that was forgotten, is
            refused as ``expired`` rather than begun anew.
        min_revision: for a ``session`` read: the highest revision the session has seen.
        staleness_ns: for a ``bounded`` read: how long ago the state may be from.
    """

    id: int
    session: str
    seq: int
    first_unanswered: int
    command: Command
    mode: str = "linearizable"
    timeout_ns: int = 5_000_000_000
    opened_after: int = 0
    min_revision: int = 0
    staleness_ns: int = 0


class Response(msgspec.Struct, frozen=True, array_like=True, tag="response"):
    """A node's answer.

    Args:
        id: of the request.
        status: ``ok`` (it happened), ``fail`` (it did not and will not: a definite refusal such as
            a cas mismatch), ``unknown`` (it may have or may yet), ``redirect`` (did not happen
            here; ask ``leader``), ``retry`` (did not happen; ask again later: no leader, overload),
            ``expired`` (the session is forgotten: this copy of the request did not happen, and it
            is not known whether an earlier one did; begin a new session after ``revision``).
            ``refused``, with id 0, answers no request: the node is about to close the connection,
            and says why.
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


# -- Multi-Paxos: ``generation`` is the ballot ---------------------------------------------------


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag="prepare"):
    """A proposer asks for a promise over the slots from ``first`` on; with ``probe``, only whether
    it would get one. ``transfer``: the leader itself asked for this candidacy."""

    generation: int
    first: int
    probe: bool = False
    transfer: bool = False


class Promise(msgspec.Struct, frozen=True, array_like=True, tag="promise"):
    """The answer. Many accepted values come in parts, each asked for with its own ``first``.

    Args:
        generation: the highest ballot the acceptor has promised.
        asked: echo of the ballot asked for.
        granted: whether it is promised.
        probe: echo.
        first: echo.
        accepted: what the acceptor has accepted from ``first`` to ``told``, ballots included.
        told: the last slot this part tells of.
        end: the last slot the acceptor has anything in.
        high_water_mark: the last slot up to which the acceptor knows every value to be chosen.
    """

    generation: int
    asked: int
    granted: bool
    probe: bool = False
    first: int = 0
    accepted: tuple[Entry, ...] = ()
    told: int = 0
    end: int = 0
    high_water_mark: int = 0


class Accept(msgspec.Struct, frozen=True, array_like=True, tag="accept"):
    """Values proposed under a ballot for consecutive slots from ``first`` on."""

    generation: int
    first: int
    entries: tuple[Entry, ...]
    high_water_mark: int


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag="accepted"):
    """The answer: what is durably accepted.

    Args:
        generation: the highest ballot the acceptor has promised.
        first, last: the slots of the request that are accepted under it; none if last < first.
        agreed: the slot up to which every value is accepted under it, or known to be chosen.
        end: the last slot the acceptor has anything in.
    """

    generation: int
    first: int
    last: int
    agreed: int
    end: int


class CatchUp(msgspec.Struct, frozen=True, array_like=True, tag="catchup"):
    """An acceptor does not know any more what was chosen after ``agreed``: it was restarted."""

    generation: int
    agreed: int


# -- Zab -------------------------------------------------------------------------------------------
# Entries travel as AppendEntries and AppendReply (PROPOSE, ACK; of a history: DIFF), a snapshot as
# InstallSnapshot (SNAP), a sign of life as Heartbeat (PING). ``generation`` is the sender's
# accepted epoch. A zxid is an entry's (generation, index).


class ZabVote(msgspec.Struct, frozen=True, array_like=True, tag="zvote"):
    """Whom the sender wants for leader, in a round of the election.

    Args:
        generation: the sender's accepted epoch.
        round: of the election.
        candidate: the wanted leader.
        current: the candidate's current epoch.
        last_generation, last_index: the zxid of the candidate's last entry.
        looking: False if the sender leads, and says so to one that looks for a leader.
        transfer: the sender was asked to take over by the leader of its accepted epoch.
    """

    generation: int
    round: int
    candidate: str
    current: int
    last_generation: int
    last_index: int
    looking: bool = True
    transfer: bool = False


class CEpoch(msgspec.Struct, frozen=True, array_like=True, tag="zcepoch"):
    """A follower tells the leader it wants the epoch that it accepted last."""

    generation: int


class NewEpoch(msgspec.Struct, frozen=True, array_like=True, tag="znewepoch"):
    """A leader asks for the promise to take nothing of an earlier epoch any more."""

    generation: int


class AckEpoch(msgspec.Struct, frozen=True, array_like=True, tag="zackepoch"):
    """The promise, and where the sender's log ends.

    Args:
        generation: the epoch.
        promised: False if the sender had promised this epoch to another node, or must not count.
        current: the sender's current epoch.
        last_generation, last_index: the zxid of its last entry.
        recovering: whether its disk is damaged: it no longer has all that it acknowledged.
    """

    generation: int
    promised: bool
    current: int
    last_generation: int
    last_index: int
    recovering: bool = False


class Truncate(msgspec.Struct, frozen=True, array_like=True, tag="ztrunc"):
    """TRUNC: cut the log after its last entry at or below a zxid, and tell where it ends.

    Args:
        generation: the epoch.
        last_generation, last_index: the zxid.
        end_generation, end_index: the zxid at which the log must still end, as the follower told;
            a copy of this message that comes late must not cut what was added since.
    """

    generation: int
    last_generation: int
    last_index: int
    end_generation: int
    end_index: int


class NewLeader(msgspec.Struct, frozen=True, array_like=True, tag="znewleader"):
    """The follower has the history of the epoch, which ends at this index: adopt it."""

    generation: int
    last_index: int


class AckNewLeader(msgspec.Struct, frozen=True, array_like=True, tag="zacknewleader"):
    """The history is adopted: it and the current epoch are durable."""

    generation: int


class UpToDate(msgspec.Struct, frozen=True, array_like=True, tag="zuptodate"):
    """A quorum adopted the history: the follower may serve."""

    generation: int
    high_water_mark: int


class ZabCommit(msgspec.Struct, frozen=True, array_like=True, tag="zcommit"):
    """COMMIT: everything up to the high-water mark is committed."""

    generation: int
    high_water_mark: int


ZabMessage: TypeAlias = (
    ZabVote
    | CEpoch
    | NewEpoch
    | AckEpoch
    | Truncate
    | NewLeader
    | AckNewLeader
    | UpToDate
    | ZabCommit
)


# Viewstamped Replication; Prepare, PrepareOk and Commit are AppendEntries, AppendReply, Heartbeat


class StartViewChange(msgspec.Struct, frozen=True, array_like=True, tag="viewask"):
    """The sender misses its primary and wants view ``wanted``; ``transfer``: on request."""

    generation: int
    wanted: int
    transfer: bool = False


class DoViewChange(msgspec.Struct, frozen=True, array_like=True, tag="viewreport"):
    """To a view's primary: the sender has left earlier views. Where its log ends, not the log.

    Args:
        generation: the view.
        last_normal: the last view whose log the sender's log was brought in line with.
        last_index: the end of its log.
        high_water_mark: what it knows to be committed.
    """

    generation: int
    last_normal: int
    last_index: int
    high_water_mark: int


class StartView(msgspec.Struct, frozen=True, array_like=True, tag="viewstart"):
    """The view has started: its first entry, and the entry before, which ends its log so far."""

    generation: int
    prev_index: int
    prev_generation: int
    entries: tuple[Entry, ...]
    high_water_mark: int


class GetState(msgspec.Struct, frozen=True, array_like=True, tag="getstate"):
    """Send me the view's log after ``index``."""

    generation: int
    index: int


class NewState(msgspec.Struct, frozen=True, array_like=True, tag="newstate"):
    """Entries after ``prev_index`` of the sender's log, and its high-water mark."""

    generation: int
    prev_index: int
    entries: tuple[Entry, ...]
    high_water_mark: int


class Recovery(msgspec.Struct, frozen=True, array_like=True, tag="recovery"):
    """A replica without a memory asks what there is; ``nonce`` names this life of it."""

    generation: int
    nonce: int


class RecoveryResponse(msgspec.Struct, frozen=True, array_like=True, tag="recovered"):
    """What the sender has.

    Args:
        generation: its view.
        nonce: echo of the question's.
        last_normal: the last view it was a part of; 0 for none.
        last_index: the end of its log.
        leads: whether it is the primary, and its view has started.
        asking: whether it has no memory either.
    """

    generation: int
    nonce: int
    last_normal: int
    last_index: int
    leads: bool
    asking: bool


# -- Paxos, a register per key (role ``paxos``) ----------------------------------------------------


class Ballot(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Number of an attempt: by round, then by node. ``Ballot()`` is below all that are used."""

    round: int = 0
    node: str = ""


class RegisterMessage(msgspec.Struct, frozen=True, array_like=True):
    """What all of them have: the register, and the ballot that is asked or answered for."""

    key: str
    ballot: Ballot

    @property
    def generation(self) -> int:
        """The round."""
        return self.ballot.round


class RegisterPrepare(RegisterMessage, frozen=True, array_like=True, tag="r-prepare"):
    """Phase 1: promise to take nothing below this ballot, and say what was accepted."""


class RegisterPromise(RegisterMessage, frozen=True, array_like=True, tag="r-promise"):
    """The promise, with the value that was accepted last, and its ballot (``Ballot()``: none)."""

    accepted: Ballot
    value: bytes


class RegisterAccept(RegisterMessage, frozen=True, array_like=True, tag="r-accept"):
    """Phase 2: accept this value, as of this ballot."""

    value: bytes


class RegisterAccepted(RegisterMessage, frozen=True, array_like=True, tag="r-accepted"):
    """The value of this ballot is accepted."""


class RegisterRefused(RegisterMessage, frozen=True, array_like=True, tag="r-refused"):
    """This ballot is refused: a higher one was promised."""

    promised: Ballot


# -- gossip (role ``gossip``) ----------------------------------------------------------------------
# The next view is agreed on with the Register messages above: its register is ``view/N``.


class MemberRecord(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What is known of a member.

    Args:
        node: the member.
        incarnation: the member's own number, which only it raises.
        state: 0 alive, 1 suspect, 2 dead, 3 left; see :mod:`cluster.gossip.membership_view`.
    """

    node: str
    incarnation: int
    state: int


class GossipMessage(msgspec.Struct, frozen=True, array_like=True):
    """What all of them have: the sender's incarnation, and the last view it knows to be agreed."""

    incarnation: int
    view: int

    @property
    def generation(self) -> int:
        """The sender's incarnation."""
        return self.incarnation


class Ping(GossipMessage, frozen=True, array_like=True, tag="g-ping"):
    """Are you there? With rumours; ``number`` is the sender's."""

    number: int
    rumours: tuple[MemberRecord, ...] = ()


class PingAck(GossipMessage, frozen=True, array_like=True, tag="g-ack"):
    """``node`` is there: the sender, or the one it was asked to ping. ``number`` is an echo."""

    number: int
    node: str
    rumours: tuple[MemberRecord, ...] = ()


class PingRequest(GossipMessage, frozen=True, array_like=True, tag="g-pingreq"):
    """Ping ``target`` for me, and tell me if it answers."""

    number: int
    target: str
    rumours: tuple[MemberRecord, ...] = ()


class PushPull(GossipMessage, frozen=True, array_like=True, tag="g-pushpull"):
    """A step of anti-entropy: 0 asks whether the views are equal, 1 and 2 send what differs.

    Args:
        step: 0, 1 or 2.
        digest: of the sender's view.
        after: the range begins after this name.
        last: the range ends with this name; "" for the last there is.
        records: of step 1, all of the range; of step 2, those that the other does not know.
    """

    step: int
    digest: int
    after: str = ""
    last: str = ""
    records: tuple[MemberRecord, ...] = ()


class StableView(msgspec.Struct, frozen=True, array_like=True, tag="g-view"):
    """A view that is agreed on: its number, and its members, the oldest first. In role
    ``leaderless`` also the members before, while they change, and the latest ids that left."""

    id: int = 0
    members: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()

    @property
    def voters(self) -> tuple[str, ...]:
        """Those who agree on the next view."""
        return self.before or self.members

    @property
    def generation(self) -> int:
        """The view's number."""
        return self.id


class Act(msgspec.Struct, frozen=True, array_like=True, tag="g-act"):
    """The leader of a view writes ``value`` to the fenced register, as its act of this number."""

    view: int
    number: int
    value: Any

    @property
    def generation(self) -> int:
        """The view's number."""
        return self.view


class ActReply(msgspec.Struct, frozen=True, array_like=True, tag="g-acted"):
    """The answer; not ``accepted`` if the register has seen a higher token than ``view``."""

    view: int
    number: int
    accepted: bool

    @property
    def generation(self) -> int:
        """The view's number."""
        return self.view


# -- Leaderless (role ``leaderless``): a key's state is an encoded KeyState ------------------------


class LeaderlessMessage(msgspec.Struct, frozen=True, array_like=True):
    """What all of them have: the highest stamp that the sender knows; 0 where there are none.

    Each also has ``ring``, the number of the sender's ring, as its last field.
    """

    stamp: int

    @property
    def generation(self) -> int:
        """The stamp."""
        return self.stamp


class VersionsRead(LeaderlessMessage, frozen=True, array_like=True, tag="v-read"):
    """What do you hold of this key? ``id`` is the coordinator's."""

    id: int
    key: str
    ring: int = 0


class VersionsHeld(LeaderlessMessage, frozen=True, array_like=True, tag="v-held"):
    """The answer; what it says is durable."""

    id: int
    key: str
    state: bytes
    ring: int = 0


class VersionsWrite(LeaderlessMessage, frozen=True, array_like=True, tag="v-write"):
    """Merge this state into yours; ``id`` 0 if no answer is needed.

    With ``hint_for`` the receiver is no replica of the key: it keeps the state for that node.
    """

    id: int
    key: str
    state: bytes
    hint_for: str = ""
    ring: int = 0


class VersionsWritten(LeaderlessMessage, frozen=True, array_like=True, tag="v-written"):
    """The answer: it is merged, or kept for another, and durable."""

    id: int
    key: str
    hint_for: str = ""
    ring: int = 0


class RangeDigests(LeaderlessMessage, frozen=True, array_like=True, tag="v-digests"):
    """Digests of the children of one node of the sender's Merkle tree."""

    path: tuple[int, ...]
    digests: tuple[bytes, ...]
    ring: int = 0


class RangeKeys(LeaderlessMessage, frozen=True, array_like=True, tag="v-keys"):
    """(key, digest of its state) of a range in which two trees differ."""

    path: tuple[int, ...]
    rows: tuple[tuple[str, bytes], ...]
    ring: int = 0


class KeysWanted(LeaderlessMessage, frozen=True, array_like=True, tag="v-wanted"):
    """Send me what you hold of these keys."""

    keys: tuple[str, ...]
    ring: int = 0


class ReapAsk(LeaderlessMessage, frozen=True, array_like=True, tag="v-reap-ask"):
    """Do you hold this tombstone, and nothing else of the key? ``digest`` is that of its state."""

    key: str
    digest: bytes
    ring: int = 0


class ReapYes(LeaderlessMessage, frozen=True, array_like=True, tag="v-reap-yes"):
    """Yes, durably; or the key is not mine, and I keep no hint of it."""

    key: str
    digest: bytes
    ring: int = 0


class Reap(LeaderlessMessage, frozen=True, array_like=True, tag="v-reap"):
    """Every member said yes: forget the tombstone, if it is still this one."""

    key: str
    digest: bytes
    ring: int = 0


class KeysOwed(LeaderlessMessage, frozen=True, array_like=True, tag="v-owed"):
    """I become a replica of keys that you hold: send me those after this one, in order."""

    after: str
    ring: int = 0


class KeysPage(LeaderlessMessage, frozen=True, array_like=True, tag="v-page"):
    """(key, state) of the next keys that the receiver becomes a replica of; the last, or not."""

    after: str
    rows: tuple[tuple[str, bytes], ...]
    last: bool
    ring: int = 0


class HandedOver(LeaderlessMessage, frozen=True, array_like=True, tag="v-handed-over"):
    """The sender has, durably, what it becomes a replica of by the change under way."""

    ring: int = 0


class ShallLeave(LeaderlessMessage, frozen=True, array_like=True, tag="v-shall-leave"):
    """A client wants a member to leave."""

    member: str
    ring: int = 0


StateMessage: TypeAlias = (
    VersionsRead
    | VersionsHeld
    | VersionsWrite
    | VersionsWritten
    | RangeDigests
    | RangeKeys
    | KeysWanted
    | ReapAsk
    | ReapYes
    | Reap
    | KeysOwed
    | KeysPage
    | HandedOver
    | ShallLeave
)
GroupMessage: TypeAlias = Ping | PingAck | PingRequest | PushPull | StableView | Act | ActReply


#: What members of one replicated group, or one core, say to each other.
ReplicaMessage: TypeAlias = (
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
    | Prepare
    | Promise
    | Accept
    | Accepted
    | CatchUp
    | ZabMessage
    | StartViewChange
    | DoViewChange
    | StartView
    | GetState
    | NewState
    | Recovery
    | RecoveryResponse
    | RegisterPrepare
    | RegisterPromise
    | RegisterAccept
    | RegisterAccepted
    | RegisterRefused
)


# -- many groups on one node (role ``data``) -------------------------------------------------------


class Grouped(msgspec.Struct, frozen=True, array_like=True, tag="grouped"):
    """A message between two members of one group.

    Args:
        generation: of the message.
        group: whose it is.
        message: the message.
        stamp: the sender's hybrid timestamp; 0 if it has none.
        sent: the sender's monotonic time in ns; 0 if it does not say.
        back: the receiver's monotonic time, given back (``cluster.data.round_trips``); 0 for none.
    """

    generation: int
    group: str
    message: ReplicaMessage
    stamp: int = 0
    sent: int = 0
    back: int = 0


class GroupRequest(msgspec.Struct, frozen=True, array_like=True, tag="g-request"):
    """A node asks a group, as a client of it.

    Args:
        generation: the highest generation of the group that the sender knows.
        token: comes back with the answer; another one for each copy of a request.
        group: who is asked.
        request: what is asked.
        stamp, sent, back: as in :class:`Grouped`.
    """

    generation: int
    token: int
    group: str
    request: Request
    stamp: int = 0
    sent: int = 0
    back: int = 0


class GroupResponse(msgspec.Struct, frozen=True, array_like=True, tag="g-response"):
    """The answer of a node of that group, or of one that knows who is; ``token`` is the question's,
    and ``stamp``, ``sent`` and ``back`` are as in :class:`Grouped`."""

    generation: int
    token: int
    response: Response
    stamp: int = 0
    sent: int = 0
    back: int = 0


Message: TypeAlias = (
    ReplicaMessage | GroupMessage | StateMessage | Grouped | GroupRequest | GroupResponse
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
        address: ``host:port`` at which the peer listens, for those that know no other.
        token: the cluster's shared secret, if it has one.
        consensus: the variant that a peer runs; "" if it has none, or does not say. Two variants
            share some messages, and mean different things by them.
    """

    cluster: str
    sender: str
    peer: bool
    epoch: int = 1
    to: str = ""
    directory: str = ""
    address: str = ""
    token: str = ""
    consensus: str = ""


Frame: TypeAlias = Message | Hello | Request | Response
