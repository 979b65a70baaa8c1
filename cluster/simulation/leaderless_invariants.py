"""White-box invariants of role ``leaderless``, checked after every event on the node it touched.

There is no log and no leader to watch. What a node has durably is followed from its records, and
not from its internals:

- ``context-grows``: what a node holds of a key never goes back, restarts included, until it is a
  tombstone that is forgotten;
- ``dot-unique``: a dot of a key names one write, everywhere;
- ``durable-first``: what a node says it holds, or has merged, is durable there;
- ``acknowledged-durable``: a quorum write or read that is answered ``ok`` is contained in what a
  write quorum of replicas has durably;
- ``durable-replica``: a restarted node has everything that was reported durable;
- ``incarnation-backwards``: see :mod:`cluster.simulation.incarnation_watch`;
- ``stamp-bound``: a hybrid clock is at most the allowed offset, and what it has reserved, ahead of
  the furthest that the node's own wall clock has ever shown.

"Contained" means that merging changes nothing. Used by the world for nodes of this role.
"""

from __future__ import annotations

from cluster.clocks.version_vector import NOTHING, Dot, DottedVersions, KeyState, Sibling
from cluster.leaderless.last_writer_wins import LastWriterWins
from cluster.leaderless.node import LeaderlessNode
from cluster.leaderless.quorum_store import Acknowledged
from cluster.leaderless.replica_states import (
    REAPED,
    STATE,
    decode_state,
    digest_of,
    encode_state,
    record_of,
    replay,
)
from cluster.leaderless.ring import is_quorum, plain_key
from cluster.leaderless.stamps import HybridStamps
from cluster.ports import Append, Core, Recovered, SaveSnapshot, Send
from cluster.simulation.incarnation_watch import IncarnationWatch
from cluster.simulation.variant_invariants import Fail
from cluster.wire import GossipMessage, VersionsHeld, VersionsWrite, VersionsWritten


class _Watched:
    """What is known of one node."""

    __slots__ = ("durable", "pending", "written")

    def __init__(self) -> None:
        self.written: dict[str, KeyState] = {}
        self.durable: dict[str, KeyState] = {}
        #: (io_id, key, state; None for a key that is forgotten) of writes under way
        self.pending: list[tuple[int, str, KeyState | None]] = []


