"""The local server: it lists, it serves, and it never leaves the store."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import canned
import pytest

import reports
from reports.server import StoreServer, find_runs, serve


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    store = tmp_path / "store"
    for name in ("stale_read", "valid", "not_judged"):
        canned.RUNS[name](store / "register" / name)
    reports.render(store / "register" / "stale_read")
    (store / "latest").symlink_to(store / "register" / "valid")
    (tmp_path / "secret.txt").write_text("secret")
    (store / "register" / "valid" / "out").symlink_to(tmp_path / "secret.txt")
    (store / "register" / "valid" / ".hidden").write_text("secret")
    (store / "register" / "valid" / "nodes" / "n1" / "x.html").write_text("<script>1</script>")
    (store / "register" / "valid" / "nodes" / "n1" / "report.html").write_text("<script>")
    made = StoreServer(store, "127.0.0.1", 0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def ask(
    server: StoreServer, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=90)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_list_has_all_runs_with_verdicts(server: StoreServer) -> None:
    answer, body = ask(server, "/")
    html = body.decode()
    assert answer.status == 200 and "3 runs" in html
    assert "INVALID" in html and "VALID" in html and "NOT JUDGED" in html
    assert "process 97 read 1" in html and "/register/stale_read/full.html" in html
    assert len(find_runs(server.store)) == 3, "a link to a run is no second run"


def test_reports_pages_and_files(server: StoreServer) -> None:
    answer, _ = ask(server, "/register/stale_read")
    assert answer.status == 301 and answer.getheader("Location") == "/register/stale_read/"
    written = (server.store / "register" / "stale_read" / "report.html").read_bytes()
    assert ask(server, "/register/stale_read/")[1] == written
    assert b"What was exercised" in ask(server, "/register/valid/")[1], "made when missing"
    assert not (server.store / "register" / "valid" / "report.html").exists()
    assert b"</html>" in ask(server, "/register/stale_read/full.html")[1]
    answer, body = ask(server, "/register/valid/history.jsonl")
    assert body.startswith(b'{"format"')
    assert answer.getheader("Content-Type") == "text/plain; charset=utf-8"
    answer, body = ask(server, "/register/valid/history.jsonl", method="HEAD")
    assert body == b"" and int(answer.getheader("Content-Length") or 0) > 1000
    assert ask(server, "/register/")[1].count(b"full.html") == 3


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/%2e%2e/secret.txt", "/register/%2e%2e/%2e%2e/secret.txt",
     "/register/valid/out", "/register/valid/.hidden", "/..%2fsecret.txt", "/%00", "/nope",
     "//etc/passwd", "/register/valid/..%5c..%5csecret.txt", "/register/full.html",
     "/" + "a" * 300],
)  # fmt: skip
def test_nothing_outside_the_store_is_served(server: StoreServer, path: str) -> None:
    answer, body = ask(server, path)
    assert answer.status == 404 and b"secret" not in body and b"root:" not in body


def test_foreign_files_cannot_run(server: StoreServer) -> None:
    answer, _ = ask(server, "/register/valid/nodes/n1/x.html")
    assert answer.getheader("Content-Type") == "application/octet-stream"
    answer, _ = ask(server, "/register/valid/nodes/n1/report.html")
    assert "sandbox" in (answer.getheader("Content-Security-Policy") or "")
    assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_a_report_has_an_origin_of_its_own(server: StoreServer) -> None:
    """Its scripts run, and can read no other page: a report.html may be a stranger's."""
    for path in ("/register/stale_read/report.html", "/register/valid/", "/"):
        answer, _ = ask(server, path)
        policy = (answer.getheader("Content-Security-Policy") or "").split("; ")
        assert "sandbox allow-scripts" in policy and "default-src 'none'" in policy
        assert "connect-src" not in " ".join(policy)


def test_no_link_in_a_run_is_followed(server: StoreServer) -> None:
    run = server.store / "register" / "not_judged"
    secret = server.store.parent / "secret.txt"
    (run / "results.json").unlink(missing_ok=True)
    (run / "results.json").symlink_to(secret)
    (run / "report.html").symlink_to(secret)
    (run / "inside.txt").symlink_to(server.store / "register" / "valid" / "history.jsonl")
    (run / "nodes" / "n1").mkdir(parents=True, exist_ok=True)
    (run / "nodes" / "n1" / "log").unlink(missing_ok=True)
    (run / "nodes" / "n1" / "log").symlink_to(secret)
    (server.store / "register" / "latest").symlink_to(server.store.parent)
    for name in ("", "full.html", "report.html", "results.json", "inside.txt", "nodes/n1/log"):
        answer, body = ask(server, f"/register/not_judged/{name}")
        assert b"secret" not in body and answer.status in (200, 404), name
        assert answer.status == 404 or name in ("", "full.html")
    assert ask(server, "/register/latest/secret.txt")[0].status == 404
    assert b"secret" not in ask(server, "/")[1]


@pytest.mark.parametrize("name", ["history.jsonl", "results.json", "spec.json", "report.html"])
def test_what_is_no_regular_file_is_answered_at_once(server: StoreServer, name: str) -> None:
    run = server.store / "register" / "valid"
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    for path in ("/", "/register/valid/", "/register/valid/full.html"):
        assert ask(server, path)[0].status == 200, path
    answer, body = ask(server, f"/register/valid/{name}")
    assert answer.status == 404 and b"it is a FIFO" in body


def test_a_page_that_cannot_be_made_is_a_sentence(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **words: object) -> str:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("reports.server.full_page", full)
    answer, body = ask(server, "/register/valid/full.html")
    assert answer.status == 500 and body == b"This page cannot be made: Too many open files.\n"
    assert ask(server, "/", host="[")[0].status == 400


def test_another_sites_name_is_refused(server: StoreServer) -> None:
    assert ask(server, "/", host="evil.example")[0].status == 403
    port = server.server_address[1]
    assert ask(server, "/", host=f"localhost:{port}")[0].status == 200


def test_other_methods_are_refused(server: StoreServer) -> None:
    assert ask(server, "/", method="POST")[0].status == 501


def test_serve_announces_stops_and_refuses_a_missing_store(tmp_path: Path) -> None:
    told: list[str] = []
    stop, ready = threading.Event(), threading.Event()

    def announce(url: str) -> None:
        told.append(url)
        ready.set()

    thread = threading.Thread(
        target=serve, args=(tmp_path,), kwargs={"port": 0, "announce": announce, "stop": stop}
    )
    thread.start()
    assert ready.wait(90) and told[0].startswith("http://127.0.0.1:")
    stop.set()
    thread.join(90)
    assert not thread.is_alive()
    with pytest.raises(NotADirectoryError, match="no-store"):
        serve(tmp_path / "no-store")


def test_a_port_in_use_is_an_os_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError):
            serve(tmp_path, port=taken.getsockname()[1])
