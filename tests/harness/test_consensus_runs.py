"""Runs of the consensus variants that are refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.core.parts import CONSENSUS
from harness.errors import UsageError
from harness.runner import run
from harness.spec import TestSpec


@pytest.mark.parametrize("consensus", sorted(set(CONSENSUS) - {"raft"}))
def test_a_variant_whose_members_do_not_change_has_no_nemesis_membership(
    tmp_path: Path, consensus: str
) -> None:
    spec = TestSpec(
        env="sim", db="reference", consensus=consensus, nemesis=("membership",), store=str(tmp_path)
    )
    with pytest.raises(UsageError, match=f"the members of a {consensus} cluster do not change"):
        run(spec)
