"""Ablations: the counter-examples, each one decision of one pattern overridden.

A core exposes its decisions as small named methods (``may_commit``, ``accepts_generation``,
``read_is_safe``). An ablation is a class with one such method, and a declaration of what it breaks
and how that is shown. Applying it makes a subclass of the core with the method replaced, so that
protocol code never asks whether it is ablated.

Each module ``aNN_*.py`` of this package holds one ablation: its ``ABLATION`` declaration and the
overriding class. They are found by :func:`all_ablations`; the order is that of their ids.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import msgspec

from cluster.spelling import nearest

T = TypeVar("T")


class Ablation(msgspec.Struct, frozen=True):
    """The declaration of one ablation.

    Args:
        id: as in the catalogue: ``A30``.
        slug: a few words with dashes: ``leader-reads-without-read-index``.
        pattern: name of the pattern whose decision is removed, as its module is called.
        removes: one sentence: the decision removed.
        breaks: one sentence: what a client sees.
        target: ``module:Class`` that is overridden.
        decision: name of the method overridden.
        override: the class that holds the overriding method.
        workload: workload that shows it.
        nemesis: nemesis that shows it, as on the command line.
        checker: checker that must find it.
        anomaly: kind of the finding that must appear.
        schedule: file name of the directed schedule, under ``cluster/ablations/schedules``.
        random: whether a random profile in simulation is expected to find it.
        real: whether a run with real processes is expected to find it.
    """

    id: str
    slug: str
    pattern: str
    removes: str
    breaks: str
    target: str
    decision: str
    override: type
    workload: str
    nemesis: str
    checker: str
    anomaly: str
    schedule: str
    random: bool
    real: bool

    @property
    def name(self) -> str:
        """The full name: ``A30-leader-reads-without-read-index``."""
        return f"{self.id}-{self.slug}"


class UnknownAblation(ValueError):
    """No ablation has this name; the message offers the nearest one."""


def _order(ablation: Ablation) -> tuple[int, str]:
    number = re.match(r"A(\d+)", ablation.id)
    return (int(number.group(1)) if number else 0, ablation.id)


@cache
def all_ablations() -> tuple[Ablation, ...]:
    """Every ablation of this package, in order of id."""
    package = importlib.import_module("cluster.ablations")
    found = [
        importlib.import_module(f"cluster.ablations.{module.name}").ABLATION
        for module in pkgutil.iter_modules(package.__path__)
        if re.fullmatch(r"a\d+[a-z]?_\w+", module.name)
    ]
    return tuple(sorted(found, key=_order))


def find(name: str) -> Ablation:
    """The ablation of this id (``A30``), slug or full name; letter case does not matter.

    Raises:
        UnknownAblation: there is none; the message names the nearest.
    """
    wanted = name.strip().lower()
    names: dict[str, Ablation] = {}
    for ablation in all_ablations():
        for known in (ablation.id, ablation.slug, ablation.name):
            names[known.lower()] = ablation
    if wanted in names:
        return names[wanted]
    near = nearest(wanted, names)
    guess = f"; did you mean {names[near].name}?" if near else ""
    raise UnknownAblation(f"there is no ablation {name!r}{guess}")


def ablate(core: type[T], names: Sequence[str]) -> type[T]:
    """A subclass of ``core`` with the named ablations that concern it; ``core`` itself if none do.

    Raises:
        UnknownAblation: a name is unknown.
    """
    target = f"{core.__module__}:{core.__name__}"
    overrides = tuple(a.override for a in map(find, names) if a.target == target)
    if not overrides:
        return core
    for override in overrides:
        for method in vars(override):
            if not method.startswith("__") and not hasattr(core, method):
                raise TypeError(f"{override.__name__}.{method} overrides nothing in {target}")
    return type(f"Ablated{core.__name__}", (*overrides, core), {})
