"""A cluster to play with: nodes of the reference cluster as processes that outlive the shell.

    harness cluster up                  three nodes on loopback, in ./playground
    harness cluster status
    harness cluster down

Everything is in one directory: each node's data and log, the cluster's token (mode 0600), and
``cluster.json``, which says what was asked for. That file is data: before a process is signalled,
the kernel is asked whether it is a node of ours that keeps its data in this directory.

Used by ``harness cluster``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from checkers.core.regular_files import read_regular
from harness.errors import SetupError, UsageError, nearest
from harness.spec import parse_nodes

STATE, TOKEN = "cluster.json", "token"
#: Nodes of a new cluster, unless others are asked for.
NODES = 3
#: First port of a new cluster, unless another is asked for.
PORT = 7101
FILE_BYTES_MAX = 1 << 20
READY_WITHIN_S = 30.0
#: A node that is asked to stop does so within its own 15 s; then it is killed.
STOP_WITHIN_S = 20.0
LOOK_EVERY_S = 0.05
#: a node whose process is not seen for so long has ended
ENDED_AFTER_S = 1.0
#: of the end of a node's log, what a message shows
LOG_LINES, LOG_CHARS = 3, 400


class NodePlace(msgspec.Struct, frozen=True):
    """Where a node is.

    Args:
        name: its id.
        port: where clients and peers speak to it, on loopback.
        admin: its admin endpoint's port.
    """

    name: str
    port: int
    admin: int


class Playground(msgspec.Struct, frozen=True):
    """A cluster in its directory; ``cluster.json``.

    Args:
        consensus: the variant.
        nodes: in order.
        role: what its nodes are.
        certs: directory of its certificates, with which all speak mutual TLS; "" for none.
        arguments: more arguments of every node; ``{node}`` in one is the node's name.
    """

    consensus: str
    nodes: tuple[NodePlace, ...]
    role: str = "core"
    certs: str = ""
    arguments: tuple[str, ...] = ()

    @property
    def addresses(self) -> str:
        """As ``python -m cluster.client --nodes`` takes it."""
        return ",".join(f"{node.name}=127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def admins(self) -> str:
        """As ``python -m cluster.client --admin`` takes it."""
        return ",".join(f"127.0.0.1:{node.admin}" for node in self.nodes)


def up(
    where: Path,
    *,
    nodes: int = 0,
    role: str = "",
    consensus: str = "",
    port: int | None = None,
    certs: str = "",
    arguments: Sequence[str] = (),
) -> Playground:
    """Start a cluster, or what of it does not run, and wait until it serves.

    Args:
        where: its directory; made if it is not there.
        nodes: how many; 0 for three, or as many as there are.
        role: what its nodes are; "" for core, or what they are; see ``python -m cluster --help``.
        consensus: the variant; "" for raft, or what it is.
        port: the first of its ports; None for 7101, or what it is.
        certs: directory of certificates for mutual TLS; "" for none, or for those it has.
        arguments: more arguments for every node; ``{node}`` in one is the node's name. None for
            those it has; an empty one for no more, if it has some.

    Raises:
        UsageError: what is asked for cannot be.
        SetupError: a node does not start, or no leader is found in time.
    """
    made = (where / STATE).exists()
    kind = _kind(role or "core", consensus or "raft")
    certs = str(Path(certs).resolve()) if certs else ""
    first = PORT if port is None else port
    found = load(where) if made else _new(where, nodes or NODES, kind, port=first, certs=certs)
    if nodes and nodes != len(found.nodes):
        raise UsageError(
            f"--nodes is {nodes}, and {where} holds a cluster of {len(found.nodes)} nodes; leave "
            "--nodes out to start those, or give another --dir, or remove that one"
        )
    for what, wanted, there in (
        ("role", role, found.role),
        ("consensus", consensus, found.consensus),
        ("certs", certs, found.certs),
        ("port", port, found.nodes[0].port),
    ):
        if wanted and wanted != there:
            raise UsageError(
                f"--{what} is {wanted!r}, and {where} holds a cluster of {what} "
                f"{there or 'none'}; give another --dir, or remove that one"
            )
    if not (where / TOKEN).is_file():
        raise UsageError(
            f"{where / TOKEN} is missing, and nodes do not start without it; put it back, or write "
            "another one (mode 600) once all nodes are down"
        )
    if arguments:
        found = _with_arguments(where, found, tuple(each for each in arguments if each))
    for node in found.nodes:
        if not _pids(where, node):
            _start(where, found, node)
    _wait(
        lambda: all(_get(where, node, "/health") for node in found.nodes),
        lambda: _not_serving(where, found),
        where,
        found,
    )
    _wait(lambda: _led(where, found), lambda: _not_led(where, found), where, found)
    return found


def _with_arguments(where: Path, found: Playground, arguments: tuple[str, ...]) -> Playground:
    """The cluster with these arguments from now on: all nodes have the same.

    Raises:
        UsageError: they are others, and a node runs.
    """
    running = [node.name for node in found.nodes if _pids(where, node)]
    if running and arguments != found.arguments:
        raise UsageError(
            f"--arg is {' '.join(arguments) or 'empty'!r}, and {', '.join(running)} of {where} "
            f"run with {' '.join(found.arguments) or 'none'!r}; stop the cluster first: "
            f"harness cluster down --dir {where}"
        )
    changed = msgspec.structs.replace(found, arguments=arguments)
    _save(where, changed)
    return changed


def _save(where: Path, found: Playground) -> None:
    (where / STATE).write_bytes(msgspec.json.format(msgspec.json.encode(found)))


def _kind(role: str, consensus: str) -> tuple[str, str]:
    """Role and consensus of a new cluster, if there are such and they go together."""
    from cluster.core.parts import CONSENSUS
    from cluster.runtime.options import ROLES, VARIANT_ROLES

    if role not in ROLES:
        raise nearest("--role", role, ROLES)
    if consensus not in CONSENSUS:
        raise nearest("--consensus", consensus, CONSENSUS)
    if consensus != "raft" and role not in VARIANT_ROLES:
        raise UsageError(
            f"--consensus is {consensus!r}, and role {role} has no log to agree on; leave it out"
        )
    return role, consensus


def tls_arguments(certs: str, who: str) -> list[str]:
    """The arguments of a node, or of a client, that make it speak mutual TLS.

    Args:
        certs: directory of certificates; "" for none.
        who: the name of the certificate.

    Raises:
        UsageError: the directory has no authority.
    """
    if not certs:
        return []
    where = Path(certs).resolve()
    if not (where / "ca.pem").is_file():
        raise UsageError(f"--certs {certs!r} holds no ca.pem; `harness cluster certs` makes one")
    files = {"ca": "ca.pem", "cert": f"{who}.pem", "key": f"{who}.key"}
    return [word for name, file in files.items() for word in (f"--tls-{name}", str(where / file))]


def _new(where: Path, nodes: int, kind: tuple[str, str], *, port: int, certs: str) -> Playground:
    tls_arguments(certs, "client")
    if not 1 <= nodes <= 9:
        raise UsageError(f"--nodes is {nodes}; it should be 1 to 9")
    if not 1024 <= port <= 65_535 - 2 * nodes:
        raise UsageError(f"--port is {port}; it should be 1024 to {65_535 - 2 * nodes}")
    for each in range(port, port + 2 * nodes):
        _require_free(each)
    places = tuple(
        NodePlace(f"n{number + 1}", port + number, port + nodes + number) for number in range(nodes)
    )
    role, consensus = kind
    found = Playground(consensus, places, role, certs)
    try:
        where.mkdir(parents=True, exist_ok=True)
        handle = os.open(where / TOKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(16) + "\n")
        _save(where, found)
    except OSError as error:
        raise UsageError(
            f"no cluster can be made in {where}: {error.filename}: {error.strerror}; give another "
            "--dir"
        ) from None
    return found


def _require_free(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise UsageError(
            f"port {port} of 127.0.0.1 cannot be used: {error.strerror}; give another --port"
        ) from None


def load(where: Path) -> Playground:
    """The cluster of a directory.

    Raises:
        UsageError: there is none.
    """
    try:
        data = read_regular(where / STATE, limit=FILE_BYTES_MAX)
        found = msgspec.json.decode(data, type=Playground)
        parse_nodes(",".join(node.name for node in found.nodes))  # they become file names
        return found
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise UsageError(
            f"{where} holds no cluster ({STATE}: {why}); `harness cluster up` makes one"
        ) from None


def _start(where: Path, found: Playground, node: NodePlace) -> None:
    argv = [sys.executable, "-m", "cluster", "--id", node.name]
    argv += ["--listen", f"127.0.0.1:{node.port}", "--peers", found.addresses]
    argv += ["--data", str(_data(where, node)), "--admin", f"127.0.0.1:{node.admin}"]
    argv += ["--role", found.role, "--consensus", found.consensus]
    argv += ["--token-file", str(where.resolve() / TOKEN)]
    argv += tls_arguments(found.certs, node.name)
    argv += [text.replace("{node}", node.name) for text in found.arguments]
    with (where / f"{node.name}.log").open("ab") as log:
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _data(where: Path, node: NodePlace) -> Path:
    return where.resolve() / node.name


def _pids(where: Path, node: NodePlace) -> list[int]:
    """Processes that the kernel says are this node: ours, with its data directory."""
    wanted = [b"-m", b"cluster", b"--id", node.name.encode()]
    data = [b"--data", os.fsencode(_data(where, node))]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = entry.stat().st_uid == os.getuid()
        except OSError:
            continue
        if ours and words[1:5] == wanted and _has(words, data):
            found.append(int(entry.name))
    return found


def _has(words: list[bytes], pair: list[bytes]) -> bool:
    return any(words[place : place + 2] == pair for place in range(len(words)))


def down(where: Path) -> list[str]:
    """Stop every node that runs; their names. What they know stays in the directory.

    Raises:
        UsageError: there is no cluster in it.
    """
    found = load(where)
    running = {node.name: _pids(where, node) for node in found.nodes}
    for pids in running.values():
        _signal(pids, signal.SIGTERM)
    end_s = time.monotonic() + STOP_WITHIN_S
    while any(_pids(where, node) for node in found.nodes):
        if time.monotonic() > end_s:
            for node in found.nodes:
                _signal(_pids(where, node), signal.SIGKILL)
        time.sleep(LOOK_EVERY_S)
    return [name for name, pids in running.items() if pids]


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def statuses(where: Path) -> dict[str, dict[str, Any] | None]:
    """The status of each node; None where it does not answer.

    Raises:
        UsageError: there is no cluster in the directory.
    """
    return {node.name: _get(where, node, "/status") for node in load(where).nodes}


def _led(where: Path, found: Playground) -> bool:
    answers = [_get(where, node, "/status") for node in found.nodes]
    return any(answer and answer.get("role") in ("leader", "peer") for answer in answers)


def _get(where: Path, node: NodePlace, path: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError):
        token = read_regular(where / TOKEN, limit=FILE_BYTES_MAX).decode("ascii", "replace").strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{node.admin}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        with (
            contextlib.suppress(OSError, ValueError, http.client.HTTPException),
            urllib.request.urlopen(request, timeout=2.0) as answer,
        ):
            if path == "/health":
                return {"status": answer.status}
            found = json.loads(answer.read(FILE_BYTES_MAX))
            return found if isinstance(found, dict) else None
    return None


def _wait(
    probe: Callable[[], bool], trouble: Callable[[], str], where: Path, found: Playground
) -> None:
    """Wait until it is so.

    Raises:
        SetupError: it is not in time, or a node has ended; the message says what is so instead.
    """
    end_s = time.monotonic() + READY_WITHIN_S
    runs_s = time.monotonic()
    while not probe():
        # A process that has just been made is not seen as a node for a moment.
        if all(_pids(where, node) for node in found.nodes):
            runs_s = time.monotonic()
        ended = time.monotonic() - runs_s > ENDED_AFTER_S
        if ended or time.monotonic() > end_s:
            when = "" if ended else f"after {READY_WITHIN_S:g} s "
            stop = f"what runs of it is stopped by: harness cluster down --dir {where}"
            raise SetupError(f"{when}{trouble()}. {stop}")
        time.sleep(LOOK_EVERY_S)


def _not_serving(where: Path, found: Playground) -> str:
    """Which nodes do not serve, and what their logs say last."""
    silent = [node for node in found.nodes if not _get(where, node, "/health")]
    said = []
    for node in silent:
        what = "runs and does not serve" if _pids(where, node) else "does not run any more"
        said.append(f"{node.name} {what}; {_last_words(where, node)}")
    return "; ".join(said) or "a node served too late; it does now"


def _not_led(where: Path, found: Playground) -> str:
    """That no node leads, what each is, and what its log says last."""
    said = []
    for node in found.nodes:
        answer = _get(where, node, "/status") or {}
        said.append(f"{node.name} is {answer.get('role', 'silent')}; {_last_words(where, node)}")
    return f"no node leads: {'; '.join(said)}"


def _last_words(where: Path, node: NodePlace) -> str:
    """Where the log of a node is, and how it ends."""
    log = (where / f"{node.name}.log").resolve()
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
    except OSError as error:
        return f"its log {log} cannot be read: {error.strerror}"
    text = " | ".join(line.strip() for line in lines[-LOG_LINES:])[-LOG_CHARS:]
    return f"its log {log} ends with: {text}" if text else f"its log {log} is empty"
