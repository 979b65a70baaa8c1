"""A client under load: an operation, a pause, the next operation, in as many lanes as its window.

Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

from typing import Any

from cluster.data.transaction_commands import RUN
from cluster.simulation.profiles import SwarmOptions
from cluster.simulation.world import World
from cluster.wire import Command

#: Reads that are of use only where another node than the leader is asked.
ELSEWHERE = ("follower", "stale")


class TransactionLoad:
    """One client of transactions over lists.

    Args:
        world: where; its nodes are of role ``data``.
        options: what it does, and how fast.
        name: of its session, a letter and a number.
        end_ns: it begins nothing after this.
    """

    def __init__(self, world: World, options: SwarmOptions, name: str, *, end_ns: int) -> None:
        self._world, self._options, self._end_ns = world, options, end_ns
        self._random = world.rng("swarm", name)
        self._session = world.session(
            name, timeout_ns=options.timeout_ns, window=options.window, prefer=self._node()
        )
        self._value = int(name[1:]) * 1_000_000
        self._read_share = self._random.choice((0.2, 0.5, 0.5, 0.8))
        self._roaming = self._random.choice((0.0, 0.3, 1.0))
        for _ in range(options.window):
            world.at(self._pause_ns(), self._next)

    def _node(self) -> str:
        return self._random.choice(self._world.nodes)

    def _pause_ns(self) -> int:
        return int(self._random.expovariate(1 / self._options.think_ns))

    def _next(self) -> None:
        if self._world.now_ns >= self._end_ns:
            return
        operations = [self._operation() for _ in range(self._random.randint(1, 4))]
        to = self._node() if self._random.random() < self._roaming else None
        command = Command(RUN, "", (operations, {"isolation": self._options.isolation}))
        self._session.submit(command, to=to, done=self._done)

    def _done(self, outcome: Any) -> None:
        self._world.at(self._pause_ns(), self._next)

    def _operation(self) -> list[Any]:
        key = f"k{self._random.randrange(self._options.keys)}"
        if self._random.random() < self._read_share:
            if self._options.scans and self._random.random() < self._options.scans:
                return ["scan", [key, self._end()], None]
            return ["r", key, None]
        self._value += 1
        return ["append", key, self._value]

    def _end(self) -> str | None:
        """Where a scan ends: at a key, perhaps below where it begins, or nowhere."""
        number = self._random.randrange(2 * self._options.keys)
        return f"k{number}" if number < self._options.keys else None


class Load:
    """One client.

    Args:
        world: where.
        options: what it does, and how fast.
        name: of its session, a letter and a number.
        end_ns: it begins nothing after this.
    """

    def __init__(self, world: World, options: SwarmOptions, name: str, *, end_ns: int) -> None:
        self._world, self._options, self._name, self._end_ns = world, options, name, end_ns
        self._random = world.rng("swarm", name)
        self._session = world.session(
            name,
            timeout_ns=options.timeout_ns,
            attempt_ns=options.attempt_ns,
            window=options.window,
        )
        self._count = 0
        self._known: dict[str, Any] = {}
        # Some stay with the node they know, some ask any; some only read, and so keep talking to a
        # leader that can no longer write.
        self._roaming = self._random.choice((0.0, 0.0, 0.3, 1.0))
        self._read_share = self._random.choice((0.2, 0.5, 1.0, 1.0))
        for _ in range(options.window):
            world.at(self._pause_ns(), self._next)

    def _pause_ns(self) -> int:
        return int(self._random.expovariate(1 / self._options.think_ns))

    def _next(self) -> None:
        if self._world.now_ns >= self._end_ns:
            return
        command = self._draw_command()
        mode = self._draw_mode(command)
        roams = mode in ELSEWHERE or self._random.random() < self._roaming
        to = self._random.choice(self._world.nodes) if roams else None

        def done(outcome: Any) -> None:
            if command.op == "get" and outcome.status == "ok":
                self._known[command.key] = outcome.value
            self._world.at(self._pause_ns(), self._next)

        self._session.submit(command, mode=mode, to=to, done=done)

    def _draw_mode(self, command: Command) -> str:
        modes = self._options.read_modes
        if command.op != "get" or len(modes) == 1:
            return modes[0] if command.op == "get" else "linearizable"
        return self._random.choice(modes)

    def _draw_command(self) -> Command:
        number = self._random.randrange(self._options.keys)
        key = f"k{number}"
        dice = self._random.random()
        if dice < self._read_share:
            return Command("get", key)
        dice = self._random.random()
        self._count += 1
        value = int(self._name[1:]) * 1_000_000 + self._count
        workload = self._options.workload
        if workload == "append" or (workload == "mixed" and number % 2):
            return Command("append", key, (value,))
        if dice < 0.5 or key not in self._known:
            return Command("put", key, (value,))
        return Command("cas", key, (self._known[key], value))
