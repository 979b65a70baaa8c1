"""Trust in a recorded run: its spec names code to run, and foreign code needs the user's consent.

The problem: ``spec.json`` may be a stranger's, and a spec can name any module to import and call,
any program as a database's binary, any host to log in to. The solution: names of our own tables are
ours. Every other module, and every option that may name a program, a file or a host, is named and
refused, until the command line names the module or trusts the run.

For :mod:`harness.campaign.replay` and :mod:`harness.campaign.shrink`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.registry import is_place
from harness.spec import TestSpec

#: options of our databases and environments whose texts are words of a list that the code checks
_CHECKED = frozenset({"appendfsync", "clock", "disk", "isolation", "objects", "read_mode"})


class Trust(msgspec.Struct, frozen=True):
    """The consent given on the command line.

    Args:
        everything: run all code that the spec names.
        modules: import these, by the name before the colon.
    """

    everything: bool = False
    modules: tuple[str, ...] = ()


def foreign_modules(spec: TestSpec) -> dict[str, str]:
    """Modules a spec imports that are not in our tables, each with what is taken from it.

    Raises:
        UsageError: a name is neither in a table nor a ``module:attribute``.
    """
    from harness.nemesis import is_built_in

    named = [(kind, getattr(spec, field)) for kind, field in _KINDS]
    foreign = [(kind, name) for kind, name in named if _is_foreign(kind, name)]
    foreign += [("nemesis", name) for name in spec.nemesis if ":" in name and not is_built_in(name)]
    found: dict[str, str] = {}
    for kind, name in foreign:
        if not is_place(name):
            raise UsageError(f"spec.json names the {kind} {name!r}, which is no module:attribute")
        found.setdefault(name.partition(":")[0], f"{kind} {name!r}")
    return found


_KINDS = (
    ("database", "db"),
    ("workload", "workload"),
    ("environment", "env"),
    ("client", "client"),
)


def _is_foreign(kind: str, name: str) -> bool:
    # A name without a colon is no module; if it is unknown it is refused where it is looked up.
    return bool(name) if kind == "client" else ":" in name


def foreign_options(spec: TestSpec) -> list[str]:
    """Options of our own databases and environments that may name a program, a file or a host."""
    found = []
    for flag, name, options in (
        ("--db-option", spec.db, spec.db_options),
        ("--env-option", spec.env, spec.env_options),
    ):
        if ":" not in name:
            found += [f"{flag} {n}={v!r}" for n, v in options.items() if not _is_plain(n, v)]
    return found + (["--env ssh, which logs in to hosts"] if spec.env == "ssh" else [])


def _is_plain(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return name in _CHECKED and re.fullmatch(r"[a-z0-9-]*", value) is not None
    return value is None or isinstance(value, (bool, int, float))


def flags(spec: TestSpec) -> list[str]:
    """The words a command line needs to run this spec again."""
    modules = [word for name in foreign_modules(spec) for word in ("--trust-module", name)]
    return ["--trust"] if foreign_options(spec) else modules


def command(spec: TestSpec, run: str | Path, *, program: str = "harness replay") -> str:
    """The command that runs a recorded run again, with what it has to allow."""
    return " ".join([program, shlex.join([str(run), *flags(spec)])])


def require(spec: TestSpec, trust: Trust, run: str | Path, *, program: str) -> None:
    """Refuse to run what is not ours and was not allowed.

    Args:
        spec: the recorded spec.
        trust: what the command line allows.
        run, program: the run and the command that asks, to show how it is allowed.

    Raises:
        UsageError: it names what it would import and do.
    """
    modules = foreign_modules(spec)
    if trust.everything:
        return
    unnamed = [name for name in modules if name not in trust.modules]
    asked = [f"import {name} ({modules[name]})" for name in unnamed]
    options = foreign_options(spec)
    if not asked and not options:
        return
    asked += [f"use {words}" for words in options]
    how = command(spec, run, program=program)
    raise UsageError(
        f"the run's spec.json would {', '.join(asked)}, which is not ours; read it, and if it is "
        f"yours run `{how}`"
    )
