"""List-append anomalies that need no graph: what reads say by themselves.

Problem. Reads that contradict each other, or that show what no committed transaction appended, are
violations whatever the order of transactions.

Solution. All reads are compared with the version orders by array arithmetic; only what is wrong is
looked at one by one. Of each anomaly at most :data:`CASES_MAX` cases are reported in full.

Invariants. A key is *excluded* from the graph if one value was appended to it twice, or if an
element stands twice in its order: positions in its order mean nothing then. :class:`ListColumns`
is made once the excluded keys and the prefix reads are known, and never changes afterwards.

What breaks without it: a read of an aborted append would count as an order of versions, and cycles
would be built on it.

Source: Adya, *Weak Consistency*, for G1a and G1b; Kingsbury and Alvaro, *Elle*, for the others.
"""

from __future__ import annotations

from operator import eq, getitem

import numpy as np

from checkers.history import FAIL, OK, freeze
from checkers.isolation.explain import Anomaly
from checkers.isolation.inference.append_versions import AppendVersions
from checkers.isolation.inference.intra_transaction import (
    grouped,
    intra_transaction_anomalies,
    successive,
)
from checkers.isolation.inference.version_orders import CASES_MAX, ListColumns, short, spread
from checkers.isolation.transaction_table import Ints, as_option, intern, starting_value


