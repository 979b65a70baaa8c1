"""Fast leader election: nodes that miss their leader agree on the one with the most recent history.

Problem. Zab brings followers in line with the leader, and never the leader with a follower. So the
leader must be a node that misses nothing of what was committed.

Solution. A node without a leader looks for one, in a numbered round. It tells all others its vote:
a node, and how recent that node's history is. It begins with itself, takes over any better vote of
the round, and tells that. The better vote is that of the later current epoch, then of the later
zxid, then of the greater node id. Once a quorum has the same vote as this node, the candidate's
own vote among them, that candidate leads. A round that comes to nothing is begun anew.
A node that is drawn into a round by another's vote proposes itself only if it is more recent; so
the first to notice that the leader is gone usually wins, and the id decides between those that
noticed at the same time. A later round counts for more than an earlier one, whose votes may be out
of date. A node that leads says so to a node that looks; that node joins it, unless the round ends
first.

The current epoch comes before the zxid: a history becomes committed by being adopted by a quorum,
with no new entry. A node that was not there may have a later zxid, of entries that were not.

Votes are nothing but a guess. What is promised durably is in ``zab_discovery``, and a leader that
finds a follower ahead of it there gives up.

Invariants. Within a round a node's vote only gets better. A node that heard a leader within the
shortest election timeout takes no part, unless that leader asked for another one; lease reads rely
on it. A round changes nothing durable, so a node that is cut off disturbs no other.

What breaks without it. A67e: the current epoch is ignored, and a node wins that was not there when
the history was adopted.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011); Medeiros, "ZooKeeper's atomic broadcast protocol: theory and practice" (2012), section 4.
Pure bookkeeping of one node; owned by the Zab core.
"""

from __future__ import annotations

from typing import NamedTuple

from cluster.config import ClusterConfig
from cluster.consensus.log_node import LogNode
from cluster.consensus.membership import Configuration, agreed_vote
from cluster.ports import NodeId, Rng
from cluster.wire import ZabVote

#: A time so long ago that nothing depends on it.
_NEVER_HEARD_NS = -(1 << 62)


class Position(NamedTuple):
    """How recent a node's history is: its current epoch, and the zxid of its last entry."""

    current: int
    last_generation: int
    last_index: int


class Vote(NamedTuple):
    """Whom a node wants for leader, and how recent that node's history is."""

    candidate: NodeId
    position: Position


def position_of(node: LogNode) -> Position:
    """How recent a node's history is."""
    return Position(node.clock.adopted, node.log.last_generation, node.log.last_index)


def vote_of(node: LogNode) -> Vote:
    """A node's vote for itself."""
    return Vote(node.name, position_of(node))


def leads_vote(node: LogNode, round: int) -> ZabVote:
    """The answer of an established leader to a node that looks for one."""
    return ZabVote(node.clock.generation, round, node.name, *position_of(node), looking=False)


