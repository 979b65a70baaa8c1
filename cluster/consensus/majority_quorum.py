"""Majority Quorum: a decision holds once more than half of the members have it.

Problem. A leader cannot wait for every node, since one of them may be dead, and may not go on
alone, since it may be the one that is cut off.

Solution. Wait for floor(n/2)+1 nodes, for even n too. Any two such sets share a node, so every
later majority contains a node that knows the decision. During a change of members (joint
configuration) a decision needs a majority of the old voters and a majority of the new ones.

Invariants. Two quorums of one configuration intersect; learners are never counted; a node counts
itself only for what it has made durable.

What breaks without it. A11: a quorum of n//2, or of one, acknowledges writes that a partition then
loses, and lets both sides lead. A58: a joint change with only the new majority forks.

Source: Joshi, "Majority Quorum"; Raft thesis 4.3 for joint configurations. Pure functions, used by
every consensus core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def quorum_size(members: int) -> int:
    """Smallest number of nodes such that any two sets of it share one: 2 of 3, 3 of 4, 3 of 5."""
    return members // 2 + 1


def quorum_value(values: Sequence[int], size: int) -> int:
    """The largest number that at least ``size`` of the values reach; 0 if there are fewer values.

    With match indexes it is what a quorum has; with heartbeat rounds, what a quorum has answered;
    with contact times, when a quorum was last heard.
    """
    if size > len(values):
        return 0
    return sorted(values, reverse=True)[size - 1]


def tally(votes: Mapping[str, bool], voters: Sequence[str], size: int) -> bool | None:
    """The outcome of a vote: True if won, False if it can no longer be won, None if still open.

    Args:
        votes: who answered, and how; answers of non-voters are not counted.
        voters: the voting members.
        size: how many votes win.
    """
    granted = sum(1 for voter in voters if votes.get(voter))
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    if granted >= size:
        return True
    if refused > len(voters) - size:
        return False
    return None
