"""Membership changes: a node is removed from the cluster, and added again at the end.

Asks the database (``remove_member``, ``add_member``), which alone knows how its system does that.
Never removes more than a minority. Evidence: the database's calls returned; where it can list its
members (``members``), the list without the node.
"""

from __future__ import annotations

from typing import Any

from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, no_target, skipped


class Membership(Planner):
    """Removes and adds members. Made by :func:`membership`."""

    needs = frozenset({"membership"})
    #: methods the database must have
    db_needs = ("add_member", "remove_member")

    def __init__(self, name: str, targets: str) -> None:
        super().__init__(name, variants=("remove",), words=(targets,))
        self._removed: dict[int, list[str]] = {}

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Remove the targets from the cluster."""
        hit = await self.targets_of(context, plan, dice(context, plan))
        if not hit:
            return no_target(plan)
        if len(hit) * 2 >= len(context.nodes):
            return skipped(f"removing {len(hit)} of {len(context.nodes)} nodes leaves no majority")
        removed = self._removed[plan.id] = []
        for name in hit:
            # Noted first: a removal that raises may have happened.
            removed.append(name)
            await context.db.remove_member(context.env.node(name))
        return Injection({"removed": hit}, hit, evidence=await self._listed(context, hit))

    @staticmethod
    async def _listed(context: Context, hit: list[str]) -> dict[str, Any]:
        ask = getattr(context.db, "members", None)
        if ask is None:
            return {"bit": True}
        members = list(await ask([context.env.node(name) for name in context.nodes]))
        return {"members": members, "bit": not set(hit) & set(members)}

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Add them again."""
        removed = self._removed.pop(plan.id, [])
        for name in removed:
            await context.db.add_member(context.env.node(name))
        return {**injection.evidence, "added": removed}


def membership(*, variant: str = "", targets: str = "") -> Membership:
    """One member leaves and joins again, or the targets do."""
    return Membership("membership", targets or variant or "one")
