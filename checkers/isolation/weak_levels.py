"""Read committed, read atomic and causal consistency of plain read-write histories.

Problem. The order of versions is unknown. Known are sessions (``so``) and reads-from (``wr``).

Solution. A level holds iff a total commit order extends both, and no transaction stands in it where
a reader should have seen it. Each level says which places those are. Let t3 read key x from t1, and
let t2 be another transaction that writes x; then t2 must commit before t1 if

- read committed: t3 read something from t2 before it read x;
- read atomic: t2 comes before t3 by ``so`` or is read by t3 (``wr``);
- causal: t2 comes before t3 by a path of ``so`` and ``wr``.

The history satisfies the level iff ``so``, ``wr`` and these forced edges have no cycle. Forced
edges are found in near-linear time. For pairs of transactions the smaller side is enumerated (reads
still to come, or keys written), which bounds read committed and read atomic by n^1.5. For causal
there is a vector of session positions per transaction and a binary search per read and session: n
times sessions.

Invariants. Reads of aborted, intermediate or unwritten values are violations of their own. So are
reads that disagree with the transaction's own write, and above read committed with its own read. A
predicate read that missed a key all versions of which match read the initial version of that key
(:mod:`checkers.isolation.predicates.replay`); above read committed it counts as a read like any
other.

What breaks without it: databases that promise no more than these levels could not be checked.

Source: Biswas and Enea, *On the Complexity of Checking Transactional Consistency*, OOPSLA 2019, for
the axioms; Moldrup and others, *AWDIT*, PLDI 2025, for the bounds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice, pairwise

import numpy as np

from checkers.core.budget import Budget, Meter, looked
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import FAIL, History
from checkers.isolation.consistency import forbidden_by, implied_anomalies
from checkers.isolation.explain import anomaly_finding, cycle_finding
from checkers.isolation.graph.cycles import Edge, any_cycles
from checkers.isolation.graph.dependency_graph import PASS, PROCESS, WR, WW, GraphBuilder
from checkers.isolation.happens_before import HappensBefore
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.inference.rw_register import RwRegister, VersionRules
from checkers.isolation.predicates.replay import missed_reads
from checkers.isolation.recheck_orders import Past, confirm_weak
from checkers.isolation.serializability.known_dependencies import dependencies
from checkers.isolation.serializability.serial import explained_serially
from checkers.isolation.transaction_table import (
    PREDICATES_UNSEEN,
    REGISTER_WRITES,
    WRITE,
    Ints,
    columns,
)

#: Missed keys taken for reads: a predicate read misses whatever is written later.
MISSED_MAX = 1_000_000
#: what each level forbids without looking at the commit order
LOCAL = {
    "read-committed": forbidden_by("read-committed"),
    "read-atomic": forbidden_by("read-atomic"),
    "causal": forbidden_by("causal-cerone"),
}


class WeakOrder:
    """The forced commit order of one history under one level."""

    def __init__(
        self,
        inference: ListAppend | RwRegister,
        level: str,
        *,
        meter: Meter | None = None,
        sessions: bool = True,
    ) -> None:
        self.inference = inference
        self.txns = inference.txns
        self.level = level
        self.forced: list[tuple[int, int, int, int]] = []
        self.reads: list[list[tuple[int, int]]] = [[] for _ in range(len(self.txns))]
        self.writes: list[set[int]] = [set() for _ in range(len(self.txns))]
        #: of each, the writers and keys of which it saw more than the last version
        self.seen: list[set[tuple[int, int]]] = [set() for _ in range(len(self.txns))]
        if isinstance(inference, ListAppend):
            self._read_lists(inference)
        else:
            self._read_from(inference)
            if level != "read-committed":  # which asks for the order of reads within a transaction
                missed = missed_reads(inference, meter or Meter())
                for txn, key in islice(missed, MISSED_MAX):
                    self.reads[txn].append((key, -1))
        self.before = HappensBefore(self.txns, inference.members, self._sources, sessions=sessions)

    def _read_lists(self, lists: ListAppend) -> None:
        """The same of lists, of which a reader sees all who appended to what it read."""
        known = dependencies(lists)
        self.reads = [list(reads.items()) for reads in known.reads]
        self.writes, self.seen = known.writes, known.seen

    def _read_from(self, register: RwRegister) -> None:
        """Per transaction: external reads in program order as (key, writer), and keys written."""
        txns = self.txns
        writer_of = np.full(len(register.versions.writer), -1, dtype=np.int64)
        known = register.versions.writer >= 0
        writer_of[known] = txns.mop_txn[register.versions.writer[known]]
        rows = zip(
            txns.mop_txn.tolist(),
            txns.mop_kind.tolist(),
            txns.mop_key.tolist(),
            register.versions.of_mop.tolist(),
        )
        members = register.members.tolist()
        for txn, kind, key, version in looked(rows):
            if not members[txn]:
                continue
            if kind == WRITE:
                self.writes[txn].add(key)
            elif (
                version >= 0
                and version not in register.versions.strays
                and key not in self.writes[txn]
            ):
                writer = int(writer_of[version])
                if writer != txn and (writer < 0 or members[writer]):
                    self.reads[txn].append((key, writer))

    # -- forced edges -----------------------------------------------------------------------

    def _force(self, before: int, after: int, reader: int, key: int) -> None:
        if before != after:
            self.forced.append((before, after, reader, key))

    def read_committed(self) -> None:
        """t3 read from t2 before it read x from t1, and t2 writes x."""
        for reader, reads in looked(enumerate(self.reads)):
            if len(reads) < 2:
                continue
            later: dict[int, list[tuple[int, int]]] = {}
            for at, (key, writer) in enumerate(reads):
                later.setdefault(key, []).append((at, writer))
            first: dict[int, int] = {}
            for at, (_, writer) in enumerate(reads):
                if writer >= 0:
                    first.setdefault(writer, at)
            for other, at in first.items():
                self._seen_from(reader, other, at, reads, later)

    def _seen_from(
        self,
        reader: int,
        other: int,
        at: int,
        reads: list[tuple[int, int]],
        by_key: dict[int, list[tuple[int, int]]],
    ) -> None:
        """Forced edges from ``other``, first read at position ``at``: the smaller side."""
        written = self.writes[other]
        if len(written) < len(reads) - at:
            for key in sorted(written):
                for position, writer in by_key.get(key, ()):
                    if position > at:
                        self._beaten(other, writer, reader, key)
        else:
            for key, writer in reads[at + 1 :]:
                if key in written:
                    self._beaten(other, writer, reader, key)

    def _beaten(self, other: int, writer: int, reader: int, key: int) -> None:
        """``other`` must commit before what was read; the initial state has nothing before it."""
        if writer >= 0:
            self._force(other, writer, reader, key)
        else:
            self.forced.append((other, -1, reader, key))

    def read_atomic(self) -> None:
        """t2 precedes t3 by so or wr, and writes x."""
        for session in self.before.sessions:
            last_writer: dict[int, int] = {}
            for reader in looked(session):
                reads = self.reads[reader]
                by_key: dict[int, list[tuple[int, int]]] = {}
                for key, writer in reads:
                    by_key.setdefault(key, []).append((0, writer))
                    before = last_writer.get(key)
                    if before is not None:
                        self._beaten(before, writer, reader, key)
                for other in sorted(self._sources(reader)):
                    self._seen_from(reader, other, -1, reads, by_key)
                for key in self.writes[reader]:
                    last_writer[key] = reader

    def _sources(self, txn: int) -> set[int]:
        """The transactions it read from."""
        sources = {writer for _, writer in self.reads[txn] if writer >= 0}
        return sources | {writer for writer, _ in self.seen[txn]}

    def causal(self) -> bool:
        """t2 happens before t3, and writes x. False if happens-before itself has a cycle."""
        sessions = self.before.sessions
        order = self.before.topological()
        if order is None:
            return False
        writers: list[dict[int, list[int]]] = [{} for _ in sessions]
        for number, session in enumerate(sessions):
            for position, txn in enumerate(session):
                for key in self.writes[txn]:
                    writers[number].setdefault(key, []).append(position)
        clocks: dict[int, list[int]] = {}
        for reader in looked(order):
            clock = self.before.clock(reader, clocks)
            for key, writer in self.reads[reader]:
                for number, seen in enumerate(clock):
                    positions = writers[number].get(key) if seen else None
                    at = bisect_left(positions, seen) if positions else 0
                    if positions and at:
                        self._beaten(sessions[number][positions[at - 1]], writer, reader, key)
        return True

    # -- the verdict ------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """Violations of the level: reads of the past's past, and cycles."""
        found = [self._unseen(*row) for row in self.forced if row[1] < 0][:1]
        builder = GraphBuilder(len(self.txns))
        base = self._known_orders(builder)
        so = [(a, b) for session in self.before.sessions for a, b in pairwise(session)]
        wr = sorted(
            {(w, t, k) for t, reads in enumerate(self.reads) for k, w in reads if w >= 0}
            | {(w, t, k) for t, seen in enumerate(self.seen) for w, k in seen}
        )
        builder.add(_column(so, 0), _column(so, 1), PROCESS)
        builder.add(_column(wr, 0), _column(wr, 1), WR, key=_column(wr, 2), mark=_column(wr, 2))
        forced = [row for row in self.forced if row[1] >= 0]
        self.rows = forced
        builder.add(
            _column(forced, 0),
            _column(forced, 1),
            WW,
            key=_column(forced, 3),
            mark=base + np.arange(len(forced), dtype=np.int64),
        )
        for cycle in any_cycles(builder.build(), f"{self.level}-cycle"):
            finding = cycle_finding(cycle, self)
            finding.title = f"not {self.level}: the commit order would have to be a cycle"
            finding.breaks = self.level
            found.append(finding)
        return found

    def _known_orders(self, builder: GraphBuilder) -> int:
        """Add what is known of the order of lists; the first mark that is not one of theirs."""
        self.base = 0
        if isinstance(self.inference, ListAppend):
            whole = GraphBuilder(len(self.txns))
            self.inference.add_edges(whole)
            known = whole.of_kinds(WW)
            builder.nodes = known.nodes
            for kind in (WW, PASS):
                some = np.flatnonzero(known.kind == kind)
                part = known.select(some)
                key, mark = part.key.astype(np.int64), part.mark.astype(np.int64)
                builder.add(part.src, part.dst, kind, key=key, mark=mark)
            self.base = len(self.inference.orders.element)
        return self.base

    def forced_findings(self) -> list[Finding]:
        """Violations of the level, from all that it forces."""
        {"read-committed": self.read_committed, "read-atomic": self.read_atomic}.get(
            self.level, self.causal
        )()
        return self.findings()

    def _unseen(self, other: int, _: int, reader: int, key: int) -> Finding:
        name = self.txns.keys[key]
        invokes = [int(self.txns.invoke[txn]) for txn in (other, reader)]
        sentence = (
            f"T2 read key {name!r} as never written, but T1, which writes it, comes before T2 as "
            f"{self.level} sees it."
        )
        return Finding(
            kind=f"{self.level}-cycle",
            title=f"not {self.level}: a write that had to be seen was not",
            sentence=sentence,
            key=name,
            ops=tuple(sorted(invokes)),
            because=(
                Because(kind="rw", source=invokes[1], target=invokes[0], key=name, text=sentence),
            ),
            breaks=self.level,
            detail={
                "transactions": [
                    {"name": name, "invoke": invoke, "ops": self.txns.describe(txn)}
                    for name, invoke, txn in zip(("T1", "T2"), invokes, (other, reader))
                ]
            },
        )

    def key_name(self, edge: Edge) -> object:
        """The key an edge is about."""
        return self.txns.keys[edge.key]

    def edge_words(self, edge: Edge) -> tuple[object, str, tuple[Because, ...]]:
        """Why an edge holds; see :class:`checkers.isolation.explain.Evidence`."""
        name = self.key_name(edge)
        if edge.kind == WR:
            value = self._value_read(edge.target, edge.key, edge.source)
            return value, f"{{1}} observed {{0}}'s write of {value!r} to key {name!r}", ()
        if edge.mark < self.base:
            return self.inference.edge_words(edge)
        _, after, reader, key = self.rows[edge.mark - self.base]
        value = self._value_read(reader, key, after)
        why = {
            "read-committed": "had already read from {0}",
            "read-atomic": "follows {0} in its session or read from it",
            "causal": "causally follows {0}",
        }[self.level]
        words = (
            f"a third transaction read {value!r} of key {name!r} from {{1}} although it "
            f"{why}, which writes that key too; so {{0}} committed before {{1}}"
        )
        text = f"the reader is the transaction invoked at event {int(self.txns.invoke[reader])}"
        proof = Because(kind="wr", source=int(self.txns.invoke[reader]), key=name, text=text)
        return value, words, (proof,)

    def _value_read(self, reader: int, key: int, writer: int) -> object:
        for mop in self.txns.mops_of(writer):
            if self.txns.mop_kind[mop] == WRITE and self.txns.mop_key[mop] == key:
                value = self.txns.mop_value[mop]
        return value


