"""The polygraph: known constraints on transactions whose versions have no known order.

Problem. Of two writers of a key one came first, and it is unknown which. Where a few transactions
have no order at all, a reader wants to see why.

Solution. A *polygraph* has edges that hold, and choices. A choice is between two writers of a key:
one of them, together with every transaction that read from it, comes before the other.
:class:`Polygraph` starts with sessions and reads-from and adds every edge that is forced because
the other side of a choice would make a cycle (the pruning of Cobra and PolySI). A cycle of such
edges is the explanation. Whether there is an order is decided elsewhere (:mod:`.saturation`).

Invariants. Every edge holds in every order that explains the reads. For snapshot isolation an edge
is a dependency or an anti-dependency, and only a cycle without two adjacent anti-dependencies
refutes.

What breaks without it: a refutation would name transactions and no reason.

Source: Papadimitriou, *The Serializability of Concurrent Database Updates*; Tan and others,
*Cobra*, OSDI 2020; Huang and others, *PolySI*, VLDB 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import combinations, pairwise

import msgspec
import numpy as np

from checkers.core.budget import Meter, looked
from checkers.history import OK
from checkers.isolation.graph.components import drain
from checkers.isolation.inference.rw_register import RwRegister
from checkers.isolation.transaction_table import WRITE, Bools, Ints, Txns

DEP, ANTI = 0, 1
#: Later than every moment: what is in doubt may take effect at any time.
NEVER = 1 << 62
#: The constraints of a level on the order of transactions, besides reads-from.
PROMISES = ("", "process", "realtime")

#: Edges of a depth-first search between looks at the budget.
EDGES_PER_LOOK = 4096
#: Pairs or transactions between looks at the budget.
METER_INTERVAL = 64


class Txn(msgspec.Struct, frozen=True):
    """One committed transaction, reduced to what matters.

    Args:
        id: row in the columns.
        session: number of its session, place: position in it.
        reads: key -> id of the transaction read from, or -1 for the initial state.
        writes: keys written.
        after: ids of transactions that have to commit before this one starts.
        prior: keys written that are lists -> who appended before, or -1.
        begin, end: moments between which it took effect: one that ended before another began has to
            commit before the other starts.
    """

    id: int
    session: int
    place: int
    reads: dict[int, int]
    writes: frozenset[int]
    after: frozenset[int] = frozenset()
    prior: dict[int, int] = {}
    begin: int = 0
    end: int = NEVER


class Order(msgspec.Struct, frozen=True):
    """An edge, and why it holds."""

    source: int
    target: int
    kind: int
    why: str


def transactions(register: RwRegister, *, missed: Iterable[tuple[int, int]] = ()) -> list[Txn]:
    """Committed transactions in order of session and place.

    Args:
        register: the history.
        missed: (transaction, key) of further reads of an initial version.
    """
    reads, writes = reads_from(register, missed)
    return placed(register.txns, register.members, reads, writes)


def reads_from(
    register: RwRegister, missed: Iterable[tuple[int, int]] = ()
) -> tuple[list[dict[int, int]], list[set[int]]]:
    """Per transaction, of which transaction's write each key was read; and the keys written."""
    txns = register.txns
    reads: list[dict[int, int]] = [{} for _ in range(len(txns))]
    writes: list[set[int]] = [set() for _ in range(len(txns))]
    members = register.members.tolist()
    rows = zip(
        txns.mop_txn.tolist(), txns.mop_kind.tolist(), txns.mop_key.tolist(),
        register.versions.of_mop.tolist(),
    )  # fmt: skip
    for txn, kind, key, version in looked(rows):
        if kind == WRITE:
            writes[txn].add(key)
        elif version >= 0 and version not in register.versions.strays and key not in writes[txn]:
            mop = int(register.versions.writer[version])
            source = int(txns.mop_txn[mop]) if mop >= 0 else -1
            if source != txn and (source < 0 or members[source]):
                reads[txn].setdefault(key, source)
    for txn, key in missed:
        reads[txn].setdefault(key, -1)
    return reads, writes