class LeaderlessInvariants:
    """The watch over all nodes of a world of role ``leaderless``.

    Args:
        fail: called with (name, sentence, nodes) for a violation; must raise or record.
    """

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._watched: dict[str, _Watched] = {}
        self._incarnations = IncarnationWatch(fail)
        #: the furthest that each node's wall clock has shown
        self._furthest: dict[str, int] = {}
        #: (who, whom, id) -> the state that was to be merged
        self._asked: dict[tuple[str, str, int], bytes] = {}
        #: (key, dot) -> what it names, encoded, and who had it first
        self._writes: dict[tuple[str, Dot], tuple[bytes, str]] = {}

    # -- what a node writes

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        if effect.hard_state is not None:
            self._incarnations.asked(node, effect.io_id, effect.hard_state.adopted)
        watched = self._of(node)
        for entry in effect.entries:
            row = record_of(entry)
            if entry.kind == REAPED:
                watched.written.pop(row.key, None)
                watched.pending.append((effect.io_id, row.key, None))
            elif entry.kind == STATE:
                self._check_grows(node, row.key, watched.written.get(row.key, NOTHING), row.state)
                self._check_dots(node, row.key, row.state)
                watched.written[row.key] = row.state
                watched.pending.append((effect.io_id, row.key, row.state))

    def snapshotting(self, node: str, effect: SaveSnapshot) -> None:
        """The core of ``node`` asked for this snapshot; a restart shows whether it is whole."""

    def persisted(self, node: str, io_id: int) -> None:
        """Storage reported every write up to ``io_id`` durable."""
        self._incarnations.persisted(node, io_id)
        watched = self._of(node)
        done = 0
        for pending_id, key, state in watched.pending:
            if pending_id > io_id:
                break
            done += 1
            if state is None:
                watched.durable.pop(key, None)
            else:
                watched.durable[key] = state
        del watched.pending[:done]

    def _check_grows(self, node: str, key: str, old: KeyState, new: KeyState) -> None:
        if not contains(new, old):
            self._fail(
                "context-grows",
                f"{node} replaces {old.vector!r} of {plain_key(key)} by {new.vector!r}, which does "
                "not contain it",
                (node,),
            )

    def _check_dots(self, node: str, key: str, state: KeyState) -> None:
        for sibling in state.siblings:
            named = _named(sibling)
            known, first = self._writes.setdefault((key, sibling.dot), (named, node))
            if known != named:
                self._fail(
                    "dot-unique",
                    f"{node} has another write of {plain_key(key)} under dot {sibling.dot} than "
                    f"{first} had before",
                    (node, first),
                )

    # -- what a node says

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now: what it says must be durable."""
        message = effect.message
        if isinstance(message, GossipMessage):
            self._incarnations.said(node, message.incarnation)
        elif isinstance(message, VersionsHeld):
            self._check_durable(node, message.key, decode_state(message.state))
        elif isinstance(message, VersionsWrite) and message.id and not message.hint_for:
            self._asked[node, effect.to, message.id] = message.state
        elif isinstance(message, VersionsWritten) and not message.hint_for:
            asked = self._asked.get((effect.to, node, message.id))
            if asked is not None:
                self._check_durable(node, message.key, decode_state(asked))

    def _check_durable(self, node: str, key: str, said: KeyState) -> None:
        durable = self._of(node).durable.get(key, NOTHING)
        if not said.is_tombstone and not contains(durable, said):
            self._fail(
                "durable-first",
                f"{node} says that it holds {said.vector!r} of {plain_key(key)}, and "
                f"{durable.vector!r} is durable there",
                (node,),
            )

    # -- what a node is

    def started(self, node: str, recovered: Recovered, *, excused: bool) -> None:
        """``node`` starts from what its storage found.

        Args:
            node: which.
            recovered: what was found.
            excused: its disk was damaged or wiped: durability is not owed.
        """
        self._incarnations.started(node, recovered.hard_state.adopted, excused=excused)
        watched, found = self._of(node), replay(recovered).states
        # a key whose forgetting was on its way may be forgotten
        going = {key for _, key, state in watched.pending if state is None}
        for key, owed in watched.durable.items():
            if not excused and key not in going and not contains(found.get(key, NOTHING), owed):
                self._fail(
                    "durable-replica",
                    f"{node} restarted without {owed.vector!r} of {plain_key(key)}, which was "
                    "durable",
                    (node,),
                )
        watched.pending = []
        watched.written, watched.durable = dict(found), dict(found)

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done: look at what it acknowledged."""
        assert isinstance(core, LeaderlessNode)
        for done in core.store.acknowledged:
            self._check_acknowledged(node, core, done)
        stamps = core.stamps
        if isinstance(stamps, HybridStamps):
            self._check_clock(node, stamps)

    def _check_clock(self, node: str, stamps: HybridStamps) -> None:
        last = stamps.clock.last
        shown = last - stamps.ahead_ns()  # by the wall clock, as far as it is not ahead itself
        furthest = self._furthest[node] = max(shown, self._furthest.get(node, 0))
        ahead_ns = last - furthest
        if ahead_ns > stamps.clock.max_offset_ns + stamps.clock.reserve_ns:
            self._fail(
                "stamp-bound",
                f"the clock of {node} is {ahead_ns / 1e9:g} s ahead of all that its wall clock "
                "has shown",
                (node,),
            )

    def _check_acknowledged(self, node: str, core: LeaderlessNode, done: Acknowledged) -> None:
        halves = done.halves or (core.states.replicas(done.key),)
        replicas = tuple(dict.fromkeys(node for half in halves for node in half))
        has = [
            replica
            for replica in replicas
            if contains(self._of(replica).durable.get(done.key, NOTHING), done.state)
        ]
        gone = done.state.is_tombstone or done.state == NOTHING
        if not is_quorum(halves, has, done.wanted) and not gone:
            self._fail(
                "acknowledged-durable",
                f"{node} acknowledges {'a read' if done.reads else 'a write'} of "
                f"{plain_key(done.key)} that {', '.join(has) or 'no replica'} "
                f"{'have' if len(has) > 1 else 'has'} durably; {done.wanted} must",
                (node, *replicas),
            )

    def _of(self, node: str) -> _Watched:
        return self._watched.setdefault(node, _Watched())


def contains(state: KeyState, other: KeyState) -> bool:
    """Whether merging another state into a state would change nothing that is read of it."""
    rules = DottedVersions() if state.context or other.context else LastWriterWins()
    return digest_of(rules.merge(state, other)) == digest_of(state)


def _named(sibling: Sibling) -> bytes:
    return encode_state(KeyState((), (sibling,)))
