"""Nodes with a map, a lease and a controller each, around an ideal core and honest groups.

The core is the real state machine with its leases and watches, applied in order at one place. A
group holds real ownership and plain values. What is not ideal is the way to them: questions come
late, or too late, or never; answers are lost or come twice; nodes crash, come back, are cut off,
have slow clocks. After every event the rules are checked that no fault excuses.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from cluster.channel.request_waiting_list import Waiter
from cluster.config import MS, ClusterConfig
from cluster.core.answers import Answer, fail, ok
from cluster.core.lease import LeaseClock
from cluster.core.state_machine import StateMachine
from cluster.core.state_watch import WATCH, StateWatch
from cluster.data.controller_part import ControllerPart
from cluster.data.ownership import STALE_EPOCH, Ownership
from cluster.data.partition_machine import PartitionParts
from cluster.data.partition_record import OWNED, Layout
from cluster.data.partition_transfer import Arrivals, Part, digest_of, packed, unpacked
from cluster.data.parts import Part as NodePart
from cluster.data.parts import PartSetting
from cluster.data.placement import PlacementParts
from cluster.data.placement_part import PlacementPart
from cluster.data.questions import has_reason
from cluster.data.replicated_groups import CORE, founding_groups
from cluster.data.size_policy import SizeLimits
from cluster.ports import Effect, Reply
from cluster.wire import Command, Request, Response

S = 1_000 * MS
TTL_NS = S
TICK_NS = 20 * MS


class IdealCore:
    """The core: commands take effect in the order of their arrival, each once."""

    def __init__(self) -> None:
        self.machine = StateMachine(ClusterConfig())
        self.watch = StateWatch()
        self.clock = LeaseClock()
        self.index = 0
        self._applied_commands: list[Command] = []

    def carry_out(self, now_ns: int, command: Command) -> Answer:
        if command.op in self.machine.reads:
            return self.machine.read(command)
        self.index += 1
        self._applied_commands.append(command)
        answer = self.machine.apply(self.index, command)
        self.clock.begin(now_ns, self.machine.leases)
        return answer

    def end_leases(self, now_ns: int) -> None:
        leases = self.machine.leases
        for command in self.clock.proposals(
            now_ns, leases, leads=1, last_index=self.index, applied=self.index
        ):
            self.index += 1
            self.machine.apply_internal(self.index, command)
            self.clock.begin(now_ns, leases)

    def value(self, key: str) -> Any:
        return self.machine.read(Command("get", key))[1]


class HonestGroup:
    """A group's state: what it has, and lists of values by key; commands take effect once."""

    def __init__(self, name: str, ownership: type[Ownership], world: World) -> None:
        self.name = name
        self.ownership = ownership()
        self.values: dict[str, dict[str, list[int]]] = {}
        self.writes: dict[str, int] = {}
        self.arrivals = Arrivals()
        self._world = world

    def carry_out(self, command: Command) -> Answer:
        name, args = command.key, command.args
        answer: Answer = getattr(self, "_" + command.op[2:])(name, *args)
        return answer

    def _own(self, name: str, epoch: int, *shape: Any) -> Answer:
        return self._take(name, epoch, shape, {})

    def _receive(self, name: str, epoch: int, *part: Any) -> Answer:
        given = Part(*part)
        if not self.ownership.would_take(name, epoch):
            return ok(given.size)
        return ok(self.arrivals.add(name, epoch, given))

    def _adopt(self, name: str, epoch: int, scheme: str, low: Any, high: Any, *last: Any) -> Answer:
        if not self.ownership.would_take(name, epoch):
            return ok(False)
        data, wrong = self.arrivals.whole(name, epoch, Part(*last))
        return (
            fail(wrong) if wrong else self._take(name, epoch, (scheme, low, high), unpacked(data))
        )

    def _take(self, name: str, epoch: int, shape: tuple[Any, ...], data: Any) -> Answer:
        new = self.ownership.take(name, epoch, *shape)
        if new:
            self.values[name] = {key: list(items) for key, items in data.items()}
            self.writes[name] = 0
            self._world.acts(name, epoch, self.name)
        return ok(new)

    def _freeze(self, name: str, epoch: int) -> Answer:
        wrong = self.ownership.freeze(name, epoch)
        return fail(wrong) if wrong else ok(0)

    def _export(self, name: str, epoch: int, offset: int, bytes_max: int) -> Answer:
        wrong = self.ownership.export_refusal(name, epoch)
        if not wrong and self._world.rng.random() < self._world.intents_open:
            wrong = f"{name} has 1 open intents"
        if wrong:
            return fail(wrong)
        data = packed(self.values[name])
        part = Part(digest_of(data), len(data), offset, data[offset : offset + bytes_max])
        return ok(list(part))

    def _drop(self, name: str, epoch: int) -> Answer:
        gone = self.ownership.drop(name, epoch)
        if gone:
            del self.values[name]
        return ok(gone)

    def _split(self, name: str, epoch: int, at: str, left: str, right: str) -> Answer:
        assert left == name
        new, wrong = self.ownership.split(name, epoch, at, right)
        if new:
            whole = self.values[name]
            self.values[right] = {key: whole.pop(key) for key in list(whole) if key >= at}
            self.writes[right] = 0
            self._world.acts(name, epoch + 1, self.name)
            self._world.acts(right, epoch + 1, self.name)
        return fail(wrong) if wrong else ok(new)

    def _merge(self, name: str, epoch: int, right: str, right_epoch: int, into: str) -> Answer:
        assert into == name
        new, wrong = self.ownership.merge(name, epoch, right, right_epoch)
        if new:
            self.values[name].update(self.values.pop(right))
            self._world.acts(name, max(epoch, right_epoch) + 1, self.name)
        return fail(wrong) if wrong else ok(new)

    def _stat(self, name: str, epoch: int) -> Answer:
        held = self.ownership.held.get(name)
        if held is None or held.epoch != epoch:
            return fail(f"stale-epoch: {name} is not of this group at {epoch}")
        keys = sorted(self.values[name])
        middle = keys[len(keys) // 2] if keys else None
        return ok({"keys": len(keys), "writes": self.writes[name], "middle": middle})

    def _write(self, name: str, epoch: int, key: str, value: int) -> Answer:
        wrong = self.ownership.refusal(name, epoch) or self.ownership.outside(name, key)
        if wrong:
            return fail(wrong)
        self.values[name].setdefault(key, []).append(value)
        self.writes[name] += 1
        self._world.acts(name, epoch, self.name)
        return ok(None)

    def _list(self, name: str, epoch: int, low: str, high: str | None) -> Answer:
        wrong = self.ownership.refusal(name, epoch)
        if wrong:
            return fail(wrong)
        held = self.values[name].items()
        return ok({k: list(v) for k, v in held if low <= k and (high is None or k < high)})


class MachineGroup:
    """A group's real state machine; some writes take two phases, so that moves meet intents."""

    def __init__(self, name: str, ownership: type[Ownership], world: World) -> None:
        self.name = name
        self.machine = PartitionParts(ownership=ownership).build(world.config)
        self.ownership = self.machine.store.ownership
        self._index = 0
        self._world = world

    def apply(self, command: Command) -> Answer:
        if command.op in self.machine.reads:
            return self.machine.read(command)
        self._index += 1
        before = dict(self.ownership.held)
        answer = self.machine.apply(self._index, command)
        for name, held in self.ownership.held.items():
            if name not in before or before[name].epoch != held.epoch:
                self._world.acts(name, held.epoch, self.name)
        return answer

    def carry_out(self, command: Command) -> Answer:
        match command.op:
            case "p-write":
                return self._write(command.key, *command.args)
            case "p-list":
                epoch, low, high = command.args
                return self._list(command.key, epoch, low, high)
            case _:
                return self.apply(command)

    def _write(self, name: str, epoch: int, key: str, value: int) -> Answer:
        at_once = self._world.rng.random() < 0.5
        timestamp = started = 1_000 + value
        for _ in range(3):
            write = [name, epoch, key, "append", [value]]
            asked: tuple[Any, ...] = (timestamp, started, 0, False, [], [], [write], self.name,
                     [] if at_once else [self.name], started, at_once)  # fmt: skip
            status, vote, error = self.apply(Command("p-prepare", f"t{value}", asked))
            if status != "ok" or vote[0] not in ("push", "yes", "committed"):
                return fail(error or str(vote[1]))
            if vote[0] != "push":
                break
            timestamp = vote[1]
        self._world.acts(name, epoch, self.name)
        if not at_once:  # the vote is yes, and the decision is to commit
            later_ns = self._world.rng.randrange(300) * MS
            resolve = Command("p-resolve", f"t{value}", ("commit", timestamp))
            self._world.after(later_ns, lambda: self._end(f"t{value}", timestamp, started, resolve))
        return ok(None)

    def _end(self, txn: str, timestamp: int, started: int, resolve: Command) -> None:
        decide = Command("p-decide", txn, ("commit", timestamp, started))
        assert self.apply(decide)[1] == ["commit", timestamp]
        assert self.apply(resolve)[0] == "ok"

    def _list(self, name: str, epoch: int, low: str, high: str | None) -> Answer:
        scan = Command("p-scan", "", (None, False, [[name, epoch, low, high]]))
        status, value, error = self.apply(scan)
        if status != "ok":
            return fail(error)
        kind, found, *_ = value[1][0]
        return ok(dict(found)) if kind == "value" else fail(found)

    @property
    def values(self) -> dict[str, dict[str, list[int]]]:
        """What it has, by partition and key."""
        return {
            name: self._list(name, held.epoch, "", None)[1]
            for name, held in self.ownership.held.items()
        }


READS = {"p-export", "p-stat", "p-list", "range", "get", "stat", "leases", WATCH}


class Services:
    """What a node gives one of its parts."""

    groups: tuple[str, ...] = ()

    def __init__(self, node: Node, part: str) -> None:
        self._node, self._part = node, part

    def ask(
        self, now_ns: int, group: str, command: Command, *, mode: str = "linearizable",
        timeout_ns: int, to: str = "",
    ) -> int:  # fmt: skip
        assert mode == "linearizable" and not to
        return self._node.ask(now_ns, group, command, timeout_ns=timeout_ns, part=self._part)

    def members(self, group: str) -> tuple[str, ...]:
        return self._node.opened.get(group, ())

    def leader(self, group: str) -> str:
        return ""

    def leads(self, group: str) -> bool:
        return False

    def machine(self, group: str) -> None:
        return None

    def open_group(self, group: str, members: Sequence[str]) -> None:
        assert group not in self._node.opened, f"{group} is opened twice"
        self._node.opened[group] = tuple(members)


class LifeRng:
    """Randomness of which nothing but a name is asked."""

    def __init__(self, life: int) -> None:
        self._life = life

    def between(self, low: int, high: int) -> int:
        assert low <= self._life <= high
        return self._life


class Node:
    """One life of a node: its placement and controller, hosted as a data node hosts them."""

    def __init__(self, world: World, name: str, life: int) -> None:
        self.world, self.name, self.life = world, name, life
        self.alive = True
        self._rate, self._since = world.rates.get(name, 1.0), (0, 0)
        self._tokens = count(1)
        self._asked_by: dict[int, str] = {}
        self.told: dict[int, Callable[[Answer], None]] = {}
        #: when each question is given up, by the node's own clock
        self.patience: list[tuple[int, int, Callable[[], None]]] = []
        self.opened: dict[str, tuple[str, ...]] = {}
        self.effects: list[Effect] = []
        self.place = PlacementPart(self._setting("placement", None), parts=world.parts)
        self.control = ControllerPart(self._setting("controller", self.place))
        self.parts: dict[str, NodePart] = {"placement": self.place, "controller": self.control}
        self.placement, self.watch = self.place.placement, self.place.watch
        self.watch._page = world.page
        self.registration, self.controller = self.place.registration, self.control.controller
        for part in self.parts.values():
            self.effects += part.start(self.now_ns)
        self.tick_if_due()

    def _setting(self, part: str, placement: Any) -> PartSetting:
        founders = tuple(self.world.founders) if self.name in self.world.founders else ()
        nothing: Any = None
        return PartSetting(
            node=self.name, founders=founders, config=self.world.config,
            rng=LifeRng(self.life + 1), clock=nothing, stamps=nothing,
            services=Services(self, part), placement=placement,
        )  # fmt: skip

    @property
    def now_ns(self) -> int:
        """The node's own monotonic time."""
        world_ns, local_ns = self._since
        return local_ns + int((self.world.now_ns - world_ns) * self._rate)

    def run_at(self, rate: float) -> None:
        """From now on the node's clock goes at another rate."""
        self._since = self.world.now_ns, self.now_ns
        self._rate = rate

    def ask(
        self, now_ns: int, group: str, command: Command, *, timeout_ns: int, part: str = ""
    ) -> int:
        token = next(self._tokens)
        self._asked_by[token] = part
        self.world.carry(self, token, group, command, timeout_ns)
        return token

    def on_answer(self, token: int, answer: Answer) -> None:
        if not self.alive:
            return
        told = self.told.pop(token, None)
        if told is not None:
            told(answer)
        part = self._asked_by[token]
        if part:
            self.effects += self.parts[part].on_answer(self.now_ns, token, *answer)
        self.tick_if_due()

    def tick_if_due(self) -> None:
        """Tick the parts that are due, as a data node's timer does, until none is."""
        if not self.alive:
            return
        while self.patience and self.patience[0][0] <= self.now_ns:
            heapq.heappop(self.patience)[2]()
        for _ in range(100):
            due = [part for part in self.parts.values() if part.deadline_ns <= self.now_ns]
            if not due:
                return
            for part in due:
                self.effects += part.tick(self.now_ns)
        raise AssertionError(f"the parts of {self.name} are due without end")

    def replies(self) -> list[Response]:
        """The answers to clients since the last call."""
        replies = [each.response for each in self.effects if isinstance(each, Reply)]
        self.effects.clear()
        return replies


class World:
    """Everything, in virtual time."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 5,
        layout: Layout = Layout(slots=10),  # noqa: B008
        part_bytes: int = 512 * 1024,
        limits: SizeLimits | None = None,
        ownership: type[Ownership] = Ownership,
        parts: PlacementParts = PlacementParts(),  # noqa: B008
        page: int = 10_000,
        groups: type[HonestGroup] | type[MachineGroup] = HonestGroup,
        loss: float = 0.0,
        intents_open: float = 0.0,
    ) -> None:
        self.rng = random.Random(seed)
        self.parts, self.page = parts, page
        self.config = ClusterConfig(
            node_ttl_ns=TTL_NS,
            partition_part_bytes=part_bytes,
            partition_scheme=layout.scheme,
            partition_slots=layout.slots,
            partition_splits=layout.splits,
            partition_split_keys=limits.split_keys if limits else 0,
            partition_split_writes=limits.split_writes if limits else 1,
            partition_merge_keys=limits.merge_keys if limits else 0,
            partition_poll_ns=limits.poll_ns if limits else S,
        )
        self.loss, self.intents_open = loss, intents_open
        self.now_ns = 0
        self._order = count()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self.core = IdealCore()
        self.founders = [f"n{n + 1}" for n in range(nodes)]
        self._ownership = ownership
        self._make_group = groups
        self.groups: dict[str, HonestGroup | MachineGroup] = {}
        self.rates: dict[str, float] = {}
        self.cut: set[str] = set()  # nodes that do not reach the core
        self.acting: dict[tuple[str, int], str] = {}
        self.asked: list[tuple[str, str]] = []  # (node, op) of every question to a group or txn
        #: what becomes of a question: "" for chance, "lose-question", "lose-answer", or "hold"
        self.on_ask: Callable[[Node, str, Command], str] = lambda node, group, command: ""
        self.hold_ns = 0
        self.refused: list[tuple[str, Command]] = []  # changes that the core's guards refused
        self.nodes: dict[str, Node] = {}
        self.acked: dict[str, list[int]] = {}
        self.maybe: set[int] = set()
        self._written = count()
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        self._watchers = count()
        for name in self.founders:
            self.restart(name)
        self.at(0, self._beat)

    # -- time --------------------------------------------------------------------------------------

    def at(self, when_ns: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (max(when_ns, self.now_ns), next(self._order), what))

    def after(self, delay_ns: int, what: Callable[[], None]) -> None:
        self.at(self.now_ns + delay_ns, what)

    def run(self, until_ns: int, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Run until a time, or until something is so; whether it is."""
        while self._heap and self._heap[0][0] <= until_ns:
            self.now_ns, _, what = heapq.heappop(self._heap)
            what()
            self.check()
            if stop():
                return True
        self.now_ns = max(self.now_ns, until_ns)
        return stop()

    def _beat(self) -> None:
        self.core.end_leases(self.now_ns)
        self._notice()
        for waiter, answer in self.core.watch.expire(self.now_ns, self.core.index):
            self._waiting.pop(waiter.request)(answer)
        for node in self.nodes.values():
            node.tick_if_due()
        self.after(TICK_NS, self._beat)

    def _notice(self) -> None:
        machine = self.core.machine
        for waiter, answer in self.core.watch.notice(machine.keys.values, self.core.index):
            self._waiting.pop(waiter.request)(answer)

    # -- nodes -------------------------------------------------------------------------------------

    def crash(self, name: str) -> None:
        self.nodes[name].alive = False

    def restart(self, name: str) -> None:
        old = self.nodes.get(name)
        self.nodes[name] = Node(self, name, old.life + 1 if old is not None else 0)

    def living(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.alive]

    def reaches(self, node: Node, group: str) -> bool:
        if group == CORE:
            return node.name not in self.cut
        members = self.members(group)
        alive = [name for name in members if name in self.nodes and self.nodes[name].alive]
        return 2 * len(alive) > len(members)

    def members(self, group: str) -> tuple[str, ...]:
        found = self.core.value(f"groups/{group}")
        return tuple(found["members"]) if found else founding_groups(self.founders)[group]

    def group(self, name: str) -> HonestGroup | MachineGroup:
        if name not in self.groups:
            self.groups[name] = self._make_group(name, self._ownership, self)
        return self.groups[name]

    # -- questions ---------------------------------------------------------------------------------

    def carry(self, node: Node, token: int, group: str, command: Command, timeout_ns: int) -> None:
        """Carry a question to a group and its answer back, if chance lets them."""
        self.asked.append((node.name, command.op))
        fate = self.on_ask(node, group, command)
        answered = [False]

        def answer(what: Answer) -> None:
            if not answered[0]:
                answered[0] = True
                node.on_answer(token, what)
                if self.rng.random() < 0.2:  # it comes twice
                    self.after(self.rng.randrange(50) * MS, lambda: node.on_answer(token, what))

        def answer_later(what: Answer) -> None:
            if fate != "lose-answer" and self.rng.random() >= self.loss:
                self.after(self._delay_ns(), lambda: answer(what))

        def arrive() -> None:
            if not self.reaches(node, group):
                return
            if command.op == WATCH:
                self._take_watch(command, self.now_ns + 400 * MS, answer_later)
            elif group == CORE:
                what = self.core.carry_out(self.now_ns, command)
                if command.op == "txn" and not (what[0] == "ok" and what[1]["succeeded"]):
                    self.refused.append((node.name, command))
                self._notice()
                answer_later(what)
            else:
                answer_later(self.group(group).carry_out(command))

        if fate != "lose-question" and self.rng.random() >= self.loss:
            late = self.rng.random() < self.loss / 4  # after it was given up
            held_ns = self.hold_ns if fate == "hold" else timeout_ns if late else 0
            self.after(self._delay_ns() + held_ns, arrive)
        status = "fail" if command.op in READS else "unknown"
        given_up = (status, None, "timed out")
        patience = (node.now_ns + timeout_ns, token, lambda: answer(given_up))
        heapq.heappush(node.patience, patience)

    def _delay_ns(self) -> int:
        return self.rng.randrange(1, 8) * MS

    def _take_watch(
        self, command: Command, deadline_ns: int, answer: Callable[[Answer], None]
    ) -> None:
        number = next(self._watchers)
        waiter = Waiter(0, number, deadline_ns)
        self._waiting[number] = answer
        values = self.core.machine.keys.values
        what = self.core.watch.take(waiter, command, values, self.core.index)
        if what is not None:
            self._waiting.pop(number)(what)

    # -- clients -----------------------------------------------------------------------------------

    def client(self, node: Node, key: str) -> None:
        """Write a new value to a key, by the map that the node has."""
        route = node.placement.route(key)
        if route is None:
            return
        value = next(self._written)
        self.maybe.add(value)  # until it is known
        command = Command("p-write", route.partition, (route.epoch, key, value))
        token = node.ask(node.now_ns, route.group, command, timeout_ns=500 * MS)

        def told(answer: Answer) -> None:
            status, _, error = answer
            if status == "ok":
                self.acked.setdefault(key, []).append(value)
            elif status == "fail":
                self.maybe.discard(value)
            if has_reason(error, STALE_EPOCH):
                node.watch.refuse(route.partition, route.epoch)

        node.told[token] = told

    def load(self, keys: list[str], until_ns: int, every_ns: int = 15 * MS) -> None:
        """Write now and then, at any living node."""

        def one() -> None:
            living = self.living()
            if living:
                self.client(self.rng.choice(living), self.rng.choice(keys))
            if self.now_ns < until_ns:
                self.after(every_ns, one)

        self.after(every_ns, one)

    def request(self, node: str, op: str, key: str, *args: str) -> list[tuple[str, str]]:
        """Ask a node for something about partitions; the list gets (status, error)."""
        at = self.nodes[node]
        answers: list[tuple[str, str]] = []
        command = Command(op, key, args)
        request = Request(1, "operator", 1, 1, command, timeout_ns=60_000 * MS)
        at.effects += at.place.on_client(at.now_ns, 1, request)

        def look() -> None:
            answers.extend((each.status, each.error) for each in at.replies())
            if at.alive and not answers:
                self.after(TICK_NS, look)

        look()
        return answers

    # -- rules -------------------------------------------------------------------------------------

    def acts(self, partition: str, epoch: int, group: str) -> None:
        """A group acts for a partition at an epoch: it must be the only one that ever does."""
        before = self.acting.setdefault((partition, epoch), group)
        assert before == group, f"{partition} at {epoch} is of {before} and of {group}"

    def check(self) -> None:
        acting: dict[str, str] = {}
        for group in self.groups.values():
            for name, held in group.ownership.held.items():
                if group.ownership.still_acts(held):
                    assert name not in acting, f"{name} is of {acting[name]} and {group.name}"
                    acting[name] = group.name

    def controllers(self) -> list[Node]:
        return [node for node in self.living() if node.controller.token]

    def settled(self) -> bool:
        """Whether all that was under way is done, and all living nodes know it."""
        partitions = self.partitions()
        if self.core.value("layout") is None:
            return False
        if any(each["state"] != OWNED for each in partitions.values()):
            return False
        revision = self.core.machine.keys.values.newest
        return all(node.placement.revision >= revision for node in self.living())

    def partitions(self) -> dict[str, Any]:
        items = self.core.machine.read(Command("range", "partitions/"))[1]["items"]
        return {item["key"].removeprefix("partitions/"): item["value"] for item in items}

    def counts(self) -> dict[str, int]:
        """Partitions by group."""
        found: dict[str, int] = {}
        for each in self.partitions().values():
            found[each["group"]] = found.get(each["group"], 0) + 1
        return found

    def check_end(self) -> None:
        """All is where the map says, at its epoch, once; and nothing acknowledged is missing."""
        partitions = self.partitions()
        for name, each in partitions.items():
            held = self.group(each["group"]).ownership.held[name]
            assert (held.epoch, held.frozen) == (each["epoch"], False), (name, held, each)
            assert (held.low, held.high) == (each["low"], each["high"]), (name, held, each)
        for group in self.groups.values():
            extra = {n for n in group.values if partitions.get(n, {}).get("group") != group.name}
            assert not extra, f"{group.name} keeps {extra}"
        stored: dict[str, list[int]] = {}
        for group in self.groups.values():
            for values in group.values.values():
                for key, items in values.items():
                    assert key not in stored, f"{key!r} is in two partitions"
                    stored[key] = items
        node = self.living()[0]
        for key, items in self.acked.items():
            there = stored.get(key, [])
            assert len(set(there)) == len(there), f"{key!r} has values twice: {there}"
            missing = set(items) - set(there)
            assert not missing, f"{key!r} lost {missing} of {items}"
            assert set(there) <= {*items, *self.maybe}, f"{key!r} has {there}, of {items}"
            route = node.placement.route(key)
            assert route is not None
            assert key in self.group(route.group).values[route.partition], f"{key!r} not at {route}"
