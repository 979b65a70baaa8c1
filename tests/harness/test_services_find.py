"""Ablations of the services that the workloads find, where the intact system passes the same seed.

The seeds are the first of those tried; docs/ablations.md names them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checkers.core.verdict import Verdict
from harness.runner import run
from harness.spec import TestSpec

FOUND: dict[str, tuple[str, dict[str, Any]]] = {
    "A29b": ("read-your-writes", {"workload": "sessions", "nemesis": ("partition",), "seed": 0,
                                  "time_limit_s": 3.0, "db_options": {"read_mode": "session"}}),
    "A29c": ("too-stale", {"nemesis": ("partition",), "seed": 0, "time_limit_s": 5.0,
                           "db_options": {"read_mode": "bounded", "staleness_s": 0.3}}),
    "A49e": ("two-holders", {"workload": "lease", "nemesis": ("clock-bounded",), "seed": 1,
                             "time_limit_s": 9.0, "workload_options": {"keys": 1}}),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_workload_finds_it_and_passes_the_intact_system(name: str, tmp_path: Path) -> None:
    kind, fields = FOUND[name]
    store = {"env": "sim", "store": str(tmp_path), "quiet": True, "no_report": True}
    intact = run(TestSpec(**store, **fields), say=lambda line: None)
    assert intact.verdict is Verdict.VALID, intact.sentence
    ablated = run(TestSpec(**store, **fields, ablate=(name,)), say=lambda line: None)
    assert ablated.verdict is Verdict.INVALID, ablated.sentence
    assert kind in {finding.kind for finding in ablated.findings()}
