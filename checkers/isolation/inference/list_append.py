"""List-append: transactions that append unique values to lists and read whole lists.

Problem. To find a cycle of dependencies, the order of the versions of every key must be known.

Solution. A list shows its own history. The longest list read of a key is the order of the versions
of that key. Every other read must be a prefix of it, and the last element of a read names the write
that was seen. So every ww, wr and rw dependency is known and none is guessed: a cycle among them is
a proof.

What is checked without cycles:

- ``incompatible-order``: two reads of a key, neither a prefix of the other;
- ``duplicate-elements``: a value twice in one list;
- ``garbage-read``: a value that no transaction appended, unless the list began with it;
- ``G1a`` aborted read: an element whose transaction failed;
- ``dirty-update``: a committed append on top of an aborted one;
- ``G1b`` intermediate read: a list ending in an append that its transaction followed with another;
- ``cyclic-versions``: two appends of a transaction to one key, read in the other order;
- ``internal``: a read that disagrees with what its own transaction read and appended before;
- ``future-read``: a read of the transaction's own later append;
- ``lost-update``: two committed transactions read the same version of a key and both append to it.

Invariants. Appends that no read shows come after everything that was read. An ``info`` transaction
counts as committed once one of its appends was read; a ``fail`` transaction is never in the graph.

What breaks without it: as for Elle, isolation levels above read committed could not be refuted.

Source: Kingsbury and Alvaro, *Elle*, VLDB 2020; anomalies after Adya. The columnar passes and the
tail nodes (see :mod:`checkers.isolation.graph.dependency_graph`) are our own.
"""

from __future__ import annotations

from checkers.core.verdict import Because
from checkers.isolation.explain import Anomaly
from checkers.isolation.graph.cycles import Edge
from checkers.isolation.graph.dependency_graph import GraphBuilder
from checkers.isolation.inference.append_anomalies import AppendAnomalies
from checkers.isolation.inference.append_edges import AppendEdges
from checkers.isolation.inference.append_explainer import AppendExplainer
from checkers.isolation.inference.append_versions import AppendVersions
from checkers.isolation.inference.version_orders import ListColumns
from checkers.isolation.predicates.anti_dependencies import PredicateEdges
from checkers.isolation.predicates.predicate_reads import PredicateReads
from checkers.isolation.transaction_table import Txns


class ListAppend:
    """Everything inferred from one list-append history.

    Its parts are the stages: :class:`AppendVersions`, then :class:`AppendAnomalies`, then
    :class:`AppendEdges`, and :class:`AppendExplainer` for words.

    Args:
        txns: the transactions.
        init: what every list held at first; or a dict of keys to that.
    """

    columns: ListColumns
    edges: AppendEdges

    def __init__(self, txns: Txns, *, init: object = None) -> None:
        self.txns = txns
        self.init = init
        self.anomalies: list[Anomaly] = []
        self.versions = AppendVersions(txns)
        self.unclear = self.versions.unclear
        self.notes: list[str] = []
        self.orders, self.members = self.versions.orders, self.versions.members
        self.predicates = PredicateEdges(PredicateReads(txns, lists=True))

    def check_values(self) -> None:
        """Find every non-cyclic anomaly, and note what makes inference impossible."""
        checked = AppendAnomalies(self.versions, self.init)
        self.columns = checked.lists
        self.edges = AppendEdges(self.versions, self.columns)
        self.anomalies += checked.found
        self.anomalies += self.predicates.table.anomalies()

    def add_edges(self, builder: GraphBuilder) -> None:
        """Add every data dependency. Marks are positions in the version orders."""
        if len(self.orders.element) or len(self.versions.writes):
            self.edges.add(builder)
            self.predicates.add(builder, self.edges)

    def edge_words(self, edge: Edge) -> tuple[object, str, tuple[Because, ...]]:
        """Why a data edge holds; see :class:`checkers.isolation.explain.Evidence`."""
        return self._explainer().edge_words(edge)

    def key_name(self, edge: Edge) -> object:
        """The key a data edge is about."""
        return self._explainer().key_name(edge)

    def _explainer(self) -> AppendExplainer:
        edges = self.edges
        return AppendExplainer(
            self.columns, self.predicates, edges.previous, self.versions.lone, edges.unread_of
        )
