"""The kinds of objects that the database ``atom`` keeps, each in one step and with no wait in it.

A kind has one method per operation of a workload, which takes the invocation and gives the outcome.
To plant a defect, inherit a kind and override one of its methods: that is how the tests show that
each workload finds what it is for.

Used by :mod:`harness.databases.in_memory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.databases.base import Invocation, Outcome
from workloads.lock import FencedResource

#: the holder of a lease that no client has, when it ends, and its time to live
NO_LEASE: tuple[Any, float, float] = (None, 0.0, 0.0)


class Store:
    """The state that all clients share."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self.revision = 0
        self.events: list[dict[str, Any]] = []
        self.resource = FencedResource()
        #: the run's clock, once a client has been opened
        self.now_ns: Callable[[], int] = lambda: 0
        #: the nodes, once a client has been opened
        self.nodes: tuple[str, ...] = ()

    def next_revision(self) -> int:
        """A number greater than all before."""
        self.revision += 1
        return self.revision


class Kind:
    """Objects of one kind.

    Args:
        store: what all clients share.
    """

    def __init__(self, store: Store) -> None:
        self.shared = store


class Register(Kind):
    """Registers: read, write, compare and set."""

    def read(self, op: Invocation) -> Outcome:
        """The value, None if it was never written."""
        return op.ok(self.shared.values.get(op.key))

    def write(self, op: Invocation) -> Outcome:
        """Set the value."""
        self.shared.values[op.key] = op.value
        return op.ok()

    def cas(self, op: Invocation) -> Outcome:
        """Set the value if it is the expected one."""
        old, new = op.value
        if self.shared.values.get(op.key) != old:
            return op.fail(f"the value is {self.shared.values.get(op.key)!r}")
        self.shared.values[op.key] = new
        return op.ok()


class Elements(Kind):
    """Lists."""

    def read(self, op: Invocation) -> Outcome:
        """All elements."""
        return op.ok(list(self.shared.values.get(op.key, ())))

    def append(self, op: Invocation) -> Outcome:
        """One more element."""
        self.shared.values.setdefault(op.key, []).append(op.value)
        return op.ok()


class ElementSet(Elements):
    """Sets."""

    add = Elements.append


class Siblings(Elements):
    """Elements stored over those that are there."""

    def store(self, op: Invocation) -> Outcome:
        """One element instead of all; which these were."""
        over = self.shared.values.get(op.key, [])
        self.shared.values[op.key] = [op.value]
        return op.ok({"value": op.value, "over": over})


class Counter(Kind):
    """Counters."""

    def read(self, op: Invocation) -> Outcome:
        """The sum of all additions."""
        return op.ok(self.shared.values.get(op.key, 0))

    def add(self, op: Invocation) -> Outcome:
        """Add a number."""
        self.shared.values[op.key] = self.shared.values.get(op.key, 0) + op.value
        return op.ok()


class Monotonic(Counter):
    """Counters whose increments return the new value."""

    def inc(self, op: Invocation) -> Outcome:
        """One more; the sum."""
        made = self.shared.values[op.key] = self.shared.values.get(op.key, 0) + 1
        return op.ok(made)


class Identifiers(Kind):
    """Identifiers that are given out."""

    def generate(self, op: Invocation) -> Outcome:
        """A new identifier."""
        return op.ok(self.shared.next_revision())


class Queue(Elements):
    """Queues, the first value first."""

    enqueue = Elements.append

    def dequeue(self, op: Invocation) -> Outcome:
        """The first value, None if there is none."""
        items = self.shared.values.get(op.key)
        return op.ok(items.pop(0) if items else None)

    def drain(self, op: Invocation) -> Outcome:
        """All values."""
        return op.ok(self.shared.values.pop(op.key, []))


class Log(Kind):
    """Logs: offsets, and polls from any of them."""

    def send(self, op: Invocation) -> Outcome:
        """One more value; its offset."""
        items = self.shared.values.setdefault(op.key, [])
        items.append(op.value)
        return op.ok(len(items) - 1)

    def poll(self, op: Invocation) -> Outcome:
        """The entries from an offset on."""
        items = list(enumerate(self.shared.values.get(op.key, ())))
        return op.ok([[offset, value] for offset, value in items[op.value["from"] :]])

    def assign(self, op: Invocation) -> Outcome:
        """Begin again anywhere."""
        return op.ok()


class Lock(Kind):
    """Locks with fencing tokens, and the resource that they guard."""

    def acquire(self, op: Invocation) -> Outcome:
        """The lock with its token, if it is free."""
        if op.key in self.shared.values:
            return op.fail("the lock is held")
        token = self.shared.values[op.key] = self.shared.next_revision()
        return op.ok({"token": token})

    def release(self, op: Invocation) -> Outcome:
        """Give the lock back, if this token still holds it."""
        if self.shared.values.get(op.key) != op.value:
            return op.fail("the lock is another's")
        del self.shared.values[op.key]
        return op.ok()

    def write(self, op: Invocation) -> Outcome:
        """Write to the resource, which is fenced if there is a token."""
        token, value = op.value.get("token"), op.value["value"]
        accepted = self.shared.resource.write(op.key, token, value)
        return op.ok() if accepted else op.fail("the token is stale")


