"""A world for transactions without consensus: groups are ideal (a list of commands applied in
order), everything else is not. Messages to groups are late, lost, applied twice or answered never;
clocks differ within the bound or beyond; nodes crash between any two messages; partitions move.

A run is decided by its seed. What clients saw becomes a history for this project's own checkers.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import msgspec

from checkers.history import Event, History
from cluster.clocks.hybrid_clock import HybridClock
from cluster.config import MS, ClusterConfig
from cluster.data.clock_fence import ClockFence
from cluster.data.node_clock import NodeClock
from cluster.data.partition_machine import PartitionMachine, PartitionParts
from cluster.data.stamps import Stamps
from cluster.data.transaction_part import TransactionPart, TransactionParts
from cluster.ports import Reply
from cluster.wire import Command, Request, Response

EPOCH_NS = 1_700_000_000_000_000_000
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Command).decode
_value = msgspec.msgpack.Decoder().decode

CONFIG = ClusterConfig(
    clock_offset_bound_ns=20 * MS,
    clock_reserve_ns=60 * MS,
    transaction_timeout_ns=2_000 * MS,
    orphan_after_ns=400 * MS,
    close_interval_ns=50 * MS,
    close_lag_ns=100 * MS,
    collect_interval_ns=300 * MS,
    retention_ns=500 * MS,
)


class Group:
    """An ideal replicated group: what is asked is applied at once, in the order of arrival, and a
    copy of what was asked before is recognised (Idempotent Receiver)."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.log: list[Command] = []
        self._told: dict[Any, bytes] = {}

    def do(self, command: Command, number: Any = None) -> Any:
        command = _unpack(_pack(command))  # nothing is shared between nodes
        machine = self.machine
        if command.op in machine.reads:
            return _value(_pack(machine.read(command)))
        told = self._told.get(number)
        if told is None:
            self.log.append(command)
            told = _pack(machine.apply(len(self.log), command))
            if number is not None:
                self._told[number] = told
        return _value(told)


class Map:
    """Where partitions are: a copy of it at each node may be old."""

    def __init__(self, count: int, groups: list[str]) -> None:
        self.count = count
        self.places = {f"p{n}": (f"p{n}", 1, groups[n % len(groups)]) for n in range(count)}

    def copy(self) -> Map:
        made = Map(0, [])
        made.count, made.places = self.count, dict(self.places)
        return made

    def partition(self, key: str) -> str:
        return f"p{sum(key.encode()) % self.count}"

    def route(self, key: str) -> tuple[str, int, str] | None:
        return self.places[self.partition(key)]

    def route_range(
        self, low: str, high: str | None
    ) -> list[tuple[tuple[str, int, str], str, str | None]]:
        return [(place, low, high) for place in self.places.values()]

    def refuse(self, partition: str, epoch: int) -> None:
        pass


class NodeWall:
    """A node's clocks: the wall clock is off by a constant that a test may change."""

    def __init__(self, world: World, skew_ns: int) -> None:
        self.world, self.skew_ns = world, skew_ns

    def monotonic_ns(self) -> int:
        return self.world.now

    def wall_ns(self) -> int:
        return EPOCH_NS + self.world.now + self.skew_ns


class SeededRng:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def between(self, low: int, high: int) -> int:
        return self._rng.randint(low, high)


