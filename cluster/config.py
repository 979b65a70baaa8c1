"""Every timing and limit of a node, in one struct.

Defaults are those of the design: heartbeats every 50 ms, elections after 300 to 600 ms, 256
appends in flight, batches of at most 512 entries or 1 MiB with no linger, segments of 16 MiB, a
snapshot every 10 000 entries keeping 5 000 for slow followers. Simulation and the real runtime read
the same struct.
"""

from __future__ import annotations

import msgspec

MS = 1_000_000


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
        snapshot_entries: applied entries between snapshots.
        snapshot_keep_entries: entries kept below a snapshot for slow followers.
        snapshot_chunk_bytes: size of one InstallSnapshot chunk.
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
