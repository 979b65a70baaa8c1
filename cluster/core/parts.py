"""What a node of role ``core`` is made of: the classes, by the part each plays.

Some of the fields are not the replica's: storage and channels between nodes are its host's, the
views of a lease's holder and of a watcher are a client's, and the fence is a resource's.

A core imports no counter-example. Entry points, the simulation and tests choose the classes: a
consensus variant by name, or a part whose subclass overrides one decision (``cluster.ablations``).
"""

from __future__ import annotations

import msgspec

from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.channel.request_batch import RequestBatch
from cluster.channel.request_waiting_list import RequestWaitingList
from cluster.channel.single_socket_channel import ChannelParts
from cluster.channel.singular_update_queue import SingularUpdateQueue
from cluster.consensus.interface import ConsensusParts
from cluster.consensus.multi_paxos import MultiPaxosParts
from cluster.consensus.raft import RaftParts
from cluster.consensus.viewstamped import ViewstampedParts
from cluster.consensus.zab import ZabParts
from cluster.core.lease import LeaseClock, LeaseHolder, TokenFence
from cluster.core.member_requests import MemberRequests
from cluster.core.pending_reads import PendingReads
from cluster.core.replicated_machine import MachineMaker
from cluster.core.state_machine import MachineParts
from cluster.core.state_watch import StateWatch, Watcher
from cluster.data.follower_reads import FollowerReads
from cluster.log.storage import Storage

#: The consensus variants by their names on the command line.
CONSENSUS: dict[str, ConsensusParts] = {
    "raft": RaftParts(),
    "multi-paxos": MultiPaxosParts(),
    "zab": ZabParts(),
    "viewstamped": ViewstampedParts(),
}


class ReplicaParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes of a replica, of the storage and channels its host gives it, and of clients."""

    consensus: ConsensusParts = CONSENSUS["raft"]
    machine: MachineMaker = MachineParts()
    receiver: type[IdempotentReceiver] = IdempotentReceiver
    waiting: type[RequestWaitingList] = RequestWaitingList
    queue: type[SingularUpdateQueue] = SingularUpdateQueue
    batch: type[RequestBatch] = RequestBatch
    reads: type[PendingReads] = PendingReads
    follower_reads: type[FollowerReads] = FollowerReads
    watch: type[StateWatch] = StateWatch
    lease_clock: type[LeaseClock] = LeaseClock
    member_requests: type[MemberRequests] = MemberRequests
    storage: type[Storage] = Storage
    channels: ChannelParts = ChannelParts()
    lease_holder: type[LeaseHolder] = LeaseHolder
    fence: type[TokenFence] = TokenFence
    watcher: type[Watcher] = Watcher
