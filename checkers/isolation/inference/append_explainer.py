"""Why a dependency between appends holds, in words, and with the read that proves it.

For :mod:`checkers.isolation.inference.list_append`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from checkers.core.verdict import Because
from checkers.isolation.graph.cycles import Edge
from checkers.isolation.graph.dependency_graph import RWP, WR, WRP, WW
from checkers.isolation.inference.version_orders import ListColumns, short
from checkers.isolation.predicates.anti_dependencies import PredicateEdges
from checkers.isolation.predicates.matching import in_words
from checkers.isolation.transaction_table import WRITE, Ints


class AppendExplainer:
    """The explanations that an inference over lists has for its edges.

    Args:
        lists: the reads and the version orders.
        predicates: the edges of predicate reads.
        previous: the last usable position up to each position; int64, (positions,).
        lone: keys that were appended to once and never read.
        unread_of: rows of the appends to a key that no read has.
    """

    def __init__(
        self,
        lists: ListColumns,
        predicates: PredicateEdges,
        previous: Ints,
        lone: AbstractSet[int],
        unread_of: Callable[[int], Sequence[int]],
    ) -> None:
        self.txns, self.orders = lists.txns, lists.orders
        self.write_pos, self.longest_lists = lists.write_pos, lists.longest
        self.predicates, self.previous = predicates, previous
        self.lone, self.unread_of = lone, unread_of

    def key_name(self, edge: Edge) -> object:
        """The key a data edge is about."""
        if edge.kind == RWP:
            return self.txns.keys[self.predicates.key_of(edge.mark, edge.target)[0]]
        return self.txns.keys[edge.key]

    def edge_words(self, edge: Edge) -> tuple[object, str, tuple[Because, ...]]:
        """Why a data edge holds; see :class:`checkers.isolation.explain.Evidence`."""
        if edge.kind == RWP:
            return self._missed_words(edge)
        if edge.kind == WRP:
            changes = self.predicates.changes
            value, words, proof = changes.words(edge.mark, self, self)
            return value, words, (*proof, *self.order_proof(edge.key))
        key = self.txns.keys[edge.key]
        value = self.orders.element[edge.mark] if edge.mark >= 0 else None
        proof = self.order_proof(edge.key)
        if edge.kind == WR:
            return value, f"{{1}} observed {{0}}'s append of {value!r} to key {key!r}", ()
        if edge.kind == WW and self._writer_of(edge.mark) == edge.target:
            before = self.orders.element[int(self.previous[edge.mark - 1])]
            words = f"{{1}} appended {value!r} after {{0}} appended {before!r} to key {key!r}"
            return value, words, proof
        unread = self._unread_value(edge)
        if edge.kind == WW:
            words = (
                f"{{1}} appended {unread!r} to key {key!r}, which no read has, so after the "
                f"longest read's last element {value!r}, appended by {{0}}"
            )
            return unread, words, proof
        seen = value if edge.mark >= 0 else unread
        return seen, f"{{0}} did not observe {{1}}'s append of {seen!r} to key {key!r}", proof

    def _missed_words(self, edge: Edge) -> tuple[object, str, tuple[Because, ...]]:
        """Why a predicate read comes before a writer: it did not find what that made match."""
        key, position = self.predicates.key_of(edge.mark, edge.target)
        asked = in_words(self.predicates.reads[edge.mark].predicate)
        name = self.txns.keys[key]
        mops = [m for m in self.unread_of(key) if self.txns.mop_txn[m] == edge.target]
        value = self.orders.element[position] if position >= 0 else self.txns.mop_value[mops[0]]
        words = (
            f"{{0}} asked for {asked} and did not find key {name!r}, which matches from "
            f"{{1}}'s append of {value!r} on"
        )
        return value, words, self.order_proof(key)

    def written_as(self, mark: int) -> str:
        """A version in words."""
        return f"append of {self.orders.element[mark]!r}"

    def value_at(self, mark: int) -> object:
        """The element a version ends with."""
        return self.orders.element[mark]

    def _writer_of(self, position: int) -> int:
        mop = int(self.orders.writer_mop[position]) if position >= 0 else -1
        return int(self.txns.mop_txn[mop]) if mop >= 0 else -1

    def _unread_value(self, edge: Edge) -> object:
        """The append of the edge's target to its key that no read shows."""
        for mop in self.txns.mops_of(edge.target):
            unread = self.txns.mop_kind[mop] == WRITE and self.write_pos[mop] < 0
            if unread and self.txns.mop_key[mop] == edge.key:
                return self.txns.mop_value[mop]
        return None

    def order_proof(self, key: int) -> tuple[Because, ...]:
        """The read that fixed the order of a key's versions."""
        mop = int(self.orders.witness[key])
        if key in self.lone:
            return ()
        if mop < 0:
            return ()
        invoke = int(self.txns.invoke[self.txns.mop_txn[mop]])
        name = self.txns.keys[key]
        text = f"the longest read of key {name!r} was {short(self.longest_lists[key])}"
        return (Because(kind="version-order", source=invoke, key=name, text=text),)
