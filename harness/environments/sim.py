"""The simulation as an environment: the reference cluster's cores in virtual time.

Nodes are cores in one process, over simulated network, disks and clocks; a run of thirty seconds
takes one or two, and the same seed gives the same bytes of history. It has every ability, and what
a fault did is read back from the world itself.

A database for `sim` starts nothing: ``spawn`` starts the node's core, whatever the arguments say.
Clients speak through ``node.cluster_session`` (see :class:`SimulatedNode` in the environments'
contract), and may wait on nothing but that and the environment's ``sleep``.

Options: ``ablate`` (ids of ablations all nodes run with), ``check_invariants`` (default on),
``consensus`` (the variant all nodes run, raft unless said), ``role`` and ``config`` (of the
reference cluster's nodes; the database says).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from checkers.core.verdict import Finding, Result, Verdict
from cluster.config import ClusterConfig
from cluster.core.parts import CONSENSUS
from cluster.log.segmented_log import log_syncs
from cluster.simulation.data_leftovers import left_over
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.world import World
from harness.environments.base import OWN_NODE_MODES, Completed, LinkFault
from harness.environments.damaged_world import DamagedWorld
from harness.errors import SetupError, UsageError, nearest
from harness.interpreter.runtime import Runtime
from harness.interpreter.simulated_driver import SimFuture, SimRuntime

OPTIONS = ("ablate", "check_invariants", "config", "consensus", "role")

#: How often a client asks its own node first, as clients of real nodes do.
OWN_NODE_EVERY_NS = 50_000_000

#: How often a node that should serve is looked at, in virtual time.
LOOK_NS = 10_000_000


def sim(
    *, nodes: Sequence[str], run_dir: Path, seed: int, options: Mapping[str, Any] | None = None
) -> SimEnvironment:
    """The simulated environment: see the module's text for the options."""
    given = dict(options or {})
    for name in given:
        if name not in OPTIONS:
            raise nearest("option of the environment sim", name, OPTIONS)
    consensus = given.get("consensus", "raft")
    if consensus not in CONSENSUS:
        raise nearest("consensus", consensus, CONSENSUS)
    watched = given.get("check_invariants", True)
    if type(watched) is not bool:
        raise UsageError(f"check_invariants is {watched!r}; it should be true or false")
    world = World(
        seed=seed,
        nodes=tuple(nodes),
        consensus=consensus,
        role=given.get("role", "core"),
        config=msgspec.structs.replace(ClusterConfig(), **given.get("config", {})),
        ablations=tuple(given.get("ablate", ())),
        check_invariants=watched,
    )
    return SimEnvironment(world, run_dir=Path(run_dir))