class Election(Kind):
    """Leadership: a lock by other names."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = Lock(store)

    def campaign(self, op: Invocation) -> Outcome:
        """Leadership with its token, if no candidate leads."""
        return self._lock.acquire(op)

    def act(self, op: Invocation) -> Outcome:
        """Act on the resource."""
        return self._lock.write(op)

    def resign(self, op: Invocation) -> Outcome:
        """Lead no more."""
        return self._lock.release(op)


class Lease(Kind):
    """Leases, which end by the run's clock."""

    def now_s(self) -> float:
        """The time by which leases end."""
        return self.shared.now_ns() / 1e9

    def grant(self, op: Invocation) -> Outcome:
        """The lease, if no client has it."""
        _, ends_s, _ = self.shared.values.get(op.key, NO_LEASE)
        if ends_s > self.now_s():
            return op.fail("the lease is another's")
        ttl_s = op.value["ttl_s"]
        self.shared.values[op.key] = (op.process, self.now_s() + ttl_s, ttl_s)
        return op.ok({"ttl_s": ttl_s, "token": self.shared.next_revision()})

    def renew(self, op: Invocation) -> Outcome:
        """The time to live from now on, if it has not ended."""
        holder, ends_s, ttl_s = self.shared.values.get(op.key, NO_LEASE)
        if holder != op.process or ends_s <= self.now_s():
            return op.fail("the lease has ended")
        self.shared.values[op.key] = (holder, self.now_s() + ttl_s, ttl_s)
        return op.ok({"ttl_s": ttl_s})

    def revoke(self, op: Invocation) -> Outcome:
        """Give it back."""
        holder, _, _ = self.shared.values.get(op.key, NO_LEASE)
        if holder != op.process:
            return op.fail("the lease is another's")
        del self.shared.values[op.key]
        return op.ok()


class Watch(Kind):
    """Values and the events of their changes."""

    def write(self, op: Invocation) -> Outcome:
        """Set the value; the revision at which it changed."""
        revision = self.shared.next_revision()
        self.shared.values[op.key] = op.value
        self.shared.events.append({"revision": revision, "key": op.key, "value": op.value})
        return op.ok({"revision": revision})

    def watch(self, op: Invocation) -> Outcome:
        """All events from a revision on."""
        start, prefix = op.value["from"], op.value["prefix"]
        later = [e for e in self.shared.events if e["revision"] >= start]
        events = [event for event in later if event["key"].startswith(prefix)]
        return op.ok({"events": events, "revision": self.shared.revision})


class Bank(Kind):
    """Accounts whose sum stays."""

    def open(self, op: Invocation) -> Outcome:
        """Give the accounts that are not there their balance."""
        for account, balance in op.value.items():
            self.shared.values.setdefault(account, balance)
        return op.ok()

    def read(self, op: Invocation) -> Outcome:
        """All balances."""
        return op.ok(dict(self.shared.values))

    def transfer(self, op: Invocation) -> Outcome:
        """Move money that is there."""
        values, amount = self.shared.values, op.value["amount"]
        if values[op.value["from"]] < amount:
            return op.fail("the balance is too small")
        values[op.value["from"]] -= amount
        values[op.value["to"]] += amount
        return op.ok()


class ListTransactions(Kind):
    """Transactions of appends to lists and reads of them."""

    def txn(self, op: Invocation) -> Outcome:
        """Appends and reads of lists, all at once."""
        done: list[list[Any]] = []
        for f, key, value in op.value:
            if f == "append":
                self.shared.values.setdefault(key, []).append(value)
                done.append([f, key, value])
            else:
                done.append([f, key, list(self.shared.values.get(key, ()))])
        return op.ok(done)


class RegisterTransactions(Kind):
    """Transactions of writes to registers and reads of them."""

    def txn(self, op: Invocation) -> Outcome:
        """Writes and reads of registers, all at once."""
        done: list[list[Any]] = []
        for f, key, value in op.value:
            if f == "w":
                self.shared.values[key] = value
            done.append([f, key, self.shared.values.get(key)])
        return op.ok(done)


class PredicateTransactions(Kind):
    """Transactions of writes to registers and reads of ranges of them."""

    def txn(self, op: Invocation) -> Outcome:
        """Writes and reads of registers and ranges, all at once."""
        done: list[list[Any]] = []
        for f, key, value in op.value:
            if f == "rp":
                low, high = key["keys"]
                found = [[k, v] for k, v in sorted(self.shared.values.items()) if low <= k <= high]
                done.append([f, key, found])
                continue
            if f == "w":
                self.shared.values[key] = value
            done.append([f, key, self.shared.values.get(key)])
        return op.ok(done)


class Members(Kind):
    """The nodes, of which none can fail here."""

    def read(self, op: Invocation) -> Outcome:
        """All nodes live."""
        return op.ok(sorted(self.shared.nodes))


class Singleton(Kind):
    """The one that may act: this process."""

    def act(self, op: Invocation) -> Outcome:
        """Act under a new token."""
        return op.ok({"token": self.shared.next_revision(), "value": op.value})


class Owned(Kind):
    """Keys of partitions that change hands: every few acts the next of two groups has them all."""

    #: acts after which the partition moves
    MOVES_AFTER = 25

    def act(self, op: Invocation) -> Outcome:
        """Act for the present owner, and count."""
        epoch = 1 + self.shared.next_revision() // self.MOVES_AFTER
        count = self.shared.values[op.key] = self.shared.values.get(op.key, 0) + 1
        owner = {"partition": "p0", "epoch": epoch, "group": f"g{epoch % 2}", "count": count}
        return op.ok(owner)


#: the kinds by the name that a workload's ``objects`` has
KINDS: dict[str, type[Kind]] = {
    "register": Register,
    "list": Elements,
    "set": ElementSet,
    "siblings": Siblings,
    "scanned-set": ElementSet,
    "counter": Counter,
    "monotonic": Monotonic,
    "ids": Identifiers,
    "queue": Queue,
    "log": Log,
    "lock": Lock,
    "election": Election,
    "lease": Lease,
    "watch": Watch,
    "bank": Bank,
    "members": Members,
    "singleton": Singleton,
    "owned": Owned,
    "txn-list": ListTransactions,
    "txn-register": RegisterTransactions,
    "txn-predicates": PredicateTransactions,
}
