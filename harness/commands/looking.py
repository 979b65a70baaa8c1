"""``harness doctor``, ``heal`` and ``serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from harness.errors import EXIT_INFRASTRUCTURE, SetupError, UsageError

_Store = Annotated[str, Parameter(name="--store", help="Directory of run directories.")]


def doctor() -> int:
    """Show what this machine can do, and how to get the rest."""
    from harness.doctor import diagnose, print_table

    return print_table(diagnose())


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
