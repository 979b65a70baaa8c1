"""Status of a data node: what its operators and the harness read.

The fields of the whole are those of its replica of the core, if it is in it, so that a data cluster
is looked at as a core is; beside them is a row for each group.

Used by ``node``.
"""

from __future__ import annotations

from typing import Any

from cluster.data.replicated_groups import CORE, ReplicatedGroups
from cluster.ports import NodeId

#: Role of a node that is not in the core.
DATA = "data"

_NOTHING: dict[str, Any] = {
    "role": DATA, "generation": 0, "voted_for": "", "high_water_mark": 0, "applied": 0,
    "first_index": 1, "last_index": 0, "snapshot_index": 0, "members": [], "learners": [],
    "outgoing": [], "configuration_index": 0, "sessions": 0, "keys": 0, "duplicates": 0,
}  # fmt: skip


def status_of(node: NodeId, groups: ReplicatedGroups, *, core: NodeId) -> dict[str, Any]:
    """The status, JSON-ready.

    Args:
        node: the node.
        groups: those that are here.
        core: a member of the core, the leader if it is known; "" for none.
    """
    rows = groups.rows()
    own = next((row for row in rows if row["group"] == CORE), {**_NOTHING, "leader": core})
    damage = [row["recovering"] for row in rows if row["recovering"]]
    return {
        "node": node,
        "consensus": rows[0]["consensus"] if rows else "",
        **{name: value for name, value in own.items() if name != "group"},
        "recovering": damage[0] if damage else None,
        "leads": [row["group"] for row in rows if row["role"] == "leader"],
        "groups": rows,
    }
