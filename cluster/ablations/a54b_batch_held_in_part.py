"""A54b: a batch whose first entry is in the log is taken for a batch that is there as a whole.

A leader that got no answer sends again, and more has gathered since. The follower finds the first
entry, skips the batch, and acknowledges all of it. The new entries are committed by its word, and
it does not have them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.replicated_log import ReplicatedLog
from cluster.wire import Entry


class BatchHeldInPart(ReplicatedLog):
    """A log that looks at the first entry of a batch."""

    def missing(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """All or nothing."""
        if not entries or self.generation_at(entries[0].index) == entries[0].generation:
            return ()
        return [entry for entry in entries if entry.index > self.base_index]


ABLATION = Ablation(
    BatchHeldInPart,
    removes="Each entry of a batch that comes again is looked for in the log.",
    breaks="Writes are acknowledged that only the leader has, and are lost with it.",
    nemesis="packets,kill",
    pattern="request_batch",
    real=False,
)
