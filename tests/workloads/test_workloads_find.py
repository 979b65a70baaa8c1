"""Every workload says VALID of a store that keeps its promise, and finds the defect it is for.

The store is `atom`, which does each operation in one step; a defect is one method overridden. No
process is started. What the workloads say of real systems is in the tests of databases.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import pytest

from checkers.core.verdict import Verdict
from harness.api import run
from harness.databases.in_memory import Atom, AtomClient
from harness.databases.in_memory_objects import (
    KINDS,
    NO_LEASE,
    Bank,
    Counter,
    Election,
    ElementSet,
    Identifiers,
    Kind,
    Lease,
    ListTransactions,
    Lock,
    Log,
    Members,
    Monotonic,
    Owned,
    PredicateTransactions,
    Register,
    RegisterTransactions,
    Siblings,
    Singleton,
    Store,
    Watch,
)
from harness.errors import UsageError
from harness.registry import find
from workloads import WORKLOADS
from workloads import generator as gen

#: options that make a short run telling
OPTIONS: dict[str, dict[str, Any]] = {
    "election": {"lead_s": 0.1},
    "lease": {"ttl_s": 0.3, "keys": 1},
    "lock": {"hold_s": 0.1},
    "membership-convergence": {"settle_s": 2.0},
    "list-append": {"rate_hz": 300.0},
    "rw-register": {"rate_hz": 300.0},
    "write-skew": {"rate_hz": 300.0},
}


def outcome(tmp_path: Path, workload: str, client: type[AtomClient] = AtomClient, **options: Any):
    given = {**OPTIONS.get(workload, {}), **options}
    objects = find("workload", workload)(**given).objects
    store = Atom(objects=objects)
    store.client = lambda: client(store)  # type: ignore[method-assign]
    return run(
        db=store, workload=workload, workload_options=given, env="sim", time_limit_s=3.0, seed=5,
        store=str(tmp_path), quiet=True, no_report=True, say=lambda line: None, op_timeout_s=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_a_store_that_keeps_its_promise_is_valid(workload: str, tmp_path: Path) -> None:
    done = outcome(tmp_path, workload)
    assert done.verdict is Verdict.VALID, done.sentence


class Every:
    """True once in so many calls."""

    def __init__(self, count: int) -> None:
        self.count, self.calls = count, 0

    def __call__(self) -> bool:
        self.calls += 1
        return self.calls % self.count == 0


def twice(name: str) -> type[AtomClient]:
    """A client which does an operation twice now and then, as a retry without deduplication."""

    class Twice(AtomClient):
        now = Every(20)

        async def invoke(self, op):
            if op.f == name and self.now():
                await super().invoke(op)
            return await super().invoke(op)

    return Twice


def forgets(name: str) -> type[AtomClient]:
    """A client which acknowledges an operation now and then and does not do it."""

    class Forgets(AtomClient):
        now = Every(15)

        async def invoke(self, op):
            return op.ok() if op.f == name and self.now() else await super().invoke(op)

    return Forgets


class LastWriterWins(Siblings):
    """What a store replaces is what there is, whatever its writer has read."""

    now = Every(10)

    def store(self, op):
        done = super().store(op)
        if self.now():
            done.value["over"] = []
        return done


class ForgetsSiblings(Siblings):
    """A store is acknowledged now and then and not done."""

    now = Every(15)

    def store(self, op):
        if self.now():
            return op.ok({"value": op.value, "over": []})
        return super().store(op)


def having(**kinds: type[Kind]) -> type[AtomClient]:
    """A client with another kind of objects, by its name with underscores."""
    named = {name.replace("_", "-"): kind for name, kind in kinds.items()}
    name = "".join(kind.__name__ for kind in kinds.values())
    return type(name, (AtomClient,), {"kinds": {**KINDS, **named}})


class _Copied:
    """Reads come from a copy which is renewed now and then."""

    now = Every(25)
    old: ClassVar[dict[Store, Any]] = {}

    def copied(self) -> dict[Any, Any]:
        store: Store = self.shared  # type: ignore[attr-defined]
        if self.now() or store not in self.old:
            self.old[store] = copy.deepcopy(store.values)
        return self.old[store]


class StaleRegister(_Copied, Register):
    def read(self, op):
        return op.ok(self.copied().get(op.key))


class StaleElements(_Copied, ElementSet):
    def read(self, op):
        return op.ok(list(self.copied().get(op.key, ())))


class StaleCounter(_Copied, Counter):
    def read(self, op):
        return op.ok(self.copied().get(op.key, 0))


STALE = having(register=StaleRegister, list=StaleElements, set=StaleElements, counter=StaleCounter)


class SessionStale(Register):
    """Each client's own reads miss its latest write."""

    def write(self, op):
        self.before = (op.key, self.shared.values.get(op.key))
        return super().write(op)

    def read(self, op):
        key, value = getattr(self, "before", (None, None))
        return op.ok(value) if key == op.key else super().read(op)


