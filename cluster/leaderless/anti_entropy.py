"""Anti-Entropy: replicas compare what they hold in the background, until they hold the same.

Problem. A key that is not read, whose write missed a replica and whose hint was lost, stays
different for ever.

Solution. Now and then a node sends a peer the digests of its Merkle tree's topmost ranges, of the
keys that both hold. The peer compares them with its own, and answers with the digests of what lies
below each range that differs, and so on down to ranges whose keys are listed. For each key that
differs both sides send what they hold; merging does the rest. Peers take turns.

Invariants. Two replicas of equal trees hold the same states. Every exchange is a merge: it may be
lost, repeated or late.

What breaks without it. A replica that was away longer than hints are kept stays behind.

Source: Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (1987); DeCandia et
al., "Dynamo" (2007), section 4.7. Used by ``cluster.leaderless.node``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.leaderless.merkle_tree import DEPTH, MerkleTree, Path, path_of
from cluster.ports import NodeId

#: Keys of one range that are sent at a time; the next comparison finds the others.
KEYS_MAX = 64


class AntiEntropy:
    """Compares trees.

    Args:
        every_ns: time between two comparisons.
    """

    __slots__ = ("_every_ns", "_turn", "due_ns")

    def __init__(self, *, every_ns: int) -> None:
        self._every_ns = every_ns
        self._turn = 0
        #: when the next comparison begins
        self.due_ns = 0

    def next_peer(self, now_ns: int, peers: Sequence[NodeId]) -> NodeId | None:
        """The peer to compare with now, of the other members; None if it is not time."""
        if now_ns < self.due_ns:
            return None
        self.due_ns = now_ns + self._every_ns
        if not peers:
            return None
        self._turn = (self._turn + 1) % len(peers)
        return peers[self._turn]

    def differing(self, tree: MerkleTree, path: Path, digests: Sequence[bytes]) -> list[Path]:
        """The children of a node in which a peer's tree differs from one's own.

        Args:
            tree: one's own.
            path: the node.
            digests: of the peer's children there.
        """
        own = tree.children(path)
        if len(own) != len(digests):
            return []
        pairs = zip(own, digests, strict=True)
        return [(*path, child) for child, (mine, other) in enumerate(pairs) if mine != other]

    def is_range(self, path: Path) -> bool:
        """Whether the keys below a node are listed rather than compared by digests."""
        return len(path) == DEPTH

    def to_send(
        self, tree: MerkleTree, path: Path, rows: Sequence[tuple[str, bytes]]
    ) -> tuple[list[str], list[str]]:
        """The keys of a range to be sent to a peer, and those to be asked for.

        Args:
            tree: one's own.
            path: the range.
            rows: the peer's keys there, with the digests of their states.
        """
        own = tree.rows(path)
        theirs = {key: digest for key, digest in rows if path_of(key) == path}
        differs = [key for key, digest in theirs.items() if own.get(key) != digest]
        send = [key for key in differs if key in own] + [key for key in own if key not in theirs]
        return send[:KEYS_MAX], differs[:KEYS_MAX]
