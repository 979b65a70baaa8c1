"""Every read mode of the reference cluster keeps what it promises, and is checked by that."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from checkers.checker_choice import choose
from checkers.core.verdict import Verdict
from checkers.history import load
from checkers.judges.staleness import bounded_staleness
from harness.databases.reference import READ_MODES, STALENESS_S, Reference
from harness.errors import UsageError
from harness.runner import RunOutcome, run
from harness.spec import TestSpec

FAULTS = ("partition", "kill", "pause")


def ran(
    tmp_path: Path,
    mode: str,
    *,
    workload: str = "register",
    nemesis: tuple[str, ...] = FAULTS,
    **options: Any,
) -> RunOutcome:
    spec = TestSpec(
        db="reference", env="sim", workload=workload, db_options={"read_mode": mode, **options},
        nemesis=nemesis, nemesis_interval_s=0.8, time_limit_s=3.0, seed=4, store=str(tmp_path),
        quiet=True, no_report=True,
    )  # fmt: skip
    return run(spec, say=lambda line: None)


def result_of(done: RunOutcome, checker: str) -> Any:
    return next(result for result in done.results if result.checker == checker)


@pytest.mark.parametrize("mode", READ_MODES)
def test_a_mode_keeps_its_promise_under_faults(mode: str, tmp_path: Path) -> None:
    done = ran(tmp_path, mode)
    assert done.verdict is Verdict.VALID, done.sentence
    strong = mode in ("linearizable", "lease", "follower")
    assert result_of(done, "linearizable" if strong else "bounded-staleness")


def test_sessions_keep_theirs(tmp_path: Path) -> None:
    done = ran(tmp_path, "session", workload="sessions")
    assert done.verdict is Verdict.VALID, done.sentence


def test_a_smaller_bound_than_the_clusters_is_refuted_by_the_same_run(tmp_path: Path) -> None:
    """So the reads of the run were old, and the verdict is about that."""
    done = ran(tmp_path, "bounded", nemesis=("partition",), staleness_s=0.4)
    assert done.verdict is Verdict.VALID, done.sentence
    oldest_s = result_of(done, "bounded-staleness").stats["oldest_s"]
    assert 0.1 < oldest_s <= 0.4
    history = load(done.run_dir / "history.jsonl")
    assert history.header["staleness_s"] == 0.4
    assert choose(history)(history).verdict is Verdict.VALID
    assert bounded_staleness(bound_s=oldest_s / 2)(history).verdict is Verdict.INVALID


def test_the_claim_follows_the_mode() -> None:
    within = {mode: Reference(read_mode=mode).reads_within_s for mode in READ_MODES}
    assert within == {
        "linearizable": 0, "lease": 0, "follower": 0,
        "session": math.inf, "bounded": STALENESS_S, "stale": math.inf,
    }  # fmt: skip
    assert Reference(read_mode="bounded", staleness_s=0.25).reads_within_s == 0.25
    assert Reference(objects="siblings", consistency="one").reads_within_s == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"read_mode": "stale", "staleness_s": 1}, "reads of mode 'stale' have no bound"),
        ({"staleness_s": 1}, "staleness_s is 1, and reads of mode 'linearizable'"),
        ({"read_mode": "bounded", "staleness_s": 0}, "staleness_s is 0; it should be above 0"),
        ({"read_mode": "bound"}, "bounded"),
    ],
)
def test_a_bound_that_means_nothing_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Reference(**options)
