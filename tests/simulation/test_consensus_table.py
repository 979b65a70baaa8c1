"""docs/consensus.md shows what bench/consensus.py measures, which are figures of simulations."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cluster.core.parts import CONSENSUS

ROOT = Path(__file__).resolve().parents[2]


def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_consensus", ROOT / "bench/consensus.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def shown() -> dict[str, list[str]]:
    """The table of the page: a variant's column, top to bottom."""
    text = (ROOT / "docs" / "consensus.md").read_text(encoding="utf-8")
    lines = text.partition("<!-- table")[2].partition("<!-- end")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    head, _, *body = rows
    return {name: [row[place] for row in body] for place, name in enumerate(head) if name}


@pytest.mark.parametrize("consensus", list(CONSENSUS))
def test_the_page_shows_what_is_measured(consensus: str) -> None:
    made = bench()
    measured = made.measure(consensus)
    assert shown()[consensus] == [cell(measured) for _, cell in made.ROWS]


def test_a_commit_needs_a_majority_and_a_failover_ends() -> None:
    made = bench()
    for consensus in CONSENSUS:
        messages, size, syncs = made._traffic(consensus, 1)
        assert messages >= 2 and syncs >= 2 and size > 128, consensus
        assert made._outages(consensus, made._crash)[1] < 10_000, consensus
