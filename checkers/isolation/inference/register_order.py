"""The order of the versions of registers: inferred from what the caller or the level vouches for.

Problem. A read names the version it saw, not the versions before it. So the order of versions is
inferred, and only from rules that hold for the system under test.

Solution. Each rule gives edges v -> v' between versions of one key:

- always: the initial version comes before every other;
- writes follow reads: a transaction that read v and wrote v' put v before v';
- sequential keys: each process deals with versions of a key in order;
- linearizable keys: what a transaction saw or wrote comes before what any transaction invoked after
  its completion sees or writes.

The last is a sweep per key over the transactions that touch it. The sweep keeps a frontier, the
completed transactions that no later completed one follows, so the edges are a transitive reduction:
linear in the touches times the concurrency on one key.

Invariants. Every edge has a proof: :meth:`VersionOrder.proof` names the rule and the transactions.
A key whose versions form a cycle is an anomaly (``cyclic-versions``) and leaves the graph.

What breaks without it: with no order of versions there are no ww and no rw edges, and only G1c is
found.

Source: Kingsbury and Alvaro, *Elle*, section 5 and ``rw_register.clj``; the sweep is our own.
"""

from __future__ import annotations

import msgspec
import numpy as np

from checkers.core.verdict import Because
from checkers.history import OK
from checkers.isolation.explain import Anomaly
from checkers.isolation.graph.cycles import Edge, any_cycles, components
from checkers.isolation.graph.dependency_graph import PASS, WW, GraphBuilder
from checkers.isolation.inference.register_versions import RegisterVersions
from checkers.isolation.transaction_table import Bools, Ints


class VersionRules(msgspec.Struct, frozen=True, kw_only=True):
    """The assumptions that the caller vouches for.

    Args:
        wfr_keys: a transaction's write of a key follows its read of it.
        sequential_keys: each key is sequentially consistent.
        linearizable_keys: each key is linearizable.
        initial: the value of a key before any write; or a dict of keys to theirs.
    """

    wfr_keys: bool = False
    sequential_keys: bool = False
    linearizable_keys: bool = False
    initial: object = None