class Node:
    """A node and its coordinator, in one of its lives."""

    def __init__(self, world: World, name: str, skew_ns: int) -> None:
        self.world, self.name = world, name
        self.wall = NodeWall(world, skew_ns)
        self.life = 0
        self.tokens = 0
        self.durable = 0
        self.up = False
        self.map = world.map.copy()
        self.ticking = 0

    def start(self) -> None:
        world = self.world
        self.life += 1
        self.up = True
        self.learn()
        self.stamps = Stamps(
            world.config, self.wall, self.durable, make=world.hybrid, fence=world.fence
        )
        self.keep_bound(self.life)
        parts = world.transaction_parts
        self.part = TransactionPart(
            self.name,
            config=world.config,
            rng=SeededRng(world.rng),
            clock=NodeClock(self.wall, self.stamps),
            ask=self.ask,
            routes=self.map,
            led=self.led,
            parts=parts,
        )
        self.take(self.part.start(world.now))

    def keep_bound(self, life: int) -> None:
        """The node's own disk: what the clock wants durable is so a little later."""
        if not self.up or self.life != life:
            return
        bound = self.stamps.bound_wanted()

        def synced() -> None:
            if self.up and self.life == life:
                self.durable = bound
                self.stamps.bound_durable(bound)

        if bound:
            self.world.after(2 * MS, synced)
        self.world.after(10 * MS, lambda: self.keep_bound(life))

    def learn(self) -> None:
        """What a node that starts reads from the core: the map as it is now."""
        self.map.places = dict(self.world.map.places)

    def led(self) -> list[tuple[str, PartitionMachine]]:
        """One node, the same for ever, looks after a group; while it is down nobody does."""
        names = sorted(self.world.data)
        nodes = sorted(self.world.nodes)
        return [
            (name, self.world.data[name].machine)
            for number, name in enumerate(names)
            if nodes[number % len(nodes)] == self.name
        ]

    def crash(self) -> None:
        self.up = False
        self.life += 1
        self.ticking = 0
        self.world.node_lost(self.name)

    def ask(
        self, now_ns: int, group: str, command: Command, *, mode: str = "linearizable",
        timeout_ns: int,
    ) -> int:  # fmt: skip
        self.tokens += 1
        self.world.asked(self, self.tokens, group, command, mode, timeout_ns)
        return self.tokens

    def take(self, effects: list[Any]) -> None:
        for effect in effects:
            assert isinstance(effect, Reply)
            self.world.replied(effect.connection, effect.response)
        if self.up:
            self.wake()

    def wake(self) -> None:
        """Make sure that the part's deadline is kept."""
        at = max(self.world.now, self.part.deadline_ns)
        if at >= 1 << 61 or (self.ticking and self.ticking <= at):
            return
        self.ticking = at
        life = self.life

        def tick() -> None:
            if self.up and self.life == life and self.ticking == at:
                self.ticking = 0
                self.take(self.part.tick(self.world.now))

        self.world.at(at, tick)


