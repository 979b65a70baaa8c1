"""A03b: a log is cut at the first bad record, also where entries beyond it were acknowledged.

A crash leaves a torn record at the end of a log, and recovery cuts it: it was never acknowledged. A
store that cuts at any bad record treats a bad sector in the middle, or a lost segment, the same
way. The node starts as if healthy, without entries that it acknowledged. With one more node that
lags it elects a leader, and the writes are gone.

Source: Alagappan and others, "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018),
which found this ("truncate") in real systems.
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.log.storage import Storage


class CutsDamageLikeATornTail(Storage):
    """Storage for which every damage is a torn tail."""

    def tells_of_damage(self) -> bool:
        """False: what is left after the cut counts as the log."""
        return False


ABLATION = Ablation(
    CutsDamageLikeATornTail,
    pattern="write_ahead_log",
    removes="What was promised is compared with what the log holds after a restart.",
    breaks="Acknowledged writes are gone after one node's log was damaged.",
    nemesis="disk-lost-tail,partition",
    real=False,
)