class SimEnvironment:
    """A world as an environment. Made by :func:`sim`, or of a world of one's own.

    Args:
        world: the simulated world.
        run_dir: where the nodes' events go at the end.
    """

    name = "sim"

    def __init__(self, world: World, *, run_dir: Path) -> None:
        self.world = world
        world.network.weighs = True
        self.nodes: Sequence[str] = tuple(world.nodes)
        abilities = {"links", "packets", "kill", "pause", "clock", "disk", "files", "membership"}
        self.abilities = frozenset(abilities)
        self.runtime = SimRuntime(world)
        self.files = DamagedWorld(world)
        self._run_dir = run_dir
        self._handles = {name: SimNodeHandle(self, name) for name in self.nodes}

    # -- the environment

    async def setup(self) -> None:
        """Nothing to do: the world began with its nodes."""

    async def teardown(self) -> None:
        """Heal, and write what the nodes noted to ``nodes/<n>/events.jsonl``."""
        await self.heal_all()
        self.write_events()

    def write_events(self) -> None:
        """Write the nodes' notes (elections, snapshots, ...), one JSON object a line."""
        lines: dict[str, list[bytes]] = {name: [] for name in self.nodes}
        for time_ns, node, note in self.world.notes:
            record = {"t": time_ns, "event": note.event, **note.detail}
            lines[node].append(msgspec.json.encode(record, enc_hook=repr))
        for name, records in lines.items():
            directory = self._run_dir / "nodes" / name
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "events.jsonl").write_bytes(b"".join(r + b"\n" for r in records))

    def node(self, name: str) -> SimNodeHandle:
        """The handle of one node."""
        return self._handles[name]

    def now_ns(self) -> int:
        """Virtual nanoseconds since the run began."""
        return self.runtime.now_ns()

    async def sleep(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        await self.runtime.sleep(duration_ns)

    def drive(
        self,
        main: Callable[[Runtime], Coroutine[Any, Any, None]],
        *,
        interrupted: Callable[[Callable[[], object]], None],
    ) -> list[Result]:
        """Step a coroutine in virtual time; a broken invariant of the cluster is a result."""
        undo = self.runtime.on_interrupt(lambda: interrupted(_go_on))
        try:
            self.runtime.run(main(self.runtime))
        except InvariantViolation as broken:
            return [invariant_result(broken)]
        finally:
            undo()
        return []

    async def heal_all(self) -> None:
        """Remove every fault and start every node that is down."""
        self.world.network.set_links({})
        for name in self.nodes:
            self.world.resume(name)
            self.world.set_clock(name)
            self.world.set_disk(name, {})
            if not self.world.alive(name):
                self.world.restart(name)

    async def prove_clean(self) -> list[str]:
        """The leftovers."""
        world = self.world
        left = [f"link {src}>{dst} is faulty" for src, dst in world.network.faults()]
        for name in self.nodes:
            if world.paused(name):
                left.append(f"{name} is paused")
            if not world.alive(name) and name not in self.damaged():
                left.append(f"{name} is down: {world.why_down(name)}")
            if world.clock_offset_ns(name):
                left.append(f"the clock of {name} is {world.clock_offset_ns(name)} ns off")
        return left

    # -- abilities

    def remains(self) -> str | None:
        """What faults left in nodes of role ``data``; None for another role."""
        return left_over(self.world) if self.world.role == "data" else None

    async def set_links(self, faults: Mapping[tuple[str, str], LinkFault]) -> None:
        """Make the simulated network so."""
        self.world.network.set_links(faults)

    async def link_counters(self) -> dict[tuple[str, str], dict[str, int]]:
        """The frame counters of each link between nodes."""
        names = set(self.nodes)
        return {
            link: counts
            for link, counts in self.world.network.counters().items()
            if link[0] in names and link[1] in names
        }

    async def kill(self, node: str) -> dict[str, Any]:
        """Crash a node; its unsynced bytes are lost."""
        was_alive = self.world.alive(node)
        lost = self.world.crash(node)
        return {"was_alive": was_alive, "alive": self.world.alive(node), "lost": lost}

    async def start(self, node: str) -> dict[str, Any]:
        """Start a node that is down.

        Raises:
            SetupError: it refuses to start.
        """
        if not self.world.restart(node):
            raise SetupError(f"{node} does not start: {self.world.why_down(node)}")
        return {"alive": True}

    async def alive(self, node: str) -> bool:
        """Whether the node runs."""
        return self.world.alive(node)

    async def pause(self, node: str) -> dict[str, Any]:
        """Stop a node in its tracks."""
        self.world.pause(node)
        return {"state": "T" if self.world.paused(node) else "X"}

    async def resume(self, node: str) -> dict[str, Any]:
        """Let a paused node go on."""
        self.world.resume(node)
        return {"state": "T" if self.world.paused(node) else "S"}

    async def set_clock(
        self, node: str, *, offset_ns: int = 0, rate: float = 1.0
    ) -> dict[str, Any]:
        """Shift a node's wall clock and the rate of its monotonic clock."""
        read_ns = self.world.set_clock(node, offset_ns=offset_ns, rate=rate)
        return {"offset_ns": read_ns, "rate": self.world.clock_rate(node)}

    async def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Set the faults of a node's disk; ``flipped_now``: whether this flipped a bit."""
        if not faults.get("flip"):
            return self.world.set_disk(node, faults)
        before = self.world.set_disk(node, {})
        after = self.world.set_disk(node, faults)
        found = {**after, "flipped_now": after["flipped"] > before["flipped"]}
        if not found["flipped_now"] and not found["skipped"]:
            return {**found, "skipped": True, "why": "no file is long enough to be damaged safely"}
        return found

    def damaged(self) -> list[str]:
        """Nodes whose durable data a fault damaged: they may refuse to start."""
        return list(self.world.atlas.damaged)


class SimNodeHandle:
    """A simulated node as database code sees it."""

    def __init__(self, env: SimEnvironment, name: str) -> None:
        self.name = name
        self.address = name
        self.nodes = env.nodes
        self._env = env

    def now_ns(self) -> int:
        """Virtual time."""
        return self._env.now_ns()

    @property
    def peers(self) -> Sequence[str]:
        """Names of the other nodes: there are no addresses here."""
        return [name for name in self.nodes if name != self.name]

    def peer_address(self, peer: str, port: int, *, framing: str = "bytes") -> str:
        """An address for show; nothing dials it."""
        return f"{peer}:{port}"

    def client_address(self, peer: str) -> str:
        """An address for show; nothing dials it."""
        return peer

    def announced_address(self, port: int) -> str:
        """An address for show; nothing dials it."""
        return f"{self.name}:{port}"

    async def run(
        self,
        *argv: str,
        timeout_s: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """There are no commands in the simulation.

        Raises:
            SetupError: always, naming the command.
        """
        raise SetupError(
            f"{' '.join(argv)!r} cannot run in the simulation, which has no processes; use "
            "--env local"
        )

    async def spawn(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        chaos_port: int | None = None,
    ) -> None:
        """Start the node's core if it is down; the arguments play no part."""
        if not self._env.world.alive(self.name):
            await self._env.start(self.name)

    async def stop(self) -> None:
        """Nothing to stop: the world ends with the run."""

    async def http(self, port: int, *, timeout_s: float = 5.0) -> Any:
        """There are no sockets in the simulation.

        Raises:
            SetupError: always.
        """
        raise SetupError(
            "there is no HTTP in the simulation; node.cluster_session and node.cluster_status "
            "are what a client can use, or --env local"
        )

    async def http_ok(self, port: int, path: str, *, within_s: float) -> None:
        """Wait until the node runs and answers.

        Raises:
            SetupError: it does not.
        """
        limit_ns = self._env.now_ns() + round(within_s * 1e9)
        while await self.cluster_status() is None:
            if self._env.now_ns() >= limit_ns:
                raise SetupError(f"{self.name} did not serve within {within_s:g} s")
            await self._env.sleep(LOOK_NS)

    async def wipe(self, path: str) -> None:
        """Nothing to remove: every world begins empty."""

    def cluster_session(
        self, name: str, *, timeout_ns: int, attempt_ns: int = 1_000_000_000
    ) -> SimClusterSession:
        """A client session that asks this node first; see the environments' contract."""
        return SimClusterSession(self._env, self.name, name, timeout_ns, attempt_ns)

    async def cluster_rejoin(self, member: str) -> None:
        """Stop the node, empty its disk, and start it as another member, which joins.

        Raises:
            SetupError: it refuses to start.
        """
        self._env.world.crash(self.name)
        self._env.world.wipe(self.name, member=member)
        await self._env.start(self.name)

    async def cluster_sleep(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        await self._env.sleep(duration_ns)

    def cluster_spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Start a coroutine beside the others."""
        return self._env.runtime.spawn(coroutine)

    async def cluster_status(self) -> dict[str, Any] | None:
        """The node's status, or None while it does not answer."""
        return self._env.world.status(self.name)

    async def cluster_syncs(self) -> int:
        """How often the node's log was synced since the run began."""
        return log_syncs(self._env.world.disk(self.name).synced)

    async def cluster_sent_bytes(self) -> int:
        """Bytes from this node that arrived at others since the run began."""
        return self._env.world.network.bytes_sent(self.name, self.peers)


class SimClusterSession:
    """A client session core in virtual time, with ``call`` to await.

    Like the client over sockets it goes back to its own node now and then, or all clients would
    follow the leader and no client would ask a deposed one.
    """

    def __init__(
        self, env: SimEnvironment, node: str, name: str, timeout_ns: int, attempt_ns: int
    ) -> None:
        self._session = env.world.session(
            name, timeout_ns=timeout_ns, prefer=node, attempt_ns=attempt_ns
        )
        self._env = env
        self._node = node
        self._asked_own_ns = -OWN_NODE_EVERY_NS

    async def call(
        self,
        command: Any,
        *,
        mode: str = "linearizable",
        timeout_s: float | None = None,
        node: str = "",
        staleness_s: float = 0.0,
    ) -> Any:
        """Do one command; the outcome has ``status``, ``value``, ``error`` and ``node``."""
        future = SimFuture()
        now_ns = self._env.now_ns()
        own = mode in OWN_NODE_MODES or now_ns - self._asked_own_ns > OWN_NODE_EVERY_NS
        if own:
            self._asked_own_ns = now_ns
        to = node or (self._node if own else None)
        limit_ns = None if timeout_s is None else round(timeout_s * 1e9)
        self._session.submit(
            command,
            mode=mode,
            to=to,
            timeout_ns=limit_ns,
            staleness_ns=round(staleness_s * 1e9),
            done=future.set_result,
        )
        return await future

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


def _go_on() -> None:
    """A simulation that was interrupted ends by itself, in no time."""


def invariant_result(broken: InvariantViolation) -> Result:
    """A broken invariant of the simulation, as a checker's result."""
    at_s = broken.time_ns / 1e9
    sentence = f"At {at_s:.6f} s the invariant {broken.name} was broken: {broken.sentence}."
    finding = Finding(
        kind=broken.name,
        title=f"invariant {broken.name} broken",
        sentence=sentence,
        detail={
            "nodes": list(broken.nodes),
            "time_ns": broken.time_ns,
            "story": [event._asdict() for event in broken.trace],
        },
    )
    return Result(
        checker="invariants", verdict=Verdict.INVALID, reason=sentence, findings=[finding]
    )
