"""``harness cluster``: a cluster to play with, and certificates for one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from harness.errors import EXIT_INFRASTRUCTURE, EXIT_VALID, UsageError
from harness.spec import parse_nodes

if TYPE_CHECKING:
    from harness.playground import Playground

WORDS = ("up", "status", "down", "certs")

_Word = Annotated[str, Parameter(show_default=False, help="up, status, down or certs.")]
_Dir = Annotated[str, Parameter(name="--dir", help="The cluster's directory.")]
_Nodes = Annotated[
    str | None,
    Parameter(
        name="--nodes",
        show_default=False,
        help="How many nodes a new cluster has (default 3); for certs, their names.",
    ),
]
_Role = Annotated[
    str,
    Parameter(
        name="--role",
        show_default=False,
        help="Role of a new cluster's nodes: core (default), data, leaderless, paxos or gossip.",
    ),
]
_Consensus = Annotated[
    str,
    Parameter(
        name="--consensus",
        show_default=False,
        help="Consensus of a new cluster: raft (default), multi-paxos, viewstamped or zab.",
    ),
]
_Port = Annotated[
    int | None,
    Parameter(
        name="--port", show_default=False, help="First port of a new cluster (default 7101)."
    ),
]
_Arg = Annotated[
    list[str] | None,
    Parameter(
        name="--arg",
        negative=(),
        help="One more argument for every node, {node} in it is the node's name; repeatable. "
        "Remembered for the next `up`; '' forgets those it had.",
    ),
]
_Certs = Annotated[
    str, Parameter(name="--certs", help="Mutual TLS with what `cluster certs` made there.")
]


def cluster(
    word: _Word = "",
    *,
    dir: _Dir = "playground",
    nodes: _Nodes = None,
    role: _Role = "",
    consensus: _Consensus = "",
    port: _Port = None,
    certs: _Certs = "",
    arg: _Arg = None,
) -> int:
    """Start, look at or stop a cluster of processes on this machine; make test certificates."""
    from harness.playground import tls_arguments, up

    where = Path(dir)
    match word:
        case "up":
            count = 0 if nodes is None else _count(nodes)
            kind = {"role": role, "consensus": consensus, "certs": certs}
            found = up(where, nodes=count, port=port, arguments=arg or (), **kind)
            return _told(where, found, tls_arguments(found.certs, "client"))
        case "status":
            return _status(where)
        case "down":
            return _down(where)
        case "certs":
            return _certs(where, parse_nodes("3" if nodes is None else nodes))
    there_are = f"there are {', '.join(WORDS)}"
    if not word:
        raise UsageError(f"harness cluster needs a word that says what to do; {there_are}")
    raise UsageError(f"there is no harness cluster {word!r}; {there_are}")


def _count(nodes: str) -> int:
    """How many nodes ``up`` is asked for: they are called n1, n2, ..."""
    if not nodes.isdecimal():
        raise UsageError(
            f"--nodes is {nodes!r}; it should be how many: they are called n1, n2, ..."
        )
    return len(parse_nodes(nodes))


#: role -> what its clients may say first; nodes of role gossip have no keys
_FIRST_WORDS = {"data": "data run 'append greeting hello' 'read greeting'", "gossip": ""}


def _told(where: Path, found: Playground, tls: list[str]) -> int:
    """Say what runs, and how to speak to it."""
    from harness.playground import TOKEN

    _status(where)
    if found.arguments:
        print(f"its nodes have: {shlex.join(found.arguments)}")
    asked = _FIRST_WORDS.get(found.role, "put greeting hello")
    if asked:
        print(
            f"speak to it:  python -m cluster.client --nodes {found.addresses} "
            f"{' '.join(['--token-file', str(where / TOKEN), *tls])} {asked}"
        )
    print(
        f"look at it:   python -m cluster.client --admin {found.admins} "
        f"--token-file {where / TOKEN} status"
    )
    print(f"stop it:      harness cluster down --dir {where}")
    return EXIT_VALID


def _status(where: Path) -> int:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from harness.playground import TOKEN, load, statuses
    from harness.terminal import Terminal

    found = statuses(where)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("node", "address", "role", "generation", "applied", "keys", "consensus"):
        table.add_column(title)
    for node in load(where).nodes:
        said = found[node.name]
        fields = ("role", "generation", "applied", "keys", "consensus")
        row = ["does not answer"] if said is None else [str(said.get(name, "")) for name in fields]
        table.add_row(node.name, f"127.0.0.1:{node.port}", *row)
    Terminal().print(table)
    if not (where / TOKEN).is_file():
        print(f"{where / TOKEN} is missing, and nodes answer only who has it")
    return EXIT_VALID if all(found.values()) else EXIT_INFRASTRUCTURE


def _down(where: Path) -> int:
    from harness.playground import down

    stopped = down(where)
    print(f"stopped: {', '.join(stopped)}" if stopped else "no node was running")
    return EXIT_VALID


def _certs(where: Path, nodes: tuple[str, ...]) -> int:
    from harness.certificates import make_certificates

    for file in make_certificates(where, nodes):
        print(file)
    print(f"a cluster with them: harness cluster up --certs {where}")
    print(
        f"start nodes with: --tls-ca {where / 'ca.pem'} --tls-cert {where / nodes[0]}.pem "
        f"--tls-key {where / nodes[0]}.key"
    )
    return EXIT_VALID
