"""The versions of registers, as columns: who wrote each, of which key, and its value.

For :mod:`checkers.isolation.inference.rw_register`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from checkers.isolation.transaction_table import Bools, Ints, Txns, starting_value


class RegisterVersions(NamedTuple):
    """The versions of a history's registers; never changed.

    Versions are numbered: 0 .. keys-1 are the initial versions of the keys, then one for each
    written (key, value), then one for each that was read and that nobody wrote.

    Args:
        txns: the transactions.
        writer: row of the write of each version, or -1; int64, (versions,).
        key: code of the key of each version; int64, (versions,).
        left: the version each (transaction, key) left, or -1; int64, (touches,).
        members: which transactions are in the graph; bool, (transactions,).
        ambiguous: keys whose reads do not tell who wrote; bool, (keys,).
        strays: the values of versions that nobody wrote.
        initial: the value of every key before any write; or a dict of keys to theirs.
    """

    txns: Txns
    writer: Ints
    key: Ints
    left: Ints
    members: Bools
    ambiguous: Bools
    strays: Mapping[int, object]
    initial: object

    def value_of(self, version: int) -> object:
        """The value of a version."""
        writer = int(self.writer[version])
        if writer >= 0:
            return self.txns.mop_value[writer]
        if version in self.strays:
            return self.strays[version]
        return starting_value(self.initial, self.txns.keys[version])
