"""Every answer about small histories is what the definitions say, at eleven levels and both kinds.

Histories at random (:mod:`small_worlds`) with unknown and failed transactions, reads of aborted,
unwritten and unobserved values, sessions and overlaps: VALID where the oracle allows, INVALID where
it does not, and never UNKNOWN. What refutes is confirmed by the second look, and is minimal.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import small_worlds as sw

from checkers.checker_choice import choose
from checkers.core.verdict import Finding, Result, Verdict
from checkers.history import History
from checkers.isolation import list_append, rw_register
from checkers.isolation.consistency import IMPLIES, weaker_models
from checkers.isolation.levels import AXIOMS, SEARCHED
from checkers.isolation.recheck import confirm
from checkers.isolation.recheck_orders import Past, confirm_no_order, confirm_weak

KINDS = {"list-append": list_append, "rw-register": rw_register}
LISTS = {"list-append": True, "rw-register": False}


def judged(history: History, kind: str, level: str, **options: Any) -> Result:
    return KINDS[kind](consistency_models=(level,), **options)(history)


def agree(world: list[sw.T], kind: str, level: str) -> Result | None:
    """Compare one answer with the oracle's; None if there was nothing to check."""
    history = sw.history_of(world)
    result = judged(history, kind, level)
    if all(txn.outcome != "ok" for txn in world):
        assert result.verdict is Verdict.UNKNOWN and "nothing was checked" in result.reason
        return None
    expected = Verdict.VALID if sw.allows(world, level, lists=LISTS[kind]) else Verdict.INVALID
    assert result.verdict is expected, (level, result.reason, world)
    for finding in result.findings:
        assert reconfirmed(finding, history, level) == "", (level, finding.sentence, world)
    return result


def reconfirmed(finding: Finding, history: History, level: str) -> str:
    """The second look at a finding of whatever stage."""
    if finding.kind.startswith("not-"):
        return confirm_no_order(finding, history, level, promise=SEARCHED[level])
    if finding.kind.endswith("-cycle"):
        axiom, sessions = AXIOMS[str(finding.breaks)]
        return confirm_weak(finding, history, axiom, past=Past(history, sessions=sessions))
    return confirm(finding, history)


def without(world: list[sw.T], gone: sw.T) -> list[sw.T]:
    """The other transactions, which saw nothing of the one left out."""
    values = {(key, value) for f, key, value in gone.mops if f != "r"}
    left = []
    for txn in world:
        mops: list[sw.Mop] = []
        for f, key, value in txn.mops:
            if f == "r" and isinstance(value, list):
                mops.append((f, key, [v for v in value if (key, v) not in values]))
            elif f != "r" or (key, value) not in values:
                mops.append((f, key, value))
        left += [txn._replace(mops=tuple(mops))] if txn is not gone else []
    return left


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_what_the_definitions_say(kind: str) -> None:
    rng = random.Random(70)
    seen: dict[tuple[str, Verdict], int] = {}
    for _, world in zip(range(200), sw.worlds(rng, lists=LISTS[kind])):
        for level in rng.sample(sw.LEVELS, 3):
            result = agree(world, kind, level)
            if result is not None:
                seen[level, result.verdict] = seen.get((level, result.verdict), 0) + 1
    assert min(seen[level, verdict] for level in sw.LEVELS
               for verdict in (Verdict.VALID, Verdict.INVALID)) >= 3  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_answers_to_very_many(kind: str, seed: int) -> None:
    rng = random.Random(700 + seed)
    for _, world in zip(range(450), sw.worlds(rng, lists=LISTS[kind])):
        for level in sw.LEVELS:
            agree(world, kind, level)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refutation_by_orders_needs_each_of_its_transactions(kind: str) -> None:
    rng = random.Random(72)
    found = 0
    for world in sw.worlds(rng, lists=LISTS[kind]):
        level = rng.choice([level for level in SEARCHED if "snapshot" in level])
        history = sw.history_of(world)
        result = judged(history, kind, level)
        for finding in result.findings:
            if not finding.kind.startswith("not-"):
                continue
            found += 1
            named = {int(t["invoke"]) for t in finding.detail["transactions"]}
            least = [txn for txn in world if txn.invoke in named]
            for outside in [txn for txn in world if txn.invoke not in named]:
                least = without([*least, outside], outside)
            assert not sw.allows(least, level, lists=LISTS[kind])
            for one in least:
                assert sw.allows(without(least, one), level, lists=LISTS[kind]), (level, world)
        if found >= 4:
            return


@pytest.mark.parametrize("kind", KINDS)
def test_what_refutes_a_level_refutes_all_above_it(kind: str) -> None:
    """Any two levels of the lattice of which one implies the other, decided here or not."""
    rng = random.Random(73)
    # sorted, for what is drawn must not follow from the order of a set
    pairs = sorted(
        (strong, weak) for strong in IMPLIES for weak in weaker_models(strong)
        if strong != weak and "causal" not in (strong, weak)  # which is asked for by another name
    )  # fmt: skip
    met = 0
    for _, world in zip(range(160), sw.worlds(rng, lists=LISTS[kind])):
        strong, weak = rng.choice(pairs)
        history = sw.history_of(world)
        above, below = (judged(history, kind, level).verdict for level in (strong, weak))
        if below is Verdict.INVALID:
            met += 1
            assert above is Verdict.INVALID, (strong, weak, world)
        if above is Verdict.VALID:
            assert below is Verdict.VALID, (strong, weak, world)
    assert met > 10, met


@pytest.mark.parametrize("kind", KINDS)
def test_the_interface_and_the_command_line_choose_the_same_engine(kind: str) -> None:
    rng = random.Random(74)
    for number, world in zip(range(120), sw.worlds(rng, lists=LISTS[kind])):
        level = rng.choice([*sw.LEVELS, "read-uncommitted", "consistent-view"])
        history = sw.history_of(world)
        if number % 3 == 0:  # as from a file without times
            history.header["realtime"] = False
        own = judged(history, kind, level)
        command = choose(history, kind, level)(history)
        for name in ("verdict", "engine", "reason"):
            assert getattr(own, name) == getattr(command, name), (name, level, world)
        assert [f.kind for f in own.findings] == [f.kind for f in command.findings]
