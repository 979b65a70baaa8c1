"""Serializability and snapshot isolation of read-write histories whose version order is unknown.

Deciding either is NP-complete: the order of the writes of each key has to be guessed. Three steps,
each of which may already settle it:

1. *Forced orders.* Start with sessions and reads-from. If t3 read x from t1 and another writer t2
   of x comes before t3, it comes before t1; if it comes after t1, it comes after t3. Repeat until
   nothing is new. A cycle refutes, and is shown.
2. *Frontier search*, for serializability of few sessions: a set of transactions closed under
   sessions determines what may come next, so there are only as many states as frontiers.
3. *A constraint solver* (python-sat, extra ``sat``): one boolean per undecided pair of writers of a
   key, which way round. Solve, look for a cycle among the edges this implies, forbid it, repeat.

For snapshot isolation an edge is a dependency or an anti-dependency, and only cycles without two
adjacent anti-dependencies count.

A serial order found is replayed by :func:`verify_serial_order`, which knows nothing of how it was
found. A refutation without a forced cycle is reduced to the fewest transactions that still have
none; that is sound, since a serial order of the whole would give one of any part.

Source: Biswas and Enea, OOPSLA 2019 (frontiers); Tan and others, *Cobra*, OSDI 2020, and Huang and
others, *PolySI*, VLDB 2023 (pruned polygraphs and solvers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import Any

import msgspec

from checkers.budget import Budget, Meter
from checkers.history import FAIL, OK, History
from checkers.transactions.explain import anomaly_finding
from checkers.transactions.rw_register import RwRegister, VersionRules
from checkers.transactions.txns import WRITE, columns
from checkers.verdict import Because, Finding, Result, Verdict

#: Frontiers tried before the solver takes over.
FRONTIERS_MAX = 400_000
#: Solver rounds between looks at the budget.
CYCLES_PER_ROUND = 64

DEP, ANTI = 0, 1


class Txn(msgspec.Struct, frozen=True):
    """One committed transaction, reduced to what matters.

    Args:
        id: row in the columns.
        session: number of its session, place: position in it.
        reads: key -> id of the transaction read from, or -1 for the initial state.
        writes: keys written.
    """

    id: int
    session: int
    place: int
    reads: dict[int, int]
    writes: frozenset[int]


class Order(msgspec.Struct, frozen=True):
    """An edge and the choice it depends on: ``var`` is 0 if none, else a signed variable."""

    source: int
    target: int
    kind: int
    var: int
    why: str


def transactions(register: RwRegister) -> list[Txn]:
    """Committed transactions in order of session and place."""
    txns = register.txns
    reads: list[dict[int, int]] = [{} for _ in range(len(txns))]
    writes: list[set[int]] = [set() for _ in range(len(txns))]
    members = register.members.tolist()
    rows = zip(
        txns.mop_txn.tolist(), txns.mop_kind.tolist(), txns.mop_key.tolist(),
        register.version.tolist(),
    )  # fmt: skip
    for txn, kind, key, version in rows:
        if kind == WRITE:
            writes[txn].add(key)
        elif version >= 0 and key not in writes[txn]:
            mop = int(register.version_writer[version])
            source = int(txns.mop_txn[mop]) if mop >= 0 else -1
            if source != txn and (source < 0 or members[source]):
                reads[txn].setdefault(key, source)
    places: dict[int, int] = {}
    chosen: list[Txn] = []
    for txn in sorted(range(len(txns)), key=lambda t: int(txns.invoke[t])):
        if members[txn]:
            session = int(txns.process[txn])
            place = places.get(session, 0)
            places[session] = place + 1
            chosen.append(Txn(txn, session, place, reads[txn], frozenset(writes[txn])))
    return sorted(chosen, key=lambda t: (t.session, t.place))


def verify_serial_order(order: Sequence[Txn]) -> str:
    """Replay transactions one after another; "" if every read sees the latest write, else why not.

    Knows nothing of how the order was found.
    """
    state: dict[int, int] = {}
    places: dict[int, int] = {}
    for txn in order:
        if places.get(txn.session, -1) >= txn.place:
            return f"transaction {txn.id} comes after a later one of its session"
        places[txn.session] = txn.place
        for key, source in txn.reads.items():
            if state.get(key, -1) != source:
                return f"transaction {txn.id} read key {key} from {source}, not {state.get(key)}"
        for key in txn.writes:
            state[key] = txn.id
    return ""


class Polygraph:
    """What is known of the order of a set of transactions, and what is still to choose."""

    def __init__(self, txns: Sequence[Txn], *, snapshot: bool) -> None:
        self.txns = {txn.id: txn for txn in txns}
        self.snapshot = snapshot
        self.known: dict[tuple[int, int, int], str] = {}
        self.readers: dict[tuple[int, int], list[int]] = {}
        self.writers: dict[int, list[int]] = {}
        for before, after in pairwise(txns):
            if before.session == after.session:
                self._know(before.id, after.id, DEP, "so")
        for txn in txns:
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
            cycle = find_cycle(self._orders(), snapshot=self.snapshot)
            if cycle is not None:
                return cycle
            if not self._force(self._reachable()):
                return None
        return None

    def _orders(self) -> list[Order]:
        return [Order(a, b, kind, 0, why) for (a, b, kind), why in self.known.items()]

    def _reachable(self) -> dict[int, int]:
        """For each transaction, the bits of those that must come after it.

        Under snapshot isolation an anti-dependency alone orders nothing but starts against
        commits, so only dependencies, and anti-dependencies after one, are followed.
        """
        index = {txn: at for at, txn in enumerate(self.txns)}
        out: dict[int, set[int]] = {txn: set() for txn in self.txns}
        anti: dict[int, list[int]] = {txn: [] for txn in self.txns}
        for source, target, kind in self.known:
            (out[source].add(target) if kind == DEP else anti[source].append(target))
        for source in self.txns:
            if self.snapshot:
                reached = {far for near in tuple(out[source]) for far in anti[near]}
                out[source] |= reached - {source}
            else:
                out[source].update(anti[source])
        bits: dict[int, int] = {}
        for txn in _postorder(out):
            bits[txn] = 0
            for target in out[txn]:
                bits[txn] |= 1 << index[target] | bits[target]
        self.index = index
        self.into = dict.fromkeys(self.txns, 0)
        for source, target, kind in self.known:
            if kind == DEP:
                self.into[target] |= 1 << index[source]
        return bits

    def _force(self, after: dict[int, int]) -> bool:
        """One round of the rule; True if anything is new."""
        new = False
        for key, writers in self.writers.items():
            for one, two in combinations(writers, 2):
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

    def choices(self) -> list[tuple[int, int]]:
        """Pairs of writers of a key whose order is still open, once each."""
        open_pairs: dict[tuple[int, int], None] = {}
        for writers in self.writers.values():
            for a, b in combinations(writers, 2):
                if (a, b, DEP) not in self.known and (b, a, DEP) not in self.known:
                    open_pairs[(min(a, b), max(a, b))] = None
        return list(open_pairs)

    def implied(self, a: int, b: int, var: int) -> list[Order]:
        """Edges that hold if a comes before b."""
        edges: list[Order] = []
        for key in sorted(self.txns[a].writes & self.txns[b].writes):
            edges.append(Order(a, b, DEP, var, f"ww {key}"))
            edges += [
                Order(reader, b, ANTI, var, f"rw {key}")
                for reader in self.readers.get((key, a), ())
                if reader != b
            ]
        return edges


def _postorder(out: dict[int, set[int]]) -> list[int]:
    """Nodes of an acyclic graph, every one after those it points to."""
    waiting = {node: len(targets) for node, targets in out.items()}
    into: dict[int, list[int]] = {node: [] for node in out}
    for node, targets in out.items():
        for target in targets:
            into[target].append(node)
    order = [node for node, count in waiting.items() if not count]
    for node in order:
        for source in into[node]:
            waiting[source] -= 1
            if not waiting[source]:
                order.append(source)
    return order


def find_cycle(
    edges: Iterable[Order], *, snapshot: bool, avoid: frozenset[int] = frozenset()
) -> list[Order] | None:
    """A cycle among edges: any, or without two adjacent anti-dependencies.

    States are (transaction, whether the last edge was an anti-dependency). Depth-first search; the
    cycle returned is shortened by a breadth-first search through its first edge.
    """
    out: dict[tuple[int, int], list[tuple[Order, tuple[int, int]]]] = {}
    for edge in edges:
        if edge.var in avoid and edge.var:
            continue
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


def frontier_search(txns: Sequence[Txn], meter: Meter) -> list[Txn] | str | None:
    """A serial order, None if there is none, or why the search stopped.

    A transaction may come next if those before it in its session have come, everything it reads is
    the latest version, and nobody outside still has to read what it overwrites.
    """
    sessions: dict[int, list[Txn]] = {}
    for txn in txns:
        sessions.setdefault(txn.session, []).append(txn)
    lanes = list(sessions.values())
    unread: dict[tuple[int, int], int] = {}
    for txn in txns:
        for key, source in txn.reads.items():
            unread[(key, source)] = unread.get((key, source), 0) + 1
    search = _Frontier(lanes, unread)
    return search.run(meter)


class _Frontier:
    """Depth-first search over frontiers with memory of dead ones."""

    def __init__(self, lanes: list[list[Txn]], unread: dict[tuple[int, int], int]) -> None:
        self.lanes = lanes
        self.unread = unread
        self.at = [0] * len(lanes)
        self.latest: dict[int, int] = {}
        self.order: list[Txn] = []

    def _may(self, txn: Txn) -> bool:
        latest, unread = self.latest, self.unread
        if any(latest.get(key, -1) != source for key, source in txn.reads.items()):
            return False
        for key in txn.writes:
            current = latest.get(key, -1)
            waiting = unread.get((key, current), 0)
            if waiting - (txn.reads.get(key) == current) > 0:
                return False
        return True

    def _do(self, lane: int) -> list[tuple[int, int]]:
        txn = self.lanes[lane][self.at[lane]]
        self.at[lane] += 1
        self.order.append(txn)
        for key, source in txn.reads.items():
            self.unread[(key, source)] -= 1
        overwritten = [(key, self.latest.get(key, -1)) for key in txn.writes]
        for key in txn.writes:
            self.latest[key] = txn.id
        return overwritten

    def _undo(self, lane: int, overwritten: list[tuple[int, int]]) -> None:
        txn = self.order.pop()
        self.at[lane] -= 1
        for key, source in txn.reads.items():
            self.unread[(key, source)] += 1
        for key, source in overwritten:
            self.latest[key] = source

    def run(self, meter: Meter) -> list[Txn] | str | None:
        total = sum(map(len, self.lanes))
        dead: set[tuple[int, ...]] = set()
        stack: list[tuple[int, list[tuple[int, int]]]] = []
        lane = 0
        while len(self.order) < total:
            while lane < len(self.lanes):
                at = self.at[lane]
                if at < len(self.lanes[lane]) and self._may(self.lanes[lane][at]):
                    overwritten = self._do(lane)
                    if tuple(self.at) not in dead:
                        break
                    self._undo(lane, overwritten)
                lane += 1
            else:
                dead.add(tuple(self.at))
                if len(dead) > FRONTIERS_MAX:
                    return f"more than {FRONTIERS_MAX} frontiers"
                if meter.spent(1):
                    return meter.reason
                if not stack:
                    return None
                lane, overwritten = stack.pop()
                self._undo(lane, overwritten)
                lane += 1
                continue
            stack.append((lane, overwritten))
            lane = 0
        return list(self.order)


def solve(graph: Polygraph, meter: Meter) -> bool | str:
    """Whether some choice of writers' orders has no cycle; or why that was not decided."""
    try:
        from pysat.solvers import Cadical153
    except ImportError:
        return "the constraint solver is not installed; `pip install 'splitbrain[sat]'` has it"
    known = graph._orders()
    edges: list[Order] = []
    for number, (a, b) in enumerate(graph.choices(), 1):
        edges += graph.implied(a, b, number) + graph.implied(b, a, -number)
    with Cadical153() as solver:
        while not meter.spent(len(known) + len(edges)):
            if not solver.solve():
                return False
            chosen = {literal for literal in solver.get_model() or [] if literal}
            active = [e for e in edges if e.var in chosen or (e.var and -e.var not in chosen)]
            cut: frozenset[int] = frozenset()
            for _ in range(CYCLES_PER_ROUND):
                cycle = find_cycle([*known, *active], snapshot=graph.snapshot, avoid=cut)
                if cycle is None:
                    break
                variables = {edge.var for edge in cycle if edge.var}
                solver.add_clause([-variable for variable in sorted(variables)])
                cut |= {min(variables)} if variables else frozenset()
                if not variables:
                    return False
            if not cut:
                graph.known.update({(e.source, e.target, e.kind): e.why for e in active})
                return True
    return meter.reason


