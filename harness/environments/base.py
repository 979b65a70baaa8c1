"""The environment: nodes to run things on, and the faults it is able to make.

An environment turns names (n1, n2, ...) into places where a database runs: cores in one process
(`sim`), processes on loopback addresses (`local`), namespaces, containers, hosts. Everything is a
Protocol; there is no base class.

The faults of an environment are a set of *abilities*, each a small protocol below. A
nemesis asks for the abilities it needs by name; where one is missing, the error names the
environments that have it. Abilities are state-setting and idempotent: ``set_links`` gives the
faults of all links, so healing is setting none, and ``heal_all`` may be called any number
of times.

Every coroutine here also runs in simulation, where it must finish without suspending on anything
but the environment's own ``sleep``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from checkers.core.verdict import Result
from harness.interpreter.runtime import Runtime

#: ability name -> the environments that have it, for error messages; `harness list` shows it too
ABILITIES: dict[str, tuple[str, ...]] = {
    "links": ("sim", "local", "netns", "docker", "ssh"),
    "packets": ("sim", "local", "netns", "docker", "ssh"),
    "kill": ("sim", "local", "netns", "docker", "ssh"),
    "pause": ("sim", "local", "netns", "docker", "ssh"),
    "clock": ("sim", "local", "netns", "docker", "ssh"),
    "disk": ("sim", "local", "netns", "docker", "ssh"),
    "files": ("sim", "local", "netns"),
    "pressure": ("local", "netns", "docker", "ssh"),
    "membership": ("sim", "local", "netns", "docker", "ssh"),
}

#: kinds of reads for which a client asks its own node every time: any node may answer, and one that
#: is behind is what there is to see
OWN_NODE_MODES = ("stale", "bounded")


class LinkFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """The faults of one directed link. All zero means healthy; ``cut`` drops everything.

    Args:
        cut: nothing passes.
        delay_ns: added one-way latency.
        jitter_ns: uniform extra latency in [0, jitter_ns].
        loss, duplicate, reorder, corrupt: probabilities per message (or packet), 0 to 1.
        rate_bytes_per_s: bandwidth limit, 0 for none.
    """

    cut: bool = False
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate_bytes_per_s: int = 0


class Completed(msgspec.Struct, frozen=True):
    """The outcome of a command run on a node."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


