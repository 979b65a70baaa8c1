"""Exit codes where the surroundings fail: they must never look like a verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main

ROOT = Path(__file__).resolve().parents[2]
HARNESS = [sys.executable, "-m", "harness"]


def test_a_current_directory_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {' '.join(HARNESS)} list models"
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 254
    assert "does not exist any more" in done.stderr and "Traceback" not in done.stderr


VIOLATION = [
    "test", "--env", "sim", "--ablate", "A30", "--nemesis", "partition", "--seed", "3",
    "--time-limit", "10",
]  # fmt: skip


def ended(tmp_path: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a shell's line; its exit code is that of the first command of a pipe."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "H": " ".join(HARNESS), **variables}
    return subprocess.run(
        ["bash", "-c", f"{script}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    "ending",
    ["| head -1", "| true", ">/dev/full", ">&-", "2>&-", ">&- 2>&- <&-", "2>&1 | head -1",
     ">/dev/full 2>/dev/full", "2>/dev/full"],
)  # fmt: skip
def test_a_violation_is_one_whatever_becomes_of_the_output(tmp_path: Path, ending: str) -> None:
    done = ended(tmp_path, f"$H {' '.join(VIOLATION)} {ending}")
    assert done.returncode == 1, done.stderr
    (run_dir,) = tmp_path.glob("store/*/2*")
    names = {path.name for path in run_dir.iterdir()}
    assert {"results.json", "report.html", "history.jsonl", "summary.md"} <= names
    for path in run_dir.rglob("*.json*"):
        assert b"harness test" not in path.read_bytes()[:13], "our words went into a file"
    assert "bug in the harness" not in done.stderr and "Traceback" not in done.stderr


def test_every_command_keeps_its_code_when_cut(tmp_path: Path) -> None:
    assert ended(tmp_path, f"$H {' '.join(VIOLATION)} --no-report -q").returncode == 1
    for line, code in {
        "check store/latest": 1,
        "check store/latest --json": 1,
        "check store/latest --report page.html": 1,
        "replay": 1,
        "report": 0,
        "shrink --time-limit 2s": 1,
        "explore --ablate A28a --first-seed 0 --seeds 6 -j 1 --stop": 1,
        "check no-such-file": 254,
    }.items():
        assert ended(tmp_path, f"$H {line} 2>&1 | true").returncode == code, line


@pytest.mark.slow
def test_twenty_of_twenty_cut_runs_end_with_one(tmp_path: Path) -> None:
    short = [*VIOLATION[:-1], "5", "--no-report"]
    loop = f"for i in $(seq 20); do $H {' '.join(short)} | head -1 >/dev/null; "
    done = ended(tmp_path, loop + "echo ${PIPESTATUS[0]}; done")
    assert done.stdout.split() == ["1"] * 20


def test_a_full_disk_under_standard_output_is_said_once(tmp_path: Path) -> None:
    done = ended(tmp_path, "$H list workloads >/dev/full")
    assert done.returncode == 0
    assert done.stderr == (
        "harness: standard output cannot be written (No space left on device); "
        "the exit code stands\n"
    )
    assert ended(tmp_path, "$H list nothing 2>/dev/full >&2").returncode == 254


def test_a_slow_reader_loses_nothing(tmp_path: Path) -> None:
    """Also where standard output does not block."""
    whole = ended(tmp_path, "$H list nemeses").stdout
    patient = "import os,sys,time; os.set_blocking(1, False); "
    patient += "from harness.cli import main; "
    patient += "sys.argv = ['harness', 'list', 'nemeses'] ; main(); "
    patient += "[print(n * 'x') for n in range(2000)]; sys.stdout.flush()"
    script = f'{sys.executable} -c "{patient}" | (sleep 1; cat)'
    done = ended(tmp_path, script)
    assert done.stdout.startswith(whole) and len(done.stdout) > 1_900_000


# Terminals that know ASCII only -------------------------------------------------------------------

ASCII = {"PYTHONIOENCODING": "ascii"}
BARE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("variables", [ASCII, BARE], ids=["ascii", "bare-c-locale"])
@pytest.mark.parametrize(
    ("words", "code"),
    [(" ".join(VIOLATION), 1), ("list", 0), ("patterns", 0), ("list models", 0), ("doctor", None),
     ("--help", 0), ("test --db café", 254), ("check naïve.edn", 1), ("check none✓.edn", 254)],
)  # fmt: skip
def test_an_ascii_terminal_gets_replacements(tmp_path, variables, words, code) -> None:
    (tmp_path / "naïve.edn").write_text(
        '{:process 0, :type :invoke, :f :write, :value "é✓"}\n'
        '{:process 0, :type :ok, :f :write, :value "é✓"}\n'
        "{:process 0, :type :invoke, :f :read, :value nil}\n"
        "{:process 0, :type :ok, :f :read, :value nil}\n",
        encoding="utf-8",
    )
    done = ended(tmp_path, f"$H {words}", **variables)
    assert done.returncode == code if code is not None else done.returncode in (0, 3)
    assert (done.stdout + done.stderr).isascii() and "Traceback" not in done.stderr
    if code == 1:
        assert "INVALID" in done.stdout


def test_like_characters_stand_for_those_a_terminal_lacks(tmp_path: Path) -> None:
    script = "from harness.streams import open_streams; open_streams(); "
    script += "print('\u2713 a \u2192 b\u2026 \u96ea')"
    done = ended(tmp_path, f"{sys.executable} -c {script!r}", **ASCII)
    assert done.stdout == "+ a -> b... ?\n"


def test_an_interrupt_of_any_command_is_a_sentence(monkeypatch, capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.commands.looking.doctor", interrupted)
    assert main(["doctor"]) == 3
    assert capsys.readouterr().err == "harness: interrupted\n"
