"""Wrong clocks: ``jump`` (an offset), ``drift`` (a rate), ``strobe`` (back and forth, fast).

A system that takes two wall clocks for one, or a wall clock for a monotonic one, loses data here.
Sizes go from below a typical bound on clock offset to far beyond it, either way. Evidence: the
offset read back from the node's clock, within tolerance; for a drift, the rate or the offset it led
to.

``clock-bounded`` goes no further than what the database assumes of clocks
(:mod:`harness.assumptions`), and often as far: a sound system keeps its promises under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness.assumptions import assumptions_of
from harness.errors import SetupError, nearest
from harness.nemesis import layers
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, dice, no_target, skipped
from harness.nemesis.evidence import clock_bit

KINDS = ("jump", "drift", "strobe")
BOUNDED = "bounded"
_MS = 1_000_000
_OFFSETS_NS = tuple(ms * _MS for ms in (100, 500, 2_000, 10_000, 60_000, 3_600_000))
_RATES = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0)
#: of the bound, and to which side; a fast clock ends leases early
_LEANINGS = (1.0, 1.0, 0.5, -0.5, -1.0)
_STROBE_STEP_NS = 100 * _MS
_STROBE_NS_MAX = 1_000 * _MS


class Clock(Planner):
    """Sets clocks wrong. Made by :func:`clock`."""

    needs = frozenset({"clock"})

    def __init__(self, name: str, kinds: Sequence[str], words: Sequence[str]) -> None:
        super().__init__(name, variants=kinds, words=words)
        self._wrong: dict[int, tuple[list[str], tuple[int, float]]] = {}

    def draw(self, variant: str, rng: Random) -> dict[str, Any]:
        """How wrong."""
        if variant == "drift":
            return {"rate": rng.choice(_RATES)}
        if variant == BOUNDED:
            return {"lean": rng.choice(_LEANINGS)}
        return {"offset_ns": rng.choice(_OFFSETS_NS) * rng.choice((-1, 1))}

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Set the targets' clocks wrong, each read back."""
        rng = dice(context, plan)
        kind = self.kind(plan, rng)
        params = {**self.draw(kind, rng), **plan.params}
        hit = await self.targets_of(context, plan, rng)
        if not hit:
            return no_target(plan)
        if kind == BOUNDED:
            params = {**_within(context, float(params["lean"])), **plan.params}
        wrong = (int(params.get("offset_ns", 0)), float(params.get("rate", 1.0)))
        if wrong == (0, 1.0):
            return skipped("the database assumes nothing of clocks, so there is no bound to keep")
        self._wrong[plan.id] = (hit, wrong)
        flips = await self._strobe(context, plan, hit, wrong) if kind == "strobe" else 0
        proofs = {node: await self._set(context, plan, node, wrong) for node in hit}
        bit = any(_took(proof, wrong) for proof in proofs.values())
        value = {"kind": kind, "offset_ns": wrong[0], "rate": wrong[1]}
        proof = {"clocks": proofs, "bit": bit, **({"flips": flips} if flips else {})}
        return Injection(value, hit, evidence=proof)

    @staticmethod
    async def _set(
        context: Context, plan: Plan, node: str, clock: tuple[int, float] | None
    ) -> dict[str, Any]:
        return await layers.of(context.env).set_clock(context.env, plan.id, node, clock)

    async def _strobe(
        self, context: Context, plan: Plan, hit: list[str], wrong: tuple[int, float]
    ) -> int:
        """Flip the clocks for up to a second; returns how often. They end wrong."""
        flips = max(2, min(plan.end_ns - plan.begin_ns, _STROBE_NS_MAX) // _STROBE_STEP_NS)
        for flip in range(flips):
            for node in hit:
                await self._set(context, plan, node, wrong if flip % 2 == 0 else None)
            await context.env.sleep(_STROBE_STEP_NS)
        return int(flips)

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Set the clocks right, each read back.

        Raises:
            SetupError: a node that runs has a clock which did not go back.
        """
        env: Any = context.env
        proofs, failed = {}, {}
        hit, wrong = self._wrong.pop(plan.id, ([], (0, 1.0)))
        late = {} if injection.evidence.get("bit") else await self._look(context, plan, hit, wrong)
        for node in hit:
            try:
                proofs[node] = proof = await self._set(context, plan, node, None)
                if not proof.get("deferred") and not clock_bit(
                    proof["wanted_offset_ns"], proof.get("offset_ns")
                ):
                    failed[node] = f"its clock is off by {proof.get('offset_ns')} ns"
            except Exception as error:  # one node's trouble must not keep the others wrong
                if await env.alive(node):
                    failed[node] = f"{type(error).__name__}: {error}"
                else:
                    proofs[node] = {"gone": True}
        if failed:
            raise SetupError("; ".join(f"{node}: {why}" for node, why in failed.items()))
        return {**injection.evidence, **late, "healed": proofs}

    async def _look(
        self, context: Context, plan: Plan, hit: list[str], wrong: tuple[int, float]
    ) -> dict[str, Any]:
        """Read clocks that were unreadable when they were set wrong: a node that was dead or
        stopped then has got the wrong clock since, if it ran again."""
        env: Any = context.env
        proofs = {}
        for node in hit:
            if await env.alive(node):
                try:
                    proofs[node] = await self._set(context, plan, node, wrong)
                except Exception as error:  # only evidence is lost; healing follows
                    proofs[node] = {"error": f"{type(error).__name__}: {error}"}
        if any("wanted_offset_ns" in p and _took(p, wrong) for p in proofs.values()):
            return {"bit": True, "read_before_healing": proofs}
        return {"bit": False, "why": "the targets did not run, or their clocks did not move"}


def _took(proof: dict[str, Any], wrong: tuple[int, float]) -> bool:
    _, rate = wrong
    if rate != 1.0 and proof.get("rate") is not None:
        # A drift has hardly begun when it is read back: the rate is the proof.
        return float(proof["rate"]) != 1.0
    return clock_bit(proof["wanted_offset_ns"], proof.get("offset_ns"))


def _within(context: Context, lean: float) -> dict[str, Any]:
    """How wrong clocks may be with this database, leaning to one side."""
    assumed, wrong = assumptions_of(context.db), {}
    fastest = assumed.clock_rate_max
    if fastest is not None:
        slowest = assumed.clock_rate_min or 1 / fastest
        wrong["rate"] = 1 + lean * (fastest - 1) if lean > 0 else 1 + lean * (1 - slowest)
    if assumed.clock_offset_s is not None:
        wrong["offset_ns"] = int(lean * assumed.clock_offset_s * 1e9)
    return wrong


def clock(*, variant: str = "", targets: str = "") -> Clock:
    """Jumps, drifts and strobes in turn, or one kind; at one node, a minority, random nodes."""
    if variant and variant not in (*KINDS, BOUNDED):
        raise nearest("kind of clock fault", variant, (*KINDS, BOUNDED))
    words = (targets,) if targets else ("one", "minority", "random")
    return Clock(
        f"clock-{variant}" if variant else "clock", (variant,) if variant else KINDS, words
    )
