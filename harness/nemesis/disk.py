"""Faulty disks: ``slow`` (latency), ``eio`` (errors), ``full`` (no space), ``torn``, ``flip``.

Through the node's own disk layer, so only where the environment can reach it: our cluster's nodes
on `local`, simulated ones on `sim`. A node whose disk fails stops itself rather than promise what
it did not write; it is started again when the disk is healed, as an operator would. Evidence: the
disk's answer to the request, and whether the node stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness.errors import SetupError, nearest
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, no_target, skipped

KINDS = ("slow", "eio", "full", "torn", "flip")
_DEFAULT = ("slow", "eio", "full")
_MS = 1_000_000


class Disk(Planner):
    """Makes disks faulty. Made by :func:`disk`."""

    needs = frozenset({"disk"})

    def __init__(self, name: str, kinds: Sequence[str], words: Sequence[str]) -> None:
        super().__init__(name, variants=kinds, words=words)
        self._faulty: dict[int, list[str]] = {}
        self._counts: dict[int, dict[str, dict[str, int]]] = {}

    def draw(self, variant: str, rng: Random) -> dict[str, Any]:
        """The disk's new manners, as the environment's ``set_disk`` takes them."""
        match variant:
            case "slow":
                return {"disk": {"latency_ns": rng.choice((5, 50, 200)) * _MS}}
            case "eio":
                return {"disk": {"error": "EIO"}}
            case _:
                return {"disk": {variant: True}}

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Make the targets' disks faulty."""
        env: Any = context.env
        rng = dice(context, plan)
        kind = self.kind(plan, rng)
        faults = {**self.draw(kind, rng), **plan.params}["disk"]
        hit = await self.targets_of(context, plan, rng)
        hit = [node for node in hit if await env.alive(node)]
        if not hit:
            return no_target(plan)
        self._faulty[plan.id] = hit
        proofs = {node: await env.set_disk(node, faults) for node in hit}
        self._counts[plan.id] = {node: _counts(proof) for node, proof in proofs.items()}
        if all(proof.get("skipped") for proof in proofs.values()):
            del self._faulty[plan.id]
            return skipped("this would leave no undamaged majority of disks")
        return Injection({"kind": kind, **faults}, hit, evidence={"disks": proofs})

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Make the disks good, and start nodes that stopped themselves.

        Raises:
            SetupError: a node's disk cannot be healed, or it does not start again.
        """
        env: Any = context.env
        proofs, stopped, failed = {}, [], {}
        for node in self._faulty.pop(plan.id, []):
            try:
                if await env.alive(node):
                    proofs[node] = await env.set_disk(node, {})
                    continue
                stopped.append(node)
                # The disk first: on a bad one the node would only stop itself again.
                await env.set_disk(node, {})
                if not await env.alive(node):
                    await env.start(node)
            except Exception as error:
                failed[node] = f"{type(error).__name__}: {error}"
        if failed:
            raise SetupError("; ".join(f"{node}: {why}" for node, why in failed.items()))
        before = self._counts.pop(plan.id, {})
        grown = any(_grew(before.get(node, {}), _counts(proof)) for node, proof in proofs.items())
        bit = bool(stopped) or grown or any(p.get("flipped") for p in proofs.values())
        return {**injection.evidence, "bit": bit, "healed": proofs, "stopped_itself": stopped}


def _counts(proof: dict[str, Any]) -> dict[str, int]:
    """What the disk did so far, by kind, wherever in its answer that is."""
    found = proof.get("counts", proof)
    whole = {name: n for name, n in found.items() if type(n) is int}
    return {name: n for name, n in whole.items() if not name.endswith("_ns")}


def _grew(before: dict[str, int], after: dict[str, int]) -> bool:
    return any(count > before.get(name, 0) for name, count in after.items())


def disk(*, variant: str = "", targets: str = "") -> Disk:
    """Slow, failing and full disks in turn, or one kind; at one node or a minority.

    Torn writes and flipped bits must be asked for: at more nodes than a system tolerates they
    destroy what no system can keep.
    """
    if variant and variant not in KINDS:
        raise nearest("kind of disk fault", variant, KINDS)
    words = (targets,) if targets else ("one", "minority")
    kinds = (variant,) if variant else _DEFAULT
    return Disk(f"disk-{variant}" if variant else "disk", kinds, words)