class AppendAnomalies:
    """The anomalies of one list-append history that need no graph.

    Attributes:
        found: the anomalies, in the order of the checks.
        lists: the reads and version orders, compared with each other.

    Args:
        versions: the version orders.
        init: what every list held at first; or a dict of keys to that.
    """

    def __init__(self, versions: AppendVersions, init: object) -> None:
        self.txns, self.orders = versions.txns, versions.orders
        self.versions, self.init = versions, init
        self.found: list[Anomaly] = []
        self._incompatible()
        self._duplicate_elements()
        self.lists = self._columns()
        self._unwritten()
        self._aborted()
        groups = grouped(self.txns)
        first, second = successive(groups)
        self._intermediate(first)
        self._out_of_order(first, second)
        self.found += intra_transaction_anomalies(self.lists, groups)

    def _columns(self) -> ListColumns:
        versions = self.versions
        return ListColumns(
            txns=self.txns,
            orders=self.orders,
            reads=versions.reads,
            read_lists=versions.read_lists,
            read_len=versions.read_len,
            is_prefix=self.is_prefix,
            longest=versions.longest,
            write_pos=versions.write_pos,
            members=versions.members,
            ambiguous=versions.ambiguous,
            excluded=self.excluded,
        )

    def _count(self, anomaly: str) -> int:
        return sum(a.name == anomaly for a in self.found)

    def _name(self, key: int) -> object:
        return self.txns.keys[key]

    def _incompatible(self) -> None:
        """Reads that are no prefix of the longest read of their key."""
        txns, versions, lists = self.txns, self.versions, self.versions.longest
        keys = txns.mop_key[versions.reads]
        cuts = list(map(slice, range(int(versions.read_len.max(initial=0)) + 1)))
        heads = map(getitem, spread(lists, keys), spread(cuts, versions.read_len))
        prefix = np.frombuffer(bytes(map(eq, heads, versions.read_lists)), dtype=np.bool_)
        self.is_prefix = prefix
        seen: set[int] = set()
        for read in np.flatnonzero(~prefix).tolist():
            key = int(keys[read])
            if key in seen:
                continue
            seen.add(key)
            other = int(self.orders.witness[key])
            mop, name = int(versions.reads[read]), self._name(key)
            self.found.append(
                Anomaly(
                    "incompatible-order",
                    (int(txns.mop_txn[mop]), int(txns.mop_txn[other])),
                    name,
                    f"{{0}} read {short(versions.read_lists[read])} of key {name!r} and "
                    f"{{1}} read {short(lists[key])}: neither is a prefix of the other.",
                    values=[versions.read_lists[read], lists[key]],
                )
            )

    def _duplicate_elements(self) -> None:
        twice = self._repeated_positions()
        self.excluded = self.versions.ambiguous.copy()
        self.excluded[self.orders.key[twice]] = True
        keys, at = np.unique(self.orders.key[twice], return_index=True)
        for key, position in zip(keys.tolist(), twice[at].tolist()):
            if not self.versions.ambiguous[key] and self._count("duplicate-elements") < CASES_MAX:
                mop = int(self.orders.witness[key])
                self._repeated(mop, self.versions.longest[key], self.orders.element[position])
        for read in np.flatnonzero(~self.is_prefix).tolist():
            mop, seen = int(self.versions.reads[read]), self.versions.read_lists[read]
            if self.versions.ambiguous[self.txns.mop_key[mop]]:
                continue
            codes, table = intern(seen)
            if len(table) < len(seen) and self._count("duplicate-elements") < CASES_MAX:
                counts = np.bincount(codes)
                self._repeated(mop, seen, table[int(np.flatnonzero(counts > 1)[0])])

    def _repeated_positions(self) -> Ints:
        """Positions of the version orders whose element is elsewhere in the same list, too."""
        orders, code = self.orders, self.versions.element_code
        known = np.flatnonzero(orders.writer_mop >= 0)
        doubled = known[self.versions.write_pos[orders.writer_mop[known]] != known]
        strange = np.flatnonzero(orders.writer_mop < 0)
        order = strange[np.argsort(code[strange], kind="stable")]
        again = order[1:][code[order[1:]] == code[order[:-1]]]
        return np.concatenate([doubled, again])

    def _repeated(self, mop: int, seen: list[object], element: object) -> None:
        key = self._name(int(self.txns.mop_key[mop]))
        self.found.append(
            Anomaly(
                "duplicate-elements",
                (int(self.txns.mop_txn[mop]),),
                key,
                f"{{0}} read {short(seen)} of key {key!r}: {element!r} is in it more than once.",
                element=element,
            )
        )

    def _unwritten(self) -> None:
        """Elements that no transaction appended, and that the list did not hold at first."""
        orders = self.orders
        unknown = np.flatnonzero((orders.writer_mop < 0) & ~self.versions.ambiguous[orders.key])
        for position in unknown.tolist():
            key = int(orders.key[position])
            if self._began_with(key, position) or self._count("garbage-read") == CASES_MAX:
                continue
            mop, name = int(orders.witness[key]), self._name(key)
            self.found.append(
                Anomaly(
                    "garbage-read",
                    (int(self.txns.mop_txn[mop]),),
                    name,
                    f"{{0}} read {short(self.versions.longest[key])} of key {name!r}, but "
                    f"no transaction appended {orders.element[position]!r}. "
                    f"If the list began with it, say so: "
                    f"--option init={as_option([orders.element[position]])}.",
                    element=orders.element[position],
                )
            )

    def _began_with(self, key: int, position: int) -> bool:
        """Whether the element at a position is the one there that the list held at first."""
        name = self._name(key)
        first = starting_value(self.init, name)
        at = position - int(self.orders.base[key])
        return at < len(first or ()) and bool(first[at] == self.orders.element[position])

    def _aborted(self) -> None:
        """G1a and dirty-update, in the longest reads; then G1a in reads that are no prefix."""
        txns, orders = self.txns, self.orders
        if not len(txns.mop_txn):
            return
        wrote = txns.mop_txn[np.maximum(orders.writer_mop, 0)]
        writer = np.where(orders.writer_mop >= 0, wrote, -1)
        failed = (writer >= 0) & (txns.type[np.maximum(writer, 0)] == FAIL)
        for position in np.flatnonzero(failed)[:CASES_MAX].tolist():
            key = int(orders.key[position])
            reader = int(txns.mop_txn[orders.witness[key]])
            value = orders.element[position]
            self._aborted_read(
                reader, int(writer[position]), key, self.versions.longest[key], value
            )
            later = np.arange(position + 1, int(orders.base[key + 1]))
            on_top = later[(writer[later] >= 0) & (txns.type[writer[later]] == OK)]
            if len(on_top):
                self.found.append(
                    Anomaly(
                        "dirty-update",
                        (int(writer[on_top[0]]), int(writer[position]), reader),
                        self._name(key),
                        f"{{0}} committed an append of {orders.element[on_top[0]]!r} to key "
                        f"{self._name(key)!r} on top of {value!r}, appended by {{1}}, which "
                        f"failed: {{2}} read {short(self.versions.longest[key])}.",
                        element=value,
                    )
                )
        self._aborted_elsewhere()

    def _aborted_elsewhere(self) -> None:
        """Elements of failed transactions in reads that are no prefix of the longest."""
        txns = self.txns
        strays = np.flatnonzero(~self.is_prefix)
        if not len(strays):
            return
        failed = self.versions.writes[txns.type[txns.mop_txn[self.versions.writes]] == FAIL]
        written = {
            (int(txns.mop_key[m]), type(txns.mop_value[m]), freeze(txns.mop_value[m])): int(m)
            for m in failed
            if not self.versions.ambiguous[txns.mop_key[m]]
        }
        for read in strays.tolist() if written else ():
            mop, seen = int(self.versions.reads[read]), self.versions.read_lists[read]
            key = int(txns.mop_key[mop])
            for value in seen:
                by = written.get((key, type(value), freeze(value)))
                if by is not None and self._count("G1a") < CASES_MAX:
                    self._aborted_read(
                        int(txns.mop_txn[mop]), int(txns.mop_txn[by]), key, seen, value
                    )

    def _aborted_read(
        self, reader: int, writer: int, key: int, seen: list[object], value: object
    ) -> None:
        self.found.append(
            Anomaly(
                "G1a",
                (reader, writer),
                self._name(key),
                f"{{0}} read {short(seen)} of key {self._name(key)!r}, "
                f"which has {value!r}, appended by {{1}}, which failed.",
                element=value,
            )
        )

    def _intermediate(self, followed: Ints) -> None:
        """G1b: the last element read is not its transaction's last append to the key.

        ``followed`` are the appends which their transaction followed with another to the key.
        """
        txns, orders = self.txns, self.orders
        if not len(self.versions.writes) or not len(self.versions.reads):
            return
        overwritten = np.zeros(len(txns.mop_txn), dtype=np.bool_)
        overwritten[followed] = True
        chosen = np.flatnonzero(self.is_prefix & (self.versions.read_len > 0))
        mops = self.versions.reads[chosen]
        last = orders.base[txns.mop_key[mops]] + self.versions.read_len[chosen] - 1
        writer = orders.writer_mop[last]
        bad = (writer >= 0) & overwritten[np.maximum(writer, 0)]
        bad &= txns.mop_txn[np.maximum(writer, 0)] != txns.mop_txn[mops]
        for at in np.flatnonzero(bad)[:CASES_MAX].tolist():
            mop = int(mops[at])
            key = int(txns.mop_key[mop])
            self.found.append(
                Anomaly(
                    "G1b",
                    (int(txns.mop_txn[mop]), int(txns.mop_txn[writer[at]])),
                    self._name(key),
                    f"{{0}} read key {self._name(key)!r} ending in "
                    f"{orders.element[int(last[at])]!r}, an append that {{1}} followed with "
                    "another to the same key: an intermediate state.",
                    element=orders.element[int(last[at])],
                )
            )

    def _out_of_order(self, first: Ints, second: Ints) -> None:
        """Two appends of one transaction to one key that reads show in the other order."""
        txns = self.txns
        keep = self.versions.members[txns.mop_txn[first]] & ~self.excluded[txns.mop_key[first]]
        first, second = first[keep], second[keep]
        unread = self.versions.write_pos[first] < 0
        wrong = unread | (self.versions.write_pos[first] > self.versions.write_pos[second])
        bad = np.flatnonzero((self.versions.write_pos[second] >= 0) & wrong)
        for at in bad[:CASES_MAX].tolist():
            one, two = txns.mop_value[int(first[at])], txns.mop_value[int(second[at])]
            key = int(txns.mop_key[int(first[at])])
            reader = int(txns.mop_txn[self.orders.witness[key]])
            self.found.append(
                Anomaly(
                    "cyclic-versions",
                    (int(txns.mop_txn[int(first[at])]), reader),
                    self._name(key),
                    f"{{0}} appended {one!r} and then {two!r} to key {self._name(key)!r}, but "
                    f"{{1}} read {short(self.versions.longest[key])}: {two!r} "
                    + ("without " if unread[at] else "before ")
                    + f"{one!r}.",
                    values=[one, two],
                )
            )
