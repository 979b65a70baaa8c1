"""The catalogue, and the ablation matrix as `harness patterns --run` prints it."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import cluster
from checkers.core.verdict import Verdict
from cluster.ablations.registry import Ablation, all_ablations
from cluster.patterns import PATTERNS, Pattern, find_pattern
from cluster.simulation.schedule import run_schedule, schedule_path
from harness.campaign import patterns
from harness.campaign.patterns import pattern_rows, run_pattern, run_patterns, select
from harness.errors import UsageError


def test_the_catalogue_is_whole() -> None:
    assert [pattern.number for pattern in PATTERNS] == list(range(1, 31))
    assert len({pattern.name for pattern in PATTERNS}) == 30
    assert len({pattern.module for pattern in PATTERNS}) == 30


def test_where_a_pattern_is_is_true() -> None:
    root = Path(cluster.__file__).parent.parent
    for row in pattern_rows():
        assert row.built == (root / row.where).exists(), row


def test_every_ablation_is_in_the_catalogue_or_of_a_module() -> None:
    known = {id for pattern in PATTERNS for id in pattern.ablations}
    assert {ablation.id for ablation in all_ablations()} <= known


def test_the_readme_says_how_much_of_the_catalogue_is_built() -> None:
    built = sum(pattern.built for pattern in PATTERNS)
    known = {id for pattern in PATTERNS for id in pattern.ablations}
    readme = (Path(cluster.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert (
        f"Built so far: {built} of the {len(PATTERNS)} patterns, and {len(all_ablations())} of the "
        f"catalogue's {len(known)} ablations."
    ) in readme


def test_prose_names_built_ablations_only() -> None:
    """Those that are planned are left to the table of patterns, or said to be not built."""
    root = Path(cluster.__file__).parents[1]
    built = {ablation.id for ablation in all_ablations()}
    for path in sorted((root / "cluster").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name == "cluster/patterns.py":
            continue
        text = re.sub(r"\bA\d\d[a-z]?\s\(not\sbuilt\)", "", path.read_text(encoding="utf-8"))
        named = set(re.findall(r"\bA\d\d[a-z]?\b", text))
        assert named <= built, f"{name} names {sorted(named - built)}"


@pytest.mark.parametrize(
    "pattern", [each for each in PATTERNS if each.built], ids=lambda each: each.slug
)
def test_a_patterns_module_opens_with_its_reasons(pattern: Pattern) -> None:
    prose = importlib.import_module(pattern.module).__doc__ or ""
    parts = ("Problem.", "Solution.", "Invariants.", "What breaks without it.", "Source:")
    places = [prose.find(f"\n\n{part}") for part in parts]
    assert -1 not in places and places == sorted(places), places


@pytest.mark.parametrize("name", ["1", "Write-Ahead Log", "write_ahead_log", "write ahead log"])
def test_patterns_are_found_by_any_of_their_names(name: str) -> None:
    found = find_pattern(name)
    assert found is not None
    assert found.number == 1


def said(names: list[str]) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=100)
    code = run_patterns(names, console=console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def test_the_matrix_passes() -> None:
    code, text = said([])
    assert code == 0, text
    for ablation in all_ablations():
        assert ablation.id in text
        assert ablation.removes in text
    assert "NOT CAUGHT" not in text


#: How a sentence begins to say what the ablated system does, where the intact one's rule belongs.
BROKEN_RULE = re.compile(
    r"before (\w+ )?\w+( \w+)? (is|are) durable|not recognised|\bignore|has forgotten"
    r"|does not (ask|choose|compare|confirm|name|raise|take over|wait)"
    r"|of any generation|counts from 0"
)


@pytest.mark.parametrize("ablation", all_ablations(), ids=lambda ablation: ablation.id)
def test_what_is_removed_is_told_as_a_rule_of_the_intact_system(ablation: Ablation) -> None:
    """The page and the matrix go on with "without that"."""
    assert not BROKEN_RULE.search(ablation.removes)


@pytest.mark.parametrize("ablation", all_ablations(), ids=lambda ablation: ablation.id)
def test_each_ablation_alone(ablation: Ablation) -> None:
    run = run_pattern(ablation)
    assert not run.violation
    assert run.intact is not None and run.intact.verdict is Verdict.VALID
    assert run.ablated is not None and run.ablated.verdict is Verdict.INVALID
    assert run.caught
    assert select([ablation.slug]) == [ablation]


def test_a_pattern_stands_for_its_ablations() -> None:
    assert [ablation.id for ablation in select(["idempotent_receiver"])] == [
        "A08d", "A28a", "A28b", "A28c",
    ]  # fmt: skip


def test_a_read_of_a_session_need_not_be_linearizable() -> None:
    text = schedule_path("A29b.txt").read_text()
    ablated = run_schedule(text, ablations=["A29b"])
    assert patterns.judge_schedule(ablated).verdict is Verdict.VALID
    assert patterns.judge_schedule(ablated, "session-guarantees").verdict is Verdict.INVALID


def test_a_checker_is_given_the_operations_it_knows() -> None:
    """A compaction is no operation of watches, which are about no one key."""
    run = run_schedule(schedule_path("A08c.txt").read_text())
    assert {"compact", "watch", "write"} <= {event.f for event in run.events}
    assert patterns.judge_with("watch", run.events).verdict is Verdict.VALID
    history = patterns.history_of(run.events)
    assert {str(history.keys[k]) for k in history.key if k >= 0} == {"conf/a", "conf/b"}


def test_an_ablation_that_breaks_nothing_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    intact = patterns.run_pattern

    def harmless(ablation: Ablation) -> patterns.PatternRun:
        run = intact(ablation)
        run.ablated = run.intact
        return run

    monkeypatch.setattr(patterns, "run_pattern", harmless)
    code, text = said(["A30"])
    assert code == 1
    assert "NOT CAUGHT" in text


def test_a_schedule_that_is_not_there_is_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Path("/nowhere/A30.txt")
    monkeypatch.setattr("cluster.simulation.schedule.schedule_path", lambda name: missing)
    code, text = said(["A30"])
    assert code == 3
    assert "not run" in text


def test_unknown_names_are_refused_with_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"did you mean|unknown pattern"):
        select(["A31x"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gossip", "did you mean gossip_dissemination?"),
        ("Two Phase", "did you mean two_phase_commit?"),
        ("zabb", "did you mean 'zab'?"),
        ("viewstamped-replication", "did you mean 'viewstamped'?"),
        ("water", "did you mean low_water_mark or high_water_mark?"),
    ],
)
def test_part_of_a_patterns_name_is_answered_with_those_that_have_it(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as refused:
        select([name])
    assert str(refused.value) == f"unknown pattern or ablation {name!r}; {meant}"


@pytest.mark.parametrize("variant", ["multi-paxos", "zab", "viewstamped"])
def test_a_consensus_variant_stands_for_the_ablations_of_its_own_decisions(variant: str) -> None:
    ablations = select([variant])
    assert len(ablations) >= 8
    assert {ablation.consensus for ablation in ablations} == {variant}


def test_raft_stands_for_the_ablations_of_consensus_parts_and_not_for_all() -> None:
    named = {ablation.id for ablation in select(["Raft"])}
    assert {"A09", "A30", "A65"} <= named
    assert not named & {"A20p", "A28a", "A37", "A51a", "A67a"}


def test_every_pattern_is_built_and_has_two_ablations_to_run() -> None:
    for pattern in PATTERNS:
        assert pattern.built, pattern.name
        assert len(select([pattern.slug])) >= 2, pattern.name
