"""What a data node measures: its groups' numbers added up, its intents, and its clock's drift."""

from __future__ import annotations

import pytest

from cluster.config import MS, ClusterConfig
from cluster.data.node import DataNode
from cluster.measures import Histogram, Measured, Measures, summed
from cluster.simulation.world import SECOND, World
from cluster.wire import Command, GroupRequest

NODES = ("n1", "n2", "n3")
CONFIG = ClusterConfig(
    clock_offset_bound_ns=5 * MS, partition_scheme="ranges", partition_splits=("b", "c")
)


def measures(world: World, node: str) -> Measures:
    core = world.core(node)
    assert isinstance(core, DataNode) and isinstance(core, Measured)
    return core.measures()


def test_a_data_node_measures_its_groups_and_its_clock() -> None:
    world = World(seed=5, nodes=NODES, role="data", config=CONFIG)
    world.run_for(1_500 * MS)
    quiet = measures(world, "n1")
    assert quiet.gauges["intents"] == 0
    assert 0 <= quiet.gauges["hlc_drift_seconds"] <= 0.005
    assert quiet.counters == {"watch_slow": 0, "hlc_refused": 0}

    client = world.session("c", prefer="n1")
    granted = client.submit(Command("lease-grant", "", (60 * SECOND,)))
    assert world.run_until(lambda: bool(granted.status), 5 * SECOND) and granted.status == "ok"
    read = client.submit(Command("get", "x"))
    assert world.run_until(lambda: bool(read.status), 5 * SECOND) and read.status == "ok"
    world.run_for(200 * MS)
    now = [measures(world, node) for node in NODES]
    assert {each.gauges["lease_count"] for each in now} == {quiet.gauges["lease_count"] + 1}
    assert sum(each.histograms["read_index_seconds"].count for each in now) > 0

    for source in NODES:  # every group hears the votes asked for, and none hears the outcome
        for to in NODES:
            if source != to:
                world.network.link(source, to).hold = lambda frame: (
                    type(frame) is GroupRequest and frame.request.command.op == "p-resolve"
                )
    call = client.submit(Command("txn-run", "", ([["w", "b", 1], ["w", "c", 2]],)))
    assert world.run_until(lambda: bool(call.status), 5 * SECOND) and call.status == "ok"
    world.run_for(20 * MS)
    assert max(measures(world, node).gauges["intents"] for node in NODES) > 0


def test_measures_of_parts_are_added_by_name() -> None:
    def part(**values: float) -> Measures:
        histogram = Histogram((1.0,))
        histogram.observe(values["took"])
        return Measures(
            gauges={"a": values["a"]}, counters={"n": 1}, histograms={"took": histogram}
        )

    one, other = part(a=1, took=0.5), part(a=2, took=3.0)
    whole = summed([one, other, Measures(gauges={"b": 7})])
    assert (whole.gauges, whole.counters) == ({"a": 3, "b": 7}, {"n": 2})
    took = whole.histograms["took"]
    assert (took.buckets, took.total) == ([1, 1], 3.5)
    assert one.histograms["took"].buckets == [1, 0], "it is what it was"
    with pytest.raises(ValueError, match="bounds are"):
        took.add(Histogram((2.0,)))
