"""Our own cluster under test: ``python -m cluster`` on real environments, cores in simulation.

Nodes run with the chaos endpoint, so that clocks and disks can be made faulty from inside, and may
run ablated (``ablate="A30"``): the same system with one decision removed, which the harness must
catch. Clients use the cluster's own session: retries, redirects, deduplication, deadlines; its
``unknown`` is our ``info``. Each client prefers its own node and follows redirects from there, so
that some client asks a deposed leader.

Sets and logs are lists that values are appended to, identifiers a counter, and a queue is a list
whose first element is taken by compare-and-set of the whole list: sound, since no list comes twice,
and dear, so queues should stay short.

Options: ``role`` (``core``; ``paxos``: a register per key, no log and no leader; ``data``: many
replicated groups, each operation a transaction over their partitions, but for watches, leases,
locks and elections, which are the core's; ``gossip``: members found out by gossip, and the leader
that emerges; ``leaderless``: any node takes writes; if it is not given, the one that the ablations
or the workload's objects are for, or ``core``), ``consensus`` (of roles ``core`` and ``data``); of
role ``data`` ``isolation``, ``scheme`` (``fixed`` or ``range``), ``partitions`` (how many at first)
and ``clock_bound_ms`` (by how much clocks may differ, and what a commit waits); of role
``leaderless`` ``versions`` (``dotted``, which keeps concurrent writes; or the last writer wins, by
``lww-hybrid``, ``lww-lamport`` or ``lww-wall`` clocks) and ``consistency`` (``quorum`` or ``one``);
``ablate`` (ids separated by commas or a list), ``read_mode`` (one of :data:`READ_MODES`;
what each promises: :mod:`cluster.data.follower_reads`), ``staleness_s`` (of mode ``bounded``: how
old what a read returns may be), ``lease_ttl_s`` (of locks), ``op_timeout_s``, ``peer_port``,
``admin_port``, ``args`` (more arguments for every node), ``sources`` (``own``: a run is refused
where an image or a host has another version of the cluster; ``any``: it is tested as it is),
``objects`` (what keys are; given by the workload).

Each run has a token of its own, so that no other user of the machine writes to the cluster, removes
its members or breaks its disks. Nodes are given it in their environment; no file of the run has it.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from checkers.core.wording import did_you_mean
from harness.costs import STARTS
from harness.databases import source_digest
from harness.databases.base import (
    Assumptions,
    Invocation,
    Outcome,
    RecoveryBounds,
    operations_of,
)
from harness.databases.http_clients import answered
from harness.databases.reference_clients import CLIENTS, OF_GOSSIP, Objects
from harness.databases.reference_data import DATA_CLIENTS
from harness.databases.reference_holders import (
    HOLDER_OPERATIONS,
    HOLDERS,
    ClientLife,
    StandingStill,
)
from harness.databases.reference_leaderless import (
    CONSISTENCY,
    OF_LEADERLESS,
    VERSIONS,
    check_options,
    clients_of,
)
from harness.databases.reference_members import ATTEMPT_S, REQUEST_S, ReferenceMembers
from harness.databases.reference_partitions import Dividing, ReferencePartitions
from harness.environments.base import OWN_NODE_MODES, Node, SimulatedNode
from harness.errors import SetupError, UsageError, nearest
from workloads.lock import FencedResource

#: where a node finds its token (see ``cluster.runtime.token``)
TOKEN_VARIABLE = "SPLITBRAIN_TOKEN"
READ_MODES = ("linearizable", "lease", "follower", "session", "bounded", "stale")
#: which version of the cluster an image or a host may have: this harness's own, or any
SOURCES = ("own", "any")
#: of ``bounded`` reads: how old what they return may be, unless ``staleness_s`` says otherwise
STALENESS_S = 1.0
ROLES = ("core", "paxos", "data", "gossip", "leaderless")
READY_WITHIN_S = 30.0
#: Declared: after the last fault an operation is answered in so many seconds, and no intent, lease
#: or lock of the faults is left. The simulation's liveness phase asks for all of it in the first.
SERVES_WITHIN_S, CLEAN_WITHIN_S = 20.0, 30.0
_OWN_NODE_EVERY_S = 0.05
#: kind of objects -> the only role whose nodes have it
_OF_ROLE = {**dict.fromkeys(OF_GOSSIP, "gossip"), **dict.fromkeys(OF_LEADERLESS, "leaderless")}
#: kinds of faults after which a node may refuse to start, if its role has no repair
DAMAGES = frozenset({"flip", "lost-tail"})
#: gossip takes seconds to be sure of a death: shorter faults would change no view
GOSSIP_TIMINGS = {"nemesis_interval_s": 10.0, "fault_duration_s": "4s..8s"}
#: what is held needs a cluster that serves for a while: to be taken, kept, and given back or lost.
#: Three kinds of faults as often as ours come would leave a busy machine no such time.
HOLDER_TIMINGS = {"nemesis_interval_s": 10.0, "fault_duration_s": "1.5s..4s"}
#: how long a client waits for one node before it asks another: the patient and the restless, which
#: finds the nodes that should not answer any more (with A30, in 15 of 16 runs instead of 2)
_ATTEMPTS_S = (1.0, 0.2)

Commands = dict[str, tuple[str, Callable[[Any], tuple[Any, ...]]]]


def _nothing(value: Any) -> tuple[Any, ...]:
    return ()


def _itself(value: Any) -> tuple[Any, ...]:
    return (value,)


def _amount(value: Any) -> tuple[Any, ...]:
    return (1 if value is None else value,)


#: operation -> (command, its arguments from the operation's value)
COMMANDS: Commands = {
    "read": ("get", _nothing),
    "stat": ("stat", _nothing),
    "write": ("put", _itself),
    "cas": ("cas", tuple),
    "append": ("append", _itself),
    "incr": ("incr", _amount),
    "add": ("incr", _amount),
    "delete": ("delete", _nothing),
}

#: what keys are -> the commands of the operations on them
OBJECTS: dict[str, Commands] = {
    "register": COMMANDS,
    "list": {"read": ("get", _nothing), "append": ("append", _itself)},
    "set": {"read": ("get", _nothing), "add": ("append", _itself)},
    "counter": {"read": ("get", _nothing), "add": ("incr", _amount)},
    "ids": {"generate": ("incr", _amount)},
    "queue": {
        "enqueue": ("append", _itself),
        "dequeue": ("cas", tuple),
        "drain": ("cas", tuple),
    },
    "log": {
        "send": ("append", _itself),
        "poll": ("get", _nothing),
        "assign": ("get", _nothing),
    },
}
_ANSWERS = frozenset({"read", "stat", "incr", "generate", "send", "poll"})
#: what an absent key reads as
_ABSENT: dict[str, Any] = {"list": [], "set": [], "counter": 0}
#: tries of a dequeue to be quicker than others
_TAKES_MAX = 20


def _known_sources(sources: str) -> str:
    if sources not in SOURCES:
        raise nearest("sources", sources, SOURCES)
    return sources


async def _require_own_sources(node: Node) -> None:
    """That the copy of the cluster on a node is this one: the report names this one's commit.

    Raises:
        SetupError: it is another, or there is none.
    """
    script = Path(source_digest.__file__).read_text("utf-8")
    done = await node.run(sys.executable, "-c", script, check=False)
    if done.exit_code:
        why = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise SetupError(
            f"no copy of the cluster was found on {node.name} ({why}): give the image that "
            "`bash scripts/docker_build.sh` builds (docker), or install this version on the host "
            "and name its interpreter, --env-option python=FILE (ssh)"
        )
    there = done.stdout.strip()
    own = source_digest.source_digest(source_digest.package_directory())
    if there != own:
        raise SetupError(
            f"the copy of the cluster on {node.name} has the digest {there}, and this one {own}: "
            "build the image again with `bash scripts/docker_build.sh` (docker), or install this "
            "version on the host (ssh); --db-option sources=any tests the copy as it is"
        )


class Reference(ReferenceMembers, ReferencePartitions):
    """The reference cluster."""

    name = "reference"
    operations = frozenset(COMMANDS)
    #: the options that are one of a few words
    option_values: Mapping[str, Sequence[str]] = {
        "role": ROLES,
        "read_mode": READ_MODES,
        "sources": SOURCES,
        "versions (role leaderless)": VERSIONS,
        "consistency (role leaderless)": CONSISTENCY,
    }
    #: how long faults last; None for our own
    timings: dict[str, Any] | None = None

    def __init__(
        self,
        *,
        role: str = "",
        consensus: str = "raft",
        ablate: str | Sequence[str] = (),
        read_mode: str = "linearizable",
        staleness_s: float | None = None,
        versions: str = "dotted",
        consistency: str = "quorum",
        op_timeout_s: float = 5.0,
        peer_port: int = 7001,
        admin_port: int = 8001,
        args: str | Sequence[str] = (),
        objects: str = "register",
        lease_ttl_s: float = 1.0,
        isolation: str = "",
        scheme: str = "",
        partitions: int | None = None,
        clock_bound_ms: float | None = None,
        sources: str = "own",
    ) -> None:
        super().__init__()
        #: whether nodes must run the cluster that this harness comes with
        self.sources = _known_sources(sources)
        if read_mode not in READ_MODES:
            raise nearest("read_mode", read_mode, READ_MODES)
        named = ablate.split(",") if isinstance(ablate, str) else list(ablate)
        self.ablate = tuple(name.strip() for name in named if name.strip())
        self.role = _known_role(role or _role_for(self.ablate, objects))
        if self.role == "leaderless":
            check_options(
                versions=versions, consistency=consistency, consensus=consensus, read_mode=read_mode
            )
            read_mode = consistency
        else:
            _check_agreeing(versions, consistency)
            if self.role != "core":
                _check_peers(self.role, consensus=consensus, read_mode=read_mode)
        #: how old what a ``bounded`` read returns may be
        self.staleness_s = _staleness(read_mode, staleness_s)
        _check_values(consensus, op_timeout_s=op_timeout_s, lease_ttl_s=lease_ttl_s)
        #: how role data divides keys, and what its transactions promise
        self.dividing = Dividing.checked(
            self.role, isolation, scheme, partitions=partitions, clock_bound_ms=clock_bound_ms
        )
        self.isolation = self.dividing.isolation
        self.keys_seen: dict[str, None] = {}
        self.timings = _timings(self.role, objects)
        self.consensus = consensus
        self.versions = versions
        self.read_mode = read_mode
        self.op_timeout_s = op_timeout_s
        self.peer_port = peer_port
        self.admin_port = admin_port
        self.args = tuple(args.split() if isinstance(args, str) else args)
        #: kind of objects -> its client, where it has one of its own
        self.clients = clients_of(versions) if self.role == "leaderless" else CLIENTS
        self.operations = _operations(self.role, self.clients, objects)
        self.lease_ttl_s = lease_ttl_s
        #: what locks guard and leaders act on, outside the cluster
        self.resource = FencedResource()
        #: which clients stand still
        self.still = StandingStill()
        self.objects = objects
        self._clients = 0
        #: what clients, peers and operators of this cluster show for themselves
        self.token = secrets.token_hex(16)

    # -- nodes ---------------------------------------------------------------------------------

    async def setup(self, node: Node) -> None:
        """See that a node elsewhere runs these sources; it makes its data directory itself.

        Raises:
            SetupError: an image or a host has another version of the cluster.
        """
        elsewhere = not isinstance(node, SimulatedNode) and not node.address.startswith("127.")
        if elsewhere and self.sources == "own":
            await _require_own_sources(node)

    async def start(self, node: Node) -> None:
        """Start the node's process (in simulation, its core)."""
        ports = (self.peer_port, self.admin_port)
        env = {TOKEN_VARIABLE: self.token}
        await node.spawn(*self.argv(node), env=env, ports=ports, chaos_port=self.admin_port)

    def argv(self, node: Node) -> list[str]:
        """The node's command line."""
        peers = []
        for peer in node.nodes:
            address = node.peer_address(peer, self.peer_port, framing="frames")
            peers.append(f"{peer}={address}")
        argv = [sys.executable, "-m", "cluster", "--id", node.name]
        argv += ["--listen", f"{node.address}:{self.peer_port}", "--peers", ",".join(peers)]
        argv += ["--data", "/data", "--admin", f"{node.address}:{self.admin_port}"]
        argv += ["--role", self.role, "--consensus", self.consensus, "--enable-chaos"]
        if self.role == "leaderless":
            argv += ["--versions", self.versions]
        argv += [*self.dividing.arguments, *self.args]
        if not node.address.startswith("127."):
            # A network made for this run, or hosts whose firewall is their owner's business.
            argv.append("--allow-remote")
        if self.ablate:
            argv += ["--ablate", ",".join(self.ablate), "--unsafe-ablation"]
        return argv

    async def ready(self, node: Node) -> None:
        """Wait until the node serves, and is a member again if it was removed."""
        await node.http_ok(self.admin_port, "/health", within_s=READY_WITHIN_S)
        await self.bring_back(node)
        if self.role == "data":
            await self.map_known(node, within_s=READY_WITHIN_S)

    async def teardown(self, node: Node) -> None:
        """Nothing: the environment removes the node's data."""

    async def status(self, node: Node) -> dict[str, Any] | None:
        """The node's own view of things, or None if it does not answer."""
        if isinstance(node, SimulatedNode):
            return await node.cluster_status()

        def ask(http: Any) -> Awaitable[Any]:
            http.token = self.token
            return http.get("/status")  # type: ignore[no-any-return]

        answer = await answered(node, self.admin_port, ask)
        return answer if isinstance(answer, dict) else None

    @property
    def data_objects(self) -> frozenset[str]:
        """The kinds of objects that are transactions over partitions."""
        return frozenset(DATA_CLIENTS) if self.role == "data" else frozenset()

    @property
    def claims(self) -> tuple[str, ...]:
        """What transactions over partitions promise, at their level."""
        return (self.isolation,) if self.objects in self.data_objects else ()

    @property
    def claims_because(self) -> str:
        """The level they run at."""
        return f"role data runs at isolation={self.isolation}"

    @property
    def node_settings(self) -> dict[str, Any]:
        """The configuration of the simulation's nodes, by the names of ``ClusterConfig``."""
        if self.role == "leaderless":
            return {"versions": self.versions}
        return self.dividing.settings

    @property
    def assumptions(self) -> Assumptions:
        """The clock assumptions of its leases, if it has leases, and of its transactions; its log
        has none."""
        from cluster.core.lease import MARGIN

        if self.objects in self.data_objects:
            return Assumptions(clock_offset_s=self.dividing.clock_bound_ms / 1e3)

        if self.objects in ("lease", *HOLDERS):
            # A granter that is slow keeps a lease for longer, which does no harm.
            return Assumptions(clock_rate_max=1 + MARGIN)
        if self.read_mode == "lease":
            # A leader trusts its lease for half of the time that others wait at least.
            return Assumptions(clock_rate_max=2.0, clock_rate_min=0.5)
        if self.read_mode == "bounded":
            # A node measures the age of its state by its own clock, which must not be slow.
            return Assumptions(clock_rate_min=1.0)
        return Assumptions()

    @property
    def reads_within_s(self) -> float:
        """How old what a read returns may be, in seconds; infinite for any age.

        A read of a session is of any age, too: what sessions are promised instead is the business
        of the workload ``sessions``.
        """
        if self.role != "core" or self.read_mode in ("linearizable", "lease", "follower"):
            return 0.0
        return self.staleness_s if self.read_mode == "bounded" else math.inf

    @property
    def recovery_bounds(self) -> RecoveryBounds:
        """What every role promises; what transactions leave behind is gone a little later."""
        clean_s = CLEAN_WITHIN_S if self.objects in self.data_objects else None
        return RecoveryBounds(serves_s=SERVES_WITHIN_S, clean_s=clean_s)

    def cannot(self, nemesis: Any) -> str:
        """Why a nemesis makes no sense with nodes of this role; "" if it does."""
        asked = getattr(nemesis, "db_needs", ())
        if "change_partition" in asked:
            return self.dividing.cannot(self.role, nemesis.name)
        if self.role == "core":
            fixed = "add_member" in asked and self.consensus != "raft"
            return f"the members of a {self.consensus} cluster do not change" if fixed else ""
        if "add_member" in asked and self.role != "leaderless":
            return f"the members of role {self.role} do not change"
        if self.role == "gossip" and not DAMAGES.isdisjoint(getattr(nemesis, "variants", ())):
            # Who must be named at the end are all nodes.
            return (
                "a node of role gossip repairs no damaged log: it refuses to start, and stays away"
            )
        leads = self.role in ("data", "gossip")
        if getattr(nemesis, "only_primaries", False) and not leads:
            return (
                f"there is no leader in role {self.role}; name nodes, or use one, minority or "
                "majority"
            )
        return ""

    async def work_done(self, nodes: Sequence[Node]) -> dict[str, int]:
        """Commits; syncs of all logs and bytes between nodes, where every node says so.

        Real nodes count from their last start, and also say how often they were started.
        """
        statuses = await self._statuses(nodes)
        marks = [int(s.get("high_water_mark", 0)) for s in statuses if s is not None]
        done = {"commits": max(marks, default=0)}
        simulated = [node for node in nodes if isinstance(node, SimulatedNode)]
        if len(simulated) == len(nodes):
            done["syncs"] = sum([await node.cluster_syncs() for node in simulated])
            done["bytes"] = sum([await node.cluster_sent_bytes() for node in simulated])
            return done
        reported = [s for s in statuses if s is not None and "storage" in s and "links" in s]
        if len(reported) == len(nodes):
            done["syncs"] = sum(int(s["storage"]["syncs"]) for s in reported)
            done["bytes"] = sum(int(k["sent_bytes"]) for s in reported for k in s["links"].values())
            done[STARTS] = sum(int(s["start"]) for s in reported)
        return done

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """Every node which believes that it leads; a deposed leader too, which is the point."""
        leaders = []
        for node, status in zip(nodes, await self._statuses(nodes), strict=True):
            if status is not None and status.get("role") == "leader":
                leaders.append(node.name)
        return leaders

    async def generation(self, nodes: Sequence[Node]) -> int:
        """The highest generation any node knows; 0 if none answers. Grows with each election."""
        statuses = await self._statuses(nodes)
        return max((int(status["generation"]) for status in statuses if status), default=0)

    async def _statuses(self, nodes: Sequence[Node]) -> list[dict[str, Any] | None]:
        if any(isinstance(node, SimulatedNode) for node in nodes):
            # Virtual time has no event loop to gather on.
            return [await self.status(node) for node in nodes]
        return list(await asyncio.gather(*(self.status(node) for node in nodes)))

    # -- clients -------------------------------------------------------------------------------

    def operator(self, node: Node, name: str) -> Any:
        """A session for requests about the cluster."""
        if isinstance(node, SimulatedNode):
            timeout_ns, attempt_ns = int(REQUEST_S * 1e9), int(ATTEMPT_S * 1e9)
            return node.cluster_session(name, timeout_ns=timeout_ns, attempt_ns=attempt_ns)
        return SocketSession(node, name, self, attempt_s=ATTEMPT_S, timeout_s=REQUEST_S)

    def pause_clients(self, node: str) -> int:
        """Stop the clients of a node that hold something; the others hold nothing to lose."""
        return self.still.stop(node) if self.objects in HOLDERS else 0

    def resume_clients(self, node: str) -> None:
        """Let the clients of a node go on."""
        self.still.go_on(node)

    def client(self) -> ReferenceClient:
        """A client for one process."""
        self._clients += 1
        attempt_s = _ATTEMPTS_S[self._clients // 3 % 2]
        kind = "client" if self.objects == "register" else f"{self.objects}-client"
        return ReferenceClient(self, f"{kind}-{self._clients}", attempt_s=attempt_s)


def _table(role: str, clients: Mapping[str, type[Objects]]) -> dict[str, Any]:
    """The operations of clients of a role, by kind of objects."""
    kinds = {kind: each.operations for kind, each in clients.items()}
    if role == "leaderless":
        return kinds
    if role == "paxos":  # a register per key: no transactions, watches or leases
        return dict(OBJECTS)
    table = {**OBJECTS, **kinds, **HOLDER_OPERATIONS}
    if role == "data":
        table |= {kind: each.operations for kind, each in DATA_CLIENTS.items()}
    return {kind: ops for kind, ops in table.items() if (kind in OF_GOSSIP) == (role == "gossip")}


def _operations(role: str, clients: Mapping[str, type[Objects]], objects: str) -> frozenset[str]:
    """The operations on a kind of objects; a role that lacks it refuses, and says which has it."""
    table = _table(role, clients)
    database = f"role {role} of the reference cluster"
    return operations_of(database, table, objects, _elsewhere(objects, role))


def _elsewhere(objects: str, role: str) -> str:
    """Where a kind of objects is that a role lacks, as the end of a refusal; "" if nowhere."""
    if role == "leaderless" and any(objects in clients_of(order) for order in VERSIONS):
        orders = [order for order in VERSIONS if objects in clients_of(order)]
        return f"--db-option versions={' or '.join(orders)} has them"
    roles = [
        each
        for each in ROLES
        if objects in _table(each, clients_of("dotted") if each == "leaderless" else CLIENTS)
    ]
    return f"--db-option role={' or '.join(roles)} has them" if roles else ""


def _role_for(ablations: Sequence[str], objects: str) -> str:
    if not ablations:
        return _OF_ROLE.get(objects, "core")
    from cluster.ablations.registry import UnknownAblation, role_for

    try:
        return role_for(ablations)
    except UnknownAblation as error:
        raise UsageError(f"ablate: {error}") from None


def _check_agreeing(versions: str, consistency: str) -> None:
    """Refuse options of role ``leaderless`` with another one, where they would do nothing."""
    for name, value, default in (
        ("versions", versions, "dotted"),
        ("consistency", consistency, "quorum"),
    ):
        if value != default:
            raise UsageError(f"{name} is {value!r}, and only role leaderless has it; leave it out")


def _check_values(consensus: str, **times_s: float) -> None:
    """Refuse a consensus that there is not, and times that are none."""
    if consensus != "raft":
        from cluster.core.parts import CONSENSUS  # late: it takes time to import

        if consensus not in CONSENSUS:
            raise nearest("--consensus", consensus, CONSENSUS)
    for name, value in times_s.items():
        if not 0 < value < float("inf"):
            raise UsageError(f"{name} is {value:g}; it should be above 0")


def _known_role(role: str) -> str:
    if role not in ROLES:
        raise UsageError(
            f"database option role: there is no role {role!r}; "
            f"{did_you_mean(role, ROLES)} The roles are {', '.join(ROLES)}"
        )
    return role


def _timings(role: str, objects: str) -> dict[str, Any] | None:
    """How long faults last, and how often they come; None for our own."""
    if role == "gossip":
        return GOSSIP_TIMINGS
    return HOLDER_TIMINGS if objects in ("lease", *HOLDERS) else None


def _staleness(read_mode: str, staleness_s: float | None) -> float:
    """The bound of ``bounded`` reads; refused for other modes, where it would do nothing."""
    if staleness_s is not None and read_mode != "bounded":
        raise UsageError(
            f"staleness_s is {staleness_s!r}, and reads of mode {read_mode!r} have no bound; "
            "leave it out, or give read_mode=bounded"
        )
    bound_s = STALENESS_S if staleness_s is None else staleness_s
    _check_values("raft", staleness_s=bound_s)
    return bound_s


def _check_peers(role: str, *, consensus: str, read_mode: str) -> None:
    if consensus != "raft" and role != "data":
        raise UsageError(
            f"consensus is {consensus!r}, and role {role} has no log to agree on; leave it out"
        )
    if read_mode != "linearizable":
        raise UsageError(
            f"read_mode is {read_mode!r}, and role {role} has no modes to read in; leave it out"
        )


class ReferenceClient:
    """One client session.

    Args:
        db: the database, for its options.
        name: the session's name, unique in the run; reopening makes a new session.
        attempt_s: how long one node may take before another is asked, on real nodes.
    """

    def __init__(self, db: Reference, name: str, *, attempt_s: float = 1.0) -> None:
        self._db = db
        self._attempt_s = attempt_s
        self._name = name
        self._opened = 0
        self._node = ""
        self._session: Any = None
        self._objects: Objects | None = None

    async def open(self, node: Node) -> None:
        """Begin a session which asks this node first."""
        await self.close()
        self._opened += 1
        name = f"{self._name}.{self._opened}"
        timeout_ns = int(self._db.op_timeout_s * 1e9)
        if isinstance(node, SimulatedNode):
            attempt_ns = int(self._attempt_s * 1e9)
            session = node.cluster_session(name, timeout_ns=timeout_ns, attempt_ns=attempt_ns)
            self._session = session
        else:
            self._session = SocketSession(node, name, self._db, attempt_s=self._attempt_s)
        self._node = node.name
        self._db.still.came(node.name)
        self._objects = self._made(node)

    def _made(self, node: Node) -> Objects | None:
        """The client class of the kind of objects; None for single keys."""
        holder, kind = HOLDERS.get(self._db.objects), self._db.clients.get(self._db.objects)
        if self._db.objects in self._db.data_objects:
            return DATA_CLIENTS[self._db.objects](self._db, self._session)
        if holder is not None:
            return holder(self._db, self._session, ClientLife(node, self._db.still))
        return None if kind is None else kind(self._db, self._session)

    async def invoke(self, op: Invocation) -> Outcome:
        """Do one operation; see :data:`OBJECTS`."""
        from cluster.wire import Command

        if self._objects is not None:
            return await self._objects.invoke(op)
        commands = OBJECTS[self._db.objects]
        if op.f not in commands:
            raise UsageError(f"the reference cluster has no operation {op.f!r} here")
        if op.f in ("dequeue", "drain"):
            return await self._take(op)
        name, arguments = commands[op.f]
        command = Command(name, str(op.key), arguments(op.value))
        mode = self._db.read_mode
        within_s = self._db.staleness_s if mode == "bounded" else 0.0
        done = await self._session.call(command, mode=mode, staleness_s=within_s)
        if done.status == "ok":
            return op.ok(self._answer(op, done.value)) if op.f in _ANSWERS else op.ok()
        if done.status == "fail":
            return op.fail(done.error)
        return op.info(done.error)

    def _answer(self, op: Invocation, value: Any) -> Any:
        match op.f:
            case "send":
                return value - 1  # the list's new length
            case "poll":
                pairs = enumerate(value or [])
                return [[offset, each] for offset, each in pairs if offset >= op.value["from"]]
            case "read" if value is None:
                return _ABSENT.get(self._db.objects)
        return value

    async def _take(self, op: Invocation) -> Outcome:
        """Take the first element of a queue, or all of them."""
        from cluster.wire import Command

        for _ in range(_TAKES_MAX):
            found = await self._session.call(Command("get", str(op.key), ()), mode="linearizable")
            if found.status != "ok":
                return op.fail(found.error)  # nothing was taken yet
            items = found.value or []
            if not items:
                return op.ok([] if op.f == "drain" else None)
            rest = [] if op.f == "drain" else items[1:]
            swap = Command("cas", str(op.key), (items, rest))
            done = await self._session.call(swap, mode="linearizable")
            if done.status == "ok":
                return op.ok(items if op.f == "drain" else items[0])
            if done.status != "fail":
                return op.info(done.error)
        return op.fail(f"others were quicker {_TAKES_MAX} times")

    async def close(self) -> None:
        """End the session; requests under way end as they may."""
        session, self._session = self._session, None
        if self._objects is not None:
            self._objects.close()
        if session is not None:
            self._db.still.left(self._node)
            closing = session.close()
            if closing is not None:
                await closing


class SocketSession:
    """The cluster's client over sockets, which goes back to its own node now and then.

    A session stays with the leader it was sent to. If all did, no client would ask a new leader
    while the old one still answers; so each asks its own node first, twenty times a second. Half of
    the clients are impatient: while the patient wait for a leader that was cut off, they find the
    new one, and come back to their own node in time to see whether it still answers.

    Args:
        node: the client's own node.
        name: the session's name.
        db: the database, for its options.
        attempt_s: how long one node may take before another is asked.
        timeout_s: deadline of a call; 0 for the database's.
    """

    def __init__(
        self, node: Node, name: str, db: Reference, *, attempt_s: float, timeout_s: float = 0.0
    ) -> None:
        from cluster.client.asyncio_client import AsyncioClient
        from cluster.client.session import PATIENT_NS

        others = [peer for peer in node.nodes if peer != node.name]
        addresses = {
            peer: f"{node.client_address(peer)}:{db.peer_port}" for peer in [node.name, *others]
        }
        self._node = node.name
        self._asked_own = 0.0
        limit_s = timeout_s or db.op_timeout_s
        self._client = AsyncioClient(
            addresses,
            name=name,
            timeout_s=limit_s,
            attempt_s=attempt_s,
            restless=attempt_s * 1e9 < PATIENT_NS,
            token=db.token,
        )

    async def call(
        self,
        command: Any,
        *,
        mode: str,
        timeout_s: float | None = None,
        node: str = "",
        staleness_s: float = 0.0,
    ) -> Any:
        """Do one command; the outcome has ``status``, ``value``, ``error`` and ``node``."""
        now = time.monotonic()
        own = mode in OWN_NODE_MODES or now - self._asked_own > _OWN_NODE_EVERY_S
        if own:
            self._asked_own = now
        node = node or (self._node if own else "")
        return await self._client.call(
            command, mode=mode, node=node, timeout_s=timeout_s, staleness_s=staleness_s
        )

    async def close(self) -> None:
        """End the session."""
        await self._client.close()
