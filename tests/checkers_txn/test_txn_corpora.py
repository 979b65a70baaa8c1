"""Labelled histories that nobody here wrote: every label of the transactional folders is met.

dbcop's labels are the verdicts of that tool. Its "minimal violation" is the first of its own checks
that failed (reads of uncommitted values, then unrepeatable reads, then the search), so
``Serializable`` says that no serial order was found and nothing about the levels between.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from checkers import Verdict
from checkers.history import load
from checkers.isolation import WEAK_LEVELS, list_append, rw_register, serial, weak

CORPORA = os.environ.get("HARNESS_CORPORA", "")

pytestmark = pytest.mark.skipif(
    not CORPORA, reason="HARNESS_CORPORA does not name the folder of labelled histories"
)

MODELS_OF_THE_COMMAND = {"elle/list-append-gh-30.edn": ("serializable",)}


def _labels(folder: str) -> tuple[Path, dict[str, Any]]:
    root = Path(CORPORA) / folder
    return root, json.loads((root / "labels.json").read_text())


def _kept(root: Path, name: str) -> list[str]:
    """The weak levels that a history satisfies."""
    history = load(root / name)
    return [level for level in WEAK_LEVELS if weak(level)(history).verdict is Verdict.VALID]


def test_elle_cli() -> None:
    root, labels = _labels("elle-cli")
    chosen = {name: label for name, label in labels.items() if name.startswith("elle/")}
    assert len(chosen) == 4
    for name, label in chosen.items():
        models = MODELS_OF_THE_COMMAND.get(name, ("strict-serializable",))
        make = {"list-append": list_append, "rw-register": rw_register}[label["model"]]
        result = make(consistency_models=models)(load(root / name))
        expected = Verdict.VALID if label["valid"] else Verdict.INVALID
        if name.startswith("elle/rw-register."):  # which reads 3; Elle does not ask who wrote that
            assert result.findings[0].kind == "garbage-read"
            expected = Verdict.INVALID
        assert result.verdict is expected, (name, result.reason)


def test_the_paper_example_has_the_anomaly_of_the_paper() -> None:
    """Measured of Elle: a single anti-dependency, which refutes these two models first."""
    result = list_append()(load(Path(CORPORA) / "elle-cli/elle/paper-example.edn"))
    assert result.stats["anomaly_types"] == ["G-single-item"]
    assert result.stats["not"] == ["consistent-view", "repeatable-read"]


def test_elle_histories() -> None:
    root, labels = _labels("elle-histories")
    label = labels["si-without-g-single.edn"]
    for case in label["cases"]:
        models = tuple(case["consistency"])
        result = list_append(consistency_models=models)(load(root / "si-without-g-single.edn"))
        assert result.verdict is Verdict.INVALID
        assert result.stats["anomaly_types"] == case["anomaly_types"]
        assert result.stats["not"] == case["not"]
    # this copy of the paper's example has no processes; the anomaly does not need any
    result = list_append()(load(root / "paper-example.edn"))
    assert result.stats["anomaly_types"] == ["G-single-item"]


@pytest.mark.parametrize("level", WEAK_LEVELS)
def test_awdit(level: str) -> None:
    root, labels = _labels("awdit")
    assert len(labels) == 11
    for name, label in labels.items():
        verdict = weak(level)(load(root / name)).verdict
        assert level in label["satisfies"] or level in label["violates"]
        assert (verdict is Verdict.VALID) == (level in label["satisfies"]), name


def test_dbcop() -> None:
    root, labels = _labels("dbcop-verifier")
    assert len(labels) == 47
    for name, label in labels.items():
        history = load(root / name)
        result = serial("serializable")(history)
        expected = Verdict.VALID if label["serializable"] else Verdict.INVALID
        assert result.verdict is expected, (name, result.reason)
        kept = _kept(root, name)
        snapshot = serial("snapshot-isolation")(history).verdict
        if label["min_violation"] == "ok":
            assert kept == list(WEAK_LEVELS) and snapshot is Verdict.VALID, name
        elif label["min_violation"] == "ReadCommitted":
            assert not kept and snapshot is Verdict.INVALID, name
        elif label["min_violation"] == "RepeatableRead":
            assert kept == ["read-committed"], name
        else:
            assert "read-committed" in kept, name
