"""Two databases that are none: for demonstrations, for benchmarks, and for testing the harness.

- ``atom``: a dictionary in the harness's own process, read and changed in one step. It keeps every
  kind of objects there is a workload for, strictly serializable by construction, in every
  environment, and no fault can touch it: its nodes are names. A nemesis cannot bite what is not
  there, and the verdict says so. Its leases end by the run's clock, which in `sim` is virtual.
- ``noop``: every operation is ok and nothing is remembered: what the harness itself costs.

They show what the smallest database looks like. To plant a defect, inherit the client and override
one of its methods: that is how the tests show that each workload finds what it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.databases.base import Invocation, Outcome, operations_of
from harness.environments.base import Node
from workloads.lock import FencedResource

OBJECTS: dict[str, tuple[str, ...]] = {
    "register": ("read", "write", "cas"),
    "list": ("read", "append"),
    "set": ("read", "add"),
    "counter": ("read", "add"),
    "siblings": ("read", "store"),
    "ids": ("generate",),
    "queue": ("enqueue", "dequeue", "drain"),
    "log": ("send", "poll", "assign"),
    "lock": ("acquire", "release", "write"),
    "lease": ("grant", "renew", "revoke"),
    "watch": ("write", "watch"),
    "bank": ("open", "read", "transfer"),
    "txn-list": ("txn",),
    "txn-register": ("txn",),
}


#: the holder of a lease that nobody has, when it ends, and its time to live
NO_LEASE: tuple[Any, float, float] = (None, 0.0, 0.0)


class Store:
    """What all clients share."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self.revision = 0
        self.events: list[dict[str, Any]] = []
        self.resource = FencedResource()

    def next_revision(self) -> int:
        """A number greater than all before."""
        self.revision += 1
        return self.revision


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


def _store_sibling(client: AtomClient, op: Invocation) -> Outcome:
    """An element over those that are there."""
    over = client.store.values.get(op.key, [])
    client.store.values[op.key] = [op.value]
    return op.ok({"value": op.value, "over": over})