class SameIds(Identifiers):
    now = Every(30)

    def generate(self, op):
        if self.now():
            self.shared.revision -= 1
        return super().generate(op)


class SharedLock(Lock):
    now = Every(3)

    def acquire(self, op):
        if self.now():
            self.shared.values.pop(op.key, None)
        return super().acquire(op)


class Unfenced(SharedLock):
    def write(self, op):
        return op.ok()


class SameTerm(Election):
    """Leads with the token of the leader before, now and then."""

    now = Every(3)

    def campaign(self, op):
        if self.now():
            self.shared.values.pop(op.key, None)
            self.shared.revision -= 1
        return super().campaign(op)


class UnfencedLeaders(Election):
    """Elects another while one leads, and lets both act."""

    now = Every(3)

    def campaign(self, op):
        if self.now():
            self.shared.values.pop(op.key, None)
        return super().campaign(op)

    def act(self, op):
        return op.ok()


class EarlyEnd(Lease):
    """Ends leases before their time."""

    def grant(self, op):
        _, ends_s, _ = self.shared.values.get(op.key, NO_LEASE)
        if ends_s - self.now_s() < 0.2:
            self.shared.values.pop(op.key, None)
        return super().grant(op)


class Skips(Watch):
    now = Every(10)

    def watch(self, op):
        done = super().watch(op)
        if len(done.value["events"]) > 1 and self.now():
            del done.value["events"][0]
        return done


class SkipsOffsets(Log):
    now = Every(10)

    def poll(self, op):
        done = super().poll(op)
        if len(done.value) > 1 and self.now():
            del done.value[0]
        return done


class LosesItsEnd(Log):
    """A log that is once cut back by what it has just acknowledged."""

    sends = 0

    def send(self, op):
        done = super().send(op)
        type(self).sends += 1
        if self.sends == 60:
            self.shared.values[op.key].pop()
        return done


class HalfTransfer(Bank):
    now = Every(10)

    def transfer(self, op):
        if self.now():
            self.shared.values[op.value["to"]] += 1
        return super().transfer(op)


class _Lagging:
    """Transactions read a snapshot that lags behind by one transaction."""

    last: ClassVar[dict[Store, Any]] = {}

    def txn(self, op):
        store: Store = self.shared  # type: ignore[attr-defined]
        before = copy.deepcopy(store.values)
        done = super().txn(op)  # type: ignore[misc]
        old = self.last.get(store, {})
        self.last[store] = before
        first = {}
        for f, key, _ in done.value:
            first.setdefault(key, f)
        for micro in done.value:
            if micro[0] == "r" and first[micro[1]] == "r":
                absent = [] if isinstance(micro[2], list) else None
                micro[2] = copy.deepcopy(old.get(micro[1], absent))
        return done


class LaggingLists(_Lagging, ListTransactions):
    pass


class LaggingRegisters(_Lagging, RegisterTransactions):
    pass


OLD_SNAPSHOT = having(txn_list=LaggingLists, txn_register=LaggingRegisters)


class Forked(RegisterTransactions):
    """Odd and even processes see each other's writes late, and their own at once."""

    late = 10
    made: ClassVar[dict[Store, list[tuple[str, int]]]] = {}

    def txn(self, op):
        log = self.made.setdefault(self.shared, [])
        log += [(key, op.process % 2) for f, key, _ in op.value if f == "w"]
        hidden = {key for key, side in log[-self.late :] if side != op.process % 2}
        done = super().txn(op)
        for micro in done.value:
            if micro[0] == "r" and micro[1] in hidden:
                micro[2] = None
        return done


