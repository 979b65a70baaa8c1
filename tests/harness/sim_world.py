"""The smallest world for interpreter tests: virtual time, and nothing else in it."""

from __future__ import annotations

import asyncio

from cluster.simulation.heap import EventHeap, Handle
from harness.databases.in_memory import Atom, AtomClient
from harness.interpreter.simulated_driver import SimRuntime


class TinyWorld:
    """Only time: an event heap."""

    def __init__(self):
        self.heap = EventHeap()

    @property
    def now_ns(self):
        return self.heap.now_ns

    def at(self, delay_ns, function, *arguments):
        handle = Handle(function, arguments)
        self.heap.push(self.heap.now_ns + delay_ns, handle.fire)
        return handle

    def step_until(self, waiting, most):
        return self.heap.step_until(waiting, most)


class TinyEnv:
    """An environment with names for nodes and time to sleep in."""

    name = "tiny"
    abilities = frozenset()

    def __init__(self, nodes=("n1", "n2", "n3")):
        self.runtime = SimRuntime(TinyWorld())
        self.nodes = list(nodes)
        self.now_ns = self.runtime.now_ns
        self.sleep = self.runtime.sleep

    def node(self, name):
        return name


class Lying(Atom):
    """A store that reads the first value ever written to a key while the client's node is paused.

    What a test of the tester needs: a bug that one kind of fault brings out, and no other.
    """

    environments = ("sim",)

    def client(self):
        return LyingClient(self)


class LyingClient(AtomClient):
    """See :class:`Lying`."""

    async def open(self, node):
        self.node = node

    async def invoke(self, op):
        if op.f == "write":
            self.store.values.setdefault(("first", op.key), op.value)
        if op.f == "read" and await self.node.cluster_status() is None:
            return op.ok(self.store.values.get(("first", op.key)))
        return await super().invoke(op)


class NeverReady(Atom):
    """A store that is waited for without a limit."""

    async def ready(self, node):
        while True:
            await asyncio.sleep(0.1)


class Slow(Atom):
    """A store whose clients take their time."""

    def client(self):
        return SlowClient(self)


class SlowClient(AtomClient):
    """See :class:`Slow`."""

    async def invoke(self, op):
        await asyncio.sleep(4)
        return await super().invoke(op)
