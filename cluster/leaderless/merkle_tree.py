"""Merkle Tree: what two replicas hold compared by a few digests, and never by everything.

Problem. Two replicas hold a million keys and differ in three. To find the three by sending all keys
costs more than the repair.

Solution. Keys fall into ranges by a hash of their name. A leaf of the tree is the digest of a
range, each inner node that of its children. Equal roots say that all is equal; where they differ,
the children are compared, and only the ranges that differ are listed. The tree is incremental: a
leaf is the exclusive or of its keys' digests, so a changed key changes its leaf at once, and inner
nodes are computed when they are asked for.

Invariants. The root follows from the (key, digest) pairs alone, whatever the order in which they
came. Two trees differ in a leaf if and only if some key of that range differs.

What breaks without it. Replicas that missed writes, and their hints, stay behind until somebody
reads the keys.

Source: Merkle (1987); Dynamo's anti-entropy (2007). Pure; used by ``anti_entropy``.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

#: Children of a node, and inner levels below the root's: 256 ranges.
FAN_OUT = 16
DEPTH = 2

Path: TypeAlias = tuple[int, ...]


def path_of(key: str) -> Path:
    """The leaf that a key belongs to."""
    digest = hashlib.blake2b(key.encode(), digest_size=DEPTH).digest()
    return tuple(byte % FAN_OUT for byte in digest)


def _mix(key: str, digest: bytes) -> int:
    name = key.encode()
    joined = len(name).to_bytes(4, "big") + name + digest
    return int.from_bytes(hashlib.blake2b(joined, digest_size=16).digest(), "big")


class MerkleTree:
    """The digests of some keys."""

    __slots__ = ("_inner", "_keys", "_leaves")

    def __init__(self) -> None:
        self._keys: dict[Path, dict[str, bytes]] = {}
        self._leaves: dict[Path, int] = {}
        self._inner: dict[Path, bytes] = {}

    def __len__(self) -> int:
        return sum(map(len, self._keys.values()))

    def set(self, key: str, digest: bytes | None) -> None:
        """A key has this digest now; None if it is gone."""
        path = path_of(key)
        rows = self._keys.setdefault(path, {})
        leaf = self._leaves.get(path, 0)
        old = rows.pop(key, None)
        if old is not None:
            leaf ^= _mix(key, old)
        if digest is not None:
            rows[key] = digest
            leaf ^= _mix(key, digest)
        assert bool(rows) or leaf == 0, f"an empty range {path} has the digest {leaf}"
        self._leaves[path] = leaf
        for depth in range(DEPTH):
            self._inner.pop(path[:depth], None)

    def rows(self, leaf: Path) -> dict[str, bytes]:
        """The keys of a range with their digests."""
        return dict(self._keys.get(leaf, {}))

    def children(self, path: Path = ()) -> tuple[bytes, ...]:
        """The digests of a node's children, in order; a path too long has none."""
        if len(path) >= DEPTH:
            return ()
        return tuple(self._digest((*path, child)) for child in range(FAN_OUT))

    def root(self) -> bytes:
        """The digest of everything."""
        return self._digest(())

    def _digest(self, path: Path) -> bytes:
        if len(path) == DEPTH:
            return self._leaves.get(path, 0).to_bytes(16, "big")
        found = self._inner.get(path)
        if found is None:
            joined = b"".join(self.children(path))
            found = self._inner[path] = hashlib.blake2b(joined, digest_size=16).digest()
        return found
