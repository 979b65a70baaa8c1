"""Election: how followers that miss their leader agree on the next one.

Problem. A leader that is silent must be replaced, by one node only, and by one that has every
committed entry. A node that merely cannot hear the leader must not disturb it.

Solution. Each node waits for a random time without a leader, then asks for votes. Each node has one
vote in a generation, and gives it only to a candidate whose log is at least as recent as its own: a
later generation of the last entry wins, then the longer log. Before a real candidacy the node asks
whether it would win (PreVote), which changes nothing on any node. A node that heard a leader within
the shortest election timeout refuses both questions. A candidate counts its own vote only once that
vote is durable.

Invariants. One vote per node and generation. Each voter's answer counts once. A candidate that
misses a committed entry gets no majority.

What breaks without it. A09: a node that stands leads, and several assign the indexes of one
generation. A64: without the comparison of logs a lagging node wins, and acknowledged entries are
gone. A65: without PreVote, a node that returns from a long partition deposes a healthy leader.
A10d: a deposed leader that does not arm its election timer leaves a cluster without a leader for
ever.

Source: Joshi, "Leader and Followers"; Raft paper 5.2, 5.4.1; Raft thesis 4.2.3, 9.6 (PreVote). Used
by the Raft core. What follows from an outcome is the core's to do.
"""

from __future__ import annotations

from typing import TypeAlias

from cluster.clocks.generation_clock import GenerationClock
from cluster.config import ClusterConfig
from cluster.consensus.membership import Configuration, agreed_vote
from cluster.ports import NodeId, Rng
from cluster.wire import RequestVote, VoteReply

#: A time so long ago that nothing depends on it.
_NEVER_HEARD_NS = -(1 << 62)

#: (generation, index) of a log's last entry.
LogEnd: TypeAlias = tuple[int, int]


class Election:
    """A node's timer, the votes it collects, and the rules for giving its own.

    Args:
        config: timeouts, and whether PreVote and CheckQuorum are on.
        rng: randomness for timeouts.
        now_ns: the time.
        has_past: whether this node took part before. It may have answered a leader just before it
            stopped, and stands by that answer for the shortest timeout; lease reads rely on it.
    """

    __slots__ = ("_config", "_rng", "deadline_ns", "heard_ns", "own_vote_io", "prevoting", "votes")

    def __init__(self, config: ClusterConfig, rng: Rng, *, now_ns: int, has_past: bool) -> None:
        self._config = config
        self._rng = rng
        #: when this node asks for votes, unless a leader is heard before
        self.deadline_ns = now_ns
        #: when a leader was last heard
        self.heard_ns = now_ns if has_past else _NEVER_HEARD_NS
        self.prevoting = False
        self.votes: dict[NodeId, bool] = {}
        #: the write that makes this candidate's own vote durable; 0 if none is waited for
        self.own_vote_io = 0

    # -- decisions ---------------------------------------------------------------------------------

    def log_is_up_to_date(self, theirs: LogEnd, own: LogEnd) -> bool:
        """Decision: whether a candidate's log is at least as recent as this node's."""
        return theirs >= own

    def protects_leader(self, now_ns: int, *, leads: bool) -> bool:
        """Decision: whether candidates are refused because a leader was heard a moment ago."""
        if not (self._config.prevote or self._config.check_quorum):
            return False
        return leads or now_ns - self.heard_ns < self._config.election_min_ns

    def grants_vote(self, message: RequestVote, clock: GenerationClock, own: LogEnd) -> bool:
        """Decision: whether the candidate gets this node's one vote of the generation."""
        return clock.may_vote(message.generation, message.candidate) and self.log_is_up_to_date(
            _log_end(message), own
        )

    def grants_prevote(
        self, message: RequestVote, generation: int, own: LogEnd, *, protected: bool
    ) -> bool:
        """Decision: whether the candidate would get the vote, were it to ask.

        Args:
            message: what it asks.
            generation: this node's.
            own: the end of this node's log.
            protected: whether a leader was heard a moment ago.
        """
        return (
            message.generation > generation
            and not protected
            and self.log_is_up_to_date(_log_end(message), own)
        )

    def asks_before_campaigning(self) -> bool:
        """Decision: whether a candidacy begins with the question whether it would win (PreVote)."""
        return self._config.prevote

    def suspects_leader(self, now_ns: int) -> bool:
        """Decision: whether a leader that was silent for the whole timeout is taken for dead."""
        return now_ns >= self.deadline_ns

    def timeout_ns(self) -> int:
        """Decision: how long to wait for a leader: another random time at each call."""
        return self._rng.between(self._config.election_min_ns, self._config.election_max_ns)

    # -- the timer ---------------------------------------------------------------------------------

    def arm(self, now_ns: int) -> None:
        """Wait for another random time."""
        self.deadline_ns = now_ns + self.timeout_ns()

    def left_office(self, now_ns: int) -> None:
        """Decision: what a node that led or stood, and does not any more, waits for: a leader, for
        another random time."""
        self.arm(now_ns)

    def heard_leader(self, now_ns: int) -> None:
        """A leader spoke."""
        self.heard_ns = now_ns
        self.arm(now_ns)

    # -- a candidacy -------------------------------------------------------------------------------

    def begin_prevote(self, node: NodeId, now_ns: int) -> None:
        """Ask whether a candidacy would win; this node would vote for itself."""
        self.prevoting, self.own_vote_io = True, 0
        self.votes = {node: True}
        self.arm(now_ns)

    def begin(self, own_vote_io: int, now_ns: int) -> None:
        """Stand for election; the own vote counts once the write ``own_vote_io`` is durable."""
        self.prevoting, self.own_vote_io = False, own_vote_io
        self.votes = {}
        self.arm(now_ns)

    def end(self) -> None:
        """The candidacy is over, won or lost."""
        self.prevoting, self.own_vote_io = False, 0
        self.votes = {}

    def own_vote_is_durable(self, io_id: int) -> bool:
        """Every write up to ``io_id`` is durable: whether the own vote is, now, to be counted."""
        if not 0 < self.own_vote_io <= io_id:
            return False
        self.own_vote_io = 0
        return True

    def asked_for(self, message: VoteReply, generation: int) -> bool:
        """Whether an answer is to the question under way, for a candidate of this generation."""
        asked = generation + 1 if self.prevoting else generation
        return message.prevote == self.prevoting and message.asked == asked

    def count(self, voter: NodeId, *, granted: bool) -> None:
        """A voter answered. Its first answer counts."""
        self.votes.setdefault(voter, granted)

    def outcome(self, electorate: Configuration) -> bool | None:
        """Decision: who has won: True a candidate with a majority, False one that can no longer
        get it, None while that is open."""
        return agreed_vote(electorate, self.votes)


def _log_end(message: RequestVote) -> LogEnd:
    return message.last_generation, message.last_index
