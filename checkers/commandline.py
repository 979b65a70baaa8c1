"""Check history files: what ``harness check FILE...`` does, without the command line.

A file that is no history, or a malformed one, is a sentence and never a traceback. Several files
are checked by several processes; a process that dies (out of memory, say) costs its file only.

For the harness's command and for scripts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import msgspec

from checkers.budget import Budget
from checkers.verdict import Result, Verdict

#: Called after each file: how many are done, how many there are, and the file's result.
Progress = Callable[[int, int, "FileResult"], None]


class FileResult(msgspec.Struct, omit_defaults=True):
    """What became of one file.

    Args:
        path: the file.
        verdict: of the history; UNKNOWN if there is an error; None if the file was passed over
            because it is in a folder and is no history.
        model: the checker that was chosen or inferred.
        format: the file's format.
        result: what the checker said, if it came to that.
        error: why the file could not be checked, one sentence with the place.
        usage: whether the error is the user's choice of model or options, not the file's.
        ops: how many operations the history has.
        notes: what the loader repaired or left out.
        load_s: seconds spent loading.
    """

    path: str
    verdict: Verdict | None
    model: str = ""
    format: str = ""
    result: Result | None = None
    error: str = ""
    usage: bool = False
    ops: int = 0
    notes: list[str] = []
    load_s: float = 0.0


class _Task(msgspec.Struct, frozen=True):
    """One file to check, and how."""

    path: str
    in_folder: bool
    model: str | None
    consistency_model: str | None
    format: str | None
    budget: Budget | None
    options: dict[str, Any]


def check_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    model: str | None = None,
    consistency_model: str | None = None,
    format: str | None = None,
    budget: Budget | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[FileResult]:
    """Check files, and all files in folders, each by itself.

    Args:
        paths: files and folders. Of a folder all files below it are taken, and those of no known
            format are passed over.
        model: see :func:`checkers.infer.choose`.
        consistency_model: the same.
        format: see :func:`checkers.history.load`.
        budget: for each file.
        jobs: how many processes; None for as many as there are processors, or files if fewer.
        progress: called after each file.
        options: the checker's options.

    Returns:
        one result per file, in the order given and sorted within folders.
    """
    tasks = [
        _Task(path, in_folder, model, consistency_model, format, budget, dict(options or {}))
        for path, in_folder in _files(paths)
    ]
    workers = max(1, min(jobs or os.cpu_count() or 1, len(tasks)))
    results: list[FileResult | None] = [None] * len(tasks)
    run = _in_turn(tasks) if workers == 1 else _in_parallel(tasks, workers)
    for done, (number, result) in enumerate(run, 1):
        results[number] = result
        if progress is not None:
            progress(done, len(tasks), result)
    return [result for result in results if result is not None]


def merged(results: Iterable[FileResult]) -> Verdict:
    """The worst verdict of the files that are histories; UNKNOWN if none is."""
    return Verdict.merge_all(result.verdict for result in results if result.verdict is not None)


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[str, bool]]:
    for path in [os.fspath(path) for path in paths]:
        if not os.path.isdir(path):
            yield path, False
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    yield os.path.join(folder, name), True


def _in_turn(tasks: list[_Task]) -> Iterator[tuple[int, FileResult]]:
    for number, task in enumerate(tasks):
        yield number, _check(task)


def _in_parallel(tasks: list[_Task], workers: int) -> Iterator[tuple[int, FileResult]]:
    """Check in worker processes; what a dying one left undone is checked again, one by one."""
    left: list[int] = []
    # Spawned, not forked: the caller may have threads, a progress bar's for one.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: dict[Future[FileResult], int] = {
            pool.submit(_check, task): number for number, task in enumerate(tasks)
        }
        for future in as_completed(running):
            try:
                yield running[future], future.result()
            except BrokenProcessPool:
                left.append(running[future])
    for number in left:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                yield number, pool.submit(_check, tasks[number]).result()
            except BrokenProcessPool:
                said = "the process that checked it died; perhaps the machine is out of memory"
                yield number, FileResult(tasks[number].path, Verdict.UNKNOWN, error=said)


def _check(task: _Task) -> FileResult:
    """Check one file; never raises."""
    from checkers.history import HistoryError, load, recognise
    from checkers.infer import ChoiceError, choose

    found = FileResult(task.path, Verdict.UNKNOWN)
    started_s = time.monotonic()
    try:
        found.format = task.format or _format(task, recognise)
        if not found.format:
            found.verdict, found.error = None, "no known history format; passed over"
            return found
        history = load(task.path, format=found.format)
        found.load_s = time.monotonic() - started_s
        found.ops = history.op_count
        checker = choose(history, task.model, task.consistency_model, task.options)
        found.model = checker.name
        found.notes = list(history.notes)
        found.result = checker(history, budget=task.budget)
        found.verdict = found.result.verdict
    except HistoryError as error:
        found.error = str(error)
    except ChoiceError as error:
        found.error, found.usage = f"{task.path}: {error}", True
    except OSError as error:
        found.error = f"{task.path}: {error.strerror or error}"
    except MemoryError:
        found.error = f"{task.path}: the file does not fit into memory"
    except Exception as error:
        found.error = f"{task.path}: a bug in the checker: {type(error).__name__}: {error}"
    return found


def _format(task: _Task, recognise: Callable[[str], str]) -> str:
    """The file's format; empty for a file of a folder that has none."""
    from checkers.history import HistoryError

    try:
        return recognise(task.path)
    except HistoryError:
        if task.in_folder:
            return ""
        raise
