"""A local web page over all runs: ``harness serve``.

It lists the runs of a store with their verdicts, newest first, opens their reports and files, and
makes the report of any run with *every* operation in it, however large. It reads; it never writes
into a run, and it starts no work that outlives the request.

Every client that reaches the address can read the store, so the default is loopback. A path is
served only if it lies within the store; no symbolic link is followed but those named ``latest``,
and names that begin with a dot are never served. The files of a run hold data from a system
under test: everything but our own pages goes out as plain text or a download, with a policy that
forbids scripts. A report.html may come from elsewhere: its scripts run in an origin of their own.

For the harness (``harness serve``).
"""

from __future__ import annotations

import mimetypes
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from checkers.core.regular_files import open_regular
from reports.page import full_page, page, render_template
from reports.palette import GLYPHS, WORDS
from reports.run_directory import json_object, read_run
from reports.wording import duration, one_line

#: Runs listed; a store of more is browsed by folder.
RUNS_MAX = 2000
_MARKS = ("results.json", "history.jsonl", "spec.json")
_TEXT = frozenset({".jsonl", ".json", ".md", ".log", ".txt", ".xml", ".edn", ""})
_CLOSED = "default-src 'none'; sandbox; frame-ancestors 'none'"
#: For reports, on top of the policy inside them: for any content of the file, it reaches no
#: network, and its origin is its own, so that no script of a stranger's report.html reads our other
#: pages.
_REPORT = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass
class RunRow:
    """One line of the list."""

    path: str
    test: str
    when: str
    css: str
    glyph: str
    verdict: str
    sentence: str
    facts: str
    has_report: bool


class StoreServer(ThreadingHTTPServer):
    """Serves one store until it is shut down.

    Args:
        store_dir: the folder of runs.
        host, port: where to listen; port 0 takes a free one (see ``server_address``).
    """

    daemon_threads = True

    def __init__(self, store_dir: Path, host: str, port: int) -> None:
        self.store = store_dir.resolve()
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the list."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def serve(
    store_dir: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    announce: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve a store until interrupted.

    Args:
        store_dir: the folder of runs.
        host: the address to listen on; every user who reaches it can read the store.
        port: the port; 0 for any free one.
        announce: called with the address once it listens.
        stop: ends the serving when set; None to serve until KeyboardInterrupt.

    Raises:
        NotADirectoryError: there is no such store.
        OSError: the address cannot be listened on.
    """
    path = Path(store_dir)
    if not path.is_dir():
        raise NotADirectoryError(f"store directory {str(store_dir)!r} is no directory")
    with StoreServer(path, host, port) as server:
        if announce is not None:
            announce(server.url)
        if stop is not None:
            threading.Thread(target=_await, args=(stop, server), daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return


def _await(stop: threading.Event, server: StoreServer) -> None:
    stop.wait()
    server.shutdown()


def find_runs(store: Path) -> list[Path]:
    """Run directories of a store, newest first: folders up to three deep with a run's files."""
    found: dict[Path, float] = {}
    level = [store]
    for _ in range(3):
        children: list[Path] = []
        for folder in level:
            children += [p for p in _folders(folder) if not p.is_symlink()]
        level = []
        for child in children:
            if is_run(child):
                marks = [child / name for name in _MARKS if (child / name).is_file()]
                found[child] = max((mark.stat().st_mtime for mark in marks), default=0.0)
            else:
                level.append(child)
    return sorted(found, key=lambda path: (-found[path], str(path)))[:RUNS_MAX]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run: at least one of the files that only a run has."""
    try:
        return any((folder / name).is_file() for name in _MARKS)
    except OSError:
        return False


def _folders(folder: Path) -> list[Path]:
    try:
        return [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError:
        return []


def run_row(run_dir: Path, store: Path) -> RunRow:
    """One run's line, from results.json alone so that a list of thousands is quick."""
    try:
        found = json_object(run_dir / "results.json")
    except (OSError, ValueError):
        found = {}
    verdict = found.get("verdict")
    evidence = found.get("evidence")
    weak = verdict == "valid" and isinstance(evidence, dict) and bool(evidence.get("weak"))
    css = "weak" if weak else verdict if verdict in GLYPHS else "unjudged"
    run = found.get("run") if isinstance(found.get("run"), dict) else {}
    assert isinstance(run, dict)
    names = ("workload", "db", "env", "nemesis", "variant", "seed")
    facts = [f"{name} {one_line(run[name], limit=40)}" for name in names if run.get(name)]
    took = run.get("duration_ns")
    if isinstance(took, int) and took > 0:
        facts.append(duration(took))
    return RunRow(
        path=quote(run_dir.relative_to(store).as_posix()),
        test=one_line(run_dir.parent.name if run_dir.parent != store else run.get("test", "")),
        when=one_line(run_dir.name),
        css=str(css),
        glyph=GLYPHS.get(str(css), "–"),
        verdict=WORDS.get(str(css), "NOT JUDGED"),
        sentence=one_line(found.get("sentence") or "", limit=240),
        facts=" · ".join(facts),
        has_report=(run_dir / "report.html").is_file(),
    )


