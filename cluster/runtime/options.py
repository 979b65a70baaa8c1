"""A node's options: the command line, checked before anything is touched.

Everything wrong is an :class:`OptionError` whose message is one sentence that names the option and
shows the value. A node that can be reached over the network must have certificates, or the
option ``--allow-remote``; an ablation needs ``--unsafe-ablation``. A token (see ``token``) is
optional: without one, and without certificates, every user of this machine is a client and an
operator.
"""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from cluster.ablations.registry import UnknownAblation, find
from cluster.config import MS, VERSIONS, ClusterConfig
from cluster.consensus.membership import name_of
from cluster.consensus.membership_change import member_problem
from cluster.runtime.token import BadToken, read_token
from cluster.spelling import nearest

ROLES = ("core", "paxos", "data", "gossip", "leaderless")
#: roles whose nodes have replicated logs
VARIANT_ROLES = ("core", "data")
CONSENSUS = ("raft", "multi-paxos", "zab", "viewstamped")

#: Most fixed partitions that a cluster may be founded with.
PARTITIONS_MAX = 1_024


class OptionError(Exception):
    """An option is wrong; the message is one sentence for the user."""


class Address(msgspec.Struct, frozen=True):
    """Host and TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class TlsFiles(msgspec.Struct, frozen=True):
    """Certificate authority, certificate and key, PEM."""

    ca: Path
    cert: Path
    key: Path


class NodeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a node; see ``python -m cluster --help``."""

    id: str
    listen: Address
    peers: dict[str, Address]
    data: Path
    config: ClusterConfig
    admin: Address | None = None
    role: str = "core"
    consensus: str = "raft"
    ablations: tuple[str, ...] = ()
    chaos: bool = False
    tls: TlsFiles | None = None
    parent_pid: int = 0
    join: bool = False
    token: str = ""

    @property
    def variant(self) -> str:
        """The consensus of the node's logs; "" for a role without."""
        return self.consensus if self.role in VARIANT_ROLES else ""

    def address_of(self, member: str) -> Address | None:
        """Where ``--peers`` says a member is dialled: as itself, or as the node it lives on."""
        return self.peers.get(member) or self.peers.get(name_of(member))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def parse_address(text: str, *, option: str) -> Address:
    """``host:port``, with an IPv6 host in brackets.

    Raises:
        OptionError: it is not.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise OptionError(f"{option} {text!r} is not HOST:PORT, such as 127.0.0.1:7001")
    return Address(host, int(port))


def parse_peers(text: str, *, option: str = "--peers") -> dict[str, Address]:
    """``n1=host:port,n2=host:port``.

    Raises:
        OptionError: it is not, or names a node twice.
    """
    peers: dict[str, Address] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        node, equals, address = part.partition("=")
        if not equals or not node:
            raise OptionError(f"{option} has {part!r}, which is not NODE=HOST:PORT")
        if node in peers:
            raise OptionError(f"{option} names node {node!r} twice")
        peers[node] = parse_address(address, option=f"{option} {node}=")
    if not peers:
        raise OptionError(f"{option} {text!r} names no node")
    return peers


def parse_options(arguments: Sequence[str]) -> NodeOptions:
    """The options on a command line.

    Raises:
        OptionError: one of them is wrong.
        SystemExit: ``--help`` was asked for and given.
    """
    given = _parser().parse_args(arguments)
    options = NodeOptions(
        id=given.id,
        listen=parse_address(given.listen, option="--listen"),
        peers=parse_peers(given.peers),
        data=Path(given.data),
        config=_config(given),
        admin=parse_address(given.admin, option="--admin") if given.admin else None,
        role=given.role,
        consensus=given.consensus,
        ablations=_ablations(given.ablate, unsafe=given.unsafe_ablation),
        chaos=given.enable_chaos,
        tls=_tls(given),
        parent_pid=given.parent_pid,
        join=given.join,
        token=_token(given.token_file),
    )
    _check(options, allow_remote=given.allow_remote)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m cluster", description="Run one node of the reference cluster.")
    add = parser.add_argument
    add("--id", required=True, help="this node's id, such as n1")
    add("--listen", required=True, metavar="HOST:PORT", help="where peers and clients connect")
    add("--peers", required=True, metavar="N=HOST:PORT,...", help="all nodes, as this one dials")
    add("--join", action="store_true", help="join a cluster that has not this node yet")
    add("--data", required=True, metavar="DIR", help="data directory, of this node alone")
    add(
        "--role",
        default="core",
        help="what the node is part of: core, paxos (a register per key), data (many groups), "
        "gossip (members), or leaderless (any node takes writes)",
    )
    add("--consensus", default="raft", help=f"consensus variant: {', '.join(CONSENSUS)}")
    add("--cluster", default="splitbrain", metavar="NAME", help="others are refused")
    add("--admin", metavar="HOST:PORT", help="HTTP endpoint for health, status and metrics")
    add("--ablate", action="append", default=[], metavar="ID", help="remove one decision")
    add("--unsafe-ablation", action="store_true", help="yes, break this node on purpose")
    add("--enable-chaos", action="store_true", help="let the admin endpoint inject faults")
    add("--allow-remote", action="store_true", help="listen beyond loopback without certificates")
    add("--tls-ca", metavar="FILE", help="authority that peers' and clients' certificates need")
    add("--tls-cert", metavar="FILE", help="this node's certificate, with its id as a DNS name")
    add("--tls-key", metavar="FILE", help="its key")
    add("--token-file", metavar="FILE", help="secret of the cluster; or variable SPLITBRAIN_TOKEN")
    add("--parent-pid", type=int, default=0, metavar="PID", help="stop when this process ends")
    add("--heartbeat-ms", type=float, metavar="N", help="default 50")
    add("--election-ms", metavar="LOW,HIGH", help="bounds of the election timeout; 300,600")
    add("--no-prevote", action="store_true", help="campaign without asking first")
    add("--no-check-quorum", action="store_true", help="lead on without hearing a majority")
    add("--segment-bytes", type=int, metavar="N", help="size of a log segment; 16777216")
    add("--snapshot-entries", type=int, metavar="N", help="entries between snapshots; 10000")
    add("--snapshot-keep-entries", type=int, metavar="N", help="entries kept below one; 5000")
    add("--clock-bound-ms", type=float, metavar="N", help="clocks differ by at most this; 250")
    add("--partitions", type=int, metavar="N", help="fixed partitions of a new data cluster; 16")
    add("--partition-splits", metavar="KEY,...", help="ranges instead, cut at these keys at first")
    add("--inflight-max", type=int, metavar="N", help="appends under way per follower; 256")
    add("--pending-max", type=int, metavar="N", help="requests waiting; 10000")
    add("--versions", metavar="NAME", help=f"of role leaderless: {', '.join(VERSIONS)}")
    add("--replicas", type=int, metavar="N", help="of role leaderless: nodes that hold a key; 3")
    add("--read-quorum", type=int, metavar="N", help="replicas that a read waits for; 2")
    add("--write-quorum", type=int, metavar="N", help="replicas that a write waits for; 2")
    return parser


def _config(given: argparse.Namespace) -> ClusterConfig:
    changes: dict[str, object] = {"cluster": given.cluster}
    names = ("segment_bytes", "snapshot_entries", "snapshot_keep_entries")
    quorums = ("replicas", "read_quorum", "write_quorum")
    for name in (*names, "inflight_max", "pending_max", *quorums):
        value = getattr(given, name)
        if value is not None:
            if value < (0 if name == "snapshot_keep_entries" else 1):
                raise OptionError(f"--{name.replace('_', '-')} {value} is too small")
            changes[name] = value
    if given.heartbeat_ms is not None:
        if not given.heartbeat_ms > 0:
            raise OptionError(f"--heartbeat-ms {given.heartbeat_ms:g} is not above 0")
        changes["heartbeat_ns"] = int(given.heartbeat_ms * MS)
    if given.clock_bound_ms is not None:
        if not given.clock_bound_ms > 0:
            raise OptionError(f"--clock-bound-ms {given.clock_bound_ms:g} is not above 0")
        changes["clock_offset_bound_ns"] = int(given.clock_bound_ms * MS)
    if given.election_ms:
        changes["election_min_ns"], changes["election_max_ns"] = _bounds(given.election_ms)
    if given.versions is not None:
        _choice("--versions", given.versions, VERSIONS)
        changes["versions"] = given.versions
    changes |= _partitions(given)
    changes["prevote"] = not given.no_prevote
    changes["check_quorum"] = not given.no_check_quorum
    if not given.cluster:
        raise OptionError("--cluster is empty: a cluster needs a name")
    config = msgspec.structs.replace(ClusterConfig(), **changes)
    if config.heartbeat_ns >= config.election_min_ns:
        raise OptionError(
            f"heartbeats every {config.heartbeat_ns / MS:g} ms do not prevent elections after "
            f"{config.election_min_ns / MS:g} ms; --heartbeat-ms must be below --election-ms"
        )
    return config


def _partitions(given: argparse.Namespace) -> dict[str, object]:
    """How a new cluster of role data divides its keys."""
    if given.partition_splits is not None:
        if given.partitions is not None:
            raise OptionError("--partitions is for fixed partitions; --partition-splits has ranges")
        splits = tuple(filter(None, given.partition_splits.split(",")))
        if list(splits) != sorted(set(splits)):
            raise OptionError(f"--partition-splits {given.partition_splits!r} is not in order")
        return {"partition_scheme": "ranges", "partition_splits": splits}
    if given.partitions is None:
        return {}
    if not 1 <= given.partitions <= PARTITIONS_MAX:
        raise OptionError(f"--partitions {given.partitions} is not from 1 to {PARTITIONS_MAX}")
    return {"partition_slots": given.partitions}


def _bounds(text: str) -> tuple[int, int]:
    try:
        low, high = (int(float(part) * MS) for part in text.split(","))
    except ValueError:
        raise OptionError(f"--election-ms {text!r} is not LOW,HIGH, such as 300,600") from None
    if not 0 < low <= high:
        raise OptionError(f"--election-ms {text!r} has bounds that are not 0 < LOW <= HIGH")
    return low, high


def _ablations(names: Sequence[str], *, unsafe: bool) -> tuple[str, ...]:
    wanted = [name for group in names for name in group.split(",") if name]
    if wanted and not unsafe:
        raise OptionError(f"--ablate {','.join(wanted)} breaks this node: add --unsafe-ablation")
    try:
        return tuple(dict.fromkeys(find(name).name for name in wanted))
    except UnknownAblation as error:
        raise OptionError(f"--ablate: {error}") from None


def _tls(given: argparse.Namespace) -> TlsFiles | None:
    files = (given.tls_ca, given.tls_cert, given.tls_key)
    if not any(files):
        return None
    if not all(files):
        raise OptionError("--tls-ca, --tls-cert and --tls-key go together: all three or none")
    return TlsFiles(*map(Path, files))


def _token(file: str | None) -> str:
    try:
        return read_token(file)
    except BadToken as error:
        raise OptionError(str(error)) from None


def _choice(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        near = nearest(value, known)
        guess = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
        raise OptionError(f"{option} {value!r} is not known; {guess}")


def _check_peer(options: NodeOptions) -> None:
    """Refuse options that do not fit a role without new members, or without a log."""
    if options.consensus != "raft" and options.role not in VARIANT_ROLES:
        raise OptionError(
            f"--consensus {options.consensus!r} is for --role {' or '.join(VARIANT_ROLES)}; --role "
            f"{options.role} has no log to agree on"
        )
    if options.join and options.role != "leaderless":
        raise OptionError(
            f"--join is for --role core and --role leaderless; members of --role {options.role} do "
            "not change"
        )


def _check_quorums(options: NodeOptions) -> None:
    """Quorums that no replicas can form, or that need not meet."""
    config = options.config
    reads, writes, replicas = config.read_quorum, config.write_quorum, config.replicas
    if max(reads, writes) > replicas:
        raise OptionError(f"--read-quorum and --write-quorum are of the {replicas} --replicas")
    if reads + writes <= replicas:
        raise OptionError(
            f"--read-quorum {reads} and --write-quorum {writes} of {replicas} replicas need not "
            "meet; their sum must be above --replicas"
        )


def _check(options: NodeOptions, *, allow_remote: bool) -> None:
    _choice("--role", options.role, ROLES)
    _choice("--consensus", options.consensus, CONSENSUS)
    if options.role != "core":
        _check_peer(options)
    if options.role == "leaderless":
        _check_quorums(options)
    wrong = member_problem(options.id)
    if wrong:
        raise OptionError(f"--id: {wrong}")
    if options.address_of(options.id) is None:
        raise OptionError(f"--id {options.id!r} is not in --peers {', '.join(options.peers)}")
    if options.parent_pid < 0:
        raise OptionError(f"--parent-pid {options.parent_pid} is no process id")
    if allow_remote:
        return
    if not options.listen.is_loopback and options.tls is None:
        raise OptionError(
            f"--listen {options.listen} can be reached by others, who would not have to "
            "authenticate: give --tls-ca, --tls-cert and --tls-key, or --allow-remote"
        )
    if options.admin is not None and not options.admin.is_loopback:
        raise OptionError(
            f"--admin {options.admin} can be reached by others and has no authentication: "
            "use a loopback address, or give --allow-remote"
        )
