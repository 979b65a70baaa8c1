"""Check history files: what ``harness check FILE...`` does, without the command line.

A file that is no history, or a malformed one, is a sentence and never a traceback. Several files
are checked by several processes; a process that dies (out of memory, say) costs its file only.

For the harness's command and for scripts.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from checkers.core.budget import Budget, BudgetSpent, Meter, alarm, uncounted_s, within
from checkers.core.garbage_collection import collector_paused
from checkers.core.pipe_messages import receive, send
from checkers.core.verdict import Result, Verdict
from checkers.core.wording import shortened
from checkers.history.op import Op

#: Findings whose operations are kept beside a file's result, and how many of each.
WITNESSES_MAX = 10
WITNESS_OPS_MAX = 60

#: A history in memory may take so many memory budgets; what a check takes besides is held to one.
READ_MEMORY_BUDGETS = 2.0

#: Called after each file: how many are done, how many there are, and the file's result.
Progress = Callable[[int, int, "FileResult"], None]


class FileResult(msgspec.Struct, omit_defaults=True):
    """The outcome of one file.

    Args:
        path: the file.
        verdict: of the history; UNKNOWN if there is an error; None if the file was passed over
            because it is in a folder and is no history.
        model: the checker that was chosen or inferred.
        format: the file's format.
        result: what the checker said, if it ran.
        error: why the file could not be checked, one sentence with the place.
        blame: whose the error is: the ``file``'s, the user's choice of model or options
            (``usage``), the ``machine``'s, or a ``checker``'s; empty without an error.
        inferred: whether the model was inferred.
        witnesses: the operations of each of the first findings, in their order.
        ops: how many operations the history has.
        notes: what the loader repaired or left out.
        load_s: seconds spent loading.
        compile_s: seconds spent on machine code, which count for no budget.
        spent_s: seconds spent on the file in all, until it was out of memory again.
    """

    path: str
    verdict: Verdict | None
    model: str = ""
    format: str = ""
    result: Result | None = None
    error: str = ""
    blame: str = ""
    inferred: bool = False
    witnesses: list[list[Op]] = []
    ops: int = 0
    notes: list[str] = []
    load_s: float = 0.0
    compile_s: float = 0.0
    spent_s: float = 0.0

    @property
    def usage(self) -> bool:
        """Whether the error is the user's choice of model or options, not the file's."""
        return self.blame == "usage"


class _Task(msgspec.Struct, frozen=True):
    """One file to check, and how."""

    path: str
    in_folder: bool
    model: str | None
    consistency_model: str | None
    format: str | None
    budget: Budget | None
    options: dict[str, object]
    after: str = ""
    after_options: dict[str, object] = {}


def check_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    model: str | None = None,
    consistency_model: str | None = None,
    format: str | None = None,
    budget: Budget | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    options: Mapping[str, object] | None = None,
    after: str = "",
    after_options: Mapping[str, object] | None = None,
) -> list[FileResult]:
    """Check files, and all files in folders, each by itself.

    Args:
        paths: files and folders. Of a folder all files below it are taken, and those of no known
            format are passed over; of a run's directory in it, its history alone.
        model: see :func:`checkers.checker_choice.choose`.
        consistency_model: the same.
        format: see :func:`checkers.history.load`.
        budget: for each file.
        jobs: how many processes; None for as many as there are processors, or files if fewer.
        progress: called after each file.
        options: the checker's options.
        after: ``module:function`` called where the file was checked, with the history, the result
            of the file and ``after_options``; for reports, which need the history.
        after_options: keywords for ``after``; plain values, since another process gets them.

    Returns:
        one result per file, in the order given and sorted within folders.
    """
    tasks = [
        _Task(
            path,
            in_folder,
            model,
            consistency_model,
            format,
            budget,
            dict(options or {}),
            after,
            dict(after_options or {}),
        )
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
    """Files, and folders that are one history, each with whether it was found in a folder."""
    for path in [os.fspath(path) for path in paths]:
        if not os.path.isdir(path):
            yield path, False
            continue
        from checkers.history.importers.etcd_report import is_report

        if is_report(path):
            yield path, False
            continue
        for folder, folders, names in os.walk(path):
            for name in [name for name in sorted(folders) if is_report(os.path.join(folder, name))]:
                folders.remove(name)
                yield os.path.join(folder, name), True
            alone = _run_history(names)
            folders[:] = [] if alone else sorted(f for f in folders if not f.startswith("."))
            for name in [alone] if alone else sorted(names):
                if not name.startswith("."):
                    yield os.path.join(folder, name), True


def _run_history(names: list[str]) -> str:
    """The history of a run's directory, ours or Jepsen's; empty if these files make no such one."""
    if "history.jsonl" in names and ("spec.json" in names or "results.json" in names):
        return "history.jsonl"
    jepsen = {"jepsen.log", "results.edn", "test.jepsen", "test.fressian"}
    if not jepsen.intersection(names):
        return ""
    known = ("history.edn", "test.jepsen", "history.txt", "jepsen.log")
    return next((name for name in known if name in names), "")


def _in_turn(tasks: list[_Task]) -> Iterator[tuple[int, FileResult]]:
    for number, task in enumerate(tasks):
        yield number, _check(task)


def _in_parallel(tasks: list[_Task], workers: int) -> Iterator[tuple[int, FileResult]]:
    """Check in worker processes, each fed by a thread of its own."""
    waiting: queue.SimpleQueue[tuple[int, _Task]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, FileResult]] = queue.SimpleQueue()
    for numbered in enumerate(tasks):
        waiting.put(numbered)

    workers_now: list[_Worker] = []

    def feed() -> None:
        with _Worker() as worker:
            workers_now.append(worker)
            while True:
                try:
                    number, task = waiting.get_nowait()
                except queue.Empty:
                    return
                done.put((number, worker.check(task)))

    threads = [threading.Thread(target=feed, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    finished = False
    try:
        for _ in tasks:
            yield done.get()
        finished = True
    finally:
        if not finished:  # interrupted: the results still to come are not waited for
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
            for worker in list(workers_now):
                worker.kill()
    for thread in threads:
        thread.join()


class _Worker:
    """A process that checks one file after another; begun again when it dies.

    It is a fresh interpreter and not a fork (the caller may have threads) nor one spawned by
    ``multiprocessing`` (which runs the caller's main module again). Only this process talks to it.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.killed = False

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *rest: object) -> None:
        self._stop()

    def check(self, task: _Task) -> FileResult:
        """The result for one file, also if the process dies of it."""
        try:
            process = self.process or self._start()
        except OSError as error:
            said = f"{task.path}: no process can be started to check it: {error.strerror}"
            return FileResult(task.path, Verdict.UNKNOWN, error=said, blame="machine")
        assert process.stdin is not None and process.stdout is not None
        try:
            send(process.stdin, task)
            return receive(process.stdout, FileResult)
        except (OSError, EOFError, msgspec.DecodeError):
            self._stop()
            code = process.returncode
            why = "perhaps the machine is out of memory" if code == -9 else f"exit code {code}"
            blame = "machine"
            said = f"{task.path}: the process that checked it died ({why})"
        except (TypeError, ValueError) as error:
            said = f"{task.path}: the options cannot be given to another process: {error}"
            blame = "usage"
        return FileResult(task.path, Verdict.UNKNOWN, error=said, blame=blame)

    def _start(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from checkers.check_files import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # threads of numpy's linear algebra, which nothing here uses, cost more than its import
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": paths},
            process_group=0,  # an interrupt at the terminal is for us, who then kill it
        )
        if self.killed:
            self.process.kill()
        return self.process

    def kill(self) -> None:
        """End the process at once, and any begun from now on."""
        process = self.process
        if process is not None:
            process.kill()
        self.killed = True

    def _stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        process.wait()


