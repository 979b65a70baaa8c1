"""Read-write registers: transactions over registers whose written values are unique per key.

A register does not tell its history as a list does: a read names the version it saw, not the ones
before. So the order of versions is inferred from what the caller vouches for, per key:

- always: the initial version (``None``, or what ``initial`` says) comes before every other;
- ``wfr_keys`` (writes follow reads): a transaction that read v and wrote v' put v before v'. From
  read committed up that is always so: otherwise it would have read what follows its own write;
- ``sequential_keys``: each process sees versions of a key in order;
- ``linearizable_keys``: each key alone is linearizable, so what a transaction saw or wrote comes
  before what any transaction invoked after its completion sees or writes.

The last is a sweep per key over the transactions that touch it. The sweep keeps a frontier, the
completed transactions that no later completed one follows, so the edges are a transitive
reduction: linear in the touches times the concurrency on one key.

A key whose inferred versions form a cycle is an anomaly (``cyclic-versions``) and is left out of
the graph. From the version edges v -> v': ww from the writer of v to that of v', rw from the
readers of v to the writer of v', and wr from the writer of v to its readers.

A level that promises the order of sessions or of real time vouches for it itself: see
:meth:`RwRegister.promised`.

Without cycles: ``G1a``, ``G1b``, ``internal``, ``future-read``, ``lost-update``, and
``garbage-read``: a value nobody wrote, and which is not the initial one. It is a version like any
other, only without a writer.

Source: Kingsbury and Alvaro, *Elle*, section 5 and ``rw_register.clj``; the sweep is our own.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from checkers.core.budget import look
from checkers.core.verdict import Because
from checkers.history import FAIL, OK, freeze
from checkers.isolation.explain import Anomaly
from checkers.isolation.graph.cycles import Edge, any_cycles, components
from checkers.isolation.graph.dependency_graph import (
    PASS,
    RW,
    RWP,
    WR,
    WRP,
    WW,
    GraphBuilder,
    add_tails,
)
from checkers.isolation.inference.register_versions import RegisterVersions
from checkers.isolation.predicates.anti_dependencies import PredicateEdges
from checkers.isolation.predicates.missed_keys import MissedKeys
from checkers.isolation.predicates.predicate_reads import PredicateReads
from checkers.isolation.transaction_table import (
    READ,
    WRITE,
    Bools,
    Ints,
    Txns,
    as_option,
    intern,
    starting_value,
)

#: Cases of one non-cyclic anomaly that are told in full.
CASES_MAX = 8


class VersionRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller vouches for.

    Args:
        wfr_keys: a transaction's write of a key follows its read of it.
        sequential_keys: each key is sequentially consistent.
        linearizable_keys: each key is linearizable.
        initial: the value of a key before any write; or a dict of keys to theirs.
    """

    wfr_keys: bool = False
    sequential_keys: bool = False
    linearizable_keys: bool = False
    initial: Any = None


