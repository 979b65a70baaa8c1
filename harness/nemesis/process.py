"""Faults of whole processes: ``kill`` (SIGKILL, restarted at the end) and ``pause`` (SIGSTOP).

A kill takes what was not synced with it; whether a system kept its promises is seen when the nodes
are back. A pause is nastier: the node comes back believing that it still is who it was, with its
connections open and everything sent to it meanwhile waiting in its sockets. Evidence: the process
was running and is not, and afterwards another one is; the state read back is ``T``.

Pauses are long and short. After a long one its victim often looks at a timer before it looks at its
messages, and steps down before it reads them. After a *hiccup*, about as long as an election takes,
others have a new leader and the victim's own timers have not fired: only messages from others can
stop it. So hiccups fill the quiet time between long pauses.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness.databases.base import PausesClients
from harness.errors import SetupError
from harness.nemesis import layers
from harness.nemesis.base import Context, Injection, Plan
from harness.nemesis.common import Planner, damaged, dice, no_target, skipped

WORDS = ("one", "minority", "majority", "primaries", "all")
#: how long a hiccup is: election timeouts in use go from a few hundred milliseconds to a second
HICCUP_NS = (300_000_000, 1_000_000_000)
#: how long nodes are left alone before a hiccup, so that a node leads
SETTLE_NS = 800_000_000


class Kill(Planner):
    """Ends processes and starts them again. Made by :func:`kill`."""

    needs = frozenset({"kill"})

    def __init__(self, name: str, words: Sequence[str]) -> None:
        super().__init__(name, variants=("kill",), words=words)
        self._killed: dict[int, list[str]] = {}

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """SIGKILL the targets, all at once as nearly as can be."""
        env: Any = context.env
        hit = await self.targets_of(context, plan, dice(context, plan))
        hit = hit or await _fallback(self, context, plan)
        if not hit:
            return no_target(plan)
        running = [node for node in hit if await env.alive(node)]
        if not running:
            return skipped(f"nothing runs on {', '.join(hit)} that could be killed")
        self._killed[plan.id] = hit
        proofs = {node: await env.kill(node) for node in hit}
        dead = [node for node in hit if not await env.alive(node)]
        proof = {"killed": proofs, "bit": bool(running) and dead == hit, "was_running": running}
        return Injection(hit, hit, evidence=proof)

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Start what does not run.

        Raises:
            SetupError: a node does not start again; the others were started.
        """
        env: Any = context.env
        started, failed = {}, {}
        for node in self._killed.pop(plan.id, []):
            try:
                if not await env.alive(node):
                    started[node] = await env.start(node)
            except Exception as error:  # one node's trouble must not keep the others down
                said = f"{type(error).__name__}: {error}"
                if node in damaged(env):
                    started[node] = {"refused": said}
                else:
                    failed[node] = said
        if failed:
            raise SetupError("; ".join(f"{node} did not start: {failed[node]}" for node in failed))
        return {**injection.evidence, "started": started}


