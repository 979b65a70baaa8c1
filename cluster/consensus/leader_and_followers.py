"""Leader and Followers: one node decides the order, the others copy it, and any can take over.

Problem. If each node of a replicated service accepts updates, they disagree about order, and a
quorum alone does not decide between two orders.

Solution. One leader per generation assigns indexes. Followers that miss its heartbeats for a random
time ask for votes; each node votes once in a generation, and only for a candidate whose log is at
least as up to date as its own, so that a leader's log holds everything certain. Before a real
candidacy a node asks whether it would win (PreVote), so that a cut-off node does not raise
generations it cannot win. A node that hears a leader refuses both for the minimum election timeout.

Invariants. At most one leader per generation. A leader has every entry at or below every earlier
leader's high-water mark. Only the leader creates entries.

What breaks without it. A09: indexes assigned by anyone fork the log at once. A64 and the missing
up-to-date check: a lagging node wins and acknowledged entries are gone. A65: without PreVote, a
node that returns from a long partition deposes a healthy leader. A10d: a deposed leader whose
election timer is not armed again leaves a cluster without a leader for ever.

Source: Joshi, "Leader and Followers"; Raft paper 5.2, 5.4.1; Raft thesis 9.6 (PreVote), 3.10
(leader transfer). Pure rules, used by the Raft core.
"""

from __future__ import annotations

from typing import Final

LEADER: Final = "leader"
FOLLOWER: Final = "follower"
CANDIDATE: Final = "candidate"
LEARNER: Final = "learner"


def is_up_to_date(theirs: tuple[int, int], own: tuple[int, int]) -> bool:
    """Whether a candidate's log is at least as recent as the voter's.

    Args:
        theirs, own: (generation, index) of the last entry. A later generation beats a longer log.
    """
    return theirs >= own


def may_vote(*, asked: int, generation: int, candidate: str, voted_for: str) -> bool:
    """Whether a vote in ``asked`` is free for this candidate, for a node at ``generation``."""
    return asked == generation and voted_for in ("", candidate)


class Transfer:
    """A leadership being handed over on request.

    The leader takes no new entries until the target has all, tells it to campaign at once, and
    gives up after a while.

    Args:
        to: who shall lead.
        deadline_ns: when the leader carries on itself.
    """

    __slots__ = ("asked", "deadline_ns", "to")

    def __init__(self, to: str, deadline_ns: int) -> None:
        self.to = to
        self.deadline_ns = deadline_ns
        self.asked = False