class WithoutCause(ElementSet):
    """Now and then a read lacks an element that was there long before the last one."""

    now = Every(10)

    def read(self, op):
        items = super().read(op).value
        return op.ok([*items[:-6], *items[-5:]] if self.now() and len(items) > 6 else items)


class StaleMonotonic(_Copied, Monotonic):
    def read(self, op):
        return op.ok(self.copied().get(op.key, 0))


class LaggingPredicates(PredicateTransactions):
    """Ranges are read as they were one transaction ago."""

    last: ClassVar[dict[Store, Any]] = {}

    def txn(self, op):
        before, old = dict(self.shared.values), self.last.get(self.shared, {})
        self.last[self.shared] = before
        done = super().txn(op)
        for micro in done.value:
            if micro[0] == "rp":
                low, high = micro[1]["keys"]
                micro[2] = [[k, v] for k, v in sorted(old.items()) if low <= k <= high]
        return done


class Forgetful(Members):
    """All agree on members of which one is missing."""

    def read(self, op):
        return op.ok(sorted(self.shared.nodes)[1:])


class OwnView(Members):
    """Each client has left out another member."""

    made = 0

    def __init__(self, store):
        super().__init__(store)
        OwnView.made += 1
        self.left_out = OwnView.made

    def read(self, op):
        nodes = sorted(self.shared.nodes)
        del nodes[self.left_out % len(nodes)]
        return op.ok(nodes)


class TwoLeaders(Singleton):
    """Now and then another acts under the same token."""

    now = Every(20)

    def act(self, op):
        self.shared.revision -= self.now()
        return super().act(op)


class OldToken(Singleton):
    """Now and then one acts under a token of long ago."""

    now = Every(20)

    def act(self, op):
        done = super().act(op)
        if self.now():
            done.value["token"] -= 7.5
        return done


class OtherOwner(Owned):
    """Now and then the other group acts at the same epoch."""

    now = Every(20)

    def act(self, op):
        done = super().act(op)
        if self.now():
            done.value["group"] = "g2"
        return done


DEFECTS = [
    ("register", STALE, {}, "nonlinearizable"),
    ("append", twice("append"), {}, "nonlinearizable"),
    ("append", STALE, {}, "nonlinearizable"),
    ("set", forgets("add"), {}, "lost"),
    ("set", twice("add"), {}, "duplicate"),
    ("set", STALE, {}, "stale"),
    ("siblings", having(siblings=LastWriterWins), {}, "lost"),
    ("siblings", having(siblings=ForgetsSiblings), {}, "lost"),
    ("counter", twice("add"), {}, "phantom-increment"),
    ("counter", forgets("add"), {}, "lost-increment"),
    ("counter", forgets("add"), {"exact": True}, "nonlinearizable"),
    ("unique-ids", having(ids=SameIds), {}, "duplicate-id"),
    ("queue", forgets("enqueue"), {}, "lost"),
    ("queue", twice("enqueue"), {"exactly_once": True}, "duplicate"),
    ("sessions", having(register=SessionStale), {}, None),
    ("log", forgets("send"), {}, None),
    ("log", having(log=SkipsOffsets), {}, "poll-skip"),
    ("log", twice("send"), {}, "duplicate"),
    ("log", having(log=LosesItsEnd), {}, "inconsistent-offset"),
    ("lock", having(lock=SharedLock), {}, "two-holders"),
    ("lock", having(lock=Unfenced), {"fencing": True}, "stale-token-accepted"),
    ("election", having(election=SameTerm), {}, "duplicate-token"),
    ("election", having(election=UnfencedLeaders), {}, "stale-token-accepted"),
    ("election", having(election=UnfencedLeaders), {"fencing": False}, "two-holders"),
    ("lease", having(lease=EarlyEnd), {}, None),
    ("watch", having(watch=Skips), {}, None),
    ("bank", having(bank=HalfTransfer), {}, "wrong-total"),
    ("membership-convergence", having(members=Forgetful), {}, "wrong-members"),
    ("membership-convergence", having(members=OwnView), {}, "diverged"),
    ("emergent-leader", having(singleton=TwoLeaders), {}, "duplicate-token"),
    ("emergent-leader", having(singleton=OldToken), {}, "token-backwards"),
    ("ownership", having(owned=OtherOwner), {}, "two-owners"),
    ("list-append", OLD_SNAPSHOT, {}, None),
    ("rw-register", OLD_SNAPSHOT, {}, None),
    ("write-skew", OLD_SNAPSHOT, {}, None),
    ("write-skew", having(txn_predicates=LaggingPredicates), {"predicates": True}, None),
    ("long-fork", having(txn_register=Forked), {}, "long-fork"),
    ("causal", having(register=SessionStale), {}, None),
    ("causal-reverse", having(scanned_set=WithoutCause), {}, "causal-reverse"),
    ("monotonic", having(monotonic=StaleMonotonic), {}, "nonmonotonic"),
    ("scans", having(scanned_set=StaleElements), {}, "stale"),
    ("scans", twice("add"), {}, "duplicate"),
    ("scans", forgets("add"), {}, "lost"),
]


