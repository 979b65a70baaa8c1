"""Shared parts of the built-in nemeses: planning with variants and target words, a seed per fault.

A plan carries a seed of its own (``params["seed"]``), from which all its choices at injection are
drawn: the same plan makes the same fault in any history, so that a shrinker can leave others out,
and a replay on real processes cuts the same links.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from harness.environments.base import Damaged
from harness.nemesis import schedule, targets
from harness.nemesis.base import Context, Injection, Plan


class Planner:
    """Plans faults of several variants; the first half of a nemesis.

    Args:
        name: the nemesis's name.
        variants: what kinds it makes; cycled through by seed.
        words: target words to cycle through; empty if faults do not target nodes.
    """

    def __init__(self, name: str, *, variants: Sequence[str], words: Sequence[str] = ()) -> None:
        self.name = name
        self._variants = tuple(variants)
        self._words = tuple(words)

    @property
    def variants(self) -> tuple[str, ...]:
        """What kinds of faults it makes."""
        return self._variants

    @property
    def cycles_words(self) -> bool:
        """Whether it goes through several target words by itself."""
        return len(self._words) > 1

    @property
    def only_primaries(self) -> bool:
        """Whether it hits only nodes that lead."""
        named = (self._words, self._variants)
        return any(words and set(words) <= set(targets.LEADING) for words in named)

    def usable(self, nodes: Sequence[str]) -> Sequence[str]:
        """The variants that make sense for these nodes."""
        return self._variants

    def fits(self, nodes: Sequence[str]) -> None:
        """That faults can be planned for these nodes.

        Raises:
            UsageError: they are too few, or a target word is none.
        """
        for word in self._words:
            targets.check(word, nodes)
        self.usable(nodes)

    def draw(self, variant: str, rng: Random) -> dict[str, Any]:
        """Further parameters of one fault."""
        return {}

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
        """Faults between two times; see :class:`harness.nemesis.base.Nemesis`."""
        self.fits(nodes)
        # Streams of their own, so that the i-th fault is the same however many there are.
        timing, kinds, hits, details = (Random(rng.getrandbits(64)) for _ in range(4))
        times = schedule.spans(
            timing,
            begin_ns=begin_ns,
            end_ns=end_ns,
            interval_ns=interval_ns,
            length_ns=length_ns,
        )
        variants = schedule.cycle(kinds, self.usable(nodes) or self._variants, len(times))
        words = schedule.cycle(hits, self._telling(nodes) or ("",), len(times))
        plans = []
        for (from_ns, until_ns), variant, word in zip(times, variants, words, strict=True):
            params = {
                "kind": variant,
                **self.draw(variant, details),
                "seed": details.getrandbits(48),
            }
            plans.append(Plan(0, self.name, from_ns, until_ns, word, params))
        return plans

    def _telling(self, nodes: Sequence[str]) -> Sequence[str]:
        """The target words that are not empty among these nodes: few have no minority."""
        if targets.minority_size(len(nodes)) > 0:
            return self._words
        return tuple(word for word in self._words if word != "minority") or self._words

    def kind(self, plan: Plan, rng: Random) -> str:
        """The plan's variant; a plan without one (made by a generator) gets one by chance."""
        return str(plan.params.get("kind") or rng.choice(self._variants))

    async def targets_of(self, context: Context, plan: Plan, rng: Random) -> list[str]:
        """The nodes a plan hits now."""
        word = plan.targets or (rng.choice(self._words) if self._words else "one")
        return await targets.resolve(
            word, db=context.db, env=context.env, nodes=context.nodes, rng=rng
        )


def dice(context: Context, plan: Plan) -> Random:
    """The plan's own randomness."""
    seed = plan.params.get("seed")
    return context.rng if seed is None else Random(f"fault/{seed}")


def skipped(why: str) -> Injection:
    """Nothing was done, harmlessly, and why."""
    return Injection(None, [], "skipped", {"bit": False, "why": why})


def no_target(plan: Plan) -> Injection:
    """Nothing was done since the target word names no node now."""
    return skipped(f"no node is {plan.targets or 'targeted'} now")


def damaged(env: Any) -> list[str]:
    """The nodes whose durable data an injected fault has damaged.

    Such a node may refuse to start, and ought to: that is no failure to heal.
    """
    return list(env.damaged()) if isinstance(env, Damaged) else []
