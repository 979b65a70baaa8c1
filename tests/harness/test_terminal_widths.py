"""What commands print fits 80 and 120 columns, and no word is broken to make it fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli import main

COMMANDS = (
    "list",
    "list workloads -v",
    "list checkers -v",
    "list models -v",
    "list databases -v",
    "list nemeses -v",
    "list environments -v",
    "list ablations -v",
    "list nemeses --env local",
    "patterns",
    "patterns write-ahead-log",
    "patterns 13 A30",
    "patterns --run A30",
    "test --help",
    "check --help",
)


def words(text: str) -> set[str]:
    """Words, without the frames that depend on the width."""
    return {word for word in re.split(r"[\s│─╭╮╰╯]+", text) if word}


def printed(command: str, columns: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints on a terminal of so many columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        assert main(command.split()) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_too_long_and_no_word_is_broken(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wide = words(re.sub(r" \d+ ", " N ", printed(command, 400, capsys)))
    for columns in (80, 120):
        text = printed(command, columns, capsys)
        if not command.startswith("patterns --run"):
            drawn = command.startswith("patterns ")  # a drawing keeps its lines
            lines = [each for each in text.splitlines() if not (drawn and each.startswith("  "))]
            assert max(map(len, lines)) <= columns
        found = words(re.sub(r" \d+ ", " N ", text))
        assert found <= wide, f"broken words at {columns} columns: {sorted(found - wide)}"


def test_every_kind_says_what_each_of_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("list -v", 120, capsys)
    lines = text.splitlines()
    for name in ("register", "etcd", "partition", "netns", "session-guarantees", "cas-register"):
        at = lines.index(f"  {name}")
        assert re.match(r"      \S+ \S+", lines[at + 1]), f"{name} has no description"
    assert "operations: cas, read, write" in text


def test_a_pattern_is_explained_by_number_name_and_ablation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_number, by_name = (printed(f"patterns {n}", 100, capsys) for n in ("1", "Write-Ahead-Log"))
    assert by_number == by_name
    assert "Problem" in by_number and "cluster/log/write_ahead_log.py" in by_number
    assert "harness patterns --run A01" in by_number
    assert "harness patterns --run A30" in printed("patterns A30", 100, capsys)
    assert main(["patterns", "leasse"]) == 254
    assert "did you mean 'lease'" in capsys.readouterr().err


def test_a_drawing_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("patterns two-phase-commit", 60, capsys)
    (line,) = [line for line in text.splitlines() if "-- decide(commit, T)" in line]
    assert line.endswith("> the record: committed, first one wins")
