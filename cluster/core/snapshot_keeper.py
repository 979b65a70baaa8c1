"""When a node writes its state down, so that the log below can go.

Problem. A log that only grows fills the disk and makes every restart longer. A snapshot costs as
much as the state is large, and no request is served while it is encoded.

Solution. A snapshot is due once enough was applied since the last one, and the log has grown as
large as the state (``replicated_state``). The members do it at different sizes of the log.

Invariant. A snapshot is of applied entries only; what it covers may leave the log afterwards.

Source: Joshi, "Low-Water Mark"; Raft thesis 5. Used by ``cluster.core.replica``.
"""

from __future__ import annotations

from cluster.config import ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.core.replicated_state import ReplicatedState
from cluster.ports import NodeId


class SnapshotKeeper:
    """Takes the snapshots of one node.

    Args:
        node: this node.
        config: how many entries are applied between two snapshots.
        consensus: makes them durable, and lets the log go.
        state: what is written down.
    """

    __slots__ = ("_config", "_consensus", "_due_from", "_node", "_state")

    def __init__(
        self, node: NodeId, *, config: ClusterConfig, consensus: Consensus, state: ReplicatedState
    ) -> None:
        self._node, self._config = node, config
        self._consensus, self._state = consensus, state
        #: none is due below this index
        self._due_from = 0

    def keep(self) -> bool:
        """Take a snapshot when enough was applied since the last; whether one was taken."""
        applied, consensus = self._state.applied, self._consensus
        if applied < self._due_from:
            return False
        before = consensus.snapshot_index
        self._due_from = before + self._config.snapshot_entries
        if applied < self._due_from or not self._is_worth_it():
            return False
        consensus.compact(applied, self._state.encode())
        return consensus.snapshot_index > before

    def _is_worth_it(self) -> bool:
        members = self._consensus.membership.current.nodes
        rank = members.index(self._node) if self._node in members else 0
        return self._state.worth_a_snapshot(rank, max(1, len(members)))
