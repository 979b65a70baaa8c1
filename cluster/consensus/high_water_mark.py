"""High-Water Mark: the index up to which the log is certain, and therefore visible.

Problem. An entry in a leader's log may be lost with that leader. Whoever shows it to a client, or
applies it, has shown something that may never have happened.

Solution. An index, the high-water mark: everything at or below it is on a majority and will be in
the log of every later leader. Only that is applied or answered. The leader raises it when a quorum
has an entry *of its own generation*; earlier entries come along underneath. Followers learn it with
the next append or heartbeat, and never beyond what they are known to share with the leader.

Invariants. It never goes down while a node lives. What is at or below it never changes. A leader
never counts replicas of an earlier generation's entry (Raft's figure 8).

What breaks without it. A14: entries served on append are dirty reads. A16: counting an old entry
commits what a later leader may still overwrite. A17: a follower that trusts the leader's mark
beyond the entries it was sent applies its own divergent tail.

Source: Joshi, "High-Water Mark"; Raft paper 5.3, 5.4.2; Kafka KIP-101 for truncation by generation
and not by mark. Pure functions.
"""

from __future__ import annotations


def leader_may_commit(*, index: int, high_water_mark: int, entry: int | None, own: int) -> bool:
    """Whether a leader may raise the mark to an index which a quorum has made durable.

    Args:
        index: what a quorum has.
        high_water_mark: the mark so far.
        entry: generation of the entry at ``index``, None if it is not in the log.
        own: the leader's generation.
    """
    return index > high_water_mark and entry == own


def follower_mark(*, leader_mark: int, last_shared: int) -> int:
    """The mark a follower may take over: the leader's, but not beyond the entries known equal.

    Args:
        leader_mark: high-water mark in the message.
        last_shared: last index which the message proved equal: previous index plus entries.
    """
    return min(leader_mark, last_shared)
