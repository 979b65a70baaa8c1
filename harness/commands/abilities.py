"""``harness list nemeses --env E``: what each nemesis can do in an environment, on this machine.

The environment itself is asked (made, never set up), so that what a kernel lacks or a daemon does
not answer shows here and not in the first run that needs it.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

#: nodes of the environment that is asked; abilities do not depend on them
_NODES = ("n1", "n2", "n3")


class NemesisRow(msgspec.Struct, frozen=True):
    """The abilities of one nemesis in one environment.

    Args:
        name: the nemesis.
        kinds: its kinds, each of which can be asked for as ``name-kind``.
        needs: the abilities it asks of the environment.
        works: whether the environment has them here.
        note: why not, or what to know.
    """

    name: str
    kinds: tuple[str, ...]
    needs: tuple[str, ...]
    works: bool
    note: str = ""


def rows(env_name: str) -> list[NemesisRow]:
    """Every built-in nemesis in one environment.

    Raises:
        UsageError: the environment is unknown.
    """
    from harness import registry
    from harness.nemesis import NEMESES, VARIANTS, compose

    factory = registry.find("environment", env_name)
    env, broken = _made(factory, env_name)
    found = []
    for name in NEMESES:
        (nemesis,) = compose(name)
        needs = tuple(sorted(nemesis.needs))
        why = broken or _why_not(nemesis, env)
        note = why or "; ".join(_notes(nemesis, env) + _kinds_not_here(name, env))
        found.append(NemesisRow(name, VARIANTS[name], needs, not why, note))
    return found


def _made(factory: Any, env_name: str) -> tuple[Any, str]:
    """The environment, or why there is none here."""
    if env_name == "docker":
        from harness.doctor import docker_daemon

        daemon = docker_daemon()
        if not daemon.have:
            return None, f"Docker: {daemon.detail} ({daemon.get})"
    with tempfile.TemporaryDirectory(prefix="harness-list-") as scratch:
        try:
            env = factory(nodes=_NODES, run_dir=Path(scratch), seed=0, options={})
            if env_name == "docker":
                env.prepare(())
                with contextlib.suppress(UsageError):
                    # What it refuses it notes in what it lacks.
                    env.prepare({"packets"})
            return env, ""
        except HarnessError as error:
            return None, str(error).partition("\n")[0]


def _why_not(nemesis: Any, env: Any) -> str:
    from harness.environments.base import ABILITIES, Explained

    for ability in sorted(nemesis.needs - env.abilities):
        why = env.lacks.get(ability) if isinstance(env, Explained) else None
        others = ", ".join(e for e in ABILITIES.get(ability, ()) if e != env.name) or "none"
        return why or f"{env.name} has no ability {ability!r}; environments with it: {others}"
    return ""


def _kinds_not_here(name: str, env: Any) -> list[str]:
    """The kinds of a nemesis that need more than the environment has."""
    from harness.nemesis import VARIANTS, compose

    needs = {kind: compose(f"{name}-{kind}")[0].needs for kind in VARIANTS[name]}
    lacking = [kind for kind, needed in needs.items() if needed - env.abilities]
    return [f"not here: {', '.join(lacking)}"] if lacking else []


def _notes(nemesis: Any, env: Any) -> list[str]:
    from harness.environments.base import Explained
    from harness.nemesis.base import NeedsOfDatabase

    limits = env.limits if isinstance(env, Explained) else {}
    notes = [limits[ability] for ability in sorted(nemesis.needs) if ability in limits]
    if isinstance(nemesis, NeedsOfDatabase):
        notes.append(f"needs a database with {' and '.join(nemesis.db_needs)}")
    return notes


def table(env_name: str) -> Table:
    """The rows as a table."""
    from harness.terminal import titled_table

    title = f"Nemeses in the environment {env_name}"
    shown = titled_table(title, ("", "nemesis", "kinds", "note"), fold=True)
    for row in rows(env_name):
        glyph = "✓" if row.works else "✗"
        shown.add_row(glyph, row.name, ", ".join(row.kinds), row.note)
    return shown