class World:
    """Nodes, groups and clients.

    Args:
        seed: decides everything.
        skews_ns: of the nodes' wall clocks.
        faults: whether messages are lost and doubled.
    """

    def __init__(
        self,
        seed: int,
        *,
        skews_ns: tuple[int, ...] = (0, 10 * MS, -10 * MS),
        groups: int = 3,
        partitions: int = 4,
        faults: bool = True,
        config: ClusterConfig = CONFIG,
        hybrid: type[HybridClock] = HybridClock,
        fence: type[ClockFence] = ClockFence,
        transaction_parts: TransactionParts = TransactionParts(),  # noqa: B008 (frozen)
        partition_parts: PartitionParts = PartitionParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 0
        self.config = config
        self.faults = faults
        self.hybrid, self.fence = hybrid, fence
        self.transaction_parts = transaction_parts
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        names = [f"g{n}" for n in range(groups)]
        self.map = Map(partitions, names)
        self.data = {name: Group(partition_parts.build(config)) for name in names}
        self.groups: dict[str, Group] = self.data
        for partition, epoch, group in self.map.places.values():
            number = int(partition[1:])
            self.must(group, Command("p-own", partition, (epoch, "slots", number, number + 1)))
        self.nodes: dict[str, Node] = {}
        for number, skew_ns in enumerate(skews_ns, 1):
            self.nodes[f"n{number}"] = Node(self, f"n{number}", skew_ns)
        #: may change what becomes of a question: called with (node, group, command)
        self.meddle: Callable[[Node, str, Command], str] = lambda node, group, command: ""
        self.events: list[Event] = []
        self._waiting: dict[int, tuple[str, Callable[[Response | None], None]]] = {}
        self._connection = 0
        for node in self.nodes.values():
            node.start()
        self.run(50 * MS)  # the clocks' bounds are durable

    def must(self, group: str, command: Command) -> Any:
        status, value, error = self.groups[group].do(command)
        assert status == "ok", error
        return value

    # -- time --------------------------------------------------------------------------------------

    def at(self, when: int, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._queue, (when, self._number, action))

    def after(self, delay: int, action: Callable[[], None]) -> None:
        self.at(self.now + delay, action)

    def run(self, duration: int) -> None:
        end = self.now + duration
        while self._queue and self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = end

    # -- messages to groups ------------------------------------------------------------------------

    def asked(
        self, node: Node, token: int, group: str, command: Command, mode: str, timeout_ns: int
    ) -> None:
        fate = self.meddle(node, group, command) or self._fate()
        if not node.up:
            return
        life, is_read = node.life, command.op in self.groups[group].machine.reads
        done, number = [False], (node.name, life, token)

        def answer(status: str, value: Any, error: str) -> None:
            if done[0] or not node.up or node.life != life:
                return
            done[0] = True
            node.take(node.part.on_answer(self.now, token, status, value, error))

        def arrive() -> None:
            told = self.groups[group].do(command, number)
            if fate != "lose-answer":
                self.after(self._delay(), lambda: answer(*told))

        if fate == "lose" or fate == "crash-before":
            pass
        else:
            self.after(self._delay(), arrive)
        if fate == "double" and not is_read:
            self.after(self._delay() * 20, lambda: self.groups[group].do(command, number))
        late = ("fail", None, "no answer in time") if is_read else ("unknown", None, "no answer")
        self.after(timeout_ns, lambda: answer(*late))
        if fate.startswith("crash"):
            node.crash()

    def _delay(self) -> int:
        if self.faults and self.rng.random() < 0.02:
            return self.rng.randint(0, 300 * MS)
        return self.rng.randint(MS // 10, 3 * MS)

    def _fate(self) -> str:
        if not self.faults:
            return ""
        return self.rng.choices(["", "lose", "lose-answer", "double"], weights=[100, 0.5, 0.5, 3])[
            0
        ]

    # -- clients -----------------------------------------------------------------------------------

    def ask(
        self,
        node: str,
        op: str,
        key: str = "",
        args: tuple[Any, ...] = (),
        *,
        then: Callable[[Response | None], None],
        timeout_ns: int = 1_000 * MS,
    ) -> None:
        """Ask a node's coordinator; ``then`` gets the response, None if the node crashed."""
        self._connection += 1
        here = self.nodes[node]
        if not here.up:
            self.after(MS, lambda: then(None))
            return
        self._waiting[self._connection] = (node, then)
        command = _unpack(_pack(Command(op, key, args)))
        request = Request(1, "s", 0, 0, command, timeout_ns=timeout_ns)
        here.take(here.part.on_client(self.now, self._connection, request))

    def replied(self, connection: int, response: Response) -> None:
        held = self._waiting.pop(connection, None)
        if held is not None:
            told = msgspec.structs.replace(response, value=_value(_pack(response.value)))
            self.after(MS // 10, lambda: held[1](told))

    def node_lost(self, name: str) -> None:
        lost = [number for number, (node, _) in self._waiting.items() if node == name]
        for number in lost:
            _, then = self._waiting.pop(number)
            self.after(MS, lambda then=then: then(None))

    def do(self, node: str, op: str, key: str = "", args: tuple[Any, ...] = (), **k: Any) -> Any:
        """Ask and run until it is answered: (status, value, error)."""
        found: list[Response | None] = []
        self.ask(node, op, key, args, then=found.append, **k)
        for _ in range(5_000):
            if found:
                break
            self.run(MS)
        assert found, f"{op} at {node} is not answered"
        response = found[0]
        if response is None:
            return ("unknown", None, "the node crashed")
        return (response.status, response.value, response.error)

    def run_txn(self, node: str, operations: list[Any], **options: Any) -> Any:
        return self.do(node, "txn-run", "", (operations, options))

    # -- histories ---------------------------------------------------------------------------------

    def note(self, process: str, kind: str, value: Any, node: str, error: str = "") -> None:
        self.events.append(
            Event(0, self.now, process, kind, "txn", None, value, node, error or None)
        )

    def history(self) -> History:
        return History.from_events(self.events, header={"workload": "txn"})


class Client:
    """A client that sends transactions one after the other and notes what it saw.

    Args:
        world: where.
        name: of its processes; a new one follows an unknown outcome.
        make: gives the next transaction's operations, or None to stop.
        interactive: share of transactions that are sent step by step.
        options: of its transactions.
    """

    def __init__(
        self,
        world: World,
        name: str,
        make: Callable[[], list[list[Any]] | None],
        *,
        interactive: float = 0.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.world, self.name, self.make = world, name, make
        self.options = options or {}
        self.interactive = interactive
        self.process = 0
        world.after(world.rng.randint(0, 5 * MS), self.next)

    def next(self) -> None:
        operations = self.make()
        if operations is None:
            return
        world = self.world
        node = world.rng.choice(sorted(world.nodes))
        world.note(self.me, "invoke", operations, node)
        if world.rng.random() < self.interactive:
            Steps(self, node, operations)
            return

        def told(response: Response | None) -> None:
            if response is None:
                self.ended("info", operations, node, "the node crashed")
            elif response.status == "ok":
                self.ended("ok", response.value, node)
            else:
                kind = "fail" if response.status == "fail" else "info"
                self.ended(kind, operations, node, response.error)

        world.ask(node, "txn-run", "", (operations, self.options), then=told)

    @property
    def me(self) -> str:
        return f"{self.name}.{self.process}"

    def ended(self, kind: str, value: Any, node: str, error: str = "") -> None:
        self.world.note(self.me, kind, value, node, error)
        if kind == "info":
            self.process += 1
        self.world.after(self.world.rng.randint(0, 4 * MS), self.next)


class Steps:
    """A transaction sent step by step."""

    def __init__(self, client: Client, node: str, operations: list[list[Any]]) -> None:
        self.client, self.node, self.operations = client, node, operations
        self.done: list[list[Any]] = []
        self.txn = ""
        self._ask("txn-begin", "", (client.options,), self._begun)

    def _ask(self, op: str, key: str, args: tuple[Any, ...], then: Callable[[Any], None]) -> None:
        def told(response: Response | None) -> None:
            if response is not None and response.status == "ok":
                then(response.value)
            elif op == "txn-commit" and (response is None or response.status == "unknown"):
                self._ended("info", "unknown")
            else:
                self._ended("fail", response.error if response else "the node crashed")

        self.client.world.ask(self.node, op, key, args, then=told)

    def _ended(self, kind: str, error: str) -> None:
        self.client.ended(kind, self.operations, self.node, error)

    def _begun(self, value: Any) -> None:
        self.txn = value["txn"]
        self._next()

    def _next(self) -> None:
        if len(self.done) == len(self.operations):
            commit = lambda value: self.client.ended("ok", self.done, self.node)  # noqa: E731
            self._ask("txn-commit", self.txn, (), commit)
            return
        kind, key, value = self.operations[len(self.done)]
        op, args = {
            "r": ("txn-read", (key,)),
            "w": ("txn-write", (key, value)),
            "append": ("txn-append", (key, value)),
            "scan": ("txn-scan", tuple(key) if kind == "scan" else ()),
        }[kind]

        def stepped(found: Any) -> None:
            self.done.append([kind, key, found if kind in ("r", "scan") else value])
            self._next()

        self._ask(op, self.txn, args, stepped)


class Mover:
    """Moves a random partition to another group now and then, as a controller does."""

    def __init__(self, world: World, every_ns: int) -> None:
        self.world, self.every_ns = world, every_ns
        self.moved = 0
        world.after(every_ns, self.begin)

    def begin(self) -> None:
        world = self.world
        partition = world.rng.choice(sorted(world.map.places))
        _, epoch, group = world.map.places[partition]
        other = world.rng.choice([name for name in sorted(world.data) if name != group])
        world.must(group, Command("p-freeze", partition, (epoch,)))
        self.export(partition, epoch, group, other)

    def export(self, partition: str, epoch: int, group: str, other: str) -> None:
        world = self.world
        status, data, _ = world.groups[group].do(
            Command("p-export", partition, (epoch, 0, 1 << 20))
        )
        if status != "ok":
            world.after(5 * MS, lambda: self.export(partition, epoch, group, other))
            return
        number = int(partition[1:])
        args = (epoch + 1, "slots", number, number + 1, *data)
        world.must(other, Command("p-adopt", partition, args))
        self.moved += 1
        world.map.places[partition] = (partition, epoch + 1, other)
        for node in world.nodes.values():  # each learns it at a time of its own

            def learn(node: Node = node) -> None:
                node.map.places[partition] = (partition, epoch + 1, other)

            world.after(world.rng.randint(0, 40 * MS), learn)
        drop = Command("p-drop", partition, (epoch,))
        world.after(world.rng.randint(0, 60 * MS), lambda: world.must(group, drop))
        world.after(self.every_ns, self.begin)


def list_append_txns(
    world: World, keys: int, count: int, *, read: float = 0.5
) -> Callable[[], list[list[Any]] | None]:
    """A generator of transactions over lists, shared by clients."""
    left = [count]
    written = [0]

    def make() -> list[list[Any]] | None:
        if left[0] <= 0:
            return None
        left[0] -= 1
        operations: list[list[Any]] = []
        for _ in range(world.rng.randint(1, 4)):
            key = f"k{world.rng.randrange(keys)}"
            if world.rng.random() < read:
                operations.append(["r", key, None])
            else:
                written[0] += 1
                operations.append(["append", key, written[0]])
        return operations

    return make


class Crasher:
    """Crashes a node now and then, one at a time, and starts it again soon; until a moment."""

    def __init__(self, world: World, until_ns: int) -> None:
        self.world, self.until_ns = world, until_ns
        world.after(100 * MS, self.crash)

    def crash(self) -> None:
        world = self.world
        if world.now > self.until_ns:
            return
        node = world.nodes[world.rng.choice(sorted(world.nodes))]
        if all(each.up for each in world.nodes.values()):
            node.crash()
            world.after(world.rng.randint(MS, 30 * MS), node.start)
        world.after(world.rng.randint(100 * MS, 400 * MS), self.crash)
