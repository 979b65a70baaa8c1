"""Reading a run directory, complete or not.

A report is most needed when a run went wrong, and then files are missing, torn or half written.
So nothing here raises for what a file contains: each file is read for what it holds, and what is
missing or damaged becomes one sentence in :attr:`Run.missing`, which every form of the report
shows. A file that is a symbolic link, a FIFO or a device counts as damaged and is not read: a link
may lead to a file that must not be shown. A run without ``results.json`` is *not checked*: it has
no verdict, and the report says that rather than UNKNOWN or VALID.

For :mod:`reports` (writing, server).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from checkers.core.regular_files import open_regular, read_regular
from checkers.core.verdict import Result, Verdict
from checkers.history import Fault, History, HistoryError, load
from reports.operations import timed
from reports.wording import one_line

#: No honest results.json or spec.json is larger; findings are minimal witnesses.
JSON_BYTES_MAX = 256 << 20
#: Times of runs are smaller: 146 years in ns, and columns hold 64 bits.
NS_MAX = 1 << 62


@dataclass
class Run:
    """Everything a report is made of.

    Args:
        name: the run's name: the last two parts of its path, or the history file's name.
        path: the run directory, or None.
        verdict: None if the run was not checked.
        sentence: the verdict's sentence.
        results: the checkers' results.
        facts: ``run`` of results.json, completed from the spec and the history's header.
        evidence: ``evidence`` of results.json.
        faults: the run's faults, in order of beginning.
        history: None if it is missing or cannot be read.
        spec: the resolved TestSpec, or None.
        replay: the command that runs it again, or an empty string.
        missing: what is missing or damaged, one sentence each.
        positions: the history has no times; positions in it stand in for them.
    """

    name: str
    path: Path | None = None
    verdict: Verdict | None = None
    sentence: str = ""
    results: list[Result] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    history: History | None = None
    spec: dict[str, Any] | None = None
    replay: str = ""
    missing: list[str] = field(default_factory=list)
    positions: bool = False

    @property
    def end_ns(self) -> int:
        """When the run ended: its stated duration or the last thing that happened."""
        last = [fault.end_ns for fault in self.faults] + [f.begin_ns for f in self.faults]
        last.append(_int(self.facts.get("duration_ns")))
        if self.history is not None and len(self.history):
            last.append(int(self.history.time_ns.max()))
        return max([*last, 0])


def read_run(run_dir: str | os.PathLike[str]) -> Run:
    """Read a run directory.

    Raises:
        NotADirectoryError: there is no such directory: one sentence with the path.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise NotADirectoryError(f"run directory {str(run_dir)!r} is no directory")
    full = path.resolve()
    run = Run(name=f"{full.parent.name}/{full.name}", path=path)
    run.spec = _object(path / "spec.json", run.missing)
    results = _object(path / "results.json", run.missing)
    run.history = _history(path / "history.jsonl", run.missing)
    if results is None:
        run.missing.append("The run was not checked: it may still be going on, or was cut short.")
    else:
        _take_results(run, results)
    if not run.faults:
        run.faults = _faults_of_journal(path / "faults.jsonl") or _history_faults(run.history)
    _complete_facts(run)
    if run.history is not None:
        run.history, real = timed(run.history)
        run.positions = not real
    return run


def of_history(history: History, results: list[Result], *, name: str, replay: str = "") -> Run:
    """A run that is a history file alone, as ``harness check`` has it."""
    run = Run(name=name, history=history, results=list(results), replay=replay)
    run.verdict = Verdict.merge_all(result.verdict for result in results) if results else None
    run.sentence = sentence_of(results)
    run.faults = _history_faults(history)
    run.missing.extend(history.notes)
    _complete_facts(run)
    if run.history is not None:
        run.history, real = timed(run.history)
        run.positions = not real
    return run


def sentence_of(results: list[Result]) -> str:
    """The sentence of a verdict: of the first finding, else the reasons for the verdict."""
    for result in results:
        for finding in result.all_findings():
            return finding.sentence or finding.title
    merged = Verdict.merge_all(result.verdict for result in results)
    reasons: list[str] = []
    for result in results:
        _add_reasons(reasons, result, merged)
    return "; ".join(reasons[:3]) + ("." if reasons else "")


def _add_reasons(reasons: list[str], result: Result, verdict: Verdict) -> None:
    """Reasons of the checkers that checked by themselves and said this verdict."""
    if result.parts:
        for part in result.parts:
            _add_reasons(reasons, part, verdict)
    elif result.verdict is verdict and result.reason:
        reasons.append(f"{result.checker}: {result.reason.rstrip('.')}")


