"""Candidacy: a node stands, and prepares its ballot, without duelling with others that do the same.

Problem. Two proposers that overtake each other in phase 1 decide nothing, for as long as they go
on. A node that merely cannot hear the leader deposes it by asking for promises.

Solution. A node waits for a random time without a leader. Then it asks whether a majority would
promise; that changes nothing on any node (a probe; PreVote's idea). Only then does it promise
itself its next ballot and, once that is durable, ask the others. What it has accepted itself is
reported like any other's, once its own promise is durable. Questions are repeated, since they or
their answers may be lost; a repeated question also tells those that have answered that the
candidacy is alive. Each part of a long report is progress, and the candidacy lasts for another
random time.

Invariants. A ballot is asked for once it is promised here, durably. Each acceptor's promise counts
once, and only when it is whole.

What breaks without it. Without random times, or with a report longer than a candidacy, proposers
overtake each other for ever.

Source: Lamport, "Paxos Made Simple" (2001), 2.4 and 3; Chandra, Griesemer and Redstone, "Paxos Made
Live" (2007), 5. A node's side while it stands; used by the Multi-Paxos core.
"""

from __future__ import annotations

from cluster.consensus.acceptor import Acceptor
from cluster.consensus.ballots import Ballots
from cluster.consensus.election import Election
from cluster.consensus.log_node import LogNode
from cluster.consensus.phase_one import PhaseOne
from cluster.ports import NodeId
from cluster.wire import Prepare, Promise


class Candidacy:
    """How a node stands; between candidacies it is idle, and only the election timer runs.

    Args:
        node: the parts of the node.
        ballots: this node's.
        election: the timer, and who has promised.
        acceptor: this node's, which promises first.
        phase_one: what makes a phase 1.
    """

    def __init__(
        self,
        node: LogNode,
        *,
        ballots: Ballots,
        election: Election,
        acceptor: Acceptor,
        phase_one: type[PhaseOne],
    ) -> None:
        self.phase_one: PhaseOne | None = None
        self._node = node
        self._peers = node.peers()
        self._config = node.config
        self._ballots = ballots
        self._election = election
        self._acceptor = acceptor
        self._make = phase_one

    @property
    def deadline_ns(self) -> int:
        """When the owner must look again: for another question, or to stand anew."""
        if self.phase_one is None:
            return self._election.deadline_ns
        return min(self._election.deadline_ns, self.phase_one.due_ns)

    def probe(self, now_ns: int, promised: int) -> None:
        """Ask whether a majority would promise this node's next ballot."""
        self.phase_one = None
        self._election.begin_prevote(self._node.name, now_ns)
        ballot = self._ballots.next_ballot(promised)
        self._ask(Prepare(ballot, self._node.mark.index + 1, probe=True))

    def stand(self, now_ns: int, promised: int, *, transfer: bool = False) -> None:
        """Promise oneself the next own ballot and, once that is durable, ask the others."""
        ballot = self._ballots.next_ballot(promised)
        self._acceptor.promise(ballot)
        self._election.begin(self._node.writes.after_hard_state, now_ns)
        self.phase_one = self._make(ballot, self._node.mark.index + 1)
        self.phase_one.due_ns = now_ns + self._config.heartbeat_ns
        self._node.outbox.note("campaigning", generation=ballot)
        self._ask(Prepare(ballot, self.phase_one.first, transfer=transfer))

    def ask_again(self, now_ns: int) -> None:
        """Repeat the questions, if it is time: for what is missing, or after the last slot told."""
        phase_one = self.phase_one
        if phase_one is None or now_ns < phase_one.due_ns:
            return
        phase_one.due_ns = now_ns + self._config.heartbeat_ns
        for peer in self._peers:
            self._node.send_durably(peer, Prepare(phase_one.ballot, phase_one.asks_from(peer)))

    def end(self) -> None:
        """The candidacy is over, won or lost."""
        self._election.end()
        self.phase_one = None

    def own_promise_is_durable(self, io_id: int) -> bool:
        """Every write up to ``io_id`` is durable: whether the own promise counts from now on."""
        if not self._election.own_vote_is_durable(io_id):
            return False
        assert self.phase_one is not None, f"{self._node.name} stands without a ballot"
        end = self._node.log.last_index
        self.phase_one.report(self._node.log.between(self.phase_one.first, end), end)
        self._election.count(self._node.name, granted=True)
        return True

    def hear(self, now_ns: int, source: NodeId, message: Promise, promised: int) -> None:
        """An acceptor answered; answers to other questions than the one under way are ignored."""
        phase_one = self.phase_one
        if message.probe:
            asked = self._election.prevoting and self._ballots.next_ballot(promised)
            if message.asked == asked:
                self._election.count(source, granted=message.granted)
        elif phase_one is not None and message.asked == phase_one.ballot:
            self._hear_promise(now_ns, source, message, phase_one)

    def _hear_promise(
        self, now_ns: int, source: NodeId, message: Promise, phase_one: PhaseOne
    ) -> None:
        if not message.granted:
            self._election.count(source, granted=False)
        elif phase_one.hear(source, message):
            self._election.arm(now_ns)
            if source in phase_one.marks:
                self._election.count(source, granted=True)
            else:
                self._node.send_durably(
                    source, Prepare(phase_one.ballot, phase_one.asks_from(source))
                )

    def _ask(self, message: Prepare) -> None:
        for peer in self._peers:
            self._node.send_durably(peer, message)
