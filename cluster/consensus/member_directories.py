"""Member directories: a node that lost its disk does not pass for the one it was.

Problem. A majority is a promise about disks. A node whose directory was emptied, and which starts
again under its old id, has forgotten what it voted for and acknowledged. A cluster that takes it
for the old one may lose committed entries, or elect twice.

Solution. Each data directory has a name of its own, and each node remembers, durably, with which
one a member came first. Whoever comes later under that id with another directory is not heard. The
way back is to remove the member and to add the node under its next id (``membership``). A variant
whose replicas recover under the id they have takes the new directory for what it is, and then it is
the earlier ones that are refused.

Invariants. A member id names one directory; of a variant that recovers, one at a time.

What breaks without it. A61: a wiped node votes again, and helps to elect a leader that lacks what
it acknowledged before.

Source: Kafka's KIP-853 (directory ids of voters); Liskov and Cowling, "Viewstamped Replication
Revisited" (2012), 4.3. The rule alone; kept in files by ``cluster.runtime.peer_directories``, and
in simulation by ``damage_watch``.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Directories that a member may have lost before no other is taken.
LOST_MAX = 64


class MemberDirectories:
    """With which directories a member may come.

    Args:
        recovers: whether a member may come with another directory than before.
    """

    __slots__ = ("_recovers",)

    def __init__(self, *, recovers: bool = False) -> None:
        self._recovers = recovers

    def takes(self, known: Sequence[str], directory: str) -> bool:
        """Decision: whether a member may be who it says.

        Args:
            known: the directories it came with so far, the present one first.
            directory: the one that it comes with.
        """
        if not known or directory == known[0]:
            return True
        return self._recovers and directory not in known and len(known) <= LOST_MAX
