"""Faulty disks: ``slow``, ``eio`` (errors), ``full`` (no space), ``torn``, ``flip``, ``lost-tail``.

Through the node's own disk layer, so only where the environment can reach it: our cluster's nodes
on `local`, simulated ones on `sim`. A node whose disk fails stops itself rather than promise what
it did not write; it is started again when the disk is healed, as an operator would. A node that was
killed and does not start because a bit of its log was flipped does what it should.
Evidence: what the disk counted, and whether the node stopped.

``flip`` and ``lost-tail`` damage files at rest, where the environment knows them: the node is
killed, a bit of one of its files is flipped, or the end of its log is cut, emptied or deleted, and
the node is started when the fault ends. It must come back by itself, repaired from its peers, or
refuse. One that refuses is replaced by a new member, if the database can do that, and stays away
else (:mod:`harness.nemesis.damaged_nodes`). Evidence: the file and the bytes that changed, read
back, and for each node whether it was repaired, what it said, and what took its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from harness.environments.base import FileDamages
from harness.errors import SetupError, nearest
from harness.nemesis import layers
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, damaged, dice, skipped
from harness.nemesis.damaged_nodes import Comeback, come_back, evidence_of

KINDS = ("slow", "eio", "full", "torn", "flip", "lost-tail")
#: done to the files of a node that was killed for it
_AT_REST = ("flip", "lost-tail")
_DEFAULT = ("slow", "eio", "full")
_MS = 1_000_000


class Disk(Planner):
    """Makes disks faulty. Made by :func:`disk`."""

    needs = frozenset({"disk"})

    def __init__(self, name: str, kinds: Sequence[str], words: Sequence[str]) -> None:
        super().__init__(name, variants=kinds, words=words)
        if tuple(kinds) == ("lost-tail",):
            self.needs |= {"files"}
        self._faulty: dict[int, list[str]] = {}
        self._counts: dict[int, dict[str, dict[str, int]]] = {}
        self._damaged: dict[int, list[str]] = {}

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
        if kind in _AT_REST and (kind == "lost-tail" or _files_of(env, hit) is not None):
            return await self._damage(env, plan, kind, hit, rng)
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
        if plan.id in self._damaged:
            return await self._bring_back(context, self._damaged.pop(plan.id), injection)
        healing = _Healing()
        for node in self._faulty.pop(plan.id, []):
            try:
                await self._heal_one(context, plan, node, healing)
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
        found: dict[str, Any] = {"bit": bit, "healed": proofs, "stopped_itself": healing.stopped}
        found |= evidence_of(healing.comebacks)
        if healing.refused:
            found["refused_to_start"] = found.get("refused_to_start", {}) | healing.refused
        if not bit:
            found["why"] = "nothing was written to the faulty disks meanwhile"
        return {**injection.evidence, **found}

    async def _damage(
        self, env: Any, plan: Plan, kind: str, hit: list[str], rng: Random
    ) -> Injection:
        """Kill nodes and damage their files; those that could not be damaged are not touched."""
        files = _files_of(env, hit)
        if files is None:
            return skipped("the files of this database are not ones that are known")
        found = {node: await files.damage(node, kind, rng.getrandbits(62)) for node in hit}
        hit = [node for node in hit if "file" in found[node] or "killed" in found[node]]
        if not hit:
            return skipped("; ".join(str(proof.get("why")) for proof in found.values()))
        self._damaged[plan.id] = hit
        bit = any(proof.get("changed_bytes") for proof in found.values())
        return Injection({"kind": kind}, hit, evidence={"damage": found, "bit": bit})

    async def _bring_back(
        self, context: Context, nodes: list[str], injection: Injection
    ) -> dict[str, Any]:
        """Start what was damaged, wait a while for its repair, or have it replaced."""
        found = {node: await come_back(context.env, context.db, node) for node in nodes}
        return {**injection.evidence, **evidence_of(found)}

    async def _heal_one(self, context: Context, plan: Plan, node: str, healing: _Healing) -> None:
        env: Any = context.env
        was_alive = await env.alive(node)
        if not was_alive:
            healing.stopped.append(node)
        # The disk first: on a bad one the node would only stop itself again.
        healing.proofs[node] = await layers.of(env).set_disk(env, plan.id, node, None)
        healing.comebacks[node] = await come_back(env, context.db, node)


def _files_of(env: Any, nodes: Sequence[str]) -> FileDamages | None:
    """The part that damages these nodes' files; None if it does not know them."""
    files = getattr(env, "files", None)
    known = isinstance(files, FileDamages) and all(files.knows(node) for node in nodes)
    return files if known else None


class _Healing(msgspec.Struct):
    """The outcome of healing: the disks' answers, and nodes that stopped, came back or failed."""

    proofs: dict[str, dict[str, Any]] = {}
    comebacks: dict[str, Comeback] = {}
    stopped: list[str] = []
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}


def _counts(proof: dict[str, Any]) -> dict[str, int]:
    """The disk's counts so far, by kind, at any depth of its answer."""
    found = proof.get("counts", proof)
    whole = {name: n for name, n in found.items() if type(n) is int}
    return {name: n for name, n in whole.items() if not name.endswith("_ns")}


def _grew(before: dict[str, int], after: dict[str, int]) -> bool:
    return any(count > before.get(name, 0) for name, count in after.items())


def disk(*, variant: str = "", targets: str = "") -> Disk:
    """Slow, failing and full disks in turn, or one kind; at one node or a minority.

    Torn writes, flipped bits and lost tails must be asked for: at more nodes than a system
    tolerates they destroy what no system can keep.
    """
    if variant and variant not in KINDS:
        raise nearest("kind of disk fault", variant, KINDS)
    words = (targets,) if targets else ("one", "minority")
    kinds = (variant,) if variant else _DEFAULT
    return Disk(f"disk-{variant}" if variant else "disk", kinds, words)
