"""``harness check``: check history files, ours and those of other tools.

Files are checked by :mod:`checkers.check_files`; here a plain command line is read (any other by
:mod:`harness.commands.check`, which takes longer to import than to check a file), progress is shown
and what was found is said: as text (:mod:`harness.commands.checking_text`), as JSON or as pages
(:mod:`harness.commands.checking_pages`).

The exit code is the worst verdict's: 0 valid, 1 invalid, 2 unknown. When no file could be checked
at all it says whose fault that is: 254 the files' or the command line's, 3 the machine's. An
interrupt ends the processes that check and says so in a line, with 130 as a shell has it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from checkers.core.regular_files import open_regular
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_USAGE, UsageError
from harness.store import HISTORY, SPEC

if TYPE_CHECKING:
    from checkers.check_files import FileResult
    from checkers.core.budget import Budget
    from harness.commands.checking_pages import Pages

#: No header of a history is longer.
HEADER_BYTES_MAX = 1 << 20

#: The exit code of a command ended by an interrupt, as shells have it.
EXIT_INTERRUPTED = 130

#: The default budget of one file.
BUDGET = "60s,4GB"


class Flag(NamedTuple):
    """A flag: its names, its help, and whether it is a switch or may be repeated."""

    names: tuple[str, ...]
    help: str
    switch: bool = False
    repeated: bool = False


FLAGS = {
    "model": Flag(
        ("--model", "--checker", "-m"),
        "Model or checker by name (`harness list checkers`), or module:attribute of your own; "
        "inferred if not given.",
    ),
    "consistency_model": Flag(
        ("--consistency-model",),
        "What transactions promise: strict-serializable (if not given), serializable, "
        "snapshot-isolation, repeatable-read, read-committed, read-atomic, causal, ...",
    ),
    "format": Flag(
        ("--format",),
        "history (our JSONL), parquet, jepsen-store (test.jepsen), dbcop, etcd-report (the folder "
        "above client-*), elle-json, porcupine-kv, edn (Jepsen, Elle, Knossos), jepsen-log "
        "(history.txt, jepsen.log), limo, awdit or polysi (also IsoVista); recognised by how the "
        "file begins if not given.",
    ),
    "option": Flag(
        ("--option", "-o"),
        "An option of the checker, `name=value`; may be repeated.",
        repeated=True,
    ),
    "budget": Flag(
        ("--budget",),
        "What one file may cost: seconds, or a list such as `30s,2GB,1000000steps`; `none` for no "
        "limit.",
    ),
    "jobs": Flag(("--jobs", "-j"), "Processes; one per core if not given."),
    "json": Flag(("--json",), "Print one JSON object per file.", switch=True),
    "report": Flag(("--report",), "Write an HTML page here; for several files, a folder of pages."),
}
_BY_NAME = {name: parameter for parameter, flag in FLAGS.items() for name in flag.names}


def plain(words: Sequence[str]) -> dict[str, Any] | None:
    """The keywords of :func:`run` for a plain command line: files, and known flags in full.

    None for all else: help, mistakes and abbreviations are for the parser of all commands.
    """
    options: dict[str, Any] = {}
    files: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if not word.startswith("-"):
            files.append(word)
            continue
        name, equals, value = word.partition("=")
        parameter = _BY_NAME.get(name, "")
        if not parameter or (equals and not name.startswith("--")):
            return None
        flag = FLAGS[parameter]
        if flag.switch:
            if equals:
                return None
            options[parameter] = True
            continue
        value = value if equals else next(waiting, "")
        if not value or value.startswith("-") or (parameter in options and not flag.repeated):
            return None
        options[parameter] = [*options.get(parameter, ()), value] if flag.repeated else value
    jobs = options.get("jobs", "1")
    if not (jobs.isascii() and jobs.isdecimal()) or not all(files):
        return None
    return {**options, "files": tuple(files), **({"jobs": int(jobs)} if "jobs" in options else {})}


def run(
    files: tuple[str, ...],
    *,
    model: str | None = None,
    consistency_model: str | None = None,
    format: str | None = None,
    option: list[str] | None = None,
    budget: str = BUDGET,
    jobs: int | None = None,
    json: bool = False,
    report: str | None = None,
) -> int:
    """Check history files; the arguments are those of the command line. Returns the exit code."""
    try:
        return _check(files, model, consistency_model, format, option, budget, jobs, json, report)
    except KeyboardInterrupt:
        print("harness: interrupted; nothing was checked", file=sys.stderr)
        return EXIT_INTERRUPTED


def _check(
    files: tuple[str, ...],
    model: str | None,
    consistency_model: str | None,
    format: str | None,
    option: list[str] | None,
    budget: str,
    jobs: int | None,
    json: bool,
    report: str | None,
) -> int:
    if not files:
        raise UsageError("check needs a file: a history, a run directory or a folder")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs is {jobs}; it should be at least 1")
    allowed = parse_budget(budget)
    paths = [_history_of(path) for path in files]
    from harness.commands import checking_text

    with _one_thread():
        from checkers.check_files import check_files
    results = [_not_begun(path) for path in paths if _never_began(Path(path))]
    paths = [path for path in paths if not _never_began(Path(path))]
    pages, options = _pages(report, paths), _options(option)
    quiet = len(paths) < 2 and not any(map(os.path.isdir, paths))
    with checking_text.Progress(quiet=quiet) as progress:
        results += check_files(
            paths,
            model=model,
            consistency_model=consistency_model,
            format=format,
            budget=allowed,
            jobs=jobs,
            progress=progress.show,
            options=options,
            after=pages.write if pages else "",
            after_options=pages.options() if pages else None,
        )
    for path in paths:
        inside = os.path.join(path, "")
        there = any(found.path == path or found.path.startswith(inside) for found in results)
        if Path(path).is_dir() and not there:
            raise UsageError(f"there is no file in {path!r}")
    for text in checking_text.as_json(results) if json else checking_text.described(results):
        print(text)
    if pages is not None:
        written = pages.finish(results)
        if not json and written:
            print(f"\nreport: {written}")
    return _exit_code(results)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Import numpy without the threads of its linear algebra: they cost more than the import."""
    name = "OPENBLAS_NUM_THREADS"
    ours = name not in os.environ
    os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if ours:
            del os.environ[name]


