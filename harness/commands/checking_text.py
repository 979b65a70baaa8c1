"""What ``harness check`` says: verdicts, findings and witnesses as text, or as JSON lines.

On a terminal lines fit its width and verdicts have colours; in a pipe lines are wrapped at 80
columns, but a path is never cut and an error stays on its line. Text from a history has its control
characters escaped, so that a value cannot move the cursor.

The JSON form is one object a line, ``"schema": "check/1"``; docs/checkers.md has its fields.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.text_columns import aligned

if TYPE_CHECKING:
    from checkers.check_files import FileResult
    from checkers.core.verdict import Finding, Result
    from checkers.history import Op

SCHEMA = "check/1"

#: Findings shown per file, steps per finding, and files shown at length.
FINDINGS_SHOWN_MAX = 3
STEPS_SHOWN_MAX = 12
FILES_SHOWN_MAX = 10

#: Names of files passed over that are listed.
PASSED_OVER_SHOWN_MAX = 3

WIDTH_PIPED = 80
_COLOURS = {"VALID": "32", "INVALID": "31", "UNKNOWN": "35"}

#: Seconds from which on it is said what a file's time went to.
PARTS_TOLD_S = 2.0

#: Seconds between two lines of progress where there is no terminal.
PROGRESS_INTERVAL_S = 10.0


def width() -> int:
    """Columns to fill: the terminal's, or 80 in a pipe."""
    if not sys.stdout.isatty():
        return WIDTH_PIPED
    return max(40, min(shutil.get_terminal_size((WIDTH_PIPED, 24)).columns, 120))


#: A text is cut in its middle beyond this: it may show a value of any size (--json has it whole).
TEXT_CHARS_MAX = 4000


