"""``harness doctor``, ``heal`` and ``serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from harness.errors import EXIT_INFRASTRUCTURE, SetupError, UsageError

_Store = Annotated[str, Parameter(name="--store", help="Directory of run directories.")]


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
    from checkers.core.jit import compile_all

    def on_compiled(kernel: str, spent_s: float) -> None:
        print(f"compiled {kernel}: {spent_s:.1f} s", flush=True)

    try:
        compile_all(on_compiled)
    except ImportError as error:
        raise SetupError(f"nothing can be compiled: {error}") from error


def heal(
    run: Annotated[
        str | None, Parameter(help="Run directory or test name; the whole store if not given.")
    ] = None,
    *,
    store: _Store = "store",
    ssh_host: Annotated[
        list[str] | None,
        Parameter(
            name="--ssh-host", negative=(), help="Log in to this host of the run: `user@host:port`."
        ),
    ] = None,
    ssh_known_hosts: Annotated[
        str, Parameter(name="--ssh-known-hosts", help="Its host keys; the user's if not given.")
    ] = "",
    ssh_key: Annotated[
        str, Parameter(name="--ssh-key", help="The private key; the agent's if not given.")
    ] = "",
    trust_hosts: Annotated[
        bool,
        Parameter(name="--trust-hosts", negative=(), help="Log in wherever the run's files say."),
    ] = False,
    other_boot: Annotated[
        bool,
        Parameter(
            name="--other-boot",
            negative=(),
            help="Containers and hosts of a run begun before this machine's restart, too.",
        ),
    ] = False,
) -> int:
    """Remove everything that runs left behind: processes, proxies, faults. Safe to repeat.

    Only what carries the run's own mark is touched. What its files name beyond that is refused, in
    one line each, and the exit code is 3.
    """
    from harness.environments.record import Consent
    from harness.heal import heal_run, heal_store
    from harness.store import find_run

    consent = Consent(trust_hosts, tuple(ssh_host or ()), ssh_known_hosts, ssh_key, other_boot)
    if run is None:
        healings = heal_store(Path(store), consent=consent)
        if not healings:
            print(f"nothing to heal under {store}")
    else:
        healings = [heal_run(find_run(run, store=store), consent=consent)]
    for line in (line for healing in healings for line in healing.sentences):
        print(line)
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