def _options(option: Sequence[str] | None) -> dict[str, Any]:
    if not option:
        return {}
    from harness.spec import parse_options

    return parse_options("--option", option)


def _pages(report: str | None, paths: Sequence[str]) -> Pages | None:
    if report is None:
        return None
    from harness.commands.checking_pages import prepare

    return prepare(report, paths)


def _exit_code(results: Sequence[FileResult]) -> int:
    """The merged verdict; where nothing could be checked, whose fault that is."""
    from checkers.check_files import merged

    if any(result.result is not None or result.blame == "checker" for result in results):
        return merged(results).exit_code
    machine = any(result.blame == "machine" for result in results)
    return EXIT_INFRASTRUCTURE if machine else EXIT_USAGE


def _never_began(history: Path) -> bool:
    """Whether this is the history of a run that was killed before it wrote its first line."""
    if history.name != HISTORY or not (history.parent / SPEC).exists():
        return False
    try:
        with open_regular(history) as file:
            return not file.readline(HEADER_BYTES_MAX).endswith(b"\n")
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the loader says why it cannot be read


def _not_begun(path: str) -> FileResult:
    """The notes on such a run."""
    from checkers.check_files import FileResult
    from checkers.core.verdict import Result, Verdict

    reason = "the run ended before its first operation was recorded; there is nothing to check"
    unknown = Result(checker="history", verdict=Verdict.UNKNOWN, reason=reason)
    return FileResult(path, Verdict.UNKNOWN, result=unknown)


def _history_of(path: str) -> str:
    """A run directory stands for its history, which is no link to somewhere else."""
    found = Path(path)
    history = found / HISTORY
    if found.is_dir():
        try:
            open_regular(history, below=found).close()
        except FileNotFoundError:
            return str(history) if (found / SPEC).exists() else path
        except OSError as error:
            raise UsageError(f"{str(history)!r}: {error.strerror}") from None
        return str(history)
    if _never_began(found):
        return path
    if not found.exists():
        raise UsageError(f"there is no file {path!r}")
    return path


# The budget ---------------------------------------------------------------------------------------

_SIZES_MB = {"kb": 0.001, "mb": 1.0, "gb": 1000.0, "mib": 1.048576, "gib": 1073.741824}


def parse_budget(text: str) -> Budget:
    """A budget from ``30``, ``1m30s``, ``500MB``, ``1000000steps`` or several of them.

    Raises:
        UsageError: it is none of these, or not positive.
    """
    from checkers.core.budget import Budget

    if text.strip().lower() in ("none", "unlimited"):
        return Budget(time_s=None, memory_mb=None)
    limits: dict[str, float] = {}
    for part in filter(None, text.replace("+", ",").replace(" ", ",").split(",")):
        name, value = _limit(text, part.lower())
        limits[name] = value
    if not limits:
        raise UsageError(f"--budget is {text!r}; it should be like 30s, 2GB or 30s,2GB")
    default = Budget()
    return Budget(
        time_s=limits.get("time_s", default.time_s),
        memory_mb=limits.get("memory_mb", default.memory_mb),
        steps=int(limits["steps"]) if "steps" in limits else None,
    )


def _limit(text: str, part: str) -> tuple[str, float]:
    from harness.timings import in_seconds

    seconds = in_seconds(part)
    digits = part.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = part[len(digits) :]
    try:
        number = float(digits) if seconds is None else seconds
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1e15:
        raise UsageError(
            f"--budget is {text!r}, and {part!r} is no positive number with a unit such as s, MB, "
            "GB or steps"
        )
    if seconds is not None or not unit:
        return "time_s", number
    if unit in _SIZES_MB:
        return "memory_mb", number * _SIZES_MB[unit]
    if unit in ("step", "steps"):
        return "steps", number
    raise UsageError(f"--budget is {text!r}; the units are s, ms, min, h, MB, GB and steps")