def index_page(store: Path, folder: Path | None = None) -> str:
    """The list of runs as HTML: of the whole store, or of one folder in it."""
    rows = [run_row(path, store) for path in find_runs(folder or store)]
    counts = {css: sum(row.css == css for row in rows) for css in (*GLYPHS, "unjudged")}
    return render_template(
        "runs.html.j2", rows=rows, counts=counts, glyphs=GLYPHS, words=WORDS,
        store=one_line(folder or store, limit=200), cut=len(rows) >= RUNS_MAX,
    )  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD only; everything is answered whole, errors with one sentence."""

    server: StoreServer
    server_version = "splitbrain"
    sys_version = ""
    #: seconds a client may leave a request or an answer lying
    timeout = 60

    def do_GET(self) -> None:
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            # Made of a stranger's files, and not begun to be sent: so there is still an answer.
            said = one_line(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"This page cannot be made: {said}.")

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: they are the user's own."""

    def _answer(self) -> None:
        try:
            ours, raw = self._host_is_ours(), urlsplit(self.path).path
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST, "The address or the Host header is none.")
        if not ours:
            sentence = "The Host header names another site; open the address that was announced."
            return self._refuse(HTTPStatus.FORBIDDEN, sentence)
        parts = [part for part in unquote(raw, errors="replace").split("/") if part]
        if not parts:
            return self._html(index_page(self.server.store))
        target = self._inside(parts)
        if parts[-1] == "full.html" and target is not None and not target.exists():
            return self._full(target.parent)
        if target is None or not target.exists():
            return self._refuse(HTTPStatus.NOT_FOUND, "There is nothing of that name in the store.")
        if target.is_dir():
            return self._folder(target, raw)
        return self._file(target)

    def _host_is_ours(self) -> bool:
        """On loopback, only a loopback name: another site's name may be made to resolve to us."""
        listening = str(self.server.server_address[0])
        if listening not in _LOOPBACK:
            return True
        asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        return asked is None or asked in _LOOPBACK

    def _inside(self, parts: list[str]) -> Path | None:
        """The path these names stand for, or None if it is not within the store."""
        bad = any(part.startswith(".") or "\0" in part or "\\" in part for part in parts)
        if bad:
            return None
        try:
            target = self.server.store
            for part in parts:
                target /= part
                if part != "latest" and target.is_symlink():
                    return None
            target = target.resolve()
            target.exists()  # a name too long for the system is refused here
        except (OSError, ValueError, RuntimeError):
            return None
        return target if target.is_relative_to(self.server.store) else None

    def _folder(self, target: Path, raw: str) -> None:
        if not raw.endswith("/"):
            self.send_response(HTTPStatus.MOVED_PERMANENTLY)
            inside = target.relative_to(self.server.store).as_posix()
            self.send_header("Location", f"/{quote(inside)}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if is_run(target):
            made = target / "report.html"
            return self._file(made) if made.is_file() else self._html(page(read_run(target)))
        return self._html(index_page(self.server.store, target))

    def _full(self, run_dir: Path) -> None:
        """The report with every operation, made on the spot."""
        if not is_run(run_dir):
            return self._refuse(HTTPStatus.NOT_FOUND, "There is no run in that folder.")
        run = read_run(run_dir)
        return self._html(full_page(run))

    def _file(self, path: Path) -> None:
        try:
            file = open_regular(path, below=self.server.store)
        except OSError as error:
            self._refuse(HTTPStatus.NOT_FOUND, f"That file cannot be read: {error.strerror}.")
            return
        with file:
            ours = path.name == "report.html" and is_run(path.parent)
            kind = "text/html" if ours else "text/plain" if path.suffix in _TEXT else None
            guessed = mimetypes.guess_type(path.name)[0]
            safe = guessed if guessed in ("image/png",) else "application/octet-stream"
            size = os.fstat(file.fileno()).st_size
            self._head(HTTPStatus.OK, f"{kind}; charset=utf-8" if kind else safe, size, ours=ours)
            if self.command == "GET":
                shutil.copyfileobj(file, self.wfile)

    def _html(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        self._head(HTTPStatus.OK, "text/html; charset=utf-8", len(data), ours=True)
        if self.command == "GET":
            self.wfile.write(data)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        data = (sentence + "\n").encode()
        self._head(status, "text/plain; charset=utf-8", len(data), ours=False)
        if self.command == "GET":
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, size: int, *, ours: bool) -> None:
        """Response head; our own pages carry their policy inside."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _REPORT if ours else _CLOSED)
        self.end_headers()
