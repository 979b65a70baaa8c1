"""A tiny deterministic world for tests of the core: messages, time, and durable stores.

It hosts replicas behind the gate that a real node has (``cluster.host.effect_gate``): writes become
durable in order and only when the test lets them, and a crash keeps what was durable and nothing
else. Delivery order, loss and duplication are the caller's choice.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from cluster.config import MS, ClusterConfig
from cluster.core.replica import Replica, ReplicaParts
from cluster.host.effect_gate import EffectGate, Write
from cluster.ports import Append, Effect, Note, Recovered, Reply, Send
from cluster.wire import Command, Entry, HardState, Message, Request, Response, Snapshot


class SeededRng:
    """ports.Rng from a seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def between(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


class Store:
    """A node's durable state, and writes that are not durable yet."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.entries: dict[int, Entry] = {}
        self.snapshot: Snapshot | None = None
        self.queue: list[Write] = []

    def sync_one(self) -> int:
        write = self.queue.pop(0)
        if isinstance(write, Append):
            if write.hard_state is not None:
                assert write.hard_state.generation >= self.hard_state.generation
                self.hard_state = write.hard_state
            cuts = [entry.index for entry in write.entries[:1]]
            for first in [write.cut_from] * bool(write.cut_from) + cuts:
                self.entries = {i: e for i, e in self.entries.items() if i < first}
            for entry in write.entries:
                self.entries[entry.index] = entry
        else:
            assert self.snapshot is None or write.snapshot.index > self.snapshot.index
            self.snapshot = write.snapshot
            low = write.snapshot.index + (1 << 60) if write.reset_log else write.keep_from
            self.entries = {i: e for i, e in self.entries.items() if i >= low}
        return write.io_id

    def crash(self) -> None:
        self.queue.clear()

    def recovered(self) -> Recovered:
        entries = [self.entries[i] for i in sorted(self.entries)]
        return Recovered(self.hard_state, self.snapshot, entries)


class PumpClock:
    """Both clocks show the pump's time."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    def monotonic_ns(self) -> int:
        return self._pump.now

    wall_ns = monotonic_ns


class Pump:
    """Nodes, the messages between them, their stores and one clock."""

    def __init__(
        self,
        count: int = 3,
        *,
        seed: int = 0,
        config: ClusterConfig | None = None,
        auto_sync: bool = True,
        parts: ReplicaParts = ReplicaParts(),  # noqa: B008 (frozen)
    ) -> None:
        self.parts = parts
        self.founders = tuple(f"n{i + 1}" for i in range(count))
        self.names = tuple(f"n{i + 1}" for i in range(count))
        self.config = config or ClusterConfig()
        self.seed = seed
        self.now = 0
        self.auto_sync = auto_sync
        self.stores = {name: Store() for name in self.names}
        self.nodes: dict[str, Replica] = {}
        self.timers: dict[str, int] = {}
        self.gates: dict[str, EffectGate] = {}
        self.wire: list[tuple[str, str, Message]] = []
        self.cut: set[tuple[str, str]] = set()
        self.paused: set[str] = set()
        self.replies: list[tuple[str, int, Response]] = []
        self.notes: list[tuple[str, Note]] = []
        self.after_event: Callable[[str], None] = lambda _name: None
        self.lives = 0
        self.life: dict[str, int] = {}
        self.asked = 0
        for name in self.names:
            self.restart(name)

    # hosting

    def restart(self, name: str) -> None:
        self.lives += 1
        self.life[name] = self.lives
        rng = SeededRng(f"{self.seed}/{name}/{self.lives}")
        node = Replica(
            name,
            self.founders if name in self.founders else (),
            config=self.config,
            rng=rng,
            clock=PumpClock(self),
            parts=self.parts,
        )
        self.nodes[name] = node
        self.gates[name] = EffectGate(
            leave=partial(self._leave, name), note=lambda note: self.notes.append((name, note))
        )
        self.timers.pop(name, None)
        self._carry_out(name, node.start(self.now, self.stores[name].recovered()))

    def join(self, name: str) -> None:
        """A node that knows nobody starts with an empty disk."""
        self.names = (*self.names, name)
        self.stores[name] = Store()
        self.restart(name)

    def crash(self, name: str) -> None:
        self.stores[name].crash()
        self.gates[name].close()
        self.timers.pop(name, None)
        del self.nodes[name]

    def _carry_out(self, name: str, effects: list[Effect]) -> None:
        timer_ns = self.gates[name].carry_out(effects)
        self.stores[name].queue += self.gates[name].take()
        if timer_ns >= 0:
            self.timers[name] = timer_ns
        self.after_event(name)
        if self.auto_sync:
            self.sync(name)

    def _leave(self, name: str, effect: Send | Reply) -> None:
        if isinstance(effect, Reply):
            self.replies.append((name, effect.connection, effect.response))
        else:
            self.wire.append((name, effect.to, effect.message))

    def sync_one(self, name: str) -> bool:
        """One write becomes durable; whether there was one."""
        store = self.stores[name]
        if name not in self.nodes or not store.queue:
            return False
        io_id = store.sync_one()
        self.gates[name].persisted(io_id)
        self._carry_out(name, self.nodes[name].on_persisted(self.now, io_id))
        return True

    def sync(self, name: str) -> None:
        while self.sync_one(name):
            pass

    # messages and time

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        """Deliver (or, if cut, lose) the message at a position; ``keep`` duplicates it."""
        source, to, message = self.wire[position] if keep else self.wire.pop(position)
        if (source, to) in self.cut or to not in self.nodes or to in self.paused:
            return
        self._carry_out(to, self.nodes[to].on_message(self.now, source, message))

    def deliver_all(self, limit: int = 100_000) -> None:
        while self.wire:
            self.deliver()
            limit -= 1
            assert limit, "messages without end"

    def tick(self, name: str) -> None:
        self.timers.pop(name, None)
        self._carry_out(name, self.nodes[name].on_tick(self.now))

    def run(self, duration_ns: int) -> None:
        """Fire timers in order of time, delivering everything in between."""
        until = self.now + duration_ns
        self.deliver_all()
        while True:
            due = [(at, n) for n, at in self.timers.items() if n not in self.paused]
            if not due or min(due)[0] > until:
                break
            at, name = min(due)
            self.now = max(self.now, at)
            self.tick(name)
            self.deliver_all()
        self.now = until

    def elect(self, name: str) -> None:
        """Make a node lead: its election timer fires."""
        self.now += self.config.election_max_ns
        self.tick(name)
        self.deliver_all()
        assert self.nodes[name].consensus.role == "leader"

    def isolate(self, *names: str) -> None:
        """Cut the links between these nodes and the others, both ways."""
        self.cut = {(a, b) for a in self.names for b in self.names if (a in names) != (b in names)}

    def leader(self) -> str:
        leaders = [
            n for n in self.names if n in self.nodes and self.nodes[n].consensus.role == "leader"
        ]
        assert leaders, "nobody leads"
        return max(leaders, key=lambda n: self.nodes[n].consensus.clock.generation)

    # clients

    def ask(
        self,
        name: str,
        command: Command,
        *,
        seq: int = 0,
        session: str = "c",
        id: int = 0,
        first: int = 1,
        mode: str = "linearizable",
        opened_after: int = 0,
        timeout_ns: int = 5_000 * MS,
    ) -> int:
        """Send a request; the id of the answer."""
        self.asked += 1
        id = id or 1_000_000 + self.asked
        request = Request(id, session, seq, first, command, mode, timeout_ns, opened_after)
        self._carry_out(name, self.nodes[name].on_client(self.now, 1, request))
        return id

    def answer(self, id: int) -> Response | None:
        """The answer to a request, if there is one; there must never be two."""
        found = [r for _, _, r in self.replies if r.id == id]
        assert len(found) <= 1, "answered twice"
        return found[0] if found else None

    def do(self, name: str, command: Command, **options: object) -> Response:
        """Ask and deliver everything; the answer."""
        id = self.ask(name, command, **options)  # type: ignore[arg-type]
        self.deliver_all()
        response = self.answer(id)
        assert response is not None, "no answer"
        return response


def put(key: str, value: object) -> Command:
    return Command("put", key, (value,))


def get(key: str) -> Command:
    return Command("get", key)
