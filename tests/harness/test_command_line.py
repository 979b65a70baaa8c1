"""The command line: exit codes, one sentence per mistake, help for everything, quick to start."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli
from harness.errors import UsageError
from harness.spec import (
    TestSpec,
    command_line,
    parse_list,
    parse_nodes,
    parse_options,
    validated,
)
from reports.run_directory import read_run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def said(capsys, *words):
    code = cli.main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("test --nodes 0", "--nodes is 0; a test needs at least 1 node"),
        ("test --nodes -3", "--nodes is -3"),
        ("test --nodes n1,n1", "names 'n1' twice"),
        ("test --nodes a/b", "no name for a node"),
        ("test --time-limit -5", "--time-limit is -5"),
        ("test --time-limit nan", "--time-limit is nan"),
        ("test --rate 0", "--rate is 0"),
        ("test --concurrency 0", "a test needs at least 1 worker"),
        ("test --test-count 0", "--test-count is 0"),
        ("test --seed -1", "--seed is -1"),
        ("test --keys 0", "--keys is 0"),
        ("test --workload registre", "did you mean 'register'"),
        ("test --nemesis partiton", "did you mean 'partition'"),
        ("test --db referense", "did you mean 'reference'"),
        ("test --env sm", "did you mean 'sim'"),
        ("test --ablate A3O", "did you mean A3"),
        ("test --consensus zav", "did you mean 'zab'"),
        ("test --db-option x", "it should be name=value"),
        ("test --tim-limit 3", "--time-limit"),
        ("test --rate fast", "--rate"),
        ("tets", "test"),
        ("list nothing", "nothing"),
        ("check", "check needs a file"),
        ("check no-such-file", "there is no file 'no-such-file'"),
        ("report no-such-run", "there is no run at 'no-such-run'"),
        ("replay no-such-run", "there is no run at 'no-such-run'"),
        ("explore --seeds 0", "--seeds is 0"),
        ("test --env docker --db etcd", "--env-option image=bitnami/etcd"),
        ("test --env docker --db redis --nemesis kill", "--env-option image=redis"),
        ("test --db-option op_timeout_s=x", "op_timeout_s is 'x'; it should be a number"),
        ("test --db-option peer_port=1.5", "peer_port is 1.5; it should be a whole number"),
        ("test --db-option op_timeout_s=-1", "op_timeout_s is -1; it should be above 0"),
        ("test --consensus raftt", "did you mean 'raft'"),
        ("test --db-option consensus=zab", "a part of the run only; use --consensus"),
        ("test --env sim --db-option ablate=A30", "a part of the run only; use --ablate"),
        ("test --db-option versions=lww-wall", "only role leaderless has it"),
        ("test --db-option consistency=one", "only role leaderless has it"),
        ("test --workload-option rate_hz=x", "rate_hz is 'x'; it should be a number"),
        ("test --env sim --ablate A20", "it is for role core with consensus multi-paxos"),
        ("patterns --run A99", "A99"),
        ("patterns xyzzy", "`harness patterns` lists the patterns"),
        ("explore --role gossip --seeds 1 --workload append", "its clients ask the leader to act"),
        ("serve --store nowhere", "run a test first"),
    ],
)
def test_mistakes_are_one_sentence_and_254(capsys, words, sentence):
    code, _, err = said(capsys, *words.split())
    assert code == 254
    assert sentence in err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1
    assert not os.listdir(), "a mistake leaves nothing behind"


def test_no_arguments_show_help(capsys):
    code, out, _ = said(capsys)
    assert code == 0 and "Commands" in out


@pytest.mark.parametrize("command", ["", *cli._COMMANDS])
def test_every_command_has_help_with_examples(capsys, command):
    code, out, _ = said(capsys, *filter(None, [command]), "--help")
    assert code == 0
    assert "Examples:" in out and f"harness {command}".strip() in out


@pytest.mark.parametrize("kind", ["databases", "workloads", "nemeses", "environments", "ablations",
                                  "checkers", "models"])  # fmt: skip
def test_lists_are_names_one_a_line(capsys, kind):
    code, out, _ = said(capsys, "list", kind)
    names = out.split("\n")[:-1]
    assert code == 0 and names and all(name and " " not in name for name in names)


def test_list_alone_is_a_table(capsys):
    code, out, _ = said(capsys, "list")
    assert code == 0 and "register" in out and "partition" in out


def test_help_is_quick():
    """0.3 s is the promise, on a machine that starts Python itself in 20 ms.

    Processor time, and the least of some attempts, since other things run on this machine too.
    """

    def spent_s(*words):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    bare_s = min(spent_s("-c", "pass") for _ in range(3))
    assert min(spent_s("-m", "harness.cli", "--help") for _ in range(3)) < max(0.3, 15 * bare_s)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from harness.cli import main; main(['--help']); "
        "print([m for m in ('numpy','pandas','scipy','numba','docker','paramiko','jinja2',"
        "'asyncio') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.strip() in ("[]", "['asyncio']")


def test_exit_codes_follow_the_verdict(capsys):
    quick = ["--env", "sim", "--time-limit", "3", "--seed", "3", "-q", "--no-report"]
    assert said(capsys, "test", "--nemesis", "partition", *quick)[0] == 0
    code, out, _ = said(capsys, "test", "--nemesis", "pause", "--db", "sim_world:Lying", *quick)
    assert code == 1 and out.startswith("INVALID seed 3: ")
    assert said(capsys, "test", "--db", "atom", "--nemesis", "clock", *quick)[0] in (0, 2)


def test_seed_commit_and_command_come_first(capsys):
    _, out, _ = said(
        capsys, "test", "--db", "atom", "--env", "sim", "--time-limit", "1", "--no-report"
    )
    first = out.splitlines()[0]
    assert first.startswith("seed ") and "commit" in first and "harness test --db atom" in first


def test_a_store_named_relatively_is_read_as_it_was_written(capsys):
    words = ("test", "--env", "sim", "--time-limit", "2", "--seed", "3", "--nemesis", "partition")
    code, out, _ = said(capsys, *words)
    assert code == 0 and "VALID" in out and "NOT JUDGED" not in out and "missing" not in out
    run_dir = next(Path("store").glob("*/2*"))
    assert not read_run(run_dir).missing
    assert "VALID" in (run_dir / "report.html").read_text("utf-8")


def test_a_bug_is_255_with_a_log_and_no_traceback(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_dispatch", lambda words: 1 // 0)
    code, _, err = said(capsys, "test")
    assert code == 255 and "a bug in the harness" in err and "Traceback" not in err
    log = err.strip().splitlines()[-1].removeprefix("log: ")
    with open(log) as file:
        assert "ZeroDivisionError" in file.read()
    os.unlink(log)


# check --------------------------------------------------------------------------------------------

HEADER = '{"format":"history/1","test":"t","seed":1,"started":"","nodes":[],"model":"cas-register"}'


def write_history(*records, tail=""):
    with open("h.jsonl", "w") as file:
        file.write("\n".join([HEADER, *records]) + "\n" + tail)


def event(number, process, type, f, value):
    record = {"i": number, "t": number, "p": process, "type": type, "f": f, "k": "x", "v": value}
    return json.dumps(record)


def test_check_judges_histories(capsys):
    write_history(
        event(0, 0, "invoke", "write", 1), event(1, 0, "ok", "write", 1),
        event(2, 0, "invoke", "read", None), event(3, 0, "ok", "read", 1),
    )  # fmt: skip
    code, out, _ = said(capsys, "check", "h.jsonl")
    assert code == 0 and out.startswith("VALID") and "footer is missing" in out
    write_history(
        event(0, 0, "invoke", "write", 1), event(1, 0, "ok", "write", 1),
        event(2, 0, "invoke", "read", None), event(3, 0, "ok", "read", None),
    )  # fmt: skip
    code, out, _ = said(capsys, "check", "h.jsonl")
    assert code == 1 and out.startswith("INVALID")


def test_check_of_a_torn_history_says_so_and_judges_the_rest(capsys):
    write_history(
        event(0, 0, "invoke", "write", 1), event(1, 0, "ok", "write", 1),
        tail='{"i":2,"t":9,"p":0,"ty',
    )  # fmt: skip
    code, out, _ = said(capsys, "check", "h.jsonl", "--model", "cas-register")
    assert code in (0, 2) and "torn" in out


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([event(0, 0, "ok", "read", 1)], "has nothing invoked"),
        ([event(0, 0, "invoke", "read", None)] * 2, "doubled or out of order"),
        (["nonsense"], "no record of a history"),
    ],
)
def test_check_of_a_malformed_history_is_a_sentence(capsys, records, sentence):
    write_history(*records)
    code, out, err = said(capsys, "check", "h.jsonl")
    assert code == 254 and sentence in out + err and "Traceback" not in out + err


def test_check_of_no_history_is_a_sentence(capsys):
    with open("photo.jpg", "wb") as file:
        file.write(b"\xff\xd8\xff\xe0" * 50)
    code, out, err = said(capsys, "check", "photo.jpg")
    assert code == 254 and "no known history format" in out + err


# The spec and its command line --------------------------------------------------------------------


def test_the_command_line_of_a_spec_gives_the_spec_again():
    from harness.commands.test import spec_of

    spec = TestSpec(
        db="etcd", nemesis=("partition", "kill:n1+n2"), nodes=("a", "b"), time_limit_s=2.5, seed=4,
        workload_options={"cas": 0}, db_options={"path": "a b"}, rate_hz=50.0,
    )  # fmt: skip
    import shlex

    words = shlex.split(command_line(spec))[2:]
    given: dict[str, object] = {}
    fields = {
        "--time-limit": "time_limit_s",
        "--rate": "rate_hz",
        "--db-option": "db_options",
        "--workload-option": "workload_options",
    }
    for flag, value in zip(words[::2], words[1::2]):
        name = fields.get(flag, flag[2:].replace("-", "_"))
        if name.endswith("options"):
            given.setdefault(name, []).append(value)  # type: ignore[attr-defined]
        else:
            given[name] = float(value) if name.endswith(("_s", "_hz")) else value
    given["seed"] = int(str(given["seed"]))
    assert spec_of(given) == spec


def test_nodes_lists_and_options_are_read():
    assert parse_nodes("3") == ("n1", "n2", "n3") and parse_nodes("a, b") == ("a", "b")
    assert parse_list(["a,b", "c", "none", "a"]) == ("a", "b", "c")
    assert parse_options("--o", ["a=1", "b=x", "c-d=true", 'e=[1,"2"]', "f="]) == {
        "a": 1, "b": "x", "c_d": True, "e": [1, "2"], "f": "",
    }  # fmt: skip
    deep = "[" * 100_000
    assert parse_options("--o", ["a=1", "a=1"]) == {"a": 1}
    with pytest.raises(UsageError, match="--o gives a twice: 1 and 'x'"):
        parse_options("--o", ["a=1", "a=x"])
    assert parse_options("--o", ["a=\udcff", f"b={deep}"]) == {"a": "\udcff", "b": deep}
    with pytest.raises(UsageError):
        parse_nodes("1000")


def test_a_store_whose_name_is_no_text_is_a_sentence(capsys):
    words = ("test", "--env", "sim", "--time-limit", "1", "-q")
    code, _, err = said(capsys, *words, "--store", "\udcff")
    assert code == 3 and "not UTF-8" in err and "\udcff" not in err
    Path("\udcff").mkdir()
    os.chdir("\udcff")
    code, _, err = said(capsys, *words)
    assert code == 3 and "not UTF-8" in err


def test_a_test_has_a_name_from_what_it_is():
    assert validated(TestSpec(nemesis=("kill",))).name == "reference-register-kill"
    assert validated(TestSpec(db="my.mod:MyKV")).name == "MyKV-register"
    assert validated(TestSpec(ablate=("a30",))).name == "reference+A30-register"
