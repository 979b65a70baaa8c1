"""Roles and elections of a Raft node: PreVote, votes, stepping down, CheckQuorum, leader transfer.

The fourth layer of :class:`cluster.consensus.raft.Raft`; rules in ``leader_and_followers``,
``majority_quorum`` and ``generation_clock``. Whoever stops being a leader or candidate arms its
election timer, always: a cluster whose last leader forgot to would stay without one.

Source: Raft paper 5.2, 5.4.1; Raft thesis 3.10, 4.2.3, 6.2, 9.6.
"""

from __future__ import annotations

from cluster.channel.request_pipeline import RequestPipeline
from cluster.consensus.heartbeat import HeartbeatRounds
from cluster.consensus.leader_and_followers import (
    CANDIDATE,
    FOLLOWER,
    LEADER,
)
from cluster.consensus.membership import (
    agreed_value,
    agreed_vote,
)
from cluster.consensus.raft_reads import RaftReads
from cluster.consensus.read_index import ReadIndexQueue
from cluster.ports import NodeId
from cluster.wire import (
    RequestVote,
    TimeoutNow,
    VoteReply,
)


class RaftElections(RaftReads):
    """Who leads, and how that changes."""

    def _arm_election(self) -> None:
        config = self.config
        timeout_ns = self._rng.between(config.election_min_ns, config.election_max_ns)
        self._election_ns = self.now_ns + timeout_ns

    def _enter_generation(self, generation: int) -> None:
        self.clock.advance(generation)
        self.writes.hard_state(self.clock.hard_state())

    def _become_follower(self, generation: int) -> None:
        """Step down, or stay passive, possibly in a later generation with a leader unknown."""
        led = self.role == LEADER
        if generation > self.generation:
            self._enter_generation(generation)
        if self.role in (LEADER, CANDIDATE):
            self._arm_election()
        if led:
            self._note("stepped-down", generation=self.generation)
            for token in self._reads.drain():
                self._fail_read(token)
        self.role = self._passive_role()
        self.leader = ""
        self._votes, self._prevoting, self._own_vote_io = {}, False, 0
        self._pipelines, self._transfers, self._transfer = {}, {}, None
        self._remote_reads = {}

    def _follow(self, source: NodeId) -> None:
        """A leader of this node's generation spoke."""
        if self.role == CANDIDATE:
            self._become_follower(self.generation)
        self.leader = source
        self._heard_leader_ns = self.now_ns
        self._arm_election()

    def _ask_prevotes(self) -> None:
        self.role, self.leader = CANDIDATE, ""
        self._prevoting, self._own_vote_io = True, 0
        self._votes = {self.node: True}
        self._arm_election()
        self._request_votes(self.generation + 1, prevote=True)
        self._conclude_vote()

    def _campaign(self, *, transfer: bool = False) -> None:
        """Enter the next generation and stand for election, once the own vote is durable."""
        self.role, self.leader = CANDIDATE, ""
        self._prevoting, self._votes = False, {}
        self.clock.advance(self.generation + 1)
        self.clock.vote(self.node)
        self.writes.hard_state(self.clock.hard_state())
        self._own_vote_io = self.writes.after_hard_state
        self._arm_election()
        self._note("campaigning", generation=self.generation)
        self._request_votes(self.generation, transfer=transfer)

    def _request_votes(
        self, generation: int, *, prevote: bool = False, transfer: bool = False
    ) -> None:
        message = RequestVote(
            generation=generation,
            candidate=self.node,
            last_index=self.log.last_index,
            last_generation=self.log.last_generation,
            prevote=prevote,
            transfer=transfer,
        )
        for peer in self._peers():
            self._send(peer, message, after=self.writes.after_hard_state)

    def _on_request_vote(self, source: NodeId, message: RequestVote) -> None:
        if message.prevote:
            granted = self.grants_prevote(message)
        elif message.generation > self.generation and self.protects_leader(message):
            return
        else:
            if self.yields_to(message.generation):
                self._become_follower(message.generation)
            granted = self.grants_vote(message)
            if granted and not self.voted_for:
                self.clock.vote(message.candidate)
                self.writes.hard_state(self.clock.hard_state())
            if granted:
                self._arm_election()
        reply = VoteReply(self.generation, message.generation, granted, message.prevote)
        self._send(source, reply, after=self.writes.after_hard_state)

    def _on_vote_reply(self, source: NodeId, message: VoteReply) -> None:
        asked = self.generation + 1 if self._prevoting else self.generation
        if self.role != CANDIDATE or message.prevote != self._prevoting or message.asked != asked:
            return
        self._count_vote(source, granted=message.granted)

    def _count_vote(self, voter: NodeId, *, granted: bool) -> None:
        self._votes.setdefault(voter, granted)
        self._conclude_vote()

    def _conclude_vote(self) -> None:
        outcome = agreed_vote(self.electorate(), self._votes)
        if outcome is False:
            self._become_follower(self.generation)
        elif outcome and self._prevoting:
            self._campaign()
        elif outcome:
            self._become_leader()

    def _become_leader(self) -> None:
        """Lead: begin with an entry of this generation, which makes all before it certain."""
        self.role, self.leader = LEADER, self.node
        self._votes, self._own_vote_io = {}, 0
        next_index, window = self.log.last_index + 1, self.config.inflight_max
        self._pipelines = {
            peer: RequestPipeline(next_index, window=window, now_ns=self.now_ns)
            for peer in self._peers()
        }
        self._transfers, self._transfer, self._lease_void = {}, None, False
        self._rounds = HeartbeatRounds(self._peers(), self.now_ns)
        self._reads = ReadIndexQueue()
        self._own_first_index = next_index
        self._settled_index = -1
        self._note("leader-elected", generation=self.generation, index=next_index)
        self._broadcast_heartbeat()
        self._append_own((b"",), "noop")

    def _keeps_quorum(self) -> bool:
        """CheckQuorum: step down if too few were heard for a whole election timeout."""
        if not self.config.check_quorum:
            return True
        heard = {node: self._rounds.heard_ns(node) for node in self._peers()}
        heard[self.node] = self.now_ns
        since_ns = agreed_value(self.electorate(), heard)
        if self.now_ns - since_ns <= self.config.election_max_ns:
            return True
        self._note("lost-quorum", generation=self.generation)
        self._become_follower(self.generation)
        return False

    def _on_timeout_now(self, source: NodeId, message: TimeoutNow) -> None:
        if self.role == FOLLOWER and source == self.leader:
            self._campaign(transfer=True)

    def _continue_transfer(self, peer: NodeId) -> None:
        transfer = self._transfer
        if transfer is None or transfer.to != peer or transfer.asked:
            return
        if self._pipelines[peer].match == self.log.last_index:
            # The target may win at any time from now on, however late the message arrives.
            transfer.asked = self._lease_void = True
            self._send(peer, TimeoutNow(self.generation), after=self.writes.after_hard_state)
