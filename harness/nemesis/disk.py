"""Faulty disks: ``slow`` (latency), ``eio`` (errors), ``full`` (no space), ``torn``, ``flip``.

Through the node's own disk layer, so only where the environment can reach it: our cluster's nodes
on `local`, simulated ones on `sim`. A node whose disk fails stops itself rather than promise what
it did not write; it is started again when the disk is healed, as an operator would. A node that was
killed and does not start because a bit of its log was flipped does what it should, and stays away.
Evidence: what the disk counted, and whether the node stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from harness.errors import SetupError, nearest
from harness.nemesis import layers
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, damaged, dice, skipped

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
            return skipped("nothing runs on the targets whose disk could be made faulty")
        self._faulty[plan.id] = hit
        disks = layers.of(env)
        proofs = {node: await disks.set_disk(env, plan.id, node, faults) for node in hit}
        self._counts[plan.id] = {node: _counts(proof) for node, proof in proofs.items()}
        if all(proof.get("skipped") for proof in proofs.values()):
            del self._faulty[plan.id]
            why = next(iter(proofs.values())).get("why")
            return skipped(why or "this would leave no undamaged majority of disks")
        bit = any(proof.get("flipped_now") for proof in proofs.values())
        return Injection({"kind": kind, **faults}, hit, evidence={"disks": proofs, "bit": bit})

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Make the disks good, and start nodes that stopped themselves.

        Raises:
            SetupError: a node's disk cannot be healed, or it does not start again.
        """
        env: Any = context.env
        healing = _Healing()
        for node in self._faulty.pop(plan.id, []):
            try:
                await self._heal_one(env, plan, node, healing)
            except Exception as error:  # one node's trouble must not keep the others faulty
                said = f"{type(error).__name__}: {error}"
                (healing.refused if node in damaged(env) else healing.failed)[node] = said
        if healing.failed:
            raise SetupError("; ".join(f"{node}: {why}" for node, why in healing.failed.items()))
        before = self._counts.pop(plan.id, {})
        proofs = healing.proofs
        grown = any(_grew(before.get(node, {}), _counts(proof)) for node, proof in proofs.items())
        felt = any(proof.get("felt") for proof in proofs.values())
        bit = bool(injection.evidence.get("bit") or healing.stopped or grown or felt)
        found = {"bit": bit, "healed": proofs, "stopped_itself": healing.stopped}
        if healing.refused:
            found["refused_to_start"] = healing.refused
        if not bit:
            found["why"] = "nothing was written to the faulty disks meanwhile"
        return {**injection.evidence, **found}

    async def _heal_one(self, env: Any, plan: Plan, node: str, healing: _Healing) -> None:
        was_alive = await env.alive(node)
        if not was_alive:
            healing.stopped.append(node)
        # The disk first: on a bad one the node would only stop itself again.
        healing.proofs[node] = await layers.of(env).set_disk(env, plan.id, node, None)
        if not await env.alive(node):
            await env.start(node)


class _Healing(msgspec.Struct):
    """What healing found: the disks' answers, and nodes that stopped, refused or failed."""

    proofs: dict[str, dict[str, Any]] = {}
    stopped: list[str] = []
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}


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