def safe(text: str) -> str:
    """Text with control characters escaped, what cannot be printed replaced, and a huge one cut."""
    if len(text) > TEXT_CHARS_MAX:
        half = TEXT_CHARS_MAX // 2
        text = f"{text[:half]} ... {text[-half:]}"
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _word(verdict: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return verdict
    return f"\x1b[{_COLOURS[verdict]}m{verdict}\x1b[0m"


# Progress -----------------------------------------------------------------------------------------


class Progress:
    """How many files are done, on standard error: one line that changes, on a terminal.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._live = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._began_s = self._said_s = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._done = self._total = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        from checkers.core import jit

        jit.progress = compiling
        if self._live:
            self._thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        from checkers.core import jit

        jit.progress = None
        self._stop.set()
        if self._live:
            self._thread.join()
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, done: int, total: int, result: FileResult) -> None:
        """After each file."""
        self._done, self._total = done, total
        self._counts["passed over" if result.verdict is None else result.verdict.value] += 1
        if self._live or self._quiet:
            return
        now_s = time.monotonic()
        if now_s - self._said_s >= PROGRESS_INTERVAL_S and done < total:
            self._said_s = now_s
            print(self._line(), file=sys.stderr)

    def _line(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self._counts.items()))
        spent_s = time.monotonic() - self._began_s
        total = self._total or "..."
        return f"{self._done} of {total} files checked, {spent_s:.0f} s" + (
            f": {counts}" if counts else ""
        )

    def _tick(self) -> None:
        while not self._stop.wait(0.2):
            columns = shutil.get_terminal_size((WIDTH_PIPED, 24)).columns
            sys.stderr.write("\r\x1b[K" + self._line()[: columns - 1])
            sys.stderr.flush()


def compiling(spent_s: float) -> None:
    """Say that machine code is compiled: a line that changes on a terminal, else one line in all.

    Args:
        spent_s: seconds so far; negative when it is done.
    """
    said = "compiling machine code, once on this machine"
    if sys.stderr.isatty():
        line = "" if spent_s < 0 else f"{said} ({spent_s:.0f} s)"
        sys.stderr.write("\r\x1b[K" + line)
        sys.stderr.flush()
    elif spent_s == 0:
        print(f"harness: {said}", file=sys.stderr)


# Text ---------------------------------------------------------------------------------------------


def described(results: Sequence[FileResult]) -> Iterator[str]:
    """Everything to print, in pieces: the verdicts, then what there is to say of files."""
    if len(results) == 1:
        yield _file(results[0], results[0].path)
        return
    names = _names(results)
    yield _table(results, names)
    failed = [
        (result, name)
        for result, name in zip(results, names)
        if result.verdict is not None and result.verdict.value != "valid"
    ]
    failed.sort(key=lambda pair: pair[0].verdict is not None and pair[0].verdict.value != "invalid")
    for result, name in failed[:FILES_SHOWN_MAX]:
        yield "\n" + _file(result, name)
    if len(failed) > FILES_SHOWN_MAX:
        more = len(failed) - FILES_SHOWN_MAX
        yield f"\nand {more} more files; check one by itself, or use --json"
    yield "\n" + _total(results)


def _names(results: Sequence[FileResult]) -> list[str]:
    """Paths below the folder that all are in."""
    paths = [result.path for result in results]
    try:
        common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    except ValueError:
        return paths
    if len(common) < 2:
        return paths
    return [os.path.relpath(os.path.abspath(path), common) for path in paths]


def _table(results: Sequence[FileResult], names: Sequence[str]) -> str:
    rows = [("VERDICT", "MODEL", "OPS", "TIME", "FILE")]
    for result, name in zip(results, names):
        if result.verdict is not None:
            timed = f"{result.spent_s:.2f} s" if result.result else "-"
            ops = str(result.ops) if result.ops else "-"
            rows.append((result.verdict.name, result.model or "-", ops, timed, safe(name)))
    room = width() - sum(max(len(row[at]) for row in rows) for at in range(4)) - 8
    if sys.stdout.isatty() and room > 8:
        rows = [(*row[:4], _cut_in_front(row[4], room)) for row in rows]
    lines = aligned(
        rows, right=(2, 3), shown=lambda word: _word(word) if word in _COLOURS else word
    )
    passed = [safe(name) for r, name in zip(results, names) if r.verdict is None]
    if passed:
        shown = ", ".join(passed[:PASSED_OVER_SHOWN_MAX])
        more = ", ..." if len(passed) > PASSED_OVER_SHOWN_MAX else ""
        lines.append(_wrapped(f"passed over, no known history format: {shown}{more}"))
    return "\n".join(lines if len(rows) > 1 else lines[1:])


def _cut_in_front(name: str, room: int) -> str:
    return name if len(name) <= room else "..." + name[3 - room :]


def _total(results: Sequence[FileResult]) -> str:
    counts = Counter(
        "passed over" if result.verdict is None else result.verdict.value for result in results
    )
    order = ("valid", "invalid", "unknown", "passed over")
    said = ", ".join(f"{counts[name]} {name}" for name in order if counts[name])
    return f"{len(results)} files: {said}"


def _wrapped(text: str, indent: str = "", hang: str | None = None) -> str:
    return textwrap.fill(
        safe(text),
        width(),
        initial_indent=indent,
        subsequent_indent=indent if hang is None else hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _file(result: FileResult, name: str) -> str:
    """A file's verdict in a few lines: what, why, and the first findings with their witnesses."""
    if result.verdict is None:
        return _wrapped(f"{name}: {result.error}", hang="  ")
    if result.result is None:
        error = result.error.removeprefix(result.path)
        text = f"UNKNOWN  {name}{error}"  # one line in a pipe, where programs look for it
        text = _wrapped(text, hang="  ") if sys.stdout.isatty() else safe(text)
        return _word("UNKNOWN") + text.removeprefix("UNKNOWN")
    said = result.result
    model = f"{result.model}, inferred" if result.inferred else result.model
    took = _took(result)
    engine = f", by {said.engine}" if said.engine else ""
    what = f"model {model}{engine}" if model else ""
    ops = f"{_count(result.ops, 'operation')}, " if result.ops else ""
    lines = [f"{_word(result.verdict.name)}  {safe(name)}"]
    lines.append(_wrapped("; ".join(filter(None, [what, f"{ops}{took}"])), "  "))
    notes = [*result.notes, *_notes(said)]
    lines += [_wrapped(f"note: {note}", "  ", "    ") for note in notes]
    found = said.all_findings()
    for number, finding in enumerate(found[:FINDINGS_SHOWN_MAX]):
        lines += _finding(finding, number, result.witnesses)
    if len(found) > FINDINGS_SHOWN_MAX:
        left = _count(len(found) - FINDINGS_SHOWN_MAX, "more finding")
        lines.append(f"  and {left} (--json and --report have them)")
    if not found and said.reason:
        lines.append(_wrapped(said.reason, "  "))
    return "\n".join(lines)


def _notes(result: Result) -> list[str]:
    """The limits of a verdict, of all parts of a result."""
    own = [str(note) for note in result.stats.get("notes", ())]
    return [*own, *(note for part in result.parts for note in _notes(part))]


def _took(result: FileResult) -> str:
    """How long a file took; for what, if that was long."""
    judged_s = result.result.elapsed_s if result.result else 0.0
    parts_s = {"reading": result.load_s, "checking": judged_s}
    if result.compile_s:
        parts_s["compiling"] = result.compile_s
    parts_s["the rest"] = result.spent_s - sum(parts_s.values())
    took = f"{result.spent_s:.2f} s"
    if result.spent_s >= PARTS_TOLD_S:
        parts = ", ".join(f"{what} {part_s:.2f}" for what, part_s in parts_s.items())
        took += f" ({parts})"
    return took


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _finding(finding: Finding, number: int, witnesses: Sequence[list[Op]]) -> list[str]:
    title = f"{finding.kind}: " if finding.kind else ""
    lines = ["", _wrapped(f"{title}{finding.sentence or finding.title}", "  ", "    ")]
    # Steps that the sentence has already are not repeated.
    steps = [step.text for step in finding.because if step.text]
    if all(text.rstrip(".") in finding.sentence for text in steps):
        steps = []
    lines += [_wrapped(f"- {text}", "    ", "      ") for text in steps[:STEPS_SHOWN_MAX]]
    if len(steps) > STEPS_SHOWN_MAX:
        lines.append(f"    and {_count(len(steps) - STEPS_SHOWN_MAX, 'more step')}")
    ops = witnesses[number] if number < len(witnesses) else []
    lines += _transactions(finding, ops)
    if ops:
        table = witness(ops, width() - 2, _names_of(finding))
        lines += ["", *("  " + line for line in table.split("\n"))]
    return lines


def _transactions(finding: Finding, ops: Sequence[Op]) -> list[str]:
    """Who T1, T2, ... are, and what fixed the order of versions."""
    from reports.transactions_text import named_transactions, proofs

    named = [_wrapped(line, "    ", "         ") for line in named_transactions(finding, ops)]
    shown = [_wrapped(f"proof: {line}", "    ", "      ") for line in proofs(finding)]
    return ["", *named, *shown[:STEPS_SHOWN_MAX]] if named else []


def _names_of(finding: Finding) -> dict[int, str]:
    from reports.transactions_text import names_of

    return names_of(finding)


def witness(ops: Sequence[Op], columns: int, names: Mapping[int, str] | None = None) -> str:
    """Operations as a table: a column per process if that fits, else a line per event.

    Args:
        ops: the operations.
        columns: characters of a line.
        names: what to call operations, by invocation index, where their own words are elsewhere.
    """
    from reports.table import op_table

    positions = all(op.invoke_ns < 0 for op in ops)
    lines = op_table(ops, positions=positions, names=names).split("\n")
    return "\n".join(lines if max(map(len, lines)) <= columns else _listed(lines, columns))


def _listed(lines: Sequence[str], columns: int) -> list[str]:
    """A table of operations with its columns of processes folded into one."""
    edges = [at for at, char in enumerate(lines[0]) if char == "+"]
    grid = [
        [line[left + 1 : right].strip() for left, right in itertools.pairwise(edges)]
        for line in lines
        if line.startswith("|")
    ]
    names = [name.removeprefix("process ") for name in grid[0]]
    rows = [(names[0], "process", "operation")]
    for when, *cells in grid[1:]:
        rows += [
            (when, name, cell) for name, cell in zip(names[1:], cells) if cell not in ("", "|")
        ]
    texts = aligned(rows, right=(0,))
    rest = [line for line in lines[1:] if line[:1] not in "|+"]
    return [text if len(text) <= columns else text[: columns - 3] + "..." for text in texts + rest]


# JSON ---------------------------------------------------------------------------------------------


def as_json(results: Sequence[FileResult]) -> Iterator[str]:
    """A JSON object per file."""
    import msgspec

    for result in results:
        said = result.result
        shown = {
            "schema": SCHEMA,
            "path": result.path,
            "verdict": None if result.verdict is None else result.verdict.value,
            "model": result.model,
            "inferred": result.inferred,
            "format": result.format,
            "ops": result.ops,
            "load_s": result.load_s,
            "compile_s": result.compile_s,
            "spent_s": result.spent_s,
            "error": result.error,
            "blame": result.blame,
            "notes": result.notes,
            "result": None if said is None else plain(msgspec.structs.asdict(said)),
            "witnesses": plain(result.witnesses),
        }
        yield json.dumps(shown, allow_nan=False)


def plain(value: Any) -> Any:
    """A value of JSON's types, whatever a history or a checker put in it."""
    import enum

    import msgspec

    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return {k: plain(v) for k, v in msgspec.structs.asdict(value).items()}
    if isinstance(value, dict):
        return {k if isinstance(k, str) else repr(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    from harness.store import Scalar

    if isinstance(value, Scalar):
        value = value.item()
    if isinstance(value, int) or (isinstance(value, float) and value - value == 0):
        return value
    return repr(value)
