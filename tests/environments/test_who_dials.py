"""Who dials a shared address is known from the first connection on, or a cut would not be one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from arms import PATIENCE_S

from harness.environments import processes
from harness.environments.network.proxy import Proxy

pytestmark = pytest.mark.real
RUN = f"who-dials-{os.getpid()}"
DIAL = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); input()"


class Dialled:
    """An address, and programs that dial it and stay."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(PATIENCE_S)
        self.at: tuple[str, int] = self.server.getsockname()
        self.children: list[subprocess.Popen[bytes]] = []
        self.taken: list[socket.socket] = []

    def by(self, node: str, *, run: str = RUN) -> tuple[str, int]:
        """Have a node's program dial; where from."""
        words = [sys.executable, "-S", "-c", DIAL, str(self.at[1])]
        variables = processes.mark(run, node, os.environ)
        self.children.append(subprocess.Popen(words, stdin=subprocess.PIPE, env=variables))
        connection, peer = self.server.accept()
        self.taken.append(connection)
        return peer[0], peer[1]


@pytest.fixture
def dialled() -> Iterator[Dialled]:
    made = Dialled()
    yield made
    for child in made.children:
        child.kill()
        child.communicate()
    for each in (*made.taken, made.server):
        each.close()


def proxy() -> Proxy:
    made = Proxy(1, run_id=RUN)
    made._nodes = {"n1", "n2"}
    return made


def test_a_node_which_nobody_told_of_yet_is_found_by_its_mark(dialled: Dialled) -> None:
    assert proxy().who_dials(dialled.by("n2"), dialled.at) == "n2"


def test_a_session_that_was_told_of_is_believed(dialled: Dialled) -> None:
    peer = dialled.by("n1", run="another")
    told = proxy()
    told.add_session("n1", os.getsid(0))
    assert told.who_dials(peer, dialled.at) == "n1"


def test_strangers_and_the_harness_itself_are_no_nodes(dialled: Dialled) -> None:
    assert proxy().who_dials(dialled.by("n1", run="another"), dialled.at) == ""
    assert proxy().who_dials(dialled.by("(probe)"), dialled.at) == ""
    with socket.create_connection(dialled.at) as ours:
        assert proxy().who_dials(ours.getsockname(), dialled.at) == ""
