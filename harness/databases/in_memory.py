"""Two databases that are none: for demonstrations, for benchmarks, and for testing the harness.

- ``atom``: a dictionary in the harness's own process, read and changed in one step. It keeps every
  kind of objects there is a workload for, strictly serializable by construction, in every
  environment, and no fault can touch it: its nodes are names. A nemesis cannot bite what is not
  there, and the verdict says so. Its leases end by the run's clock, which in `sim` is virtual.
- ``noop``: every operation is ok and nothing is remembered: what the harness itself costs.

They show what the smallest database looks like. What ``atom`` keeps is in
:mod:`harness.databases.in_memory_objects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.databases.base import Invocation, Outcome, operations_of
from harness.databases.in_memory_objects import KINDS, Kind, Store
from harness.environments.base import Node

OBJECTS: dict[str, tuple[str, ...]] = {
    "register": ("read", "write", "cas"),
    "list": ("read", "append"),
    "set": ("read", "add"),
    "scanned-set": ("read", "add"),
    "counter": ("read", "add"),
    "siblings": ("read", "store"),
    "monotonic": ("read", "inc"),
    "ids": ("generate",),
    "queue": ("enqueue", "dequeue", "drain"),
    "log": ("send", "poll", "assign"),
    "lock": ("acquire", "release", "write"),
    "election": ("campaign", "act", "resign"),
    "lease": ("grant", "renew", "revoke"),
    "watch": ("write", "watch"),
    "bank": ("open", "read", "transfer"),
    "members": ("read",),
    "singleton": ("act",),
    "owned": ("act",),
    "txn-list": ("txn",),
    "txn-register": ("txn",),
    "txn-predicates": ("txn",),
}


class Atom:
    """A strictly serializable store in this process."""

    environments = ("local", "sim")

    def __init__(self, *, objects: str = "register") -> None:
        self.operations = operations_of("atom", OBJECTS, objects)
        self.objects = objects
        self.store = Store()

    async def setup(self, node: Node) -> None:
        """Nothing to install."""

    async def start(self, node: Node) -> None:
        """Nothing to start."""

    async def ready(self, node: Node) -> None:
        """Always ready."""

    async def teardown(self, node: Node) -> None:
        """Nothing to remove."""

    def client(self) -> AtomClient:
        """A client of this store."""
        return AtomClient(self)


class AtomClient:
    """Does each operation in one step, with no wait in it: nothing can come between."""

    #: the kinds of objects by name; a client with a defect has another kind in one place
    kinds: ClassVar[Mapping[str, type[Kind]]] = KINDS

    def __init__(self, db: Atom) -> None:
        self.operations = db.operations
        self.store = db.store
        self.objects = db.objects
        self._kind = self.kinds[db.objects](db.store)

    async def open(self, node: Node) -> None:
        """Nothing to connect to; a clock to read."""
        self.store.now_ns = node.now_ns
        self.store.nodes = tuple(node.nodes)

    async def invoke(self, op: Invocation) -> Outcome:
        """One operation: the method of this name of the kind of objects."""
        method = getattr(self._kind, op.f, None) if op.f in OBJECTS[self.objects] else None
        if method is None:
            return op.fail(f"atom has no operation {op.f!r} on objects {self.objects!r}")
        outcome: Outcome = method(op)
        return outcome

    async def close(self) -> None:
        """Nothing to close."""


class Noop(Atom):
    """Says ok to everything."""

    def client(self) -> NoopClient:  # type: ignore[override]
        """A client that does nothing."""
        return NoopClient()


class NoopClient:
    """Every operation is ok, with its argument as its value."""

    async def open(self, node: Node) -> None:
        """Nothing to connect to."""

    async def invoke(self, op: Invocation) -> Outcome:
        """Ok."""
        return op.ok()

    async def close(self) -> None:
        """Nothing to close."""