class AtomClient:
    """Does each operation in one step, with no wait in it: nothing can come between."""

    def __init__(self, db: Atom) -> None:
        self.operations = db.operations
        self.store = db.store
        self.objects = db.objects
        self._now_ns: Callable[[], int] = lambda: 0

    async def open(self, node: Node) -> None:
        """Nothing to connect to; a clock to read."""
        self._now_ns = node.now_ns

    async def invoke(self, op: Invocation) -> Outcome:
        """One operation: the method of this kind of objects and name."""
        method = getattr(self, f"{self.objects.replace('-', '_')}_{op.f}", None)
        if method is None:
            return op.fail(f"atom has no operation {op.f!r} on objects {self.objects!r}")
        outcome: Outcome = method(op)
        return outcome

    async def close(self) -> None:
        """Nothing to close."""

    # -- registers, lists, sets, counters, identifiers -----------------------------------------

    def register_read(self, op: Invocation) -> Outcome:
        """The value, None if it was never written."""
        return op.ok(self.store.values.get(op.key))

    def register_write(self, op: Invocation) -> Outcome:
        """Set the value."""
        self.store.values[op.key] = op.value
        return op.ok()

    def register_cas(self, op: Invocation) -> Outcome:
        """Set the value if it is the expected one."""
        old, new = op.value
        if self.store.values.get(op.key) != old:
            return op.fail(f"the value is {self.store.values.get(op.key)!r}")
        self.store.values[op.key] = new
        return op.ok()

    def list_read(self, op: Invocation) -> Outcome:
        """All elements."""
        return op.ok(list(self.store.values.get(op.key, ())))

    def list_append(self, op: Invocation) -> Outcome:
        """One more element."""
        self.store.values.setdefault(op.key, []).append(op.value)
        return op.ok()

    set_read, set_add = list_read, list_append
    siblings_read, siblings_store = list_read, _store_sibling

    def counter_read(self, op: Invocation) -> Outcome:
        """The sum of all additions."""
        return op.ok(self.store.values.get(op.key, 0))

    def counter_add(self, op: Invocation) -> Outcome:
        """Add a number."""
        self.store.values[op.key] = self.store.values.get(op.key, 0) + op.value
        return op.ok()

    def ids_generate(self, op: Invocation) -> Outcome:
        """A new identifier."""
        return op.ok(self.store.next_revision())

    # -- queues --------------------------------------------------------------------------------

    queue_enqueue = list_append

    def queue_dequeue(self, op: Invocation) -> Outcome:
        """The first value, None if there is none."""
        items = self.store.values.get(op.key)
        return op.ok(items.pop(0) if items else None)

    def queue_drain(self, op: Invocation) -> Outcome:
        """All values."""
        return op.ok(self.store.values.pop(op.key, []))

    # -- logs ----------------------------------------------------------------------------------

    def log_send(self, op: Invocation) -> Outcome:
        """One more value; its offset."""
        items = self.store.values.setdefault(op.key, [])
        items.append(op.value)
        return op.ok(len(items) - 1)

    def log_poll(self, op: Invocation) -> Outcome:
        """What is at an offset and after it."""
        items = list(enumerate(self.store.values.get(op.key, ())))
        return op.ok([[offset, value] for offset, value in items[op.value["from"] :]])

    def log_assign(self, op: Invocation) -> Outcome:
        """Begin again anywhere."""
        return op.ok()

    # -- locks and leases ----------------------------------------------------------------------

    def lock_acquire(self, op: Invocation) -> Outcome:
        """The lock with its token, if it is free."""
        if op.key in self.store.values:
            return op.fail("the lock is held")
        token = self.store.values[op.key] = self.store.next_revision()
        return op.ok({"token": token})

    def lock_release(self, op: Invocation) -> Outcome:
        """Give the lock back, if this token still holds it."""
        if self.store.values.get(op.key) != op.value:
            return op.fail("the lock is another's")
        del self.store.values[op.key]
        return op.ok()

    def lock_write(self, op: Invocation) -> Outcome:
        """Write to the fenced resource."""
        token, value = op.value["token"], op.value["value"]
        accepted = self.store.resource.write(op.key, token, value)
        return op.ok() if accepted else op.fail("the token is stale")

    def now_s(self) -> float:
        """The time by which leases end."""
        return self._now_ns() / 1e9

    def lease_grant(self, op: Invocation) -> Outcome:
        """The lease, if nobody has it."""
        _, ends_s, _ = self.store.values.get(op.key, NO_LEASE)
        if ends_s > self.now_s():
            return op.fail("the lease is another's")
        ttl_s = op.value["ttl_s"]
        self.store.values[op.key] = (op.process, self.now_s() + ttl_s, ttl_s)
        return op.ok({"ttl_s": ttl_s, "token": self.store.next_revision()})

    def lease_renew(self, op: Invocation) -> Outcome:
        """The time to live from now on, if it has not ended."""
        holder, ends_s, ttl_s = self.store.values.get(op.key, NO_LEASE)
        if holder != op.process or ends_s <= self.now_s():
            return op.fail("the lease has ended")
        self.store.values[op.key] = (holder, self.now_s() + ttl_s, ttl_s)
        return op.ok({"ttl_s": ttl_s})

    def lease_revoke(self, op: Invocation) -> Outcome:
        """Give it back."""
        holder, _, _ = self.store.values.get(op.key, NO_LEASE)
        if holder != op.process:
            return op.fail("the lease is another's")
        del self.store.values[op.key]
        return op.ok()

    # -- watches -------------------------------------------------------------------------------

    def watch_write(self, op: Invocation) -> Outcome:
        """Set the value; the revision at which it changed."""
        revision = self.store.next_revision()
        self.store.values[op.key] = op.value
        self.store.events.append({"revision": revision, "key": op.key, "value": op.value})
        return op.ok({"revision": revision})

    def watch_watch(self, op: Invocation) -> Outcome:
        """All events from a revision on."""
        start, prefix = op.value["from"], op.value["prefix"]
        told = [e for e in self.store.events if e["revision"] >= start]
        events = [event for event in told if event["key"].startswith(prefix)]
        return op.ok({"events": events, "revision": self.store.revision})

    # -- transactions --------------------------------------------------------------------------

    def bank_open(self, op: Invocation) -> Outcome:
        """Give the accounts that are not there their balance."""
        for account, balance in op.value.items():
            self.store.values.setdefault(account, balance)
        return op.ok()

    def bank_read(self, op: Invocation) -> Outcome:
        """All balances."""
        return op.ok(dict(self.store.values))

    def bank_transfer(self, op: Invocation) -> Outcome:
        """Move money that is there."""
        values, amount = self.store.values, op.value["amount"]
        if values[op.value["from"]] < amount:
            return op.fail("the balance is too small")
        values[op.value["from"]] -= amount
        values[op.value["to"]] += amount
        return op.ok()

    def txn_list_txn(self, op: Invocation) -> Outcome:
        """Appends and reads of lists, all at once."""
        done: list[list[Any]] = []
        for f, key, value in op.value:
            if f == "append":
                self.store.values.setdefault(key, []).append(value)
                done.append([f, key, value])
            else:
                done.append([f, key, list(self.store.values.get(key, ()))])
        return op.ok(done)

    def txn_register_txn(self, op: Invocation) -> Outcome:
        """Writes and reads of registers, all at once."""
        done: list[list[Any]] = []
        for f, key, value in op.value:
            if f == "w":
                self.store.values[key] = value
            done.append([f, key, self.store.values.get(key)])
        return op.ok(done)


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
