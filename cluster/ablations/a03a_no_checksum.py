"""A03a: the checksum of a record is not looked at.

A disk gives back other bytes than were written: a bit has flipped, or the sector is another's. The
record still begins and ends as records do. The node starts with an entry that no
client wrote, and serves it.

Source: Ganesan and others, "Redundancy Does Not Imply Fault Tolerance" (FAST 2017), which found
stores that return and even spread corrupt data.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.log.storage import Storage


class NoChecksum(Storage):
    """Storage that believes its disk."""

    def is_as_written(self, stated: int, computed: int) -> bool:
        """True: a record is taken as it is."""
        return True


ABLATION = Ablation(
    NoChecksum,
    pattern="write_ahead_log",
    removes="A record is what was written only if its checksum says so.",
    breaks="A read returns a value that no client wrote.",
    nemesis="disk-flip",
    real=False,
)
