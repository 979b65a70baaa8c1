"""Nemeses by name, and how a list of names becomes nemeses.

``--nemesis partition,kill`` names two. ``partition-bridge`` or ``partition:bridge`` is one kind of
a nemesis; ``kill:primaries`` or ``pause:n1+n2`` gives targets; ``clock:jump:n1`` both. A user's own
is ``module:attribute``, or the name it was declared with if its module is imported. ``none`` is
none.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from harness.databases.base import Refuses
from harness.errors import UsageError, nearest
from harness.nemesis.base import NeedsOfDatabase, Nemesis
from harness.nemesis.schedule import plan_all
from harness.nemesis.targets import LEADING, WORDS

#: name -> ``module:attribute`` of a function ``(*, variant="", targets="") -> Nemesis``
NEMESES: dict[str, str] = {
    "partition": "harness.nemesis.partition:partition",
    "packets": "harness.nemesis.packets:packets",
    "kill": "harness.nemesis.process:kill",
    "pause": "harness.nemesis.process:pause",
    "clock": "harness.nemesis.clock:clock",
    "disk": "harness.nemesis.disk:disk",
    "pressure": "harness.nemesis.pressure:pressure",
    "membership": "harness.nemesis.membership:membership",
    "partition-move": "harness.nemesis.placement:move",
    "partition-split": "harness.nemesis.placement:split",
    "partition-merge": "harness.nemesis.placement:merge",
}

_SHAPES = ("one", "halves", "random", "majority", "minority-third", "majorities-ring", "bridge")
#: name -> kinds that can be chosen alone, as ``name-kind``
VARIANTS: dict[str, tuple[str, ...]] = {
    "partition": (*_SHAPES, "one-way", *LEADING),
    "packets": ("delay", "loss", "duplicate", "reorder", "corrupt", "rate"),
    "kill": WORDS,
    "pause": WORDS,
    "clock": ("jump", "drift", "strobe", "bounded"),
    "disk": ("slow", "eio", "full", "torn", "flip", "lost-tail"),
    "pressure": ("cpu", "memory"),
    "membership": (),
    "partition-move": (),
    "partition-split": (),
    "partition-merge": (),
}

__all__ = ["NEMESES", "VARIANTS", "compose", "is_built_in", "names", "plan_all", "require"]


def names() -> list[str]:
    """Every name that ``--nemesis`` takes, kinds included."""
    kinds = [f"{name}-{kind}" for name, found in VARIANTS.items() for kind in found]
    return ["none", *sorted([*NEMESES, *kinds])]


def compose(text: str | Sequence[Any]) -> list[Nemesis]:
    """Nemeses from names separated by commas (or from a list of names and nemesis objects).

    Raises:
        UsageError: an unknown name, with the nearest known one; or the same nemesis twice.
    """
    parts = text.split(",") if isinstance(text, str) else list(text)
    found: list[Nemesis] = []
    for part in parts:
        if not isinstance(part, str):
            found.append(_checked(part, repr(part)))
        elif part.strip() not in ("", "none"):
            found.append(_one(part.strip()))
    seen = [nemesis.name for nemesis in found]
    for name in seen:
        if seen.count(name) > 1:
            raise UsageError(f"nemesis {name!r} is named twice in {text!r}; name each once")
    return found


def _one(text: str) -> Nemesis:
    from harness.nemesis.user import REGISTERED

    if text in REGISTERED:
        return REGISTERED[text]
    base, _, rest = text.partition(":")
    name, kind = _split_kind(base)
    if name in NEMESES:
        return _built_in(name, kind, rest)
    if rest:
        return _users_own(text)
    raise nearest("nemesis", text, [*names(), *REGISTERED])


def is_built_in(text: str) -> bool:
    """Whether a nemesis as users write it is one of ours, whatever its kind and targets."""
    return _split_kind(text.partition(":")[0])[0] in NEMESES


def _split_kind(text: str) -> tuple[str, str]:
    """``partition-one-way`` as (``partition``, ``one-way``)."""
    for name, kinds in VARIANTS.items():
        if text.startswith(f"{name}-") and text[len(name) + 1 :] in kinds:
            return name, text[len(name) + 1 :]
    return text, ""


def _built_in(name: str, kind: str, rest: str) -> Nemesis:
    targets = ""
    for word in filter(None, rest.split(":")):
        # A word that is both a kind and a target (partition:one) is the kind.
        if not kind and word in VARIANTS[name] and name not in ("kill", "pause"):
            kind = word
        elif not targets:
            targets = word
        else:
            raise UsageError(f"nemesis {name}:{rest} has too many parts; use {name}:kind:targets")
    module, _, function = NEMESES[name].partition(":")
    made = getattr(importlib.import_module(module), function)(variant=kind, targets=targets)
    return _checked(made, name)


def _users_own(path: str) -> Nemesis:
    from harness.registry import load

    found = load(path, what="nemesis", user=True)
    if not hasattr(found, "inject") and callable(found):
        found = found()
    return _checked(found, path)


def _checked(found: Any, given: str) -> Nemesis:
    missing = [part for part in ("name", "plan", "inject", "heal") if not hasattr(found, part)]
    if missing:
        raise UsageError(
            f"{given} is no nemesis: it has no {', '.join(missing)}; "
            "declare an async generator function with @fault(name)"
        )
    nemesis: Nemesis = found
    return nemesis


def require(nemeses: Sequence[Nemesis], env: Any, db: Any = None) -> frozenset[str]:
    """Check that an environment (and a database) can do what nemeses need.

    Returns:
        all abilities needed, for the environment's ``prepare``.

    Raises:
        UsageError: an ability is missing, with the environments that have it.
    """
    from harness.environments.base import ABILITIES, Explained

    for nemesis in nemeses:
        for ability in sorted(nemesis.needs - env.abilities):
            why = env.lacks.get(ability) if isinstance(env, Explained) else None
            if why:
                raise UsageError(f"nemesis {nemesis.name!r} needs the ability {ability!r}: {why}")
            having = ", ".join(e for e in ABILITIES.get(ability, ()) if e != env.name) or "none"
            raise UsageError(
                f"nemesis {nemesis.name!r} needs the ability {ability!r}, which the environment "
                f"{env.name!r} lacks here; environments with it: {having}"
            )
        why = db.cannot(nemesis) if isinstance(db, Refuses) else ""
        if why:
            raise UsageError(f"nemesis {nemesis.name!r} cannot be had here: {why}")
        for method in nemesis.db_needs if isinstance(nemesis, NeedsOfDatabase) else ():
            if db is not None and not hasattr(db, method):
                raise UsageError(
                    f"nemesis {nemesis.name!r} needs a database with {method}(node), which "
                    f"{type(db).__name__} is not"
                )
    return frozenset().union(*(nemesis.needs for nemesis in nemeses))