def serve() -> None:
    """A worker's life: tasks from standard input, results to standard output, until it closes."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a checker prints must not come between the results
    tasks = sys.stdin.buffer
    while True:
        try:
            task = receive(tasks, _Task)
        except EOFError:
            return
        send(results, _check(task))


def _check(task: _Task) -> FileResult:
    """Check one file; never raises."""
    from checkers.checker_choice import ChoiceError
    from checkers.history import HistoryError

    began_s, uncounted_before_s = time.monotonic(), uncounted_s()
    found = FileResult(task.path, Verdict.UNKNOWN)
    try:
        with collector_paused():  # also between loading and checking, and while freeing
            _load_and_check(task, found)
    except HistoryError as error:
        found.error, found.blame = str(error), "file"
    except ChoiceError as error:
        found.error, found.blame = f"{task.path}: {shortened(str(error))}", "usage"
    except RecursionError:
        found.error = f"{task.path}: its values are nested too deeply to be compared"
        found.blame = "file"
    except OSError as error:
        found.error = f"{task.path}: {error.strerror or error}"
        found.blame = "machine" if error.errno in (errno.EIO, errno.ENOSPC) else "file"
    except MemoryError:
        found.error = f"{task.path}: the file does not fit into memory"
        found.blame = "machine"
    except Exception as error:  # a bug in a checker is said of this file; the others go on
        said = shortened(f"{type(error).__name__}: {error}")
        found.error = f"{task.path}: a bug in the checker: {said}"
        found.blame = "checker"
    found.compile_s = uncounted_s() - uncounted_before_s
    found.spent_s = time.monotonic() - began_s
    return found


def _load_and_check(task: _Task, found: FileResult) -> None:
    """Load and check a file, filling in what is found."""
    from checkers.checker_choice import choose
    from checkers.history import load, recognise

    meter = Meter(task.budget)
    meter.memory_budgets = READ_MEMORY_BUDGETS
    found.format = task.format or _format(task, recognise)
    if not found.format:
        found.verdict, found.error = None, "no known history format; passed over"
        return
    try:
        with within(meter), alarm(meter):
            history = load(task.path, format=found.format)
            found.load_s = meter.elapsed_s
            found.ops = history.op_count
            meter.memory_budgets = math.inf  # from now on the check's own meter counts
            checker = choose(history, task.model, task.consistency_model, task.options)
            found.model, found.inferred = checker.name, task.model is None
            result = checker(history, budget=meter.left())
    except BudgetSpent as spent:
        name = found.model or task.model or ""
        read = bool(found.load_s)
        found.load_s = found.load_s or meter.elapsed_s
        far = f"{meter.read_share:.0%} of its {meter.read_of_mb:.1f} MB were"
        where = "before the history was checked" if read else f"while the file was read: {far}"
        found.result = Result(checker=name, verdict=Verdict.UNKNOWN, reason=f"{spent} {where}")
        return
    found.notes = [shortened(note) for note in history.notes]
    if result.stats.get("malformed"):
        between = ", " if result.reason.startswith("line ") else ": "
        found.error = f"{task.path}{between}{result.reason}"
        found.blame = "usage" if "refused" in result.stats else "file"
        return
    found.result, found.verdict = result, result.verdict
    found.witnesses = [
        [history.op(invoke) for invoke in finding.ops[:WITNESS_OPS_MAX]]
        for finding in result.all_findings()[:WITNESSES_MAX]
    ]
    if task.after:
        module, _, attribute = task.after.partition(":")
        getattr(importlib.import_module(module), attribute)(history, found, **task.after_options)


def _format(task: _Task, recognise: Callable[[str], str]) -> str:
    """The file's format; empty for a file of a folder that has none."""
    from checkers.history import HistoryError

    try:
        return recognise(task.path)
    except HistoryError:
        if task.in_folder:
            return ""
        raise
