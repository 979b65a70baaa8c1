"""Read-write registers: transactions over registers whose written values are unique per key.

A register does not tell its history as a list does: a read names the version it saw, not the ones
before. So the order of versions is inferred from what the caller vouches for, per key:

- always: the initial version (``None``, or what ``initial`` says) comes before every other;
- ``wfr_keys`` (writes follow reads): a transaction that read v and wrote v' put v before v'. From
  read committed up that is always so: otherwise it would have read what follows its own write;
- ``sequential_keys``: each process sees versions of a key in order;
- ``linearizable_keys``: each key alone is linearizable, so what a transaction saw or wrote comes
  before what any transaction invoked after its completion sees or writes.

A key whose inferred versions form a cycle is an anomaly (``cyclic-versions``) and is left out of
the graph. From the version edges v -> v': ww from the writer of v to that of v', rw from the
readers of v to the writer of v', and wr from the writer of v to its readers.

A level that promises the order of sessions or of real time vouches for it itself: see
:meth:`RwRegister.promised`.

Without cycles: ``G1a``, ``G1b``, ``internal``, ``future-read``, ``lost-update``, and
``garbage-read``: a value that no transaction wrote and that is not the initial one. It is a version
like any other, only without a writer.

Source: Kingsbury and Alvaro, *Elle*, section 5 and ``rw_register.clj``; the sweep is our own.
"""

from __future__ import annotations

import numpy as np

from checkers.core.verdict import Because
from checkers.isolation.explain import Anomaly
from checkers.isolation.graph.cycles import Edge
from checkers.isolation.graph.dependency_graph import RW, RWP, WR, WRP, WW, GraphBuilder, add_tails
from checkers.isolation.inference.register_anomalies import RegisterAnomalies
from checkers.isolation.inference.register_order import VersionOrder, VersionRules
from checkers.isolation.inference.register_versions import RegisterVersions
from checkers.isolation.predicates.anti_dependencies import PredicateEdges
from checkers.isolation.predicates.missed_keys import MissedKeys
from checkers.isolation.predicates.predicate_reads import PredicateReads
from checkers.isolation.transaction_table import READ, Ints, Txns

__all__ = ["RwRegister", "VersionRules"]


class RwRegister:
    """Everything inferred from one read-write register history.

    Its parts are the stages: :class:`RegisterVersions`, then :class:`RegisterAnomalies`, then
    :class:`VersionOrder`. The edges and their words are here.

    Args:
        txns: the transactions.
        rules: what the caller vouches for; None for nothing.
    """

    def __init__(self, txns: Txns, *, rules: VersionRules | None = None) -> None:
        self.txns = txns
        self.anomalies: list[Anomaly] = []
        self.notes: list[str] = []
        rules = rules or VersionRules()
        self.versions = RegisterVersions(txns, rules.initial)
        self.unclear, self.members = self.versions.unclear, self.versions.members
        self.order = VersionOrder(self.versions, rules)
        self.missed = MissedKeys(self.versions)
        self.predicates = PredicateEdges(PredicateReads(txns, lists=False))

    def check_values(self) -> None:
        """Find every non-cyclic anomaly."""
        self.anomalies += RegisterAnomalies(self.versions).found
        self.anomalies += self.predicates.table.anomalies()

    def promised(self, promise: str) -> None:
        """Let the level vouch for an order of versions; see :meth:`VersionOrder.promised`."""
        self.order.promised(promise)

    def add_edges(self, builder: GraphBuilder) -> None:
        """Add every ww, wr and rw dependency. An edge's key and mark are version numbers."""
        txns, versions, touches = self.txns, self.versions, self.versions.touches
        if not len(touches.txn):
            return
        source, target = self.order.edges()
        if not self.order.promise:  # else a cycle of versions shows as one of transactions
            source, target = self._acyclic(source, target)
        writer = np.full(len(versions.key), -1, dtype=np.int64)
        known = versions.writer >= 0
        writer[known] = txns.mop_txn[versions.writer[known]]
        live = known & versions.members[np.maximum(writer, 0)]
        rows = np.flatnonzero((txns.mop_kind == READ) & (versions.of_mop >= 0))
        rows = rows[live[versions.of_mop[rows]]]
        seen = versions.of_mop[rows]
        builder.add(writer[seen], txns.mop_txn[rows], WR, key=seen, mark=seen)
        reads = np.flatnonzero((touches.read >= 0) & versions.members[touches.txn])
        version, reader = touches.read[reads], touches.txn[reads]
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

    def _acyclic(self, source: Ints, target: Ints) -> tuple[Ints, Ints]:
        """The edges of keys whose versions form no cycle; the others become anomalies."""
        if not len(source):
            return source, target
        keep, cyclic = self.order.acyclic(source, target)
        self.anomalies += cyclic
        return source[keep], target[keep]

    def edge_words(self, edge: Edge) -> tuple[object, str, tuple[Because, ...]]:
        """Why a data edge holds; see :class:`checkers.isolation.explain.Evidence`."""
        if edge.kind == RWP:
            return self.missed.words(edge, self.predicates, self.order.proof)
        if edge.kind == WRP:
            return self.missed.change_words(edge, self.predicates, self, self.order.proof)
        version = edge.mark
        name = self.txns.keys[self.versions.key[version]]
        value = self.versions.value_of(version)
        if edge.kind == WR:
            return value, f"{{1}} observed {{0}}'s write of {value!r} to key {name!r}", ()
        written = self._wrote(edge.target, int(self.versions.key[version]))
        wrote = self.versions.value_of(written)
        proof = (self.order.proof(version, written),)
        if edge.kind == WW:
            return (
                wrote,
                f"{{1}} wrote {wrote!r} after {{0}} wrote {value!r} to key {name!r}",
                proof,
            )
        words = f"{{0}} read {value!r} of key {name!r}, before {{1}} wrote {wrote!r}"
        return value, words, proof

    def key_name(self, edge: Edge) -> object:
        """The key a data edge is about."""
        if edge.kind == RWP:
            return self.txns.keys[self.predicates.key_of(edge.mark, edge.target)[0]]
        if edge.kind == WRP:
            return self.predicates.changes.key_of(edge.mark)
        return self.txns.keys[self.versions.key[edge.key]]

    def _wrote(self, txn: int, key: int) -> int:
        """The version of a key that a transaction left."""
        touches = self.versions.touches
        at = np.flatnonzero((touches.txn == txn) & (touches.key == key))
        return int(touches.write[at[0]])
