"""How `harness check` starts: a plain command line is read as the full parser reads it, and a small
file is judged without importing what it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import make_app
from harness.commands import checking

#: Modules that take longer to import than a small history takes to judge.
HEAVY = (
    "numba", "scipy", "pandas", "docker", "paramiko", "jinja2", "asyncio", "rich", "cyclopts",
    "psutil", "cryptography", "harness.spec",
)  # fmt: skip

PLAIN = [
    ["a.edn"],
    ["a.edn", "b.edn", "--json"],
    ["--json", "a.edn"],
    ["--model", "register", "a.edn"],
    ["a.edn", "-m", "x", "-j", "3"],
    ["a.edn", "--checker=x:y", "--jobs=3", "--format", "edn"],
    ["a.edn", "--consistency-model", "causal", "--budget", "5s,2GB", "--report", "r.html"],
    ["-o", "a=1", "a.edn", "--option", "b=2", "b.edn", "--option=c=3=4"],
    [],
]

#: What the full parser understands or complains of by itself.
OTHER = [
    ["--help"], ["-h"], ["a.edn", "--version"], ["a.edn", "--no-such"], ["a.edn", "--model"],
    ["a.edn", "--jobs", "x"], ["a.edn", "--jobs", "-1"], ["a.edn", "-mregister"], ["--", "-a.edn"],
    ["a.edn", "-m=x"], ["a.edn", "--json=false"], ["a.edn", "--model="], ["a.edn", "--no-json"],
    ["a.edn", "--budget", "--json"], ["a.edn", "-m", "x", "-m", "y"], ["-j", "٣", "a.edn"], [""],
]  # fmt: skip


def _fully(words: list[str]) -> dict[str, Any]:
    _, bound, _ = make_app().parse_args(["check", *words], exit_on_error=False, print_error=False)
    return {"files": (), **bound.arguments}


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_plain_command_line_is_read_as_by_the_full_parser(words: list[str]) -> None:
    assert checking.plain(words) == _fully(words)


@pytest.mark.parametrize("words", OTHER, ids=" ".join)
def test_any_other_is_left_to_the_full_parser(words: list[str]) -> None:
    assert checking.plain(words) is None


def test_every_flag_is_one_of_the_commands_parameters() -> None:
    import inspect

    from harness.commands.check import check

    by_command = inspect.signature(check).parameters
    by_run = inspect.signature(checking.run).parameters
    assert list(by_run) == list(by_command) == ["files", *checking.FLAGS]
    assert [p.default for p in by_run.values()][1:] == [p.default for p in by_command.values()][1:]


def _pair(process: int, f: str, value: str, output: str) -> str:
    return (
        f"{{:type :invoke, :process {process}, :f :{f}, :value {value}}}\n"
        f"{{:type :ok, :process {process}, :f :{f}, :value {output}}}\n"
    )


def _history(kind: str, bad: bool) -> str:
    """Twenty operations, one after another; bad if the reads do not see the last of them."""
    lines, lists, late = [], [], int(bad)
    for i in range(1, 11):
        lists.append(str(i))
        seen, seen_list = i - late, " ".join(lists[: i - late])
        if kind == "register":
            lines += [_pair(0, "write", f"{i}", f"{i}"), _pair(1, "read", "nil", f"{seen}")]
        elif kind == "list-append":
            append, read = f"[[:append 1 {i}]]", f"[[:r 1 [{seen_list}]]]"
            lines += [_pair(0, "txn", append, append), _pair(1, "txn", "[[:r 1 nil]]", read)]
        elif kind == "rw-register":
            write, read = f"[[:w 1 {i}]]", f"[[:r 1 {seen or 'nil'}]]"
            lines += [_pair(0, "txn", write, write), _pair(1, "txn", "[[:r 1 nil]]", read)]
        elif kind == "set-full":
            lines += [_pair(0, "add", f"{i}", f"{i}"), _pair(1, "read", "nil", f"#{{{seen_list}}}")]
        elif kind == "counter":
            lines += [_pair(0, "increment", "1", "1"), _pair(1, "read", "nil", f"{seen}")]
        elif kind == "mutex":
            second = "acquire" if bad else "release"
            lines += [_pair(0, "acquire", "nil", "nil"), _pair(late, second, "nil", "nil")]
        else:  # queues
            lines += [
                _pair(0, "enqueue", f"{i}", f"{i}"),
                _pair(1, "dequeue", "nil", f"{i + late}"),
            ]
    return "".join(lines)


KINDS = (
    "register", "cas-register", "list-append", "rw-register", "serializable", "snapshot-isolation",
    "causal", "set-full", "counter", "mutex", "fifo-queue", "total-queue",
)  # fmt: skip
_TRANSACTIONS = ("serializable", "snapshot-isolation", "causal")


@pytest.mark.parametrize("bad", [False, True], ids=["valid", "invalid"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_history_is_judged_without_heavy_imports(
    tmp_path: Path, kind: str, bad: bool
) -> None:
    path = tmp_path / "h.edn"
    written = {"cas-register": "register", **dict.fromkeys(_TRANSACTIONS, "rw-register")}
    path.write_text(_history(written.get(kind, kind), bad))
    code = (
        "import sys; from harness.cli import main; code = main(['check', *sys.argv[1:]]);"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, str(path), "-m", kind]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.strip() == "[]", done.stderr
    expected = {"serializable": 0, "snapshot-isolation": 0, "causal": 0, "set-full": 1}
    assert done.returncode == (expected.get(kind, 1) if bad else 0), done.stdout
