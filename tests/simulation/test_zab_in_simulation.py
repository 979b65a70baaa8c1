"""Zab in virtual time: random faults, its own invariants, and what breaks them."""

from __future__ import annotations

from typing import Any

import pytest

from checkers.core.verdict import Verdict
from cluster.ablations.registry import all_ablations
from cluster.core.parts import CONSENSUS
from cluster.ports import Append, Recovered, Send
from cluster.simulation.invariants import InvariantViolation
from cluster.simulation.schedule import run_schedule, schedule_path
from cluster.simulation.swarm import run_swarm
from cluster.simulation.zab_invariants import ZabInvariants
from cluster.wire import (
    AckEpoch,
    AckNewLeader,
    AppendEntries,
    Entry,
    HardState,
    Heartbeat,
    UpToDate,
)
from harness.campaign.explore import conclude


@pytest.mark.parametrize("first", range(1000, 1020, 5))
def test_random_faults(first: int) -> None:
    for seed in range(first, first + 5):
        outcome = conclude(run_swarm(seed, consensus="zab"))[0]
        assert outcome.verdict is Verdict.VALID, outcome.line


@pytest.mark.parametrize("seed", [59, 117, 5752])
def test_seeds_that_found_bugs(seed: int) -> None:
    """59, 117: a history that was compacted away itself was sent to no late follower.

    5752: a late copy of TRUNC cut what was added since.
    """
    outcome = conclude(run_swarm(seed, consensus="zab"))[0]
    assert outcome.verdict is Verdict.VALID, outcome.line


def test_a_seed_is_a_run() -> None:
    runs = [run_swarm(13, consensus="zab") for _ in range(2)]
    assert runs[0].trace_hash == runs[1].trace_hash
    assert runs[0].trace_hash != run_swarm(13).trace_hash


#: the rule that a directed schedule of an ablation breaks, where invariants are watched
CAUGHT = {
    "A67a": "history-adopted-whole",
    "A67b": "log-matching",
    "A67c": "leader-completeness",
    "A67d": "leader-completeness",
    "A67e": "leader-completeness",
    "A67f": "history-adopted-alone",
    "A67g": "leader-completeness",
    "A67h": "proposals-after-adoption",
    "A67i": "leader-completeness",
}


@pytest.mark.parametrize("id", CAUGHT)
def test_an_invariant_notices_before_a_client_does(id: str) -> None:
    text = schedule_path(f"{id}.txt").read_text(encoding="utf-8")
    run = run_schedule(text, ablations=[id], check_invariants=True)
    assert run.violation is not None and run.violation.name == CAUGHT[id]


def test_every_ablation_of_zab_is_of_a_part_of_it() -> None:
    from cluster.ablations.registry import ablate

    ids = [ablation.id for ablation in all_ablations() if ablation.consensus == "zab"]
    assert len(ids) == 10
    for id in ids:
        parts: Any = CONSENSUS["zab"]
        assert ablate(parts, [id]) != parts
        assert "consensus zab\n" in schedule_path(f"{id}.txt").read_text(encoding="utf-8")


class Log:
    def __init__(self, *generations: int) -> None:
        self.generations = generations
        self.last_index = len(generations)
        self.last_generation = generations[-1] if generations else 0

    def generation_at(self, index: int) -> int | None:
        return self.generations[index - 1] if 0 < index <= self.last_index else None


class Fake:
    """A core that has what the rules look at."""

    def __init__(self, adopted: int, *generations: int, mark: int = 0) -> None:
        self.consensus = self
        self.membership = self.current = self.clock = self
        self.voters = ("n1", "n2", "n3")
        self.adopted, self.log, self.high_water_mark = adopted, Log(*generations), mark


def watch() -> ZabInvariants:
    def fail(name: str, sentence: str, nodes: tuple[str, ...]) -> None:
        raise InvariantViolation(name, sentence, nodes=nodes)

    rules = ZabInvariants(fail)
    for node in ("n1", "n2", "n3"):
        rules.started(node, Recovered(HardState(), None, []))
        rules.after(node, Fake(0))  # type: ignore[arg-type]
    return rules


def broken(name: str) -> Any:
    return pytest.raises(InvariantViolation, match=f"^{name} broken")


def proposal(epoch: int, generation: int) -> AppendEntries:
    return AppendEntries(epoch, 0, 0, (Entry(1, generation, "noop"),), 0)


def test_two_nodes_that_lead_an_epoch() -> None:
    rules = watch()
    rules.sending("n1", Send("n2", Heartbeat(3, 1, 0)))
    rules.sending("n2", Send("n1", Heartbeat(4, 1, 0)))
    with broken("one-leader-per-epoch"):
        rules.sending("n3", Send("n1", Heartbeat(3, 1, 0)))


def test_an_epoch_promised_twice() -> None:
    rules = watch()
    rules.sending("n1", Send("n2", AckEpoch(3, True, 1, 1, 1)))
    rules.sending("n1", Send("n3", AckEpoch(3, False, 1, 1, 1)))
    with broken("one-promise-per-epoch"):
        rules.sending("n1", Send("n3", AckEpoch(3, True, 1, 1, 1)))


def test_a_current_epoch_that_goes_back_or_is_not_accepted() -> None:
    rules = watch()
    rules.appending("n1", Append(1, HardState(3, "n2", 3)))
    with broken("current-epoch-monotonic"):
        rules.appending("n1", Append(2, HardState(3, "n2", 2)))
    with broken("current-epoch-accepted"):
        rules.appending("n2", Append(1, HardState(3, "n2", 4)))


def test_a_history_that_is_not_the_leaders() -> None:
    rules = watch()
    rules.after("n1", Fake(3, 1, 2))  # type: ignore[arg-type]
    rules.after("n2", Fake(3, 1, 2, 3))  # type: ignore[arg-type]
    with broken("history-adopted-alone"):
        rules.after("n5", Fake(3, 1, 2, 2))  # type: ignore[arg-type]
    with broken("history-adopted-whole"):
        rules.after("n3", Fake(3, 1))  # type: ignore[arg-type]
    with broken("history-adopted-whole"):
        rules.after("n4", Fake(3, 1, 1))  # type: ignore[arg-type]


def test_broadcast_before_a_quorum_is_synchronised() -> None:
    rules = watch()
    rules.sending("n1", Send("n2", proposal(3, 2)))
    with broken("quorum-synchronised-first"):
        rules.sending("n1", Send("n2", proposal(3, 3)))
    with broken("quorum-synchronised-first"):
        rules.sending("n1", Send("n2", UpToDate(3, 0)))
    rules.sending("n2", Send("n1", AckNewLeader(3)))
    rules.sending("n1", Send("n2", UpToDate(3, 0)))
    rules.sending("n1", Send("n2", proposal(3, 3)))
    with broken("proposals-after-adoption"):
        rules.sending("n1", Send("n3", proposal(3, 3)))


def test_delivery_out_of_order() -> None:
    rules = watch()
    rules.after("n1", Fake(0, 1, 3, mark=2))  # type: ignore[arg-type]
    with broken("delivery-in-order"):
        rules.after("n1", Fake(0, 1, 3, 2, mark=3))  # type: ignore[arg-type]
