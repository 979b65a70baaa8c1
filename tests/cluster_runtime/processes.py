"""Real nodes for the tests: started on free loopback ports, always stopped.

What is waited for is waited for long, and no longer than until it is there: a busy machine is slow
and not wrong.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

NODES = ("n1", "n2", "n3")
WITHIN_S = 90.0
#: where this process looks for its next port; others look elsewhere
_CANDIDATES = itertools.count(os.getpid() * 1009)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on and that no connection is given: a node may come back to one.

    The kernel gives connections ports of a range of its own, and may give away one that is free for
    the moment.
    """
    low, high = 10_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if high < low + 5_000:  # a machine where connections are given all ports
        high = 32_768
    ports: list[int] = []
    for number in itertools.islice(_CANDIDATES, 10_000):
        port = low + number % (high - low)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"no {count} free ports from {low} on")


def eventually(what: str, probe: Callable[[], Any], *, within_s: float = WITHIN_S) -> Any:
    """The first truthy result of a probe."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            found = probe()
        except (OSError, ValueError):
            found = None
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s: {what}")


class Cluster:
    """Nodes of one cluster, in processes.

    Args:
        root: where data and logs go.
        arguments: more arguments for every node.
        per_node: more arguments for a node.
        token: the cluster's; nodes have it from their environment.
    """

    def __init__(
        self,
        root: Path,
        *arguments: str,
        per_node: Callable[[str], Sequence[str]] = lambda node: (),
        nodes: Sequence[str] = NODES,
        token: str = "",
    ) -> None:
        self.root = root
        self.nodes = tuple(nodes)
        ports = free_ports(2 * len(nodes))
        self.ports = dict(zip(self.nodes, ports))
        self.admins = dict(zip(self.nodes, ports[len(nodes) :]))
        self.addresses = {n: f"127.0.0.1:{p}" for n, p in self.ports.items()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.token = token
        self._arguments = arguments
        self._per_node = per_node

    def __enter__(self) -> Cluster:
        for node in self.nodes:
            self.start(node)
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            self.kill(node)

    def argv(self, node: str, *more: str) -> list[str]:
        peers = ",".join(f"{n}={a}" for n, a in self.addresses.items())
        return [
            *(sys.executable, "-m", "cluster", "--id", node, "--listen", self.addresses[node]),
            *("--peers", peers, "--data", str(self.root / node)),
            *("--admin", f"127.0.0.1:{self.admins[node]}"),
            *self._arguments,
            *self._per_node(node),
            *more,
        ]

    def start(self, node: str, *more: str, wait: bool = True) -> None:
        with (self.root / f"{node}.log").open("ab") as log:
            variables = {**os.environ, **({"SPLITBRAIN_TOKEN": self.token} if self.token else {})}
            self.processes[node] = subprocess.Popen(
                self.argv(node, *more), stdout=log, stderr=log, env=variables
            )
        if wait:
            eventually(f"{node} serves\n{self.log(node)}", lambda: self.get(node, "/health"))

    def refusal(self, node: str, *more: str) -> str:
        """Start a node that must refuse: its one sentence."""
        done = subprocess.run(
            self.argv(node, *more), capture_output=True, timeout=WITHIN_S, text=True
        )
        assert done.returncode == 3, (done.returncode, done.stderr)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def kill(self, node: str, number: int = signal.SIGKILL) -> int:
        """Signal a node and wait for its end; its exit code."""
        process = self.processes.get(node)
        if process is None:
            return 0
        if process.poll() is None:
            os.kill(process.pid, number)
        return process.wait(WITHIN_S)

    def log(self, node: str) -> str:
        return (self.root / f"{node}.log").read_text()

    def events(self, node: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log(node).splitlines() if line.startswith("{")]

    def request(
        self,
        node: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """An HTTP request with the cluster's token, or with these headers instead."""
        if headers is None:
            headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connection = HTTPConnection("127.0.0.1", self.admins[node], timeout=WITHIN_S)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, body=data, headers=dict(headers))
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, json.loads(text) if text.startswith("{") else text
        finally:
            connection.close()

    def get(self, node: str, path: str) -> Any:
        status, answer = self.request(node, "GET", path)
        return answer if status == 200 else None

    def post(self, node: str, path: str, body: Any) -> Any:
        status, answer = self.request(node, "POST", path, body)
        assert status == 200, answer
        return answer

    def leader(self, *, among: Sequence[str] = ()) -> str:
        """Wait for a leader that has applied something in its generation."""

        def probe() -> str | None:
            for node in among or self.nodes:
                status = self.get(node, "/status")
                if status["role"] == "leader" and status["applied"] == status["last_index"] > 0:
                    return node
            return None

        return str(eventually("a leader", probe))
