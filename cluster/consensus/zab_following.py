"""Zab, the follower's side: from the choice of a leader to entries that are committed.

Problem. A follower must not take entries from a leader that is not established, or no longer leads,
and must not be left behind by one that is.

Solution. A follower goes through the same three phases as its leader. It asks to follow (CEPOCH)
until it is asked for a promise. It promises (ACKEPOCH), and says so again until it hears more. Then
it takes what brings its log in line, adopts the history, and acknowledges that. Once the leader is
established it takes proposals and learns what is committed. Entries, heartbeats and snapshots are
taken by :class:`Following`, the same as in Raft; a heartbeat of a leader that this node does not
follow, of a later epoch than it has accepted, makes it follow that leader.

Invariants. A message that only a leader sends is taken from the leader followed, of the accepted
epoch, and from no other. The log is never cut at or below the mark. The history is adopted only if
the log holds all of it.

What breaks without it. A67c, A67d: see ``zab_discovery`` and ``zab_synchronisation``.

Source: Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems"
(2011), section 4. Owned by the Zab core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from cluster.consensus.damage_repair import DamageRepair
from cluster.consensus.fast_leader_election import position_of
from cluster.consensus.interface import SafetyViolation
from cluster.consensus.leader_and_followers import FROM_LEADERS, Following
from cluster.consensus.log_node import LogNode
from cluster.consensus.zab_discovery import Promises
from cluster.consensus.zab_synchronisation import Adoption
from cluster.ports import NodeId
from cluster.wire import (
    AckEpoch,
    AckNewLeader,
    CEpoch,
    Heartbeat,
    Message,
    NewEpoch,
    NewLeader,
    Truncate,
    UpToDate,
    ZabCommit,
)

#: The phases of a follower. IDLE: it follows no leader.
IDLE: Final = "idle"
DISCOVERY: Final = "discovery"
SYNCHRONISATION: Final = "synchronisation"
BROADCAST: Final = "broadcast"

_NEVER_NS: Final = 1 << 62


class ZabFollowing:
    """A node's side while another node leads.

    Args:
        node: the parts of the node.
        promises: how it promises an epoch.
        adoption: how it adopts a history.
    """

    def __init__(self, node: LogNode, promises: Promises, adoption: Adoption) -> None:
        #: the leader that this node follows; "" if none
        self.leader: NodeId = ""
        self.phase = IDLE
        #: when to ask or answer again
        self.repeat_ns = _NEVER_NS
        self._node = node
        self._promises = promises
        self._adoption = adoption
        #: the epoch whose history this log was found to have, in this life
        self._in_line = 0
        # What this node has is the leader's, so all that it says of it is true.
        self._log = Following(msgspec.structs.replace(node, repair=DamageRepair(None)))
        self._handlers: dict[type, Callable[[Any], None]] = {
            Truncate: self._on_truncate,
            NewLeader: self._on_new_leader,
            UpToDate: self._on_up_to_date,
            ZabCommit: self._on_commit,
        }

    # -- whom to follow ----------------------------------------------------------------------------

    def follow(self, leader: NodeId, now_ns: int) -> None:
        """Ask a node to be its follower."""
        assert leader != self._node.name, f"{leader} cannot follow itself"
        self.leader, self.phase = leader, DISCOVERY
        self.repeat(now_ns)

    def waits_for(self, node: NodeId) -> bool:
        """Whether this node asked a node to be its follower, and has no answer yet."""
        return self.phase == DISCOVERY and self.leader == node

    def leave(self) -> None:
        """Follow no leader."""
        self.leader, self.phase, self.repeat_ns = "", IDLE, _NEVER_NS

    def repeat(self, now_ns: int) -> None:
        """The question or the promise may have been lost: send it again, and once more later."""
        self.repeat_ns = now_ns + self._node.config.heartbeat_ns
        if self.phase == DISCOVERY:
            self._ask_to_follow()
        else:
            self._promise()

    def _ask_to_follow(self) -> None:
        node = self._node
        node.send_durably(self.leader, CEpoch(node.clock.generation))

    # -- what the leader says ----------------------------------------------------------------------

    def on_new_epoch(self, now_ns: int, message: NewEpoch) -> bool:
        """The leader asks for a promise; whether it is news."""
        accepted = self._node.clock.generation
        if message.generation < accepted:
            self._ask_to_follow()
            return False
        news = self.phase == DISCOVERY or message.generation > accepted
        if news:
            self.phase = SYNCHRONISATION
        self._promises.make(self._node.clock, message.generation, self.leader, self._node.writes)
        self._promise()
        if news:
            self.repeat_ns = now_ns + self._node.config.heartbeat_ns
        return news

    def _promise(self) -> None:
        """Tell the leader what is promised, and where the log ends."""
        node = self._node
        clock, position = node.clock, position_of(node)
        recovering = not node.repair.takes_part()
        counts = clock.voted_for == self.leader and not recovering
        promise = AckEpoch(clock.generation, counts, *position, recovering)
        after = self._promises.leaves_after(node.writes)
        node.outbox.send(self.leader, promise, after=after)

    def on_message(self, source: NodeId, message: Message) -> None:
        """The leader of the accepted epoch, which this node follows, sent something."""
        if self.phase == DISCOVERY:
            return
        kind = type(message)
        if kind in FROM_LEADERS:
            if kind is not Heartbeat:
                self._is_heard()
            self._log.on_message(source, message)
            self._continue_repair()
            if kind is Heartbeat and self.phase == SYNCHRONISATION and self._has_history():
                self._acknowledge()
        elif kind in self._handlers:
            self._is_heard()
            self._handlers[kind](message)

    def _is_heard(self) -> None:
        """The leader sends what follows the promise; it may do so by what it knew of this node
        before it was damaged, so a damaged one tells it until it has the history."""
        if self._node.repair.takes_part() or self._in_line == self._node.clock.generation:
            self.repeat_ns = _NEVER_NS

    def announce_damage(self) -> None:
        """No leader is heard. A damaged node looks for none; it follows the next that it hears of,
        and others that wait too must know of it."""
        node = self._node
        if node.repair.recovering:
            self.leave()
            node.announce_damage()

    def refuse(self, source: NodeId, message: Message) -> None:
        """Answer what is out of date, or meant for a leader, with this node's epoch."""
        self._log.refuse(source, message)

    def _has_adopted(self) -> bool:
        return self._node.clock.adopted == self._node.clock.generation

    def _has_history(self) -> bool:
        """Whether what it has adopted is still there: a damaged disk may have lost it since."""
        sound = self._node.repair.takes_part() or self._in_line == self._node.clock.generation
        return self._has_adopted() and sound

    # -- synchronisation ---------------------------------------------------------------------------

    def _on_truncate(self, message: Truncate) -> None:
        """Cut what the history does not have, and tell where the log ends now."""
        if self.phase != SYNCHRONISATION:
            return
        log = self._node.log
        index, _generation = log.conflict_hint(message.last_index, message.last_generation)
        end = message.end_generation, message.end_index
        if end == (log.last_generation, log.last_index) and index < log.last_index:
            self._cut(index + 1)
        self._promise()

    def _cut(self, first: int) -> None:
        node = self._node
        if not node.mark.may_truncate(first):
            raise SafetyViolation(
                f"{node.name}: the leader of epoch {node.clock.generation} cuts the log at "
                f"{first}, but everything up to {node.mark.index} is committed"
            )
        node.log.truncate_from(first)
        node.membership.truncate_from(first)
        node.writes.truncate(first)
        node.outbox.note("truncated", epoch=node.clock.generation, first=first)

    def _on_new_leader(self, message: NewLeader) -> None:
        node = self._node
        if message.last_index > node.log.last_index:
            return  # it was meant for this node before a restart; what it lacks comes again
        if not self._has_adopted():
            node.clock.adopt(message.generation)
            node.persist_clock()
        self._in_line = message.generation
        self._continue_repair()
        self._acknowledge()

    def _continue_repair(self) -> None:
        """Write down that the damage is repaired, if this log is the epoch's history again, with
        all that this node may have acknowledged in the epoch."""
        node, epoch = self._node, self._node.clock.generation
        repair = node.repair
        if repair.damage is None or repair.ending or self._in_line != epoch:
            return
        if repair.is_restored(epoch, node.log.last_index):
            repair.end_with(node.writes.repaired())

    def _acknowledge(self) -> None:
        node = self._node
        message = AckNewLeader(node.clock.generation)
        after = self._adoption.leaves_after(node.writes)
        node.outbox.send(self.leader, message, after=after)

    # -- broadcast ---------------------------------------------------------------------------------

    def _on_up_to_date(self, message: UpToDate) -> None:
        if self._has_adopted():
            self.phase = BROADCAST
            self._on_commit(message)

    def _on_commit(self, message: UpToDate | ZabCommit) -> None:
        node = self._node
        node.mark.follow(message.high_water_mark, node.log.last_index, node.log)
