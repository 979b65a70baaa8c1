"""Labelled histories that nobody here wrote: every label must be met."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from checkers import Verdict, check, models
from checkers.history import load

CORPORA = os.environ.get("HARNESS_CORPORA", "")

#: Labelled valid because nothing in them can be illegal; nothing in them completed ok either.
VACUOUS = {
    "cas-register/good/mongodb-v0-ack-rollback-.edn",
    "cas-register/good/mongodb-v0-ack-rollback-11.edn",
}

pytestmark = pytest.mark.skipif(
    not CORPORA, reason="HARNESS_CORPORA does not name the folder of labelled histories"
)


def _model(folder: str, name: str) -> Any:
    if folder == "porcupine":
        observed = models.cas_register(failed_cas="observed")
        return observed if name.startswith("jepsen") else models.key_value(init="")
    if folder == "limo":
        return models.fifo_queue() if "queue" in name else models.stack()
    if "mutex" in name:
        return models.mutex()
    if "multi-register" in name:
        return models.multi_register(init={"x": 0, "y": 0})
    return models.cas_register()


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [("porcupine", ""), ("knossos", ""), ("elle-cli", "knossos/"), ("limo", "")],
)
def test_every_label_is_met(folder: str, prefix: str) -> None:
    root = Path(CORPORA) / folder
    labels = json.loads((root / "labels.json").read_text())
    judged = 0
    for name, label in labels.items():
        if not name.startswith(prefix):
            continue
        result = check(load(root / name), _model(folder, name))
        expected = Verdict.VALID if label["valid"] else Verdict.INVALID
        assert ("unchallenged" in result.stats) == (name in VACUOUS), name
        assert result.verdict is expected, (name, result.reason)
        assert all(finding.detail["rechecked"] is not False for finding in result.findings), name
        judged += 1
    assert judged > 5
