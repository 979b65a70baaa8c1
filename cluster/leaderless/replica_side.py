"""The replica side of a node of role ``leaderless``: what it does for other nodes.

It tells what it holds, merges what it is sent, keeps hints and hands them over, compares trees, and
says yes or no to the forgetting of tombstones. Each answer waits until what it says is durable.

Invariants. A state is only ever replaced by its merge with another, or forgotten as a tombstone. A
state with a stamp that the clock does not accept is not merged.

Source: DeCandia et al., "Dynamo" (2007). Used by ``cluster.leaderless.node``; the parts that decide
are ``hinted_handoff``, ``anti_entropy`` and ``tombstones``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.clocks.version_vector import KeyState
from cluster.gossip.group_membership import GroupMembership
from cluster.leaderless.anti_entropy import AntiEntropy
from cluster.leaderless.commands import Rules
from cluster.leaderless.hinted_handoff import HintedHandoff
from cluster.leaderless.last_writer_wins import stamp_of
from cluster.leaderless.outgoing import Outgoing
from cluster.leaderless.replica_states import ReplicaStates, decode_state, encode_state
from cluster.leaderless.stamps import Stamps
from cluster.leaderless.tombstones import Tombstones
from cluster.ports import NodeId
from cluster.wire import (
    KeysWanted,
    RangeDigests,
    RangeKeys,
    Reap,
    ReapAsk,
    ReapYes,
    VersionsHeld,
    VersionsRead,
    VersionsWrite,
    VersionsWritten,
)


class ReplicaSide:
    """What a node does for others.

    Args:
        states: what it holds.
        rules: how states are merged.
        stamps: its clock.
        group: who takes part, and who seems to be there.
        outgoing: where messages go.
        next_id: numbers for what is asked of others.
        is_busy: whether a request for a key is under way here.
        actor: the node's actor, as it is now.
    """

    def __init__(
        self,
        states: ReplicaStates,
        *,
        rules: Rules,
        stamps: Stamps,
        group: GroupMembership,
        outgoing: Outgoing,
        next_id: Callable[[], int],
        is_busy: Callable[[str], bool],
        actor: Callable[[], str],
    ) -> None:
        self._states, self._rules, self._stamps = states, rules, stamps
        self._group, self._outgoing = group, outgoing
        self._next_id, self._is_busy, self._actor = next_id, is_busy, actor
        #: hints under way: id -> (node it is for, key, what was sent)
        self._handed: dict[int, tuple[NodeId, str, KeyState]] = {}
        #: own dots that forgotten tombstones had: their numbers are not used again
        self.forgotten = 0
        #: states that were not merged, since their stamps are too far ahead
        self.dropped = 0

    # -- states ------------------------------------------------------------------------------------

    def tell(self, source: NodeId, message: VersionsRead) -> None:
        """Say what is held of a key."""
        key = message.key
        state = encode_state(self._states.state(key))
        held = VersionsHeld(self._stamps.reading, message.id, key, state)
        self._outgoing.send(source, held, self._states.durable_after(key))

    def merge(self, source: NodeId, message: VersionsWrite, handoff: HintedHandoff) -> None:
        """Merge a peer's state, or keep it for another node; and say so."""
        state, key = decode_state(message.state), message.key
        if not self._stamps.observe(stamp_of(state)[0]):
            self.dropped += 1
            return
        if message.hint_for:
            after = self._keep_hint(message.hint_for, key, state, handoff)
        elif self._states.node in self._states.replicas(key):
            merged = self._rules.merge(self._states.state(key), state)
            after = self._states.put(key, merged)
        else:
            return
        if message.id and after >= 0:
            done = VersionsWritten(self._stamps.reading, message.id, key, message.hint_for)
            self._outgoing.send(source, done, after)

    def ring_changed(self) -> None:
        """Members are others: hints for one that left go to the replicas of their keys, once."""
        for target, key in list(self._states.hints):
            if target in self._states.ring.members:
                continue
            for node in self._states.replicas(key):
                self._send_state(node, key, self._states.hints[target, key])
            self._states.drop_hint(target, key)

    def _send_state(self, to: NodeId, key: str, state: KeyState, id: int = 0) -> None:
        """A state for a peer to merge; it need not be durable here to be durable there."""
        reading = self._stamps.reading
        self._outgoing.send(to, VersionsWrite(reading, id, key, encode_state(state)))

    # -- hints -------------------------------------------------------------------------------------

    def _keep_hint(self, target: NodeId, key: str, state: KeyState, handoff: HintedHandoff) -> int:
        """Keep a state for a node; the write to wait for, -1 if there is no room."""
        kept = self._states.hints.get((target, key))
        if kept is None and not handoff.has_room(len(self._states.hints)):
            return -1
        handoff.arrived(target, key)
        merged = state if kept is None else self._rules.merge(kept, state)
        return self._states.keep_hint(target, key, merged)

    def hand_over(self, handoff: HintedHandoff) -> None:
        """Send hints to the nodes they are for, as far as those are there."""
        for target, key in handoff.due(self._states.hints, self._group.trusts):
            state, id = self._states.hints[target, key], self._next_id()
            self._handed[id] = (target, key, state)
            self._send_state(target, key, state, id)

    def handed_over(self, id: int, handoff: HintedHandoff) -> bool:
        """Something was merged durably; whether it was a hint of this node."""
        handed = self._handed.pop(id, None)
        if handed is None:
            return False
        target, key, sent = handed
        handoff.arrived(target, key)
        if self._states.hints.get((target, key)) == sent:
            self._states.drop_hint(target, key)
        return True

    # -- anti-entropy ------------------------------------------------------------------------------

    def compare(self, now_ns: int, anti_entropy: AntiEntropy, handoff: HintedHandoff) -> None:
        """Begin a comparison with a peer, if it is time; hints not answered are sent again."""
        peer = anti_entropy.next_peer(now_ns, tuple(self._states.trees))
        if peer is not None:
            handoff.ask_again()
            self._handed.clear()
            digests = self._states.trees[peer].children()
            self._outgoing.send(peer, RangeDigests(self._stamps.reading, (), digests))

    def compared(
        self,
        source: NodeId,
        message: RangeDigests | RangeKeys | KeysWanted,
        anti_entropy: AntiEntropy,
    ) -> None:
        """Go on with a comparison."""
        tree, reading = self._states.trees[source], self._stamps.reading
        if isinstance(message, KeysWanted):
            self._send_states(source, message.keys)
        elif isinstance(message, RangeKeys):
            send, want = anti_entropy.to_send(tree, message.path, message.rows)
            self._send_states(source, send)
            if want:
                self._outgoing.send(source, KeysWanted(reading, tuple(want)))
        else:
            for path in anti_entropy.differing(tree, message.path, message.digests):
                if anti_entropy.is_range(path):
                    rows = tuple(sorted(tree.rows(path).items()))
                    self._outgoing.send(source, RangeKeys(reading, path, rows))
                else:
                    children = tree.children(path)
                    self._outgoing.send(source, RangeDigests(reading, path, children))

    def _send_states(self, to: NodeId, keys: Sequence[str]) -> None:
        for key in keys:
            if self._states.digest(key) and to in self._states.replicas(key):
                self._send_state(to, key, self._states.state(key))

    # -- tombstones --------------------------------------------------------------------------------

    def ask_about(self, now_ns: int, tombstones: Tombstones) -> None:
        """Ask all members about old tombstones; the first replica of a key does."""
        for key in tombstones.to_ask(now_ns):
            if self._states.replicas(key)[0] == self._states.node:
                digest = self._states.digest(key)
                tombstones.ask(key, digest)
                for member in self._states.ring.members:
                    self._outgoing.send(member, ReapAsk(self._stamps.reading, key, digest))

    def about_tombstone(
        self, source: NodeId, message: ReapAsk | ReapYes | Reap, tombstones: Tombstones
    ) -> None:
        """A member asks, answers, or has heard all answers."""
        key, digest, reading = message.key, message.digest, self._stamps.reading
        if isinstance(message, ReapYes):
            members = self._states.ring.members
            if tombstones.confirm(key, digest, source, members):
                for member in members:
                    self._outgoing.send(member, Reap(reading, key, digest))
        elif not self._holds_nothing_else(key, digest):
            return
        elif isinstance(message, ReapAsk):
            after = self._states.durable_after(key)
            self._outgoing.send(source, ReapYes(reading, key, digest), after)
        elif self._states.digest(key):
            self.forgotten = max(self.forgotten, self._states.state(key).vector[self._actor()])
            self._states.reap(key)
            tombstones.reap(key)

    def _holds_nothing_else(self, key: str, digest: bytes) -> bool:
        """Whether a replica holds just this of a key, and no node holds anything else of it."""
        held = self._states.digest(key)
        replica = self._states.node in self._states.replicas(key)
        matches = held == digest if replica else not held
        hinted = any(hinted == key for _, hinted in self._states.hints)
        return matches and not hinted and not self._is_busy(key)
