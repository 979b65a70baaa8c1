"""`python -m cluster.client` for a newcomer: what each mistake is answered with, and exit codes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_node import fake_node
from processes import WITHIN_S, Cluster, eventually

from cluster.client.command_line import _call, _parser, _values, main
from cluster.client.session import Complete
from cluster.client.words import code_of, value_of
from cluster.config import ClusterConfig
from cluster.core.register_state import register_problem
from cluster.core.state_machine import StateMachine
from cluster.gossip.requests import group_problem
from cluster.leaderless.operations import KINDS
from cluster.runtime.options import OptionError
from cluster.wire import Command, Request, Response

#: a port on which nothing listens
NOWHERE = ["--timeout", "0.2", "--nodes", "n1=127.0.0.1:1"]


@pytest.mark.parametrize(
    ("status", "answered", "code"),
    [("ok", True, 0), ("fail", True, 1), ("fail", False, 3), ("unknown", False, 2)],
)
def test_an_outcome_has_its_exit_code(status: str, answered: bool, code: int) -> None:
    assert code_of(Complete(1, status, answered=answered)) == code


@pytest.mark.parametrize(
    "words",
    [
        ["get", "x"], ["put", "x", "1"], ["range", ""], ["txn", "{}"], ["watch", "x"],
        ["watch", "x", "--after", "7"], ["lease", "list"], ["lease", "grant", "5"],
        ["lock", "x", "--", "true"], ["elect", "x", "me", "--", "true"], ["member", "list"],
        ["transfer"], ["compact", "3"], ["snapshot", "save", "FILE"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_without_a_node_each_command_ends_with_3(words: list[str], tmp_path: Path) -> None:
    file = str(tmp_path / "keys")
    assert main([*NOWHERE, *(file if word == "FILE" else word for word in words)]) == 3
    assert list(tmp_path.iterdir()) == []


def test_without_an_admin_endpoint_status_ends_with_3() -> None:
    assert main(["--timeout", "0.2", "--admin", "127.0.0.1:1", "status"]) == 3


@pytest.mark.real
def test_what_is_no_admin_endpoint_or_wants_a_token_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Cluster(tmp_path, nodes=("n1",), token="secret-of-the-cluster") as cluster:
        for port, sentence in (
            (cluster.ports["n1"], "it does not speak HTTP"),
            (cluster.admins["n1"], "the cluster has a token: give --token-file FILE"),
        ):
            assert main(["--timeout", "60", "--admin", f"127.0.0.1:{port}", "status"]) == 3
            told = json.loads(capsys.readouterr().out)
            assert told["admin"] == f"127.0.0.1:{port}" and sentence in told["error"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "the following arguments are required: COMMAND; see python -m cluster.client --help"),
        (["putt", "x", "1"], "there is no 'putt' here; did you mean put?"),
        (["lease", "grand", "5"], "there is no 'grand' here; did you mean grant?"),
        (["get", "x", "--mode", "linear"], "there is no 'linear' here; "),
        (["range", "x", "--min-revision", "4"], "--min-revision is of --mode session, and --mode"),
        (["get", "x", "--min-revision", "-4"], "'-4' is no revision, 0 or above"),
        (["get", "x", "--revision", "0"], "'0' is no revision, 1 or above"),
        (["get", "x", "--revision", "9" * 5000], "is no revision, 1 or above"),
        (["range", "x", "--revision", "-1"], "'-1' is no revision, 1 or above"),
        (["range", "x", "--limit", "0"], "'0' is no limit, 1 or above"),
        (["compact", "0"], "'0' is no revision, 1 or above"),
        (["watch", "x", "--after", "-1"], "'-1' is no revision, 0 or above"),
        (["watch", "x", "--events", "-1"], "'-1' is no number of events, 0 or above"),
        (["lease", "grant", "1e9"], "'1e9' is no number of seconds, 0 or above, and below 1000"),
        (["txn", '{"then": [["put", "x", NaN]]}'], "NaN is no finite number"),
        (["lease"], "the following arguments are required: WORD; see"),
        (["lock"], "the following arguments are required: NAME; see "),
        (["lock", "job", "--"], "lock: nothing comes after --, where a command should be"),
        (["lease", "grant", "nan"], "'nan' is no number of seconds, 0 or above"),
        (["lock", "job", "--ttl", "-1"], "'-1' is no number of seconds, 0 or above"),
        (["--timeout", "-1", "get", "x"], "'-1' is no number of seconds, 0 or above"),
        (["get", "x", "--staleness", "inf"], "'inf' is no number of seconds, 0 or above"),
        (["--cluster", "\udcff", "get", "x"], "'\\udcff' is no Unicode text"),
        (["status"], "status needs --admin HOST:PORT"),
        (["snapshot", "restore", "/nowhere/keys"], "/nowhere/keys cannot be read: No such file"),
        (["txn", "[]"], "txn takes a JSON object, not '[]'"),
        (["get", "x", "--node", "n9"], "--node 'n9' is not in --nodes n1"),
    ],
)
def test_a_mistake_is_one_sentence_and_254(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*NOWHERE, *words]) == 254
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and not said.out


def test_what_could_not_be_written_as_json_again_is_a_string() -> None:
    for text in ("NaN", "-Infinity", "1e999", '{"x": NaN}', "[1, -1e400]", "word", "{"):
        assert value_of(text) == text
    for text, value in (
        ("1e3", 1000.0),
        ("-0.5", -0.5),
        ('"NaN"', "NaN"),
        ("[1, null]", [1, None]),
    ):
        assert value_of(text) == value


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["put", "x", "9" * 30], "an integer outside of -2^63 to 2^64 - 1"),
        (["txn", f'{{"then": [["put", "x", {"9" * 30}]]}}'], "an integer outside"),
        (["get", "\udcff"], "'\\udcff'"),
        (["put", "x", '"\\ud800"'], "'\\ud800'"),
        (["put", "x", "y" * 10_000_000], "the most is"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_need_not_be_tried_again(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*NOWHERE, *words]) == 1
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert "was not sent" in error and why in error and not said.err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    for word in ("examples:", "lock nightly-job -- ./job.sh", "Exit codes: 0 ok; 1 refused"):
        assert word in told


@pytest.mark.real
def test_a_lock_without_a_command_says_how_to_end_it(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        cluster.leader()
        nodes = ",".join(f"{n}={a}" for n, a in cluster.addresses.items())
        client = [sys.executable, "-m", "cluster.client", "--timeout", "60", "--nodes", nodes]

        def holders() -> int:
            asked = [*client, "range", "lock/", "--count-only"]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=WITHIN_S)
            return done.stdout.count('"count": 1')

        lock = [*client, "lock", "job", "--ttl", "60"]
        holder = subprocess.Popen(
            lock,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background of a script has the signal ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert holder.stdout is not None and holder.stderr is not None
        assert '"token"' in holder.stdout.readline()
        said = holder.stderr.readline()
        assert "held until you interrupt this (Ctrl-C)" in said and "-- COMMAND" in said
        assert holders() == 1
        holder.send_signal(2)
        assert holder.wait(WITHIN_S) == 130
        assert holder.stderr.read() == ""
        eventually("the lock is free", lambda: holders() == 0)
        failing = [*lock, "--", "sh", "-c", "kill -9 $$"]
        assert subprocess.run(failing, capture_output=True, timeout=WITHIN_S).returncode == 137
        missing = subprocess.run([*lock, "--", "/no/such"], capture_output=True, text=True)
        assert missing.returncode == 254 and "'/no/such' cannot be run" in missing.stderr
        eventually("the lock is free", lambda: holders() == 0)


@pytest.mark.real
def test_a_watch_begins_now_unless_it_is_told_when(tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=("n1",)) as cluster:
        cluster.leader()
        nodes = ",".join(f"{n}={a}" for n, a in cluster.addresses.items())
        client = [sys.executable, "-m", "cluster.client", "--timeout", "60", "--nodes", nodes]
        subprocess.run([*client, "put", "w", "1"], check=True, capture_output=True)
        watch = [*client, "watch", "w", "--events", "1"]
        told = subprocess.run([*watch, "--after", "0"], capture_output=True, text=True)
        assert '"value": 1' in told.stdout
        watching = subprocess.Popen(watch, stdout=subprocess.PIPE, text=True)
        ends_s = time.monotonic() + WITHIN_S
        value = 1
        while watching.poll() is None and time.monotonic() < ends_s:
            value += 1  # again until the watch has begun
            subprocess.run([*client, "put", "w", str(value)], check=True, capture_output=True)
        seen = watching.communicate()[0]
        assert '"type": "put"' in seen and '"value": 1,' not in seen


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([], ""),
        (["--after", "7"], ""),
        (["--after", "9"], "watch w: the newest revision is 7; changes are shown from revision 10"),
    ],
)
def test_a_watch_after_a_revision_that_is_not_there_yet_says_so_and_waits(
    after: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def core(request: Request) -> Response:
        if request.command.op == "get":
            return Response(request.id, "ok", None, 7)
        told.append(capsys.readouterr().err)
        begins = request.command.args[0]["after"]
        change = {"type": "put", "key": "w", "revision": begins + 1}
        return Response(request.id, "ok", {"events": [change], "revision": begins + 1}, 99)

    async def main() -> int:
        async with fake_node(core) as address:
            words = ["--nodes", f"n1={address}", "--timeout", "60", "watch", "w", "--events", "1"]
            return await _call(_parser().parse_args([*words, *after]))

    assert asyncio.run(main()) == 0
    (at_once,) = told
    assert said in at_once and at_once.count("\n") == bool(said)
    assert json.loads(capsys.readouterr().out)["revision"] == (10 if said else 8)


def test_an_interruption_while_modules_are_imported_is_no_traceback() -> None:
    script = """
