"""The reference cluster's clients of more than single keys: transactions, banks, watches, leases.

Each does its operations with the commands of the core (``cluster.core.state_machine``) over one
client session, in simulation and on real nodes alike:

- lists and registers in transactions: one ``txn`` of the core for each transaction;
- banks: a transfer reads both balances, and changes them if they are still so;
- watches: from the revision after the last one received;
- members and the singleton, of role ``gossip``: what the node asked knows, and acts of the leader;
- leases: a key attached to a lease of the core; the client that creates the key has it.

Locks and elections are in :mod:`harness.databases.reference_holders`.

An unknown outcome of a step is made definite where that is possible: a lease that was revoked holds
no key, even if the transaction that was to attach one happened.

Made by :class:`harness.databases.reference.Reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from harness.databases.base import Invocation, Outcome
from workloads.lock import FencedResource

if TYPE_CHECKING:
    from cluster.client.session import Complete

#: tries of a transfer to be quicker than others
TRIES_MAX = 20


class Session(Protocol):
    """A client session of the cluster, simulated or over sockets."""

    async def call(
        self,
        command: Any,
        *,
        mode: str = "linearizable",
        timeout_s: float | None = None,
        node: str = "",
        staleness_s: float = 0.0,
    ) -> Complete:
        """Do one command.

        Args:
            command: what to do.
            mode: of a read.
            timeout_s: deadline; None for the session's own.
            node: which to ask first.
            staleness_s: of a ``bounded`` read: how old what it returns may be.
        """


class Settings(Protocol):
    """The interface of the database to its clients."""

    read_mode: str
    staleness_s: float
    op_timeout_s: float
    lease_ttl_s: float
    resource: FencedResource
    isolation: str
    #: the keys that clients used lately, the newest last
    keys_seen: dict[str, None]


class Objects:
    """Operations on one kind of objects.

    Args:
        db: the database's options.
        session: how to speak to the cluster.
    """

    operations: frozenset[str] = frozenset()
    #: commands of one operation, one after the other, at most: each may take its share of the time
    #: that an operation has, so that an operation whose first step hangs has an outcome, too
    steps = 1

    def __init__(self, db: Settings, session: Session) -> None:
        self._db = db
        self._session = session

    async def invoke(self, op: Invocation) -> Outcome:
        """Do one operation."""
        outcome: Outcome = await getattr(self, f"_{op.f}")(op)
        return outcome

    def close(self) -> None:
        """The client is given up: leave nothing running."""

    async def _call(self, op: str, key: str, *args: Any, mode: str = "linearizable") -> Complete:
        from cluster.wire import Command

        within_s = self._db.staleness_s if mode == "bounded" else 0.0
        limit_s = self._db.op_timeout_s / self.steps if self.steps > 1 else None
        return await self._session.call(
            Command(op, key, args), mode=mode, timeout_s=limit_s, staleness_s=within_s
        )

    async def _txn(
        self, compares: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any] = ()
    ) -> Complete:
        return await self._call("txn", "", list(compares), list(then), list(otherwise))


def ended(op: Invocation, done: Complete) -> Outcome:
    """A command that was not ``ok``: what it means for an operation that is this one command."""
    return op.fail(done.error) if done.status == "fail" else op.info(done.error)


class Transactions(Objects):
    """Transactions over lists (``append``) and registers (``w``); ``r`` reads."""

    operations = frozenset({"txn"})

    async def _txn_(self, op: Invocation) -> Outcome:
        words = {"r": "get", "append": "append", "w": "put"}
        parts = [
            [words[f], str(key)] if f == "r" else [words[f], str(key), value]
            for f, key, value in op.value
        ]
        done = await self._txn([], parts)
        if done.status != "ok":
            return ended(op, done)
        results = done.value["results"]
        return op.ok(
            [
                [f, key, found if f == "r" else value]
                for (f, key, value), found in zip(op.value, results, strict=True)
            ]
        )

    async def invoke(self, op: Invocation) -> Outcome:
        """Do one transaction."""
        return await self._txn_(op)


class Bank(Objects):
    """Accounts that are opened once, read together, and changed two at a time."""

    operations = frozenset({"open", "transfer", "read"})

    async def _open(self, op: Invocation) -> Outcome:
        names = sorted(op.value)
        absent = [[name, "version", "==", 0] for name in names]
        done = await self._txn(absent, [["put", name, op.value[name]] for name in names])
        return op.ok(op.value) if done.status == "ok" else ended(op, done)

    async def _read(self, op: Invocation) -> Outcome:
        done = await self._call("range", "a", mode=self._db.read_mode)
        if done.status != "ok":
            return op.fail(done.error)
        return op.ok({item["key"]: item["value"] for item in done.value["items"]})

    async def _transfer(self, op: Invocation) -> Outcome:
        source, target, amount = op.value["from"], op.value["to"], op.value["amount"]
        for _ in range(TRIES_MAX):
            found = await self._txn([], [["get", source], ["get", target]])
            if found.status != "ok":
                return op.fail(found.error)  # nothing was changed yet
            old, other = found.value["results"]
            if old is None or other is None or old < amount:
                return op.fail(f"the balance of {source} is {old}")
            unchanged = [[source, "value", "==", old], [target, "value", "==", other]]
            moved = [["put", source, old - amount], ["put", target, other + amount]]
            done = await self._txn(unchanged, moved)
            if done.status != "ok":
                return ended(op, done)
            if done.value["succeeded"]:
                return op.ok(op.value)
        return op.fail(f"others were quicker {TRIES_MAX} times")


class Watches(Objects):
    """Writes that say at which revision they were made, and watches from a revision on."""

    operations = frozenset({"write", "watch"})

    async def _write(self, op: Invocation) -> Outcome:
        done = await self._call("put", str(op.key), op.value)
        return op.ok({"revision": done.revision}) if done.status == "ok" else ended(op, done)

    async def _watch(self, op: Invocation) -> Outcome:
        after = {"after": op.value["from"] - 1}
        done = await self._call("watch", op.value["prefix"], after)
        if done.status != "ok":
            return op.fail(done.error)
        events = [_event(event) for event in done.value["events"]]
        return op.ok({"events": events, "revision": done.value["revision"]})


def _event(change: dict[str, Any]) -> dict[str, Any]:
    event = {"revision": change["revision"], "key": change["key"]}
    if change["type"] == "delete":
        return {**event, "type": "delete"}
    return {**event, "value": change["value"]}


class Leased(Objects):
    """A key that exists as long as its lease."""

    def __init__(self, db: Settings, session: Session) -> None:
        super().__init__(db, session)
        #: the lease this client holds, and the token of its key
        self._lease, self._token = "", 0

    async def _granted(self, ttl_s: float) -> Complete:
        """Get a lease of one's own."""
        done = await self._call("lease-grant", "", int(ttl_s * 1e9))
        self._lease = done.value["lease"] if done.status == "ok" else ""
        return done

    async def _attach(self, key: str, holder: Any) -> Complete:
        """Create a key with the lease, if there is none."""
        free = [[key, "version", "==", 0]]
        done = await self._txn(free, [["put", key, holder, self._lease]])
        if done.status == "ok" and done.value["succeeded"]:
            self._token = done.revision
        return done

    async def _revoked(self) -> Complete:
        """End the lease, and the key with it."""
        lease, self._lease, self._token = self._lease, "", 0
        return await self._call("lease-revoke", lease)

    async def _given_up(self, op: Invocation, why: str) -> Outcome:
        """It was not got, or the outcome is unknown: without the lease, it is not held."""
        done = await self._revoked()
        return op.fail(why) if done.status in ("ok", "fail") else op.info(done.error)


