"""Checkers as functions: composing, crashing, mistakes; stats, availability and recovery."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from lin_histories import history_of

from checkers import (
    Budget,
    Checker,
    Fault,
    History,
    Result,
    Verdict,
    checker,
    linearizable,
    models,
    named,
)
from checkers.core.witness import sub_history, table
from checkers.judges.availability import availability
from checkers.judges.recovery import recovery
from checkers.judges.stats import stats

ONE = history_of([("invoke", 0, "write", 1), ("ok", 0, "write", 1)])


@checker
def always_valid(history: History) -> Verdict:
    """Says valid."""
    return Verdict.VALID


def test_a_plain_function_becomes_a_checker() -> None:
    assert isinstance(always_valid, Checker)
    assert always_valid.name == "always-valid"
    assert always_valid.__doc__ == "Says valid."
    result = always_valid(ONE)
    assert (result.checker, result.verdict) == ("always-valid", Verdict.VALID)
    assert result.elapsed_s > 0 and result.budget["time_s"] == 60.0


def test_a_checker_may_take_the_budget_and_have_a_name() -> None:
    @checker(name="spender")
    def spend(history: History, *, budget: Budget) -> Result:
        return Result(checker="", verdict=Verdict.VALID, stats={"time_s": budget.time_s})

    result = spend(ONE, budget=Budget(time_s=3.0))
    assert (result.checker, result.stats) == ("spender", {"time_s": 3.0})


def test_and_merges_by_the_lattice_and_flattens() -> None:
    doubt = named("doubt", lambda history: Verdict.UNKNOWN)
    broken = named("broken", lambda history: Verdict.INVALID)
    both = always_valid & doubt & broken
    assert both.name == "always-valid & doubt & broken"
    result = both(ONE)
    assert result.verdict is Verdict.INVALID
    assert [part.checker for part in result.parts] == ["always-valid", "doubt", "broken"]
    assert (always_valid & doubt)(ONE).verdict is Verdict.UNKNOWN
    assert (lambda history: Verdict.INVALID) & always_valid  # a plain function on the left


def test_parts_share_one_time_budget() -> None:
    given: list[Any] = []

    def look(history: History, *, budget: Budget) -> Verdict:
        given.append(budget.time_s)
        return Verdict.VALID

    (named("a", look) & named("b", look))(ONE, budget=Budget(time_s=5.0))
    assert 0 < given[1] < given[0] <= 5.0


def test_a_crash_is_doubt_with_the_reason_and_the_traceback() -> None:
    @checker
    def buggy(history: History) -> Verdict:
        raise KeyError("key x")

    result = buggy(ONE)
    assert result.verdict is Verdict.UNKNOWN
    assert result.reason == "checker 'buggy' raised KeyError: 'key x'"
    assert 'raise KeyError("key x")' in result.stats["traceback"]


@pytest.mark.parametrize(
    ("said", "guess"),
    [
        (None, "is a return missing?"),
        (True, "did you mean Verdict.VALID?"),
        (False, "did you mean Verdict.INVALID?"),
        ("valid", "return Verdict.VALID"),
    ],
)
def test_what_is_no_verdict_is_said_so(said: Any, guess: str) -> None:
    result = named("odd", lambda history: said)(ONE)
    assert result.verdict is Verdict.UNKNOWN
    assert repr(said) in result.reason and guess in result.reason


def test_what_cannot_be_a_checker_is_refused() -> None:
    async def waits(history: History) -> Verdict:
        return Verdict.VALID

    with pytest.raises(TypeError, match="plain one"):
        checker(waits)
    with pytest.raises(TypeError, match="did you call it"):
        checker(Verdict.VALID)  # type: ignore[call-overload]


def test_a_model_that_does_not_fit_is_doubt_with_a_sentence() -> None:
    result = linearizable(models.mutex())(ONE)
    assert result.verdict is Verdict.UNKNOWN
    assert "operation 'write', which model 'mutex' does not know" in result.reason


def test_results_are_json_ready() -> None:
    rows = [("invoke", 0, "write", 1), ("ok", 0, "write", 1)]
    rows += [("invoke", 1, "read", None), ("ok", 1, "read", 2)]
    both = linearizable(models.register()) & stats() & availability()
    result = both(history_of(rows))
    again = msgspec.json.decode(msgspec.json.encode(result), type=Result)
    assert again.verdict is Verdict.INVALID


def test_the_sentence_names_processes_values_times_and_the_fault() -> None:
    rows = [("invoke", 3, "write", 1), ("ok", 3, "write", 1)]
    rows += [("invoke", 3, "write", 2), ("ok", 3, "write", 2)]
    rows += [("invoke", 7, "read", None), ("ok", 7, "read", 1)]
    history = history_of(rows, keys=["x"] * 6)
    groups = [["n1"], ["n2", "n3"]]
    history.faults.append(Fault(id=1, f="partition", begin_ns=0, end_ns=10**9, value=groups))
    result = linearizable(models.register())(history)
    (finding,) = result.findings
    assert finding.sentence == (
        "Key x: after process 3's write of 2 completed (t=0.003 s), process 7 read 1 "
        "(t=0.005 s) during partition {n1} | {n2,n3}."
    )
    assert finding.ops == (0, 2, 4)
    assert [(b.kind, b.target, b.state) for b in finding.because] == [
        ("step", 0, "1"),
        ("step", 2, "2"),
        ("stuck", 4, "2"),
    ]
    assert finding.because[-1].text == "read returned 1, but the state is 2"
    assert sub_history(history, finding).op_count == 3
    assert table(history, finding) == (
        "event   process 3     | process 7\n"
        "-----------------------------------\n"
        "     0  [ x: write(1) |\n"
        "     1  ] ok          |\n"
        "     2  [ x: write(2) |\n"
        "     3  ] ok          |\n"
        "     4                | [ x: read()\n"
        "     5                | ] 1\n"
    )


def test_stats_counts_and_asks_for_evidence() -> None:
    rows = [("invoke", 0, "write", 1), ("ok", 0, "write", 1)]
    rows += [("invoke", 0, "write", 2), ("info", 0, "write", 2)]
    result = stats()(history_of(rows))
    assert result.verdict is Verdict.VALID
    assert result.stats["by_f"] == {"write": {"ok": 1, "fail": 0, "info": 1}}
    rows += [("invoke", 1, "read", None), ("fail", 1, "read", None)]
    result = stats()(history_of(rows))
    assert result.verdict is Verdict.UNKNOWN
    assert "none of 1 'read' operations completed ok" in result.reason
    assert stats(needs=["read"])(ONE).reason.startswith("no 'read' was invoked")
    assert stats()(history_of([])).verdict is Verdict.UNKNOWN


def _outage() -> History:
    """Reads every millisecond; from 10 ms to 20 ms they fail; the fault heals at 18 ms."""
    rows: list[Any] = []
    for at in range(15):
        outcome = "fail" if 5 <= at < 10 else "ok"
        rows += [("invoke", 0, "read", None), (outcome, 0, "read", None)]
    history = history_of(rows)
    history.faults.append(Fault(id=4, f="kill", begin_ns=10_000_000, end_ns=18_000_000))
    return history


def test_availability_inside_and_outside_faults_and_the_longest_gap() -> None:
    result = availability()(_outage())
    assert result.verdict is Verdict.VALID
    shares = result.stats["ok_share"]
    assert (shares["all"], shares["during_faults"]) == (10 / 15, 0.0)
    assert shares["outside_faults"] == 10 / 11
    assert result.stats["longest_gap_s"] == pytest.approx(0.012)
    assert result.stats["longest_gap_at_s"] == pytest.approx(0.009)
    assert availability(at_least=0.95)(_outage()).verdict is Verdict.INVALID
    assert availability(at_least=0.9)(_outage()).verdict is Verdict.VALID
    assert availability()(history_of([])).verdict is Verdict.UNKNOWN
    with pytest.raises(ValueError, match="not per cent"):
        availability(at_least=95)


def test_recovery_counts_from_the_heal_to_an_answer_to_a_fresh_operation() -> None:
    result = recovery()(_outage())
    assert result.verdict is Verdict.VALID
    (row,) = result.stats["recoveries"]
    assert row == {
        "fault": 4, "f": "kill", "healed_at_s": 0.018, "returned_at_s": 0.021,
        "recovery_s": 0.003,
        "nodes": {},
        "nodes_at_s": {}, "groups": {},
    }  # fmt: skip
    assert recovery(within_s=0.001)(_outage()).verdict is Verdict.INVALID
    assert recovery()(ONE).verdict is Verdict.UNKNOWN


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, checkers; print('numpy' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