import os, runpy, signal, sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "cluster.client.session":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupted())
runpy.run_module("cluster.client", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WITHIN_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (-2, "", "")


@pytest.mark.parametrize("address", ["", "its own", "nowhere"])
def test_a_leader_that_joined_later_is_asked_at_the_address_that_it_joined_with(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    redirects: list[int] = []

    def leader(request: Request) -> Response:
        return Response(request.id, "ok", 1, 8)

    async def main() -> int:
        async with fake_node(leader) as at:
            joined_with = {"n4": at if address == "its own" else address}

            def follower(request: Request) -> Response:
                if request.command.op == "members":
                    return Response(request.id, "ok", {"addresses": joined_with}, 7)
                if request.command.op == "get":
                    return Response(request.id, "ok", None, 7)
                redirects.append(request.id)
                why = "n4 leads, n1 does not"
                return Response(request.id, "redirect", None, 7, "n4", why)

            async with fake_node(follower) as known:
                timeout = "60" if address == "its own" else "0.5"
                words = ["--nodes", f"n1={known}", "--timeout", timeout, "put", "x", "1"]
                return await _call(_parser().parse_args(words))

    code = asyncio.run(main())
    told = json.loads(capsys.readouterr().out)
    if address == "its own":
        assert (code, told["status"], told["node"], len(redirects)) == (0, "ok", "n4", 1)
    else:
        assert code == 3 and "timed out: n4 leads, n1 does not" in told["error"]
        # An address that is none is forgotten once it was tried, and asked for anew: whether it is
        # known when the time is over depends on the moment.
        assert address or "--nodes n4=HOST:PORT" in told["error"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["put", "x", "7"], (7,)),
        (["put", "x", "7", "--context", "91"], (7, "91")),
        (["delete", "x"], ()),
        (["delete", "x", "--context", "91"], ("91",)),
    ],
)
def test_a_write_to_a_leaderless_store_says_what_its_reader_saw(
    words: list[str], values: tuple[object, ...]
) -> None:
    assert _values(_parser().parse_args([*NOWHERE, *words])) == values


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["set-add", "s", "red"], ("set-add", "red")),
        (["set-add", "s", "[1, 2]"], ("set-add", [1, 2])),
        (["set-remove", "s", "red"], ("set-remove", "red")),
        (["set-read", "s"], ("set-read",)),
        (["counter-add", "c"], ("counter-incr", 1)),
        (["counter-add", "c", "-5"], ("counter-incr", -5)),
        (["counter-read", "c"], ("counter-read",)),
    ],
)
def test_words_of_sets_and_counters_are_operations_of_leaderless_nodes(
    words: list[str], command: tuple[object, ...]
) -> None:
    given = _parser().parse_args([*NOWHERE, *words])
    (op, *args), node = command, given.node
    client = Answering(Complete(1, "ok", answered=True))
    assert asyncio.run(given.carry(client, given)) == 0
    assert client.asked == (Command(str(op), words[1], tuple(args)), "linearizable", node)
    assert op in KINDS
    given = _parser().parse_args([*NOWHERE, *words, "--mode", "one", "--node", "n2"])
    asyncio.run(given.carry(client, given))
    assert client.asked[1:] == ("one", "n2")


