"""Starving nodes: ``cpu`` (a twentieth of a processor, say) and ``memory`` (hardly a byte more).

A node without processor time is not paused: it answers, late, and its timers fire late too, so
leases and elections meet a leader that is neither well nor dead. A node without memory loses its
page cache and perhaps its life; one the kernel ended is started again at the end. Evidence: the
periods in which the kernel throttled it, and the times it was refused memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness.errors import SetupError, nearest
from harness.nemesis import layers
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, skipped

KINDS = ("cpu", "memory")
_CPU_SHARES = (0.02, 0.05, 0.1)
_HEADROOM_BYTES = (65_536, 262_144, 1_048_576)


class Pressure(Planner):
    """Starves nodes. Made by :func:`pressure`."""

    needs = frozenset({"pressure"})

    def __init__(self, name: str, kinds: Sequence[str], words: Sequence[str]) -> None:
        super().__init__(name, variants=kinds, words=words)
        self._starved: dict[int, dict[str, dict[str, int]]] = {}

    def draw(self, variant: str, rng: Random) -> dict[str, Any]:
        """How little is left."""
        if variant == "cpu":
            return {"limits": {"cpu_share": rng.choice(_CPU_SHARES)}}
        return {"limits": {"memory_headroom_bytes": rng.choice(_HEADROOM_BYTES)}}

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Limit the targets."""
        env: Any = context.env
        rng = dice(context, plan)
        kind = self.kind(plan, rng)
        limits = {**self.draw(kind, rng), **plan.params}["limits"]
        hit = await self.targets_of(context, plan, rng)
        hit = [node for node in hit if await env.alive(node)]
        if not hit:
            return skipped("nothing runs on the targets that could be starved")
        before = self._starved[plan.id] = {}
        proofs = {}
        for node in hit:
            before[node] = {}
            proofs[node] = await layers.of(env).set_pressure(env, plan.id, node, limits)
            before[node] = dict(proofs[node].get("counters", {}))
        return Injection({"kind": kind, **limits}, hit, evidence={"groups": proofs})

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Lift the limits, and start nodes the kernel ended for want of memory.

        Raises:
            SetupError: a limit cannot be lifted, or a node does not start again.
        """
        env: Any = context.env
        proofs, ended, failed = {}, [], {}
        starved = self._starved.pop(plan.id, {})
        for node in starved:
            try:
                dead = not await env.alive(node)
                proofs[node] = await layers.of(env).set_pressure(env, plan.id, node, None)
                if dead:
                    ended.append(node)
                    await env.start(node)
            except Exception as error:  # one node's trouble must not keep the others starved
                failed[node] = f"{type(error).__name__}: {error}"
        if failed:
            raise SetupError("; ".join(f"{node}: {why}" for node, why in failed.items()))
        gained = {node: _gained(starved[node], proof) for node, proof in proofs.items()}
        bit = any(any(counts.values()) for counts in gained.values())
        found = {"bit": bit, "gained": gained, "ended": ended}
        why = {} if bit else {"why": "the nodes never wanted more than they were left"}
        return {**injection.evidence, **found, **why}


def _gained(before: dict[str, int], proof: dict[str, Any]) -> dict[str, int]:
    after = proof.get("counters", {})
    return {name: count - before.get(name, 0) for name, count in after.items()}


def pressure(*, variant: str = "", targets: str = "") -> Pressure:
    """Little processor time and little memory in turn, or one; at one node, a minority, primaries.

    ``pressure-cpu`` and ``pressure-memory`` are the kinds alone.
    """
    if variant and variant not in KINDS:
        raise nearest("kind of pressure", variant, KINDS)
    words = (targets,) if targets else ("one", "minority", "primaries")
    kinds = (variant,) if variant else KINDS
    return Pressure(f"pressure-{variant}" if variant else "pressure", kinds, words)
