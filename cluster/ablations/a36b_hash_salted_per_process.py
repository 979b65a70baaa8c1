"""A36b: each node has a hash of its own, as Python's ``hash`` of a text is salted anew per process.

Two nodes send one key to two partitions. The salt here is the node's name, so that a run can be
repeated; ``hash`` itself takes a random one.
"""

from __future__ import annotations

import hashlib

from cluster.ablations.registry import Ablation
from cluster.data.fixed_partitions import FixedPartitions


class HashSaltedPerProcess(FixedPartitions):
    """Slots by a hash that only this node can compute."""

    def stable_hash(self, key: str) -> int:
        """Salted with the node's name."""
        text = f"{self.node}/{key}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


ABLATION = Ablation(
    HashSaltedPerProcess,
    removes="The hash of a key is the same in every process.",
    breaks="What was written through one node is not found through another.",
    nemesis="none",
    workload="list-append",
    checker="list-append",
    anomaly="G-single-item-realtime",
    random=False,
    real=False,
    role="data",
)
