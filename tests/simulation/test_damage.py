"""Damage to one node's files: nothing acknowledged is lost, no vote is forgotten, it heals itself.

Goal: whatever happens to the files of one node of three, with another lagging, the cluster goes on
right; the damaged node comes back by itself, or refuses with file and offset. Method: trials from
seeds (``damage_trial``), with every invariant watched: one vote per generation, leader
completeness, what is committed never changes, a restarted node has the vote it had.
"""

from __future__ import annotations

import re

import pytest
from damage_trial import run_trial

from cluster.simulation.file_damage import KINDS

REFUSAL = re.compile(r"refused to start: corrupt log: \S+ at byte \d+: .+")


def check(seed: int) -> tuple[str, str]:
    trial = run_trial(seed)
    assert trial.lost == [], (seed, trial)
    assert not trial.refused or REFUSAL.match(trial.refused), (seed, trial)
    came = "refused" if trial.refused else "recovered" if trial.recovering else "sound"
    return (trial.damage.kind if trial.damage else "none", came)


@pytest.mark.parametrize("seed", range(4 * len(KINDS)))
def test_damage_loses_nothing(seed: int) -> None:
    check(seed)


@pytest.mark.slow
def test_580_damages_lose_nothing_and_no_vote() -> None:
    seen: dict[tuple[str, str], int] = {}
    for seed in range(1000, 1580):
        outcome = check(seed)
        seen[outcome] = seen.get(outcome, 0) + 1
    assert {kind for kind, _ in seen} >= set(KINDS), seen
    assert not any(came == "refused" for _, came in seen), seen
    for kind in KINDS:
        assert seen.get((kind, "recovered"), 0) >= 5, (kind, seen)
