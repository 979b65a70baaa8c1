"""Membership changes: a node is removed from the cluster, and added again at the end.

Asks the database (``remove_member``, ``add_member``), which alone knows how its system does that;
in systems where a node may not come back with the disk it left with, adding includes emptying it.
Never removes more than a minority, nor so many that most of the voters left would have damaged
disks. A database that refuses for a reason of its own (too few others
are alive) is obeyed: if the node is definitely still a member, the fault is skipped, with the
reason.

Evidence: the database's calls returned; where it can list its members (``members``), the list read
back without the node, and at the end with it. A node that cannot be added while other faults last
is reported as not healed; the reference cluster's database brings it back once all is healed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.databases.base import Members
from harness.errors import SetupError
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, damaged, dice, no_target, skipped

WORDS = ("one", "primaries")
#: How often, and how soon again, members are asked for while the answer is unknown.
LOOKS, LOOK_EVERY_NS = 8, 150_000_000


class Membership(Planner):
    """Removes and adds members. Made by :func:`membership`."""

    needs = frozenset({"membership"})
    #: methods the database must have
    db_needs = ("add_member", "remove_member")
    #: a majority must agree to a removal
    needs_calm = True

    def __init__(self, name: str, words: Sequence[str]) -> None:
        super().__init__(name, variants=("remove",), words=words)
        self._removed: dict[int, list[str]] = {}
        #: nodes that could not be added again when their fault was healed
        self._late: list[str] = []

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Remove the targets from the cluster."""
        late = await self._bring_back(context, self._late)
        if late:
            return skipped(f"an earlier one is not back yet: {'; '.join(late)}")
        rng = dice(context, plan)
        hit = await self.targets_of(context, plan, rng)
        if not hit and plan.targets == "primaries" and self.cycles_words:
            hit = [rng.choice(list(context.nodes))]
        if not hit:
            return no_target(plan)
        if len(hit) * 2 >= len(context.nodes):
            return skipped(f"removing {len(hit)} of {len(context.nodes)} nodes leaves no majority")
        if why := await _unsound_without(context, hit):
            return skipped(why)
        removed = self._removed[plan.id] = []
        said = ""
        for name in hit:
            # Noted first: a removal that raises may have happened.
            removed.append(name)
            try:
                await context.db.remove_member(context.env.node(name))
            except SetupError as error:
                said = str(error)
                break
        members = await _members(context)
        if said and (members is None or not set(removed) <= set(members)):
            raise SetupError(said)
        if said:
            del self._removed[plan.id]
            return skipped(f"the database refused: {said}")
        if members is None:
            return Injection({"removed": hit}, hit, evidence={"bit": True})
        proof = {"members": members, "bit": bool(members) and not set(hit) & set(members)}
        return Injection({"removed": hit}, hit, evidence=proof)

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Add them again.

        Raises:
            SetupError: one could not be added; the others were.
        """
        owed = self._removed.pop(plan.id, [])
        failed = await self._bring_back(context, owed)
        added = [name for name in owed if name not in self._late]
        if failed:
            raise SetupError(f"not added again: {'; '.join(failed)}")
        evidence: dict[str, Any] = {**injection.evidence, "added": added}
        members = await _members(context)
        return evidence if members is None else {**evidence, "members_after": members}

    async def _bring_back(self, context: Context, names: list[str]) -> list[str]:
        """Add nodes; those that could not be are remembered, and why is returned."""
        failed = []
        for name in list(names):
            try:
                await context.db.add_member(context.env.node(name))
                self._late = [late for late in self._late if late != name]
            except SetupError as error:
                failed.append(f"{name}: {error}")
                self._late = [*(late for late in self._late if late != name), name]
        return failed


async def _unsound_without(context: Context, hit: Sequence[str]) -> str:
    """Why nodes may not leave: the voters left would have no majority of sound disks; "" if they
    may."""
    unsound = damaged(context.env)
    if not unsound:
        return ""
    from cluster.simulation.sound_voters import majority_stays

    voters = {*(await _members(context) or context.nodes)}
    if majority_stays({*unsound}, [voters], hit):
        return ""
    disks = ", ".join(unsound)
    return f"without {', '.join(hit)} most voters would have damaged disks: those of {disks} are"


async def _members(context: Context) -> list[str] | None:
    """The members as the database lists them; None if it cannot."""
    db = context.db
    if not isinstance(db, Members):
        return None
    nodes = [context.env.node(name) for name in context.nodes]
    found = list(await db.members(nodes))
    for _ in range(LOOKS):
        if found:
            break
        await context.env.sleep(LOOK_EVERY_NS)  # there is no leader just now
        found = list(await db.members(nodes))
    return found


def membership(*, variant: str = "", targets: str = "") -> Membership:
    """A leader, or any one member, leaves and joins again; or the targets do."""
    chosen = targets or variant
    return Membership("membership", (chosen,) if chosen else WORDS)
