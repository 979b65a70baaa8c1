"""A client of role ``gossip`` under load: acts of the singleton, each with a value of its own.

It asks the node it drew, and goes where that sends it; so deposed leaders are asked too. What is
answered has a fencing token, and the checker of locks sees two leaders in tokens that are the same,
or go back. Used by :mod:`cluster.simulation.swarm`.
"""

from __future__ import annotations

from functools import partial

from cluster.client.session import Complete
from cluster.gossip.requests import ACT
from cluster.simulation.profiles import SwarmOptions
from cluster.simulation.sessions import Call
from cluster.simulation.world import World
from cluster.wire import Command


class GossipLoad:
    """One client.

    Args:
        world: where.
        options: how fast.
        name: of its session, a letter and a number.
        end_ns: it begins nothing after this.
    """

    def __init__(self, world: World, options: SwarmOptions, name: str, *, end_ns: int) -> None:
        self._world, self._options, self._end_ns = world, options, end_ns
        self._random = world.rng("swarm", name)
        self._session = world.session(
            name, timeout_ns=options.timeout_ns, attempt_ns=options.attempt_ns
        )
        self._name, self._count = name, 0
        self._roaming = self._random.choice((0.0, 0.3, 1.0))
        self._world.at(self._pause_ns(), self._next)

    def _pause_ns(self) -> int:
        return int(self._random.expovariate(1 / self._options.think_ns))

    def _next(self) -> None:
        if self._world.now_ns >= self._end_ns:
            return
        world = self._world
        self._count += 1
        command = Command(ACT, "", (int(self._name[1:]) * 1_000_000 + self._count,))
        to = self._random.choice(world.nodes) if self._random.random() < self._roaming else None
        call = Call(self._name, command, to=to or "")
        world.client_log.append((world.now_ns, call, True))
        self._session.submit(command, to=to, recorded=False, done=partial(self._done, call))

    def _done(self, call: Call, outcome: Complete) -> None:
        call.status, call.value, call.error = outcome.status, outcome.value, outcome.error
        self._world.client_log.append((self._world.now_ns, call, False))
        self._world.at(self._pause_ns(), self._next)
