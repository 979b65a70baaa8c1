"""``harness cluster``: started, looked at, stopped; files of a stranger stop nothing of ours."""

from __future__ import annotations

import json
import os
import shlex
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli, playground
from harness.certificates import make_certificates
from harness.errors import SetupError, UsageError
from harness.playground import down, load, statuses, up


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(21_000 + os.getpid() % 5000, 60_000, count):
        try:
            for sock in [socket.create_server(("127.0.0.1", first + n)) for n in range(count)]:
                sock.close()
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def test_a_cluster_is_started_and_stopped_and_keeps_what_it_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "play"
    words = ["--dir", str(where)]
    assert cli.main(["cluster", "up", *words, "--nodes", "1", "--port", str(free_ports(2))]) == 0
    told = capsys.readouterr().out
    assert "python -m cluster.client --nodes n1=" in told
    assert f"--admin {load(where).admins} --token-file" in told
    try:
        assert (where / "token").stat().st_mode & 0o077 == 0
        client = [sys.executable, "-m", "cluster.client", "--nodes", load(where).addresses]
        client += ["--token-file", str(where / "token"), "--timeout", "60"]
        subprocess.run([*client, "put", "x", "1"], check=True, capture_output=True)
        assert down(where) == ["n1"] and down(where) == []
        assert statuses(where) == {"n1": None}
        assert cli.main(["cluster", "status", *words]) == 3
        capsys.readouterr()
        assert cli.main(["cluster", "up", *words, "--role", "data"]) == 254
        assert "holds a cluster of role core" in capsys.readouterr().err
        assert cli.main(["cluster", "up", *words, "--nodes", "5"]) == 254
        assert "holds a cluster of 1 nodes; leave --nodes out" in capsys.readouterr().err
        other = str(load(where).nodes[0].port + 1)
        assert cli.main(["cluster", "up", *words, "--port", other]) == 254
        assert f"--port is {other}, and " in capsys.readouterr().err
        up(where, consensus="raft")  # it is there: as it was
        found = subprocess.run([*client, "get", "x"], check=True, capture_output=True)
        assert json.loads(found.stdout)["value"] == 1
    finally:
        down(where)


@pytest.mark.real
def test_a_cluster_speaks_mutual_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, certs = tmp_path / "play", tmp_path / "certs"
    words = ["up", "--dir", str(where), "--nodes", "3", "--certs", str(certs)]
    assert cli.main(["cluster", *words]) == 254
    assert "`harness cluster certs` makes one" in capsys.readouterr().err
    make_certificates(certs, ["n1", "n2", "n3"])
    try:
        assert cli.main(["cluster", *words, "--port", str(free_ports(6))]) == 0
        client = capsys.readouterr().out.partition("python -m ")[2].partition("\n")[0].split()
        asked = [sys.executable, "-m", *client]
        done = subprocess.run(asked, check=True, capture_output=True)
        assert json.loads(done.stdout)["status"] == "ok"
        plain = [*asked[: asked.index("--tls-ca")], "--timeout", "1", "get", "greeting"]
        assert subprocess.run(plain, check=False, capture_output=True).returncode == 3
        down(where)
        again = ["cluster", "up", "--dir", str(where)]
        assert cli.main([*again, "--certs", str(tmp_path)]) == 254
        assert f"holds a cluster of certs {certs}" in capsys.readouterr().err
        assert cli.main(again) == 0  # with the certificates that it has
        assert f"--tls-ca {certs}/ca.pem" in capsys.readouterr().out
        assert subprocess.run(plain, check=False, capture_output=True).returncode == 3
    finally:
        down(where)


def test_a_cluster_without_certificates_gets_none_later(tmp_path: Path) -> None:
    state = {"consensus": "raft", "nodes": [{"name": "n1", "port": 1, "admin": 2}]}
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    with pytest.raises(UsageError, match=r"--certs is .*holds a cluster of certs none"):
        up(tmp_path, certs=str(tmp_path))


