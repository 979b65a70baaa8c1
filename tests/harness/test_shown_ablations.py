"""The command that ``harness patterns NAME`` shows for an ablation can be run, whole as it is."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cluster.ablations.registry import all_ablations, find
from harness import cli, runner
from harness.commands.patterns import random_test_of
from harness.resolve import resolve
from harness.spec import TestSpec

IDS = [ablation.id for ablation in all_ablations()]


@pytest.mark.parametrize("name", IDS)
def test_what_is_shown_makes_a_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TestSpec] = []

    def noted(spec: TestSpec) -> list[runner.RunOutcome]:
        asked.append(spec)
        return []

    monkeypatch.setattr(runner, "run_many", noted)
    words = shlex.split(" ".join(line.rstrip("\\") for line in random_test_of(find(name))))
    cli.main(words[1:])
    [spec] = asked
    assert spec.ablate == (name,)
    resolve(spec).environment(tmp_path)
