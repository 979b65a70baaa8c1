"""White-box invariants, checked after every event on the node the event touched.

A checker of histories sees what clients saw; a broken promise inside may take long to reach one, or
never does in the run at hand. So the simulation also watches the promises themselves, those of
figure 3 of Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), and
of openraft's list:

- one leader per generation (election safety), one vote per node and generation;
- log matching: an index and a generation name one entry, with one predecessor, everywhere;
- leader completeness: a new leader has every entry committed in earlier generations;
- a committed entry never changes, and never leaves a log;
- where a variant decides each index by itself, there is no rule about predecessors, and what must
  not change is the value committed at an index, whatever generation it is written under;
- generation, high-water mark and applied index of a running node never go back, and a restarted
  node has every hard state and entry that its storage had reported durable;
- snapshot <= applied <= high-water mark <= last index;
- equal applied index, equal state hash.

Each check costs O(1) per entry or event: log matching by induction over (index, generation), so
two whole logs are never compared. Logs are followed from the effects a core emits, not from its
internals, so any core of :class:`cluster.ports.Core` with the documented status can be watched.

Used by the world; raises :class:`InvariantViolation` at the event that broke one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cluster.consensus.slots import HOLE
from cluster.ports import Append, Core, Recovered, SaveSnapshot, Send
from cluster.simulation.trace import TraceEvent, say_entry
from cluster.simulation.variant_invariants import SLOT_WISE, VARIANTS, Fail
from cluster.simulation.watched_log import DurableState, WatchedLog
from cluster.wire import Entry, HardState, VoteReply

#: The state hash is compared at applied indices that another node stopped at, and newly recorded
#: at most once per this many indices: hashing may cost as much as the state is large.
HASH_EVERY = 16


class InvariantViolation(AssertionError):
    """A promise was broken.

    Args:
        name: the invariant, such as ``one-leader-per-generation``.
        sentence: what happened, with the numbers.
        nodes: the nodes concerned.
        time_ns: virtual time.
        trace: the turning points and the latest events of these nodes, oldest first.
    """

    def __init__(
        self,
        name: str,
        sentence: str,
        *,
        nodes: tuple[str, ...] = (),
        time_ns: int = 0,
        trace: tuple[TraceEvent, ...] = (),
    ) -> None:
        self.name = name
        self.sentence = sentence
        self.nodes = nodes
        self.time_ns = time_ns
        self.trace = trace
        super().__init__(name, sentence)

    def __str__(self) -> str:
        head = f"{self.name} broken at {self.time_ns / 1e6:.3f} ms: {self.sentence}"
        return "\n".join([head, *map(str, self.trace)])


class View(msgspec.Struct, frozen=True, gc=False):
    """The interface of a core to the invariants."""

    role: str
    generation: int
    high_water_mark: int
    applied: int
    last_index: int
    snapshot_index: int


def view_of_status(core: Core) -> View:
    """The view of any core, through its status."""
    status = core.status()
    return View(
        status["role"],
        status["generation"],
        status["high_water_mark"],
        status["applied"],
        status["last_index"],
        status.get("first_index", 1) - 1,
    )


class _Watched:
    """The checker's record of one node."""

    __slots__ = ("durable", "hard", "log", "superseded", "view")

    def __init__(self) -> None:
        self.log = WatchedLog()
        #: up to here a snapshot may have taken the place of what a slot-wise log holds
        self.superseded = 0
        self.view: View | None = None
        self.hard = HardState()
        self.durable = DurableState()