class Node(Protocol):
    """A node as database code sees it.

    On `local`, where nodes share one file system, an argument or path that is ``/data`` or begins
    with ``/data/`` means the node's own directory. Ports are the same numbers on every node: each
    node has its own address.
    """

    name: str
    #: the host or address at which clients reach this node
    address: str
    #: names of all nodes of the run, this one included, in order
    nodes: Sequence[str]

    @property
    def peers(self) -> Sequence[str]:
        """Addresses of the *other* nodes as this node must dial them, so that faults bite."""
        ...

    def peer_address(self, peer: str, port: int, *, framing: str = "bytes") -> str:
        """``host:port`` at which this node must dial ``peer``'s ``port``.

        Args:
            peer: name of another node (or this one's own: its plain address).
            port: the port the peer listens on.
            framing: what flows there: ``bytes`` for anything, ``frames`` for messages with a 4-byte
                big-endian length before each, which an in-path proxy can then lose, duplicate and
                reorder one by one. Environments with faults in the kernel ignore it.
        """
        ...

    def announced_address(self, port: int) -> str:
        """``host:port`` this node announces, for systems where all peers dial one address.

        The environment works out which node dials, so that directed faults bite there too. Clients
        of the harness use ``address``, which no fault of links touches.
        """
        ...

    def announced_by(self, peer: str, port: int) -> str:
        """What ``announced_address`` of another node (or this one) is."""
        ...

    def client_address(self, peer: str) -> str:
        """The ``address`` of another node (or this one): where clients reach it."""
        ...

    def now_ns(self) -> int:
        """The run's clock: nanoseconds, virtual in simulation; no fault touches it."""
        ...

    async def run(
        self,
        *argv: str,
        timeout_s: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command to its end; with ``check``, a non-zero exit raises SetupError."""
        ...

    async def spawn(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        chaos_port: int | None = None,
    ) -> None:
        """Start the node's database process; its output goes to the node's log.

        Starting again after a kill uses the same arguments: :class:`Killable` needs no more.

        Args:
            argv: program and arguments.
            env: additions to the environment variables.
            ports: ports of the node's address that must be free; SetupError names who has one.
            chaos_port: port of our own admin endpoint, if the process has one with ``/chaos``:
                clock and disk faults then go through it.
        """
        ...

    async def stop(self) -> None:
        """Ask the database's processes to end (SIGTERM), then end those that stay."""
        ...

    async def http(self, port: int, *, timeout_s: float = 5.0) -> Any:
        """An HTTP client with ``get(path)``, ``put(path, value)``, ``post``, ``delete``; JSON in
        and out; a status of 400 or more raises."""
        ...

    async def http_ok(self, port: int, path: str, *, within_s: float) -> None:
        """Wait until a GET answers 2xx; SetupError with the log's last lines if it never does."""
        ...

    async def wipe(self, path: str) -> None:
        """Remove a directory tree of the node; refuses anything outside the node's own space."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A node whose database's processes can be looked at."""

    async def check_running(self) -> None:
        """SetupError with the log's last lines if a process of the database has ended."""
        ...


@runtime_checkable
class SimulatedNode(Protocol):
    """The additional interface of a simulated node: the cluster without sockets.

    The database ``reference`` uses these, and sockets on any other node.
    """

    async def cluster_syncs(self) -> int:
        """How often the node's log was synced since the run began."""
        ...

    async def cluster_sent_bytes(self) -> int:
        """Bytes from this node that arrived at other nodes since the run began."""
        ...

    def cluster_session(
        self, name: str, *, timeout_ns: int, attempt_ns: int = 1_000_000_000
    ) -> Any:
        """A client session bound to this node: ``async call(command, *, mode) -> Outcome-like``.

        Args:
            name: the session's unique name.
            timeout_ns: deadline of each call, in virtual time.
            attempt_ns: how long one node may stay silent before another is asked.

        The outcome has ``status`` (``ok``, ``fail``, ``unknown``), ``value`` and ``error``. The
        session also has ``close()``.
        """
        ...

    def cluster_spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Start a coroutine beside the others, in virtual time; what it returns has ``cancel``."""
        ...

    async def cluster_status(self) -> dict[str, Any] | None:
        """What ``GET /status`` of a real node answers, or None while the node is down."""
        ...

    async def cluster_rejoin(self, member: str) -> None:
        """Start the node with an empty disk as another member; SetupError if it refuses."""
        ...

    async def cluster_sleep(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        ...


class Environment(Protocol):
    """A place where nodes live for one run."""

    name: str
    #: names of the abilities this environment has on this machine
    abilities: frozenset[str]
    nodes: Sequence[str]

    async def setup(self) -> None:
        """Make the nodes' places (not the databases). SetupError if it cannot."""
        ...

    async def teardown(self) -> None:
        """Heal, stop everything, collect logs into ``nodes/<n>/`` of the run directory."""
        ...

    def node(self, name: str) -> Node:
        """The handle of one node."""
        ...

    def now_ns(self) -> int:
        """Nanoseconds since the run began: virtual in simulation."""
        ...

    async def sleep(self, duration_ns: int) -> None:
        """Let time pass: the only thing coroutines may wait on in simulation."""
        ...

    def drive(
        self,
        main: Callable[[Runtime], Coroutine[Any, Any, None]],
        *,
        interrupted: Callable[[Callable[[], object]], None],
    ) -> Sequence[Result]:
        """Run a coroutine to its end in the environment's time, real or virtual.

        Args:
            main: makes the coroutine, of tasks and timers in that time.
            interrupted: called once per SIGINT or SIGTERM, with a function that ends the coroutine
                at once.

        Returns:
            what the environment itself saw broken meanwhile: the simulation's invariants.

        Raises:
            SetupError: the coroutine was ended at once.
        """
        ...

    async def heal_all(self) -> None:
        """Remove every fault. Idempotent; never raises for what is gone."""
        ...

    async def prove_clean(self) -> list[str]:
        """The leftovers, one phrase each; empty when clean."""
        ...


# What an environment may also have: asked with isinstance ------------------------------------


@runtime_checkable
class Prepared(Protocol):
    """An environment that wants to know what it will be asked for."""

    def prepare(self, needs: Collection[str]) -> None:
        """Prepare, before setup, the abilities a run needs; UsageError if one is missing."""
        ...


@runtime_checkable
class Explained(Protocol):
    """An environment that knows why it lacks an ability."""

    #: ability -> why this machine lacks it
    lacks: dict[str, str]
    #: ability -> what to know before using it
    limits: dict[str, str]


@runtime_checkable
class Mortal(Protocol):
    """An environment whose databases may end by themselves."""

    def deaths(self) -> dict[str, list[str]]:
        """Per node, how processes of its database ended without being asked to."""
        ...


@runtime_checkable
class Damaged(Protocol):
    """An environment whose faults may damage durable data."""

    def damaged(self) -> list[str]:
        """Nodes whose durable data a fault damaged: they may refuse to start."""
        ...


@runtime_checkable
class Homing(Protocol):
    """An environment whose nodes have files."""

    async def bring_home(self, patterns: Sequence[str]) -> list[str]:
        """Copy files of every node that match into ``nodes/<n>/``; what could not be copied."""
        ...


@runtime_checkable
class Leaving(Protocol):
    """An environment whose nodes can outlive the harness."""

    async def leave_running(self) -> None:
        """Instead of ``teardown``: heal, and leave the nodes; `harness heal` ends them."""
        ...


# What an environment can do to its nodes: the abilities --------------------------------------


@runtime_checkable
class Links(Protocol):
    """Ability ``links`` (and ``packets``, where faults other than ``cut`` work)."""

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the network so: each (source, target) named has its fault, others are healthy."""
        ...

    async def link_counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """Per directed link: messages or packets ``passed dropped delayed duplicated reordered``
        ``corrupted`` since the run began, and ``held``: stretches of a byte stream kept back by a
        cut, as TCP would keep them. The evidence that a fault bit. Proxies also count the ``bytes``
        that passed."""
        ...


@runtime_checkable
class Killable(Protocol):
    """Ability ``kill``: unsynced data is lost with the process."""

    async def kill(self, node: str) -> dict[str, Any]:
        """SIGKILL; returns evidence (pid, ...)."""
        ...

    async def start(self, node: str) -> dict[str, Any]:
        """Start the database again with its last arguments; returns evidence (new pid, ...)."""
        ...

    async def alive(self, node: str) -> bool:
        """Whether the database process runs."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """Ability ``pause``."""

    async def pause(self, node: str) -> dict[str, Any]:
        """SIGSTOP; evidence has ``state`` as read back (``T``)."""
        ...

    async def resume(self, node: str) -> dict[str, Any]:
        """SIGCONT; evidence has ``state`` as read back."""
        ...


@runtime_checkable
class Clocks(Protocol):
    """Ability ``clock``."""

    async def set_clock(
        self, node: str, *, offset_ns: int = 0, rate: float = 1.0
    ) -> dict[str, Any]:
        """Shift the node's wall clock and, where the node has a Clock port, its monotonic rate.

        Evidence has ``offset_ns`` as read back from the node.
        """
        ...


@runtime_checkable
class Disks(Protocol):
    """Ability ``disk``."""

    async def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Make the node's disk so: ``{"latency_ns": n, "error": "EIO", "full": True, "torn": True,
        "flip": True}``; an empty mapping heals. Evidence counts what the disk did."""
        ...


@runtime_checkable
class FileDamages(Protocol):
    """The ``files`` of an environment that knows the files of its nodes."""

    def knows(self, node: str) -> bool:
        """Whether it knows what the node's files hold."""
        ...

    async def damage(self, node: str, kind: str, seed: int) -> dict[str, Any]:
        """Kill the node and damage one of its files, chosen by ``seed``: ``flip``, ``lost-tail``.

        Evidence has ``file``, ``at`` and ``changed_bytes`` as read back, or ``skipped`` and why.
        """
        ...

    async def is_repaired(self, node: str) -> bool:
        """Whether it runs again and has what it promised."""
        ...


@runtime_checkable
class Inside(Protocol):
    """Can see what is in the nodes."""

    def remains(self) -> str | None:
        """The first thing that faults left in the nodes (an intent, a lease, a partition half
        moved), in a few words; "" if nothing is left, None if that cannot be told."""
        ...


@runtime_checkable
class Pressures(Protocol):
    """Ability ``pressure``."""

    async def set_pressure(self, node: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Leave the node so much: ``{"cpu_share": 0.05, "memory_headroom_bytes": n}``, share of one
        processor and bytes beyond what it uses now; an empty mapping heals. Evidence has
        ``counters``, what the kernel counted since: ``throttled``, ``memory_refused`` ..."""
        ...