def _column(rows: Sequence[tuple[int, ...]], part: int) -> Ints:
    return np.array([row[part] for row in rows], dtype=np.int64)


def check_weak(
    history: History, level: str, *, init: object = None, budget: Budget | None = None
) -> Result:
    """Check a read-write history against one weak level.

    Args:
        history: transactions of reads and writes with unique values per key.
        level: one of :data:`checkers.isolation.WEAK_LEVELS`.
        init: the value of keys before any write; or a dict of keys to theirs.
        budget: asked between stages; the work is near-linear.
    """
    meter = Meter(budget)
    txns = columns(history, writes=REGISTER_WRITES, model=level)
    register = RwRegister(txns, rules=VersionRules(initial=init))
    register.check_values()
    local = [
        a
        for a in register.anomalies
        if implied_anomalies(a.name) & LOCAL[level] or a.facts.get("own_write")
    ]
    findings = [anomaly_finding(anomaly, txns) for anomaly in local]
    spent = meter.spent()
    if not spent:
        findings += _order_findings(register, level, meter)
    past = Past(history)
    looked = [(f, confirm_weak(f, history, level, past=past, init=init)) for f in findings]
    doubts = [(f, wrong) for f, wrong in looked if wrong]
    findings = [f for f in findings if all(f is not doubted for doubted, _ in doubts)]
    register.unclear += [
        f"a {f.kind} was inferred but a second look did not confirm it ({wrong})"
        for f, wrong in doubts
    ]
    result = Result(
        checker=level,
        verdict=Verdict.INVALID if findings else Verdict.VALID,
        engine="forced-commit-order",
        findings=findings,
        stats={"transactions": len(txns), "committed": int((txns.type != FAIL).sum())},
        budget=meter.budget.as_dict(),
    )
    if findings:
        result.reason = findings[0].title
    elif spent:
        result.verdict, result.reason = Verdict.UNKNOWN, meter.reason
    elif register.unclear:
        result.verdict, result.reason = Verdict.UNKNOWN, "; ".join(register.unclear)
    elif txns.predicates and (wrong := explained_serially(register, meter)):
        result.verdict, result.reason = Verdict.UNKNOWN, f"{PREDICATES_UNSEEN}: {wrong}"
    elif not len(txns.mop_txn):
        result.verdict, result.reason = Verdict.UNKNOWN, "no transaction read or wrote anything"
    else:
        result.reason = f"a commit order that {level} allows exists for {len(txns)} transactions"
    result.elapsed_s = round(meter.elapsed_s, 6)
    return result


def _order_findings(register: RwRegister, level: str, meter: Meter) -> list[Finding]:
    return WeakOrder(register, level, meter=meter).forced_findings()
