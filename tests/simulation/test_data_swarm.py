"""Random profiles of transactions on role ``data``, and what is left over after healing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.config import MS, ClusterConfig
from cluster.data.isolation_levels import LEVELS
from cluster.simulation.data_leftovers import left_over
from cluster.simulation.faults.table import KINDS, OF_DATA
from cluster.simulation.liveness import heal
from cluster.simulation.profiles import TRANSACTIONS, Wishes, draw
from cluster.simulation.sessions import ClientEvent
from cluster.simulation.swarm import run_swarm
from cluster.simulation.world import SECOND, World
from cluster.wire import Command
from harness.campaign.explore import conclude, job_of
from harness.campaign.patterns import judge_transactions
from harness.campaign.scans import scan_problem, scans_as_reads
from harness.campaign.seed_runs import SeedSpec
from harness.errors import UsageError


@pytest.mark.parametrize("seed", [6, 13])
def test_random_profiles_of_transactions_find_nothing(seed: int) -> None:
    """6 and 13: nodes that had restarted made the others fence themselves after healing."""
    run = run_swarm(seed, role="data", workload=TRANSACTIONS, duration_ns=2 * SECOND)
    outcome, results = conclude(run)
    assert outcome.verdict.exit_code == 0, outcome.line
    assert results[0].checker == "list-append"
    assert run.settlement is not None and run.settlement.final_reads


@pytest.mark.parametrize("seed", [80022, 91117, 92141])
def test_seeds_in_which_the_healed_cluster_did_not_come_to_rest(seed: int) -> None:
    """80022: nodes sent a slow group more copies and closed timestamps than its log could take.
    91117: a node gave up the newest epoch of a partition. 92141: operators asked for more moves
    than could end in the time."""
    outcome, _ = conclude(run_swarm(seed, role="data", workload=TRANSACTIONS))
    assert outcome.verdict.exit_code == 0, outcome.line


def test_a_wish_for_transactions_changes_nothing_else_that_a_seed_draws() -> None:
    plain, asked = draw(5), draw(5, Wishes(workload=TRANSACTIONS))
    assert (plain.profile, plain.network, plain.disk) == (asked.profile, asked.network, asked.disk)
    drawn = [draw(seed, Wishes(workload=TRANSACTIONS)) for seed in range(60)]
    assert {each.config.partition_scheme for each in drawn} == {"slots", "ranges"}
    assert {kind for each in drawn for kind in each.faults} >= OF_DATA
    assert not any("clock" in each.faults for each in drawn), "beyond the bound nothing is promised"
    split = [each for each in drawn if "partition-split" in each.faults]
    assert all(each.config.partition_scheme == "ranges" for each in split)
    assert not any(OF_DATA & {*draw(seed).faults} for seed in range(60))


def test_leases_last_as_long_as_their_renewals_take() -> None:
    """94191: leases of 700 ms, of which the core could not commit the renewals in time."""
    wish = Wishes(workload=TRANSACTIONS)
    ttls = [draw(seed, wish).config.node_ttl_ns for seed in (*range(200), 94191)]
    assert ttls[-1] > 700 * MS and ttls.count(700 * MS) > 80 and ttls.count(3_000 * MS) > 80


def test_transactions_are_for_role_data() -> None:
    with pytest.raises(UsageError, match="for nodes of role data; give --role data"):
        job_of(workload=TRANSACTIONS)
    with pytest.raises(ValueError, match="not core"):
        run_swarm(1, workload=TRANSACTIONS)
    job = job_of(role="data")
    assert job.wishes.workload == TRANSACTIONS
    spec = SeedSpec.of(4, job)
    assert "--role data" in spec.command and spec.job == job
    assert job_of(role="data", workload="append").wishes.workload == "append"


# -- what is left over -----------------------------------------------------------------------------


def quiet() -> World:
    config = ClusterConfig(clock_offset_bound_ns=5 * MS, partition_slots=5, node_ttl_ns=700 * MS)
    world = World(
        seed=3, nodes=("n1", "n2", "n3", "n4", "n5"), role="data", config=config,
        check_invariants=False,
    )  # fmt: skip
    assert world.run_until_every(lambda: not left_over(world), 10 * SECOND, every_ns=20 * MS)
    return world


def machines(world: World, node: str) -> list[Any]:
    groups = world.core(node).groups  # type: ignore[union-attr]
    names = [name for name in groups.names if name.startswith("g-")]
    return [groups.replica(name).state.machine for name in names]


def test_what_is_left_over_is_named() -> None:
    world = quiet()
    (holder,) = [m for m in machines(world, "n1") if m.store.ownership.held][:1]
    name, held = next(iter(holder.store.ownership.held.items()))
    holder.store.ownership.freeze(name, held.epoch)
    assert "frozen at n1" in left_over(world)
    holder.store.ownership.held[name] = held
    holder.participant.prepared["t"] = None
    assert "has intents of t" in left_over(world)
    del holder.participant.prepared["t"]
    placement = world.core("n2").placement.placement  # type: ignore[union-attr]
    placement.requests["r"] = None
    assert left_over(world) == "1 requests wait"
    del placement.requests["r"]
    assert left_over(world) == ""


def test_leases_of_former_lives_end() -> None:
    world = quiet()
    for node in ("n4", "n5"):
        world.crash(node)
    heal(world)
    world.run_for(300 * MS)
    assert left_over(world) != ""
    assert world.run_until_every(lambda: not left_over(world), 10 * SECOND, every_ns=20 * MS)


def test_faults_of_partitions_are_asked_for_at_a_node() -> None:
    assert KINDS.keys() >= OF_DATA
    world = quiet()
    call = world.session("operator").submit(Command("partition-move", "p00000", ("g-n4",)))
    assert world.run_until(lambda: bool(call.status), 10 * SECOND)
    assert call.status == "ok"


# -- levels and scans ------------------------------------------------------------------------------


def test_a_seed_draws_a_level_scans_and_how_large_parts_are() -> None:
    drawn = [draw(seed, Wishes(workload=TRANSACTIONS)) for seed in range(60)]
    assert {each.isolation for each in drawn} == {*LEVELS}
    assert {each.scans for each in drawn} == {0.0, 0.2, 0.5}
    assert {each.config.partition_part_bytes for each in drawn} == {200, 512 * 1024}
    plain = draw(5)
    assert (plain.isolation, plain.scans) == ("strict-serializable", 0.0)


@pytest.mark.parametrize("isolation", [*LEVELS])
def test_transactions_of_each_level_scan_and_find_nothing(isolation: str) -> None:
    options = draw(5, Wishes(workload=TRANSACTIONS, faults=("crash",), nodes=3))
    options = msgspec.structs.replace(
        options, isolation=isolation, scans=0.5, clients=4, think_ns=5 * MS
    )
    run = run_swarm(5, role="data", options=options, duration_ns=1_500 * MS)
    outcome, results = conclude(run)
    assert outcome.verdict.exit_code == 0, outcome.line
    assert results[0].stats["consistency_models"] == [isolation]
    done = [event for event in run.events if event.f == "txn" and event.type == "ok"]
    scanned = [rows for each in done for kind, _, rows in each.value if kind == "scan"]
    assert any(scanned), "no scan found a list"


def seen(process: str, type: str, time_ns: int, value: Any) -> ClientEvent:
    return ClientEvent(time_ns, process, type, "txn", "", value)


def test_a_scan_is_a_read_of_each_key_that_transactions_name() -> None:
    asked = [["append", "a", 1], ["r", "c", None], ["scan", ["a", "c"], None]]
    done = [["append", "a", 1], ["r", "c", [7]], ["scan", ["a", "c"], [["a", [1]]]]]
    other = [["append", "b", 2]]
    events = [
        seen("c1", "invoke", 1, asked), seen("c1", "ok", 2, done),
        seen("c2", "invoke", 3, other), seen("c2", "info", 4, other),
    ]  # fmt: skip
    invoked, ended, *rest = scans_as_reads(events)
    assert invoked.value[2:] == [["r", "a", None], ["r", "b", None]]
    assert ended.value == [["append", "a", 1], ["r", "c", [7]], ["r", "a", [1]], ["r", "b", None]]
    assert rest == events[2:]
    assert scan_problem(events) == ""


@pytest.mark.parametrize("rows", [[["b", [1]], ["a", [2]]], [["a", [1]], ["a", [1]]], [["c", []]]])
def test_a_scan_gives_each_key_of_its_range_once_and_in_order(rows: Any) -> None:
    scan = [["scan", ["a", "c"], None]]
    events = [seen("c1", "invoke", 1, scan), seen("c1", "ok", 2, [["scan", ["a", "c"], rows]])]
    result = judge_transactions(events)
    assert not result.valid and "a scan from 'a' to 'c' gives the keys" in result.reason


def test_what_one_level_allows_the_next_forbids() -> None:
    """Write skew, whose reads are scans: the second one misses what the first has written."""
    one = [["scan", ["a", "c"], []], ["append", "a", 1]]
    other = [["scan", ["a", "c"], []], ["append", "b", 2]]
    last = [["scan", ["a", "c"], [["a", [1]], ["b", [2]]]]]
    events = [
        seen("c1", "invoke", 1, one), seen("c2", "invoke", 2, other),
        seen("c1", "ok", 5, one), seen("c2", "ok", 6, other),
        seen("c3", "invoke", 7, last), seen("c3", "ok", 8, last),
    ]  # fmt: skip
    assert judge_transactions(events, isolation="snapshot-isolation").valid
    assert not judge_transactions(events).valid
