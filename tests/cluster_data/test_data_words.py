"""The words of ``python -m cluster.client`` for a data cluster. Goal: each word asks what it says,
of the node that it concerns, and what goes wrong is one sentence. Method: the command line's own
parser, and a client that answers as it is told."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from cluster.client.command_line import _parser, main
from cluster.client.data_words import (
    explained,
    node_of,
    parse_operation,
    parse_operations,
)
from cluster.client.session import Complete
from cluster.runtime.options import OptionError
from cluster.wire import Command

LEVEL = {"isolation": "strict-serializable"}


class Told:
    """A client that answers as it is told, and remembers what it was asked."""

    def __init__(self, *answers: Complete) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Command, str]] = []

    async def call(self, command: Command, *, node: str = "") -> Complete:
        self.asked.append((command, node))
        return self.answers.pop(0) if self.answers else Complete(1, "ok", node="n1")


def do(client: Told, *words: str) -> int:
    given = _parser().parse_args(["--nodes", "n1=127.0.0.1:1", *words])
    code: int = asyncio.run(given.carry(client, given))
    return code


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("read x", ["r", "x", None]),
        ('  read "a key" ', ["r", "a key", None]),
        ('write x {"a": [1, 2]}', ["w", "x", {"a": [1, 2]}]),
        ("write x some words", ["w", "x", "some words"]),
        ("append log 7", ["append", "log", 7]),
        ("delete x", ["w", "x", None]),
        ("scan a b", ["scan", ["a", "b"], None]),
        ("scan a", ["scan", ["a", None], None]),
    ],
)
def test_an_operation_is_a_line(line: str, made: list[Any]) -> None:
    assert parse_operation(line) == made


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("look x", "'look x' is no operation; there are read, write, append, delete, scan"),
        ("read", "'read' is too short"),
        ("read x y", "goes on with 'y': it should be read KEY"),
        ("write x", "has no VALUE: it should be write KEY VALUE"),
        ("append log", "has no ITEM"),
        ("scan a b c", "goes on with 'c': it should be scan LOW HIGH"),
        ('read "a', "is no JSON string"),
    ],
)
def test_what_is_no_operation_is_said(line: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse_operation(line)


def test_operations_are_lines_or_one_list() -> None:
    lines = parse_operations(["read x", "", "append log 7"])
    assert lines == [["r", "x", None], ["append", "log", 7]]
    assert parse_operations(['[["r", "x", null]]']) == [["r", "x", None]]
    for texts, said in ((["", " "], "no operations"), (['["r"'], "no JSON list"), (["[1]"], "no")):
        with pytest.raises(OptionError, match=said):
            parse_operations(texts)


def test_a_transaction_runs_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Told()
    assert do(client, "data", "run", "--node", "n1", "read x", "write y 2") == 0
    operations = [["r", "x", None], ["w", "y", 2]]
    assert client.asked == [(Command("txn-run", "", (operations, LEVEL)), "n1")]
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    monkeypatch.setattr("sys.stdin", io.StringIO("scan a b\nread c\n"))
    staleness = ["--staleness", "1.5", "--isolation", "read-committed"]
    assert do(client, "data", "run", *staleness, "-") == 0
    options = {"isolation": "read-committed", "staleness_ns": 1_500_000_000}
    assert client.asked[1][0].args == ([["scan", ["a", "b"], None], ["r", "c", None]], options)
    for words, said in (
        (["--staleness", "-1", "read x"], "--staleness is -1"),
        (['[["r", "x"]]'], r"\['r', 'x'\] is no operation: it should be \[kind, key, value\]"),
    ):
        with pytest.raises(OptionError, match=said):
            do(client, "data", "run", *words)


def test_steps_go_to_the_node_where_the_transaction_lives() -> None:
    client = Told()
    assert do(client, "data", "begin") == 0
    assert client.asked.pop() == (Command("txn-begin", "", (LEVEL,)), "")
    for words, command in (
        (["read", "n4.5f.7", "x"], Command("txn-read", "n4.5f.7", ("x",))),
        (["write", "n4.5f.7", "x", "[1]"], Command("txn-write", "n4.5f.7", ("x", [1]))),
        (["append", "n4.5f.7", "x", "a"], Command("txn-append", "n4.5f.7", ("x", "a"))),
        (["delete", "n4.5f.7", "x"], Command("txn-write", "n4.5f.7", ("x", None))),
        (["scan", "n4.5f.7", "a"], Command("txn-scan", "n4.5f.7", ("a", None))),
        (["scan", "n4.5f.7", "a", "b"], Command("txn-scan", "n4.5f.7", ("a", "b"))),
        (["commit", "n4.5f.7"], Command("txn-commit", "n4.5f.7")),
        (["abort", "n4.5f.7"], Command("txn-abort", "n4.5f.7")),
    ):
        assert do(client, "data", *words) == 0
        assert client.asked.pop() == (command, "n4")
    assert node_of("db.east.5f.7") == "db.east"
    for text in ("n4", "n4.7", "x"):
        with pytest.raises(OptionError, match="is no transaction; `data begin` prints one"):
            node_of(text)


RUN, COMMIT, READ = (Command(f"txn-{op}", "n1.a.1") for op in ("run", "commit", "read"))
MOVE = Command("partition-move", "p9", ("g-n1",))


@pytest.mark.parametrize(
    ("command", "status", "error", "said"),
    [
        (COMMIT, "fail", "'k0' has changed since it was read",
         "aborted: 'k0' has changed since it was read"),
        (RUN, "fail", "stale-epoch: p1 is at epoch 3, not 2",
         "aborted: a partition has changed since the node read the map, so try again "
         "(stale-epoch: p1 is at epoch 3, not 2)"),
        (RUN, "fail", "frozen: p1 moves to another group",
         "aborted: p1 moves to another group just now, so try again"),
        (RUN, "unknown", "n1 did not answer",
         "it is not known whether it committed: n1 did not answer"),
        (READ, "unknown", "n1 did not answer",
         "it is not known whether the step was taken: n1 did not answer"),
        (READ, "fail", "there is no transaction 'n1.a.1' here",
         "n1 has no transaction 'n1.a.1': it has ended, was given up after its time to live, or "
         "began before the node did"),
        (MOVE, "fail", "there is no partition 'p9'", "there is no partition 'p9'"),
        (MOVE, "fail", "there is no operation 'partition-move'; known are get",
         "n1 is of no data cluster: only nodes of role data carry partitions, and transactions "
         "over them"),
        (RUN, "fail", "a node of role gossip has no operation 'txn-run': act",
         "n1 is of no data cluster: only nodes of role data carry partitions, and transactions "
         "over them"),
        (RUN, "ok", "", ""),
    ],
)  # fmt: skip
def test_what_went_wrong_is_one_sentence(
    command: Command, status: str, error: str, said: str
) -> None:
    done = Complete(1, status, error=error, node="n1", answered=status != "unknown")
    assert explained(done, command).error == said


@pytest.mark.parametrize(
    ("command", "said"),
    [(RUN, "it did not commit"), (COMMIT, "it did not commit"), (READ, "the step was not taken")],
)
def test_what_no_node_was_asked_is_not_called_aborted(command: Command, said: str) -> None:
    why = "timed out: n1 at 127.0.0.1:1: connection refused"
    assert explained(Complete(1, "fail", error=why), command).error == f"{said}: {why}"


def test_partitions_are_a_line_each_and_are_moved_split_and_merged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"id": "p0", "scheme": "slots", "low": 0, "high": 1, "group": "g-n1", "epoch": 2,
           "state": "owned", "other": "", "at": "", "request": "", "pinned": False,
           "leader": "n2"}  # fmt: skip
    first = {**row, "scheme": "ranges", "low": "", "high": None, "leader": ""}
    client = Told(Complete(1, "ok", {"revision": 3, "partitions": [row, first]}, node="n1"))
    assert do(client, "partitions", "--node", "n1") == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown[0] == {name: row[name] for name in ("id", "scheme", "low", "high", "group",
                                                     "epoch", "state", "leader")}  # fmt: skip
    assert shown[1]["low"] == "" and shown[1]["high"] is None and "leader" not in shown[1]
    client = Told()
    for words in (["move", "p0", "g-n2"], ["split", "k"], ["merge", "k"]):
        assert do(client, "partition", *words) == 0
    assert [(c.op, c.key, c.args) for c, _ in client.asked] == [
        ("partition-move", "p0", ("g-n2",)),
        ("partition-split", "k", ()),
        ("partition-merge", "k", ()),
    ]
    refused = Told(
        Complete(1, "fail", error="there is no partition 'p9'", node="n1", answered=True)
    )
    assert do(refused, "partition", "move", "p9", "g-n2") == 1


def test_the_shell_answers_each_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Complete(1, "ok", {"txn": "n2.a.1", "timestamp": 5}, node="n2")
    client = Told(
        Complete(1, "ok", [["r", "x", 3]], node="n1"),
        begun,
        Complete(1, "ok", [1], node="n2"),
        Complete(1, "fail", error="'x' has changed since it was read", node="n2", answered=True),
        begun,
    )
    lines = "read x\ncommit\n\nbegin\nbegin\nread y\nnonsense\ncommit\nbegin\nquit\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert do(client, "data", "shell") == 254
    assert capsys.readouterr().out.splitlines() == [
        "3",
        "error: commit: no transaction is open",
        '{"txn": "n2.a.1", "timestamp": 5}',
        "error: begin: n2.a.1 is open",
        "[1]",
        "error: 'nonsense' is no line of the shell; there are read, write, append, delete, scan, "
        "begin, commit, abort, quit",
        "fail: aborted: 'x' has changed since it was read",
        '{"txn": "n2.a.1", "timestamp": 5}',
        "n2.a.1 was not committed, and is given up",
    ]
    ops = [command.op for command, _ in client.asked]
    assert ops == ["txn-run", "txn-begin", "txn-read", "txn-commit", "txn-begin", "txn-abort"]
    assert [node for _, node in client.asked] == ["", "", "n2", "n2", "", "n2"]


def test_options_that_are_wrong_end_with_254(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = ["--nodes", "n1=127.0.0.1:1", "--timeout", "0.2"]
    for words, said in (
        (["data", "run", "look"], "'look' is no operation"),
        (["data", "read", "n9.a.1", "x"], "--nodes: there is no node 'n9' among n1"),
        (["data", "run", "--node", "n9", "read x"], "--node 'n9' is not in --nodes n1"),
        (["partition", "move", "p0"], "required: GROUP"),
    ):
        assert main([*nodes, *words]) == 254
        assert said in capsys.readouterr().err