def placed(
    txns: Txns,
    members: Bools,
    reads: Sequence[dict[int, int]],
    writes: Sequence[Iterable[int]],
    *,
    promise: str = "process",
    after: Mapping[int, Iterable[int]] | None = None,
    prior: Mapping[int, dict[int, int]] | None = None,
) -> list[Txn]:
    """Committed transactions in order of session and place.

    Args:
        txns, members: the history, and which of its transactions committed.
        reads, writes: of each transaction.
        promise: one of :data:`PROMISES`; without one, each transaction is a session of its own.
        after: what has to commit before each, for another reason.
        prior: of lists, who appended before each, by key.
    """
    places: dict[int, int] = {}
    chosen: list[Txn] = []
    sessions = session_codes(txns, members).tolist() if promise else range(len(txns))
    ends = np.where((txns.type == OK) & (txns.complete >= 0), txns.complete, NEVER).tolist()
    order = np.flatnonzero(members)[np.argsort(txns.invoke[members], kind="stable")]
    for txn in looked(order.tolist()):
        session = sessions[txn]
        place = places.get(session, 0)
        places[session] = place + 1
        before = frozenset((after or {}).get(txn, ()))
        moments = (int(txns.invoke[txn]), ends[txn]) if promise == "realtime" else (0, NEVER)
        chain = (prior or {}).get(txn, {})
        wrote = frozenset(writes[txn])
        chosen.append(Txn(txn, session, place, reads[txn], wrote, before, chain, *moments))
    return sorted(chosen, key=lambda t: (t.session, t.place))


def part_of(txns: Sequence[Txn], present: Set[int]) -> list[Txn]:
    """Some of the transactions, in the same order, without their reads of others.

    Reads of the initial state stay, and who comes after one left out comes after those before it.
    What was read of a list is then what was there before.
    """
    left = {txn.id: txn for txn in txns if txn.id not in present}
    return [_without(txn, present, left) for txn in txns if txn.id in present]


def _without(txn: Txn, present: Set[int], left: Mapping[int, Txn]) -> Txn:
    kept = {}
    for key, source in txn.reads.items():
        while source in left and key in left[source].prior:
            source = left[source].prior[key]
        if source < 0 or source in present:
            kept[key] = source
    after, waiting, seen = set(), list(txn.after), set(txn.after)
    while waiting:
        other = waiting.pop()
        if other in present:
            after.add(other)
        elif other in left:
            waiting += left[other].after - seen
            seen |= left[other].after
    return msgspec.structs.replace(txn, reads=kept, after=frozenset(after))


def required(txns: Sequence[Txn]) -> Iterator[tuple[int, int, str]]:
    """Pairs of which the first has to commit before the second starts, and why.

    Sessions are left out, and of real time what follows from other pairs.
    """
    for txn in txns:
        for other in sorted(txn.after):
            yield other, txn.id, "ww"
    timed = [(txn.begin, 1, txn.id) for txn in txns] + [(txn.end, 0, txn.id) for txn in txns]
    frontier: list[int] = []
    before: dict[int, list[int]] = {}
    for _, begins, txn_id in sorted(moment for moment in timed if moment[0] < NEVER):
        if begins:
            before[txn_id] = frontier
            for other in frontier:
                yield other, txn_id, "realtime"
        else:
            passed = set(before[txn_id])
            frontier = [other for other in frontier if other not in passed] + [txn_id]


def session_codes(txns: Txns, members: Bools) -> Ints:
    """The session of each transaction: its process, but nothing follows an unknown outcome.

    A transaction that ended in doubt may take effect later, so unless it is its process's last it
    is a session of its own.
    """
    codes = txns.process.copy()
    chosen = np.flatnonzero(members)
    order = chosen[np.lexsort((txns.invoke[chosen], txns.process[chosen]))]
    last = np.append(codes[order][1:] != codes[order][:-1], True) if len(order) else order == 0
    alone = order[~last & (txns.type[order] != OK)]
    codes[alone] = int(codes.max(initial=0)) + 1 + np.arange(len(alone))
    return codes


