"""State transfer: how a replica gets the log of a view that it was not there for.

Problem. A replica that was away when a view started has a log of an earlier one. What it knows to
be committed is in the new log too; what comes after may have been replaced. A new primary may lack
part of the very log that its view begins with.

Solution. The replica asks for everything after its commit number (GetState), and takes it over
(NewState), cutting its own log where it differs. It asks piece by piece, each of a bounded size,
and asks again for what was lost. If the entries are gone where it asks, it is sent the snapshot
instead, in chunks (Install Snapshot), and goes on from there. Only when its log ends with entries
of the view, so that nothing of its own is left over, does it count as part of the view.

Any replica of the view answers: the primary of a view that has started, and, to the primary of a
view that is about to, the one whose log was chosen.

Invariants. What is asked for begins at or below the commit number, where all logs agree. A piece is
taken only where the ones before it were. A piece that brings nothing new leads to no question. A
replica acknowledges nothing in a view before its log is a prefix of the view's.

What breaks without it. A68h: a replica that asks for what follows the end of its log, rather than
its commit number, keeps entries that a later view has replaced.

Source: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 5.2. Bookkeeping for both
ends; used by ``views``.
"""

from __future__ import annotations

from cluster.channel.request_batch import batch_entries
from cluster.config import ClusterConfig
from cluster.consensus.install_snapshot import SnapshotTransfer
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.ports import NodeId
from cluster.wire import GetState, InstallSnapshot, NewState, Snapshot, SnapshotReply


class StateTransfer:
    """What this replica fetches, and from whom; and which snapshots it sends to others.

    Args:
        config: sizes, and how long to wait for an answer.
    """

    __slots__ = ("_arriving", "_config", "_snapshots", "at", "deadline_ns", "source")

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        #: snapshots under way to other replicas
        self._snapshots: dict[NodeId, SnapshotTransfer] = {}
        #: from whom this replica fetches; "" if it does not
        self.source: NodeId = ""
        #: up to which index this log is known to be the source's
        self.at = 0
        #: when to ask again
        self.deadline_ns = 0
        #: index of the snapshot that arrives; 0 if none has begun since the last question
        self._arriving = 0

    # -- decisions ---------------------------------------------------------------------------------

    def begins_at(self, log: ReplicatedLog, mark: int) -> int:
        """Decision: the index after which everything is fetched.

        Args:
            log: this replica's.
            mark: what it knows to be committed.
        """
        return mark

    # -- the replica that lacks something ----------------------------------------------------------

    def begin(self, source: NodeId, log: ReplicatedLog, mark: int) -> None:
        """Fetch from a replica from now on; arguments as for :meth:`begins_at`."""
        self.source, self.at = source, self.begins_at(log, mark)

    def ask(self, view: int, now_ns: int) -> GetState:
        """The question, to be repeated if nothing comes for a while."""
        self.wait(now_ns)
        self._arriving = 0
        return GetState(view, self.at)

    def wait(self, now_ns: int) -> None:
        """Something came or was asked for: do not ask again for a while."""
        self.deadline_ns = now_ns + 2 * self._config.heartbeat_ns

    def takes(self, source: NodeId, message: NewState) -> bool:
        """Whether a piece follows what is here; one that came before or too early does not."""
        return source == self.source and message.prev_index <= self.at

    def took(self, index: int) -> bool:
        """This log is the source's up to an index; whether that is further than before.

        Only then is the next piece asked for. If a repeated answer led to a question, and that to
        an answer, each frame that the network repeats would be one more such chain, for good.
        """
        further = index > self.at
        self.at = max(self.at, index)
        return further

    def takes_chunk(self, index: int) -> bool:
        """Whether a chunk is of the snapshot that arrives, which is the first after a question.

        A primary may send two: one as the answer, and a newer one as to any replica that is
        behind. Chunks of both in turn would undo each other, and neither would ever be whole.
        """
        self._arriving = self._arriving or index
        return index == self._arriving

    def end(self) -> None:
        """Nothing is lacking any more, or another view was entered."""
        self.source = ""

    # -- the replica that is asked -----------------------------------------------------------------

    def answer(
        self,
        source: NodeId,
        message: GetState,
        *,
        log: ReplicatedLog,
        mark: int,
        newest: Snapshot | None,
    ) -> NewState | InstallSnapshot:
        """A piece of the log, or of the snapshot where the log is gone.

        Args:
            source: who asks.
            message: from where on.
            log, mark: this replica's.
            newest: its newest snapshot.
        """
        view, index, config = message.generation, message.index, self._config
        if index < log.base_index:
            assert newest is not None and newest.index >= log.base_index, (
                f"the log begins at {log.first_index} and no snapshot reaches it"
            )
            under_way = self._snapshots.get(source)
            if under_way is None or under_way.snapshot is not newest:
                under_way = SnapshotTransfer(newest, config.snapshot_chunk_bytes)
                self._snapshots[source] = under_way
            return under_way.chunk(view)
        self._snapshots.pop(source, None)
        entries = log.between(index + 1, index + config.batch_entries_max)
        piece = tuple(batch_entries(entries, bytes_max=config.batch_bytes_max))
        return NewState(view, index, piece, mark)

    def next_chunk(self, source: NodeId, message: SnapshotReply) -> InstallSnapshot | None:
        """A replica has part of a snapshot: the next chunk; None if none is wanted."""
        under_way = self._snapshots.get(source)
        if under_way is None:
            return None
        if message.installed:
            del self._snapshots[source]
            return None
        if not under_way.progressed(message.index, message.offset):
            return None
        return under_way.chunk(message.generation)