@pytest.mark.parametrize(
    "refusal",
    [
        StateMachine(ClusterConfig()).problem(Command("set-add", "s", (1,))),
        register_problem(Command("set-add", "s", (1,))),
        group_problem(Command("set-add", "s", (1,))),
    ],
)
def test_nodes_of_other_roles_refuse_sets_and_counters_in_one_sentence(
    refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = _parser().parse_args([*NOWHERE, "set-add", "s", "1"])
    client = Answering(Complete(1, "fail", error=refusal, node="n1", answered=True))
    assert asyncio.run(given.carry(client, given)) == 1
    assert json.loads(capsys.readouterr().out)["error"] == (
        "n1 is of no leaderless cluster: only nodes of role leaderless have sets and counters that "
        "merge"
    )


@pytest.mark.parametrize("words", [["many"], ["1.5"], ["--5"], ["9223372036854775808"], [""]])
def test_an_amount_is_a_whole_number_of_64_bits(words: list[str]) -> None:
    with pytest.raises(OptionError):
        _parser().parse_args([*NOWHERE, "counter-add", "c", *words])


class Answering:
    """A client that gives one answer, and remembers what it was asked."""

    def __init__(self, answer: Complete) -> None:
        self.answer = answer
        self.asked: tuple[object, ...] = ()

    async def call(self, command: Command, *, mode: str, node: str) -> Complete:
        self.asked = (command, mode, node)
        return self.answer
