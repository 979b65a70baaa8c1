"""Ablations: the counter-examples, each one decision of one pattern overridden.

A part of a core exposes its decisions as small named methods (``may_commit``, ``read_is_safe``,
``grants_vote``). An ablation is a subclass of the part that overrides exactly one of them, and a
declaration of what breaks and what shows it. :func:`ablate` puts such subclasses into the parts a
node is built of. No core imports this package: entry points, the simulation and tests do.

Each module ``aNN_some_words.py`` of this package holds one: its ``ABLATION`` and the subclass. Its
id, name, target, decision and directed schedule follow from these and are not declared.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Sequence
from functools import cache
from string import ascii_lowercase as LETTERS
from typing import TypeVar

import msgspec

from cluster.spelling import nearest

P = TypeVar("P", bound=msgspec.Struct)

#: Who must find an ablation: a judge of histories, the invariants, or what the system owes.
BY_HISTORY, BY_INVARIANTS, BY_LIVENESS = "linearizable", "invariant", "liveness"

_MODULE = re.compile(r"(a\d+[a-z]?)_(\w+)")


class Ablation:
    """One ablation.

    Args:
        override: the subclass of a part, with the one method that replaces a decision.
        removes: one sentence: the rule that the decision keeps, as it holds in the intact system.
        breaks: one sentence: what a client sees without it.
        nemesis: nemesis that shows it, as on the command line.
        workload: workload that shows it.
        checker: who must find it in the directed schedule.
        anomaly: kind of the finding that must appear.
        random: whether a random profile in simulation is expected to find it.
        real: whether a run with real processes is expected to find it.
        consensus: the variant whose nodes have the part, and that the schedule names.
        pattern: slug of the pattern whose decision is removed; the target's module by default.
        role: the role whose nodes have the part.

    Raises:
        TypeError: the class does not override exactly one method of one part, or its module is not
            named after an ablation.
    """

    def __init__(
        self,
        override: type,
        *,
        removes: str,
        breaks: str,
        nemesis: str,
        workload: str = "register",
        checker: str = BY_HISTORY,
        anomaly: str = "nonlinearizable",
        random: bool = True,
        real: bool = True,
        consensus: str = "raft",
        pattern: str = "",
        role: str = "core",
    ) -> None:
        self.override = override
        self.removes, self.breaks = removes, breaks
        self.nemesis, self.workload = nemesis, workload
        self.checker, self.anomaly = checker, anomaly
        self.random, self.real = random, real
        self.consensus, self.role = consensus, role
        #: the part that has the decision
        self.part = _part_of(override)
        #: name of the method overridden
        self.decision = _decision_of(override, self.part)
        found = _MODULE.fullmatch(override.__module__.rpartition(".")[2])
        if found is None:
            raise TypeError(f"{override.__module__} is not named aNN_some_words")
        #: as in the catalogue: ``A30``
        self.id = "A" + found.group(1)[1:]
        #: a few words with dashes: ``leader-reads-without-read-index``
        self.slug = found.group(2).replace("_", "-")
        self.pattern = pattern or self.part.__module__.rpartition(".")[2]

    @property
    def name(self) -> str:
        """The full name: ``A30-leader-reads-without-read-index``."""
        return f"{self.id}-{self.slug}"

    @property
    def target(self) -> str:
        """The part that has the decision, as ``module:Class``."""
        return f"{self.part.__module__}:{self.part.__name__}"

    @property
    def schedule(self) -> str:
        """File name of the directed schedule, under ``cluster/ablations/schedules``."""
        return f"{self.id}.txt"


def _part_of(override: type) -> type:
    if len(override.__bases__) != 1 or override.__bases__ == (object,):
        raise TypeError(f"{override.__name__} is not a subclass of one part")
    return override.__bases__[0]


def _decision_of(override: type, part: type) -> str:
    methods = [name for name, value in vars(override).items() if callable(value)]
    if len(methods) != 1:
        raise TypeError(f"{override.__name__} overrides {methods or 'nothing'}, not one decision")
    if not callable(getattr(part, methods[0], None)):
        raise TypeError(f"{override.__name__}.{methods[0]} overrides nothing in {part.__name__}")
    return methods[0]


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
    lettered = [a.id for a in all_ablations() if a.id.lower().rstrip(LETTERS) == wanted]
    if lettered:
        raise UnknownAblation(f"there is no ablation {name!r}; there are {', '.join(lettered)}")
    near = nearest(wanted, names)
    guess = f"; did you mean {names[near].name}?" if near else ""
    raise UnknownAblation(f"there is no ablation {name!r}{guess}")


def role_for(names: Sequence[str]) -> str:
    """The role of the nodes that ablations are for; ``core`` if none is named.

    Raises:
        UnknownAblation: there is none of a name.
    """
    return find(names[0]).role if names else "core"


def ablate(parts: P, names: Sequence[str]) -> P:
    """The parts of a node with the named ablations in them; nested parts included.

    Args:
        parts: classes, and structs of classes.
        names: ids, slugs or full names.

    Raises:
        UnknownAblation: a name is unknown, or the node is not made of the part it concerns.
    """
    wanted = list({found.id: found for found in map(find, names)}.values())
    applied: set[str] = set()
    ablated = _replace(parts, wanted, applied)
    for ablation in wanted:
        if ablation.id not in applied:
            raft = ablation.consensus == "raft"
            agreeing = "" if raft else f" with consensus {ablation.consensus}"
            raise UnknownAblation(
                f"{ablation.name} concerns {ablation.target}: no part of this node "
                f"(it is for role {ablation.role}{agreeing})"
            )
    return ablated


def _replace(parts: P, wanted: Sequence[Ablation], applied: set[str]) -> P:
    changes: dict[str, object] = {}
    for field in parts.__struct_fields__:
        part = getattr(parts, field)
        if isinstance(part, msgspec.Struct):
            changes[field] = _replace(part, wanted, applied)
            continue
        found = [ablation for ablation in wanted if ablation.part is part]
        if found:
            overrides = tuple(ablation.override for ablation in found)
            changes[field] = type(f"Ablated{part.__name__}", overrides, {})
            applied.update(ablation.id for ablation in found)
    return msgspec.structs.replace(parts, **changes)