class Pause(Planner):
    """Stops processes and lets them go on. Made by :func:`pause`."""

    needs = frozenset({"pause"})

    def __init__(self, name: str, words: Sequence[str]) -> None:
        super().__init__(name, variants=("pause",), words=words)

    def plan(
        self,
        rng: Random,
        *,
        nodes: Sequence[str],
        begin_ns: int,
        end_ns: int,
        interval_ns: int,
        length_ns: tuple[int, int] | None = None,
    ) -> list[Plan]:
        """Long pauses, one an interval, and hiccups of leaders (or the one target) between them.

        No hiccups where it is said how long a fault lasts.
        """
        times = {"begin_ns": begin_ns, "end_ns": end_ns, "interval_ns": interval_ns}
        long = super().plan(rng, nodes=nodes, length_ns=length_ns, **times)
        if length_ns is not None:
            return long
        short = Random(rng.getrandbits(64))
        found: list[Plan] = []
        for plan, quiet_until_ns in zip(long, [*(p.begin_ns for p in long[1:]), end_ns]):
            found += [plan, *self._hiccups(short, plan.end_ns, quiet_until_ns)]
        return found

    def _hiccups(self, rng: Random, from_ns: int, until_ns: int) -> list[Plan]:
        """As many as there is time for, each after some quiet."""
        found: list[Plan] = []
        word = "primaries" if "primaries" in self._words else self._words[0]
        while True:
            begin_ns = from_ns + int(SETTLE_NS * rng.uniform(1.0, 1.5))
            low, high = HICCUP_NS
            from_ns = begin_ns + int(low * (high / low) ** rng.random())
            if from_ns + SETTLE_NS // 2 > until_ns:
                return found
            params = {"kind": "hiccup", "seed": rng.getrandbits(48)}
            found.append(Plan(0, self.name, begin_ns, from_ns, word, params))

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """SIGSTOP the targets."""
        env: Any = context.env
        hit = await self.targets_of(context, plan, dice(context, plan))
        hit = hit or await _fallback(self, context, plan)
        if not hit:
            return no_target(plan)
        hit = await _running_instead(context, plan, hit)
        layers.of(env).hold_paused(plan.id, hit)
        proofs = {node: await env.pause(node) for node in hit}
        stopped = _pause_clients(context, hit)
        bit = any(proof.get("state") == "T" for proof in proofs.values())
        if not bit and not [node for node in hit if await env.alive(node)]:
            _resume_clients(context, layers.of(env).release_paused(plan.id))
            return skipped(f"nothing runs on {', '.join(hit)} that could be stopped")
        return Injection(hit, hit, evidence={"paused": proofs, "bit": bit, **stopped})

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """SIGCONT what no other fault wants stopped.

        Raises:
            SetupError: a node is still stopped.
        """
        env: Any = context.env
        released = layers.of(env).release_paused(plan.id)
        _resume_clients(context, released)
        proofs = {node: await env.resume(node) for node in released}
        stuck = [node for node, proof in proofs.items() if proof.get("state") == "T"]
        if stuck:
            raise SetupError(f"still stopped after SIGCONT: {', '.join(stuck)}")
        return {**injection.evidence, "resumed": proofs}


def _pause_clients(context: Context, nodes: Sequence[str]) -> dict[str, Any]:
    """Stop the clients that live beside nodes; evidence of how many, where there are any."""
    if not isinstance(context.db, PausesClients):
        return {}
    stopped = sum(context.db.pause_clients(node) for node in nodes)
    return {"clients_paused": stopped} if stopped else {}


def _resume_clients(context: Context, nodes: Sequence[str]) -> None:
    if isinstance(context.db, PausesClients):
        for node in nodes:
            context.db.resume_clients(node)


async def _running_instead(context: Context, plan: Plan, hit: list[str]) -> list[str]:
    """The nodes to stop: where none of those drawn runs, as many of those that do.

    A kill that goes on beside this fault may have drawn the same node, and a dead process cannot be
    stopped. Nodes that the user named stay as they are.
    """
    env: Any = context.env
    named = plan.targets not in ("", *WORDS)
    if named or any([await env.alive(node) for node in hit]):
        return hit
    running = [node for node in context.nodes if await env.alive(node)]
    return sorted(dice(context, plan).sample(running, min(len(hit), len(running)))) or hit


async def _fallback(planner: Planner, context: Context, plan: Plan) -> list[str]:
    """One node, where a cycle of target words asked for primaries and there is none."""
    if plan.targets != "primaries" or not planner.cycles_words:
        return []
    return [dice(context, plan).choice(list(context.nodes))]


def kill(*, variant: str = "", targets: str = "") -> Kill:
    """Kills of one node, a minority, a majority, primaries, all, in turn; or of one target word.

    ``kill-all`` is ``kill`` with targets ``all``.
    """
    chosen = targets or variant
    return Kill(f"kill-{variant}" if variant else "kill", (chosen,) if chosen else WORDS)


def pause(*, variant: str = "", targets: str = "") -> Pause:
    """Pauses, with targets as for :func:`kill`."""
    chosen = targets or variant
    return Pause(f"pause-{variant}" if variant else "pause", (chosen,) if chosen else WORDS)
