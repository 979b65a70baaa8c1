"""The typed arguments of ``harness.run`` are the fields of a spec, all of them."""

from __future__ import annotations

import msgspec

from harness.api import Arguments, Fields
from harness.spec import TestSpec


def test_every_field_of_a_spec_is_a_typed_argument() -> None:
    fields = {field.name for field in msgspec.structs.fields(TestSpec)}
    assert fields <= set(Arguments.__annotations__)
    own = {"db", "client", "workload", "nemesis", "nodes"}
    assert set(Fields.__annotations__) == fields - own