class Polygraph:
    """The known order of a set of transactions, and the choices still open."""

    def __init__(self, txns: Sequence[Txn], *, snapshot: bool) -> None:
        self.txns = {txn.id: txn for txn in txns}
        self.snapshot = snapshot
        self.known: dict[tuple[int, int, int], str] = {}
        self.readers: dict[tuple[int, int], list[int]] = {}
        self.writers: dict[int, list[int]] = {}
        for before, after in pairwise(txns):
            if before.session == after.session:
                self._know(before.id, after.id, DEP, "so")
        for source, target, why in required(txns):
            self._know(source, target, DEP, why)
        for txn in looked(txns):
            for key in sorted(txn.writes):
                self.writers.setdefault(key, []).append(txn.id)
            for key, source in txn.reads.items():
                if source < 0:
                    self.readers.setdefault((key, -1), []).append(txn.id)
                elif source in self.txns:
                    self.readers.setdefault((key, source), []).append(txn.id)
                    self._know(source, txn.id, DEP, f"wr {key}")
        for (key, source), readers in sorted(self.readers.items()):
            if source < 0:
                for reader in readers:
                    for writer in self.writers.get(key, ()):
                        self._know(reader, writer, ANTI, f"rw {key}")

    def _know(self, source: int, target: int, kind: int, why: str) -> bool:
        edge = (source, target, kind)
        if source == target or edge in self.known:
            return False
        self.known[edge] = why
        return True

    def saturate(self, meter: Meter) -> list[Order] | None:
        """Add forced orders until nothing is new; a cycle if one appears."""
        while not meter.spent(len(self.known)):
            cycle = find_cycle(self._each_order(), snapshot=self.snapshot, meter=meter)
            if cycle is not None:
                return cycle
            after = self._reachable(meter)
            if meter.spent() or not self._force(after, meter):
                return None
        return None

    def orders(self) -> list[Order]:
        """The known edges."""
        return list(self._each_order())

    def _each_order(self) -> Iterator[Order]:
        return (Order(a, b, kind, why) for (a, b, kind), why in self.known.items())

    def _reachable(self, meter: Meter) -> dict[int, int]:
        """For each transaction, the bits of those that must come after it.

        Under snapshot isolation an anti-dependency alone orders nothing but starts against
        commits, so only dependencies, and anti-dependencies after one, are followed.
        """
        index = {txn: at for at, txn in enumerate(self.txns)}
        out: dict[int, set[int]] = {txn: set() for txn in self.txns}
        anti: dict[int, list[int]] = {txn: [] for txn in self.txns}
        for count, (source, target, kind) in enumerate(self.known):
            if count % EDGES_PER_LOOK == 0 and meter.spent():
                return {}
            (out[source].add(target) if kind == DEP else anti[source].append(target))
        for count, source in enumerate(self.txns):
            if count % METER_INTERVAL == 0 and meter.spent():
                return {}
            if self.snapshot:
                reached = {far for near in tuple(out[source]) for far in anti[near]}
                out[source] |= reached - {source}
            else:
                out[source].update(anti[source])
        bits: dict[int, int] = {}
        for count, txn in enumerate(postorder(out)):
            if count % METER_INTERVAL == 0 and meter.spent():
                return bits
            bits[txn] = 0
            for target in out[txn]:
                bits[txn] |= 1 << index[target] | bits[target]
        self.index = index
        self.into = dict.fromkeys(self.txns, 0)
        for source, target, kind in self.known:
            if kind == DEP:
                self.into[target] |= 1 << index[source]
        return bits

    def _force(self, after: dict[int, int], meter: Meter) -> bool:
        """One round of the rule; True if anything is new."""
        new = False
        for key, writers in self.writers.items():
            for count, (one, two) in enumerate(combinations(writers, 2)):
                if count % METER_INTERVAL == 0 and meter.spent(1):
                    return False
                for a, b in ((one, two), (two, one)):
                    if after[a] >> self.index[b] & 1:
                        new |= self._order(a, b, key)
                    else:
                        for reader in self.readers.get((key, b), ()):
                            if reader != a and self._sees(a, reader, after):
                                new |= self._order(a, b, key)
        return new

    def _sees(self, a: int, reader: int, after: dict[int, int]) -> bool:
        """Whether a comes before what the reader saw: its start, under snapshot isolation.

        There a path that ends in an anti-dependency reaches only the reader's commit.
        """
        if not self.snapshot:
            return bool(after[a] >> self.index[reader] & 1)
        return bool(self.into[reader] & (after[a] | 1 << self.index[a]))

    def _order(self, a: int, b: int, key: int) -> bool:
        """Writer a of the key before writer b, and so a's readers before b."""
        new = self._know(a, b, DEP, f"ww {key}")
        for reader in self.readers.get((key, a), ()):
            new |= self._know(reader, b, ANTI, f"rw {key}")
        return new