@pytest.mark.real
@pytest.mark.parametrize("role", ["data", "leaderless"])
def test_nodes_of_another_role_are_started(
    tmp_path: Path, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "play"
    words = ["--dir", str(where), "--nodes", "3", "--role", role, "--port", str(free_ports(6))]
    try:
        assert cli.main(["cluster", "up", *words]) == 0
        assert load(where).role == role
        told = capsys.readouterr().out.partition("speak to it:  python ")[2].partition("\n")[0]
        first = shlex.split(told)
        asked = [*first[:4], "--timeout", "60", *first[4:]]
        done = subprocess.run([sys.executable, *asked], check=True, capture_output=True)
        if role == "data":
            operations = [["append", "greeting", "hello"], ["r", "greeting", ["hello"]]]
            assert json.loads(done.stdout)["value"] == operations
        client = [sys.executable, "-m", "cluster.client", "--nodes", load(where).addresses]
        client += ["--token-file", str(where / "token"), "--timeout", "60"]
        subprocess.run([*client, "put", "x", "1"], check=True, capture_output=True)
        found = subprocess.run([*client, "get", "x"], check=True, capture_output=True)
        value = json.loads(found.stdout)["value"]
        assert (value["values"] if role == "leaderless" else [value]) == [1]
        assert down(where) == ["n1", "n2", "n3"]
    finally:
        down(where)


@pytest.mark.real
def test_a_node_that_ends_is_told_with_its_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "play"
    words = ["--dir", str(where), "--nodes", "1", "--port", str(free_ports(2))]
    try:
        assert cli.main(["cluster", "up", *words, "--arg=--no-such-option"]) == 3
        said = capsys.readouterr().err
        assert "n1 does not run any more; its log " in said and str(where / "n1.log") in said
        assert "--no-such-option" in said.partition("ends with: ")[2]
        assert f"harness cluster down --dir {where}" in said and "it is not so" not in said
    finally:
        down(where)


def test_a_cluster_without_a_leader_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that run and serve, and never agree."""
    answers = {"/health": {"status": 200}, "/status": {"role": "candidate"}}
    monkeypatch.setattr(playground, "_start", lambda where, found, node: None)
    monkeypatch.setattr(playground, "_pids", lambda where, node: [1])
    monkeypatch.setattr(playground, "_get", lambda where, node, path: answers[path])
    monkeypatch.setattr(playground, "READY_WITHIN_S", 0.0)
    where = tmp_path / "play"
    with pytest.raises(SetupError) as told:
        up(where, nodes=1, port=free_ports(2))
    assert str(told.value).startswith("after 0 s no node leads: n1 is candidate; its log ")


class Started:
    """Processes that are only written down: which nodes run, and with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arguments: dict[str, list[str]] = {}

        def popen(argv: list[str], **how: object) -> None:
            self.arguments[argv[argv.index("--id") + 1]] = argv[argv.index("--token-file") + 2 :]

        monkeypatch.setattr(playground.subprocess, "Popen", popen)
        monkeypatch.setattr(
            playground, "_pids", lambda where, node: [1] if node.name in self.arguments else []
        )
        monkeypatch.setattr(playground, "_get", lambda where, node, path: {"role": "leader"})


def test_arguments_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = Started(monkeypatch)
    words = ["cluster", "up", "--dir", str(tmp_path / "play")]
    given = ["--arg=--ablate", "--arg=A30", "--arg=--log={node}"]
    assert cli.main([*words, "--nodes", "2", "--port", str(free_ports(4)), *given]) == 0
    wanted = {node: ["--ablate", "A30", f"--log={node}"] for node in ("n1", "n2")}
    assert nodes.arguments == wanted
    assert "its nodes have: --ablate A30 '--log={node}'" in capsys.readouterr().out

    del nodes.arguments["n2"]  # it was killed
    assert cli.main(words) == 0
    assert nodes.arguments == wanted
    assert cli.main([*words, *given]) == 0, "they are the same"
    assert cli.main([*words, "--arg=--enable-chaos"]) == 254
    said = " ".join(capsys.readouterr().err.split())
    assert "--arg is '--enable-chaos', and n1, n2 of" in said
    assert "run with '--ablate A30 --log={node}'; stop the cluster first" in said

    nodes.arguments.clear()  # it is down
    assert cli.main([*words, "--arg=--enable-chaos"]) == 0
    assert nodes.arguments == {"n1": ["--enable-chaos"], "n2": ["--enable-chaos"]}
    nodes.arguments.clear()
    assert cli.main([*words, "--arg="]) == 0
    assert nodes.arguments == {"n1": [], "n2": []}
    assert "its nodes have" not in capsys.readouterr().out.rpartition("stop it")[0][-400:]


def test_a_foreign_file_signals_no_process(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "--id", "n1", "--data", str(tmp_path)]
    )
    state = {"consensus": "raft", "nodes": [{"name": "n1", "port": 1, "admin": 1}]}
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    assert down(tmp_path) == []
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()
    state["nodes"][0]["name"] = "../../etc"  # type: ignore[index]
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    with pytest.raises(UsageError):
        down(tmp_path)


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "harness cluster needs a word that says what to do; there are up, status, down"),
        (["upp"], "there is no harness cluster 'upp'"),
        (["down"], "holds no cluster (cluster.json: No such file or directory)"),
        (["certs", "--nodes", ""], "--nodes names no node"),
        (["up", "--nodes", ""], "--nodes is ''; it should be how many"),
        (["up", "--nodes", "10"], "--nodes is 10"),
        (["up", "--consensus", "raftt"], "did you mean 'raft'"),
        (["up", "--role", "leadrless"], "did you mean 'leaderless'"),
        (["up", "--role", "leaderless", "--consensus", "zab"], "no log to agree on"),
        (["up", "--port", "80"], "--port is 80"),
        (["up", "--port", "0"], "--port is 0; it should be 1024 to "),
        (["up", "--nodes", "a,b"], "--nodes is 'a,b'; it should be how many"),
        (["certs", "--nodes", "ca,n1"], "names must differ"),
    ],
)
def test_a_wrong_word_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.main(["cluster", *words, "--dir", str(tmp_path / "none")]) == 254
    assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_directory_that_holds_something_else_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cluster", "up", "--nodes", "1", "--port", str(free_ports(2)), "--dir"]
    (tmp_path / "file").write_text("")
    assert cli.main([*words, str(tmp_path / "file")]) == 254
    assert f"no cluster can be made in {tmp_path / 'file'}: " in capsys.readouterr().err
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "token").write_text("of something else")
    assert cli.main([*words, str(tmp_path / "half")]) == 254
    assert "token: File exists; give another --dir" in capsys.readouterr().err


def test_a_token_that_is_missing_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = free_ports(2)
    state = {"consensus": "raft", "nodes": [{"name": "n1", "port": first, "admin": first + 1}]}
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    assert cli.main(["cluster", "up", "--dir", str(tmp_path)]) == 254
    assert f"{tmp_path / 'token'} is missing" in capsys.readouterr().err
    assert not (tmp_path / "n1.log").exists()
    assert cli.main(["cluster", "status", "--dir", str(tmp_path)]) == 3
    assert "token is missing, and nodes" in capsys.readouterr().out


def test_certificates_are_the_authoritys_and_nothing_is_overwritten(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, ["n1"])
    assert {file.name for file in files} >= {"ca.pem", "n1.pem", "n1.key", "client.pem"}
    assert all(f.stat().st_mode & 0o077 == 0 for f in files if f.suffix == ".key")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "n1.pem", tmp_path / "n1.key")
    server.load_verify_locations(tmp_path / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    client.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="n1")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ours.version() == theirs.version() == "TLSv1.3"
    with pytest.raises(UsageError, match="nothing is overwritten"):
        make_certificates(tmp_path, ["n1"])
