"""A61: a node whose disk was wiped comes back under its old id, and is heard.

It has forgotten its votes and its acknowledgements. The others count it as the one it was.

Source: Ongaro's Raft thesis (2014), 11.7.2; Kafka's KIP-853 (directory ids of voters).
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ablations.registry import Ablation
from cluster.consensus.member_directories import MemberDirectories


class AnyDirectory(MemberDirectories):
    """A name is enough."""

    def takes(self, known: Sequence[str], directory: str) -> bool:
        """True: any data directory is taken."""
        return True


ABLATION = Ablation(
    AnyDirectory,
    removes="A member that comes with another data directory than before is not heard.",
    breaks="With a wiped node a majority elects a leader that lacks acknowledged writes.",
    nemesis="kill",
    pattern="majority_quorum",
    random=False,
    real=False,
)
