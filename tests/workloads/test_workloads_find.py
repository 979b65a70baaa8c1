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
from harness.databases.in_memory import NO_LEASE, Atom, AtomClient, Store
from harness.errors import UsageError
from harness.registry import find
from workloads import WORKLOADS
from workloads import generator as gen

#: options that make a short run telling
OPTIONS: dict[str, dict[str, Any]] = {
    "lease": {"ttl_s": 0.3, "keys": 1},
    "lock": {"hold_s": 0.1},
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


class LastWriterWins(AtomClient):
    """What a store replaces is what there is, whatever its writer has read."""

    now = Every(10)

    def siblings_store(self, op):
        done = super().siblings_store(op)
        if self.now():
            done.value["over"] = []
        return done


def forgets_siblings() -> type[AtomClient]:
    """A client which acknowledges a store now and then and does not do it."""

    class Forgets(AtomClient):
        now = Every(15)

        def siblings_store(self, op):
            if self.now():
                return op.ok({"value": op.value, "over": []})
            return super().siblings_store(op)

    return Forgets


class Stale(AtomClient):
    """Reads from a copy which is renewed now and then."""

    now = Every(25)
    old: ClassVar[dict[Store, Any]] = {}

    def _copy(self) -> dict[Any, Any]:
        if self.now() or self.store not in self.old:
            self.old[self.store] = copy.deepcopy(self.store.values)
        return self.old[self.store]

    def register_read(self, op):
        return op.ok(self._copy().get(op.key))

    def list_read(self, op):
        return op.ok(list(self._copy().get(op.key, ())))

    set_read = list_read

    def counter_read(self, op):
        return op.ok(self._copy().get(op.key, 0))


class SessionStale(AtomClient):
    """Each client's own reads miss its latest write."""

    def register_write(self, op):
        self.before = (op.key, self.store.values.get(op.key))
        return super().register_write(op)

    def register_read(self, op):
        key, value = getattr(self, "before", (None, None))
        return op.ok(value) if key == op.key else super().register_read(op)


class SameIds(AtomClient):
    now = Every(30)

    def ids_generate(self, op):
        if self.now():
            self.store.revision -= 1
        return super().ids_generate(op)


class SharedLock(AtomClient):
    now = Every(3)

    def lock_acquire(self, op):
        if self.now():
            self.store.values.pop(op.key, None)
        return super().lock_acquire(op)


class Unfenced(SharedLock):
    def lock_write(self, op):
        return op.ok()


class EarlyEnd(AtomClient):
    """Ends leases before their time."""

    def lease_grant(self, op):
        _, ends_s, _ = self.store.values.get(op.key, NO_LEASE)
        if ends_s - self.now_s() < 0.2:
            self.store.values.pop(op.key, None)
        return super().lease_grant(op)


class Skips(AtomClient):
    now = Every(10)

    def watch_watch(self, op):
        done = super().watch_watch(op)
        if len(done.value["events"]) > 1 and self.now():
            del done.value["events"][0]
        return done


class SkipsOffsets(AtomClient):
    now = Every(10)

    def log_poll(self, op):
        done = super().log_poll(op)
        if len(done.value) > 1 and self.now():
            del done.value[0]
        return done


class LosesItsEnd(AtomClient):
    """A log that is once cut back by what it has just acknowledged."""

    sends = 0

    def log_send(self, op):
        done = super().log_send(op)
        type(self).sends += 1
        if self.sends == 60:
            self.store.values[op.key].pop()
        return done


class HalfTransfer(AtomClient):
    now = Every(10)

    def bank_transfer(self, op):
        if self.now():
            self.store.values[op.value["to"]] += 1
        return super().bank_transfer(op)


class OldSnapshot(AtomClient):
    """Transactions read a snapshot that lags behind by one transaction."""

    last: ClassVar[dict[Store, Any]] = {}

    def _lagging(self, op, method):
        before = copy.deepcopy(self.store.values)
        done = method(op)
        old = self.last.get(self.store, {})
        self.last[self.store] = before
        first = {}
        for f, key, _ in done.value:
            first.setdefault(key, f)
        for micro in done.value:
            if micro[0] == "r" and first[micro[1]] == "r":
                absent = [] if isinstance(micro[2], list) else None
                micro[2] = copy.deepcopy(old.get(micro[1], absent))
        return done

    def txn_list_txn(self, op):
        return self._lagging(op, super().txn_list_txn)

    def txn_register_txn(self, op):
        return self._lagging(op, super().txn_register_txn)


DEFECTS = [
    ("register", Stale, {}, "nonlinearizable"),
    ("append", twice("append"), {}, "nonlinearizable"),
    ("append", Stale, {}, "nonlinearizable"),
    ("set", forgets("add"), {}, "lost"),
    ("set", twice("add"), {}, "duplicate"),
    ("set", Stale, {}, "stale"),
    ("siblings", LastWriterWins, {}, "lost"),
    ("siblings", forgets_siblings(), {}, "lost"),
    ("counter", twice("add"), {}, "phantom-increment"),
    ("counter", forgets("add"), {}, "lost-increment"),
    ("counter", forgets("add"), {"exact": True}, "nonlinearizable"),
    ("unique-ids", SameIds, {}, "duplicate-id"),
    ("queue", forgets("enqueue"), {}, "lost"),
    ("queue", twice("enqueue"), {"exactly_once": True}, "duplicate"),
    ("sessions", SessionStale, {}, None),
    ("log", forgets("send"), {}, None),
    ("log", SkipsOffsets, {}, "poll-skip"),
    ("log", twice("send"), {}, "duplicate"),
    ("log", LosesItsEnd, {}, "inconsistent-offset"),
    ("lock", SharedLock, {}, "two-holders"),
    ("lock", Unfenced, {"fencing": True}, "stale-token-accepted"),
    ("lease", EarlyEnd, {}, None),
    ("watch", Skips, {}, None),
    ("bank", HalfTransfer, {}, "wrong-total"),
    ("list-append", OldSnapshot, {}, None),
    ("rw-register", OldSnapshot, {}, None),
    ("write-skew", OldSnapshot, {}, None),
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
    done = outcome(tmp_path, "lock", SharedLock, fencing=True)
    assert done.verdict is Verdict.VALID, done.sentence


def test_each_defect_has_been_looked_for_in_each_workload() -> None:
    assert {workload for workload, *_ in DEFECTS} == set(WORKLOADS)


@pytest.mark.parametrize(
    ("workload", "options"),
    [
        ("append", {"read": 0}), ("append", {"ops_per_key": 0}), ("set", {"read": 1.5}),
        ("counter", {"amount_max": -1}), ("queue", {"enqueue": 1}), ("lock", {"hold_s": 0}),
        ("lease", {"ttl_s": -1}), ("bank", {"keys": 1}), ("bank", {"balance": 0}),
        ("list-append", {"consistency_models": "serialisable"}), ("write-skew", {"keys": 0}),
        ("sessions", {"guarantees": "read-my-writes"}), ("siblings", {"read": 1}),
    ],
)  # fmt: skip
def test_options_that_check_nothing_are_refused(workload: str, options: Any) -> None:
    with pytest.raises(ValueError):
        find("workload", workload)(**options)


def test_a_database_without_such_objects_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'bank', which pysyncobj does not offer here; it has"):
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