@pytest.mark.parametrize(
    ("workload", "client", "options", "kind"),
    DEFECTS,
    ids=[f"{workload}-{client.__name__}-{n}" for n, (workload, client, *_) in enumerate(DEFECTS)],
)
def test_its_defect_is_found(workload, client, options, kind, tmp_path: Path) -> None:
    done = outcome(tmp_path, workload, client, **options)
    assert done.verdict is Verdict.INVALID, done.sentence
    if kind is not None:
        assert kind in {finding.kind for finding in done.findings()}


def test_fencing_saves_a_lock_that_two_hold(tmp_path: Path) -> None:
    done = outcome(tmp_path, "lock", having(lock=SharedLock), fencing=True)
    assert done.verdict is Verdict.VALID, done.sentence


def test_each_defect_has_been_looked_for_in_each_workload() -> None:
    assert {workload for workload, *_ in DEFECTS} == set(WORKLOADS)


@pytest.mark.parametrize(
    ("workload", "options"),
    [
        ("append", {"read": 0}), ("append", {"ops_per_key": 0}), ("set", {"read": 1.5}),
        ("counter", {"amount_max": -1}), ("queue", {"enqueue": 1}), ("lock", {"hold_s": 0}),
        ("election", {"lead_s": 0}),
        ("lease", {"ttl_s": -1}), ("bank", {"keys": 1}), ("bank", {"balance": 0}),
        ("list-append", {"consistency_models": "serialisable"}), ("write-skew", {"keys": 0}),
        ("sessions", {"guarantees": "read-my-writes"}), ("siblings", {"read": 1}),
    ],
)  # fmt: skip
def test_options_that_check_nothing_are_refused(workload: str, options: Any) -> None:
    with pytest.raises(ValueError):
        find("workload", workload)(**options)


def test_a_database_without_such_objects_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'bank', which pysyncobj does not offer; it has"):
        run(db="pysyncobj", workload="bank", store=str(tmp_path))


def test_windows_of_keys_move_on_and_the_final_phase_reads_every_key() -> None:
    made = find("workload", "append")(keys=2, ops_per_key=10, rate_hz=1e6)
    events = gen.simulate(gen.phases(gen.limit(200, made.generator), made.final), concurrency=3)
    ops = [event for event in events if event.type == "invoke"]
    appended = {op.key for op in ops if op.f == "append"}
    assert len(appended) > 8
    assert {op.key for op in ops[200:]} >= appended
    values = [op.value for op in ops if op.f == "append"]
    assert len(values) == len(set(values))


def test_transactions_read_registers_before_they_write_them() -> None:
    made = find("workload", "rw-register")()
    for event in gen.simulate(made.generator, limit=300):
        if event.type == "invoke":
            for place, (f, key, _) in enumerate(event.value):
                assert f == "r" or key in [other[1] for other in event.value[:place]]
