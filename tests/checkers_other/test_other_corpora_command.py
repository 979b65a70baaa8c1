"""Goal: ``harness check`` meets every label of the seven corpora, from the command line.

Method: the command itself, in this process, with the model each label names; nothing is called
below it. Two files in which no operation completed are valid, and said to be weak evidence.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main

CORPORA = os.environ.get("HARNESS_CORPORA", "")

pytestmark = pytest.mark.skipif(
    not CORPORA, reason="HARNESS_CORPORA names no folder of labelled histories"
)

#: No operation in them completed ok.
NOTHING_DONE = {
    "cas-register/good/mongodb-v0-ack-rollback-.edn",
    "cas-register/good/mongodb-v0-ack-rollback-11.edn",
}

Answers = dict[str, dict[str, Any]]


def labels(folder: str) -> Answers:
    found: Answers = json.loads((Path(CORPORA) / folder / "labels.json").read_text())
    return found


def checked(capsys: Any, folder: str, names: list[str], *words: str) -> tuple[int, Answers]:
    """The exit code, and what is said of each file by its name."""
    root = Path(CORPORA) / folder
    code = main(["check", *(str(root / name) for name in names), "--json", "-j", "1", *words])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["path"] for answer in said] == [str(root / name) for name in names]
    assert all(answer["schema"] == "check/1" and not answer["error"] for answer in said), said
    for answer in said:
        if answer["verdict"] == "invalid":
            finding = answer["result"]["findings"][0]
            assert finding["sentence"].strip() and answer["witnesses"][0], answer["path"]
    return code, dict(zip(names, said))


def expect(capsys: Any, folder: str, wanted: dict[str, bool], *words: str) -> None:
    code, said = checked(capsys, folder, list(wanted), *words)
    verdicts = {name: answer["verdict"] for name, answer in said.items()}
    right = {name: "valid" if valid else "invalid" for name, valid in wanted.items()}
    assert verdicts == right
    assert code == (1 if "invalid" in right.values() else 0)
    for name in NOTHING_DONE.intersection(wanted):
        assert said[name]["result"]["reason"].startswith("weakly exercised: ")


@pytest.mark.parametrize("folder", ["knossos", "porcupine"])
def test_registers_and_key_values(capsys: Any, folder: str) -> None:
    groups: dict[str, dict[str, bool]] = {}
    for name, label in labels(folder).items():
        model = str(label["model"]).split()[0]
        groups.setdefault(model, {})[name] = label["valid"]
    for model, wanted in groups.items():
        expect(capsys, folder, wanted, "--model", model)


def test_limo_infers_its_objects(capsys: Any) -> None:
    expect(capsys, "limo", {name: label["valid"] for name, label in labels("limo").items()})


def test_elle_cli_with_the_arguments_of_the_label(capsys: Any) -> None:
    for name, label in labels("elle-cli").items():
        words = ["--model", label["model"]]
        given = label["args"].split()
        if "--consistency-models" in given:
            words += ["--consistency-model", given[given.index("--consistency-models") + 1]]
        if "--group-size" in given:
            words += ["--option", "group_size=" + given[given.index("--group-size") + 1]]
        # this one reads 3, and Elle does not ask who wrote that
        right = label["valid"] and not name.startswith("elle/rw-register.")
        expect(capsys, "elle-cli", {name: right}, *words)


def test_additions_without_a_read_are_valid_and_say_so(capsys: Any) -> None:
    _, said = checked(capsys, "elle-cli", ["jepsen/counter.edn"], "--checker", "counter")
    reason = said["jepsen/counter.edn"]["result"]["reason"]
    assert "nothing could contradict them: no read was completed" in reason


def test_elle_histories_at_each_level(capsys: Any) -> None:
    name = "si-without-g-single.edn"
    for case in labels("elle-histories")[name]["cases"]:
        level = ",".join(case["consistency"])
        _, said = checked(capsys, "elle-histories", [name], "--consistency-model", level)
        assert said[name]["verdict"] == "invalid"
        stats = said[name]["result"]["stats"]
        assert stats["anomaly_types"] == case["anomaly_types"] and stats["not"] == case["not"]


@pytest.mark.parametrize("level", ["read-committed", "read-atomic", "causal"])
def test_awdit_at_each_level(capsys: Any, level: str) -> None:
    wanted = {name: level in label["satisfies"] for name, label in labels("awdit").items()}
    expect(capsys, "awdit", wanted, "-m", "rw-register", "--consistency-model", level)


def test_dbcop(capsys: Any) -> None:
    wanted = {name: label["serializable"] for name, label in labels("dbcop-verifier").items()}
    expect(capsys, "dbcop-verifier", wanted, "--consistency-model", "serializable")