class LeaseClient(Leased):
    """Leases: the client that creates the key has it."""

    operations = frozenset({"grant", "renew", "revoke"})
    steps = 3

    async def _grant(self, op: Invocation) -> Outcome:
        granted = await self._granted(op.value["ttl_s"])
        if granted.status != "ok":
            return op.fail(f"the lease was not granted: {granted.error}")
        made = await self._attach(str(op.key), op.process)
        if made.status == "ok" and made.value["succeeded"]:
            return op.ok({"ttl_s": granted.value["ttl_ns"] / 1e9, "token": made.revision})
        return await self._given_up(op, "the lease is another's")

    async def _renew(self, op: Invocation) -> Outcome:
        done = await self._call("lease-renew", self._lease)
        if done.status != "ok":
            return ended(op, done)
        return op.ok({"ttl_s": done.value["ttl_ns"] / 1e9})

    async def _revoke(self, op: Invocation) -> Outcome:
        done = await self._revoked()
        return op.ok() if done.status == "ok" else ended(op, done)


class Members(Objects):
    """Whom a node of role ``gossip`` knows to live, as it sees things itself."""

    operations = frozenset({"read"})

    async def _read(self, op: Invocation) -> Outcome:
        done = await self._call("members-view", "", mode="stale")
        return op.ok(done.value) if done.status == "ok" else op.fail(done.error)


class Singleton(Objects):
    """Acts of the leader of the agreed view; its token is the view's number and the act's."""

    operations = frozenset({"act"})

    async def _act(self, op: Invocation) -> Outcome:
        done = await self._call("act", "", op.value)
        return op.ok(done.value) if done.status == "ok" else ended(op, done)


#: kinds of objects that nodes of role ``gossip`` have, and no others
OF_GOSSIP = ("members", "singleton")
#: kind of objects -> its client
CLIENTS: dict[str, type[Objects]] = {
    "txn-list": Transactions,
    "txn-register": Transactions,
    "bank": Bank,
    "watch": Watches,
    "lease": LeaseClient,
    "members": Members,
    "singleton": Singleton,
}
