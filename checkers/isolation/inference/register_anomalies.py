"""Register anomalies that need no graph: what transactions say by themselves.

Problem. A read of an aborted, intermediate or unwritten value is a violation whatever the order of
transactions, and so is a transaction that disagrees with itself.

Solution. Reads are compared with the writers of their versions by array arithmetic. Only touches of
several micro-operations are replayed one by one. Of each anomaly at most :data:`CASES_MAX` cases
are reported in full.

Invariants. Nothing is said of ambiguous keys, whose reads do not tell who wrote. Whether a
transaction disagrees with its own write or only with its own read is noted in ``own_write``.

What breaks without it: weak levels forbid exactly these anomalies, and would pass every history.

Source: Adya, *Weak Consistency*, for G1a and G1b; Kingsbury and Alvaro, *Elle*, for the others.
"""

from __future__ import annotations

import numpy as np

from checkers.history import FAIL, OK
from checkers.isolation.explain import Anomaly
from checkers.isolation.inference.register_versions import RegisterVersions
from checkers.isolation.inference.version_orders import CASES_MAX
from checkers.isolation.transaction_table import READ, WRITE, as_option


class RegisterAnomalies:
    """The anomalies of one read-write register history that need no graph.

    Attributes:
        found: the anomalies, in the order of the checks.

    Args:
        versions: the versions of all keys.
    """

    def __init__(self, versions: RegisterVersions) -> None:
        self.versions = versions
        self.txns = versions.txns
        self.found: list[Anomaly] = []
        self._unwritten()
        self._aborted_and_intermediate()
        order, starts, ends = versions.groups
        for low, high in zip(*(side[ends - starts > 1].tolist() for side in (starts, ends))):
            self._replay(order[low:high].tolist())
        self._lost_updates()

    def _name(self, mop: int) -> object:
        return self.txns.keys[self.txns.mop_key[mop]]

    def _unwritten(self) -> None:
        """Reads of values that no transaction wrote, and which are not the initial one."""
        txns, rows = self.txns, self.versions.unwritten
        known = ~self.versions.ambiguous[txns.mop_key[rows]]
        for mop in rows[known][:CASES_MAX].tolist():
            value, key = txns.mop_value[mop], self._name(mop)
            self.found.append(
                Anomaly(
                    "garbage-read",
                    (int(txns.mop_txn[mop]),),
                    key,
                    f"{{0}} read {value!r} of key {key!r}, but no transaction wrote it. "
                    f"If the key held it at first, say so: --option init={as_option(value)}.",
                    value=value,
                )
            )

    def _aborted_and_intermediate(self) -> None:
        """G1a and G1b: reads of writes that failed, or that their transaction overwrote."""
        txns, touches = self.txns, self.versions.touches
        keys = len(txns.keys)
        final = np.zeros(len(txns.mop_txn), dtype=np.bool_)
        final[touches.write_mop[touches.write_mop >= 0]] = True
        rows = np.flatnonzero((txns.mop_kind == READ) & (self.versions.of_mop >= keys))
        rows = rows[self.versions.writer[self.versions.of_mop[rows]] >= 0]
        mop = self.versions.writer[self.versions.of_mop[rows]]
        writer = txns.mop_txn[mop]
        other = writer != txns.mop_txn[rows]
        for name, bad, why in (
            ("G1a", txns.type[writer] == FAIL, "which failed"),
            ("G1b", ~final[mop] & (txns.type[writer] != FAIL), "which later wrote it again"),
        ):
            for at in np.flatnonzero(bad & other)[:CASES_MAX].tolist():
                value = txns.mop_value[int(mop[at])]
                key = self._name(int(mop[at]))
                self.found.append(
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
        later = {int(self.versions.of_mop[m]) for m in rows if txns.mop_kind[m] == WRITE}
        known: int | None = None
        wrote = False
        for mop in rows:
            version = int(self.versions.of_mop[mop])
            if txns.mop_kind[mop] == WRITE:
                later.discard(version)
                wrote = True
            elif version >= 0 and version in later:
                words = f"read its own later write {txns.mop_value[mop]!r}"
                self._own("future-read", mop, words, own_write=True)
            elif known is not None and version != known:
                words = (
                    f"read {txns.mop_value[mop]!r}, but its own earlier operations call for "
                    f"{self.versions.value_of(known)!r}"
                )
                self._own("internal", mop, words, own_write=wrote)
            known = version if version >= 0 else None

    def _own(self, name: str, mop: int, words: str, *, own_write: bool) -> None:
        """Note a transaction that disagrees with itself: with its own write, or its own read."""
        alike = (a for a in self.found if a.facts.get("own_write") is own_write)
        if sum(a.name == name for a in alike) < CASES_MAX:
            key, txn = self._name(mop), int(self.txns.mop_txn[mop])
            text = f"{{0}} {words} (key {key!r})."
            self.found.append(Anomaly(name, (txn,), key, text, own_write=own_write))

    def _lost_updates(self) -> None:
        """Two committed transactions that read one version and both wrote the key."""
        touches = self.versions.touches
        ok = self.txns.type[touches.txn] == OK
        rows = np.flatnonzero(ok & (touches.read >= 0) & (touches.write >= 0))
        rows = rows[np.argsort(touches.read[rows], kind="stable")]
        version = touches.read[rows]
        for at in np.flatnonzero(version[1:] == version[:-1])[:CASES_MAX].tolist():
            key = self.txns.keys[touches.key[rows[at]]]
            value = self.versions.value_of(int(version[at]))
            self.found.append(
                Anomaly(
                    "lost-update",
                    (int(touches.txn[rows[at]]), int(touches.txn[rows[at + 1]])),
                    key,
                    f"{{0}} and {{1}} both read {value!r} of key {key!r} and both wrote it and "
                    "committed: one of the two writes was lost.",
                    value=value,
                )
            )
