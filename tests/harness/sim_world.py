"""The smallest world for interpreter tests: virtual time, and nothing else in it."""

from __future__ import annotations

from cluster.simulation.heap import EventHeap, Handle
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

    def step(self):
        return self.heap.step()


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
