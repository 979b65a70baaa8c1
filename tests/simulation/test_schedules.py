"""Directed schedules are golden: what is in the file is what is printed, by both systems.

The files in ``cluster/ablations/schedules`` are run intact and ablated; those in ``testdata`` test
the language itself, and run intact. ``pytest tests/simulation --rewrite`` accepts what changed.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cluster.ablations.registry import all_ablations
from cluster.consensus.high_water_mark import HighWaterMark
from cluster.simulation.schedule import ScheduleRun, run_schedule, schedule_path
from cluster.simulation.schedule_text import ABLATED, INTACT, ScheduleError, parse, render

TESTDATA = sorted((Path(__file__).parent / "testdata").glob("*.txt"))
ABLATIONS = [ablation for ablation in all_ablations() if ablation.schedule]


def golden(path: Path, runs: dict[str, ScheduleRun], *, rewrite: bool) -> None:
    text = path.read_text()
    now = render(parse(text), {system: run.outputs for system, run in runs.items()})
    if rewrite:
        path.write_text(now)
    assert now == path.read_text(), f"{path.name} prints something else; see pytest --rewrite"


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite", default=False))


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.id)
def test_a_directed_schedule_tells_the_same_story(ablation, rewrite: bool) -> None:
    path = schedule_path(ablation.schedule)
    text = path.read_text()
    began_s = time.process_time()
    runs = {INTACT: run_schedule(text), ABLATED: run_schedule(text, ablations=[ablation.id])}
    assert time.process_time() - began_s < 10.0
    golden(path, runs, rewrite=rewrite)
    assert runs[INTACT].violation is None
    assert runs[INTACT].outputs != runs[ABLATED].outputs


@pytest.mark.parametrize("path", TESTDATA, ids=lambda path: path.stem)
def test_the_language(path: Path, rewrite: bool) -> None:
    golden(path, {INTACT: run_schedule(path.read_text())}, rewrite=rewrite)


def test_a_schedule_is_one_run() -> None:
    text = schedule_path("A12.txt").read_text()
    first = run_schedule(text)
    assert run_schedule(text).trace_hash == first.trace_hash
    assert run_schedule(text).events == first.events


@pytest.mark.parametrize(
    "text, line, sentence",
    [
        ("put c1 x 1", 1, "there are no nodes yet"),
        ("nodes n1\nelct n1", 2, "there is no command 'elct'; did you mean elect"),
        ("nodes n1\nput c1 x", 2, "put takes a client, a key and 1 values"),
        ("nodes n1\nelect n1\nput c1 x 1 -> fail", 3, "ended ok, and the schedule demands fail"),
        ("nodes n1\nrun soon", 2, "'soon' is no time"),
        ("nodes n1\ncrash n7", 2, "there is no node 'n7'"),
        ("nodes n1\nexpect n1 rank=1", 2, "the status has no 'rank'"),
        ("nodes n1\nexpect n1 role=leader", 2, "n1 has role follower, not leader"),
        ("nodes n1\ndeliver n1 -> n2", 2, "nothing of that kind is held"),
        ("nodes n1\nawait c1", 2, "await needs a client that has started"),
        ("config hartbeat_ns=1ms\nnodes n1", 1, "ClusterConfig has no 'hartbeat_ns'"),
        ("nodes n1\n---- broken\n", 2, "may stand intact or ablated, not 'broken'"),
        ("----\nx\n", 1, "output without a command"),
        ("nodes n1\ncut n1", 2, "cut takes two groups"),
        ("nodes n1\nelect n1\nstart c1 get x\nput c1 x 1", 4, "c1 still waits for c1 get x"),
        ("nodes n1\nelect n1\nstart c1 get x\nrenew c1 l", 4, "c1 still waits for c1 get x"),
        ("nodes n1\ngrant c1 l", 2, "grant: expected a client, LEASE, TTL, not 'l'"),
        ("nodes n1\ngrant c1 l soon", 2, "grant: 'soon' is no time"),
        ("nodes n1\nunlock c1 l", 2, "this client never had the lock 'l'"),
        ("nodes n1\nwatch c1 p on", 2, "this client has not watched 'p' yet"),
        ("nodes n1\ntxn c1 w x", 2, "expected r KEY, w KEY VALUE or append KEY VALUE, not 'w x'"),
        ("nodes n1\ntxn c1 if x then r x", 2, "not 'r x'"),
        ("nodes n1\nsnapshot c1 x", 2, "expected a client and two keys or more"),
        ("nodes n1\nguarded c1 l 1", 2, "this client never had the lock 'l'"),
        ("nodes n1\ndamage n1", 2, "damage takes a node and a kind"),
        ("nodes n1\ndamage n1 cut x", 2, "flip may take a text"),
        ("nodes n1 n2 n3\ndamage n1 flip plums", 2, "the log of n1 cannot be damaged so"),
        ("nodes n1\nundisturbed n1", 2, "n1 does not lead"),
        ("nodes n1\nlock c1 l 1s @n7", 2, "there is no node 'n7' to ask"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, sentence: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        run_schedule(text)
    assert caught.value.line == line
    assert sentence in caught.value.sentence


def test_figure_8_without_its_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting replicas of an earlier generation's entry commits what is overwritten later."""
    monkeypatch.setattr(HighWaterMark, "may_commit", lambda self, index, entry, own: True)
    text = (Path(__file__).parent / "testdata" / "figure_8.txt").read_text()
    violation = run_schedule(text).violation
    assert violation is not None
    assert violation.name == "leader-completeness"
    assert "s5 leads generation 4 without the entry at index 2" in violation.sentence
    assert any("AppendEntries" in told.words for told in violation.trace)