def _minimal(txns: list[Txn], snapshot: bool, meter: Meter) -> list[Txn]:
    """Fewest transactions, by dropping chunks and reads from them, that still have no order."""

    def refuted(part: list[Txn]) -> bool:
        return _decide(part, snapshot, meter)[0] is False

    size = max(1, len(txns) // 2)
    current = txns
    while True:
        dropped = False
        for low in range(0, len(current), size):
            rest = current[:low] + current[low + size :]
            if meter.spent(len(rest)):
                return current
            if rest and refuted(rest):
                current, dropped = rest, True
                break
        if not dropped:
            if size == 1:
                return current
            size = max(1, size // 2)


def _decide(
    txns: list[Txn], snapshot: bool, meter: Meter
) -> tuple[bool | str, list[Order] | list[Txn] | None]:
    """Whether an order exists (or why that is open), and the forced cycle or the serial order."""
    present = {txn.id for txn in txns}
    part = [
        msgspec.structs.replace(
            txn, reads={k: s for k, s in txn.reads.items() if s < 0 or s in present}
        )
        for txn in txns
    ]
    graph = Polygraph(part, snapshot=snapshot)
    cycle = graph.saturate(meter)
    if cycle is not None:
        return False, cycle
    if not snapshot and len({txn.session for txn in part}) <= 4:
        order = frontier_search(part, meter)
        if not isinstance(order, str):
            return order is not None, order
    answer = solve(graph, meter)
    if answer is True and not snapshot:
        return True, _serial_order(graph)
    return answer, None


def _serial_order(graph: Polygraph) -> list[Txn]:
    out: dict[int, set[int]] = {txn: set() for txn in graph.txns}
    for source, target, _ in graph.known:
        out[source].add(target)
    return [graph.txns[txn] for txn in reversed(_postorder(out))]


def check_serial(history: History, level: str, *, budget: Budget | None = None) -> Result:
    """Judge a read-write history whose version order is unknown.

    Args:
        history: transactions of reads and writes, values unique per key; sessions are processes.
        level: ``serializable`` or ``snapshot-isolation``.
        budget: wall clock and memory; a search that spends it is UNKNOWN.
    """
    meter = Meter(budget)
    txns = columns(history)
    register = RwRegister(txns, rules=VersionRules(initial_known=True))
    register.check_values()
    local = [a for a in register.anomalies if a.name != "lost-update"]
    findings = [anomaly_finding(anomaly, txns) for anomaly in local]
    result = Result(
        checker=level, verdict=Verdict.VALID, findings=findings, engine="polygraph",
        stats={"transactions": len(txns), "committed": int((txns.type != FAIL).sum())},
        budget=meter.budget.as_dict(),
    )  # fmt: skip
    if findings:
        result.verdict, result.reason = Verdict.INVALID, findings[0].title
    elif register.unclear:
        result.verdict, result.reason = Verdict.UNKNOWN, "; ".join(register.unclear)
    elif not (txns.type == OK).any() or not len(txns.mop_txn):
        result.verdict, result.reason = Verdict.UNKNOWN, "no transaction read or wrote anything"
    else:
        _search(result, register, level, meter)
    result.elapsed_s = round(meter.elapsed_s, 6)
    return result


def _search(result: Result, register: RwRegister, level: str, meter: Meter) -> None:
    """Decide, and fill in verdict, reason and witness."""
    members = transactions(register)
    snapshot = level == "snapshot-isolation"
    answer, proof = _decide(members, snapshot, meter)
    if isinstance(answer, str):
        result.verdict, result.reason = Verdict.UNKNOWN, answer
    elif answer:
        result.reason = f"{len(members)} transactions have an order that {level} allows"
        if not snapshot:
            order = [txn for txn in proof or [] if isinstance(txn, Txn)]
            wrong = verify_serial_order(order)
            if wrong or len(order) != len(members):
                raise AssertionError(f"the serial order found does not hold: {wrong}")
            result.stats["serial_order"] = [int(register.txns.invoke[txn.id]) for txn in order]
    else:
        least = members if proof else _minimal(members, snapshot, meter)
        cycle = [edge for edge in proof or [] if isinstance(edge, Order)]
        if not cycle:
            again = _decide(least, snapshot, meter)[1]
            cycle = [edge for edge in again or [] if isinstance(edge, Order)]
        result.verdict = Verdict.INVALID
        result.findings = [_finding(register, level, least, cycle)]
        result.reason = result.findings[0].title


def _finding(register: RwRegister, level: str, least: list[Txn], cycle: list[Order]) -> Finding:
    """The refutation: the forced cycle, or the fewest transactions that have no order."""
    txns = register.txns
    involved = [edge.source for edge in cycle] if cycle else [txn.id for txn in least]
    names = {txn: f"T{place + 1}" for place, txn in enumerate(dict.fromkeys(involved))}
    steps = tuple(_step(register, edge, names) for edge in cycle)
    if cycle:
        sentence = " ".join(step.text for step in steps) + " That is a cycle."
    else:
        sentence = (
            f"{len(names)} transactions ({', '.join(names.values())}) have no order that {level} "
            "allows, whichever way round each pair of writes is put."
        )
    return Finding(
        kind=f"not-{level}",
        title=f"not {level}: no order of the transactions explains what they read",
        sentence=sentence,
        ops=tuple(sorted({int(txns.invoke[txn]) for txn in names})),
        because=steps,
        breaks=level,
        detail={
            "transactions": [
                {"name": name, "invoke": int(txns.invoke[txn]), "ops": txns.describe(txn)}
                for txn, name in names.items()
            ]
        },
    )


def _step(register: RwRegister, edge: Order, names: dict[int, str]) -> Because:
    txns = register.txns
    source, target = names[edge.source], names[edge.target]
    kind, _, key_code = edge.why.partition(" ")
    key: Any = txns.keys[int(key_code)] if key_code else None
    why = {
        "so": f"{source} precedes {target} in its session",
        "wr": f"{target} read key {key!r} from {source}",
        "ww": f"{source} has to write key {key!r} before {target} does",
        "rw": f"{source} read key {key!r} before {target} wrote it",
    }[kind]
    return Because(
        kind="process" if kind == "so" else kind,
        source=int(txns.invoke[edge.source]),
        target=int(txns.invoke[edge.target]),
        key=key,
        text=f"{source} < {target}, because {why}.",
    )
