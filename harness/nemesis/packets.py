"""A bad network that is not cut: delay, loss, duplication, reordering, corruption, low rate.

``packets`` cycles through the kinds; ``packets-delay`` is one. All links to and from the targets
are affected in both directions. Evidence: the links' counters of what was done to messages. In byte
streams TCP hides duplication and reordering, so such a fault is reported as not having bitten.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from harness.environments.base import LinkFault
from harness.errors import nearest
from harness.nemesis import evidence, layers
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, no_target

KINDS = ("delay", "loss", "duplicate", "reorder", "corrupt", "rate")
_MS = 1_000_000


class Packets(Planner):
    """Makes links bad. Made by :func:`packets`."""

    needs = frozenset({"packets"})

    def __init__(self, name: str, kinds: Sequence[str], words: Sequence[str]) -> None:
        super().__init__(name, variants=kinds, words=words)
        self._before: dict[int, Any] = {}
        self._links: dict[int, tuple[list[tuple[str, str]], LinkFault]] = {}

    def draw(self, variant: str, rng: Random) -> dict[str, Any]:
        """How bad: from hardly noticeable to hardly usable."""
        match variant:
            case "delay":
                delay_ns = rng.choice((10, 50, 100, 300)) * _MS
                return {"delay_ns": delay_ns, "jitter_ns": delay_ns // 2}
            case "rate":
                return {"rate_bytes_per_s": rng.choice((10_000, 50_000, 250_000))}
            case _:
                return {variant: rng.choice((0.05, 0.2, 0.5))}

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Make every link of the targets bad."""
        rng = dice(context, plan)
        kind = self.kind(plan, rng)
        params = {**self.draw(kind, rng), **plan.params}
        fields = {name: params[name] for name in LinkFault.__struct_fields__ if name in params}
        fault = msgspec.convert(fields, LinkFault)
        hit = await self.targets_of(context, plan, rng)
        links = [
            (a, b)
            for a in context.nodes
            for b in context.nodes
            if a != b and (a in hit or b in hit)
        ]
        if not links:
            return no_target(plan)
        self._before[plan.id] = await context.env.link_counters()  # type: ignore[attr-defined]
        self._links[plan.id] = (links, fault)
        await layers.of(context.env).set_links(context.env, plan.id, dict.fromkeys(links, fault))
        value = {"kind": kind, **msgspec.to_builtins(fault)}
        return Injection(value, hit, evidence={"links_affected": len(links)})

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Make the links good again; the evidence is what they did meanwhile."""
        links, fault = self._links.pop(plan.id, ([], LinkFault()))
        before = self._before.pop(plan.id, {})
        try:
            after = await context.env.link_counters()  # type: ignore[attr-defined]
        finally:
            await layers.of(context.env).set_links(context.env, plan.id, None)
        changes = evidence.link_changes(before, after, links)
        bit = evidence.links_bit(changes, evidence.wanted_counters(fault))
        why = evidence.why_not(bit, changes)
        return {**injection.evidence, "bit": bit, "links": changes, **why}


def packets(*, variant: str = "", targets: str = "") -> Packets:
    """Bad links of every kind, or of one; at one node, a minority, or all, unless said."""
    if variant and variant not in KINDS:
        raise nearest("kind of packets", variant, KINDS)
    words = (targets,) if targets else ("one", "minority", "all")
    return Packets(
        f"packets-{variant}" if variant else "packets", (variant,) if variant else KINDS, words
    )
