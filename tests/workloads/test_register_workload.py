"""The register workload: what it does, and that its options are checked."""

from __future__ import annotations

from collections import Counter

import pytest

from workloads import WORKLOADS, Workload
from workloads import generator as gen
from workloads.register import register


def test_it_is_listed():
    assert WORKLOADS["register"] == "workloads.register:register"


def test_its_mixture_is_what_was_asked_for():
    made = register(keys=4, rate_hz=1e6, read=0.6, write=0.3, cas=0.1)
    assert isinstance(made, Workload)
    ops = [e for e in gen.simulate(made.generator, limit=2000) if e.type == "invoke"]
    share = Counter(op.f for op in ops)
    assert 1050 < share["read"] < 1350 and 480 < share["write"] < 720 and 120 < share["cas"] < 290
    assert {op.key for op in ops} == {"k0", "k1", "k2", "k3"}


def test_a_share_of_none_leaves_the_operation_out():
    assert register(cas=0).operations == {"read", "write"}
    ops = gen.simulate(register(cas=0, rate_hz=1e6).generator, limit=500)
    assert "cas" not in {op.f for op in ops}


@pytest.mark.parametrize("options", [{"read": 0}, {"write": 0, "cas": 0}, {"cas": -1}, {"keys": 0}])
def test_shares_that_check_nothing_are_refused(options):
    with pytest.raises(ValueError):
        register(**options)
