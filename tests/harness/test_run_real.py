"""Runs with real processes: interruption, death of the harness, the API and the pytest fixture."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import harness
from checkers import Verdict, linearizable, models
from checkers.history import load
from harness import TestSpec, fault
from harness.cli import main
from harness.databases.in_memory import Atom
from harness.timings import Timings
from workloads import Workload
from workloads import generator as gen

pytestmark = pytest.mark.real


def start(tmp_path, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "test", *words, "--store", str(tmp_path)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_events(tmp_path, count, *, within_s=120.0):
    """The run directory, once its history has so many lines."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        for path in tmp_path.glob("*/2*/history.jsonl"):
            if path.read_bytes().count(b"\n") > count:
                return path.parent
        time.sleep(0.05)
    raise AssertionError("the run did not begin")


def ours(run_dir):
    """Processes that name the run's directory."""
    lines = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(run_dir) in line]


def test_one_interrupt_heals_and_judges(tmp_path):
    process = start(tmp_path, "--db", "atom", "--time-limit", "60", "--seed", "1", "--no-report")
    run_dir = wait_for_events(tmp_path, 200)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "interrupted" in err and "VALID" in out
    results = json.loads((run_dir / "results.json").read_text())
    assert re.fullmatch(r"after [\d.]+ s of 60 s", results["run"]["interrupted"])
    assert results["evidence"]["weak"][-1].startswith("the run was interrupted after ")
    assert not load(run_dir / "history.jsonl").notes, "the history has its footer"


def test_one_interrupt_ends_a_ready_without_limit(tmp_path):
    process = start(tmp_path, "--db", "sim_world:NeverReady", "--time-limit", "5", "--seed", "1")
    run_dir = wait_for_events(tmp_path, 0)
    time.sleep(1)  # now it waits for the nodes
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (2, 3), err
    assert "interrupted before the first operation" in err and "Traceback" not in err
    assert not ours(run_dir)


def test_two_interrupts_leave_at_once(tmp_path):
    process = start(tmp_path, "--db", "sim_world:Slow", "--time-limit", "60", "--seed", "1")
    wait_for_events(tmp_path, 5)
    process.send_signal(signal.SIGINT)
    said = iter(process.stderr.readline, "")
    assert any("interrupted: healing" in line for line in said), "the first one is not noticed"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3 and "left at once" in err
    (results,) = [path.parent for path in tmp_path.glob("*/2*/history.jsonl")]
    assert not (results / "results.json").exists(), "nothing was judged"


def test_a_killed_harness_leaves_a_history_that_is_judged_and_nothing_else(tmp_path, capsys):
    process = start(tmp_path, "--nemesis", "pause", "--time-limit", "60", "--seed", "1")
    run_dir = wait_for_events(tmp_path, 600)
    process.kill()
    process.communicate()
    assert main(["heal", str(run_dir)]) == 0
    assert not ours(run_dir)
    assert main(["check", str(run_dir)]) == 0
    out = capsys.readouterr().out
    assert "VALID" in out and "the run did not end" in out
    assert load(run_dir / "history.jsonl").op_count > 200


def test_the_reference_cluster_survives_a_partition(tmp_path):
    outcome = harness.run(
        nemesis="partition-primaries", time_limit_s=6.0, nemesis_interval_s=3.0,
        store=str(tmp_path), seed=5, say=lambda line: None,
    )  # fmt: skip
    assert outcome.verdict is Verdict.VALID, outcome.sentence
    assert outcome.evidence["faults_bit"] >= 1 and not outcome.evidence["weak"]
    assert not ours(outcome.run_dir)


# The API ------------------------------------------------------------------------------------------


@fault("touch", targets="one")
async def touch(node):
    """A user's own fault."""
    done = await node.run("sh", "-c", "echo there")
    yield {"bit": "there" in done.stdout}


def tickets(keys=3, rate_hz=100):
    return Workload(
        generator=gen.mix(gen.reads(keys), gen.writes(keys)).rate(rate_hz),
        final=gen.each_process(gen.reads(keys)),
        checker=linearizable(models.register()),
    )


class Forgets(Atom):
    """Reads what was there before the last write."""

    class client:
        before: dict = {}  # noqa: RUF012

        async def open(self, node): ...

        async def invoke(self, op):
            if op.f == "read":
                return op.ok(self.before.get(op.key, [None])[0])
            self.before[op.key] = [*self.before.get(op.key, [None])[-1:], op.value]
            return op.ok()


def test_objects_of_ones_own_run_with_a_fault_of_ones_own(tmp_path):
    outcome = harness.run(
        db=Atom(), workload=tickets(), nemesis="touch", time_limit_s=2.0, nemesis_interval_s=1.0,
        store=str(tmp_path), no_report=True, say=lambda line: None,
    )  # fmt: skip
    assert outcome.assert_valid() is outcome
    assert outcome.evidence["faults_bit"] >= 1
    history = load(outcome.run_dir / "history.jsonl")
    before, *final = sorted(history.ops(), key=lambda op: op.invoke_ns)[-31:]
    assert final[0].invoke_ns >= before.invoke_ns + Timings().quiesce_s * 1e9
    assert {op.f for op in final} == {"read"}
    assert len({(op.process, op.key) for op in final}) == 30, "each process, each key, once"


def test_names_that_are_not_imported_from_files_are_exported():
    assert callable(harness.run) and harness.TestSpec is TestSpec and callable(harness.fault)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tme_limit_s": 3}, "did you mean 'time_limit_s'"),
        ({"time_limit_s": "long"}, "no duration"),
        ({"time_limit_s": [3]}, "float"),
        ({"nodes": 0}, "at least 1 node"),
        ({"db": Atom(), "client": 7}, "client"),
        ({"db": 7}, "without setup"),
    ],
)
def test_mistakes_in_the_api_are_sentences(tmp_path, arguments, words):
    with pytest.raises(harness.errors.UsageError, match=words):
        harness.run(store=str(tmp_path), say=lambda line: None, **arguments)


def test_the_fixture_fails_with_sentence_report_and_replay(tmp_path):
    here = Path(__file__).parent
    (tmp_path / "test_mykv.py").write_text(
        "from test_run_real import Atom, Forgets, tickets\n"
        "COMMON = dict(time_limit_s=1.5, env='local')\n"
        "def test_good(harness):\n"
        "    harness.run(db=Atom(), workload=tickets(), **COMMON).assert_valid()\n"
        "def test_bad(harness):\n"
        "    harness.run(db=Forgets(), workload=tickets(), **COMMON).assert_valid()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--harness-seed", "11"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "INVALID: Key k" in done.stdout and "report.html" in done.stdout
    assert "replay: pytest test_mykv.py::test_bad --harness-seed 11" in done.stdout
    assert (tmp_path / "store" / "test_bad" / "latest" / "report.html").exists()
