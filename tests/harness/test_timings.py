"""Times of a run: how they are written, who decides them, and that they are kept."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from random import Random
from typing import ClassVar

import msgspec
import pytest

import harness
from harness import cli
from harness.commands.checking import parse_budget
from harness.commands.test import spec_of
from harness.databases.in_memory import Atom
from harness.errors import SetupError, UsageError, UserCodeError
from harness.nemesis import targets
from harness.nemesis.schedule import spans
from harness.runner import run
from harness.spec import TestSpec, command_line, load_spec, parse_options, validated
from harness.timings import Timings, parse_duration, resolve

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("5s", 5), ("500ms", 0.5), ("1m", 60), ("1m30s", 90), ("1m 30s", 90), ("2h", 7200),
     ("0.5m", 30), ("1h1m1s1ms", 3661.001), ("3sec", 3), ("2min", 120), ("1M30S", 90), (7, 7)],
)  # fmt: skip
def test_durations_are_read(text, seconds):
    assert parse_duration("--x", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "1m30", "five", "5s5", "1 2", None, "1..2"])
def test_what_is_no_duration_is_a_sentence(text):
    with pytest.raises(UsageError, match=r"--x is .* it should be like 5s, 500ms or 1m30s"):
        parse_duration("--x", text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("test --time-limit 1x", "--time-limit is '1x', which is no duration"),
        ("test --op-timeout soon", "--op-timeout is 'soon', which is no duration"),
        ("test --fault-duration 8s..2s", "--fault-duration is 8s..2s; the shorter duration comes"),
        ("test --fault-duration 1ms", "a fault lasts at least 0.1 s"),
        ("test --fault-duration 1s..2s..3s", "a duration or a range"),
        ("test --recovery nan", "--recovery is nan"),
        ("test --recovery 0", "--recovery is 0"),
        ("test --quiesce -1", "--quiesce is -1"),
        ("test --final-limit 0s", "--final-limit is 0"),
        ("test --nemesis-interval 0", "--nemesis-interval is 0"),
        ("test --concurrency 2m", "--concurrency is '2m'"),
        ("test --concurrency 0n", "a test needs at least 1 worker"),
        ("shrink --time-limit 0", "--time-limit is 0"),
        ("shrink --time-limit 1q", "--time-limit is '1q', which is no duration"),
        ("explore --duration 1q", "--duration is '1q', which is no duration"),
    ],
)
def test_the_command_line_has_one_parser(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 254
    assert sentence in capsys.readouterr().err


def test_the_same_times_everywhere():
    assert parse_budget("1m30s,2GB").time_s == parse_budget("90").time_s == 90
    assert parse_options("--o", ["ttl_s=1m30s", "name=1m"]) == {"ttl_s": 90, "name": "1m"}
    spec = spec_of({"time_limit_s": "1m", "op_timeout_s": "500ms", "fault_duration_s": "2s..8s",
                    "concurrency": "2n", "nodes": "5"})  # fmt: skip
    assert (spec.time_limit_s, spec.op_timeout_s, spec.concurrency) == (60, 0.5, 10)
    assert spec.fault_duration_s == (2, 8)
    assert spec_of({"concurrency": "2n"}).concurrency == 6
    assert "--fault-duration 2s..8s" in command_line(spec)
    assert load_spec(msgspec.json.encode(spec)) == spec


def test_the_api_takes_them_too(tmp_path):
    outcome = harness.run(
        env="sim", nemesis="kill", rate_hz=20, time_limit_s="1m", fault_duration_s="3s",
        concurrency="2n", quiesce_s="1500ms", store=str(tmp_path), no_report=True,
        seed=3, say=lambda line: None,
    )  # fmt: skip
    spec = json.loads((outcome.run_dir / "spec.json").read_text())
    assert (spec["time_limit_s"], spec["concurrency"], spec["quiesce_s"]) == (60, 6, 1.5)
    assert spec["fault_duration_s"] == [3.0, 3.0]
    for each in results(outcome)["faults"]:
        assert (each["end_ns"] - each["begin_ns"]) / SECOND == pytest.approx(3, abs=0.05) or (
            each["end_ns"] >= 60 * SECOND
        )


def results(outcome):
    return json.loads((outcome.run_dir / "results.json").read_text())


@pytest.mark.parametrize("nemesis", ["kill", "pause", "partition", "packets"])
def test_faults_last_as_long_as_asked(tmp_path, nemesis):
    spec = TestSpec(env="sim", nemesis=(nemesis,), time_limit_s=60.0, fault_duration_s=(2.0, 4.0),
                    rate_hz=20.0, seed=5, store=str(tmp_path), no_report=True,
                    quiet=True)  # fmt: skip
    outcome = run(spec, say=lambda line: None)
    lines = [json.loads(x) for x in (outcome.run_dir / "faults.jsonl").read_text().splitlines()]
    begins = {x["id"]: x["t"] for x in lines if x["phase"] == "begin"}
    skipped = {x["id"] for x in lines if x.get("outcome") == "skipped"}
    lasted = [(x["t"] - begins[x["id"]]) / SECOND for x in lines
              if x["phase"] == "end" and x["id"] not in skipped]  # fmt: skip
    assert len(lasted) > 5
    # The last may be cut by the time limit; healing takes a moment.
    assert all(1.95 <= each <= 4.5 for each in lasted[:-1]), lasted
    assert max(lasted) - min(lasted[:-1]) > 0.5, "a range is drawn from"


def test_a_long_fault_leaves_some_quiet_after_it():
    found = spans(Random(1), begin_ns=0, end_ns=300 * SECOND, interval_ns=6 * SECOND,
                  length_ns=(10 * SECOND, 10 * SECOND))  # fmt: skip
    assert len(found) > 15
    for (_, end_ns), (begin_ns, _) in pairwise(found):
        assert begin_ns - end_ns >= 2 * SECOND


def test_a_nemesis_with_times_of_its_own_is_said(tmp_path):
    class Own:
        name, needs = "own", frozenset()

        def plan(self, rng, *, nodes, begin_ns, end_ns, interval_ns):
            return []

        async def inject(self, context, plan): ...

        async def heal(self, context, plan, injection): ...

    spec = TestSpec(env="sim", fault_duration_s=(2.0,), store=str(tmp_path), quiet=True)
    with pytest.raises(UsageError, match="its plan takes no length_ns"):
        run(spec, nemeses=[Own()], say=lambda line: None)


# What a database declares -------------------------------------------------------------------------


class Slow(Atom):
    """Needs a while to serve again, and says so."""

    timings: ClassVar = {
        "recovery_s": "10s", "nemesis_interval_s": 3, "fault_duration_s": "500ms..1s",
    }  # fmt: skip
    takes_s = 2.5

    async def ready(self, node):
        await asyncio.sleep(self.takes_s)


def test_the_command_line_outranks_the_database_and_that_outranks_us():
    times = resolve(validated(TestSpec(recovery_s=7.0, op_timeout_s=2.0)), Slow())
    assert times == Timings(
        nemesis_interval_s=3, fault_duration_s=(0.5, 1), recovery_s=7, quiesce_s=2, final_limit_s=12
    )
    assert resolve(TestSpec(), Atom()).recovery_s == 20


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [({"recovery": 3}, "did you mean 'recovery_s'"), ({"recovery_s": "x"}, "no duration"),
     ({"fault_duration_s": [3, 1]}, "shorter duration comes first"), ("40s", "should be a dict")],
)  # fmt: skip
def test_what_a_database_declares_wrongly_is_a_sentence(declared, sentence):
    class Wrong(Atom):
        timings = declared

    with pytest.raises(UsageError, match=sentence):
        resolve(TestSpec(), Wrong())


@pytest.mark.real
def test_a_database_that_needs_time_is_given_it(tmp_path):
    def troubled(recovery_s):
        outcome = harness.run(
            db=Slow(), time_limit_s=1, recovery_s=recovery_s, quiesce_s=0, store=str(tmp_path),
            no_report=True, say=lambda line: None,
        )  # fmt: skip
        return [why for why in outcome.evidence["weak"] if "not every node serves" in why]

    assert troubled(1) and not troubled(None)


# A cluster's beginning ----------------------------------------------------------------------------


class Mortal(Atom):
    """Each node is a process that ends after a second; its ready waits for ever."""

    script = "echo going down for want of luck; sleep 1; exit 7"

    async def start(self, node):
        await node.spawn("sh", "-c", self.script)

    async def ready(self, node):
        await asyncio.sleep(3600)


@pytest.mark.real
@pytest.mark.parametrize("ready", ["waits", "raises"])
def test_a_database_that_dies_while_it_gets_ready_says_how(tmp_path, ready):
    class Dies(Mortal):
        async def ready(self, node):
            await asyncio.sleep(3600 if ready == "waits" else 3)
            raise ConnectionRefusedError("nobody there")

    began_s = time.monotonic()
    with pytest.raises(SetupError) as raised:
        harness.run(db=Dies(), time_limit_s=1, store=str(tmp_path), say=lambda line: None)
    assert "exited with 7" in str(raised.value) and "want of luck" in str(raised.value)
    assert time.monotonic() - began_s < 60


def test_a_cluster_is_set_up_once_between_start_and_ready(tmp_path):
    seen = []

    class Formed(Atom):
        async def start(self, node):
            seen.append(f"start {node.name}")

        async def setup_cluster(self, nodes):
            seen.append("cluster " + ",".join(node.name for node in nodes))

        async def ready(self, node):
            seen.append(f"ready {node.name}")

    harness.run(db=Formed(), env="sim", time_limit_s=1, store=str(tmp_path), no_report=True,
                seed=1, say=lambda line: None)  # fmt: skip
    assert sorted(seen[:3]) == ["start n1", "start n2", "start n3"]
    assert seen[3] == "cluster n1,n2,n3" and seen.count(seen[3]) == 1
    assert sorted(seen[4:7]) == ["ready n1", "ready n2", "ready n3"]


def test_a_cluster_that_cannot_be_set_up_is_said(tmp_path):
    class Fails(Atom):
        async def setup_cluster(self, nodes):
            raise OSError("no quorum")

    with pytest.raises(UserCodeError, match=r"Fails.setup_cluster raised OSError: no quorum"):
        harness.run(db=Fails(), env="sim", time_limit_s=1, store=str(tmp_path), say=lambda x: None)


# Shards -------------------------------------------------------------------------------------------


class Sharded:
    def __init__(self, *leaders):
        self.leaders = leaders

    async def primaries(self, nodes):
        return list(self.leaders)


class Names:
    def node(self, name):
        return name


@pytest.mark.parametrize(
    ("word", "leaders", "count"),
    [("one-primary", ["a", "b", "c"], 1), ("minority-primaries", ["a", "b", "c", "d", "e"], 2),
     ("minority-primaries", ["a", "c"], 1), ("primaries", ["a", "c"], 2), ("one-primary", [], 0)],
)  # fmt: skip
def test_some_of_several_leaders_are_hit(word, leaders, count):
    hit = asyncio.run(
        targets.resolve(
            word, db=Sharded(*leaders), env=Names(), nodes=list("abcdef"), rng=Random(3)
        )
    )
    assert len(hit) == count and set(hit) <= set(leaders)


@pytest.mark.parametrize(
    "text",
    ["kill-one-primary", "pause:minority-primaries", "partition-one-primary",
     "partition:minority-primaries"],
)  # fmt: skip
def test_the_words_are_taken_by_nemeses(tmp_path, text):
    spec = TestSpec(env="sim", nemesis=(text,), time_limit_s=15.0, seed=2, store=str(tmp_path),
                    no_report=True, quiet=True)  # fmt: skip
    outcome = run(spec, say=lambda line: None)
    hit = [f["nodes"] for f in results(outcome)["faults"] if f["outcome"] == "installed"]
    assert hit and all(len(nodes) == 1 for nodes in hit)


def test_a_runs_directory_keeps_the_faults_name():
    assert validated(TestSpec(nemesis=("kill:one",))).name == "reference-register-kill-one"
    assert validated(TestSpec(nemesis=("pause:n1+n2",))).name == "reference-register-pause-n1+n2"
    assert validated(TestSpec(nemesis=("partition-one-way:n1",))).name.endswith("one-way-n1")
    assert validated(TestSpec(nemesis=("my.mod:busy",))).name == "reference-register-busy"
