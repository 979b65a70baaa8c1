"""What a database declares of its recovery, and what is measured and marked against it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from checkers.core.verdict import Result, Verdict
from harness.databases.in_memory import Atom
from harness.databases.reference import Reference
from harness.recovery import beyond_bounds, bounds_of, watch_remains
from harness.runner import run
from harness.spec import TestSpec

S = 1_000_000_000


class Inside:
    """An environment in which something is left for a while."""

    def __init__(self, until_s: float | None) -> None:
        self.now, self.until_s = 0, until_s

    def now_ns(self) -> int:
        return self.now

    async def sleep(self, duration_ns: int) -> None:
        self.now += duration_ns

    def remains(self) -> str | None:
        if self.until_s is None:
            return None
        return "an intent of t1" if self.now < self.until_s * S else ""


def watched(until_s: float | None, *, quiet_s: float = 2.0) -> tuple[Result | None, float]:
    env = Inside(until_s)
    watch = watch_remains(env, 30.0, healed_ns=0, quiet_ns=round(quiet_s * S))
    return asyncio.run(watch), env.now / S


def test_the_reference_cluster_declares_its_bounds_by_what_is_asked_of_it() -> None:
    data = bounds_of(Reference(role="data"))
    assert (data.serves_s, data.clean_s) == (20.0, 30.0)
    assert bounds_of(Reference()).serves_s == 20.0
    # Leases that clients of the core hold are theirs, and no leftovers.
    assert bounds_of(Reference(role="data", objects="lease")).clean_s is None
    assert bounds_of(Atom()).serves_s is None


def test_a_clean_system_rests_for_as_long_as_before() -> None:
    result, rested_s = watched(0.0)
    assert result is not None and rested_s == 2.0
    assert result.stats["clean_s"] == 0.0 and not beyond_bounds([result])


def test_what_is_left_is_waited_for_and_its_end_measured() -> None:
    result, rested_s = watched(4.0)
    assert result is not None and 4.0 <= rested_s < 4.1
    assert result.stats["clean_s"] == pytest.approx(rested_s)
    assert "nothing of the faults was left" in result.reason


def test_what_is_never_gone_is_marked() -> None:
    result, rested_s = watched(99.0)
    assert result is not None and rested_s == 30.0 and result.stats["clean_s"] is None
    assert "BEYOND the bound" in result.reason
    assert beyond_bounds([result]) == ["30 s after healing there was still: an intent of t1"]


def test_where_nothing_can_be_seen_nothing_is_said() -> None:
    assert watched(None) == (None, 2.0)


def test_late_returns_are_said() -> None:
    late = Result("recovery", Verdict.VALID, stats={"bound_s": 20.0, "beyond": 2})
    assert beyond_bounds([late]) == [
        "2 times nothing was answered within 20 s of a healing, as declared"
    ]
    assert beyond_bounds([Result("recovery", Verdict.VALID, stats={"bound_s": 20.0})]) == []


def test_a_run_of_role_data_has_both_measures_in_its_results(tmp_path: Path) -> None:
    spec = TestSpec(
        env="sim", db="reference", workload="ownership", nodes=("n1", "n2", "n3", "n4", "n5"),
        store=str(tmp_path), quiet=True, no_report=True, seed=1, nemesis=("kill",),
        time_limit_s=3.0, rate_hz=60.0, nemesis_interval_s=1.0,
        db_options={"role": "data", "clock_bound_ms": 10.0},
    )  # fmt: skip
    outcome = run(spec, say=lambda line: None)
    told = json.loads((outcome.run_dir / "results.json").read_text())["results"]
    found = {each["checker"]: each["stats"] for each in told}
    assert found["recovery"]["bound_s"] == 20.0 and found["recovery"]["beyond"] == 0
    assert {row["judged"] for row in found["recovery"]["recoveries"]} == {"within"}
    assert any(row["groups"] for row in found["recovery"]["recoveries"])
    assert found["leftovers"]["bound_s"] == 30.0 and found["leftovers"]["clean_s"] < 30.0


def test_terminal_results_and_page_count_the_faults_that_bit(tmp_path: Path) -> None:
    """Clocks are set while their nodes are down: such a fault moves nothing that runs."""
    spec = TestSpec(
        env="sim", db="reference", workload="register", nodes=("n1", "n2", "n3"),
        store=str(tmp_path), seed=5, nemesis=("kill", "clock"),
        time_limit_s=6.0, rate_hz=40.0, nemesis_interval_s=0.4,
    )  # fmt: skip
    said: list[str] = []
    outcome = run(spec, say=said.append)
    results = json.loads((outcome.run_dir / "results.json").read_text())
    healed = [fault for fault in results["faults"] if fault["end_ns"] >= 0]
    bit = [fault["id"] for fault in healed if fault["evidence"].get("bit")]
    assert 1 < len(bit) < len(healed), "some bit and some did not, or nothing is tested"
    found = {each["checker"]: each for each in results["results"]}
    measured = found["recovery"]
    assert [row["fault"] for row in measured["stats"]["recoveries"]] == bit
    count = f"after {len(bit)} healed faults"
    assert measured["reason"].startswith(count) and count in " ".join(" ".join(said).split())
    page = (outcome.run_dir / "report.html").read_text()
    assert count in page and f"of {len(bit)} healings" in page