def postorder(out: dict[int, set[int]]) -> list[int]:
    """Nodes of an acyclic graph, every one after those it points to."""
    waiting = {node: len(targets) for node, targets in out.items()}
    into: dict[int, list[int]] = {node: [] for node in out}
    for node, targets in out.items():
        for target in targets:
            into[target].append(node)
    order = [node for node, count in waiting.items() if not count]
    return drain(order, into, waiting)


def find_cycle(
    edges: Iterable[Order],
    *,
    snapshot: bool,
    meter: Meter | None = None,
) -> list[Order] | None:
    """A cycle among edges: any, or without two adjacent anti-dependencies.

    States are (transaction, whether the last edge was an anti-dependency). Depth-first search; the
    cycle returned is shortened by a breadth-first search through its first edge. None, too, if the
    meter is spent.
    """
    meter = meter or Meter()
    steps_taken = 0
    out: dict[tuple[int, int], list[tuple[Order, tuple[int, int]]]] = {}
    for edge in edges:
        steps_taken += 1
        if steps_taken % EDGES_PER_LOOK == 0 and meter.spent():
            return None
        for last in (0, 1) if snapshot else (0,):
            if snapshot and last and edge.kind == ANTI:
                continue
            target = (edge.target, int(snapshot and edge.kind == ANTI))
            out.setdefault((edge.source, last), []).append((edge, target))
    colour: dict[tuple[int, int], int] = {}
    for root in list(out):
        if root in colour:
            continue
        path: list[tuple[tuple[int, int], int]] = [(root, 0)]
        colour[root] = 1
        while path:
            steps_taken += 1
            if steps_taken % EDGES_PER_LOOK == 0 and meter.spent():
                return None
            node, position = path[-1]
            steps = out.get(node, [])
            if position == len(steps):
                colour[node] = 2
                path.pop()
                continue
            path[-1] = (node, position + 1)
            edge, target = steps[position]
            if colour.get(target) == 1:
                return _shortest_through(out, edge, target, node)
            if target not in colour:
                colour[target] = 1
                path.append((target, 0))
    return None


def _shortest_through(
    out: dict[tuple[int, int], list[tuple[Order, tuple[int, int]]]],
    edge: Order,
    start: tuple[int, int],
    goal: tuple[int, int],
) -> list[Order]:
    """The shortest cycle that begins with an edge from ``goal`` to ``start``."""
    came: dict[tuple[int, int], tuple[Order, tuple[int, int]] | None] = {start: None}
    queue = [start]
    for node in queue:
        if node == goal:
            break
        for step, target in out.get(node, ()):
            if target not in came:
                came[target] = (step, node)
                queue.append(target)
    path: list[Order] = []
    link = came[goal]
    while link is not None:
        path.append(link[0])
        link = came[link[1]]
    return [edge, *path[::-1]]
