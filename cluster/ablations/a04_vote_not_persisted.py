"""A04: a node's generation and vote are kept in memory only.

Each node has one vote in a generation, and whoever gets a majority of them leads it alone. A node
that forgets in a restart that it voted votes once more, for another. Both candidates lead the same
generation then, and entries of the same index and generation differ: nothing in the protocol can
tell them apart any more.

Source: the persistent state of Ongaro and Ousterhout, "In Search of an Understandable Consensus
Algorithm" (2014), figure 2; Joshi, *Patterns of Distributed Systems*, "Generation Clock".
"""

from __future__ import annotations

from cluster.ablations.registry import Ablation
from cluster.log.storage import Storage


class ForgetsVotes(Storage):
    """Storage that writes entries and snapshots, and no votes."""

    def keeps_votes(self) -> bool:
        """Votes are not written."""
        return False


ABLATION = Ablation(
    ForgetsVotes,
    pattern="generation_clock",
    removes="A vote is durable before it leaves the node.",
    breaks="Two nodes lead one generation, and both acknowledge writes for one place in the log.",
    nemesis="kill,partition",
    random=False,
    real=False,
)
