"""Every timing and limit of a node, in one struct.

Defaults are those of the design: heartbeats every 50 ms, elections after 300 to 600 ms, 256
appends in flight, batches of at most 512 entries or 1 MiB with no linger, segments of 16 MiB, a
snapshot every 10 000 entries keeping 5 000 for slow followers. Simulation and the real runtime read
the same struct.
"""

from __future__ import annotations

import msgspec

MS = 1_000_000


def in_seconds(duration_ns: int) -> str:
    """A duration for people: whole milliseconds of it, in seconds, or a shorter one as it is."""
    if abs(duration_ns) < MS:
        return f"{duration_ns} ns"
    return f"{int(duration_ns / MS) / 1000:g} s"


#: How role ``leaderless`` orders versions: by dotted version vectors, or by the stamps of a hybrid
#: clock, a Lamport clock or the wall clock, of which the highest wins.
VERSIONS = ("dotted", "lww-hybrid", "lww-lamport", "lww-wall")


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a node.

    Args:
        cluster: the cluster's name; peers and clients of another are refused.
        heartbeat_ns: interval of the leader's heartbeats.
        election_min_ns, election_max_ns: bounds of the randomised election timeout.
        prevote: ask before campaigning, so that a cut-off node does not inflate generations.
        check_quorum: a leader steps down when a majority was silent for ``election_max_ns``.
        inflight_max: AppendEntries in flight per follower.
        batch_entries_max, batch_bytes_max: bounds of one AppendEntries.
        pending_max: client requests waiting before new ones are told to retry.
        segment_bytes: size at which a log segment is full.
        snapshot_entries: applied entries between snapshots, at least; a large state waits until the
            log has grown as large as its last snapshot, or up to twice that: each node at another
            size.
        snapshot_keep_entries: entries kept below a snapshot for slow followers.
        snapshot_chunk_bytes: size of one InstallSnapshot chunk.
        partition_part_bytes: size of one part of a partition that moves to another group.
        session_max: sessions remembered; the least recently used one is dropped, by the log.
        session_unanswered_max: answers remembered per session; a session with more is refused.
        history_revisions: revisions that stay readable without a compaction being asked for.
        lease_read_margin: fraction of the minimum election timeout a lease read may trust.
        apply_entries_max: committed entries applied in one event, the rest in the next ones; 0 for
            all at once.
        joint_changes: voters change through a joint configuration; False for one voter at a time,
            in one step.
        promote_lag_entries: a learner that misses more entries than this is not promoted.
        ballot_timeout_ns: how long a proposer of role ``paxos`` waits for acceptors before it asks
            the silent ones again.
        ballot_backoff_min_ns: after an attempt that was refused it waits at most for the time that
            an attempt takes, or this if that is longer; twice as long after each further one in a
            row.
        ballot_backoff_max_ns: the longest of these waits, unless a single attempt takes longer.
        register_session_max: sessions remembered in one register of role ``paxos``.
        clock_offset_bound_ns: how far the wall clocks of two nodes may be apart, for the hybrid
            clocks of roles ``data`` and ``leaderless``.
        clock_reserve_ns: how far above the present a node's durable bound of timestamps is set.
        transaction_timeout_ns: a transaction's time to live.
        orphan_after_ns: how long a coordinator may be silent before others end its transactions.
        close_interval_ns: how often a data group's closed timestamp goes on.
        close_lag_ns: how far it stays behind the present.
        collect_interval_ns: how often versions are collected.
        retention_ns: how long versions are kept, at least.
        node_ttl_ns: how long a data node that is silent counts as living.
        partition_scheme: of a new cluster: ``slots`` for Fixed Partitions, ``ranges`` for Key-Range
            Partitions.
        partition_slots: how many fixed partitions there are, for ever.
        partition_splits: where the key space is cut at first, in order.
        partition_split_keys, partition_split_writes: a range with more keys, or more writes a
            second, is split; 0 keys for no splits and merges but those asked for.
        partition_merge_keys: neighbours with fewer keys together are merged.
        partition_poll_ns: how often the controller asks for the sizes of ranges.
        gossip_round_ns: a member is pinged in each round.
        gossip_ack_ns: how long its answer may take before others are asked to ping it.
        gossip_helpers: how many others are asked.
        gossip_suspicion: a suspect has this times log2(members) rounds to refute.
        gossip_retransmit: a rumour is sent this times log2(members) times.
        gossip_bytes_max: bytes of rumours, or of records, in one message.
        gossip_exchange_rounds: rounds between two push-pulls with a member at random.
        versions: how role ``leaderless`` orders the versions of a key: one of :data:`VERSIONS`.
        replicas, read_quorum, write_quorum: of role ``leaderless``: how many nodes hold a key, and
            how many of them a quorum read and a quorum write wait for; in a smaller cluster, all.
        request_retry_ns: how long a coordinator waits for a silent replica before it asks again.
        anti_entropy_ns: time between two comparisons with a peer.
        tombstone_grace_ns: how old a tombstone is at least when it is forgotten; longer than a
            message may be under way.
        hints_max: states that a node keeps for members that are away; more are left to
            anti-entropy.
    """

    cluster: str = "splitbrain"
    heartbeat_ns: int = 50 * MS
    election_min_ns: int = 300 * MS
    election_max_ns: int = 600 * MS
    prevote: bool = True
    check_quorum: bool = True
    inflight_max: int = 256
    batch_entries_max: int = 512
    batch_bytes_max: int = 1024 * 1024
    pending_max: int = 10_000
    segment_bytes: int = 16 * 1024 * 1024
    snapshot_entries: int = 10_000
    snapshot_keep_entries: int = 5_000
    snapshot_chunk_bytes: int = 512 * 1024
    partition_part_bytes: int = 512 * 1024
    session_max: int = 10_000
    session_unanswered_max: int = 1_024
    history_revisions: int = 10_000
    lease_read_margin: float = 0.5
    apply_entries_max: int = 0
    joint_changes: bool = True
    promote_lag_entries: int = 512
    ballot_timeout_ns: int = 300 * MS
    ballot_backoff_min_ns: int = 2 * MS
    ballot_backoff_max_ns: int = 2_000 * MS
    register_session_max: int = 64
    clock_offset_bound_ns: int = 250 * MS
    clock_reserve_ns: int = 2_000 * MS
    transaction_timeout_ns: int = 10_000 * MS
    orphan_after_ns: int = 2_000 * MS
    close_interval_ns: int = 200 * MS
    close_lag_ns: int = 1_000 * MS
    collect_interval_ns: int = 5_000 * MS
    retention_ns: int = 30_000 * MS
    node_ttl_ns: int = 3_000 * MS
    partition_scheme: str = "slots"
    partition_slots: int = 16
    partition_splits: tuple[str, ...] = ()
    partition_split_keys: int = 0
    partition_split_writes: int = 5_000
    partition_merge_keys: int = 0
    partition_poll_ns: int = 5_000 * MS
    gossip_round_ns: int = 200 * MS
    gossip_ack_ns: int = 80 * MS
    gossip_helpers: int = 3
    gossip_suspicion: int = 4
    gossip_retransmit: int = 3
    gossip_bytes_max: int = 1_024
    gossip_exchange_rounds: int = 5
    versions: str = "dotted"
    replicas: int = 3
    read_quorum: int = 2
    write_quorum: int = 2
    request_retry_ns: int = 300 * MS
    anti_entropy_ns: int = 500 * MS
    tombstone_grace_ns: int = 10_000 * MS
    hints_max: int = 10_000