class FastLeaderElection:
    """A node's timer, its vote, and the votes it knows of its round.

    Args:
        node: this node.
        config: timeouts.
        rng: randomness for timeouts.
        now_ns: the time.
        has_past: whether this node took part before. It may have answered a leader just before it
            stopped, and stands by that answer for the shortest timeout.
    """

    __slots__ = (
        "_config", "_node", "_rng", "deadline_ns", "heard_ns", "leading", "looking", "round",
        "round_ends_ns", "transfer", "vote", "votes",
    )  # fmt: skip

    def __init__(
        self, node: NodeId, config: ClusterConfig, rng: Rng, *, now_ns: int, has_past: bool
    ) -> None:
        self._node = node
        self._config = config
        self._rng = rng
        #: when this node looks for a leader, or tells its vote again
        self.deadline_ns = now_ns
        #: when a leader was last heard
        self.heard_ns = now_ns if has_past else _NEVER_HEARD_NS
        self.looking = False
        self.round = 0
        #: when this round has come to nothing
        self.round_ends_ns = now_ns
        self.vote = Vote("", Position(0, 0, 0))
        self.votes: dict[NodeId, Vote] = {}
        #: a node that leads, as it said since this node looks; "" if none did
        self.leading: NodeId = ""
        #: whether this node looks because its leader asked it to take over
        self.transfer = False

    # -- decisions ---------------------------------------------------------------------------------

    def recency(self, position: Position) -> tuple[int, int, int]:
        """Decision: what is compared of two histories, the more recent one being greater."""
        return position.current, position.last_generation, position.last_index

    def protects_leader(self, now_ns: int) -> bool:
        """Decision: whether others' votes are ignored because a leader was heard a moment ago."""
        return now_ns - self.heard_ns < self._config.election_min_ns

    def beats(self, vote: Vote, other: Vote) -> bool:
        """Whether one vote is better than another."""
        mine, theirs = self.recency(vote.position), self.recency(other.position)
        return (mine, vote.candidate) > (theirs, other.candidate)

    # -- the timer ---------------------------------------------------------------------------------

    def patience_ns(self) -> int:
        """A random time within the election timeouts."""
        return self._rng.between(self._config.election_min_ns, self._config.election_max_ns)

    def heard_leader(self, now_ns: int) -> None:
        """The leader spoke, or this node begins to follow one: wait for another random time."""
        self.heard_ns = now_ns
        self.deadline_ns = now_ns + self.patience_ns()

    def wait(self, now_ns: int) -> None:
        """No leader was heard: wait for a random time."""
        self.deadline_ns = now_ns + self.patience_ns()

    # -- a round -----------------------------------------------------------------------------------

    def look(self, now_ns: int, own: Vote, seen: ZabVote | None = None) -> None:
        """Begin a round, or join the one of a vote that this node received.

        Args:
            now_ns: the time.
            own: the vote for this node.
            seen: the vote that drew this node into the election; None if it was its own timer.
        """
        self.looking, self.leading, self.transfer = True, "", False
        if seen is None:
            self._begin(self.round + 1, own)
        else:
            self._begin(max(seen.round, self.round + 1), self._first_vote(vote_in(seen), own))
        self.round_ends_ns = now_ns + self.patience_ns()
        self.sent(now_ns)

    def message(self, generation: int) -> ZabVote:
        """The vote as it is sent by a node of this generation."""
        candidate, position = self.vote
        return ZabVote(generation, self.round, candidate, *position, transfer=self.transfer)

    def sent(self, now_ns: int) -> None:
        """The own vote was sent: send it again after a while."""
        self.deadline_ns = now_ns + self._config.heartbeat_ns

    def take(self, source: NodeId, vote: ZabVote, own: Vote) -> bool:
        """Another node's vote; whether this node's vote changed, and must be sent.

        Args:
            source: whose vote.
            vote: that node's vote, of this round or another one.
            own: the vote for this node.
        """
        theirs = vote_in(vote)
        if vote.round < self.round:
            return False
        changed = True
        if vote.round > self.round:
            self._begin(vote.round, self._first_vote(theirs, own))
        elif self.beats(theirs, self.vote):
            self.vote = theirs
            self.votes[self._node] = theirs
        else:
            changed = False
        known = self.votes.get(source)
        if known is None or self.beats(theirs, known):
            self.votes[source] = theirs
        return changed

    def winner(self, electorate: Configuration) -> NodeId:
        """Whom a quorum wants, this node and the candidate among it; "" while there is none.

        Without the candidate, those that take over an old vote of it would follow a node that may
        be gone, or hears nothing.
        """
        same = {node: True for node, vote in self.votes.items() if vote == self.vote}
        candidate = self.vote.candidate
        return candidate if candidate in same and agreed_vote(electorate, same) else ""

    def end(self) -> None:
        """A leader is found."""
        self.looking = False

    def _begin(self, round: int, vote: Vote) -> None:
        assert round > self.round, f"round {round} is not after {self.round}"
        self.round, self.vote = round, vote
        self.votes = {self._node: vote}

    def _first_vote(self, theirs: Vote, own: Vote) -> Vote:
        """The vote of a node that another one's vote drew into a round."""
        ahead = self.recency(own.position) > self.recency(theirs.position)
        return own if ahead else theirs


def vote_in(message: ZabVote) -> Vote:
    """The vote in a message."""
    position = Position(message.current, message.last_generation, message.last_index)
    return Vote(message.candidate, position)
