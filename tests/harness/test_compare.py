"""``harness compare``: variants over the same seeds; tables, intervals, conditions, resuming."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.core.verdict import Verdict
from harness import cli
from harness.campaign.comparison import Cell, Comparison, Plan, RunRecord, measure
from harness.campaign.comparison_tables import (
    COSTS,
    document,
    frame,
    met,
    parse_condition,
    rows,
    stored_rows,
    unjudged,
    without_baseline,
)
from harness.campaign.round_trips import round_trips
from harness.campaign.statistics import median_interval, paired_ratio, wilson
from harness.campaign.trust import Trust
from harness.campaign.variants import parse_variant, parse_variants
from harness.costs import costs_per_commit
from harness.errors import UsageError
from harness.runner import run
from harness.spec import TestSpec
from reports.comparison import _FIGURES as PAGE_FIGURES
from reports.comparison import comparison_page, render_comparison

BASE = TestSpec(env="sim", time_limit_s=3.0, no_report=True)
CELL = Cell("register", ("partition",))


def plan(*variants: str, seeds: int = 2, base: TestSpec = BASE) -> Plan:
    return Plan(
        base=base,
        variants=parse_variants(list(variants)),
        cells=(CELL,),
        seeds=tuple(range(7, 7 + seeds)),
    )


def record(variant: str, seed: int, **fields: Any) -> RunRecord:
    plain: dict[str, Any] = {"verdict": "valid", "sentence": "", "ok_per_s": 100.0, "p99_ms": 5.0}
    return RunRecord(
        variant=variant, workload=CELL.workload, nemesis=CELL.nemesis, seed=seed, **plain | fields
    )


# Variants


def test_a_variant_is_a_consensus_with_changes_or_a_name_with_fields() -> None:
    assert parse_variant("raft").fields == {"consensus": "raft"}
    short = parse_variant("raft+A30+lease-reads").applied(BASE)
    assert short.ablate == ("A30",) and short.db_options == {"read_mode": "lease"}
    long = parse_variant("five: nodes=n1,n2,n3,n4,n5, time-limit=1m, db-option.read_mode=stale")
    spec = long.applied(BASE)
    assert (long.name, len(spec.nodes), spec.time_limit_s) == ("five", 5, 60.0)
    assert spec.db_options == {"read_mode": "stale"}
    assert parse_variant("new: image=mykv:1.3").fields == {"env_options": {"image": "mykv:1.3"}}


def test_options_of_a_variant_are_added_to_those_of_all() -> None:
    base = msgspec.structs.replace(BASE, db_options={"peer_port": 7100})
    spec = parse_variant("raft+lease-reads").applied(base)
    assert spec.db_options == {"peer_port": 7100, "read_mode": "lease"}


@pytest.mark.parametrize(
    "text, said",
    [
        ("raftt", "did you mean 'raft'"),
        ("raft+A3", "did you mean A3"),
        ("consensus=raft", "name: consensus=raft"),
        ("x: concurency=3", "did you mean 'concurrency'"),
        ("x: keys", "field=value"),
        ("x: seed=3", "seed"),
        ("x: workload=append", "give --workload append"),
        ("x: nemesis=kill", "give --nemesis kill"),
        ("x: time-limit=soon", "soon"),
        ("../../x: keys=1", "no name for a variant"),
    ],
)
def test_a_wrong_variant_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_variant(text).applied(BASE)
    assert said in str(caught.value)


def test_two_variants_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        parse_variants(["raft", "raft"])


# Statistics


@given(st.integers(0, 60), st.integers(0, 60))
def test_wilsons_interval_holds_the_share_and_stays_a_share(hits: int, more: int) -> None:
    low, high = wilson(hits, hits + more)
    assert 0 <= low <= high <= 1
    if hits + more:
        assert low <= hits / (hits + more) <= high


def test_wilsons_interval_is_that_of_the_books() -> None:
    low, high = wilson(3, 20)  # Newcombe (1998), method 3, rounded
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3604)
    assert wilson(0, 20)[0] == 0 and round(wilson(0, 20)[1], 4) == 0.1611
    with pytest.raises(ValueError, match="4 hits in 3 runs"):
        wilson(4, 3)


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=30))
def test_a_medians_interval_holds_it_and_does_not_depend_on_order(values: list[float]) -> None:
    middle, low, high = median_interval(values)
    assert min(values) <= low <= middle <= high <= max(values)
    assert median_interval(values[::-1]) == (middle, low, high)


def test_ratios_are_taken_pair_by_pair() -> None:
    assert paired_ratio([2, 40, 6], [1, 20, 3])[0] == 2
    assert paired_ratio([2, 1], [0, 1])[0] == 1  # a base of 0 has no ratio
    assert math.isnan(median_interval([])[0])


# Conditions


def _table(**p99: float) -> list[dict[str, Any]]:
    return [
        {"workload": "w", "nemesis": [], "variant": name, "violated": 0,
         "figures": {"p99": [value, value, value]}}
        for name, value in p99.items()
    ]  # fmt: skip


def test_a_condition_against_the_baseline_names_who_met_it() -> None:
    table = _table(old=10.0, new=13.0)
    said = met(parse_condition("p99 > 1.2 * baseline"), table, table[:1])
    assert len(said) == 1 and said[0].startswith("new, w under no faults: p99 is 13")
    assert not met(parse_condition("p99 > 1.4*baseline"), table, table[:1])
    assert len(met(parse_condition("p99 >= 10"), table, [])) == 2
    assert met(parse_condition("violated > 0"), table, []) == []


def test_a_stored_baseline_is_compared_variant_by_variant() -> None:
    before, now = _table(a=10.0, b=100.0), _table(a=15.0, b=101.0)
    said = met(parse_condition("p99 > 1.2 * baseline"), now, before)
    assert [line.partition(",")[0] for line in said] == ["a"]


def test_a_condition_that_says_nothing_of_a_row_is_told() -> None:
    table = _table(old=10.0, new=13.0)
    relative = parse_condition("p99 > 1.2 * baseline")
    assert unjudged(relative, table, table[:1]) == []
    assert unjudged(relative, table, []) == [
        f"{name}, w under no faults: the baseline has no p99 of it" for name in ("old", "new")
    ]
    assert without_baseline(table, []) == ["old, w under no faults", "new, w under no faults"]
    assert without_baseline(table, table[:1]) == []
    table[1]["figures"]["p99"] = [None, None, None]
    absolute = parse_condition("p99 > 5")
    assert unjudged(absolute, table, []) == ["new, w under no faults: there is no p99"]


@pytest.mark.parametrize("text", ["p99", "p99 > x", "p98 > 1", "p99 > 1.2.3", "__import__('os')"])
def test_a_wrong_condition_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="--fail-if"):
        parse_condition(text)


# A comparison


def test_figures_are_those_of_the_single_run(tmp_path: Path) -> None:
    done = Comparison.begin(plan("raft", "raft+A30", seeds=1), store=str(tmp_path / "a"))
    done.go(jobs=1, progress=lambda record: None)
    (single,) = (r for r in done.records.values() if r.variant == "raft")
    alone = run(
        msgspec.structs.replace(BASE, nemesis=CELL.nemesis, seed=7, store=str(tmp_path / "b")),
        say=lambda line: None,
    )
    assert {name: getattr(single, name) for name in measure(alone.run_dir)} == measure(
        alone.run_dir
    )
    assert single.ok and single.ok_per_s and single.p50_ms and single.p99_ms
    assert sum(single.latencies) == single.ok
    assert single.costs["messages"] > 2 and single.costs["syncs"] > 2
    assert single.costs["bytes"] > 20 * single.costs["messages"]
    assert single.trips == {"round_trips": 1.0, "read_round_trips": 1.0}
    assert (done.where / single.run_dir / "history.jsonl").is_file()


def test_an_interrupted_comparison_goes_on_where_it_was(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop_after_two(record: RunRecord) -> None:
        if len(begun.records) == 2:
            raise Stop

    begun = Comparison.begin(plan("raft", "raft+lease-reads"), store=str(tmp_path))
    with pytest.raises(Stop):
        begun.go(jobs=1, progress=stop_after_two)
    with (begun.where / "runs.jsonl").open("ab") as file:
        file.write(b'{"variant": "raft", "workl')  # killed while it wrote
    again = Comparison.resume(begun.where, Trust())
    assert len(again.records) == 2 and len(again.missing) == 2
    made: list[RunRecord] = []
    again.go(jobs=1, progress=made.append)
    assert len(made) == 2 and not again.missing
    whole = Comparison.resume(begun.where, Trust())
    assert whole.records == again.records and not whole.missing


def test_a_run_that_was_interrupted_is_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Comparison.begin(plan("raft", "raft+lease-reads"), store=str(tmp_path))
    real, asked = run, list[Any]()

    def run_until_interrupted(spec: TestSpec, **how: Any) -> Any:
        asked.append(spec.seed)
        done = real(spec, **how)
        return done if len(asked) == 1 else msgspec.structs.replace(done, interrupted=True)

    monkeypatch.setattr("harness.campaign.comparison.run", run_until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        begun.go(jobs=1, progress=lambda record: None)
    assert len(asked) == 2, "it goes on with other runs"
    again = Comparison.resume(begun.where, Trust())
    assert len(again.records) == 1 and len(again.missing) == 3


def test_workers_do_not_outlive_a_harness_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from harness.campaign.workers import end_with_parent\n"
        "pool = ProcessPoolExecutor(2, initializer=end_with_parent)\n"
        "ids = [pool.submit(os.getpid) for _ in range(2)] + [pool.submit(time.sleep, 0.1)]\n"
        "print(*{each.result() for each in ids[:2]}, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = list(map(int, parent.stdout.readline().split()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end_s = time.monotonic() + 60.0
    while any(_runs(worker) for worker in workers) and time.monotonic() < end_s:
        time.sleep(0.01)
    left = [worker for worker in workers if _runs(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert workers and not left


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_plan_of_a_strangers_imports_nothing_that_is_not_trusted(tmp_path: Path) -> None:
    made = Comparison.begin(plan("raft", "raft+lease-reads"), store=str(tmp_path))
    data = json.loads((made.where / "plan.json").read_text())
    data["base"]["db"] = "antigravity:run"
    (made.where / "plan.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="antigravity"):
        Comparison.resume(made.where, Trust())
    assert "antigravity" not in sys.modules


def test_no_comparison_in_a_directory_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no comparison"):
        Comparison.resume(tmp_path, Trust())


def _planned(tmp_path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """The directory of a comparison with an edited plan."""
    where = Comparison.begin(plan("raft", "raft+A30"), store=str(tmp_path)).where
    data = json.loads((where / "plan.json").read_text())
    edit(data)
    (where / "plan.json").write_text(json.dumps(data))
    return where


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda plan: plan["variants"][0].update(fields={"nope": 1}), "no field 'nope'"),
        (lambda plan: plan["variants"][0].update(fields={"db_options": 3}), "got `int`"),
        (lambda plan: plan["cells"][0].update(workload="nope"), "unknown workload 'nope'"),
        (lambda plan: plan.update(seeds=[-1]), "seeds"),
    ],
)
def test_an_edited_plan_is_a_sentence_before_any_run(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], said: str
) -> None:
    where = _planned(tmp_path, edit)
    with pytest.raises(UsageError, match=said):
        Comparison.resume(where, Trust())


@pytest.mark.parametrize(
    "odd",
    [
        {"verdict": "bananas"},
        {"verdict": ""},
        {"latencies": [-1]},
        {"latencies": [1] * 1000},
        {"p50_ms": 1e308},
        {"longest_gap_s": -1.0},
        {"costs": {"messages": -1.0}},
        {"seed": -7},
    ],
)
def test_a_line_that_no_run_can_have_written_is_no_record(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    where = _planned(tmp_path, lambda plan: None)
    lines = [msgspec.to_builtins(record(name, 7)) for name in ("raft", "raft+A30")]
    lines[0] |= odd
    (where / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(Comparison.resume(where, Trust()).records) == [record("raft+A30", 7).key]


def test_runs_that_are_no_file_or_lead_elsewhere_are_a_sentence(tmp_path: Path) -> None:
    where = _planned(tmp_path, lambda plan: None)
    (where / "runs.jsonl").mkdir()
    with pytest.raises(UsageError, match=r"runs\.jsonl cannot be read"):
        Comparison.resume(where, Trust())
    (where / "runs.jsonl").rmdir()
    (tmp_path / "private").write_text("mine")
    (where / "runs.jsonl").symlink_to(tmp_path / "private")  # records would be added there
    with pytest.raises(UsageError, match=r"runs\.jsonl cannot be read"):
        Comparison.resume(where, Trust())


def test_a_variant_with_too_few_nodes_is_refused_before_any_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs at least 2 nodes"):
        Comparison.begin(plan("raft", "alone: nodes=n1"), store=str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: rows.append({}),
        lambda rows: rows[0].pop("figures"),
        lambda rows: rows[0]["figures"].update(p99="x"),
        lambda rows: rows[0]["figures"].update(p99=["x"]),
        lambda rows: rows[0].update(violated="x"),
        lambda rows: rows[0].pop("nemesis"),
    ],
)
def test_an_edited_baseline_is_no_stored_comparison(
    tmp_path: Path, edit: Callable[[list[dict[str, Any]]], Any]
) -> None:
    found = json.loads(msgspec.json.encode(document(_compared(tmp_path))))
    assert stored_rows(json.dumps(found).encode())[0]["variant"] == "raft"
    edit(found["rows"])
    with pytest.raises(msgspec.ValidationError):
        stored_rows(json.dumps(found).encode())


def _compared(tmp_path: Path) -> Comparison:
    records = [record("raft", seed, p99_ms=5.0 + seed) for seed in (7, 8)]
    records += [record("raft+A30", 7, verdict="invalid", sentence="<script>", run_dir="../../x")]
    records += [record("raft+A30", 8, verdict="broken", sentence="n1 did not start")]
    return Comparison(tmp_path, plan("raft", "raft+A30"), records)


def test_a_row_counts_verdicts_and_leaves_broken_runs_out_of_figures(tmp_path: Path) -> None:
    intact, ablated = rows(_compared(tmp_path))
    assert (intact["tried"], intact["violated"]) == (2, 0)
    assert (ablated["violated"], ablated["broken"], ablated["tried"]) == (1, 1, 2)
    assert ablated["figures"]["p99"][0] == 5.0
    assert ablated["ratios"]["p99"][0] == pytest.approx(5 / 12)
    assert intact["figures"]["recovery"] == [None, None, None]


def test_the_worst_verdict_counts(tmp_path: Path) -> None:
    found = _compared(tmp_path)
    assert found.verdict is Verdict.INVALID
    del found.records[("raft+A30", "register", ("partition",), 7)]
    assert found.verdict is Verdict.UNKNOWN


def test_the_frame_has_a_line_per_run(tmp_path: Path) -> None:
    data = frame(_compared(tmp_path))
    assert list(data["variant"]) == ["raft", "raft", "raft+A30", "raft+A30"]
    assert "latencies" not in data and data["p99_ms"].max() == 13.0


def test_the_page_escapes_what_it_shows_and_links_below_itself_only(tmp_path: Path) -> None:
    found = document(_compared(tmp_path), ["p99 is <b>high</b>"])
    page = comparison_page(json.loads(msgspec.json.encode(found)))
    assert "&lt;script&gt;" in page and "<script>" not in page and "<b>high" not in page
    assert "../../x" not in page
    assert "raft+A30" in page and "Where the variants differ" in page


def test_the_page_shows_every_figure_and_what_could_not_be_judged(tmp_path: Path) -> None:
    spent = {"costs": dict.fromkeys(("messages", "bytes", "syncs"), 2.0)}
    trips = {"trips": {"round_trips": 1.0, "read_round_trips": 0.0}}
    records = [record("raft", 7, **spent, **trips), record("raft+A30", 7, **spent, **trips)]
    found = document(Comparison(tmp_path, plan("raft", "raft+A30", seeds=1), records))
    found["unjudged"] = ["raft: there is no recovery"]
    page = comparison_page(json.loads(msgspec.json.encode(found)))
    for each in COSTS:
        assert f">{PAGE_FIGURES[each.name][0]}</th>" in page
    assert "0.00 – 0.00" in page and "raft: there is no recovery" in page


def test_a_foreign_file_is_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text('{"format": "results/1"}')
    with pytest.raises(ValueError, match="format"):
        render_comparison(tmp_path)


def _harness(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "harness", "compare", *words]
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_the_command_prints_tables_and_writes_everything(tmp_path: Path) -> None:
    words = ["--variant", "raft", "--variant", "raft+A30", "--runs", "2", "--seed", "3"]
    more = ["--time-limit", "4", "--nemesis", "partition:primaries", "-j", "1"]
    done = _harness(*words, *more, "--fail-if", "ok_per_s > 1", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "register under partition:primaries" in done.stdout and "raft+A30" in done.stdout
    assert "condition met: raft, register" in done.stdout
    (where,) = (tmp_path / "store" / "compare").glob("2*")
    found = json.loads((where / "comparison.json").read_text())
    assert found["done"] == found["planned"] == 4 and found["verdict"] == "invalid"
    by_name = {row["variant"]: row for row in found["rows"]}
    assert by_name["raft"]["violated"] == 0 and by_name["raft+A30"]["violated"] >= 1
    assert (where / "comparison.csv").read_text().count("\n") == 5
    assert all((where / r["run_dir"] / "report.html").is_file() for r in found["runs"])
    again = _harness("--resume", str(where), "--json", cwd=tmp_path)
    assert again.returncode == 1
    assert json.loads(again.stdout)["rows"] == found["rows"]


def test_a_stored_baseline_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(msgspec.json.encode(document(_compared(tmp_path))))
    for row in found["rows"]:
        row["workload"] = "append"
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    words = ["compare", "--variant", "raft", "--variant", "zab", "--baseline", str(tmp_path)]
    words += ["--store", str(tmp_path / "store"), "--fail-if", "p99 > 1.2 * baseline"]
    assert cli.main(words) == 254
    assert "nothing to compare this with: raft, register under partition" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["--variant", "raft"], "at least two"),
        (["--resume", "x", "--variant", "raft", "--seed", "1"], "leave out --variant, --seed"),
        (["--variant", "raft", "--variant", "zabb: keys=2", "--runs", "0"], "--runs"),
        (["--variant", "raft", "--variant", "zab", "--env", "simm"], "did you mean 'sim'"),
        (["--variant", "raft", "--variant", "x: workload=regster"], "regster"),
        (["--variant", "raft", "--variant", "raft+A30", "--baseline", "nope"], "--baseline"),
        (["--variant", "raft", "--variant", "raft+A30", "--env", "local", "-j", "2"], "--jobs"),
        (["--resume", "x", "--runs", "30", "--env", "local"], "leave out --runs, --env"),
        (["--variant", "raft", "--variant", "x: image=y:1", "-j", "1"], "option of the envir"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    done = _harness(*words, cwd=tmp_path)
    assert done.returncode == 254, (done.stdout, done.stderr)
    assert said in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "a mistake left something behind"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"consensus": "zab"}, {"round_trips": 1.0, "read_round_trips": 1.0}),
        ({"db_options": {"read_mode": "lease"}}, {"round_trips": 1.0, "read_round_trips": 0.0}),
        ({"ablate": ("A30",)}, {"round_trips": 1.0, "read_round_trips": 0.0}),
        ({"db_options": {"role": "paxos"}}, {}),
        ({"db": "etcd"}, {}),
    ],
)
def test_round_trips_are_those_of_the_variant(fields: dict[str, Any], expected: Any) -> None:
    assert round_trips(msgspec.structs.replace(BASE, **fields)) == expected


def test_costs_are_what_was_spent_per_commit() -> None:
    before = {"commits": 10, "syncs": 30, "messages": 100}
    after = {"commits": 30, "syncs": 90, "messages": 180}
    assert costs_per_commit(before, after) == {"syncs": 3.0, "messages": 4.0}
    restarted = {"commits": 30, "syncs": 5, "messages": 180}
    assert costs_per_commit(before, restarted) == {"messages": 4.0}
    # A node that was started anew may have counted further than it had before.
    again = {"commits": 30, "syncs": 90, "bytes": 900, "messages": 180, "starts": 4}
    since = {**before, "bytes": 100, "starts": 3}
    assert costs_per_commit(since, again) == {"messages": 4.0}
    assert costs_per_commit(since, {**again, "starts": 3})["bytes"] == 40.0
    counted = {**since, "link_bytes": 0}, {**again, "link_bytes": 1000}
    assert costs_per_commit(*counted) == {"messages": 4.0, "bytes": 50.0}
    assert costs_per_commit({}, {}) == {} == costs_per_commit(after, after)
