"""The nemesis: plans faults from a seed, injects them and heals them.

Planning is pure: from an Rng and the run's length to a list of :class:`Plan`, so that a seed gives
the same faults again and a shrinker can drop some. Injecting and healing are coroutines. Targets
are named by word in the plan (``one minority majority all primaries random n1,n2``) and resolved at
injection, since who leads is known only then.

The interpreter writes the fault's begin record to ``faults.jsonl`` (``phase: intent``) and flushes
it *before* it calls ``inject``; afterwards it writes what was done with its evidence, to
``faults.jsonl`` and to the history. A healed fault gets its end record with the evidence that it
bit. A fault without such evidence has outcome ``skipped`` or
``indeterminate``, never ``installed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Protocol, runtime_checkable

import msgspec

from harness.environments.base import Environment


class Plan(msgspec.Struct, frozen=True):
    """One planned fault.

    Args:
        id: number within the run, from 1, over all nemeses.
        nemesis: name of the nemesis that planned it.
        begin_ns, end_ns: when to inject and when to heal, since the run began.
        targets: target word or node names with commas; "" where the kind does not target nodes.
        params: JSON-ready parameters of this fault, drawn from the seed.
        driven: the workload's generator asked for it, and will again in a replay.
    """

    id: int
    nemesis: str
    begin_ns: int
    end_ns: int
    targets: str = ""
    params: dict[str, Any] = {}
    driven: bool = False


class Injection(msgspec.Struct):
    """The outcome of an injection.

    Args:
        value: what is now so, JSON-ready: groups of a partition, offsets ...
        nodes: nodes affected.
        outcome: ``installed``, ``skipped`` (could not apply, harmlessly) or ``indeterminate``.
        evidence: JSON-ready proof so far; :meth:`Nemesis.heal` completes it.
    """

    value: Any
    nodes: list[str]
    outcome: str = "installed"
    evidence: dict[str, Any] = {}


class Context(msgspec.Struct):
    """The context of a nemesis.

    Args:
        env: the environment, with its abilities.
        db: the database object (ability Primaries is asked of it).
        rng: seeded randomness for choices made at injection.
        nodes: names of the run's nodes.
    """

    env: Environment
    db: Any
    rng: Random
    nodes: Sequence[str]


@runtime_checkable
class NeedsCalm(Protocol):
    """A nemesis that needs the system's help to begin: see :mod:`harness.nemesis.schedule`."""

    needs_calm: bool


@runtime_checkable
class NeedsOfDatabase(Protocol):
    """A nemesis that asks the database to do something."""

    #: names of the methods it calls
    db_needs: Sequence[str]


class Nemesis(Protocol):
    """A kind of fault.

    What one may have beside this: :class:`NeedsCalm`, :class:`NeedsOfDatabase`.
    """

    name: str
    #: abilities of the environment it needs
    needs: frozenset[str]

    def plan(
        self, rng: Random, *, nodes: Sequence[str], begin_ns: int, end_ns: int, interval_ns: int
    ) -> list[Plan]:
        """Faults between two times, about one per interval; ids are given later. Pure.

        One that also takes ``length_ns``, the shortest and the longest time a fault lasts, can be
        run with ``--fault-duration``.
        """
        ...

    async def inject(self, context: Context, plan: Plan) -> Injection:
        """Make the fault. Raising means it is indeterminate; the run goes on and heals."""
        ...

    async def heal(self, context: Context, plan: Plan, injection: Injection) -> dict[str, Any]:
        """Undo it and return the complete evidence; ``bit`` in it is True if it took effect."""
        ...
