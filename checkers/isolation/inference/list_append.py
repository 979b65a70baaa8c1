"""List-append: transactions that append unique values to lists and read whole lists.

The trick of Elle: a list tells its own history. The longest list read of a key is the order of the
versions of that key, every other read must be a prefix of it, and its last element says which
transaction's write was seen. So every ww, wr and rw dependency is known, none is guessed, and a
cycle among them is a proof.

What is checked without cycles, in the order of :data:`NON_CYCLIC`:

- ``incompatible-order``: two reads of a key, neither a prefix of the other;
- ``duplicate-elements``: a value twice in one list;
- ``garbage-read``: a value nobody appended, unless the list began with it;
- ``G1a`` aborted read: an element whose transaction failed;
- ``dirty-update``: a committed append on top of an aborted one;
- ``G1b`` intermediate read: a list ending in an append that its transaction followed with another;
- ``cyclic-versions``: two appends of a transaction to one key, read in the other order;
- ``internal``: a read that disagrees with what its own transaction read and appended before;
- ``future-read``: a read of the transaction's own later append;
- ``lost-update``: two committed transactions read the same version of a key and both append to it.

Appends nobody read come after everything that was read. An ``info`` transaction counts as committed
once one of its appends was read; ``fail`` ones are never in the graph.

Source: Kingsbury and Alvaro, *Elle*, VLDB 2020; anomalies after Adya. The columnar passes and the
tail nodes (see :mod:`checkers.isolation.graph.dependency_graph`) are our own.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain, compress
from operator import eq, getitem
from typing import Any

import numpy as np

from checkers.core.budget import look
from checkers.core.verdict import Because
from checkers.history import FAIL, OK, freeze
from checkers.history.columns import short as shorten
from checkers.isolation.explain import Anomaly
from checkers.isolation.graph.cycles import Edge
from checkers.isolation.graph.dependency_graph import RW, WR, WW, GraphBuilder, add_tails
from checkers.isolation.inference.append_explainer import AppendExplainer
from checkers.isolation.inference.intra_transaction import (
    grouped,
    intra_transaction_anomalies,
    successive,
)
from checkers.isolation.inference.version_orders import (
    CASES_MAX,
    ListColumns,
    VersionOrders,
    as_list,
    next_usable,
    short,
    spread,
)
from checkers.isolation.mops import VALUES_CHUNK
from checkers.isolation.predicates.anti_dependencies import PredicateEdges
from checkers.isolation.predicates.match_changes import MatchChange, list_match_changes
from checkers.isolation.predicates.matching import matches, matches_grown
from checkers.isolation.predicates.predicate_reads import Changer, PredicateReads
from checkers.isolation.transaction_table import (
    READ,
    WRITE,
    Bools,
    Ints,
    Txns,
    as_option,
    intern,
    match_writes,
    number,
    packed,
    pairs_code,
    starting_value,
)


class ListAppend:
    """Everything inferred from one list-append history.

    Args:
        txns: the transactions.
        init: what every list held at first; or a dict of keys to that.
    """

    def __init__(self, txns: Txns, *, init: Any = None) -> None:
        self.txns = txns
        self.init = init
        self.anomalies: list[Anomaly] = []
        self.reads = np.flatnonzero(txns.mop_kind == READ)
        self.writes = np.flatnonzero(txns.mop_kind == WRITE)
        self.read_lists, self.read_len, written = self._split()
        self.unclear: list[str] = []
        self.notes: list[str] = []
        self._unread: dict[int, list[int]] | None = None
        self.orders = self._version_orders(written)
        self._positions()
        self.predicates = PredicateEdges(PredicateReads(txns, lists=True))

    # -- version orders ---------------------------------------------------------------------

    def _split(self) -> tuple[list[list[Any]], Ints, list[Any]]:
        """What each read returned, as a list; its length; what each append appended.

        Raises:
            HistoryError: a read returned something else.
        """
        is_read = (self.txns.mop_kind == READ).tobytes()
        is_write = (self.txns.mop_kind == WRITE).tobytes()
        lists: list[Any] = []
        written: list[Any] = []
        sizes = array("q")
        # By chunks that stay in the processor's cache, since all is looked at several times.
        for low in range(0, len(is_read), VALUES_CHUNK):
            look()
            high = low + VALUES_CHUNK
            values = self.txns.mop_value[low:high]
            written += compress(values, is_write[low:high])
            some = list(compress(values, is_read[low:high]))
            if not set(map(type, some)) <= {list}:
                some = self._as_lists(some, len(lists))
            sizes += array("q", list(map(len, some)))
            lists += some
        return lists, np.frombuffer(sizes, dtype=np.int64), written

    def _as_lists(self, values: list[Any], first: int) -> list[list[Any]]:
        """What was read by some reads, from number ``first`` on, as lists."""
        for mop, value in zip(self.reads[first : first + len(values)].tolist(), values):
            if value is not None and not isinstance(value, (list, tuple)):
                self.txns.refuse(
                    mop,
                    f"read {shorten(value)} of a list; a list-append read returns a list, or null "
                    "for an empty one",
                )
        return list(map(as_list, values))

    def _version_orders(self, written: list[Any]) -> VersionOrders:
        """Longest read of each key; its elements; who appended each."""
        txns = self.txns
        keys = len(txns.keys)
        longest = self._longest()
        lists = [self.read_lists[r] if r >= 0 else [] for r in longest.tolist()]
        self._lone_appends(lists)
        sizes = np.fromiter(map(len, lists), dtype=np.int64, count=keys)
        base = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        element = list(chain.from_iterable(lists))
        key = np.repeat(np.arange(keys, dtype=np.int64), sizes)
        self.longest_lists = lists
        values = packed(element, written)
        if not isinstance(values, np.ndarray):
            self._require_values(values)
        codes, value_count = number(values)
        found, again = match_writes(
            keys=(txns.mop_key[self.writes], key),
            values=(codes[len(element) :], codes[: len(element)]),
            key_count=keys,
            value_count=value_count,
        )
        self._find_ambiguous(again)
        hit = (found >= 0) & ~self.ambiguous[key]
        writer = np.full(len(element), -1, dtype=np.int64)
        writer[hit] = self.writes[found[hit]]
        self.element_code = pairs_code(key, codes[: len(element)], value_count)
        witness = (
            np.where(longest >= 0, self.reads[np.maximum(longest, 0)], -1)
            if len(self.reads)
            else longest
        )
        return VersionOrders(
            base=base, key=key, element=element, writer_mop=writer, witness=witness
        )

    def _longest(self) -> Ints:
        """The read of each key with the longest list, the last of several; -1 for none."""
        key = self.txns.mop_key[self.reads]
        size = np.full(len(self.txns.keys), -1, dtype=np.int64)
        np.maximum.at(size, key, self.read_len)
        candidates = np.flatnonzero(self.read_len == size[key])
        longest = np.full(len(self.txns.keys), -1, dtype=np.int64)
        longest[key[candidates]] = candidates
        return longest

    def _require_values(self, values: list[Any]) -> None:
        """Refuse not-a-number: it is not even itself, so no read can tell who wrote it."""
        if float not in set(map(type, values)):
            return
        for mop, said in enumerate(self.txns.mop_value):
            some = said if self.txns.mop_kind[mop] == READ else [said]
            if any(isinstance(value, float) and value != value for value in some or ()):
                self.txns.refuse(mop, "has a value that is not a number (NaN)")

    def _find_ambiguous(self, again: Ints) -> None:
        """Keys to which one value was appended twice: their reads do not tell who wrote."""
        txns = self.txns
        self.ambiguous = np.zeros(len(txns.keys), dtype=np.bool_)
        twice = self.writes[again]
        self.ambiguous[txns.mop_key[twice]] = True
        if len(twice):
            mop = int(twice[0])
            self.unclear.append(
                f"{len(twice)} values were appended more than once (such as "
                f"{txns.mop_value[mop]!r} to key {self._name(int(txns.mop_key[mop]))!r})"
                ", so reads do not tell who wrote them"
            )

    def _lone_appends(self, lists: list[list[Any]]) -> None:
        """A key appended to once and never read non-empty has that one version."""
        txns = self.txns
        self.lone: set[int] = set()
        per_key = np.bincount(txns.mop_key[self.writes], minlength=len(txns.keys))
        lone = self.writes[per_key[txns.mop_key[self.writes]] == 1]
        for mop in lone[txns.type[txns.mop_txn[lone]] == OK].tolist():
            key = int(txns.mop_key[mop])
            if not lists[key]:
                lists[key] = [txns.mop_value[mop]]
                self.lone.add(key)

    def _positions(self) -> None:
        """Where each write stands in its key's order; which transactions are in the graph."""
        txns, orders = self.txns, self.orders
        self.write_pos = np.full(len(txns.mop_txn), -1, dtype=np.int64)
        known = orders.writer_mop >= 0
        self.write_pos[orders.writer_mop[known]] = np.flatnonzero(known)
        observed = np.zeros(len(txns), dtype=bool)
        observed[txns.mop_txn[orders.writer_mop[known]]] = True
        self.members: Bools = (txns.type == OK) | ((txns.type != FAIL) & observed)

    # -- what needs no graph ----------------------------------------------------------------

    def check_values(self) -> None:
        """Find every non-cyclic anomaly, and note what makes inference impossible."""
        self._incompatible()
        self._duplicate_elements()
        self.columns = self._columns()
        self._unwritten()
        self._aborted()
        groups = grouped(self.txns)
        first, second = successive(groups)
        self._intermediate(first)
        self._out_of_order(first, second)
        self.anomalies += intra_transaction_anomalies(self.columns, groups)
        self.anomalies += self.predicates.table.anomalies()

    def _columns(self) -> ListColumns:
        return ListColumns(
            txns=self.txns,
            orders=self.orders,
            reads=self.reads,
            read_lists=self.read_lists,
            read_len=self.read_len,
            is_prefix=self.is_prefix,
            longest=self.longest_lists,
            write_pos=self.write_pos,
            members=self.members,
            ambiguous=self.ambiguous,
            excluded=self.excluded,
        )

    def _count(self, anomaly: str) -> int:
        return sum(a.name == anomaly for a in self.anomalies)

    def _name(self, key: int) -> Any:
        return self.txns.keys[key]

    def _incompatible(self) -> None:
        """Reads that are no prefix of the longest read of their key."""
        txns, lists = self.txns, self.longest_lists
        keys = txns.mop_key[self.reads]
        cuts = list(map(slice, range(int(self.read_len.max(initial=0)) + 1)))
        heads = map(getitem, spread(lists, keys), spread(cuts, self.read_len))
        prefix = np.frombuffer(bytes(map(eq, heads, self.read_lists)), dtype=np.bool_)
        self.is_prefix = prefix
        seen: set[int] = set()
        for read in np.flatnonzero(~prefix).tolist():
            key = int(keys[read])
            if key in seen:
                continue
            seen.add(key)
            other = int(self.orders.witness[key])
            mop = int(self.reads[read])
            self.anomalies.append(
                Anomaly(
                    "incompatible-order",
                    (int(txns.mop_txn[mop]), int(txns.mop_txn[other])),
                    self._name(key),
                    f"{{0}} read {short(self.read_lists[read])} of key {self._name(key)!r} and "
                    f"{{1}} read {short(lists[key])}: neither is a prefix of the other.",
                    values=[self.read_lists[read], lists[key]],
                )
            )

    def _duplicate_elements(self) -> None:
        twice = self._repeated_positions()
        self.excluded = self.ambiguous.copy()
        self.excluded[self.orders.key[twice]] = True
        keys, at = np.unique(self.orders.key[twice], return_index=True)
        for key, position in zip(keys.tolist(), twice[at].tolist()):
            if not self.ambiguous[key] and self._count("duplicate-elements") < CASES_MAX:
                mop = int(self.orders.witness[key])
                self._repeated(mop, self.longest_lists[key], self.orders.element[position])
        for read in np.flatnonzero(~self.is_prefix).tolist():
            mop, seen = int(self.reads[read]), self.read_lists[read]
            if self.ambiguous[self.txns.mop_key[mop]]:
                continue
            codes, table = intern(seen)
            if len(table) < len(seen) and self._count("duplicate-elements") < CASES_MAX:
                counts = np.bincount(codes)
                self._repeated(mop, seen, table[int(np.flatnonzero(counts > 1)[0])])

    def _repeated_positions(self) -> Ints:
        """Positions of the version orders whose element is elsewhere in the same list, too."""
        orders, code = self.orders, self.element_code
        known = np.flatnonzero(orders.writer_mop >= 0)
        doubled = known[self.write_pos[orders.writer_mop[known]] != known]
        strange = np.flatnonzero(orders.writer_mop < 0)
        order = strange[np.argsort(code[strange], kind="stable")]
        again = order[1:][code[order[1:]] == code[order[:-1]]]
        return np.concatenate([doubled, again])

    def _repeated(self, mop: int, seen: list[Any], element: Any) -> None:
        key = self._name(int(self.txns.mop_key[mop]))
        self.anomalies.append(
            Anomaly(
                "duplicate-elements",
                (int(self.txns.mop_txn[mop]),),
                key,
                f"{{0}} read {short(seen)} of key {key!r}: {element!r} is in it more than once.",
                element=element,
            )
        )

    def _unwritten(self) -> None:
        """Elements nobody appended, and which are not of the list's beginning."""
        orders = self.orders
        unknown = np.flatnonzero((orders.writer_mop < 0) & ~self.ambiguous[orders.key])
        for position in unknown.tolist():
            key = int(orders.key[position])
            if self._began_with(key, position) or self._count("garbage-read") == CASES_MAX:
                continue
            mop = int(orders.witness[key])
            self.anomalies.append(
                Anomaly(
                    "garbage-read",
                    (int(self.txns.mop_txn[mop]),),
                    self._name(key),
                    f"{{0}} read {short(self.longest_lists[key])} of key {self._name(key)!r}, but "
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
            self._aborted_read(reader, int(writer[position]), key, self.longest_lists[key], value)
            later = np.arange(position + 1, int(orders.base[key + 1]))
            on_top = later[(writer[later] >= 0) & (txns.type[writer[later]] == OK)]
            if len(on_top):
                self.anomalies.append(
                    Anomaly(
                        "dirty-update",
                        (int(writer[on_top[0]]), int(writer[position]), reader),
                        self._name(key),
                        f"{{0}} committed an append of {orders.element[on_top[0]]!r} to key "
                        f"{self._name(key)!r} on top of {value!r}, appended by {{1}}, which "
                        f"failed: {{2}} read {short(self.longest_lists[key])}.",
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
        failed = self.writes[txns.type[txns.mop_txn[self.writes]] == FAIL]
        written = {
            (int(txns.mop_key[m]), type(txns.mop_value[m]), freeze(txns.mop_value[m])): int(m)
            for m in failed
            if not self.ambiguous[txns.mop_key[m]]
        }
        for read in strays.tolist() if written else ():
            mop, seen = int(self.reads[read]), self.read_lists[read]
            key = int(txns.mop_key[mop])
            for value in seen:
                by = written.get((key, type(value), freeze(value)))
                if by is not None and self._count("G1a") < CASES_MAX:
                    self._aborted_read(
                        int(txns.mop_txn[mop]), int(txns.mop_txn[by]), key, seen, value
                    )

    def _aborted_read(
        self, reader: int, writer: int, key: int, seen: list[Any], value: Any
    ) -> None:
        self.anomalies.append(
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
        if not len(self.writes) or not len(self.reads):
            return
        overwritten = np.zeros(len(txns.mop_txn), dtype=np.bool_)
        overwritten[followed] = True
        chosen = np.flatnonzero(self.is_prefix & (self.read_len > 0))
        mops = self.reads[chosen]
        last = orders.base[txns.mop_key[mops]] + self.read_len[chosen] - 1
        writer = orders.writer_mop[last]
        bad = (writer >= 0) & overwritten[np.maximum(writer, 0)]
        bad &= txns.mop_txn[np.maximum(writer, 0)] != txns.mop_txn[mops]
        for at in np.flatnonzero(bad)[:CASES_MAX].tolist():
            mop = int(mops[at])
            key = int(txns.mop_key[mop])
            self.anomalies.append(
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
        keep = self.members[txns.mop_txn[first]] & ~self.excluded[txns.mop_key[first]]
        first, second = first[keep], second[keep]
        unread = self.write_pos[first] < 0
        wrong = unread | (self.write_pos[first] > self.write_pos[second])
        bad = np.flatnonzero((self.write_pos[second] >= 0) & wrong)
        for at in bad[:CASES_MAX].tolist():
            one, two = txns.mop_value[int(first[at])], txns.mop_value[int(second[at])]
            key = int(txns.mop_key[int(first[at])])
            reader = int(txns.mop_txn[self.orders.witness[key]])
            self.anomalies.append(
                Anomaly(
                    "cyclic-versions",
                    (int(txns.mop_txn[int(first[at])]), reader),
                    self._name(key),
                    f"{{0}} appended {one!r} and then {two!r} to key {self._name(key)!r}, but "
                    f"{{1}} read {short(self.longest_lists[key])}: {two!r} "
                    + ("without " if unread[at] else "before ")
                    + f"{one!r}.",
                    values=[one, two],
                )
            )

    # -- the graph --------------------------------------------------------------------------

    def add_edges(self, builder: GraphBuilder) -> None:
        """Add every ww, wr and rw dependency. Marks are positions in the version orders."""
        txns, orders = self.txns, self.orders
        if not len(orders.element) and not len(self.writes):
            return
        writer = np.full(len(orders.element), -1, dtype=np.int64)
        known = orders.writer_mop >= 0
        writer[known] = txns.mop_txn[orders.writer_mop[known]]
        usable = known & self.members[np.maximum(writer, 0)]
        usable &= ~self.excluded[orders.key]
        at = np.arange(len(writer), dtype=np.int64)
        previous = np.maximum.accumulate(np.where(usable, at, -1)) if len(at) else at
        following = next_usable(usable)
        self.previous = previous
        self._add_ww(builder, writer, usable, previous)
        readers = np.flatnonzero(self.is_prefix & ~self.excluded[txns.mop_key[self.reads]])
        mops = self.reads[readers]
        txn, key = txns.mop_txn[mops], txns.mop_key[mops]
        low, seen = orders.base[key], orders.base[key] + self.read_len[readers]
        if len(at):
            last = previous[np.maximum(seen - 1, 0)]
            has = np.flatnonzero((self.read_len[readers] > 0) & (last >= low))
            builder.add(writer[last[has]], txn[has], WR, key=key[has], mark=last[has])
            padded = np.append(following, len(writer))
            nxt = padded[np.minimum(seen, len(writer))]
        else:
            nxt = np.zeros(len(seen), dtype=np.int64)
        later = nxt < orders.base[key + 1]
        more, end = np.flatnonzero(later), np.flatnonzero(~later)
        nxt = nxt[more]
        builder.add(txn[more], writer[nxt], RW, key=key[more], mark=nxt)
        self._add_unread(builder, writer, previous, txn[end], key[end])
        self.predicates.add(builder, self)

    def _add_ww(self, builder: GraphBuilder, writer: Ints, usable: Bools, previous: Ints) -> None:
        if len(writer) < 2:
            return
        target = np.flatnonzero(usable)
        target = target[target > 0]
        source = previous[target - 1]
        key = self.orders.key[target]
        keep = np.flatnonzero((source >= 0) & (self.orders.key[np.maximum(source, 0)] == key))
        source, target = source[keep], target[keep]
        builder.add(writer[source], writer[target], WW, key=key[keep], mark=target)

    def _add_unread(
        self, builder: GraphBuilder, writer: Ints, previous: Ints, readers: Ints, read_keys: Ints
    ) -> None:
        """Appends nobody read: after the last version read, for its writer and its readers."""
        txns, orders = self.txns, self.orders
        mops = self.writes[self.write_pos[self.writes] < 0]
        mops = mops[self.members[txns.mop_txn[mops]]]
        mops = mops[~self.excluded[txns.mop_key[mops]]]
        if not len(mops):
            return
        span = max(1, len(txns))
        code = np.sort(txns.mop_key[mops] * span + txns.mop_txn[mops])
        code = code[np.diff(code, prepend=-1) > 0]
        tail_key, tail_txn = code // span, code % span
        keys = np.unique(tail_key)
        end = orders.base[keys + 1] - 1
        last = previous[np.maximum(end, 0)] if len(previous) else np.full(len(keys), -1)
        has = (last >= orders.base[keys]) & (end >= 0)
        add_tails(
            builder,
            tail_txn=tail_txn,
            tail_key=tail_key,
            edges=[
                (writer[last[has]], keys[has], WW, last[has]),
                (readers, read_keys, RW, None),
            ],
        )

    def changers(self, key: int, predicate: Any) -> Sequence[Changer]:
        """The writers before which a read came that found no match at a key.

        All versions from such a writer's on match: those of the longest read, and whatever unread
        appends may have made of it.
        """
        if self.excluded[key]:
            return ()
        orders, name = self.orders, self.txns.keys[key]
        low, high = int(orders.base[key]), int(orders.base[key + 1])
        longest = self.longest_lists[key]
        if predicate is None:
            first = 0
        else:
            sizes = range(high - low, -1, -1)
            miss = next(n for n in sizes if not matches(predicate, name, longest[:n]))
            first = miss
        unread = [] if key in self.lone else self.unread_of(key)
        if not all(
            matches_grown(predicate, name, longest, more) for more in range(1, len(unread) + 1)
        ):
            return ()
        for at in range(low + first, high):
            mop = int(orders.writer_mop[at])
            if mop >= 0 and self.members[self.txns.mop_txn[mop]]:
                return [(at, int(self.txns.mop_txn[mop]))]
        if high > low:
            return ()
        writers = dict.fromkeys(int(self.txns.mop_txn[mop]) for mop in unread)
        return [(-1, txn) for txn in writers if self.members[txn]]

    def match_changes(self, key: int, predicate: Any) -> Sequence[MatchChange]:
        """Where the versions of a key stop matching."""
        return list_match_changes(self.columns, key, predicate)

    def unread_of(self, key: int) -> list[int]:
        """Appends to a key that are in no read and did not fail."""
        if self._unread is None:
            mops = self.writes[self.write_pos[self.writes] < 0]
            mops = mops[self.txns.type[self.txns.mop_txn[mops]] != FAIL]
            self._unread = {}
            for mop, code in zip(mops.tolist(), self.txns.mop_key[mops].tolist()):
                self._unread.setdefault(code, []).append(mop)
        return self._unread.get(key, [])

    # -- words ------------------------------------------------------------------------------

    def edge_words(self, edge: Edge) -> tuple[Any, str, tuple[Because, ...]]:
        """Why a data edge holds; see :class:`checkers.isolation.explain.Evidence`."""
        return self._explainer().edge_words(edge)

    def key_name(self, edge: Edge) -> Any:
        """The key a data edge is about."""
        return self._explainer().key_name(edge)

    def _explainer(self) -> AppendExplainer:
        return AppendExplainer(
            self.columns, self.predicates, self.previous, self.lone, self.unread_of
        )
