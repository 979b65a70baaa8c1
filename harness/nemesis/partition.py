"""Network partitions: some nodes do not hear some others.

``partition`` cycles through every shape that makes sense for the number of nodes; a shape of
:mod:`harness.nemesis.shapes` alone is chosen as ``partition-bridge`` or ``partition:bridge``.
``partition-primaries`` cuts off the nodes that lead now, ``partition-one-primary`` one of several;
in the cycle the first cuts off one node where no leader is known. Evidence: messages dropped, or
streams held, on the links that were cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness.environments.base import LinkFault
from harness.errors import UsageError, nearest
from harness.nemesis import evidence, layers, shapes
from harness.nemesis import targets as words
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, no_target, skipped

KINDS = (*shapes.SHAPES, "primaries")


class Partition(Planner):
    """Cuts directed links. Made by :func:`partition`."""

    needs = frozenset({"links"})

    def __init__(self, name: str, kinds: Sequence[str], targets: str) -> None:
        super().__init__(name, variants=kinds, words=(targets,) if targets else ())
        self._before: dict[int, Any] = {}
        self._cut: dict[int, tuple[shapes.Link, ...]] = {}

    def usable(self, nodes: Sequence[str]) -> Sequence[str]:
        """The shapes for which there are enough nodes."""
        fewest = {kind: least for kind, (_, least) in shapes.SHAPES.items()}
        found = [kind for kind in self._variants if fewest.get(kind, 2) <= len(nodes)]
        if not found:
            least = min(fewest.get(kind, 2) for kind in self._variants)
            raise UsageError(
                f"{self.name} needs at least {least} nodes, and the run has {len(nodes)}"
            )
        return found

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Cut the links of the plan's shape."""
        rng = dice(context, plan)
        kind = self.kind(plan, rng)
        shape = await self._shape(context, plan, kind, rng)
        if shape is None:
            return no_target(plan) if plan.targets else skipped("no leader is known now")
        if not shape.cut:
            return skipped("this leaves no two nodes to cut from each other")
        self._before[plan.id] = await context.env.link_counters()  # type: ignore[attr-defined]
        self._cut[plan.id] = shape.cut
        faults = {link: LinkFault(cut=True) for link in shape.cut}
        await layers.of(context.env).set_links(context.env, plan.id, faults)
        found = {"kind": kind, "links_cut": len(shape.cut)}
        return Injection(shape.value, _affected(shape, context.nodes), evidence=found)

    async def _shape(
        self, context: Context, plan: Plan, kind: str, rng: Random
    ) -> shapes.Shape | None:
        nodes = context.nodes
        if plan.targets:
            group = await self.targets_of(context, plan, rng)
            if not group:
                return None
            if kind == "one-way":
                return shapes.one_way_for(group, nodes, rng)
            return shapes.apart(group, nodes)
        if kind not in words.LEADING:
            shape, fewest = shapes.SHAPES[kind]
            return shape(nodes, rng) if len(nodes) >= fewest else shapes.Shape((), None)
        leaders = await words.resolve(kind, db=context.db, env=context.env, nodes=nodes, rng=rng)
        if leaders:
            return shapes.isolate(leaders, nodes)
        return shapes.one(nodes, rng) if len(self._variants) > 1 else None

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Let everything through; the evidence is what did not get through."""
        cut = self._cut.pop(plan.id, ())
        before = self._before.pop(plan.id, {})
        try:
            after = await context.env.link_counters()  # type: ignore[attr-defined]
        finally:
            await layers.of(context.env).set_links(context.env, plan.id, None)
        changes = evidence.link_changes(before, after, cut)
        bit = evidence.links_bit(changes, frozenset({"dropped", "held"}))
        why = evidence.why_not(bit, changes)
        return {**injection.evidence, "bit": bit, "links": changes, **why}


def _affected(shape: shapes.Shape, nodes: Sequence[str]) -> list[str]:
    """The nodes which are not with the largest group, or all where there are no groups."""
    if isinstance(shape.value, list):
        largest = max(shape.value, key=len)
        return [node for node in nodes if node not in largest]
    ends = {node for link in shape.cut for node in link}
    return [node for node in nodes if node in ends]


def partition(*, variant: str = "", targets: str = "") -> Partition:
    """Partitions of every shape, or of one.

    Args:
        variant: a shape's name, or "" to cycle through all.
        targets: a target word or node names: these against the rest, without a shape.
    """
    if variant and variant not in (*KINDS, *words.LEADING):
        raise nearest("kind of partition", variant, (*KINDS, *words.LEADING))
    kinds = (variant,) if variant else ("halves", "one-way") if targets else KINDS
    return Partition(f"partition-{variant}" if variant else "partition", kinds, targets)