def _object(path: Path, missing: list[str]) -> dict[str, Any] | None:
    """A JSON object from a file; None, and a sentence, if there is none."""
    try:
        found = json_object(path)
    except FileNotFoundError:
        missing.append(f"{path.name} is missing.")
        return None
    except OSError as error:
        missing.append(f"{path.name} cannot be read: {one_line(error.strerror or error)}.")
        return None
    except ValueError as error:
        missing.append(f"{path.name} {one_line(error)}.")
        return None
    return found


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run's directory.

    Raises:
        OSError: the file cannot be opened, is too large or no regular file, or is a link.
        ValueError: it holds something else.
    """
    data = read_regular(path, limit=JSON_BYTES_MAX, below=path.parent)
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("holds no JSON object")
    return found


def _history(path: Path, missing: list[str]) -> History | None:
    try:
        open_regular(path, below=path.parent).close()
        history = load(path, format="history")
    except FileNotFoundError:
        missing.append("history.jsonl is missing: there are no operations to show.")
        return None
    except (HistoryError, OSError, ValueError) as error:
        words = getattr(error, "message", None) or getattr(error, "strerror", None)
        said = one_line(words or error)
        place = one_line(getattr(error, "place", ""))
        where = f" ({place})" if place else ""
        missing.append(f"history.jsonl cannot be read{where}: {said}.")
        return None
    missing.extend(history.notes)
    return history


def _take_results(run: Run, found: dict[str, Any]) -> None:
    """Fill in what results.json says, leaving out what is not shaped as it should be."""
    try:
        run.verdict = Verdict(found.get("verdict"))
    except ValueError:
        run.missing.append(f"results.json has no verdict but {one_line(found.get('verdict'))}.")
    for entry in _list(found.get("results")):
        try:
            run.results.append(msgspec.convert(entry, Result))
        except msgspec.ValidationError as error:
            run.missing.append(f"A result in results.json cannot be read: {one_line(error)}.")
    run.sentence = str(found.get("sentence") or sentence_of(run.results))
    run.replay = str(found.get("replay") or "")
    run.facts = _dict(found.get("run"))
    run.evidence = _dict(found.get("evidence"))
    for entry in _list(found.get("faults")):
        try:
            run.faults.append(_possible(msgspec.convert(entry, Fault)))
        except ValueError as error:
            run.missing.append(f"A fault in results.json cannot be read: {one_line(error)}.")


def _history_faults(history: History | None) -> list[Fault]:
    return [] if history is None else list(history.faults)


def _faults_of_journal(path: Path) -> list[Fault]:
    """Faults from faults.jsonl: begins joined with their ends; a torn line is left out."""
    faults: dict[int, Fault] = {}
    try:
        lines = read_regular(path, limit=JSON_BYTES_MAX, below=path.parent).splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            record = msgspec.json.decode(line)
            _journal_record(faults, record)
        except (ValueError, RecursionError, AttributeError, TypeError, LookupError, OverflowError):
            continue
    return [fault for fault in faults.values() if _int(fault.begin_ns) == fault.begin_ns]


def _journal_record(faults: dict[int, Fault], record: dict[str, Any]) -> None:
    phase, number = record.get("phase"), int(record["id"])
    if phase == "begin":
        faults[number] = Fault(
            number, str(record.get("nemesis", "fault")), int(record["t"]),
            value=record.get("value"), nodes=[str(node) for node in record.get("nodes") or []],
        )  # fmt: skip
    fault = faults.get(number)
    if fault is None:
        return
    if phase == "end":
        fault.end_ns = _int(int(record["t"]))
    fault.outcome = str(record.get("outcome") or fault.outcome)
    fault.evidence = _dict(record.get("evidence")) or fault.evidence
    if phase == "heal-failed":
        fault.evidence = dict(fault.evidence, heal="failed")


def _complete_facts(run: Run) -> None:
    """Facts that results.json does not give, from the spec, the header and the history."""
    header = run.history.header if run.history is not None else {}
    for name in ("test", "workload", "db", "env", "nemesis", "nodes", "seed", "started", "commit"):
        for source in (run.spec or {}, header):
            if run.facts.get(name) is None and source.get(name) is not None:
                run.facts[name] = source[name]
    if not isinstance(run.facts.get("ops"), dict) and run.history is not None:
        codes = run.history.outcomes()
        names = (("ok", 1), ("fail", 2), ("info", 3))
        run.facts["ops"] = {name: int((codes == code).sum()) for name, code in names}
    if not run.replay and run.spec:
        run.replay = str(run.spec.get("command") or "")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _int(value: Any) -> int:
    return value if isinstance(value, int) and abs(value) < NS_MAX else -1


def _possible(fault: Fault) -> Fault:
    """The fault, if its times are some that a run can have.

    Raises:
        ValueError: they are not.
    """
    if not (-NS_MAX < fault.begin_ns < NS_MAX and -NS_MAX < fault.end_ns < NS_MAX):
        raise ValueError(f"its times are {fault.begin_ns} and {fault.end_ns} ns")
    return fault
