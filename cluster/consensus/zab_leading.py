"""Zab, the leader's side: a node that won an election, from discovery to the end of its leadership.

Problem. A node that won an election is not yet a leader: the votes may be out of date, and its
followers' histories differ from its own. What it must do before, and in which order, is all of
Zab's safety.

Solution. One object for the time from the election to the end of the leadership. It waits for a
quorum that wants to follow, and for its promise of a new epoch (``zab_discovery``). From then on
there is an epoch (``zab_epoch``), in which followers are synchronised and entries broadcast. A
follower that comes later, or restarts, goes the same way.

The leader counts for itself only what it has made durable: its promise, its adopted history, its
entries. A follower that lost a message asks again.

Invariants. There is no epoch before a quorum has promised it, this node included. A leader that
finds no quorum gives up after an election timeout.

What breaks without it. A67b, A67g: see ``zab_discovery``.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4. Owned by ``zab_sides``.
"""

from __future__ import annotations

from cluster.consensus.fast_leader_election import FastLeaderElection, Position, position_of
from cluster.consensus.leader_and_followers import Leadership
from cluster.consensus.log_node import LogNode
from cluster.consensus.zab_discovery import Promises
from cluster.consensus.zab_epoch import LeadingParts, ZabEpoch
from cluster.ports import NodeId
from cluster.wire import AckEpoch, CEpoch, Message, NewEpoch


class ZabLeading:
    """From a won election to the end of the leadership.

    After each call the owner looks at :attr:`over`.

    Args:
        node: the parts of the node.
        promises: how the node promises an epoch, to itself too.
        election: for how recent a history is, and for timeouts.
        parts: the classes it is made of.
    """

    def __init__(
        self,
        node: LogNode,
        promises: Promises,
        election: FastLeaderElection,
        *,
        parts: LeadingParts,
    ) -> None:
        #: whether it ended by itself
        self.over = False
        self.discovery = parts.discovery()
        #: the epoch, once a quorum has promised it
        self.led: ZabEpoch | None = None
        self._node = node
        self._promises = promises
        self._election = election
        self._parts = parts
        self._gives_up_ns = 0
        #: where the log of each follower ends, as it reported in this epoch: (generation, index)
        self._ends: dict[NodeId, tuple[int, int]] = {}

    # -- what the owner looks at -------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of this leadership; 0 until it is chosen."""
        return self.discovery.epoch

    @property
    def serving(self) -> Leadership | None:
        """The leadership, once broadcast has begun."""
        led = self.led
        return led.leadership if led is not None and led.synchronisation.established else None

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return self.led.leadership.deadline_ns if self.led is not None else self._gives_up_ns

    # -- inputs ------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """Wait for those that want to follow; this node is the first."""
        self._gives_up_ns = now_ns + self._election.patience_ns()
        self.discovery.heard(self._node.name, self._node.clock.generation)
        self._choose_epoch(now_ns)

    def end(self, generation: int) -> None:
        """Leadership is lost: no read can be confirmed any more."""
        if self.led is not None:
            self.led.leadership.end(generation)

    def on_message(self, now_ns: int, source: NodeId, message: Message) -> None:
        """A follower's message: of this epoch, or one that wants to follow."""
        if self.led is not None:
            self.led.leadership.rounds.heartbeats.heard(source, now_ns)
        if isinstance(message, CEpoch):
            self._on_cepoch(now_ns, source, message)
        elif isinstance(message, AckEpoch):
            self._on_ack_epoch(now_ns, source, message)
        elif self.led is not None:
            self.led.on_message(now_ns, source, message)
            self.over |= self.led.over

    def tick(self, now_ns: int) -> None:
        """Time has passed: heartbeats, and whether there is any point in going on."""
        if self.led is None:
            self.over = now_ns >= self._gives_up_ns
            return
        self.led.tick(now_ns)
        self.over |= self.led.over

    def persisted(self, now_ns: int) -> None:
        """Something is durable: perhaps what this node promised, adopted or proposed."""
        if self.led is not None:
            self.led.persisted(now_ns)
            self.over |= self.led.over
        elif self.epoch and self._node.is_durable():
            self._promised(now_ns, self._node.name)

    # -- discovery ---------------------------------------------------------------------------------

    def _on_cepoch(self, now_ns: int, source: NodeId, message: CEpoch) -> None:
        self.discovery.heard(source, message.generation)
        self._ends.pop(source, None)
        if self.led is not None:
            self.led.synchronisation.begins(source)
        if self.epoch:
            self._ask(source)
        else:
            self._choose_epoch(now_ns)

    def _choose_epoch(self, now_ns: int) -> None:
        node = self._node
        led = node.clock.generation if node.clock.voted_for == node.name else 0
        if not self.discovery.choose(node.electorate(), led):
            return
        promised = self._promises.make(node.clock, self.epoch, node.name, node.writes)
        assert promised, f"{node.name} cannot promise epoch {self.epoch} to itself"
        node.outbox.note("epoch-proposed", epoch=self.epoch)
        for peer in self.discovery.accepted:
            if peer != node.name:
                self._ask(peer)
        self.persisted(now_ns)

    def _ask(self, peer: NodeId) -> None:
        self._node.send_durably(peer, NewEpoch(self.epoch))

    def _on_ack_epoch(self, now_ns: int, source: NodeId, message: AckEpoch) -> None:
        if message.generation != self.epoch:
            return
        end = message.last_generation, message.last_index
        said_again = self._ends.get(source) == end
        self._ends[source] = end
        if self.led is not None:
            if said_again and self.led.leadership.replication.sends_snapshot_to(source):
                return  # a damaged follower says so until it is repaired: begun anew, nothing ends
            if message.recovering:
                self.led.leadership.replication.lost(source, message.last_index)
                self.led.synchronisation.forgets(source)
            self.led.bring_in_line(now_ns, source)
        elif message.promised:
            theirs = Position(message.current, message.last_generation, message.last_index)
            recency = self._election.recency
            if self.discovery.gives_up(recency(theirs), recency(position_of(self._node))):
                self._node.outbox.note("follower-ahead", epoch=self.epoch, follower=source)
                self.over = True
                return
            self._promised(now_ns, source)

    def _promised(self, now_ns: int, node: NodeId) -> None:
        self.discovery.promised[node] = True
        if self.led is None and self.discovery.done(self._node.electorate()):
            self.led = ZabEpoch(
                self._node, self.epoch, self._ends, parts=self._parts, now_ns=now_ns
            )
            self.led.begin(now_ns)
