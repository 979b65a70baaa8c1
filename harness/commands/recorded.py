"""``harness report``, ``replay`` and ``shrink``: from what was recorded."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from harness.errors import UsageError

TrustFlag = Annotated[
    bool,
    Parameter(
        name="--trust", negative=(), help="Import and run the code that the run's spec.json names."
    ),
]
TrustModuleFlag = Annotated[
    list[str] | None,
    Parameter(
        name="--trust-module",
        negative=(),
        help="Import this module if the run's spec.json names it; may be repeated.",
    ),
]
_Store = Annotated[str, Parameter(name="--store", help="Directory of run directories.")]


def report(
    run: Annotated[str, Parameter(help="Run directory, test name or `latest`.")] = "latest",
    *,
    store: _Store = "store",
) -> int:
    """Write report.html, summary.md and junit.xml of a run again, from its files alone."""
    import reports
    from harness.store import find_run

    run_dir = find_run(run, store=store)
    reports.render(run_dir)
    print(reports.terminal_summary(run_dir))
    print(f"report: {run_dir / 'report.html'}")
    return 0


def replay(
    run: Annotated[str, Parameter(help="Run directory, test name or `latest`.")] = "latest",
    *,
    store: _Store = "store",
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), negative=())] = False,
    trust: TrustFlag = False,
    trust_module: TrustModuleFlag = None,
) -> int:
    """Run a recorded run again: the same bytes in simulation, the same faults elsewhere.

    In simulation the new history is compared with the old one, byte by byte. What the run's
    spec.json names beyond our own code is run only if it is trusted.
    """
    from harness.campaign.replay import replay as again
    from harness.campaign.trust import Trust
    from harness.store import find_run

    allowed = Trust(trust, tuple(trust_module or ()))
    return again(find_run(run, store=store), quiet=quiet, trust=allowed)


def shrink(
    run: Annotated[str, Parameter(help="Run directory, test name or `latest`.")] = "latest",
    *,
    store: _Store = "store",
    time_limit: Annotated[
        str, Parameter(name="--time-limit", help="How long to spend on shrinking: 90s, 5m.")
    ] = "60s",
    trust: TrustFlag = False,
    trust_module: TrustModuleFlag = None,
) -> int:
    """Find the smallest test that still fails as a simulated run did: fewer faults, less time.

    The exit code is 1 when the failure was found again (and shrunk), 2 when it did not come back.
    """
    from harness.campaign.shrink import shrink as smaller
    from harness.campaign.trust import Trust
    from harness.store import find_run
    from harness.timings import parse_duration

    limit_s = parse_duration("--time-limit", time_limit)
    if limit_s <= 0:
        raise UsageError(f"--time-limit is {time_limit}; it should be a positive number")
    allowed = Trust(trust, tuple(trust_module or ()))
    return smaller(find_run(run, store=store), limit_s=limit_s, trust=allowed)
