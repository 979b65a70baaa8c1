"""A client of role ``leaderless`` under load: siblings, sets and counters, each checked by its own.

A key's name says what it is (:data:`KINDS`). A store carries the context of the client's last read
of the key, once; sets and counters only grow. After healing, :func:`read_all` reads every key once
more. Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cluster.client.session import Complete
from cluster.simulation.liveness import key_has_quorum
from cluster.simulation.profiles import SwarmOptions
from cluster.simulation.sessions import Call
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command

#: what a key may be -> the checker of its operations
KINDS = {"siblings": "siblings", "set": "set-full", "counter": "counter"}
_READS = {"siblings": "get", "set": "set-read", "counter": "counter-read"}
#: The session that reads at the end, and how long each of its reads may take.
LAST_READER, LAST_READ_NS = "settle-reads", 20 * SECOND
#: Clients do not hurry more than this: sets and counters grow with each operation, and whole states
#: travel.
THINK_MIN_NS = 20 * MS


class LeaderlessLoad:
    """One client.

    Args:
        world: where.
        options: how fast, and how many keys.
        name: of its session, a letter and a number.
        end_ns: it begins nothing after this.
    """

    def __init__(self, world: World, options: SwarmOptions, name: str, *, end_ns: int) -> None:
        self._world, self._options, self._end_ns = world, options, end_ns
        self._random = world.rng("swarm", name)
        self._session = world.session(
            name,
            timeout_ns=options.timeout_ns,
            attempt_ns=options.attempt_ns,
            window=options.window,
        )
        self._name, self._count = name, 0
        self._contexts: dict[str, tuple[list[Any], str]] = {}
        self._roaming = self._random.choice((0.0, 0.3, 1.0))
        self._read_share = self._random.choice((0.2, 0.5, 0.8))
        for _ in range(options.window):
            world.at(self._pause_ns(), self._next)

    def _pause_ns(self) -> int:
        think_ns = max(self._options.think_ns, THINK_MIN_NS)
        return int(self._random.expovariate(1 / think_ns))

    def _next(self) -> None:
        if self._world.now_ns >= self._end_ns:
            return
        kind = self._random.choice(tuple(KINDS))
        key = f"{kind}/k{self._random.randrange(self._options.keys)}"
        blind = kind == "siblings" and key not in self._contexts
        if blind or self._random.random() < self._read_share:
            self._begin("read", key, None, Command(_READS[kind], key))
            return
        self._count += 1
        value = int(self._name[1:]) * 1_000_000 + self._count
        if kind == "siblings":
            over, context = self._contexts.pop(key)
            args = (value, context)
            output = {"value": value, "over": over}
            self._begin("store", key, value, Command("put", key, args), output)
        elif kind == "set":
            self._begin("add", key, value, Command("set-add", key, (value,)))
        else:
            amount = self._random.randint(1, 5)
            self._begin("add", key, amount, Command("counter-incr", key, (amount,)))

    def _begin(self, f: str, key: str, value: Any, command: Command, output: Any = None) -> None:
        world = self._world
        to = self._random.choice(world.nodes) if self._random.random() < self._roaming else None
        call = Call(self._name, Command(f, key, () if value is None else (value,)), to=to or "")
        world.client_log.append((world.now_ns, call, True))
        done = partial(self._done, call, output)
        self._session.submit(command, to=to, recorded=False, done=done)

    def _done(self, call: Call, output: Any, outcome: Complete) -> None:
        key = call.command.key
        call.status, call.error = outcome.status, outcome.error
        if call.command.op == "read" and outcome.status == "ok":
            call.value = outcome.value
            if key.startswith("siblings/"):
                call.value = list(outcome.value["values"])
                self._contexts[key] = (call.value, outcome.value["context"])
        elif outcome.status != "fail":
            call.value = output
        self._world.client_log.append((self._world.now_ns, call, False))
        self._world.at(self._pause_ns(), self._next)


def read_all(world: World, keys: int) -> list[str]:
    """Read every key that there may be, in a healed world.

    Args:
        world: where.
        keys: how many of each kind.

    Returns:
        A sentence for each that could not be read.
    """
    problems = []
    session = world.session(LAST_READER, timeout_ns=LAST_READ_NS)
    for kind in KINDS:
        for number in range(keys):
            key = f"{kind}/k{number}"
            if not key_has_quorum(world, key):
                continue  # disks were damaged for good
            call = Call(LAST_READER, Command("read", key))
            world.client_log.append((world.now_ns, call, True))
            outcomes: list[Complete] = []
            session.submit(Command(_READS[kind], key), recorded=False, done=outcomes.append)
            world.run_until(_there(outcomes), 2 * LAST_READ_NS)
            call.status, call.error = outcomes[0].status, outcomes[0].error
            if call.status == "ok":
                answer = outcomes[0].value
                call.value = list(answer["values"]) if kind == "siblings" else answer
            else:
                problems.append(f"key {key} cannot be read after healing: {call.error}")
            world.client_log.append((world.now_ns, call, False))
    return problems


def _there(outcomes: list[Complete]) -> Callable[[], bool]:
    return lambda: bool(outcomes)
