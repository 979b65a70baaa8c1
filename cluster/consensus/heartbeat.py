"""HeartBeat: a regular sign of life, numbered, on a path that a slow disk cannot block.

Problem. Silence means a dead node, a cut link or a busy one. The others must act in bounded time,
and must not take a slow disk for a death.

Solution. The leader sends a heartbeat on every interval, apart from the log: it waits for no write.
Followers answer at once. Each heartbeat carries a growing round number, and the answer echoes it.
An answer proves that its sender still followed *after that round was sent*; the ReadIndex pattern
and lease reads rest on this. A leader that hears no quorum for a whole election timeout steps down
(CheckQuorum), so that the clients of a half-cut leader are not kept waiting.

A round begun for a read, between two regular ones, needs a quorum and no more. It goes to as many
voters as make a quorum with the leader, those that answered last; the others are asked too if it is
not confirmed after a few times what rounds take. Whom it went to says nothing about what confirms
it: a quorum of answers, from any members.

Invariants. A failure is noticed within [timeout, timeout + interval + delay]. An answer to round r
proves nothing about a round after r. The confirmed round never goes back, and was sent. Regular
heartbeats go to every member, and a round begun for a read does not put them off.

What breaks without it. A10b: a heartbeat behind fsync turns a slow disk into elections. A10c: no
heartbeat, no failover. A33b: an answer without its round confirms a read it came before. A66: a
leader that can send but not hear keeps its clients waiting for ever.

Source: Joshi, "HeartBeat"; Raft thesis 6.2 (CheckQuorum), 6.4 (leases). One leadership's
bookkeeping, for any consensus core with a leader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from cluster.config import ClusterConfig
from cluster.consensus.membership import Configuration, agreed_value
from cluster.ports import NodeId

#: A round that took this many times as long as rounds do is late.
LATE_AFTER_ROUNDS = 4
#: No round is late before this part of a heartbeat interval.
LATE_AFTER_INTERVALS = 10


class HeartbeatRounds:
    """Rounds sent, answered and confirmed in one leadership, and when each peer was last heard.

    Args:
        node: the leader.
        peers: the other members; all count as heard when the leadership begins.
        config: interval and timeouts.
        now_ns: when the leadership begins.
    """

    __slots__ = (
        "_answered",
        "_config",
        "_heard_ns",
        "_lease_void",
        "_node",
        "_round_ns",
        "_unconfirmed",
        "confirmed",
        "confirmed_sent_ns",
        "due_ns",
        "sent",
    )

    def __init__(
        self, node: NodeId, peers: Iterable[NodeId], *, config: ClusterConfig, now_ns: int
    ) -> None:
        self._node = node
        self._config = config
        self._heard_ns: dict[NodeId, int] = dict.fromkeys(peers, now_ns)
        #: the latest round each member answered, the last to do so at the end; the leader answers
        #: its own at once
        self._answered: dict[NodeId, int] = {**dict.fromkeys(self._heard_ns, 0), node: 0}
        self._unconfirmed: deque[tuple[int, int]] = deque()
        self._lease_void = False
        #: how long rounds take from being sent to being confirmed, smoothed; 0 before there is one
        self._round_ns = 0
        #: the latest round sent, and the latest a quorum has answered
        self.sent = self.confirmed = 0
        #: when the confirmed round was sent; -1 before there is one
        self.confirmed_sent_ns = -1
        #: when the next regular round is due
        self.due_ns = now_ns

    # -- decisions ---------------------------------------------------------------------------------

    def keeps_quorum(self, now_ns: int, electorate: Configuration) -> bool:
        """Decision: whether enough members were heard within an election timeout to lead on."""
        if not self._config.check_quorum:
            return True
        heard = {**self._heard_ns, self._node: now_ns}
        return now_ns - agreed_value(electorate, heard) <= self._config.election_max_ns

    def lease_is_valid(self, now_ns: int, members: Configuration) -> bool:
        """Decision: whether no other leader can exist yet, if clocks run at about the same rate."""
        config = self._config
        if self._lease_void or not (config.prevote or config.check_quorum):
            return False
        lease_ns = int(config.election_min_ns * config.lease_read_margin)
        alone = members.nodes == (self._node,)
        recent = self.confirmed_sent_ns >= 0 and now_ns - self.confirmed_sent_ns < lease_ns
        return alone or recent

    def wait_for_disk(self) -> bool:
        """Decision: whether a heartbeat leaves only after the writes before it are durable."""
        return False

    def whom_to_ask(
        self, now_ns: int, electorate: Configuration, askers: Collection[NodeId] = ()
    ) -> list[NodeId]:
        """Decision: the peers to which a round begun for a read goes at first. As many voters as
        make a quorum with the leader: those that answered the latest round, the first to answer it
        first. Followers that ask for a read come before others, and each of them is asked: the
        heartbeat tells it the mark that it must apply. All peers, if no round was confirmed lately,
        or if peers are not the other voters exactly: a change is under way, or there are learners.
        """
        peers = [peer for peer in self._answered if peer != self._node]
        voters = electorate.voters
        if len(peers) + 1 != len(voters) or electorate.outgoing:
            return peers
        if not self._is_confirmed_lately(now_ns):
            return peers
        peers.sort(key=self._answered.__getitem__, reverse=True)  # stable: by the order of answers
        if askers:
            peers.sort(key=lambda peer: peer not in askers or self._answered[peer] < self.confirmed)
        needed = electorate.quorum_of(voters) - 1
        return peers[:needed] + [peer for peer in peers[needed:] if peer in askers]

    # -- rounds ------------------------------------------------------------------------------------

    def next_round(self, now_ns: int, *, regular: bool = True) -> int:
        """Number a new round, about to be sent: a regular one, to all, or one begun for a read."""
        self.sent += 1
        self._unconfirmed.append((self.sent, now_ns))
        self._answered[self._node] = self.sent
        if regular:
            self.due_ns = now_ns + self._config.heartbeat_ns
        return self.sent

    @property
    def late_after_ns(self) -> int:
        """How long a round may be unconfirmed before those are asked to whom it did not go."""
        interval_ns = self._config.heartbeat_ns
        usual_ns = max(LATE_AFTER_ROUNDS * self._round_ns, interval_ns // LATE_AFTER_INTERVALS)
        return min(usual_ns, interval_ns)

    def answered(self, peer: NodeId, round: int) -> None:
        """Decision: which round a peer's answer proves: the one it echoes. Old answers and those to
        rounds never sent do not count."""
        if self._answered.get(peer, self.sent) < round <= self.sent:
            del self._answered[peer]
            self._answered[peer] = round

    def confirm(self, electorate: Configuration) -> None:
        """Note the latest round that a quorum has answered, the leader included."""
        if self.confirmed == self.sent:
            return  # the answers of those who were not needed
        round = agreed_value(electorate, self._answered)
        if round > self.confirmed:
            assert round <= self.sent, f"round {round} is confirmed, and {self.sent} was the last"
            self.confirmed = round
            while self._unconfirmed and self._unconfirmed[0][0] <= round:
                self.confirmed_sent_ns = self._unconfirmed.popleft()[1]

    def measure(self, now_ns: int) -> None:
        """A round has just been confirmed: how long that took."""
        assert self.confirmed_sent_ns >= 0, "no round is confirmed"
        self._round_ns += (now_ns - self.confirmed_sent_ns - self._round_ns) // 8

    def _is_confirmed_lately(self, now_ns: int) -> bool:
        """Whether a round sent within two intervals is confirmed, so that those who answered it can
        be expected to answer the next."""
        since_ns = self.confirmed_sent_ns
        return since_ns >= 0 and now_ns - since_ns <= 2 * self._config.heartbeat_ns

    def void_lease(self) -> None:
        """Another node was told to campaign: it may win at any time from now on."""
        self._lease_void = True

    # -- peers -------------------------------------------------------------------------------------

    def heard(self, peer: NodeId, now_ns: int) -> None:
        """A peer said something in this generation."""
        if peer in self._heard_ns:
            self._heard_ns[peer] = now_ns

    def is_heard(self, node: NodeId, now_ns: int) -> bool:
        """Whether a member was heard within an election timeout."""
        if node == self._node:
            return True
        heard_ns = self._heard_ns.get(node)
        return heard_ns is not None and now_ns - heard_ns <= self._config.election_max_ns

    def follow(self, peers: Iterable[NodeId], now_ns: int) -> None:
        """The peers changed: a new one, a learner, counts as heard once it says something."""
        before, long_ago_ns = self._heard_ns, now_ns - self._config.election_max_ns - 1
        self._heard_ns = {peer: before.get(peer, long_ago_ns) for peer in peers}
        answered = {peer: self._answered.get(peer, 0) for peer in self._heard_ns}
        self._answered = {**answered, self._node: self.sent}
