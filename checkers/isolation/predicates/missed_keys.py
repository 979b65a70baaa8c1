"""Keys of a register history that a predicate read did not return: before which writers it came.

Problem. The versions of such a key are ordered in part only.

Solution. The order is what the caller vouches for, with the initial version, which matches nothing,
before all. A version that comes after every version which does not match was written after the
read.

For :mod:`checkers.isolation.inference.rw_register`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from checkers.core.verdict import Because
from checkers.history import FAIL
from checkers.isolation.explain import Evidence
from checkers.isolation.graph.cycles import Edge
from checkers.isolation.inference.register_versions import RegisterVersions
from checkers.isolation.predicates.anti_dependencies import PredicateEdges
from checkers.isolation.predicates.match_changes import MatchChange, register_match_changes
from checkers.isolation.predicates.matching import Predicate, in_words, matches
from checkers.isolation.predicates.predicate_reads import Changer
from checkers.isolation.transaction_table import Ints

#: The transactions that prove the order of two versions of a key.
OrderProof = Callable[[int, int], Because]


class MissedKeys:
    """The known order of the versions of a key.

    Args:
        versions: of all keys.
    """

    def __init__(self, versions: RegisterVersions) -> None:
        self.versions = versions
        self.txns = versions.txns
        self._versions_of: dict[int, list[int]] | None = None
        self._before: dict[int, list[int]] = {}

    def order(self, source: Ints, target: Ints) -> None:
        """Keep the version order: what comes directly before each version."""
        if self.txns.predicates:
            for before, after in zip(source.tolist(), target.tolist()):
                self._before.setdefault(after, []).append(before)

    def changers(self, key: int, predicate: Predicate) -> Sequence[Changer]:
        """The writers before which a read came that found no match at a key.

        Their versions come after every version that does not match, and directly after one that
        may have been read.
        """
        if self.versions.ambiguous[key]:
            return ()
        misses = self.misses(key, predicate)
        after = {v: self.ancestors(v) for v in self.written(key) if v in self._before}
        late = {v for v in after if v not in misses and misses <= after[v]}
        chosen = []
        for version in sorted(late):
            writer = int(self.txns.mop_txn[self.versions.writer[version]])
            if self.versions.members[writer] and not late & set(self._before[version]):
                chosen.append((version, writer))
        return chosen

    def match_changes(self, key: int, predicate: Predicate) -> Sequence[MatchChange]:
        """Where the versions of a key stop matching."""
        return list(
            register_match_changes(
                self.versions,
                key,
                written=self.written(key),
                misses=self.misses(key, predicate),
                ancestors=self.ancestors,
            )
        )

    def misses(self, key: int, predicate: Predicate) -> set[int]:
        """The versions of a key that do not match."""
        name, value_of = self.txns.keys[key], self.versions.value_of
        return {v for v in self.written(key) if not matches(predicate, name, value_of(v))}

    def written(self, key: int) -> list[int]:
        """The versions of a key that transactions left which did not fail."""
        if self._versions_of is None:
            self._versions_of = {}
            versions = self.versions
            left = versions.left[versions.left >= 0]
            for version in np.unique(left).tolist():
                writer = self.txns.mop_txn[versions.writer[version]]
                if self.txns.type[writer] != FAIL:
                    code = int(versions.key[version])
                    self._versions_of.setdefault(code, []).append(version)
        return self._versions_of.get(key, [])

    def ancestors(self, version: int) -> set[int]:
        """Every version known to come before this one."""
        seen: set[int] = set()
        stack = [version]
        while stack:
            for before in self._before.get(stack.pop(), ()):
                if before not in seen:
                    seen.add(before)
                    stack.append(before)
        return seen

    def _chain(self, before: int, after: int) -> list[tuple[int, int]]:
        """Version edges that lead from one version to a later one."""
        came: dict[int, int] = {after: after}
        queue = [after]
        for at in queue:
            for earlier in self._before.get(at, ()):
                if earlier not in came:
                    came[earlier] = at
                    queue.append(earlier)
        steps = []
        while before != after:
            steps.append((before, came[before]))
            before = came[before]
        return steps

    def written_as(self, mark: int) -> str:
        """A version in words."""
        return f"write of {self.versions.value_of(mark)!r}"

    def value_at(self, mark: int) -> object:
        """The value of a version."""
        return self.versions.value_of(mark)

    def change_words(
        self, edge: Edge, predicates: PredicateEdges, evidence: Evidence, order_proof: OrderProof
    ) -> tuple[object, str, tuple[Because, ...]]:
        """Why a predicate read comes after a writer: it saw a key stop matching."""
        changes = predicates.changes
        value, words, proof = changes.words(edge.mark, evidence, self)
        number, change, _ = changes.seen[edge.mark]
        misses = self.misses(change.key, predicates.reads[number].predicate)
        before = self.ancestors(change.matched)
        steps = dict.fromkeys(
            step
            for miss in sorted(misses - {change.unmatched})
            for step in (
                self._chain(miss, change.matched)
                if miss in before
                else self._chain(change.unmatched, miss)
            )
        )
        return value, words, (*proof, *(order_proof(*step) for step in steps))

    def words(
        self, edge: Edge, predicates: PredicateEdges, order_proof: OrderProof
    ) -> tuple[object, str, tuple[Because, ...]]:
        """Why a predicate read comes before a writer: it did not find what that made match."""
        key, version = predicates.key_of(edge.mark, edge.target)
        predicate = predicates.reads[edge.mark].predicate
        name, value = self.txns.keys[key], self.versions.value_of(version)
        misses = sorted(self.misses(key, predicate))
        steps = dict.fromkeys(step for miss in misses for step in self._chain(miss, version))
        words = (
            f"{{0}} asked for {in_words(predicate)} and did not find key {name!r}, "
            f"which matches from {{1}}'s write of {value!r} on"
        )
        return value, words, tuple(order_proof(*step) for step in steps)
