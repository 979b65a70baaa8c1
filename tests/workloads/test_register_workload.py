"""The register workload: what it does, and that its options are checked."""

from __future__ import annotations

from collections import Counter

import pytest

from workloads import WORKLOADS, Workload
from workloads import generator as gen
from workloads.register import register


def test_it_is_listed():
    assert WORKLOADS["register"] == "workloads.register:register"


def invocations(made, **options):
    return [e for e in gen.simulate(made.generator, **options) if e.type == "invoke"]


def test_its_mixture_is_what_was_asked_for():
    made = register(keys=4, rate_hz=1e6, read=0.6, write=0.3, cas=0.1)
    assert isinstance(made, Workload)
    ops = invocations(made, limit=2000, concurrency=10)
    share = Counter(op.f for op in ops)
    assert 1050 < share["read"] < 1350 and 480 < share["write"] < 720 and 120 < share["cas"] < 290
    assert {op.key for op in ops} == {"k0", "k1", "k2", "k3"}


def test_one_worker_does_everything():
    share = Counter(op.f for op in invocations(register(), limit=1000, concurrency=1))
    assert set(share) == {"read", "write", "cas"} and share["read"] > 50


def test_somebody_reads_though_every_writer_hangs():
    def hangs(op, number):
        return "ok", 10 if op.f == "read" else 10**12

    ops = invocations(register(), limit=500, concurrency=6, complete=hangs)
    hanging = [op.time_ns for op in ops if op.f != "read"]
    late = [op for op in ops if op.time_ns > max(hanging[:3])]
    assert len(late) > 400 and {op.thread for op in late if op.f == "read"} >= {1, 3, 5}


def test_a_share_of_none_leaves_the_operation_out():
    assert register(cas=0).operations == {"read", "write"}
    ops = gen.simulate(register(cas=0, rate_hz=1e6).generator, limit=500)
    assert "cas" not in {op.f for op in ops}


@pytest.mark.parametrize("options", [{"read": 0}, {"write": 0, "cas": 0}, {"cas": -1}, {"keys": 0}])
def test_shares_that_check_nothing_are_refused(options):
    with pytest.raises(ValueError):
        register(**options)
