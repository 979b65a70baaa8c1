"""A seed that `harness explore` found INVALID is kept: a run directory, a report, a replay."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.explore import job_of, run_seed
from harness.campaign.seed_runs import STALE_READS, SeedSpec, keep_seed, seed_spec
from harness.cli import main

#: a seed in which a cluster without deduplication fails, and one in which the intact one is well
FAILS = 4


@pytest.fixture
def kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """The directory of the failing seed, and what the campaign printed."""
    words = f"explore --ablate A28a --first-seed {FAILS} --seeds 1 --store {tmp_path}/store"
    assert main(words.split()) == 1
    found = [path.parent for path in (tmp_path / "store").glob("explore*/2*/spec.json")]
    assert len(found) == 1
    return found[0], capsys.readouterr().out


def test_a_violation_leaves_a_run_directory_with_a_report(kept: tuple[Path, str]) -> None:
    run_dir, said = kept
    names = ("history.jsonl", "results.json", "report.html", "summary.md", "junit.xml")
    for name in names:
        assert (run_dir / name).stat().st_size > 0, name
    assert str(run_dir / "report.html") in said
    results = json.loads((run_dir / "results.json").read_text())
    assert results["verdict"] == "invalid"
    assert results["results"][0]["findings"], "the finding is what a reader comes for"
    assert results["faults"], "faults are drawn in the report"
    assert all(fault["end_ns"] == -1 or fault["end_ns"] > fault["begin_ns"]
               for fault in results["faults"])  # fmt: skip


def test_the_replay_command_that_is_printed_finds_it_again(
    kept: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = kept
    command = next(line for line in said.splitlines() if "replay:" in line).partition(": ")[2]
    words = shlex.split(command)
    assert words[:2] == ["harness", "explore"]
    assert main([*words[1:], "--keep", "0"]) == 1
    assert f"seed {FAILS}: INVALID" in capsys.readouterr().out


def test_replay_of_a_kept_seed_gives_the_same_bytes(
    kept: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, _ = kept
    assert main(["replay", str(run_dir)]) == 1
    assert "the same, byte for byte" in capsys.readouterr().out
    history = run_dir / "history.jsonl"
    lines = history.read_text().splitlines(keepends=True)
    changed = next(n for n, line in enumerate(lines) if '"type":"ok"' in line)
    lines[changed] = lines[changed].replace('"type":"ok"', '"type":"info"')
    history.write_text("".join(lines))
    assert main(["replay", str(run_dir)]) == 1
    assert f"differs from line {changed + 1}" in capsys.readouterr().out


def test_what_is_not_for_seeds_says_so(
    kept: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, _ = kept
    assert main(["shrink", str(run_dir)]) == 254
    assert f"harness explore --first-seed {FAILS}" in capsys.readouterr().err
    spec = json.loads((run_dir / "spec.json").read_text())
    (run_dir / "spec.json").write_text(json.dumps(spec | {"seed": "four"}))
    assert main(["replay", str(run_dir)]) == 254
    assert "no seed of a campaign" in capsys.readouterr().err


@pytest.mark.parametrize(
    "forged",
    [
        {"faults": ["partition; touch PWNED"]},
        {"faults": ["disk-fire"]},
        {"faults": [""]},
        {"faults": ["partition,kill"]},
        {"faults": ["partition", "partition"]},
        {"ablate": ["x' ; touch PWNED; '"]},
        {"ablate": ["\x1b]0;A30\x07"]},
        {"ablate": ["A30", "A30"]},
        {"ablate": ["Z99"]},
        {"consensus": "raft; touch PWNED"},
        {"asked_workload": "register; touch PWNED"},
        {"profile": "calm; touch PWNED"},
        {"asked_nodes": -1},
        {"asked_nodes": 10},
        {"duration_ns": 0},
        {"duration_ns": -5},
        {"duration_ns": 10**30},
        {"duration_ns": 10**400},
        {"seed": -1},
        {"seed": 2**63},
    ],
)
@pytest.mark.parametrize("command", ["replay", "shrink"])
def test_a_forged_seed_is_a_sentence_and_no_command_to_paste(
    command: str,
    forged: dict[str, Any],
    kept: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir, _ = kept
    spec = json.loads((run_dir / "spec.json").read_text())
    (run_dir / "spec.json").write_text(json.dumps(spec | forged))
    assert main([command, str(run_dir)]) == 254
    said = capsys.readouterr().err
    assert "is no seed of a campaign: " in said and "harness explore" not in said
    assert said.count("\n") == 1 and said[:-1].isprintable()


def test_a_kept_run_is_the_run_the_campaign_saw(tmp_path: Path) -> None:
    job = job_of(ablations=["A28a"])
    campaign = run_seed(FAILS, job)
    run_dir = keep_seed(FAILS, job, store=str(tmp_path))
    results = json.loads((run_dir / "results.json").read_text())
    assert results["sentence"] == campaign.sentence
    kinds = [fault["f"] for fault in results["faults"]]
    assert {kind: kinds.count(kind) for kind in campaign.injected} == campaign.injected
    spec = seed_spec(run_dir)
    assert spec is not None and spec.run().trace_hash == campaign.trace_hash


@pytest.mark.parametrize(
    ("seed", "operations"),
    [(11, {"read", "write", "cas"}), (5, {"read", "write", "append"})],
    ids=["registers", "lists and a register"],
)
def test_check_judges_a_kept_run_as_the_campaign_did(
    seed: int, operations: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of(ablations=["A30"], nemesis="partition", profile="calm")
    run_dir = keep_seed(seed, job, store=str(tmp_path))
    lines = map(json.loads, (run_dir / "history.jsonl").read_text().splitlines())
    assert {line["f"] for line in lines if line.get("type") == "ok"} == operations
    told = json.loads((run_dir / "results.json").read_text())
    code = {"valid": 0, "invalid": 1}[told["verdict"]]
    assert main(["check", "--json", str(run_dir)]) == code
    said = json.loads(capsys.readouterr().out)["result"]
    findings = told["results"][0].get("findings", [])
    found = said.get("findings", [])
    assert len(found) == len(findings)
    for ours, theirs in zip(found, findings):  # a file has the faults beside it
        assert ours["sentence"].startswith(theirs["sentence"].rstrip("."))


def test_no_more_than_asked_for_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    words = f"explore --ablate A28a --first-seed {FAILS} --seeds 2 -j 1 --keep 1 --store {store}"
    assert main(words.split()) == 1
    assert len(list(store.glob("explore*/2*"))) == 1
    assert capsys.readouterr().out.count("replay:") == 2
    assert main([*words.split()[:-4], "--keep", "-1"]) == 254


def test_a_valid_campaign_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explore", "--seeds", "1", "--first-seed", "1"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_all_that_was_asked_for_is_in_the_replay_command_and_in_the_spec(tmp_path: Path) -> None:
    job = job_of(
        ablations=["A30"],
        nemesis="partition,held-frame",
        workload="mixed",
        nodes=4,
        profile="harsh",
        duration_s=2.0,
    )
    spec = SeedSpec.of(7, job)
    assert spec.command == (
        "harness explore --first-seed 7 --seeds 1 --ablate A30 --nemesis held-frame,partition "
        "--workload mixed --nodes 4 --profile harsh --duration 2"
    )
    assert spec.job == job
    run_dir = keep_seed(7, job, store=str(tmp_path))
    found = seed_spec(run_dir)
    assert found == spec
    facts = json.loads((run_dir / "spec.json").read_text())
    assert (facts["workload"], facts["nodes"]) == ("mixed", ["n1", "n2", "n3", "n4"])
    assert facts["drawn"]["profile"] == "harsh"
    assert (
        main(["replay", str(run_dir)])
        == {"valid": 0, "invalid": 1}[json.loads((run_dir / "results.json").read_text())["verdict"]]
    )


def test_stale_reads_of_a_kept_run_are_beside_its_history(tmp_path: Path) -> None:
    job = job_of(profile="harsh")
    seed = next(seed for seed in range(50) if job.run(seed).stale)
    run_dir = keep_seed(seed, job, store=str(tmp_path))
    lines = [json.loads(line) for line in (run_dir / STALE_READS).read_text().splitlines()]
    reads = [line for line in lines if line.get("type") == "ok"]
    assert reads
    told = json.loads((run_dir / "results.json").read_text())
    assert told["notes"][0].startswith(f"{len(reads)} stale reads are in {STALE_READS}")
    assert [result["checker"] for result in told["results"]][1] == "stale-reads"
