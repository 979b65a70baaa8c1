"""What a node with a damaged disk says of itself, to its operator and to clients.

The rules are in :mod:`cluster.consensus.damage_repair`. Used by ``replica`` and ``client_answers``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.config import ClusterConfig
from cluster.consensus.interface import Consensus
from cluster.ports import NodeId


def recovering(node: NodeId, config: ClusterConfig, consensus: Consensus) -> dict[str, Any] | None:
    """For the status: what the node is still to be repaired from; None if it is sound."""
    repair = consensus.repair
    if repair.damage is None:
        return None
    beyond = repair.beyond_quorum(node, consensus.node.electorate(), 4 * config.election_max_ns)
    return {**msgspec.structs.asdict(repair.damage), "beyond_quorum": beyond}


def why_no_leader(node: NodeId, config: ClusterConfig, consensus: Consensus) -> str:
    """For a client: that no leader is known, and whether damage is why."""
    why = f"{node} knows no leader"
    found = recovering(node, config, consensus)
    if found is None:
        return why
    why = f"{why}, and is damaged: {found['file']} at byte {found['offset']}: {found['reason']}"
    if found["beyond_quorum"]:
        why = f"{why}; so many nodes are damaged that the others form no quorum"
    return why
