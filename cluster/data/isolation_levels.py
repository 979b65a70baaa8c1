"""Isolation levels: what a transaction's reads are worth, and what its writes may overtake.

    strict-serializable   reads are validated up to the commit timestamp: the transaction happened
                          at that one moment, and after all that was answered before it began
    snapshot-isolation    reads are validated up to the read timestamp: they are one snapshot; of
                          two transactions that overlap and write one key, the first wins
    read-committed        each read gives the newest committed value; nothing is validated

Source: Berenson et al., "A Critique of ANSI SQL Isolation Levels" (1995); Adya (1999).
Used by the transactions' coordinator; pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Up to where reads are validated.
AT_COMMIT: Final = "commit"
AT_SNAPSHOT: Final = "snapshot"
NOWHERE: Final = "nowhere"


class Isolation(msgspec.Struct, frozen=True):
    """One level.

    Args:
        name: as clients write it.
        validated: AT_COMMIT, AT_SNAPSHOT or NOWHERE.
        first_committer: whether a version above the snapshot keeps a transaction from writing.
    """

    name: str
    validated: str
    first_committer: bool = False


STRICT_SERIALIZABLE: Final = Isolation("strict-serializable", AT_COMMIT)
SNAPSHOT_ISOLATION: Final = Isolation("snapshot-isolation", AT_SNAPSHOT, True)
READ_COMMITTED: Final = Isolation("read-committed", NOWHERE)

LEVELS: Final = {
    each.name: each for each in (STRICT_SERIALIZABLE, SNAPSHOT_ISOLATION, READ_COMMITTED)
}
