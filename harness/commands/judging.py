"""``harness check``, ``report``, ``replay`` and ``shrink``: from what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from harness.errors import EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from checkers.commandline import FileResult

#: Findings printed per file.
FINDINGS_SHOWN_MAX = 3

_Store = Annotated[str, Parameter(name="--store", help="Directory of run directories.")]


def check(
    *files: Annotated[str, Parameter(help="History files, run directories, or folders of files.")],
    model: Annotated[
        str | None,
        Parameter(
            name=("--model", "--checker", "-m"),
            help="Model or checker: `harness list models`, `list checkers`; inferred if not given.",
        ),
    ] = None,
    consistency_model: Annotated[
        str | None,
        Parameter(name="--consistency-model", help="Isolation level that transactions promise."),
    ] = None,
    format: Annotated[
        str | None, Parameter(name="--format", help="Format of the files; recognised if not given.")
    ] = None,
    option: Annotated[
        list[str] | None,
        Parameter(name="--option", help="Option of the checker, `name=value`.", negative=()),
    ] = None,
    time_limit: Annotated[
        float, Parameter(name="--time-limit", help="Seconds a checker may take per file.")
    ] = 60.0,
    memory_mb: Annotated[
        float, Parameter(name="--memory-mb", help="Memory a checker may take per file.")
    ] = 4096.0,
    jobs: Annotated[
        int | None, Parameter(name=("--jobs", "-j"), help="Processes; one per core if not given.")
    ] = None,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print one JSON object per file.")
    ] = False,
) -> int:
    """Judge history files: ours, Jepsen's EDN, elle-cli's JSON, Porcupine's logs.

    The verdict of several files is the worst. Exit codes are those of `harness test`; files of
    which none can be judged are a usage error.
    """
    if not files:
        raise UsageError("check needs a file: a history, or a run directory")
    if time_limit <= 0:
        raise UsageError(f"--time-limit is {time_limit:g}; it should be a positive number")
    from checkers.budget import Budget
    from checkers.commandline import check_files
    from harness.spec import parse_options

    results = check_files(
        [_history_of(path) for path in files],
        model=model,
        consistency_model=consistency_model,
        format=format,
        budget=Budget(time_s=time_limit, memory_mb=memory_mb),
        jobs=jobs,
        options=parse_options("--option", option or ()),
    )
    for result in results:
        print(_as_json(result) if json else _described(result))
    return _exit_code(results)


def _exit_code(results: Sequence[FileResult]) -> int:
    """The merged verdict; a usage error if nothing could be judged at all."""
    from checkers.commandline import merged

    judged = [result for result in results if result.result is not None]
    wrong = [result for result in results if result.usage]
    if not judged or len(wrong) == len(results):
        return EXIT_USAGE
    return merged(results).exit_code


def _as_json(result: FileResult) -> str:
    import msgspec

    return msgspec.json.encode(result, enc_hook=repr).decode()


def _described(result: FileResult) -> str:
    """A file's verdict in a few lines: what, why, and the first finding's explanation."""
    if result.verdict is None:
        return f"{result.path}: {result.error}"
    if result.error:
        place = "" if result.error.startswith(result.path) else f"{result.path}: "
        return f"UNKNOWN  {place}{result.error}"
    said = result.result
    assert said is not None
    took = f"{result.ops} operations, {result.load_s + said.elapsed_s:.2f} s"
    lines = [f"{result.verdict.name}  {result.path}  ({result.model}; {took})"]
    lines += [f"  note: {note}" for note in result.notes]
    found = said.all_findings()
    for finding in found[:FINDINGS_SHOWN_MAX]:
        lines.append(f"  {finding.sentence or finding.title}")
        lines += [f"    - {step.text}" for step in finding.because if step.text]
    if len(found) > FINDINGS_SHOWN_MAX:
        lines.append(f"  and {len(found) - FINDINGS_SHOWN_MAX} more findings (--json has all)")
    if not found and said.reason:
        lines.append(f"  {said.reason}")
    return "\n".join(lines)


def _history_of(path: str) -> str:
    """A run directory stands for its history."""
    found = Path(path)
    if found.is_dir():
        history = found / "history.jsonl"
        return str(history) if history.exists() else path
    if not found.exists():
        raise UsageError(f"there is no file {path!r}")
    return path


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
) -> int:
    """Run a recorded run again: the same bytes in simulation, the same faults elsewhere.

    In simulation the new history is compared with the old one, byte by byte.
    """
    from harness.campaign.replay import replay as again
    from harness.store import find_run

    return again(find_run(run, store=store), quiet=quiet)


def shrink(
    run: Annotated[str, Parameter(help="Run directory, test name or `latest`.")] = "latest",
    *,
    store: _Store = "store",
    time_limit: Annotated[
        float, Parameter(name="--time-limit", help="Seconds to spend on shrinking.")
    ] = 60.0,
) -> int:
    """Find the smallest test that still fails as a simulated run did: fewer faults, less time.

    The exit code is 1 when the failure was found again (and shrunk), 2 when it did not come back.
    """
    from harness.campaign.shrink import shrink as smaller
    from harness.store import find_run

    if time_limit <= 0:
        raise UsageError(f"--time-limit is {time_limit:g}; it should be a positive number")
    return smaller(find_run(run, store=store), limit_s=time_limit)
