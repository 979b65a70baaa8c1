"""``harness list``, ``doctor``, ``heal`` and ``serve``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from harness.errors import EXIT_INFRASTRUCTURE, SetupError, UsageError, nearest

_Store = Annotated[str, Parameter(name="--store", help="Directory of run directories.")]


def _named(kind: str) -> Callable[[], list[str]]:
    def names() -> list[str]:
        from harness.registry import table

        return sorted(table(kind))

    return names


def _nemeses() -> list[str]:
    from harness.nemesis import names

    return names()


def _ablations() -> list[str]:
    from cluster.ablations.registry import all_ablations

    return [ablation.name for ablation in all_ablations()]


def _checkers() -> list[str]:
    from checkers.infer import checkers_by_name

    return sorted(checkers_by_name())


def _models() -> list[str]:
    from checkers.linearizability import models

    return list(models.NAMES)


KINDS: dict[str, Callable[[], list[str]]] = {
    "databases": _named("database"),
    "workloads": _named("workload"),
    "nemeses": _nemeses,
    "environments": _named("environment"),
    "ablations": _ablations,
    "checkers": _checkers,
    "models": _models,
}


def list_(
    kind: Annotated[str | None, Parameter(help=f"One of {', '.join(KINDS)}.")] = None,
    *,
    env: Annotated[
        str | None,
        Parameter(name="--env", help="With `nemeses`: what each can do in this environment, here."),
    ] = None,
) -> int:
    """Names that can be given to other commands: of one kind one a line, or all in a table."""
    if env is not None:
        return _list_abilities(kind, env)
    if kind is not None:
        if kind not in KINDS:
            raise nearest("kind of thing to list", kind, KINDS)
        for name in KINDS[kind]():
            print(name)
        return 0
    from rich.table import Table

    from harness.terminal import Terminal

    table = Table(show_header=True, show_lines=True)
    table.add_column("kind")
    table.add_column("names", overflow="fold")
    for title, names in KINDS.items():
        table.add_row(title, ", ".join(names()))
    Terminal().print(table)
    return 0


def _list_abilities(kind: str | None, env: str) -> int:
    if kind not in (None, "nemeses"):
        raise UsageError(
            f"--env is {env!r}, which goes with `harness list nemeses` and not with {kind!r}"
        )
    from harness.commands.abilities import table
    from harness.terminal import Terminal

    Terminal().print(table(env))
    return 0


def doctor(
    *,
    compile: Annotated[
        bool,
        Parameter(
            name="--compile",
            negative=(),
            help="Compile the checkers' inner loops now, which the first large check does else.",
        ),
    ] = False,
) -> int:
    """Show what this machine can do, and how to get the rest."""
    from harness.doctor import diagnose, print_table

    if compile:
        _compile()
    return print_table(diagnose())


def _compile() -> None:
    from checkers.machine_code import compile_all

    def told(kernel: str, spent_s: float) -> None:
        print(f"compiled {kernel}: {spent_s:.1f} s", flush=True)

    try:
        compile_all(told)
    except ImportError as error:
        raise SetupError(f"nothing can be compiled: {error}") from error


def heal(
    run: Annotated[
        str | None, Parameter(help="Run directory or test name; the whole store if not given.")
    ] = None,
    *,
    store: _Store = "store",
) -> int:
    """Remove whatever runs left behind: processes, proxies, faults. Safe to repeat at any time."""
    from harness.heal import heal_run, heal_store
    from harness.store import find_run

    if run is None:
        healings = heal_store(Path(store))
        if not healings:
            print(f"nothing to heal under {store}")
    else:
        healings = [heal_run(find_run(run, store=store))]
    for healing in healings:
        print(healing.sentence)
    return 0 if all(healing.clean for healing in healings) else EXIT_INFRASTRUCTURE


def serve(
    *,
    store: _Store = "store",
    port: Annotated[int, Parameter(name="--port", help="Port; 0 for any free one.")] = 8080,
) -> int:
    """Serve a web page over all runs of a store, on this machine only."""
    import reports

    if not 0 <= port < 65536:
        raise UsageError(f"--port is {port}; it should be from 0 to 65535")
    if not Path(store).is_dir():
        raise UsageError(f"--store is {store!r}, which is no directory; run a test first")
    try:
        reports.serve(store, port=port, announce=print)
    except OSError as error:
        raise SetupError(f"--port is {port}: {error.strerror or error}") from error
    return 0