class RwRegister:
    """Everything inferred from one read-write register history.

    How versions are numbered:
    :class:`~checkers.isolation.inference.register_versions.RegisterVersions`.
    """

    def __init__(self, txns: Txns, *, rules: VersionRules | None = None) -> None:
        self.txns = txns
        self.rules = rules or VersionRules()
        self.anomalies: list[Anomaly] = []
        self.unclear: list[str] = []
        self.notes: list[str] = []
        #: version -> value, of those without a writer
        self.strays: dict[int, Any] = {}
        #: what the level vouches for: see :meth:`promised`
        self.promise = ""
        #: the rules without those that the level vouches for
        self.vouched = self.rules
        self._edges_by: tuple[VersionRules, tuple[Ints, Ints]] | None = None
        look()
        self._number_versions()
        look()
        self._touches()
        look()
        self._members()
        self.versions = RegisterVersions(
            txns=txns,
            writer=self.version_writer,
            key=self.version_key,
            left=self.touch_write,
            members=self.members,
            ambiguous=self.ambiguous,
            strays=self.strays,
            initial=self.rules.initial,
        )
        self.missed = MissedKeys(self.versions)
        self.predicates = PredicateEdges(PredicateReads(txns, lists=False))

    # -- versions and touches ---------------------------------------------------------------

    def _number_versions(self) -> None:
        """Give each micro-operation its version; -1 for reads of values nobody wrote."""
        txns = self.txns
        keys = len(txns.keys)
        writes = np.flatnonzero(txns.mop_kind == WRITE)
        codes, self.value_table = intern(txns.mop_value)
        spot = txns.mop_key * max(1, len(self.value_table)) + codes
        order = writes[np.argsort(spot[writes], kind="stable")]
        wrote = spot[order]
        first = np.concatenate([[True], wrote[1:] != wrote[:-1]]) if len(wrote) else wrote > 0
        initial = self._initial(codes)
        self._find_ambiguous(order[~first | initial[order]])
        self.version_writer = np.concatenate(
            [np.full(keys, -1, dtype=np.int64), order[first]]
        ).astype(np.int64)
        self.version_key = np.concatenate(
            [np.arange(keys, dtype=np.int64), txns.mop_key[order[first]]]
        )
        distinct = wrote[first]
        version = np.full(len(spot), -1, dtype=np.int64)
        if len(distinct):
            found = np.minimum(np.searchsorted(distinct, spot), len(distinct) - 1)
            hit = distinct[found] == spot
            version[hit] = found[hit] + keys
        untouched = initial & (txns.mop_kind == READ) & (version < 0)
        version[untouched] = txns.mop_key[untouched]
        self.version = version
        self._unwritten(spot)
        version[self.ambiguous[txns.mop_key]] = -1

    def _initial(self, codes: Ints) -> Bools:
        """Which micro-operations have the value that their key had before any write."""
        txns, rules = self.txns, self.rules
        wanted, table = intern([starting_value(rules.initial, key) for key in txns.keys])
        known = {(type(value), freeze(value)): code for code, value in enumerate(table)}
        alike = [known.get((type(value), freeze(value)), -1) for value in self.value_table]
        if not len(codes):
            return np.zeros(0, dtype=np.bool_)
        same: Bools = np.array(alike, dtype=np.int64)[codes] == wanted[txns.mop_key]
        return same

    def _find_ambiguous(self, again: Ints) -> None:
        """Keys whose reads do not tell who wrote: nothing is inferred from them.

        ``again`` are writes of values already written, or of the initial one.
        """
        self.ambiguous = np.zeros(len(self.txns.keys), dtype=np.bool_)
        self.ambiguous[self.txns.mop_key[again]] = True
        if len(again):
            mop = int(again[0])
            self.unclear.append(
                f"{len(again)} values were written more than once (such as "
                f"{self.txns.mop_value[mop]!r} to key {self._name(mop)!r}), so reads do not tell "
                "who wrote them"
            )

    def _unwritten(self, spot: Ints) -> None:
        """Reads of values nobody wrote: versions without a writer. ``spot`` is of (key, value)."""
        txns = self.txns
        unwritten = np.flatnonzero(self.version < 0)
        if not len(unwritten):
            return
        _, first, code = np.unique(spot[unwritten], return_index=True, return_inverse=True)
        self.version[unwritten] = len(self.version_key) + code
        self.strays = {
            len(self.version_key) + number: txns.mop_value[mop]
            for number, mop in enumerate(unwritten[first].tolist())
        }
        none = np.full(len(first), -1, dtype=np.int64)
        self.version_writer = np.concatenate([self.version_writer, none])
        self.version_key = np.concatenate([self.version_key, txns.mop_key[unwritten[first]]])
        for mop in unwritten[~self.ambiguous[txns.mop_key[unwritten]]][:CASES_MAX].tolist():
            value, key = txns.mop_value[mop], self._name(mop)
            self.anomalies.append(
                Anomaly(
                    "garbage-read",
                    (int(txns.mop_txn[mop]),),
                    key,
                    f"{{0}} read {value!r} of key {key!r}, but no transaction wrote it. "
                    f"If the key held it at first, say so: --option init={as_option(value)}.",
                    value=value,
                )
            )

    def _touches(self) -> None:
        """Per (transaction, key): external read, external write, and the anomalies within."""
        txns = self.txns
        code = txns.mop_txn * max(1, len(txns.keys)) + txns.mop_key
        order = np.argsort(code, kind="stable")
        starts = (
            np.flatnonzero(np.concatenate([[True], code[order][1:] != code[order][:-1]]))
            if len(code)
            else np.empty(0, dtype=np.int64)
        )
        ends = np.append(starts[1:], len(code))
        is_write = (txns.mop_kind[order] == WRITE).astype(np.int64)
        first = order[starts] if len(starts) else starts
        at = np.where(is_write == 1, np.arange(len(order)), -1)
        last_write = np.maximum.reduceat(at, starts) if len(starts) else starts
        self.touch_txn = txns.mop_txn[first]
        self.touch_key = txns.mop_key[first]
        reads_first = txns.mop_kind[first] == READ
        self.touch_read = np.where(reads_first, self.version[first], -1)
        wrote = last_write >= 0
        self.touch_write_mop = (
            np.where(wrote, order[np.maximum(last_write, 0)], -1) if len(order) else last_write
        )
        self.touch_write = (
            np.where(wrote, self.version[np.maximum(self.touch_write_mop, 0)], -1)
            if (len(order))
            else last_write
        )
        self.groups = (order, starts, ends)

    def _members(self) -> None:
        """In the graph: ok transactions, and unknown ones one of whose writes was read."""
        txns = self.txns
        seen = self.version[(txns.mop_kind == READ) & (self.version >= len(txns.keys))]
        seen = seen[self.version_writer[seen] >= 0]
        writers = txns.mop_txn[self.version_writer[seen]]
        observed = np.zeros(len(txns), dtype=np.bool_)
        observed[writers] = True
        self.members: Bools = (txns.type == OK) | ((txns.type != FAIL) & observed)

    def _name(self, mop: int) -> Any:
        return self.txns.keys[self.txns.mop_key[mop]]

    def _count(self, anomaly: str) -> int:
        return sum(a.name == anomaly for a in self.anomalies)

    def value_of(self, version: int) -> Any:
        """The value of a version."""
        return self.versions.value_of(version)

    # -- what needs no graph ----------------------------------------------------------------

    def check_values(self) -> None:
        """Find every non-cyclic anomaly."""
        self._aborted_and_intermediate()
        order, starts, ends = self.groups
        for low, high in zip(*(side[ends - starts > 1].tolist() for side in (starts, ends))):
            self._replay(order[low:high].tolist())
        self._lost_updates()
        self.anomalies += self.predicates.table.anomalies()

    def _aborted_and_intermediate(self) -> None:
        txns = self.txns
        keys = len(txns.keys)
        final = np.zeros(len(txns.mop_txn), dtype=np.bool_)
        final[self.touch_write_mop[self.touch_write_mop >= 0]] = True
        rows = np.flatnonzero((txns.mop_kind == READ) & (self.version >= keys))
        rows = rows[self.version_writer[self.version[rows]] >= 0]
        mop = self.version_writer[self.version[rows]]
        writer = txns.mop_txn[mop]
        other = writer != txns.mop_txn[rows]
        for name, bad, why in (
            ("G1a", txns.type[writer] == FAIL, "which failed"),
            ("G1b", ~final[mop] & (txns.type[writer] != FAIL), "which later wrote it again"),
        ):
            for at in np.flatnonzero(bad & other)[:CASES_MAX].tolist():
                value = txns.mop_value[int(mop[at])]
                key = self._name(int(mop[at]))
                self.anomalies.append(
                    Anomaly(
                        name,
                        (int(txns.mop_txn[rows[at]]), int(writer[at])),
                        key,
                        f"{{0}} read {value!r} of key {key!r}, written by {{1}}, {why}.",
                        value=value,
                    )
                )

    def _replay(self, rows: list[int]) -> None:
        """One transaction's micro-operations on one key against each other."""
        txns = self.txns
        if txns.type[txns.mop_txn[rows[0]]] != OK:
            return
        later = {int(self.version[m]) for m in rows if txns.mop_kind[m] == WRITE}
        known: int | None = None
        wrote = False
        for mop in rows:
            version = int(self.version[mop])
            if txns.mop_kind[mop] == WRITE:
                later.discard(version)
                wrote = True
            elif version >= 0 and version in later:
                words = f"read its own later write {txns.mop_value[mop]!r}"
                self._own("future-read", mop, words, own_write=True)
            elif known is not None and version != known:
                words = (
                    f"read {txns.mop_value[mop]!r}, but its own earlier operations call for "
                    f"{self.value_of(known)!r}"
                )
                self._own("internal", mop, words, own_write=wrote)
            known = version if version >= 0 else None

    def _own(self, name: str, mop: int, words: str, *, own_write: bool) -> None:
        """Note a transaction that disagrees with itself: with its own write, or its own read."""
        alike = (a for a in self.anomalies if a.facts.get("own_write") is own_write)
        if sum(a.name == name for a in alike) < CASES_MAX:
            key, txn = self._name(mop), int(self.txns.mop_txn[mop])
            text = f"{{0}} {words} (key {key!r})."
            self.anomalies.append(Anomaly(name, (txn,), key, text, own_write=own_write))

    def _lost_updates(self) -> None:
        """Two committed transactions that read one version and both wrote the key."""
        ok = self.txns.type[self.touch_txn] == OK
        rows = np.flatnonzero(ok & (self.touch_read >= 0) & (self.touch_write >= 0))
        rows = rows[np.argsort(self.touch_read[rows], kind="stable")]
        version = self.touch_read[rows]
        for at in np.flatnonzero(version[1:] == version[:-1])[:CASES_MAX].tolist():
            key = self.txns.keys[self.touch_key[rows[at]]]
            value = self.value_of(int(version[at]))
            self.anomalies.append(
                Anomaly(
                    "lost-update",
                    (int(self.touch_txn[rows[at]]), int(self.touch_txn[rows[at + 1]])),
                    key,
                    f"{{0}} and {{1}} both read {value!r} of key {key!r} and both wrote it and "
                    "committed: one of the two writes was lost.",
                    value=value,
                )
            )

    # -- version orders ---------------------------------------------------------------------

    def version_edges(self, rules: VersionRules | None = None) -> tuple[Ints, Ints]:
        """Distinct edges v -> v' between versions of one key.

        Args:
            rules: by which; None for those vouched for, by the level too.
        """
        rules = rules or self.rules
        if self._edges_by is None or self._edges_by[0] != rules:
            self._edges_by = rules, self._version_edges(rules)
        return self._edges_by[1]

    def _version_edges(self, rules: VersionRules) -> tuple[Ints, Ints]:
        rows = np.flatnonzero(self.members[self.touch_txn])
        pairs: list[tuple[Ints, Ints]] = []
        read, write = self.touch_read[rows], self.touch_write[rows]
        if rules.wfr_keys:
            both = (read >= 0) & (write >= 0)
            pairs.append((read[both], write[both]))
        if rules.sequential_keys:
            pairs.append(self._process_pairs(rows))
        if rules.linearizable_keys:
            pairs.append(self._realtime_pairs(rows))
        source = np.concatenate([p[0] for p in pairs]) if pairs else np.empty(0, dtype=np.int64)
        target = np.concatenate([p[1] for p in pairs]) if pairs else np.empty(0, dtype=np.int64)
        count = len(self.version_key)
        keep = (source != target) & (source >= 0) & (target >= 0)
        code = np.unique(source[keep] * count + target[keep])
        source, target = code // count, code % count
        written = np.unique(write[write >= 0])
        rooted = np.setdiff1d(written, target)
        keys = self.version_key[rooted]
        return np.concatenate([keys, source]), np.concatenate([rooted, target])

    def _first_last(self, rows: Ints) -> tuple[Ints, Ints]:
        """First and last version each touch is about."""
        read, write = self.touch_read[rows], self.touch_write[rows]
        return np.where(read >= 0, read, write), np.where(write >= 0, write, read)

    def _process_pairs(self, rows: Ints) -> tuple[Ints, Ints]:
        """Successive versions a process dealt with, per key; unknown outcomes lead nowhere."""
        txns = self.txns
        txn = self.touch_txn[rows]
        first, last = self._first_last(rows)
        lane = txns.process[txn] * max(1, len(txns.keys)) + self.touch_key[rows]
        order = np.lexsort((txns.invoke[txn], lane))
        same = lane[order][1:] == lane[order][:-1]
        same &= txns.type[txn[order]][:-1] == OK
        return last[order][:-1][same], first[order][1:][same]

    def _realtime_pairs(self, rows: Ints) -> tuple[Ints, Ints]:
        """The frontier sweep: per key, what completed before what was invoked."""
        txns = self.txns
        txn = self.touch_txn[rows]
        first, last = self._first_last(rows)
        useful = (first >= 0) & (last >= 0)
        rows, txn, first, last = rows[useful], txn[useful], first[useful], last[useful]
        ok = np.flatnonzero((txns.type[txn] == OK) & (txns.complete[txn] >= 0))
        key = self.touch_key[rows]
        when = np.concatenate([txns.invoke[txn], txns.complete[txn[ok]]])
        who = np.concatenate([np.arange(len(rows)), ok])
        done = np.concatenate([np.zeros(len(rows), dtype=np.int64), np.ones(len(ok), np.int64)])
        order = np.lexsort((when, key[who]))
        sources: list[int] = []
        targets: list[int] = []
        frontier: list[int] = []
        before: dict[int, list[int]] = {}
        current = -1
        keys_in_order = key[who[order]].tolist()
        for touch, completes, at in zip(who[order].tolist(), done[order].tolist(), keys_in_order):
            if at != current:
                current, frontier, before = at, [], {}
            if completes:
                passed = before.pop(touch)
                frontier = [other for other in frontier if other not in passed]
                frontier.append(touch)
            else:
                before[touch] = frontier
                sources.extend(frontier)
                targets.extend([touch] * len(frontier))
        return (
            last[np.array(sources, dtype=np.int64)],
            first[np.array(targets, dtype=np.int64)],
        )

    def _acyclic(self, source: Ints, target: Ints) -> Bools:
        """Version edges of keys whose versions form no cycle; the others become anomalies."""
        builder = GraphBuilder(len(self.version_key))
        builder.add(source, target, PASS)
        graph = builder.build()
        labels = components(graph)
        bad = labels[source] == labels[target]
        bad_keys = np.unique(self.version_key[source[bad]])
        vouched = self.rules.sequential_keys or self.rules.linearizable_keys
        if len(bad_keys) and vouched:  # if not, transactions read in the same circle: G1c
            builder = GraphBuilder(len(self.version_key))
            builder.add(source[bad], target[bad], WW)
            told: set[int] = set()
            for cycle in any_cycles(builder.build(), "cyclic-versions"):
                key = int(self.version_key[cycle.edges[0].source])
                if key not in told:
                    told.add(key)
                    self._cyclic(key, cycle.edges)
        keep: Bools = ~np.isin(self.version_key[source], bad_keys)
        return keep

    def _cyclic(self, key: int, edges: tuple[Edge, ...]) -> None:
        """The anomaly of a key whose versions would each have to come before the next."""
        name = self.txns.keys[key]
        steps = tuple(self.order_proof(edge.source, edge.target) for edge in edges)
        invokes = dict.fromkeys(i for step in steps for i in (step.source, step.target) if i >= 0)
        rows = np.searchsorted(self.txns.invoke, list(invokes))
        values = [self.value_of(edge.source) for edge in edges]
        circle = " before ".join(map(repr, [*values, values[0]]))
        self.anomalies.append(
            Anomaly(
                "cyclic-versions",
                tuple(rows.tolist()),
                name,
                f"The versions of key {name!r} form a cycle: {circle}. "
                + " ".join(f"V{step.text[1:]}." for step in steps),
                steps=steps,
                values=values,
            )
        )

    def promised(self, promise: str) -> None:
        """Let the level vouch for an order of versions, from here on: that of their transactions.

        Args:
            promise: ``process``, if what a transaction did is seen by the next of its session; or
                ``realtime``, if by all invoked after its completion.
        """
        self.promise = promise
        rule = "sequential_keys" if promise == "process" else "linearizable_keys"
        self.rules = msgspec.structs.replace(self.vouched, **{rule: True})

    # -- the graph --------------------------------------------------------------------------

    def add_edges(self, builder: GraphBuilder) -> None:
        """Add every ww, wr and rw dependency. An edge's key and mark are version numbers."""
        txns = self.txns
        if not len(self.touch_txn):
            return
        source, target = self.version_edges()
        if not self.promise:  # else a circle of versions is one of transactions, and shown as such
            keep = self._acyclic(source, target) if len(source) else np.empty(0, dtype=np.bool_)
            source, target = source[keep], target[keep]
        writer = np.full(len(self.version_key), -1, dtype=np.int64)
        known = self.version_writer >= 0
        writer[known] = txns.mop_txn[self.version_writer[known]]
        live = known & self.members[np.maximum(writer, 0)]
        rows = np.flatnonzero((txns.mop_kind == READ) & (self.version >= 0))
        rows = rows[live[self.version[rows]]]
        seen = self.version[rows]
        builder.add(writer[seen], txns.mop_txn[rows], WR, key=seen, mark=seen)
        reads = np.flatnonzero((self.touch_read >= 0) & self.members[self.touch_txn])
        version, reader = self.touch_read[reads], self.touch_txn[reads]
        usable = live[target]
        source, target = source[usable], target[usable]
        code = np.unique(source * len(txns) + writer[target])
        writers = np.flatnonzero(live)
        add_tails(
            builder,
            tail_txn=code % len(txns),
            tail_key=code // len(txns),
            edges=[(writer[writers], writers, WW, writers), (reader, version, RW, version)],
        )
        self.missed.order(source, target)
        self.predicates.add(builder, self.missed)

    def edge_words(self, edge: Edge) -> tuple[Any, str, tuple[Because, ...]]:
        """Why a data edge holds; see :class:`checkers.isolation.explain.Evidence`."""
        if edge.kind == RWP:
            return self.missed.words(edge, self.predicates, self.order_proof)
        if edge.kind == WRP:
            return self.missed.change_words(edge, self.predicates, self, self.order_proof)
        version = edge.mark
        name = self.txns.keys[self.version_key[version]]
        value = self.value_of(version)
        if edge.kind == WR:
            return value, f"{{1}} observed {{0}}'s write of {value!r} to key {name!r}", ()
        written = self._wrote(edge.target, int(self.version_key[version]))
        wrote = self.value_of(written)
        proof = (self.order_proof(version, written),)
        if edge.kind == WW:
            return (
                wrote,
                f"{{1}} wrote {wrote!r} after {{0}} wrote {value!r} to key {name!r}",
                proof,
            )
        words = f"{{0}} read {value!r} of key {name!r}, before {{1}} wrote {wrote!r}"
        return value, words, proof

    def key_name(self, edge: Edge) -> Any:
        """The key a data edge is about."""
        if edge.kind == RWP:
            return self.txns.keys[self.predicates.key_of(edge.mark, edge.target)[0]]
        if edge.kind == WRP:
            return self.predicates.changes.key_of(edge.mark)
        return self.txns.keys[self.version_key[edge.key]]

    def _wrote(self, txn: int, key: int) -> int:
        """The version of a key that a transaction left."""
        at = np.flatnonzero((self.touch_txn == txn) & (self.touch_key == key))
        return int(self.touch_write[at[0]])

    def order_proof(self, before: int, after: int) -> Because:
        """Who shows that one version of a key comes before another; by the rules vouched for."""
        key = int(self.version_key[before])
        name, values = self.txns.keys[key], [self.value_of(before), self.value_of(after)]
        kind, source, target = self._who_shows(key, before, after)
        one, two = (
            "" if txn < 0 else f"the transaction invoked at event {int(self.txns.invoke[txn])}"
            for txn in (source, target)
        )
        why = {
            "initial": "it is the initial version",
            "wfr": f"{one} read the first and wrote the second",
            "process": f"{one} dealt with the first and {two}, later in its session, with the "
            "second",
            "realtime": f"{one} dealt with the first and completed before {two}, which dealt with "
            "the second, was invoked",
        }[kind]
        return Because(
            kind=kind,
            source=int(self.txns.invoke[source]) if source >= 0 else -1,
            target=int(self.txns.invoke[target]) if target >= 0 else -1,
            key=name,
            value=values,
            text=f"version {values[0]!r} of key {name!r} comes before {values[1]!r}: {why}",
        )

    def _who_shows(self, key: int, before: int, after: int) -> tuple[str, int, int]:
        """The rule, and the transactions, that put one version before the other."""
        txns, rules = self.txns, self.rules
        rows = np.flatnonzero((self.touch_key == key) & self.members[self.touch_txn])
        first, last = self._first_last(rows)
        if rules.wfr_keys:
            both = rows[(self.touch_read[rows] == before) & (self.touch_write[rows] == after)]
            for txn in self.touch_txn[both[:1]].tolist():
                return "wfr", txn, txn
        earlier = self.touch_txn[rows[last == before]]
        earlier = earlier[(txns.type[earlier] == OK) & (txns.complete[earlier] >= 0)]
        later = self.touch_txn[rows[first == after]]
        if rules.sequential_keys:
            for txn in earlier.tolist():
                follows = later[
                    (txns.process[later] == txns.process[txn])
                    & (txns.invoke[later] > txns.complete[txn])
                ]
                if len(follows):
                    return "process", txn, int(follows[0])
        if rules.linearizable_keys and len(earlier) and len(later):
            one = int(earlier[np.argmin(txns.complete[earlier])])
            two = int(later[np.argmax(txns.invoke[later])])
            if txns.complete[one] < txns.invoke[two]:
                return "realtime", one, two
        if before != key:
            raise AssertionError(f"nothing shows that version {before} comes before {after}")
        return "initial", -1, -1
