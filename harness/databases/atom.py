"""Two databases that are none: for demonstrations, for benchmarks, and for testing the harness.

- ``atom``: a dictionary in the harness's own process, read and written in one step. It is
  linearizable by construction, in every environment, and no fault can touch it: its nodes are
  names. A nemesis cannot bite what is not there, and the verdict says so.
- ``noop``: every operation is ok and nothing is remembered: what the harness itself costs.

They show what the smallest database looks like.
"""

from __future__ import annotations

from typing import Any

from harness.databases.base import Invocation, Outcome
from harness.environments.base import Node


class Atom:
    """A linearizable key-value store in this process."""

    environments = ("local", "sim")
    operations = frozenset({"read", "write", "cas"})

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

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
        return AtomClient(self.values)


class AtomClient:
    """Reads, writes and compares-and-sets the dictionary it is given."""

    operations = Atom.operations

    def __init__(self, values: dict[Any, Any]) -> None:
        self._values = values

    async def open(self, node: Node) -> None:
        """Nothing to connect to."""

    async def invoke(self, op: Invocation) -> Outcome:
        """One step, with no wait in it: nothing can come between."""
        values = self._values
        if op.f == "read":
            return op.ok(values.get(op.key))
        if op.f == "write":
            values[op.key] = op.value
            return op.ok()
        if op.f == "cas":
            old, new = op.value
            if values.get(op.key) != old:
                return op.fail(f"the value is {values.get(op.key)!r}")
            values[op.key] = new
            return op.ok()
        return op.fail(f"atom has no operation {op.f!r}")

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