class Invariants:
    """The watch over all nodes of a world.

    Args:
        fail: called with (name, sentence, nodes) for a violation; must raise or record.
        view_of: how to look into a core.
        consensus: the variant, whose own rules are watched too.
    """

    def __init__(
        self,
        fail: Callable[[str, str, tuple[str, ...]], None],
        view_of: Callable[[Any], View] = view_of_status,
        *,
        consensus: str = "",
    ) -> None:
        self._variant = VARIANTS[consensus](fail) if consensus in VARIANTS else None
        self._slot_wise = consensus in SLOT_WISE
        self._fail = fail
        self._view_of = view_of
        self._watched: dict[str, _Watched] = {}
        self._leaders: dict[int, str] = {}
        self._votes: dict[tuple[str, int], str] = {}
        #: (index, generation) -> (entry, generation of its predecessor or None, who had it first)
        self._entries: dict[tuple[int, int], tuple[Entry, int | None, str]] = {}
        #: committed[i] = entry i+1 as first observed, generation of its observer, that node
        self.committed: list[tuple[Entry, int, str]] = []
        self._hashes: dict[int, tuple[str, str]] = {}
        self._hash_next = 0

    # -- what a node writes

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        watched = self._of(node)
        lowest = watched.log.last_index + 1
        if effect.hard_state is not None:
            self._check_hard_state(node, watched, effect.hard_state)
        last = None
        if effect.cut_from:
            lowest = min(lowest, effect.cut_from)
            _cut(node, watched, effect.cut_from, self._fail)
        if effect.entries:
            lowest = min(lowest, effect.entries[0].index)
            self._append(node, watched, effect.entries)
            last = (effect.entries[-1].index, effect.entries[-1].generation)
        watched.durable.asked(effect.io_id, hard=effect.hard_state, last=last, lowest=lowest)
        if self._variant is not None:
            self._variant.appending(node, effect)

    def snapshotting(self, node: str, effect: SaveSnapshot) -> None:
        """The core of ``node`` asked for this snapshot."""
        watched, snapshot = self._of(node), effect.snapshot
        last = None
        if effect.reset_log or snapshot.index > watched.log.last_index:
            watched.log = WatchedLog(snapshot.index, snapshot.generation)
            last = (snapshot.index, snapshot.generation)
        watched.superseded = snapshot.index if self._slot_wise else 0
        known = self._committed_generation(snapshot.index)
        if known not in (None, snapshot.generation) and not self._slot_wise:
            self._fail(
                "commit-immutable",
                f"{node} saved a snapshot at index {snapshot.index} of generation "
                f"{snapshot.generation}, where generation {known} is committed",
                (node,),
            )
        watched.durable.asked(effect.io_id, last=last, lowest=snapshot.index + 1)

    def persisted(self, node: str, io_id: int) -> None:
        """Storage reported every write up to ``io_id`` durable."""
        self._of(node).durable.persisted(io_id)

    def _check_hard_state(self, node: str, watched: _Watched, hard: HardState) -> None:
        old = watched.hard
        if hard.generation < old.generation:
            self._fail(
                "generation-monotonic",
                f"{node} went back from generation {old.generation} to {hard.generation}",
                (node,),
            )
        elif hard.generation == old.generation and old.voted_for not in ("", hard.voted_for):
            self._fail(
                "one-vote-per-generation",
                f"{node} changed its vote in generation {hard.generation} from "
                f"{old.voted_for} to {hard.voted_for or 'no node'}",
                (node,),
            )
        watched.hard = hard

    def _append(self, node: str, watched: _Watched, entries: tuple[Entry, ...]) -> None:
        log, first = watched.log, entries[0].index
        if first > log.last_index + 1 or first <= log.base:
            self._fail(
                "log-consecutive",
                f"{node} wrote entry {first} to a log of entries {log.base + 1} to "
                f"{log.last_index}",
                (node,),
            )
            return
        _cut(node, watched, first, self._fail)
        before = log.generation_at(first - 1)
        for entry in entries:
            self._match(node, entry, before)
            before = entry.generation
        log.entries.extend(entries)

    def _match(self, node: str, entry: Entry, before: int | None) -> None:
        key = (entry.index, entry.generation)
        known = self._entries.get(key)
        if entry.kind == HOLE:
            return
        if known is None:
            self._entries[key] = (entry, None if self._slot_wise else before, node)
            return
        other, other_before, writer = known
        if other is not entry and other != entry:
            self._fail(
                "log-matching",
                f"{node} has {say_entry(entry)} at index {entry.index} of generation "
                f"{entry.generation}, where {writer} had {say_entry(other)} before",
                (node, writer) if writer != node else (node,),
            )
        elif before is not None and other_before is not None and before != other_before:
            self._fail(
                "log-matching",
                f"{node} has entry {entry.index} of generation {entry.generation} after one of "
                f"generation {before}, which at {writer} follows one of generation {other_before}",
                (node, writer) if writer != node else (node,),
            )
        elif other_before is None and not self._slot_wise:
            self._entries[key] = (entry, before, writer)

    # -- what a node sends

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now: what it promises must hold from now on."""
        message = effect.message
        if type(message) is VoteReply and message.granted and not message.prevote:
            vote = self._votes.setdefault((node, message.asked), effect.to)
            if vote != effect.to:
                self._fail(
                    "one-vote-per-generation",
                    f"{node} voted for {vote} and for {effect.to} in generation {message.asked}",
                    (node, vote, effect.to),
                )
        if self._variant is not None:
            self._variant.sending(node, effect)

    # -- what a node is

    def started(self, node: str, recovered: Recovered, *, excused: bool) -> None:
        """``node`` starts from what its storage found.

        Args:
            node: which.
            recovered: what was found.
            excused: it is ablated. A damaged disk excuses a node that says so, but for its vote.
        """
        watched = self._of(node)
        snapshot = recovered.snapshot
        first = recovered.entries[0].index if recovered.entries else 0
        if snapshot is not None and (not first or first == snapshot.index + 1):
            log = WatchedLog(snapshot.index, snapshot.generation)
        elif first > 1:
            log = WatchedLog(first - 1, None)
        else:
            log = WatchedLog()
        log.entries = list(recovered.entries)
        if not excused:
            watched.durable.check(node, log, recovered, self._fail)
        before = log.base_generation
        for entry in log.entries:
            self._match(node, entry, before)
            before = entry.generation
        watched.log, watched.view = log, None
        watched.superseded = snapshot.index if snapshot and self._slot_wise else 0
        watched.hard = recovered.hard_state
        watched.durable.restarted(log, recovered.hard_state)
        if self._variant is not None:
            self._variant.started(node, recovered)

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done: look at it again."""
        if self._variant is not None:
            self._variant.after(node, core)
        watched = self._of(node)
        old, new = watched.view, self._view_of(core)
        if old == new:
            return
        watched.view = new
        for name, before, now in _gone_back(old, new) if old is not None else ():
            sentence = f"{name} of {node} went back from {before} to {now}"
            self._fail(f"{name}-monotonic", sentence, (node,))
        if not new.snapshot_index <= new.applied <= new.high_water_mark <= new.last_index:
            self._fail(
                "order-of-indices",
                f"{node} must have snapshot <= applied <= high-water mark <= last index, and has "
                f"{new.snapshot_index}, {new.applied}, {new.high_water_mark}, {new.last_index}",
                (node,),
            )
        if new.role == "leader" and (old is None or old.role != "leader" or _renewed(old, new)):
            self._check_leader(node, watched, new)
        if old is None or new.high_water_mark > old.high_water_mark:
            self._check_commit(node, watched, old, new)
        if old is None or new.applied != old.applied:
            self._check_state(node, core, new.applied)

    def _check_leader(self, node: str, watched: _Watched, view: View) -> None:
        log, held_from = watched.log, max(watched.log.base, watched.superseded)
        other = self._leaders.setdefault(view.generation, node)
        if other != node:
            self._fail(
                "one-leader-per-generation",
                f"{node} and {other} both lead generation {view.generation}",
                (node, other),
            )
        for index in range(len(self.committed), 0, -1):
            entry, observed, observer = self.committed[index - 1]
            if observed >= view.generation:
                continue
            if index > held_from and not _same(
                log.entry_at(index), entry, slot_wise=self._slot_wise
            ):
                self._fail(
                    "leader-completeness",
                    f"{node} leads generation {view.generation} without the entry at index "
                    f"{index}, which {observer} saw committed in generation {observed}",
                    (node, observer),
                )
            if not self._slot_wise:
                return  # by log matching all before it is the same

    def _check_commit(self, node: str, watched: _Watched, old: View | None, new: View) -> None:
        log, committed = watched.log, self.committed
        start = old.high_water_mark if old is not None else log.base
        for index in range(max(start, log.base) + 1, new.high_water_mark + 1):
            entry = log.entry_at(index)
            if entry is None:
                self._fail(
                    "commit-within-log",
                    f"{node} has high-water mark {new.high_water_mark}, and no entry {index}",
                    (node,),
                )
                return
            if index == len(committed) + 1:
                committed.append((entry, new.generation, node))
            elif watched.superseded < index <= len(committed) and not _same(
                entry, committed[index - 1][0], slot_wise=self._slot_wise
            ):
                known, _, observer = committed[index - 1]
                self._fail(
                    "commit-immutable",
                    f"{node} has {say_entry(entry)} of generation {entry.generation} committed at "
                    f"index {index}, where {observer} has {say_entry(known)} of generation "
                    f"{known.generation}",
                    (node, observer),
                )

    def _committed_generation(self, index: int) -> int | None:
        if 0 < index <= len(self.committed):
            return self.committed[index - 1][0].generation
        return None

    def _check_state(self, node: str, core: Core, applied: int) -> None:
        known = self._hashes.get(applied)
        if known is None:
            if applied < self._hash_next:
                return
            self._hash_next = applied + HASH_EVERY
            self._hashes[applied] = (core.state_hash(), node)
            return
        if known[1] != node and known[0] != core.state_hash():
            self._fail(
                "equal-state",
                f"{node} and {known[1]} differ in state at applied index {applied}",
                (node, known[1]),
            )

    def _of(self, node: str) -> _Watched:
        watched = self._watched.get(node)
        if watched is None:
            watched = self._watched[node] = _Watched()
        return watched


def _same(entry: Entry | None, committed: Entry, *, slot_wise: bool) -> bool:
    """Whether an entry is the one committed at its index."""
    if entry is None or not slot_wise:
        return entry is not None and entry.generation == committed.generation
    return (entry.kind, entry.data) == (committed.kind, committed.data)


def _gone_back(old: View, new: View) -> list[tuple[str, int, int]]:
    """The value that went back and must not: its name, and from where to where."""
    pairs = (
        ("generation", old.generation, new.generation),
        ("high-water-mark", old.high_water_mark, new.high_water_mark),
        ("applied", old.applied, new.applied),
        ("snapshot", old.snapshot_index, new.snapshot_index),
    )
    return [pair for pair in pairs if pair[2] < pair[1]]


def _cut(node: str, watched: _Watched, first: int, fail: Fail) -> None:
    """A node drops its entries from an index on."""
    view, log = watched.view, watched.log
    if view is not None and first <= view.high_water_mark:
        fail(
            "commit-immutable",
            f"{node} overwrites its log from index {first}, and it knows index "
            f"{view.high_water_mark} as committed",
            (node,),
        )
    del log.entries[max(0, first - log.base - 1) :]


def _renewed(old: View, new: View) -> bool:
    return old.generation != new.generation
