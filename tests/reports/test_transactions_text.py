"""The terminal says who T1 and T2 are, and which micro-operations decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkers.core.verdict import Verdict
from checkers.history import load
from checkers.isolation import list_append
from harness.cli import main
from reports.transactions_text import named_transactions, names_of, proofs

READ_SKEW = """\
{:type :invoke, :process 7, :f :txn, :value [[:append :x 1] [:append :z 9]], :index 0}
{:type :ok, :process 7, :f :txn, :value [[:append :x 1] [:append :z 9]], :index 1}
{:type :invoke, :process 8, :f :txn, :value [[:append :x 2] [:append :y 1]], :index 2}
{:type :ok, :process 8, :f :txn, :value [[:append :x 2] [:append :y 1]], :index 3}
{:type :invoke, :process 9, :f :txn, :value [[:r :x nil] [:r :y nil]], :index 4}
{:type :ok, :process 9, :f :txn, :value [[:r :x [1]] [:r :y [1]]], :index 5}
{:type :invoke, :process 7, :f :txn, :value [[:r :x nil]], :index 6}
{:type :ok, :process 7, :f :txn, :value [[:r :x [1 2]]], :index 7}
"""


@pytest.fixture
def skew(tmp_path: Path) -> Path:
    """A history in which process 9 saw half of process 8's transaction."""
    path = tmp_path / "skew.edn"
    path.write_text(READ_SKEW)
    return path


def test_each_transaction_has_its_process_and_what_decides(skew: Path) -> None:
    history = load(skew)
    result = list_append()(history)
    assert result.verdict is Verdict.INVALID
    finding = result.all_findings()[0]
    ops = [op for op in history.ops() if op.invoke in finding.ops]
    by_process = {line.split(": ")[0].split(" = ")[1]: line for line in
                  named_transactions(finding, ops)}  # fmt: skip
    assert set(by_process) == {"process 8", "process 9"}
    assert "append x 2, append y 1" in by_process["process 8"]
    assert "r x -> [1], r y -> [1]" in by_process["process 9"]
    assert sorted(names_of(finding).values()) == ["T1", "T2"]
    assert proofs(finding) == ["the longest read of key 'x' was [1, 2] (event 6)"]


def test_the_command_shows_them(skew: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(skew), "-m", "list-append"]) == 1
    said = capsys.readouterr().out
    assert "= process 8: append x 2, append y 1" in said
    assert "proof: the longest read of key 'x' was [1, 2]" in said
    assert "[ T1" in said and "[ T2" in said
    assert max(map(len, said.splitlines())) <= 80 or str(skew) in said


def test_only_the_keys_concerned_are_shown_and_long_lists_around_the_element() -> None:
    from checkers.core.verdict import Because, Finding

    micros = [["append", f"k{n}", n] for n in range(20)] + [["r", "x", list(range(100))]]
    finding = Finding(
        kind="G1c",
        title="",
        sentence="",
        because=(Because("wr", key="x", value=50),),
        detail={"transactions": [{"name": "T1", "invoke": 0, "ops": micros}]},
    )
    assert named_transactions(finding, []) == ["T1 = r x -> [... 49 50 51 ... 98 99] (and 20 more)"]
    assert named_transactions(Finding(kind="x", title="", sentence=""), []) == []