class VersionOrder:
    """The order of the versions of every key.

    Attributes:
        rules: what holds, the level's promise included.
        vouched: what the caller vouches for.
        promise: what the level vouches for: "", ``process`` or ``realtime``.

    Args:
        versions: the versions of all keys.
        rules: what the caller vouches for.
    """

    def __init__(self, versions: RegisterVersions, rules: VersionRules) -> None:
        self.versions = versions
        self.txns, self.touches = versions.txns, versions.touches
        self.rules = self.vouched = rules
        self.promise = ""
        self._edges_by: tuple[VersionRules, tuple[Ints, Ints]] | None = None

    def promised(self, promise: str) -> None:
        """Let the level vouch for an order of versions, from here on: that of their transactions.

        Args:
            promise: ``process``, if what a transaction did is seen by the next of its session; or
                ``realtime``, if by all invoked after its completion.
        """
        self.promise = promise
        rule = "sequential_keys" if promise == "process" else "linearizable_keys"
        self.rules = msgspec.structs.replace(self.vouched, **{rule: True})

    def edges(self, rules: VersionRules | None = None) -> tuple[Ints, Ints]:
        """Distinct edges v -> v' between versions of one key.

        Args:
            rules: by which; None for those vouched for, by the level too.
        """
        rules = rules or self.rules
        if self._edges_by is None or self._edges_by[0] != rules:
            self._edges_by = rules, self._edges(rules)
        return self._edges_by[1]

    def _edges(self, rules: VersionRules) -> tuple[Ints, Ints]:
        rows = np.flatnonzero(self.versions.members[self.touches.txn])
        pairs: list[tuple[Ints, Ints]] = []
        read, write = self.touches.read[rows], self.touches.write[rows]
        if rules.wfr_keys:
            both = (read >= 0) & (write >= 0)
            pairs.append((read[both], write[both]))
        if rules.sequential_keys:
            pairs.append(self._process_pairs(rows))
        if rules.linearizable_keys:
            pairs.append(self._realtime_pairs(rows))
        source = np.concatenate([p[0] for p in pairs]) if pairs else np.empty(0, dtype=np.int64)
        target = np.concatenate([p[1] for p in pairs]) if pairs else np.empty(0, dtype=np.int64)
        count = len(self.versions.key)
        keep = (source != target) & (source >= 0) & (target >= 0)
        code = np.unique(source[keep] * count + target[keep])
        source, target = code // count, code % count
        written = np.unique(write[write >= 0])
        rooted = np.setdiff1d(written, target)
        keys = self.versions.key[rooted]
        return np.concatenate([keys, source]), np.concatenate([rooted, target])

    def _process_pairs(self, rows: Ints) -> tuple[Ints, Ints]:
        """Successive versions a process dealt with, per key; unknown outcomes lead nowhere."""
        txns = self.txns
        txn = self.touches.txn[rows]
        first, last = self.touches.first_last(rows)
        lane = txns.process[txn] * max(1, len(txns.keys)) + self.touches.key[rows]
        order = np.lexsort((txns.invoke[txn], lane))
        same = lane[order][1:] == lane[order][:-1]
        same &= txns.type[txn[order]][:-1] == OK
        return last[order][:-1][same], first[order][1:][same]

    def _realtime_pairs(self, rows: Ints) -> tuple[Ints, Ints]:
        """The frontier sweep: per key, completions before invocations."""
        txns = self.txns
        txn = self.touches.txn[rows]
        first, last = self.touches.first_last(rows)
        useful = (first >= 0) & (last >= 0)
        rows, txn, first, last = rows[useful], txn[useful], first[useful], last[useful]
        ok = np.flatnonzero((txns.type[txn] == OK) & (txns.complete[txn] >= 0))
        key = self.touches.key[rows]
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

    def acyclic(self, source: Ints, target: Ints) -> tuple[Bools, list[Anomaly]]:
        """Which edges are of keys whose versions form no cycle; the anomalies of the others.

        Args:
            source, target: edges between versions; int64, (edges,).
        """
        anomalies: dict[int, Anomaly] = {}
        builder = GraphBuilder(len(self.versions.key))
        builder.add(source, target, PASS)
        graph = builder.build()
        labels = components(graph)
        bad = labels[source] == labels[target]
        bad_keys = np.unique(self.versions.key[source[bad]])
        vouched = self.rules.sequential_keys or self.rules.linearizable_keys
        if len(bad_keys) and vouched:  # if not, transactions read in the same circle: G1c
            builder = GraphBuilder(len(self.versions.key))
            builder.add(source[bad], target[bad], WW)
            for cycle in any_cycles(builder.build(), "cyclic-versions"):
                key = int(self.versions.key[cycle.edges[0].source])
                if key not in anomalies:
                    anomalies[key] = self._cyclic(key, cycle.edges)
        keep: Bools = ~np.isin(self.versions.key[source], bad_keys)
        return keep, list(anomalies.values())

    def _cyclic(self, key: int, edges: tuple[Edge, ...]) -> Anomaly:
        """The anomaly of a key whose versions would each have to come before the next."""
        name = self.txns.keys[key]
        steps = tuple(self.proof(edge.source, edge.target) for edge in edges)
        invokes = dict.fromkeys(i for step in steps for i in (step.source, step.target) if i >= 0)
        rows = np.searchsorted(self.txns.invoke, list(invokes))
        values = [self.versions.value_of(edge.source) for edge in edges]
        circle = " before ".join(map(repr, [*values, values[0]]))
        return Anomaly(
            "cyclic-versions",
            tuple(rows.tolist()),
            name,
            f"The versions of key {name!r} form a cycle: {circle}. "
            + " ".join(f"V{step.text[1:]}." for step in steps),
            steps=steps,
            values=values,
        )

    def proof(self, before: int, after: int) -> Because:
        """The transactions that prove the order of two versions, by the rules vouched for."""
        key = int(self.versions.key[before])
        name, values = (
            self.txns.keys[key],
            [self.versions.value_of(before), self.versions.value_of(after)],
        )
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
        rows = np.flatnonzero((self.touches.key == key) & self.versions.members[self.touches.txn])
        first, last = self.touches.first_last(rows)
        if rules.wfr_keys:
            both = rows[(self.touches.read[rows] == before) & (self.touches.write[rows] == after)]
            for txn in self.touches.txn[both[:1]].tolist():
                return "wfr", txn, txn
        earlier = self.touches.txn[rows[last == before]]
        earlier = earlier[(txns.type[earlier] == OK) & (txns.complete[earlier] >= 0)]
        later = self.touches.txn[rows[first == after]]
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
